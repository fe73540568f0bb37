"""What a measurement says: value, floor, ratio, and the promise that it is held against.

A machine's speed changes between runs and with its other users; the ratio to a floor of the same run does not. So the
ratio comes first in the table, and promises are written as ratios where that makes sense.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Promise:
    """A sentence, and whether a figure keeps it."""

    text: str
    keeps: Callable[[Figure], bool]


@dataclasses.dataclass(frozen=True)
class Figure:
    """One measured value. `floor` is the same thing without us, in the same unit; `floor_name` says which."""

    name: str
    value: float
    unit: str
    floor: float | None = None
    floor_name: str = ""
    promise: Promise | None = None

    @property
    def ratio(self) -> float | None:
        return self.value / self.floor if self.floor else None

    @property
    def is_met(self) -> bool | None:
        """None where nothing was promised."""
        return self.promise.keeps(self) if self.promise else None

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "floor": self.floor,
            "floor_name": self.floor_name,
            "ratio": self.ratio,
            "promise": self.promise.text if self.promise else None,
            "met": self.is_met,
        }


def at_most(limit: float, unit: str) -> Promise:
    """The value itself is bounded."""
    return Promise(f"≤ {limit:g} {unit}", lambda figure: figure.value <= limit)


def ratio_at_least(limit: float) -> Promise:
    """A throughput: at least this part of its floor."""
    return Promise(f"≥ {limit:g} × floor", lambda figure: figure.ratio is not None and figure.ratio >= limit)


def ratio_at_most(limit: float) -> Promise:
    """A time: at most this many times its floor."""
    return Promise(f"≤ {limit:g} × floor", lambda figure: figure.ratio is not None and figure.ratio <= limit)


def above_floor_at_most(limit: float, unit: str) -> Promise:
    """A time or size: at most this much more than its floor."""
    return Promise(
        f"≤ floor + {limit:g} {unit}", lambda figure: figure.floor is not None and figure.value - figure.floor <= limit
    )
