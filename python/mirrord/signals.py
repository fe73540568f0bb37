"""Signals while mirrord itself is at work, and the way to end as the program ended. Called by the session.

Before the program runs, a signal that would end us raises `Interrupted` in the main thread, so that everything made so
far is removed on the way out. During that removal further ones are ignored: it is bounded, and half of it is worse.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from mirrord.errors import Interrupted

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def _raise(number: int, _frame: FrameType | None) -> None:
    ignore()
    raise Interrupted(number)


@contextmanager
def interruptible() -> Iterator[None]:
    """Signals that would end the process raise `Interrupted` inside; what was ignored stays ignored."""
    before = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, _raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore() -> None:
    """From here on nothing short of SIGKILL stops the clean-up."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def die_by(number: int) -> None:
    """End as a process that `number` killed, so that a shell reports the right thing; without a core of ours."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
    # Not reached for signals that end a process.
    os._exit(128 + number)
