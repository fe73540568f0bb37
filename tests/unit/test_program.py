"""The program before it runs: found like a shell finds it, and the folders of its installation."""

import os
from pathlib import Path

import pytest
from mirrord.errors import PROGRAM_NOT_FOUND, MirrordError
from mirrord.program import _prefixes, find


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_first_executable_of_path_wins(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "tool").write_text("not executable")
    expected = executable(tmp_path / "b" / "tool")
    executable(tmp_path / "c" / "tool")
    search = b":".join(os.fsencode(tmp_path / name) for name in "abc")
    assert find(b"tool", {b"PATH": search}) == os.fsencode(expected)


def test_name_with_a_slash_is_a_path(tmp_path: Path) -> None:
    path = os.fsencode(executable(tmp_path / "tool"))
    assert find(path, {b"PATH": b""}) == path


@pytest.mark.parametrize("name", [b"", b"no-such-tool", b"./no-such-tool", b"/etc", b"/proc/self/status"])
def test_what_cannot_be_run_is_named(name: bytes) -> None:
    with pytest.raises(MirrordError) as caught:
        find(name, {b"PATH": b"/nowhere"})
    assert caught.value.kind is PROGRAM_NOT_FOUND


def test_prefix_is_the_folder_above_bin_as_found_and_as_it_really_is(tmp_path: Path) -> None:
    real = executable(tmp_path / "opt" / "bin" / "tool-1")
    link = tmp_path / "home" / "bin" / "tool"
    link.parent.mkdir(parents=True)
    link.symlink_to(real)
    assert _prefixes(os.fsencode(link)) == [str(tmp_path / "home"), str(tmp_path / "opt")]


def test_root_is_never_a_prefix_and_other_folders_are_none(tmp_path: Path) -> None:
    assert _prefixes(b"/bin/true") in ([], ["/usr"])
    assert _prefixes(os.fsencode(executable(tmp_path / "app" / "server"))) == []


def test_virtual_environment_brings_its_base(tmp_path: Path) -> None:
    python = executable(tmp_path / "base" / "bin" / "python3")
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(python)
    (venv / "pyvenv.cfg").write_text(f"home = {python.parent}\nversion = 3\n")
    assert _prefixes(os.fsencode(venv / "bin" / "python")) == [str(venv), str(tmp_path / "base")]
