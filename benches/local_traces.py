"""What a session leaves, or does not leave, on this machine: agents, session folders, mounts in namespaces."""

from __future__ import annotations

import glob
import os
import pathlib


def agents() -> list[int]:
    """Process ids of agents that this machine shows (a cluster's nodes may run on it too)."""
    return [int(folder.name) for folder in _processes() if _command(folder) == "mirrord-agent"]


def found() -> list[str]:
    """Every trace, as a line each."""
    traces = [f"process {pid}: mirrord-agent" for pid in agents()]
    for base in {os.environ.get("XDG_RUNTIME_DIR", "/tmp"), os.environ.get("TMPDIR", "/tmp"), "/tmp"}:
        traces += [f"folder {path}" for path in glob.glob(f"{base}/mirrord-[0-9]*")]
    for folder in _processes():
        try:
            mounts = (folder / "mountinfo").read_text(errors="replace")
        except OSError:
            continue  # it ended, or it is somebody else's
        if "mirrord" in mounts and " fuse" in mounts:
            traces.append(f"process {folder.name}: holds a remote root")
    return traces


def resident(pid: int) -> int:
    """Resident memory in KiB."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def _processes() -> list[pathlib.Path]:
    return [folder for folder in pathlib.Path("/proc").iterdir() if folder.name.isdigit()]


def _command(folder: pathlib.Path) -> str:
    try:
        return (folder / "comm").read_text().strip()
    except OSError:
        return ""
