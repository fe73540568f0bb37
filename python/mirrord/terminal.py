"""Who owns the terminal: the program while it runs, we while it is stopped. Called by `child`.

The program gets a process group of its own and the terminal's foreground only when it is alone there: stdin and stdout
are the controlling terminal, and our group is its foreground group. In a pipeline (`mirrord exec … | less`) it stays in
our group, because taking the foreground away from `less` would stop it; there the terminal's signals reach every
member of the group anyway, as they would without us.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

TTY = 0


class Terminal:
    """The controlling terminal of one run; `is_ours_to_give` says whether the program gets a group of its own."""

    def __init__(self) -> None:
        self.has_controlling = _has_controlling_terminal()
        self.is_ours_to_give = _is_foreground_alone()
        self._own_group = os.getpgrp()

    def enter(self) -> None:
        """In the child, between fork and exec, with all signals blocked: own group, in the foreground."""
        if self.is_ours_to_give:
            os.setpgid(0, 0)
            os.tcsetpgrp(TTY, os.getpid())

    def give(self, pid: int) -> None:
        """Put the program's group in the foreground, if we are there to give it away."""
        if not self.is_ours_to_give:
            return
        # The child does the same: whoever is first, the program never runs in the background.
        with suppress(OSError):
            os.setpgid(pid, pid)
        if self.is_foreground():
            self._set(pid)

    def take(self, pid: int) -> None:
        """Take the foreground back from the program's group."""
        if not self.is_ours_to_give:
            return
        with suppress(OSError):
            if os.tcgetpgrp(TTY) in (pid, self._own_group) or not _group_exists(os.tcgetpgrp(TTY)):
                self._set(self._own_group)

    def is_foreground(self) -> bool:
        """Is our own group in the foreground?"""
        try:
            return os.tcgetpgrp(TTY) == self._own_group
        except OSError:
            return False

    def can_stop(self) -> bool:
        """Would somebody continue us? An orphaned group is never stopped by the terminal."""
        try:
            parent = os.getppid()
            return os.getsid(parent) == os.getsid(0) and os.getpgid(parent) != self._own_group
        except OSError:
            return False

    def _set(self, group: int) -> None:
        # Blocked, SIGTTOU does not stop a background process that changes the foreground.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
        try:
            with suppress(OSError):
                os.tcsetpgrp(TTY, group)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _has_controlling_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _is_foreground_alone() -> bool:
    try:
        return os.isatty(1) and os.tcgetpgrp(0) == os.getpgrp() == os.tcgetpgrp(1)
    except OSError:
        return False


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
