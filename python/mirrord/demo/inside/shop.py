"""The target process: the pod's own service. It answers port 80 on the listening sockets it inherits.

Started by `builder` with the target's environment; `/proc/PID/environ` of this process is what the agent reads. Paths:
`/client` gives the client's address, every other the body that `content.POD_BODY` repeats. A connection serves any
number of requests, so that a test can hold one open across a steal.
"""

import os
import sys

if __name__ == "__main__":
    # Tells the builder that this process is what it will stay: its environment can be read from now on.
    os.write(int(sys.argv[1]), b"x")
    os.close(int(sys.argv[1]))

import socket
import threading

_BODY = b"from the pod\n"
_REQUEST_LIMIT = 16384
_IDLE_SECONDS = 300.0


def main() -> None:
    listeners = [socket.socket(fileno=int(number)) for number in sys.argv[2:]]
    threads = [threading.Thread(target=_accept, args=(listener,)) for listener in listeners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _accept(listener: socket.socket) -> None:
    while True:
        connection, client = listener.accept()
        threading.Thread(target=_serve, args=(connection, client[0]), daemon=True).start()


def _serve(connection: socket.socket, client: str) -> None:
    with connection:
        connection.settimeout(_IDLE_SECONDS)
        try:
            pending = b""
            while True:
                while b"\r\n\r\n" not in pending:
                    received = connection.recv(4096)
                    pending += received
                    if not received or len(pending) > _REQUEST_LIMIT:
                        return
                head, _, pending = pending.partition(b"\r\n\r\n")
                connection.sendall(_answer(head, client))
                if b"connection: close" in head.lower():
                    return
        except OSError:
            # The client went away or stalled: nothing is owed to it.
            return


def _answer(head: bytes, client: str) -> bytes:
    path = head.split(b" ", 2)[1] if head.count(b" ") else b"/"
    body = client.encode() + b"\n" if path == b"/client" else _BODY
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


if __name__ == "__main__":
    main()
