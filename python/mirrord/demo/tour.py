"""The tour: one ordinary program, run plain and in the context of the demo target, side by side.

Called by `mirrord demo` and `make demo` (through `mirrord.demo.main`). It runs the command line as a user would, so
what it shows is what everybody gets.
"""

import json
import os
import shlex
import socket
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from mirrord import output

_OBSERVER = Path(__file__).with_name("observer.py")
_RUN_SECONDS = 90.0
_ROWS = {
    "variable": "environment variables",
    "file": "/app/config/settings.json",
    "name": "the name catalog.shop.internal",
    "web_service": "http://catalog.shop.internal:8080/",
    "database": "db.shop.internal:5432",
    "incoming": "a request to the target's port 80",
}
_WIDEST = 120


@dataclass
class Run:
    """What the observer saw in one place, and what was said on stderr."""

    status: int
    seconds: float
    said: str
    is_in_context: bool
    seen: dict[str, tuple[bool, str]] = field(default_factory=dict)


def main() -> int:
    """Show it; returns the exit status: 0 when everything was seen that this machine allows."""
    port = _free_port()
    observer = [sys.executable, str(_OBSERVER), str(port)]
    settings = {"feature": {"network": {"incoming": {"mode": "steal", "port_mapping": [[port, 80]]}}}}
    options = ["--quiet", "--target", "demo", "--config-file", "-"]
    command = [sys.executable, "-m", "mirrord", "exec", *options, "--", *observer]
    plain: list[Run] = []
    beside = threading.Thread(target=lambda: plain.append(_run(observer)))
    beside.start()
    in_context = _run(command, json.dumps(settings))
    beside.join()
    _show(plain[0], in_context, observer, settings)
    return _verdict(in_context)


def _run(command: list[str], text: str = "") -> Run:
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, errors="replace", timeout=_RUN_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as stuck:
        said = stuck.stderr.decode(errors="replace") if isinstance(stuck.stderr, bytes) else (stuck.stderr or "")
        return Run(-1, _RUN_SECONDS, f"{said}\nit did not end within {_RUN_SECONDS:.0f} s", bool(text))
    run = Run(done.returncode, time.monotonic() - began, done.stderr.strip(), bool(text))
    for line in done.stdout.splitlines():
        seen = json.loads(line)
        run.seen[seen["what"]] = (seen["worked"], seen["text"])
    return run


def _show(plain: Run, in_context: Run, observer: list[str], settings: object) -> None:
    output.data("The same program twice: plain on this machine, and in the context of the `demo` target.\n")
    output.data(f"  plain       {shlex.join(['python', *observer[1:]])}")
    output.data(f"  in context  mirrord exec --target demo -f - -- {shlex.join(['python', *observer[1:]])}")
    output.data(f"  with        {json.dumps(settings)}\n")
    output.data(_table(plain, in_context))
    output.data(
        f"\nplain: {plain.seconds:.1f} s, in context: {in_context.seconds:.1f} s, with the target made and removed"
    )
    if in_context.said:
        output.data("\nmirrord said:\n" + textwrap.indent(in_context.said, "  "))
    closed = _closed_fuse()
    if closed:
        output.data(f"\nThe target's files were not shown: {closed}")


def _table(plain: Run, in_context: Run) -> str:
    total = min(_terminal_width(), _WIDEST)
    first = max(len(label) for label in _ROWS.values())
    column = max((total - first - 4) // 2, 24)
    widths = (first, column, column)
    lines = [*_row(("what it looks at", "plain", "in context"), widths), "  ".join("-" * width for width in widths)]
    for key, label in _ROWS.items():
        lines += _row((label, _cell(plain, key), _cell(in_context, key)), widths)
    return "\n".join(lines)


def _cell(run: Run, key: str) -> str:
    if key not in run.seen:
        return "(the program was not started)"
    worked, text = run.seen[key]
    if not worked and run.is_in_context and key == "file" and _closed_fuse():
        return "(not available here: see below)"
    return text if worked else f"({text})"


def _row(cells: tuple[str, str, str], widths: tuple[int, int, int]) -> list[str]:
    wrapped = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
    height = max(len(lines) for lines in wrapped)
    rows = []
    for number in range(height):
        parts = [lines[number] if number < len(lines) else "" for lines in wrapped]
        rows.append("  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip())
    return rows


def _verdict(in_context: Run) -> int:
    excused = {"file"} if _closed_fuse() else set()
    missed = [key for key in _ROWS if key not in excused and not in_context.seen.get(key, (False, ""))[0]]
    return 1 if missed or in_context.status != 0 else 0


def _closed_fuse() -> str | None:
    """Why this user cannot have the remote root, and what to do; None where the device is open."""
    device = Path("/dev/fuse")
    if not device.exists():
        return "there is no `/dev/fuse`. As root: `modprobe fuse`; in a container: start it with `--device /dev/fuse`"
    if os.access(device, os.R_OK | os.W_OK):
        return None
    mode = device.stat().st_mode & 0o777
    return f"`/dev/fuse` has mode {mode:04o}, so users cannot open it. As root: `chmod 0666 /dev/fuse`"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return _WIDEST
