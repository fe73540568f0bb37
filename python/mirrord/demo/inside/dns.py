"""The name server of the sandbox's domain: an answer for a query's bytes. No I/O; `services` owns the sockets."""

import socket
import struct

from . import content

_A, _CNAME, _PTR, _AAAA, _SRV, _TXT, _OPT = 1, 5, 12, 28, 33, 16, 41
_NO_ERROR, _FORMAT_ERROR, _NO_SUCH_NAME = 0, 1, 3
_AUTHORITATIVE, _RESPONSE, _TRUNCATED, _RECURSION_AVAILABLE = 0x0400, 0x8000, 0x0200, 0x0080
_PLAIN_UDP_LIMIT = 512
_TTL = 5


def _name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def _v4(address: str) -> "tuple[int, bytes]":
    return _A, socket.inet_pton(socket.AF_INET, address)


def _v6(address: str) -> "tuple[int, bytes]":
    return _AAAA, socket.inet_pton(socket.AF_INET6, address)


def _zone() -> "dict[str, list[tuple[int, bytes]]]":
    short: "dict[str, list[tuple[int, bytes]]]" = {
        "catalog": [_v4(content.WEB_V4), _v6(content.WEB_V6)],
        "db": [_v4(content.DATABASE_V4), _v6(content.DATABASE_V6)],
        "dns": [_v4(content.DNS_V4), _v6(content.DNS_V6)],
        "control": [_v4(content.CONTROL_V4)],
        "stalled": [_v4(content.STALLED_V4)],
        "customer": [_v4(content.CUSTOMER_V4), _v6(content.CUSTOMER_V6)],
        "v4only": [_v4(content.WEB_V4)],
        "v6only": [_v6(content.WEB_V6)],
        "www": [(_CNAME, _name("catalog.shop.internal"))],
        "_http._tcp.catalog": [(_SRV, struct.pack("!HHH", 0, 10, content.WEB_PORT) + _name("catalog.shop.internal"))],
        "note": [(_TXT, b"\x15only the pod sees this")],
        "many": [_v4(f"10.77.1.{number}") for number in range(1, 61)],
    }
    zone = {f"{name}.{content.DOMAIN}": records for name, records in short.items()}
    zone[content.DOMAIN] = [_v4(content.WEB_V4)]
    for name in ("catalog", "db", "dns"):
        full = f"{name}.{content.DOMAIN}"
        for kind, data in short[name]:
            zone[_reverse(kind, data)] = [(_PTR, _name(full))]
    return zone


def _reverse(kind: int, data: bytes) -> str:
    if kind == _A:
        return ".".join(str(byte) for byte in reversed(data)) + ".in-addr.arpa"
    return ".".join(reversed(data.hex())) + ".ip6.arpa"


_ZONE = _zone()


def answer(query: bytes, over_udp: bool) -> "bytes | None":
    """The response to `query`, or None for what deserves none."""
    if len(query) < 12:
        return None
    identity, flags, questions, _, _, extra = struct.unpack_from("!6H", query)
    if flags & _RESPONSE:
        return None
    try:
        labels, kind, end = _question(query)
    except (IndexError, struct.error):
        return struct.pack("!6H", identity, _RESPONSE | _FORMAT_ERROR, 0, 0, 0, 0)
    name = ".".join(labels).lower()
    status, records = _look_up(name, kind)
    limit = _udp_limit(query, end, extra) if over_udp else 65535
    body = b"".join(_record(owner, record) for owner, record in records)
    bits = _RESPONSE | _AUTHORITATIVE | _RECURSION_AVAILABLE | flags & 0x0100 | status
    if end + len(body) > limit:
        bits, body, records = bits | _TRUNCATED, b"", []
    return struct.pack("!6H", identity, bits, questions, len(records), 0, 0) + query[12:end] + body


def _question(query: bytes) -> "tuple[list[str], int, int]":
    labels, place = [], 12
    while query[place]:
        size = query[place]
        if size > 63 or place + size >= len(query):
            raise IndexError(place)
        labels.append(query[place + 1 : place + 1 + size].decode("latin-1"))
        place += 1 + size
    kind, _ = struct.unpack_from("!HH", query, place + 1)
    return labels, kind, place + 5


def _udp_limit(query: bytes, end: int, extra: int) -> int:
    # An OPT record has the empty name, and its class is the size that the asker takes.
    if extra and len(query) >= end + 5 and query[end] == 0:
        kind, size = struct.unpack_from("!HH", query, end + 1)
        if kind == _OPT:
            return min(max(int(size), _PLAIN_UDP_LIMIT), 4096)
    return _PLAIN_UDP_LIMIT


def _look_up(name: str, kind: int) -> "tuple[int, list[tuple[str, tuple[int, bytes]]]]":
    if name not in _ZONE:
        return _NO_SUCH_NAME, []
    found: "list[tuple[str, tuple[int, bytes]]]" = []
    records = _ZONE[name]
    if records[0][0] == _CNAME and kind != _CNAME:
        found.append((name, records[0]))
        name = f"catalog.{content.DOMAIN}"
        records = _ZONE[name]
    found += [(name, record) for record in records if record[0] == kind]
    return _NO_ERROR, found


def _record(owner: str, record: "tuple[int, bytes]") -> bytes:
    kind, data = record
    return _name(owner) + struct.pack("!HHIH", kind, 1, _TTL, len(data)) + data
