"""Work on a thread whose result the main thread waits for. Called by the session for everything that runs at once.

Not `concurrent.futures`: its threads are joined when the interpreter ends, so a Ctrl-C during a hanging request would
wait for that request. These are daemon threads, and waiting for one lets signal handlers run.

A thread that starts processes must not end before them (`keeps_thread`): to the kernel it is their parent, and its end
is what a parent-death signal means.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Task(Generic[Result]):
    """One call on a thread of its own."""

    def __init__(self, name: str, work: Callable[[], Result], *, keeps_thread: bool = False) -> None:
        self._work = work
        self._keeps_thread = keeps_thread
        self._done = threading.Event()
        self._value: list[Result] = []
        self._failure: BaseException | None = None
        threading.Thread(target=self._run, name=f"mirrord-{name}", daemon=True).start()

    def result(self) -> Result:
        """What the call returned; raises what it raised. The call itself bounds the wait."""
        self._done.wait()
        if self._failure is not None:
            raise self._failure
        return self._value[0]

    def value_within(self, seconds: float) -> Result | None:
        """The result if it is there in time, else None; for cleaning up after a failure."""
        self._done.wait(seconds)
        return self._value[0] if self._value else None

    def _run(self) -> None:
        try:
            self._value.append(self._work())
        # Whatever it is, it belongs to the thread that asks for the result.
        except BaseException as failure:  # noqa: BLE001 - kept, not hidden
            self._failure = failure
        finally:
            self._done.set()
        if self._keeps_thread:
            threading.Event().wait()
