"""What a process and its descendants leave on the machine: taken while they live, checked when they should be gone."""

import contextlib
import os
import select
import time
from pathlib import Path
from types import TracebackType

_GONE_SECONDS = 10.0
_KINDS = ("user", "mnt", "net", "uts", "ipc", "pid")


class Traces:
    """The processes below `root`, their namespaces, and the folders that they work with.

    Holds a descriptor of each process and namespace: the end of a process is an event then, and no number is given to
    somebody else meanwhile. A context manager: it closes them.
    """

    def __init__(self, root: int) -> None:
        self.processes = {process: os.pidfd_open(process) for process in [root, *descendants(root)]}
        own = namespaces(os.getpid())
        self._held: "list[int]" = []
        self.namespaces: "set[str]" = set()
        for process in self.processes:
            for kind in _KINDS:
                self._hold(f"/proc/{process}/ns/{kind}", own)
        self.folders = {folder for process in self.processes for folder in session_folders(process)}

    def __enter__(self) -> "Traces":
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", _: "TracebackType | None"
    ) -> None:
        for descriptor in [*self.processes.values(), *self._held]:
            os.close(descriptor)

    def _hold(self, path: str, own: "set[str]") -> None:
        with contextlib.suppress(OSError):
            name = os.readlink(path)
            if name not in own and name not in self.namespaces:
                self._held.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
                self.namespaces.add(name)

    def left(self) -> "list[str]":
        """What is still there after a bounded time; empty is good."""
        deadline = time.monotonic() + _GONE_SECONDS
        left = [f"process {number}" for number, end in self.processes.items() if not _ends(end, deadline)]
        alive = {space for number in process_numbers() if not is_zombie(number) for space in namespaces(number)}
        left += sorted(f"namespace {space}" for space in self.namespaces & alive)
        left += sorted(f"folder {folder}" for folder in self.folders if folder.exists())
        mounts = Path("/proc/self/mountinfo").read_text()
        left += sorted(f"mount {folder}" for folder in self.folders if str(folder) in mounts)
        return left


def descendants(root: int) -> "list[int]":
    parents: "dict[int, list[int]]" = {}
    for number in process_numbers():
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{number}/stat").read_text(errors="replace").rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(number)
    found, waiting = [], [root]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def process_numbers() -> "list[int]":
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def is_zombie(process: int) -> bool:
    """Whether it has ended and only its parent has not looked yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def namespaces(process: int) -> "set[str]":
    found = set()
    for kind in _KINDS:
        # Other users' processes are not ours to look at, and any process may end meanwhile.
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/{process}/ns/{kind}"))
    return found


def session_folders(process: int) -> "set[Path]":
    try:
        variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return set()
    prefix = b"MIRRORD_SESSION="
    return {Path(os.fsdecode(value[len(prefix) :])) for value in variables if value.startswith(prefix)}


def _ends(descriptor: int, deadline: float) -> bool:
    watch = select.poll()
    watch.register(descriptor, select.POLLIN)
    return bool(watch.poll(max(0.0, deadline - time.monotonic()) * 1000))
