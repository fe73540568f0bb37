"""A pod in a cluster as a place, with `kubectl exec` as the native floor and `kubectl port-forward` as the tunnel's.

Uses the cluster of KUBECONFIG, or with `--cluster` the one that `tests/cluster` makes. Namespace, pods and image are
made for the run and removed after it.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO

from tests.cluster import machine

from .place import (
    ECHO_PORT,
    LARGE_BYTES,
    SECONDS,
    SINK_PORT,
    SMALL_FILES,
    SOURCE_PORT,
    STREAM_BYTES,
    Layout,
    Programs,
    Values,
    parse,
    plain,
)

_NAMESPACE = "mirrord-bench"
_FOLDER = "/srv/bench"
_SHOP_PORT = 8080
_AGENT_IMAGE = "local.test/mirrord-agent:bench"
_LAY_OUT = f"""
mkdir -p {_FOLDER}/small {_FOLDER}/www && echo pod > {_FOLDER}/www/index.html
dd if=/dev/urandom of={_FOLDER}/large bs=1048576 count={LARGE_BYTES >> 20} 2>/dev/null
dd if=/dev/urandom of={_FOLDER}/one bs=4096 count=1 2>/dev/null
i=0; while [ $i -lt {SMALL_FILES} ]; do cp {_FOLDER}/one {_FOLDER}/small/$(printf %04d $i); i=$((i+1)); done
httpd -p {_SHOP_PORT} -h {_FOLDER}/www
"""


class ClusterPlace:
    """The pod `target` of the bench's own namespace, and a pod `customer` that asks it."""

    title = "cluster"

    def __init__(self, cluster: machine.Cluster, programs: Programs, image: str | None) -> None:
        self.cluster = cluster
        self.programs = programs
        where = ("--target", "pod/target", "-n", _NAMESPACE, "--kubeconfig", str(cluster.kubeconfig))
        self.target: tuple[str, ...] = (*where, "--agent-image", image) if image else where
        address = str(cluster.read("get", "pod", "target", "-n", _NAMESPACE)["status"]["podIP"])
        name = "kubernetes.default.svc.cluster.local"
        self.layout = Layout(address, name, f"{_FOLDER}/large", f"{_FOLDER}/small", _SHOP_PORT)

    def native(self, *arguments: str) -> Values:
        return parse(self._exec("target", "/tmp/measure", *arguments))

    def customer(self) -> float:
        """Timed inside the customer's pod: `kubectl exec` costs a hundred requests."""
        url = f"http://{self.layout.address}:{_SHOP_PORT}/"
        clock = "cut -d' ' -f1 /proc/uptime"
        asks = f"for i in 1 2 3 4 5 6 7 8 9 10; do wget -q -O /dev/null {url} || exit 1; done"
        begin, end = self._exec("customer", "sh", "-c", f"{clock}; {asks}; {clock}").split()
        return (float(end) - float(begin)) * 1e6 / 10

    def remains(self) -> list[str]:
        jobs = self.cluster.kubectl("get", "pods,jobs,secrets", "-n", _NAMESPACE, "-o", "name")
        return [line for line in jobs.split() if "mirrord-agent" in line]

    def ready_time(self) -> float:
        """Milliseconds from a bare pod's creation to Ready: what no start in this cluster can be faster than."""
        return statistics.median(self._one_ready_time(number) for number in range(5))

    def _one_ready_time(self, number: int) -> float:
        name, target = f"bare-{number}", self.cluster.read("get", "pod", "target", "-n", _NAMESPACE)
        node = str(target["spec"]["nodeName"])
        watching = self.cluster.kubectl_command(
            "get", "pods", "-n", _NAMESPACE, "--field-selector", f"metadata.name={name}", "--watch", "-o", "json",
            "--output-watch-events",
        )  # fmt: skip
        with _running(watching) as watch:
            try:
                begin = time.perf_counter()
                self.cluster.apply(_pod(name, self.cluster.target_image, {"nodeName": node}))
                _await_ready(watch.stdout)
                return (time.perf_counter() - begin) * 1e3
            finally:
                self.cluster.kubectl("delete", "pod", name, "-n", _NAMESPACE, "--wait=false")

    def tunnel(self) -> Values:
        """The network figures through `kubectl port-forward`, from a plain program here."""
        values: Values = {}
        for port, arguments in (
            (ECHO_PORT, ("round-trip", "3000")),
            (SOURCE_PORT, ("down", str(STREAM_BYTES))),
            (SINK_PORT, ("up", str(STREAM_BYTES))),
        ):
            command = self.cluster.kubectl_command("port-forward", "-n", _NAMESPACE, "pod/target", f":{port}")
            with _running(command) as forward:
                assert forward.stdout is not None
                found = re.search(r"127\.0\.0\.1:(\d+)", forward.stdout.readline())
                assert found, "kubectl port-forward did not say its port"
                values |= plain(self.programs, arguments[0], "127.0.0.1", found.group(1), *arguments[1:])
        return values

    def _exec(self, pod: str, *command: str) -> str:
        return self.cluster.kubectl("exec", pod, "-n", _NAMESPACE, "--", *command, seconds=SECONDS)

    def copy(self, source: str, target: str) -> None:
        command = self.cluster.kubectl_command(
            "exec", "-i", "target", "-n", _NAMESPACE, "--", "sh", "-c", f"cat > {target} && chmod 755 {target}"
        )
        with pathlib.Path(source).open("rb") as file:
            subprocess.run(command, stdin=file, check=True, timeout=SECONDS)

    def lay_out(self) -> None:
        self._exec("target", "sh", "-c", _LAY_OUT)
        self.copy(self.programs.static_measure, "/tmp/measure")
        self.copy(self.programs.static_services, "/tmp/services")
        self._exec("target", "/tmp/services", str(ECHO_PORT), str(STREAM_BYTES))


