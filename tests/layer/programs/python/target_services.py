"""Servers inside the target for the outgoing cases: started by the tests through the sandbox, ended with it.

Listens on every address of the target, v4 and v6, prints `ready` and goes on in the background: the process that
started it returns, so a start is an event and not a guess.
"""

import hashlib
import os
import socket
import socketserver
import struct
import threading

ECHO, DIGEST, CLOSES_FIRST, LAST_RECEIVED, CLIENT, RESET = 7007, 7008, 7009, 7010, 7011, 7013


class _Heard:
    """What `ClosesFirst` heard after it had closed; `LastReceived` waits for it."""

    text = b""
    is_complete = threading.Event()


class _Service(socketserver.BaseRequestHandler):
    timeout = 30.0

    def setup(self) -> None:
        self.request.settimeout(self.timeout)


class Echo(_Service):
    """Gives back what comes, until the client closes its direction."""

    def handle(self) -> None:
        while part := self.request.recv(1 << 16):
            self.request.sendall(part)


class Digest(_Service):
    """Reads to the client's end, then answers: works only when a half-close travels as itself."""

    def handle(self) -> None:
        digest = hashlib.sha256()
        while part := self.request.recv(1 << 16):
            digest.update(part)
        self.request.sendall(digest.hexdigest().encode())


class ClosesFirst(_Service):
    """Speaks, closes its own direction, and still listens."""

    def handle(self) -> None:
        _Heard.is_complete.clear()
        self.request.sendall(b"first")
        self.request.shutdown(socket.SHUT_WR)
        text = b""
        while part := self.request.recv(100):
            text += part
        _Heard.text = text
        _Heard.is_complete.set()


class LastReceived(_Service):
    """What `ClosesFirst` heard after it had closed."""

    def handle(self) -> None:
        _Heard.is_complete.wait(self.timeout)
        self.request.sendall(_Heard.text)


class Client(_Service):
    """The client's address, as the target sees it."""

    def handle(self) -> None:
        self.request.sendall(self.client_address[0].encode())
        while self.request.recv(100):
            pass


class Resets(_Service):
    """Ends the connection with RST after the first byte."""

    def handle(self) -> None:
        self.request.recv(1)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.request.close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def shutdown_request(self, request: "socket.socket | tuple[bytes, socket.socket]") -> None:
        # The default closes both directions at once, which would turn a late byte of the client into a reset.
        self.close_request(request)


class _ServerV6(_Server):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()


def main() -> None:
    handlers = {
        ECHO: Echo,
        DIGEST: Digest,
        CLOSES_FIRST: ClosesFirst,
        LAST_RECEIVED: LastReceived,
        CLIENT: Client,
        RESET: Resets,
    }
    servers = []
    for port, handler in handlers.items():
        servers += [_Server(("0.0.0.0", port), handler), _ServerV6(("::", port), handler)]
    if os.fork():
        os._exit(0)
    os.setsid()
    print("ready", flush=True)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    threads = [threading.Thread(target=server.serve_forever) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
