"""What the proxy reports while the program runs, as lines on stderr. Called by the session.

The most important report is one that does not come: when the layer says nothing from inside the program, the program
runs outside the context, and the user must know at once.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from mirrord import output

if TYPE_CHECKING:
    from mirrord.proxy import Session

HELLO_SECONDS = 5.0
AFTERMATH_SECONDS = 0.5
TURN_SECONDS = 0.25


class Events:
    """Reads the session's events on a thread from `__enter__` to `__exit__`."""

    def __init__(self, session: Session, *, expects_layer: bool, quiet: bool) -> None:
        self._session = session
        self._quiet = quiet
        self._hello = threading.Event()
        self._stop = threading.Event()
        self._started: float | None = None
        self._is_warned = not expects_layer
        self._thread = threading.Thread(target=self._run, name="mirrord-events", daemon=True)

    def __enter__(self) -> Events:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._session.wake()
        self._thread.join(2 * TURN_SECONDS)

    def started(self) -> None:
        """The program was executed: the layer has from now on to say hello."""
        self._started = time.monotonic()

    def ended(self) -> None:
        """The program ended; a short one may have been quicker than its hello's way here."""
        if not self._is_warned and not self._hello.wait(AFTERMATH_SECONDS):
            self._warn()

    def descendants_left(self, count: int) -> None:
        """The program ended before its descendants."""
        if not self._quiet:
            noun = "process" if count == 1 else "processes"
            output.notice(f"the program ended; {count} {noun} of it still use the session. Ctrl-C ends the session")

    def _run(self) -> None:
        while not self._stop.is_set():
            event = self._session.next_event(TURN_SECONDS)
            if event is not None:
                self._show(event.kind, event.text, event.port)
            elif self._is_overdue():
                self._warn()

    def _show(self, kind: str, text: str, port: int) -> None:
        if kind == "hello":
            self._hello.set()
        elif kind == "notice":
            output.warning(text)
        elif kind == "lost":
            output.warning(f"the agent is gone: {text}. Remote calls of the program fail from now on")
        elif kind == "listening" and not self._quiet:
            output.notice(text or f"port `{port}` of the target comes here")

    def _is_overdue(self) -> bool:
        if self._is_warned or self._hello.is_set() or self._started is None:
            return False
        return time.monotonic() - self._started > HELLO_SECONDS

    def _warn(self) -> None:
        self._is_warned = True
        output.warning(
            "the program does NOT run in the target's context: the layer was not loaded into it. "
            "Is it static, set-uid, or started with another LD_PRELOAD?"
        )
