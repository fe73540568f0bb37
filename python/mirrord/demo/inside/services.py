"""The cluster around the target: DNS, web service, database, control. One event loop, in PID 1 of the sandbox.

`bind` makes every listening socket, which is when the sandbox counts as ready: the kernel keeps what arrives until
`run` accepts it, so nobody waits for this interpreter to import its event loop. `run` ends when the descriptor `life`
is closed at the other end, and with PID 1 goes the whole sandbox.
"""

import os
import socket
from typing import TYPE_CHECKING

from . import content, dns
from .network import has_ipv6

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

_HEAD_LIMIT = 16384
_IDLE_SECONDS = 300.0
_ORDER_SECONDS = 12.0


def bind() -> "dict[str, list[socket.socket]]":
    """Every listening socket, by service."""
    stream, datagram = socket.SOCK_STREAM, socket.SOCK_DGRAM
    listeners = {
        "web": [_listen(stream, content.WEB_V4, content.WEB_PORT)],
        "database": [_listen(stream, content.DATABASE_V4, content.DATABASE_PORT)],
        "control": [_listen(stream, content.CONTROL_V4, content.CONTROL_PORT)],
        "dns-tcp": [_listen(stream, content.DNS_V4, content.DNS_PORT)],
        "dns-udp": [_listen(datagram, content.DNS_V4, content.DNS_PORT)],
        "stalled": _stalled(),
    }
    if has_ipv6():
        listeners["web"].append(_listen(stream, content.WEB_V6, content.WEB_PORT))
        listeners["database"].append(_listen(stream, content.DATABASE_V6, content.DATABASE_PORT))
        listeners["dns-tcp"].append(_listen(stream, content.DNS_V6, content.DNS_PORT))
        listeners["dns-udp"].append(_listen(datagram, content.DNS_V6, content.DNS_PORT))
    return listeners


def _listen(kind: int, address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, kind)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    if kind == socket.SOCK_STREAM:
        listener.listen(512)
    listener.setblocking(False)
    return listener


def _stalled() -> "list[socket.socket]":
    """A port that never answers: its queue is full, so the kernel drops each new connection's first packet."""
    listener = socket.socket()
    listener.bind((content.STALLED_V4, content.STALLED_PORT))
    listener.listen(0)
    filler = socket.socket()
    filler.connect((content.STALLED_V4, content.STALLED_PORT))
    return [listener, filler]


def run(listeners: "dict[str, list[socket.socket]]", life: int) -> None:
    """Serve until the other end of `life` is closed."""
    import asyncio

    asyncio.run(_serve(listeners, life))


async def _serve(listeners: "dict[str, list[socket.socket]]", life: int) -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.add_reader(life, ended.set_result, None)
    handlers = {"web": _web, "database": _database, "control": _control, "dns-tcp": _dns_stream}
    servers = [
        await asyncio.start_server(handler, sock=listener, limit=_HEAD_LIMIT)
        for name, handler in handlers.items()
        for listener in listeners[name]
    ]
    for listener in listeners["dns-udp"]:
        loop.add_reader(listener.fileno(), _dns_datagram, listener)
    await ended
    for server in servers:
        server.close()
    os._exit(0)


def _dns_datagram(listener: socket.socket) -> None:
    try:
        query, asker = listener.recvfrom(4096)
        response = dns.answer(query, over_udp=True)
        if response is not None:
            listener.sendto(response, asker)
    except OSError:
        # A datagram's asker may be gone or its error may be queued here; the next one is served all the same.
        return


async def _dns_stream(reader: "asyncio.StreamReader", writer: "asyncio.StreamWriter") -> None:
    async def serve() -> None:
        while True:
            size = int.from_bytes(await reader.readexactly(2), "big")
            response = dns.answer(await reader.readexactly(size), over_udp=False)
            if response is None:
                return
            writer.write(len(response).to_bytes(2, "big") + response)
            await writer.drain()

    await _guard(serve(), writer)


async def _web(reader: "asyncio.StreamReader", writer: "asyncio.StreamWriter") -> None:
    async def serve() -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            method, path = [*head.split(b" ", 2), b"", b""][:2]
            length = _content_length(head)
            if path == b"/echo":
                body = await reader.readexactly(length)
            else:
                await reader.readexactly(length)
                body = content.binary() if path == b"/blob" else content.WEB_BODY
            writer.write(_response(b"200 OK", body, method != b"HEAD"))
            await writer.drain()
            if b"connection: close" in head.lower():
                return

    await _guard(serve(), writer)


async def _control(reader: "asyncio.StreamReader", writer: "asyncio.StreamWriter") -> None:
    """`GET /ask/PATH`: has the customer ask the pod for `/PATH` and passes on what it got."""
    import asyncio

    async def serve() -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        target = [*head.split(b" ", 2), b"", b""][1]
        if not target.startswith(b"/ask"):
            writer.write(_response(b"404 Not Found", b"ask for /ask or /ask/PATH\n", True))
            return
        order_reader, order_writer = await asyncio.open_unix_connection(content.CUSTOMER_SOCKET)
        order_writer.write((target[4:] or b"/") + b"\n")
        outcome = await asyncio.wait_for(order_reader.read(-1), _ORDER_SECONDS)
        order_writer.close()
        status = b"200 OK" if outcome[:1] == b"+" else b"502 Bad Gateway"
        writer.write(_response(status, outcome[1:], True))

    await _guard(serve(), writer)


async def _database(reader: "asyncio.StreamReader", writer: "asyncio.StreamWriter") -> None:
    """A line protocol that speaks first, as databases do: `GET NAME`, `PING`, `QUIT`."""
    rows = {b"apple": b"3", b"pear": b"4", b"plum": b"2"}

    async def serve() -> None:
        writer.write(content.DATABASE_GREETING)
        while True:
            await writer.drain()
            words = (await reader.readuntil(b"\n")).split()
            if words[:1] == [b"QUIT"]:
                writer.write(b"+BYE\r\n")
                return
            if words == [b"PING"]:
                writer.write(b"+PONG\r\n")
            elif words[:1] == [b"GET"] and len(words) == 2 and words[1] in rows:
                writer.write(b"+" + rows[words[1]] + b"\r\n")
            else:
                writer.write(b"-ERR unknown\r\n")

    await _guard(serve(), writer)


async def _guard(work: "Coroutine[None, None, None]", writer: "asyncio.StreamWriter") -> None:
    """Run one connection's conversation: bounded in time, and over when the client is."""
    import asyncio

    try:
        await asyncio.wait_for(work, _IDLE_SECONDS)
        await writer.drain()
    except (OSError, EOFError, ValueError, asyncio.TimeoutError, asyncio.LimitOverrunError):
        # The client left, stalled, or spoke another protocol: the connection is closed, nobody else notices.
        pass
    finally:
        writer.close()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return min(int(value), 1 << 24)
    return 0


def _response(status: bytes, body: bytes, with_body: bool) -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    return head + body if with_body else head
