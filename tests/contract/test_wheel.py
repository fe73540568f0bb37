"""What is shipped: exactly the listed files, the executable bits kept."""

import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(1800)

_BUILT = {"mirrord/_native/libmirrord_layer.so", "mirrord/_native/mirrord-agent", "mirrord/proxy.abi3.so"}


def tracked(source: Path) -> "set[str]":
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "python"]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("the source tree is no git checkout, so nobody knows what belongs to it")
    return {name.removeprefix("python/") for name in done.stdout.splitlines() if (source / name).exists()}


def test_wheel_holds_exactly_the_package_and_the_built_files(source: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")}
    names = {name for name in names if ".libs/" not in name and "/sboms/" not in name}
    assert names == (tracked(source) - {"mirrord/_native/README"}) | _BUILT


def test_wheel_is_one_for_every_python_from_3_10(wheel: Path) -> None:
    assert "-cp310-abi3-" in wheel.name


def test_built_programs_in_the_wheel_are_executable(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        modes = {name: archive.getinfo(name).external_attr >> 16 & 0o777 for name in sorted(_BUILT)}
    assert modes["mirrord/_native/mirrord-agent"] & 0o111 == 0o111
    assert all(mode & 0o444 == 0o444 for mode in modes.values())


def test_wheel_brings_the_command_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry_points,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
        assert "mirrord=mirrord.cli:main" in archive.read(entry_points).decode().replace(" ", "")
    assert any(name.endswith("/LICENSE") for name in names)


def test_source_archive_can_be_built_from(source: Path, source_archive: Path) -> None:
    with tarfile.open(source_archive) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    manifests = {str(path.relative_to(source)) for path in source.glob("crates/*/Cargo.toml")}
    wanted = manifests | {
        "Cargo.toml",
        "Cargo.lock",
        "pyproject.toml",
        "build_backend/backend.py",
        "build_backend/native.py",
    }
    assert wanted <= names
    assert not any(name.endswith((".so", "mirrord-agent")) for name in names)
