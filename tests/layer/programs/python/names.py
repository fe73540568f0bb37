"""Names by Python's own doors."""

import asyncio
import platform
import socket
import sys


def addresses(*names: str) -> None:
    for name in names:
        try:
            found = sorted({item[4][0] for item in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)})
        except socket.gaierror as problem:  # noqa: PERF203 - each failure is a result
            print(name, "gaierror", problem.errno)
        else:
            print(name, found)


def first(*names: str) -> None:
    """The order is what a program that tries only one address depends on."""
    for name in names:
        print(name, socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)[0][4][0])


def extended(name: str) -> None:
    print(socket.gethostbyname(name))
    host, aliases, found = socket.gethostbyname_ex(name)
    print(host, sorted(aliases), sorted(found))


def machine() -> None:
    print(socket.gethostname(), platform.node())


async def _several(names: "tuple[str, ...]") -> None:
    loop = asyncio.get_running_loop()
    answers = await asyncio.gather(*(loop.getaddrinfo(name, 80, type=socket.SOCK_STREAM) for name in names))
    print([sorted(item[4][0] for item in answer) for answer in answers])


def several(*names: str) -> None:
    asyncio.run(_several(names))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
