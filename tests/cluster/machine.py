"""Where the cluster of this tier comes from, and what it can do. Called by `conftest`.

With `KUBECONFIG` set, that cluster; else the one that `tests/cluster/cluster` has running on this machine; else one
that is brought up for the session with two nodes and taken down at its end. Images can be loaded only into nodes of
this machine; elsewhere `MIRRORD_TEST_AGENT_IMAGE` and `MIRRORD_TEST_IMAGE` name images that the cluster can pull.
"""

import json
import os
import pathlib
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

SCRIPT = pathlib.Path(__file__).with_name("cluster")
STATE = pathlib.Path(os.environ.get("CLUSTER_STATE", "/var/tmp/cluster"))
PACKED = "CLUSTER_KUBE"
LOCAL_IMAGE = "local.test/busybox:1"
PUBLIC_IMAGE = "busybox:1.36"
MOST_NODES = 3
"""Of a large cluster; each gets a target."""
BUILD_SECONDS = 1800.0
"""Bringing up may first build Kubernetes from its modules."""


class ClusterUnavailableError(Exception):
    """Why there is no cluster here, as one sentence for the list of skipped tests."""


@dataclass(frozen=True)
class Cluster:
    """A cluster, as its administrator reaches it."""

    kubeconfig: pathlib.Path
    kubectl_path: str
    has_local_nodes: bool
    nodes: "tuple[str, ...]" = field(default=())

    def kubectl_command(self, *words: str) -> "list[str]":
        return [self.kubectl_path, f"--kubeconfig={self.kubeconfig}", *words]

    def kubectl(self, *words: str, text: "str | None" = None, seconds: float = 60.0) -> str:
        """Run kubectl to its end; its complaint is the failure's text."""
        done = subprocess.run(
            self.kubectl_command(*words), input=text, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return done.stdout

    def read(self, *words: str) -> Any:
        return json.loads(self.kubectl(*words, "-o", "json"))

    def apply(self, *objects: "dict[str, Any]") -> None:
        self.kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def load_image(self, archive: pathlib.Path) -> None:
        _script("load", str(archive), seconds=120.0)

    @property
    def target_image(self) -> str:
        """An image with busybox: a shell, a web server and `nc`."""
        default = LOCAL_IMAGE if self.has_local_nodes else PUBLIC_IMAGE
        return os.environ.get("MIRRORD_TEST_IMAGE", default)


@contextmanager
def provided() -> "Iterator[Cluster]":
    """The cluster of the session. Raises `ClusterUnavailableError` where there can be none."""
    given = os.environ.get("KUBECONFIG")
    if given:
        yield _opened(pathlib.Path(given.split(os.pathsep)[0]))
        return
    _check_machine()
    # `up` replaces a cluster of another size: one that somebody already works with is used as it is, and left.
    is_ours = "runs" not in _script("status", seconds=30.0)
    try:
        if is_ours:
            _script("up", "--nodes", "2", seconds=BUILD_SECONDS)
        yield _opened(STATE / "admin.kubeconfig")
    finally:
        if is_ours:
            _script("down", seconds=120.0)


def _check_machine() -> None:
    if platform.system() != "Linux":
        raise ClusterUnavailableError("a cluster of its own needs Linux; set `KUBECONFIG` to use another one")
    if os.geteuid() != 0:
        raise ClusterUnavailableError("a cluster of its own needs root; set `KUBECONFIG` to use another one")
    has_binary = (STATE / "bin" / "kube").exists() or pathlib.Path(os.environ.get(PACKED, "/nonexistent")).is_file()
    if not has_binary and not shutil.which("go"):
        raise ClusterUnavailableError(f"no Kubernetes binary: set `{PACKED}` to a packed one, or install Go")


def _script(*words: str, seconds: float) -> str:
    """Run the cluster script; unable to bring a cluster up is a reason to skip, as told by its last line."""
    done = subprocess.run([str(SCRIPT), *words], capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no words"]
        raise ClusterUnavailableError(f"`cluster {words[0]}` failed: {lines[-1]}")
    return done.stdout


def _opened(kubeconfig: pathlib.Path) -> Cluster:
    is_local = kubeconfig.resolve() == (STATE / "admin.kubeconfig").resolve()
    path = shutil.which("kubectl") or (str(STATE / "bin" / "kubectl") if is_local else None)
    if path is None:
        raise ClusterUnavailableError("`kubectl` is not installed")
    probe = Cluster(kubeconfig, path, is_local)
    try:
        items = probe.read("get", "nodes")["items"]
    except AssertionError as problem:
        raise ClusterUnavailableError(f"the cluster of `{kubeconfig}` does not answer: {problem}") from problem
    return Cluster(kubeconfig, path, is_local, tuple(sorted(filter(None, map(_ready_name, items))))[:MOST_NODES])


def _ready_name(node: Any) -> "str | None":
    conditions = node["status"]["conditions"]
    is_ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
    return str(node["metadata"]["name"]) if is_ready else None
