"""The customer: a process in a network namespace of its own that asks the pod for a page when told to.

Forked by `builder`. Orders come over a unix socket (`content.CUSTOMER_SOCKET`), one per connection: `PATH\\n` in, and
`+` with the body, or `-` with what went wrong, back. The unix socket is found by path, so it works from every network
namespace that sees the sandbox's files.
"""

import socket
import threading

from . import content

_ANSWER_SECONDS = 10.0
_ANSWER_LIMIT = 1 << 20


def serve(listener: socket.socket) -> None:
    """Take orders until killed."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_take_order, args=(connection,), daemon=True).start()


def _take_order(connection: socket.socket) -> None:
    with connection:
        connection.settimeout(_ANSWER_SECONDS)
        try:
            path = connection.makefile("rb").readline(1024).strip()
            connection.sendall(_outcome(path))
        except OSError:
            # Whoever gave the order is gone; the next one has a connection of its own.
            return


def _outcome(path: bytes) -> bytes:
    try:
        return b"+" + _get(path)
    except OSError as error:
        return b"-" + str(error).encode()


def _get(path: bytes) -> bytes:
    with socket.create_connection((content.POD_V4, content.POD_PORT), _ANSWER_SECONDS) as pod:
        pod.sendall(b"GET %s HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n" % path)
        answer = bytearray()
        while len(answer) < _ANSWER_LIMIT:
            received = pod.recv(65536)
            if not received:
                break
            answer += received
    head, separator, body = bytes(answer).partition(b"\r\n\r\n")
    if not separator or not head.startswith(b"HTTP/1."):
        raise OSError(f"no HTTP answer from the pod, but {len(answer)} bytes")
    return body
