"""A proxy for the layer alone: answers its questions from tables, and relays to sockets of this machine.

Lets the layer be tried without a session: the folder that `MIRRORD_SESSION` names holds `proxy.sock` (this) and
`policy` (written by the layer's example `make_image`). Every question is also appended to `log`, for tests to look at.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Address = tuple[str, int]

ERRNO, VIA, ENDS, ADDRESSES, NAME, PACKET, NAME_ERROR = 2, 3, 4, 5, 6, 7, 8
DONE = b"\x01"


@dataclass(frozen=True)
class Question:
    """A decoded message of the layer."""

    kind: str
    fields: dict[str, object]


@dataclass
class Tables:
    """What the target is made of."""

    #: remote address -> where it really is; an int is the errno of the connect.
    routes: dict[Address, Address | int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    reverse: dict[str, str] = field(default_factory=dict)
    #: Seconds that a connect takes.
    delay: float = 0.0


class Reader:
    """Reads fixed-width little-endian fields."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        part = self.data[self.at : self.at + count]
        if len(part) != count:
            raise ValueError("short message")
        self.at += count
        return part

    def number(self, form: str) -> int:
        (value,) = struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))
        return int(value)

    def bytes(self) -> bytes:
        return self.take(self.number("H"))

    def ip(self) -> str:
        return str(ipaddress.ip_address(self.take(4 if self.number("B") == 4 else 16)))

    def socket(self) -> Address:
        ip = self.ip()
        port = self.number("H")
        self.number("I")
        return (ip, port)


def decode(data: bytes) -> Question:
    """Reads a question."""
    reader = Reader(data)
    tag = reader.number("B")
    if tag == 1:
        return Question("hello", {"pid": reader.number("I"), "program": reader.bytes()})
    if tag == 2:
        remote, flags, timeout = reader.socket(), reader.number("B"), reader.number("I")
        return Question(
            "connect",
            {"remote": remote, "nonblocking": bool(flags & 1), "v6": bool(flags & 2), "timeout_ms": timeout},
        )
    if tag == 3:
        return Question("established", {"local": reader.socket()})
    if tag in (4, 11):
        kind = "listen" if tag == 4 else "bound"
        return Question(kind, {"local": reader.socket(), "requested": reader.socket()})
    if tag == 5:
        return Question("ends", {"local": reader.socket(), "peer": reader.socket()})
    if tag == 6:
        return Question("resolve", {"family": reader.number("B"), "name": reader.bytes().decode()})
    if tag == 7:
        return Question("reverse", {"address": reader.ip()})
    if tag == 8:
        dns_class, kind_, search = reader.number("H"), reader.number("H"), reader.number("B")
        return Question("query", {"class": dns_class, "kind": kind_, "search": bool(search), "name": reader.bytes()})
    if tag == 9:
        return Question("forward", {"packet": reader.bytes()})
    if tag == 10:
        return Question("notice", {"notice": reader.number("B"), "pid": reader.number("I"), "subject": reader.bytes()})
    raise ValueError(f"unknown tag {tag}")


def pack_bytes(data: bytes) -> bytes:
    return struct.pack("<H", len(data)) + data


def pack_ip(text: str) -> bytes:
    packed = ipaddress.ip_address(text).packed
    return bytes([4 if len(packed) == 4 else 6]) + packed


def pack_socket(address: Address) -> bytes:
    return pack_ip(address[0]) + struct.pack("<HI", address[1], 0)


def pack_errno(number: int) -> bytes:
    return bytes([ERRNO]) + struct.pack("<I", number)


