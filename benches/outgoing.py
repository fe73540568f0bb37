"""Connections: connect, one byte there and back, one stream up and down; and names."""

from __future__ import annotations

import dataclasses

from .figure import Figure, ratio_at_least
from .place import ECHO_PORT, SINK_PORT, SOURCE_PORT, STREAM_BYTES, Place, Values, in_context


@dataclasses.dataclass(frozen=True)
class Network:
    """The figures, and the two values that other subjects need."""

    figures: list[Figure]
    round_trip: float
    stream: float


def measure(place: Place, tunnel: Values | None = None) -> Network:
    """`tunnel` are the same figures through `kubectl port-forward`, on a cluster."""
    address, echo = place.layout.address, str(ECHO_PORT)
    connect, connect_floor = _both(place, "connect", address, echo, "300")
    trip, trip_floor = _both(place, "round-trip", address, echo, "3000")
    down, down_floor = _both(place, "down", address, str(SOURCE_PORT), str(STREAM_BYTES))
    up, up_floor = _both(place, "up", address, str(SINK_PORT), str(STREAM_BYTES))
    if down["down-digest"] != down_floor["down-digest"]:
        raise AssertionError("the stream's bytes are not those of the native run")
    name, name_floor = _both(place, "resolve", place.layout.name, "300")
    native = "in the target"
    figures = [
        Figure("connect", connect["connect-p50"], "µs", connect_floor["connect-p50"], native),
        Figure("round trip of 1 byte, p50", trip["round-trip-p50"], "µs", trip_floor["round-trip-p50"], native),
        Figure("round trip of 1 byte, p99", trip["round-trip-p99"], "µs", trip_floor["round-trip-p99"], native),
        Figure("one stream down", down["down-rate"], "MB/s", down_floor["down-rate"], native),
        Figure("one stream up", up["up-rate"], "MB/s", up_floor["up-rate"], native),
        Figure("getaddrinfo", name["resolve-p50"], "µs", name_floor["resolve-p50"], native),
    ]
    if tunnel is not None:
        figures += _beside_the_tunnel(trip, down, up, tunnel)
    return Network(figures, trip["round-trip-p50"], down["down-rate"])


def _beside_the_tunnel(trip: Values, down: Values, up: Values, tunnel: Values) -> list[Figure]:
    name, promise = "kubectl port-forward", ratio_at_least(0.9)
    return [
        Figure("one stream down", down["down-rate"], "MB/s", tunnel["down-rate"], name, promise),
        Figure("one stream up", up["up-rate"], "MB/s", tunnel["up-rate"], name, promise),
        Figure("round trip of 1 byte, p50", trip["round-trip-p50"], "µs", tunnel["round-trip-p50"], name),
    ]


def _both(place: Place, *arguments: str) -> tuple[Values, Values]:
    return in_context(place, *arguments), place.native(*arguments)
