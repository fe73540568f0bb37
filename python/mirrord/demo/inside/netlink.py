"""The few rtnetlink requests the sandbox needs: link up, add address, make a veth pair.

Used by `builder`. A socket stays in the network namespace where it was made, so one process configures both ends of
the pair: it makes one `Netlink` in each namespace.
"""

import os
import socket
import struct

_RTM_NEWLINK = 16
_RTM_NEWADDR = 20
_NLM_F_REQUEST_ACK = 0x5
_NLM_F_CREATE_EXCL = 0x600
_NLMSG_ERROR = 2
_IFF_UP = 0x1
_IFA_F_NODAD = 0x2
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 3, 18, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_HEADER = struct.Struct("=IHHII")
_INTERFACE = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ANSWER_SECONDS = 5.0


class Netlink:
    """A route socket of the network namespace in which it is made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.settimeout(_ANSWER_SECONDS)
        self._socket.bind((0, 0))
        self._sequence = 0

    def index(self, name: str) -> int:
        """The number of the interface `name`, asked through a socket of this namespace (SIOCGIFINDEX)."""
        import fcntl

        request = struct.pack("16sI20x", name.encode(), 0)
        answer = fcntl.ioctl(self._socket.fileno(), 0x8933, request)
        return int(struct.unpack_from("I", answer, 16)[0])

    def up(self, name: str) -> None:
        body = _INTERFACE.pack(socket.AF_UNSPEC, 0, self.index(name), _IFF_UP, _IFF_UP)
        self._ask(_RTM_NEWLINK, 0, body, f"bring up {name}")

    def add_address(self, name: str, address: str, prefix: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        packed = socket.inet_pton(family, address)
        # Without NODAD a fresh IPv6 address is not usable for a second.
        flags = _IFA_F_NODAD if family == socket.AF_INET6 else 0
        body = _ADDRESS.pack(family, prefix, flags, 0, self.index(name))
        body += _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
        self._ask(_RTM_NEWADDR, _NLM_F_CREATE_EXCL, body, f"add address {address}")

    def add_veth(self, name: str, peer: str, peer_namespace: int) -> None:
        """A pair of joined interfaces: `name` here, `peer` in the namespace behind the descriptor."""
        far = _INTERFACE.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        far += _attribute(_IFLA_IFNAME, peer.encode() + b"\0")
        far += _attribute(_IFLA_NET_NS_FD, struct.pack("=I", peer_namespace))
        info = _attribute(_IFLA_INFO_KIND, b"veth")
        info += _attribute(_IFLA_INFO_DATA, _attribute(_VETH_INFO_PEER, far))
        body = _INTERFACE.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        body += _attribute(_IFLA_IFNAME, name.encode() + b"\0") + _attribute(_IFLA_LINKINFO, info)
        self._ask(_RTM_NEWLINK, _NLM_F_CREATE_EXCL, body, "make a veth pair")

    def _ask(self, kind: int, flags: int, body: bytes, what: str) -> None:
        self._sequence += 1
        size = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(size, kind, _NLM_F_REQUEST_ACK | flags, self._sequence, 0) + body)
        answer = self._socket.recv(8192)
        if len(answer) < _HEADER.size + 4 or _HEADER.unpack_from(answer)[1] != _NLMSG_ERROR:
            raise OSError(f"failed to {what}: unexpected netlink answer")
        code = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        if code != 0:
            raise OSError(code, f"failed to {what}: {os.strerror(code)}")


def _attribute(kind: int, value: bytes) -> bytes:
    size = 4 + len(value)
    return struct.pack("=HH", size, kind) + value + b"\0" * (-size % 4)