class FakeProxy:
    """Serves one session folder until closed."""

    def __init__(self, folder: Path, tables: Tables, ip: str = "127.77.1.1") -> None:
        self.tables = tables
        self.ip = ip
        self.log: list[Question] = []
        self.ends: dict[Address, tuple[Address, Address]] = {}
        self.bound: dict[Address, Address] = {}
        self.listening: dict[Address, Address] = {}
        #: own address of a socket in progress -> why its connection failed.
        self.failed: dict[Address, int] = {}
        self.waiting: dict[Address, socket.socket] = {}
        self.changed = threading.Condition()
        self.listener = socket.create_server((ip, 0))
        folder.mkdir(parents=True, exist_ok=True)
        self.door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.door.bind(str(folder / "proxy.sock"))
        self.door.listen(128)
        for loop in (self._questions, self._connections):
            threading.Thread(target=loop, daemon=True).start()

    @property
    def address(self) -> Address:
        host, port = self.listener.getsockname()
        return (str(host), int(port))

    def close(self) -> None:
        for owned in (self.door, self.listener):
            with contextlib.suppress(OSError):
                owned.shutdown(socket.SHUT_RDWR)
            owned.close()

    def deliver(self, requested: Address, peer: Address) -> socket.socket:
        """Connects to the program's listener as the proxy does for a connection of `peer` to the target."""
        with self.changed:
            if not self.changed.wait_for(lambda: requested in self.listening, timeout=10):
                raise TimeoutError(f"nobody listens on {requested}")
            local = self.listening[requested]
        connection = socket.socket()
        connection.bind((self.ip, 0))
        own = connection.getsockname()
        host = "127.0.0.1" if local[0] in ("0.0.0.0", "::") else local[0]
        # The program sees the other direction: its peer is our own address.
        self.ends[(own[0], own[1])] = (peer, ("10.7.7.7", requested[1]))
        connection.connect((host, local[1]))
        return connection

    def _questions(self) -> None:
        while True:
            try:
                line, _ = self.door.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):
            question = decode(line.recv(70_000))
            self.log.append(question)
            if question.kind == "connect":
                self._connect(line, question)
                return
            line.send(self._answer(question))

    def _answer(self, question: Question) -> bytes:
        handler: Callable[[dict[str, object]], bytes] | None = getattr(self, f"_on_{question.kind}", None)
        return handler(question.fields) if handler else DONE

    def _connect(self, line: socket.socket, question: Question) -> None:
        remote = question.fields["remote"]
        assert isinstance(remote, tuple)
        time.sleep(self.tables.delay)
        route = self.tables.routes.get(remote, errno.EHOSTUNREACH)
        if isinstance(route, int) and question.fields["nonblocking"] and self.tables.delay:
            self._fail_later(line, route)
            return
        if isinstance(route, int):
            line.send(pack_errno(route))
            return
        try:
            far = socket.create_connection(route)
        except OSError as error:
            line.send(pack_errno(error.errno or errno.EIO))
            return
        line.send(bytes([VIA]) + pack_socket(self.address))
        reply = line.recv(1000)
        if not reply:
            far.close()
            return
        established = decode(reply)
        self.log.append(established)
        local = established.fields["local"]
        assert isinstance(local, tuple)
        with self.changed:
            self.ends[local] = (remote, ("10.7.7.7", 40_000))
            self.waiting[local] = far
            self.changed.notify_all()

    def _fail_later(self, line: socket.socket, reason: int) -> None:
        """A pending listener: its full queue keeps the program's socket in progress until it closes."""
        pending = socket.socket()
        pending.bind((self.ip, 0))
        pending.listen(0)
        with pending, socket.create_connection(pending.getsockname()):
            line.send(bytes([VIA]) + pack_socket(pending.getsockname()[:2]))
            local = decode(line.recv(1000)).fields["local"]
            assert isinstance(local, tuple)
            self.failed[local] = reason

    def _connections(self) -> None:
        while True:
            try:
                near, peer = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(near, (peer[0], peer[1])), daemon=True).start()

    def _relay(self, near: socket.socket, peer: Address) -> None:
        with self.changed:
            if not self.changed.wait_for(lambda: peer in self.waiting, timeout=10):
                near.close()
                return
            far = self.waiting.pop(peer)
        back = threading.Thread(target=self._pump, args=(far, near), daemon=True)
        back.start()
        self._pump(near, far)
        back.join()
        near.close()
        far.close()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def _on_listen(self, fields: dict[str, object]) -> bytes:
        local = fields["local"]
        assert isinstance(local, tuple)
        requested = self.bound.get(local, local)
        with self.changed:
            self.listening[requested] = local
            self.changed.notify_all()
        return DONE

    def _on_bound(self, fields: dict[str, object]) -> bytes:
        local, requested = fields["local"], fields["requested"]
        assert isinstance(local, tuple) and isinstance(requested, tuple)
        if requested in self.bound.values():
            return pack_errno(errno.EADDRINUSE)
        self.bound[local] = requested
        return DONE

    def _on_ends(self, fields: dict[str, object]) -> bytes:
        local, peer = fields["local"], fields["peer"]
        assert isinstance(local, tuple) and isinstance(peer, tuple)
        if peer == ("0.0.0.0", 0) and local in self.failed:
            return pack_errno(self.failed[local])
        with self.changed:
            # `Established` was sent on another connection, before this question; it may be read after it.
            if peer == self.address:
                self.changed.wait_for(lambda: local in self.ends, timeout=1)
            known = self.ends.get(local) or self.ends.get(peer)
        if known is None and local in self.bound:
            known = (("0.0.0.0", 0), self.bound[local])
        if known is None:
            return pack_errno(errno.ENOTCONN)
        return bytes([ENDS]) + pack_socket(known[0]) + pack_socket(known[1])

    def _on_resolve(self, fields: dict[str, object]) -> bytes:
        name, family = str(fields["name"]), fields["family"]
        if name.startswith("slow"):
            return bytes([NAME_ERROR, 3])
        if name not in self.tables.names:
            return bytes([NAME_ERROR, 1])
        fitting = [a for a in self.tables.names[name] if family in (0, 6 if ":" in a else 4)]
        if not fitting:
            return bytes([NAME_ERROR, 2])
        listed = b"".join(pack_ip(address) for address in fitting)
        return bytes([ADDRESSES]) + pack_bytes(name.encode()) + pack_bytes(listed)

    def _on_reverse(self, fields: dict[str, object]) -> bytes:
        name = self.tables.reverse.get(str(fields["address"]))
        return bytes([NAME]) + pack_bytes(name.encode()) if name else bytes([NAME_ERROR, 1])

    def _on_query(self, fields: dict[str, object]) -> bytes:
        packet = b"\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + bytes(str(fields["kind"]), "ascii")
        return bytes([PACKET]) + pack_bytes(packet)

    def _on_forward(self, fields: dict[str, object]) -> bytes:
        packet = fields["packet"]
        assert isinstance(packet, bytes)
        return bytes([PACKET]) + pack_bytes(packet)
