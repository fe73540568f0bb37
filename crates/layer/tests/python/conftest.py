"""The layer in a session of its own: a folder tree as the remote root and a fake proxy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_proxy import FakeProxy, Tables

BUILT = Path(os.environ.get("MIRRORD_TARGET_DIR", Path(__file__).parents[4] / "target" / "debug"))
LAYER = BUILT / "libmirrord_layer.so"
MAKE_IMAGE = BUILT / "examples" / "make_image"


@dataclass(frozen=True)
class Session:
    """A session folder with its proxy, and how to run a program in it."""

    folder: Path
    root: Path
    proxy: FakeProxy
    tables: Tables

    def image(self, *facts: str) -> None:
        listener = "{}:{}".format(*self.proxy.address)
        subprocess.run(
            [
                str(MAKE_IMAGE),
                str(self.folder / "policy"),
                f"root={self.root}",
                f"library={LAYER}",
                f"listener={listener}",
            ]
            + [f"prefix={prefix}" for prefix in (sys.base_prefix, sys.prefix)]
            + list(facts),
            check=True,
        )

    def environment(self, **more: str) -> dict[str, str]:
        return {**os.environ, "LD_PRELOAD": str(LAYER), "MIRRORD_SESSION": str(self.folder), **more}

    def run(self, *command: str, cwd: str = "/tmp", timeout: float = 30) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environment(), cwd=cwd, text=True, capture_output=True, timeout=timeout, check=False
        )

    def python(self, code: str, cwd: str = "/tmp") -> str:
        ran = self.run(sys.executable, "-S", "-c", code, cwd=cwd)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def kinds(self) -> list[str]:
        return [question.kind for question in self.proxy.log]


@pytest.fixture
def session() -> Iterator[Session]:
    """Reads come from the remote tree, connections, names and listeners are the target's."""
    # Short: a unix socket's path has 108 bytes.
    folder = Path(tempfile.mkdtemp(prefix="mly", dir="/var/tmp"))
    root = folder / "root"
    (root / "app" / "data").mkdir(parents=True)
    (root / "app" / "hello.txt").write_text("from the target\n")
    (root / "app" / "data" / "a.json").write_text("{}")
    (root / "app" / "data" / "b.json").write_text("[]")
    (root / "etc").mkdir()
    (root / "etc" / "hosts").write_text("10.0.0.9 target\n")
    (root / "app" / "link").symlink_to(".//../app/hello.txt")
    tables = Tables()
    proxy = FakeProxy(folder, tables)
    made = Session(folder, root, proxy, tables)
    made.image("mode=read", "tcp", "dns", "steal", "hostname=target-pod", "not_found=^/app/hidden", "cwd=/tmp")
    yield made
    proxy.close()
    shutil.rmtree(folder)
