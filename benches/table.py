"""The figures as a table for a person. Plain text: it is copied into issues and release notes."""

from __future__ import annotations

from .figure import Figure

_VERDICTS = {True: "met", False: "NOT MET", None: ""}


def render(title: str, figures: list[Figure]) -> str:
    """Ratios first: they are what stays the same on another machine."""
    rows = [("figure", "ratio", "value", "floor", "promise", "")]
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f} ×"
        floor = "" if figure.floor is None else f"{_number(figure.floor)} {figure.unit} {figure.floor_name}".strip()
        promise = figure.promise.text if figure.promise else ""
        value = f"{_number(figure.value)} {figure.unit}"
        rows.append((figure.name, ratio, value, floor, promise, _VERDICTS[figure.is_met]))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([f"== {title}", lines[0], "-" * len(lines[0]), *lines[1:]])


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
