"""Which processes are our children right now. Called by `child`.

As a subreaper we inherit the program's orphans, and must reap them; but the agent, the sandbox and the holder of the
remote root are our children too, and belong to whoever started them. So `waitpid(-1)` is out of the question: the
children that exist before the program starts are remembered, and every other one is the program's.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Orphans of our descendants become our children."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def children() -> set[int]:
    """The ids of our children, zombies included."""
    own = os.getpid()
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_bytes()
            except OSError:
                continue  # it ended meanwhile
            # The command's name is in parentheses and may hold anything; what follows the last one is regular.
            if int(stat[stat.rindex(b")") + 2 :].split()[1]) == own:
                found.add(int(entry.name))
    return found
