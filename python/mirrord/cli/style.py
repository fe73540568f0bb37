"""`click`, with rich panels where a person asks for help on a terminal. Imported by the command modules.

`rich-click` costs 35 ms to import and its panels another 60 ms to draw. A start that shows no help should not pay for
them, and a pipe or a script reads plain text better.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

__all__ = ["click"]


def _wants_panels() -> bool:
    asks_for_help = len(sys.argv) < 3 or not {"-h", "--help"}.isdisjoint(sys.argv)
    return asks_for_help and sys.stdout.isatty()


if TYPE_CHECKING or not _wants_panels():
    import click
else:
    import rich_click as click
