"""The sandbox's root file system: a tmpfs with the machine's programs bound in read-only and the demo's own files.

Called once by `builder`, in the process that is PID 1 of the sandbox (a fresh /proc shows the namespace of whoever
mounts it). The machine's folders are bound in so that any program of the machine can also run inside, as the truth that
the tests compare with; what a pod would have of its own (/etc/hosts, /app, /data, /tmp, …) is the sandbox's.
"""

import os
from typing import TYPE_CHECKING

from . import content, linux

if TYPE_CHECKING:
    from collections.abc import Callable

_OWN = {"proc", "dev", "tmp", "run", "var", "sys", "etc", "app", "data", "mnt", "lost+found"}
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_NEW = "/sys"
"""Where the new root is put together: a folder of every Linux that is no source of anything bound here."""
_OWN_CODE = "/run/mirrord-demo"


def build(shared: "list[str]", code: str, before_entering: "Callable[[], None]") -> str:
    """Make the new root and enter it. Returns where the demo's own code is found in it.

    `before_entering` is called when only the last step is left: it moves every process of the mount namespace.
    """
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("demo", _NEW, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=64m")
    for name in os.listdir("/"):
        if name not in _OWN:
            _take_over(name)
    for name in ("dev", "run", "var", "proc", "mnt", "sys"):
        os.mkdir(f"{_NEW}/{name}", 0o755)
    for name in ("tmp", "var/tmp", "dev/shm"):
        os.mkdir(f"{_NEW}/{name}")
        os.chmod(f"{_NEW}/{name}", 0o1777)
    _bind("/etc", f"{_NEW}/etc", read_only=True)
    _overlay_etc()
    _devices()
    _process_files()
    content.lay_out(_NEW)
    _bind(code, _NEW + _OWN_CODE, read_only=True)
    for path in shared:
        if os.path.exists(path) and not os.path.exists(_NEW + path):
            _bind(path, _NEW + path, read_only=True)
    _bind(f"{code}/inside/shop.py", f"{_NEW}/app/shop.py")
    before_entering()
    os.chdir(_NEW)
    # With both arguments the same, the old root ends up on top of the new one and is taken off at once.
    linux.pivot_root(".", ".")
    linux.unmount(".", linux.MNT_DETACH)
    os.chdir("/")
    return _OWN_CODE


def _take_over(name: str) -> None:
    source, target = f"/{name}", f"{_NEW}/{name}"
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
    else:
        _bind(source, target, read_only=True)


def _bind(source: str, target: str, read_only: bool = False) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT, 0o644))
    linux.mount(source, target, None, linux.MS_BIND | linux.MS_REC)
    if read_only:
        linux.make_read_only(target)


def _overlay_etc() -> None:
    own = {"hosts": content.HOSTS, "resolv.conf": content.RESOLV_CONF, "nsswitch.conf": content.NSSWITCH}
    own["hostname"] = content.HOST_NAME.encode() + b"\n"
    os.mkdir(f"{_NEW}/run/etc")
    for name, data in own.items():
        place = _final_place(f"/etc/{name}")
        if place.startswith(("/run/", "/var/")):
            # The machine's file is a link into a folder that is the sandbox's own (systemd-resolved does so).
            os.makedirs(os.path.dirname(_NEW + place), exist_ok=True)
            _write(_NEW + place, data)
        elif os.path.exists(place):
            _write(f"{_NEW}/run/etc/{name}", data)
            _bind(f"{_NEW}/run/etc/{name}", _NEW + place)


def _final_place(path: str) -> str:
    for _ in range(8):
        if not os.path.islink(path):
            break
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
    return path


def _devices() -> None:
    for name in _DEVICES:
        if os.path.exists(f"/dev/{name}"):
            _bind(f"/dev/{name}", f"{_NEW}/dev/{name}")
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1")):
        os.symlink(target, f"{_NEW}/dev/{name}")
    os.symlink("/proc/self/fd/2", f"{_NEW}/dev/stderr")


def _process_files() -> None:
    try:
        linux.mount("proc", f"{_NEW}/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV)
    except PermissionError:
        # A container with masked files in its own /proc may not mount a fresh one; its own still serves.
        linux.mount("/proc", f"{_NEW}/proc", None, linux.MS_BIND | linux.MS_REC)


def _write(path: str, data: bytes) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(data)
