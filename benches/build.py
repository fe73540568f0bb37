"""Were the native files built with optimisation? Figures of a development build are no figures of the product."""

from __future__ import annotations

import pathlib
import struct

from mirrord import native, proxy


def unoptimised() -> list[str]:
    """The native files that still have debug sections, which the release profile strips."""
    files = [pathlib.Path(str(native.layer())), pathlib.Path(str(native.agent())), pathlib.Path(proxy.__file__)]
    return [str(path) for path in files if b"\0.debug_info\0" in _section_names(path.read_bytes())]


def _section_names(content: bytes) -> bytes:
    """The section name table of a 64-bit ELF file (gABI, `e_shstrndx`)."""
    (table,) = struct.unpack_from("<Q", content, 0x28)
    size, _count, names = struct.unpack_from("<3H", content, 0x3A)
    offset, length = struct.unpack_from("<2Q", content, table + size * names + 0x18)
    return content[offset : offset + length]
