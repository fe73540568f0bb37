"""Reads of an ELF file what the contract is about: interpreter, needed libraries, exported names. 64-bit, own order."""

import struct
from dataclasses import dataclass, field
from pathlib import Path

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ = 1, 5, 6, 10
_SHT_DYNSYM = 11


@dataclass
class Elf:
    interpreter: "str | None" = None
    needed: "list[str]" = field(default_factory=list)
    exported: "set[str]" = field(default_factory=set)
    versions: "set[str]" = field(default_factory=set)
    sections: "set[str]" = field(default_factory=set)


def read(path: Path) -> Elf:
    data = path.read_bytes()
    if data[:5] != b"\x7fELF\x02":
        raise ValueError(f"{path} is no 64-bit ELF file")
    (program_offset,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    segments = [struct.unpack_from("<IIQQQQ", data, program_offset + size * number) for number in range(count)]
    elf = Elf()
    for kind, _, offset, _, _, length in segments:
        if kind == _PT_INTERP:
            elf.interpreter = data[offset : offset + length].rstrip(b"\0").decode()
        if kind == _PT_DYNAMIC:
            _read_dynamic(data, offset, length, segments, elf)
    _read_symbols(data, elf)
    return elf


def _read_dynamic(data: bytes, offset: int, length: int, segments: "list[tuple[int, ...]]", elf: Elf) -> None:
    entries = [struct.unpack_from("<QQ", data, place) for place in range(offset, offset + length, 16)]
    tables = dict(entries)
    if _DT_STRTAB not in tables:
        return
    strings = _file_offset(tables[_DT_STRTAB], segments)
    elf.needed = [_string(data, strings + value) for tag, value in entries if tag == _DT_NEEDED]
    table = data[strings : strings + tables[_DT_STRSZ]]
    elf.versions = {name.decode() for name in table.split(b"\0") if name.startswith(b"GLIBC_")}


def _file_offset(address: int, segments: "list[tuple[int, ...]]") -> int:
    for kind, _, offset, start, _, length in segments:
        if kind == _PT_LOAD and start <= address < start + length:
            return offset + address - start
    raise ValueError(f"address {address:#x} is in no segment")


def _read_symbols(data: bytes, elf: Elf) -> None:
    (section_offset,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQII", data, section_offset + size * number) for number in range(count)]
    (names,) = struct.unpack_from("<H", data, 62)
    elf.sections = {_string(data, sections[names][4] + section[0]) for section in sections}
    for _, kind, _, _, offset, length, link, _ in sections:
        if kind != _SHT_DYNSYM:
            continue
        strings = sections[link][4]
        for place in range(offset, offset + length, 24):
            name, info, _, section = struct.unpack_from("<IBBH", data, place)
            if section != 0 and info >> 4 in (1, 2):
                elf.exported.add(_string(data, strings + name))


def _string(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()
