"""Remote files: stat cached and uncached, small files, one large file; and what the layer costs local ones."""

from __future__ import annotations

from .figure import Figure, Promise, at_most, ratio_at_least, ratio_at_most
from .place import Place, Values, in_context, plain

_LOCAL_FILE = "/usr/bin/env"
_PAIRS = "100000"


def remote(place: Place, round_trip: float, stream: float) -> list[Figure]:
    """`round_trip` (µs) and `stream` (MB/s) are those of one connection over the same link, in the same run."""
    layout = place.layout
    native = "in the target"
    cached, cached_floor = _both(place, "stat", f"{layout.small}/0000", "1000")
    each, each_floor = _both(place, "stat-each", layout.small, "100", "500")
    small, small_floor = _both(place, "read-each", layout.small, "1000", "500")
    large, large_floor = _both(place, "read", layout.large)
    uncached = Promise("≤ 1 round trip + 100 µs", lambda figure: figure.value <= round_trip + 100)
    return [
        Figure("stat, cached", cached["stat-p50"], "µs", cached_floor["stat-p50"], native, at_most(3, "µs")),
        Figure("stat, uncached", each["stat-each-p50"], "µs", each_floor["stat-each-p50"], native, uncached),
        Figure("open + read 4 KiB + close", small["read-each-p50"], "µs", small_floor["read-each-p50"], native),
        Figure("read 256 MiB", large["read-rate"], "MB/s", stream, "one stream, same link", ratio_at_least(0.6)),
        Figure("read 256 MiB, beside native", large["read-rate"], "MB/s", large_floor["read-rate"], native),
    ]


def overhead(place: Place) -> list[Figure]:
    """The program's own local files, with the layer loaded."""
    floor = plain(place.programs, "open-close", _LOCAL_FILE, _PAIRS)["open-close-p50"]
    value = in_context(place, "open-close", _LOCAL_FILE, _PAIRS)["open-close-p50"]
    return [Figure("100,000 local open + close", value, "µs each", floor, "without the layer", ratio_at_most(1.10))]


def _both(place: Place, *arguments: str) -> tuple[Values, Values]:
    return in_context(place, *arguments), place.native(*arguments)
