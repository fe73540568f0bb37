"""The built files can run where they are meant to: the agent anywhere, the layer in anybody's process."""

import os
import re
from pathlib import Path

import pytest

from . import elf

_LAYER_LIBRARIES = re.compile(r"(libc|libdl|libpthread|ld-linux-x86-64|ld-linux-aarch64)\.so\.\d+")
_AGENT_LIMIT = 6 << 20


def is_release(native: Path) -> bool:
    # Cargo strips release builds only.
    return ".debug_line" not in elf.read(native / "mirrord-agent").sections


def test_agent_is_static(native: Path) -> None:
    agent = elf.read(native / "mirrord-agent")
    assert agent.interpreter is None
    assert agent.needed == []


def test_agent_is_small(native: Path) -> None:
    if not is_release(native):
        pytest.skip("the agent is a development build")
    assert (native / "mirrord-agent").stat().st_size < _AGENT_LIMIT


def test_layer_needs_nothing_but_the_c_library(native: Path) -> None:
    layer = elf.read(native / "libmirrord_layer.so")
    assert [name for name in layer.needed if not _LAYER_LIBRARIES.fullmatch(name)] == []


def test_layer_exports_exactly_its_list(native: Path) -> None:
    """Each exported name replaces a function in somebody else's process: one too many is a fault there.

    A new hook goes into `layer-exports.txt` as well; see `docs/adding-a-hook.md`.
    """
    exported = elf.read(native / "libmirrord_layer.so").exported
    assert sorted(exported) == Path(__file__).with_name("layer-exports.txt").read_text().split()


def test_release_files_run_on_old_distributions(native: Path) -> None:
    if os.environ.get("MIRRORD_BUILD_ZIG") != "1":
        pytest.skip("only wheels built with MIRRORD_BUILD_ZIG=1 promise glibc 2.17")
    for name in elf.read(native / "libmirrord_layer.so").versions:
        assert tuple(int(part) for part in name.removeprefix("GLIBC_").split(".")) <= (2, 17), name
