"""A customer's request, answered by the pod and, stolen, by a program here."""

from __future__ import annotations

import statistics

from .figure import Figure
from .place import Place, started

_REQUESTS = 50


def measure(place: Place) -> list[Figure]:
    floor = _median(place)
    run = started(place, "serve", str(place.layout.port))
    try:
        run.value("listening")
        value = _median(place)
    finally:
        run.stop()
    return [Figure("stolen request", value, "µs", floor, "answered by the pod")]


def _median(place: Place) -> float:
    place.customer()
    return statistics.median(place.customer() for _turn in range(_REQUESTS))
