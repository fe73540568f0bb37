"""The embedded `demo` target (`sandbox`), and the tour of it (`mirrord demo`, `make demo`)."""

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Show the tour and end with its status."""
    # Whoever only makes a sandbox does not pay for the tour.
    from .tour import main as show

    sys.exit(show())
