"""The only module that prints. Data goes to stdout, everything else to stderr.

Used by the commands and by the session. Progress is one line per step where stderr is no terminal, and one live line
on a terminal. The live line needs `rich`, whose import costs more than a start on a local target takes: it is
imported on its own thread, and only when a step has lasted long enough for a person to wonder.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mirrord.errors import MirrordError

__all__ = ["Progress", "data", "error", "internal_error", "notice", "warning"]

PATIENCE = 0.3
"""Seconds without news before the live line appears."""

_STYLES = {"error": "1;31", "warning": "1;33", "hint": "1;36", "ready": "1;32", "note": "2"}


def data(text: str) -> None:
    """Print a command's result on stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def notice(text: str) -> None:
    """Tell the user something that needs no action."""
    _line(f"{_paint('mirrord:', 'note')} {text}")


def warning(text: str, hint: str | None = None) -> None:
    """Tell the user something that is worth a check, and what to do about it."""
    _line(f"{_paint('warning:', 'warning')} {text}" + (f"\n{_paint('hint:', 'hint')} {hint}" if hint else ""))


def error(failure: MirrordError) -> None:
    """Show a failure: a sentence, its causes, one hint."""
    lines = [f"{_paint('error:', 'error')} {failure.message}"]
    lines += [f"  caused by: {cause}" for cause in failure.causes]
    if failure.hint:
        lines.append(f"{_paint('hint:', 'hint')} {failure.hint}")
    _line("\n".join(lines))


def internal_error(failure: BaseException) -> None:
    """Show a failure that nobody foresaw, in one paragraph; the traceback only on demand."""
    if os.environ.get("MIRRORD_DEBUG"):
        import traceback

        traceback.print_exception(failure, file=sys.stderr)
    from mirrord.errors import INTERNAL, MirrordError

    error(MirrordError(INTERNAL, f"Internal error: `{type(failure).__name__}`", str(failure)))


class Progress:
    """The steps of a start, shown on stderr; silent when `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet or os.environ.get("MIRRORD_PROGRESS_MODE") == "off"
        self._live = not self._quiet and _is_terminal()
        self._lock = threading.Lock()
        self._text = ""
        self._status: Any = None
        self._timer: threading.Timer | None = None

    def step(self, text: str) -> None:
        """A new step began."""
        with self._lock:
            if self._quiet or text == self._text:
                return
            self._text = text
            if not self._live:
                notice(text)
                return
            if self._status is not None:
                self._status.update(text)
            elif self._timer is None:
                self._timer = threading.Timer(PATIENCE, self._show)
                self._timer.daemon = True
                self._timer.start()

    def say(self, text: str) -> None:
        """Something to keep on the screen."""
        if not self._quiet:
            notice(text)

    def ready(self, text: str) -> None:
        """The program is about to start. Other tools look for the words `Ready!`."""
        self.close()
        if not self._quiet:
            _line(f"{_paint('mirrord:', 'note')} {_paint('Ready!', 'ready')} {text}")

    def close(self) -> None:
        """Remove the live line. Idempotent."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._live = False
            if self._status is not None:
                self._status.stop()
                self._status = None

    def _show(self) -> None:
        from rich.console import Console
        from rich.status import Status

        with self._lock:
            if self._live and self._status is None:
                self._status = Status(self._text, console=Console(stderr=True))
                self._status.start()


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _paint(text: str, style: str) -> str:
    if os.environ.get("NO_COLOR") or not _is_terminal():
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def _line(text: str) -> None:
    # A closed stderr must not end a session that works.
    # On a terminal the live line may be there: clear it, `rich` draws it again below.
    clear = "\r\x1b[2K" if _is_terminal() else ""
    try:
        sys.stderr.write(f"{clear}{text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return
