"""What the sandbox is made of: names, addresses, environment and files. Only data and the code that lays files out.

Used by `builder` and the services; the tests compare with these constants.
"""

import os

HOST_NAME = "shop-7d4b9c-x2x1p"
DOMAIN = "shop.internal"

WEB_V4, WEB_V6, WEB_PORT = "10.77.0.2", "fd00:77::2", 8080
DATABASE_V4, DATABASE_V6, DATABASE_PORT = "10.77.0.3", "fd00:77::3", 5432
CONTROL_V4, CONTROL_PORT = "10.77.0.9", 9000
STALLED_V4, STALLED_PORT = "10.77.0.66", 7777
DNS_V4, DNS_V6, DNS_PORT = "10.77.0.53", "fd00:77::53", 53
POD_V4, POD_V6, POD_PORT = "10.88.0.1", "fd00:88::1", 80
CUSTOMER_V4, CUSTOMER_V6 = "10.88.0.2", "fd00:88::2"

CUSTOMER_SOCKET = "/run/customer.sock"
"""Where the customer process takes orders: one path per connection, the answer's body back."""

WEB_BODY = b'{"service": "catalog", "items": ["apple", "pear", "plum"]}\n'
POD_BODY = b"from the pod\n"
DATABASE_GREETING = b"* demo database ready\r\n"

ENVIRONMENT: "dict[bytes, bytes]" = {
    b"PATH": b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    b"HOME": b"/root",
    b"HOSTNAME": HOST_NAME.encode(),
    b"LANG": b"C.UTF-8",
    b"SHOP_NAME": b"The Corner Shop",
    b"SHOP_REGION": b"eu-north",
    b"DATABASE_URL": b"tcp://db.shop.internal:5432",
    b"CATALOG_URL": b"http://catalog.shop.internal:8080/",
    b"GREETING": "Grüße aus dem Pod".encode(),
    b"LATIN1_NAME": b"caf\xe9",
    b"MULTI_LINE": b"first\nsecond",
    b"WITH_EQUALS": b"a=b=c",
    b"EMPTY": b"",
    b"PYTHONPATH": b"/app/lib",
    b"KUBERNETES_SERVICE_HOST": b"10.77.0.1",
}

SETTINGS = b'{"currency": "EUR", "discount": 5, "source": "only in the pod"}\n'
HOSTS = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n"
    f"{POD_V4}\t{HOST_NAME}\n{DATABASE_V4}\tlegacy-db legacy-db.example\n"
).encode()
RESOLV_CONF = f"nameserver {DNS_V4}\nsearch {DOMAIN}\noptions ndots:2 timeout:2 attempts:2\n".encode()
NSSWITCH = b"passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n"
BINARY_SIZE = 1 << 20
BINARY_FILES = ("/data/blob.bin",)
LATIN1_FILE = b"/data/caf\xe9.txt"


def binary() -> bytes:
    """1 MiB that looks random, is the same each time, and differs at every offset that matters (block borders)."""
    state, block = 0x2545F491, bytearray()
    # 4093 is prime, so no power-of-two offset ever meets the same bytes twice.
    while len(block) < 4093:
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        block.append(state >> 16 & 0xFF)
    parts = [bytes(block[turn:] + block[:turn]) for turn in range(BINARY_SIZE // 4093 + 1)]
    return b"".join(parts)[:BINARY_SIZE]


def lay_out(root: str) -> None:
    """Write /app and /data below `root`."""
    base = os.fsencode(root)
    for folder in (b"/app/config", b"/app/lib", b"/data/empty", b"/data/many", b"/data/deep/er/est"):
        os.makedirs(base + folder)
    _write(base + b"/app/config/settings.json", SETTINGS)
    _write(base + b"/app/lib/prices.csv", b"apple,3\npear,4\nplum,2\n")
    _write(base + b"/data/hello.txt", b"hello from the target\n")
    _write(base + b"/data/lines.txt", b"".join(b"line %d\n" % number for number in range(1, 101)))
    _write(base + b"/data/empty.txt", b"")
    _write(base + b"/data/blob.bin", binary())
    _write(base + LATIN1_FILE, b"a name that is not UTF-8\n")
    _write(base + b"/data/deep/er/est/leaf.txt", b"leaf\n")
    _write(base + b"/data/script.sh", b"#!/bin/sh\necho script\n", 0o755)
    _write(base + b"/data/secret.key", b"nobody reads this\n", 0o000)
    for number in range(200):
        _write(base + b"/data/many/%03d.txt" % number, b"file %d\n" % number)
    os.symlink("/data/hello.txt", base + b"/data/absolute-link")
    os.symlink("hello.txt", base + b"/data/relative-link")
    os.symlink("deep/er", base + b"/data/folder-link")
    os.symlink("../../../hello.txt", base + b"/data/deep/er/est/up-link")
    os.symlink("/data/nowhere", base + b"/data/broken-link")
    os.symlink("loop-link", base + b"/data/loop-link")


def _write(path: bytes, data: bytes, mode: int = 0o644) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