@contextlib.contextmanager
def opened(programs: Programs) -> Iterator[ClusterPlace]:
    with machine.provided() as cluster:
        image = _load_agent(cluster, programs)
        cluster.kubectl("delete", "namespace", _NAMESPACE, "--ignore-not-found", "--timeout=90s", seconds=100)
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}})
        try:
            cluster.apply(*(_pod(name, cluster.target_image, {}) for name in ("target", "customer")))
            ready = ("wait", "--for=condition=Ready", "--timeout=60s", "pod/target", "pod/customer")
            cluster.kubectl("-n", _NAMESPACE, *ready, seconds=70)
            place = ClusterPlace(cluster, programs, image)
            place.lay_out()
            yield place
        finally:
            cluster.kubectl("delete", "namespace", _NAMESPACE, "--timeout=90s", seconds=100)


def _load_agent(cluster: machine.Cluster, programs: Programs) -> str | None:
    if not cluster.has_local_nodes:
        return None  # the cluster pulls the configured image
    archive = programs.folder / "agent.tar"
    command = [sys.executable, "-m", "mirrord", "agent", "image", "--output", str(archive), "--tag", _AGENT_IMAGE]
    subprocess.run(command, check=True, timeout=SECONDS)
    cluster.load_image(archive)
    return _AGENT_IMAGE


def _pod(name: str, image: str, placement: dict[str, str]) -> dict[str, object]:
    container = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "1000000"]}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container], **placement}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": _NAMESPACE}, "spec": spec}


def _await_ready(lines: IO[str] | None) -> None:
    """Read watch events until the pod's Ready condition is true. A document may have one line or many."""
    assert lines is not None
    document = ""
    for line in lines:
        document += line
        try:
            event = json.loads(document)
        except ValueError:
            continue
        document = ""
        conditions = event["object"].get("status", {}).get("conditions", [])
        if any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions):
            return
    raise AssertionError("the watch ended before the pod was ready")


@contextlib.contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A kubectl that talks while it runs; ended at the end, or when it says nothing for too long."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        limit = threading.Timer(SECONDS, process.kill)
        limit.start()
        try:
            yield process
        finally:
            limit.cancel()
            process.terminate()
