"""What one session leaves, or does not leave, on this machine: its processes and its folder.

Other sessions may run meanwhile, so everything is looked up by the session's own process ids.
"""

from __future__ import annotations

import glob
import os
import pathlib


def session_processes(pid: int) -> list[int]:
    """Every process below `mirrord exec` with process id `pid`: program, agent, holder of the remote root."""
    parents = {int(folder.name): _parent(folder) for folder in _processes()}
    found = [pid]
    for parent in found:
        found += [child for child, above in parents.items() if above == parent]
    return found[1:]


def agent_among(pids: list[int]) -> int | None:
    """The agent, when it runs on this machine."""
    return next((pid for pid in pids if _command(pid) == "mirrord-agent"), None)


def agents() -> list[int]:
    """Every agent that this machine shows; a cluster's nodes may run on it too."""
    return [int(folder.name) for folder in _processes() if _command(int(folder.name)) == "mirrord-agent"]


def found(pid: int, below: list[int]) -> list[str]:
    """What is left of the session that `pid` was, whose processes were `below`."""
    traces = [f"process {left}: {_command(left)}" for left in below if _is_alive(left)]
    for base in {os.environ.get("XDG_RUNTIME_DIR", "/tmp"), os.environ.get("TMPDIR", "/tmp"), "/tmp"}:
        traces += [f"folder {path}" for path in glob.glob(f"{base}/mirrord-{pid}-*")]
    return traces


def resident(pid: int) -> int:
    """Resident memory in KiB."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def _processes() -> list[pathlib.Path]:
    return [folder for folder in pathlib.Path("/proc").iterdir() if folder.name.isdigit()]


def _parent(folder: pathlib.Path) -> int:
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0  # it has just ended


def _command(pid: int) -> str:
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _is_alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
