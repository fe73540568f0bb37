"""Resident memory of each process of a session, and how long its end takes."""

from __future__ import annotations

import time

from . import local_traces
from .figure import Figure, above_floor_at_most, at_most
from .place import Place, started
from .started import Started

_LIMIT_SECONDS = 30.0


def measure(place: Place) -> list[Figure]:
    before = set(local_traces.agents())
    run = started(place, "memory")
    try:
        in_context = run.value("memory") / 1024
        below = local_traces.session_processes(run.process.pid)
        agent = local_traces.agent_among(below) or next(iter(set(local_traces.agents()) - before), None)
        ours = local_traces.resident(run.process.pid) / 1024
        added = above_floor_at_most(1, "MiB")
        figures = [
            Figure("memory of mirrord exec", ours, "MiB", promise=at_most(120, "MiB")),
            Figure("memory of the program", in_context, "MiB", _plain(place), "without the layer", added),
        ]
        if agent is not None:  # on a cluster whose nodes are elsewhere it is not seen from here
            value = local_traces.resident(agent) / 1024
            figures.append(Figure("memory of the agent", value, "MiB", promise=at_most(15, "MiB")))
        figures += _end(place, run, below)
    finally:
        run.stop()
    return figures


def _plain(place: Place) -> float:
    run = Started([place.programs.measure, "memory"], str(place.programs.folder))
    try:
        return run.value("memory") / 1024
    finally:
        run.close_input()
        run.stop()


def _end(place: Place, run: Started, below: list[int]) -> list[Figure]:
    """From the program's last instruction to the end of `mirrord exec`, and until no trace is found."""
    run.close_input()
    last = run.value("instant") / 1e6
    end = run.wait()
    deadline = time.monotonic() + _LIMIT_SECONDS
    while True:
        left = [*local_traces.found(run.process.pid, below), *place.remains()]
        gone = time.clock_gettime(time.CLOCK_MONOTONIC)
        if not left:
            break
        if time.monotonic() > deadline:
            raise AssertionError(f"left behind: {left}")
    return [
        Figure("end of mirrord exec after the program's", (end - last) * 1e3, "ms"),
        Figure("nothing remains after the program's end", gone - last, "s", promise=at_most(3, "s")),
    ]
