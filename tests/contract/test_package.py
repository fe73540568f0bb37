"""The package's own promises: what is public, what is imported when, and that the stubs tell the truth."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import mirrord
import pytest

_HEAVY = ("kubernetes", "urllib3", "requests", "mirrord.proxy", "asyncio", "msgspec")


def modules() -> "list[str]":
    found = pkgutil.walk_packages(mirrord.__path__, "mirrord.")
    # `__main__` runs when imported; `inside` runs in an interpreter of its own; the operator needs its extra.
    return sorted(name.name for name in found if "__main__" not in name.name and ".operator" not in name.name)


@pytest.mark.parametrize("name", modules())
def test_public_names_exist_and_are_sorted(name: str) -> None:
    module = importlib.import_module(name)
    public = getattr(module, "__all__", [])
    if name != "mirrord.proxy":  # pyo3 lists names as they were added
        assert list(public) == sorted(public)
    assert [missing for missing in public if not hasattr(module, missing)] == []


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("exec", "--help")], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: "tuple[str, ...]") -> None:
    command = [sys.executable, "-X", "importtime", "-m", "mirrord", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert sorted(name for name in imported if name.startswith(_HEAVY)) == []


def test_sandbox_needs_the_standard_library_only() -> None:
    folder = Path(str(mirrord.__file__)).parents[1]
    code = f"import sys; sys.path.append({str(folder)!r}); import mirrord.demo.sandbox, mirrord.demo.inside.builder"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], timeout=30, check=True)


def test_command_line_reports_its_version() -> None:
    done = subprocess.run([sys.executable, "-m", "mirrord", "--version"], capture_output=True, text=True, check=True)
    assert mirrord.__version__ in done.stdout


@pytest.mark.timeout(300)
def test_stubs_of_the_extension_module_are_true() -> None:
    pytest.importorskip("mypy.stubtest", reason="mypy is not installed")
    command = [sys.executable, "-m", "mypy.stubtest", "--ignore-disjoint-bases", "mirrord.proxy"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout
