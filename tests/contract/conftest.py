"""The built files: beside the package, and in a wheel that is made once for the session."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mirrord
import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD_SECONDS = 1800


@pytest.fixture(scope="session")
def native() -> Path:
    """The folder of the layer and the agent."""
    return Path(str(mirrord.__file__)).parent / "_native"


@pytest.fixture(scope="session")
def source() -> Path:
    """The source tree."""
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("there is no source tree beside the tests")
    return ROOT


@pytest.fixture(scope="session")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel as pip makes it. Its Rust parts are those of the last build, if nothing has changed since."""
    folder = tmp_path_factory.mktemp("wheel")
    _build(source, "wheel", folder)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="session")
def source_archive(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    _build(source, "sdist", folder)
    (file,) = folder.glob("*.tar.gz")
    return file


def _build(source: Path, what: str, folder: Path) -> None:
    if shutil.which("cargo") is None:
        pytest.skip("building needs cargo, which is not on PATH")
    code = f"import sys; sys.path.insert(0, 'build_backend'); import backend; backend.build_{what}(sys.argv[1])"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
