"""The sandbox's network: the pod's namespace with everything the target reaches, and the customer's, one cable apart.

Used by `builder`. All of the cluster's services live on extra loopback addresses of the pod's namespace; the
customer is behind a veth pair, so its requests arrive as real ones do (prerouting, with a client address).
"""

import os

from . import content, linux
from .netlink import Netlink

_POD_LINK, _CUSTOMER_LINK = "eth0", "eth0"


class Network:
    """Both network namespaces. Making one moves this process from the first (the customer's) into the second."""

    def __init__(self) -> None:
        self.customer_namespace = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._customer = Netlink()
        linux.unshare(linux.CLONE_NEWNET)
        self._pod = Netlink()

    def configure(self) -> None:
        pod, customer = self._pod, self._customer
        _open_low_ports()
        pod.up("lo")
        customer.up("lo")
        pod.add_veth(_POD_LINK, _CUSTOMER_LINK, self.customer_namespace)
        _address(pod, _POD_LINK, content.POD_V4, content.POD_V6)
        _address(customer, _CUSTOMER_LINK, content.CUSTOMER_V4, content.CUSTOMER_V6)
        pod.up(_POD_LINK)
        customer.up(_CUSTOMER_LINK)
        for address in (content.WEB_V4, content.DATABASE_V4, content.CONTROL_V4, content.STALLED_V4, content.DNS_V4):
            pod.add_address("lo", address, 32)
        if has_ipv6():
            for address in (content.WEB_V6, content.DATABASE_V6, content.DNS_V6):
                pod.add_address("lo", address, 128)


def has_ipv6() -> bool:
    return os.path.exists("/proc/sys/net/ipv6")


def _address(end: Netlink, name: str, v4: str, v6: str) -> None:
    end.add_address(name, v4, 24)
    if has_ipv6():
        end.add_address(name, v6, 64)


def _open_low_ports() -> None:
    # The target has no capabilities, yet serves port 80, as pods may since Kubernetes 1.22.
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "w") as file:
        file.write("0")
