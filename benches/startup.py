"""From the command to the program's first instruction, split by the steps that `mirrord exec` reports."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from . import place as places
from .figure import Figure, Promise, above_floor_at_most, at_most
from .place import Place, Programs
from .started import Started

_TURNS = 7


def command_line() -> list[Figure]:
    """The interpreter is the floor of everything that is written in Python."""
    floor, floor_name = _median_run("-c", "pass"), "python -c pass"
    figures = [
        Figure("mirrord --help", _median_run("-m", "mirrord", "--help"), "ms", floor, floor_name, at_most(150, "ms"))
    ]
    imports = ((f"import {module}", _median_run("-c", f"import {module}")) for module in ("mirrord", "mirrord.proxy"))
    return figures + [Figure(name, value, "ms", floor, floor_name) for name, value in imports]


def demo(programs: Programs) -> list[Figure]:
    """`--target demo` makes its sandbox too."""
    command = [sys.executable, "-m", "mirrord", "exec", "--target", "demo", "--", programs.measure, "instant"]
    return _first_instruction("sandbox included", command, programs, None, "", at_most(250, "ms"))


def at_place(place: Place, floor: float | None = None, floor_name: str = "") -> list[Figure]:
    """`floor` is a bare pod's creation-to-Ready, in milliseconds, on a cluster."""
    command = places.exec_command(place, place.programs.measure, "instant")
    promise = above_floor_at_most(500, "ms") if floor is not None else None
    return _first_instruction(place.title, command, place.programs, floor, floor_name, promise)


def _first_instruction(
    title: str, command: list[str], programs: Programs, floor: float | None, floor_name: str, promise: Promise | None
) -> list[Figure]:
    totals: list[float] = []
    steps: dict[str, list[float]] = {}
    for _turn in range(_TURNS):
        run = Started(command, str(programs.folder))
        try:
            first = run.value("instant") / 1e6
            run.wait()
            totals.append((first - run.begun) * 1e3)
            _split(run, first, steps)
        finally:
            run.stop()
    name = f"first instruction, {title}"
    figures = [Figure(name, statistics.median(totals), "ms", floor, floor_name, promise)]
    figures += [Figure(f"  … {step}", statistics.median(times), "ms") for step, times in steps.items()]
    return figures


def _split(run: Started, first: float, steps: dict[str, list[float]]) -> None:
    """The time from each line on stderr to the next event, under the line's text without its values."""
    before, label = run.begun, "until the first word"
    for when, text in run.steps:
        if when > first:
            break
        steps.setdefault(label, []).append((when - before) * 1e3)
        before, label = when, text.split("`")[0].removeprefix("mirrord: ").strip()[:40]
    steps.setdefault(label, []).append((first - before) * 1e3)


def _median_run(*words: str) -> float:
    command, times = [sys.executable, *words], []
    for _turn in range(_TURNS):
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60, env=places.environment())
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)
