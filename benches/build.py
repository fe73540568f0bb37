"""Were the native files built with optimisation? Figures of a development build are no figures of the product."""

from __future__ import annotations

import pathlib

from mirrord import native, proxy

_MARK = b".debug_info"
"""The name of a section that the release profile strips."""


def unoptimised() -> list[str]:
    """The native files that are development builds."""
    files = [pathlib.Path(str(native.layer())), pathlib.Path(str(native.agent())), pathlib.Path(proxy.__file__)]
    return [str(path) for path in files if _MARK in path.read_bytes()]
