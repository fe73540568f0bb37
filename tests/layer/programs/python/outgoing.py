"""Connections by Python's own doors. The first argument names the case, the rest are hosts and ports."""

import asyncio
import errno
import hashlib
import http.client
import selectors
import socket
import sys
import threading
import urllib.request

SIZE = 16 << 20


def get(url: str) -> None:
    with urllib.request.urlopen(url, timeout=20) as answer:
        print(answer.status, answer.read())


def connection(host: str, port: str) -> None:
    for _turn in range(2):
        client = http.client.HTTPConnection(host, int(port), timeout=20)
        client.request("GET", "/")
        answer = client.getresponse()
        print(answer.status, answer.read())
        assert client.sock is None or client.sock.getpeername()[1] == int(port)
        client.close()


def greeting(host: str, port: str) -> None:
    with socket.create_connection((host, int(port)), timeout=20) as client:
        print(client.recv(100), client.getpeername()[1])


async def _streams(host: str, port: str) -> None:
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"hello\n")
    writer.write_eof()
    print(await reader.read(), writer.get_extra_info("peername")[1])
    writer.close()
    await writer.wait_closed()


def streams(host: str, port: str) -> None:
    asyncio.run(asyncio.wait_for(_streams(host, port), 20))


async def _many(host: str, port: str) -> None:
    async def one(number: int) -> bytes:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"number %d" % number)
        writer.write_eof()
        text = await reader.read()
        writer.close()
        return text

    answers = await asyncio.gather(*(one(number) for number in range(50)))
    print(answers == [b"number %d" % number for number in range(50)])


def many(host: str, port: str) -> None:
    asyncio.run(asyncio.wait_for(_many(host, port), 25))


def bulk(host: str, port: str) -> None:
    """16 MiB there and back on one connection, both directions at once."""
    block = bytes(range(256)) * 256
    sent = hashlib.sha256()
    with socket.create_connection((host, int(port)), timeout=25) as client:

        def send() -> None:
            for number in range(SIZE // len(block)):
                part = number.to_bytes(4, "big") + block[4:]
                sent.update(part)
                client.sendall(part)
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        received, length = hashlib.sha256(), 0
        while part := client.recv(1 << 16):
            received.update(part)
            length += len(part)
        sender.join()
    print(length, received.hexdigest(), received.digest() == sent.digest())


def failures(*ends: str) -> None:
    for end in ends:
        host, _, port = end.rpartition("/")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError as problem:
            print(end, type(problem).__name__, errno.errorcode.get(problem.errno or 0, problem.errno))
        else:
            print(end, "connected")


def selected(host: str, port: str) -> None:
    client = socket.socket()
    client.setblocking(False)
    print(client.connect_ex((host, int(port))) in (0, errno.EINPROGRESS))
    with selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_WRITE)
        print(len(selector.select(20)), client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    client.setblocking(True)
    client.sendall(b"selected")
    client.shutdown(socket.SHUT_WR)
    print(client.recv(100, socket.MSG_WAITALL))
    client.close()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
