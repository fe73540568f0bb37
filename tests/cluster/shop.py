"""What runs in the cluster for this tier: namespace `shop` with a deployment, its service, and a client pod.

The deployment `web` serves a file over HTTP and echoes lines on another port, both with busybox alone; the echo holds
its connection open, which shows what a steal does to connections that were there before. Each node has a pod
`corner-N`, so that a target is on each node, wherever the scheduler would have put an agent; deployment and client are
on different nodes, if there are two. Everything is in one namespace, which is made anew for each session.
"""

import queue
import subprocess
import threading
from typing import Any

from .machine import Cluster

NAMESPACE = "shop"
DEPLOYMENT = "deployment/web"
HTTP_PORT = 8080
ECHO_PORT = 7000
FOLDER = "/srv/shop"
GREETING = "hello from the shop\n"
ENVIRONMENT = {"SHOP_NAME": "tea & biscuits", "SHOP_MOTTO": "first line\nsecond line = more"}
SIDECAR_NAME = "the sidecar"
LINE_SECONDS = 20.0

_SERVE = f"httpd -p {HTTP_PORT} -h {FOLDER} && exec nc -ll -p {ECHO_PORT} -e /bin/cat"


class Shop:
    """The objects in the cluster, and the questions that a customer asks them."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def open(self) -> None:
        """Make everything and wait until it runs."""
        self.close()
        self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        corners = [self._corner(number, node) for number, node in enumerate(self.cluster.nodes)]
        # The service first: its variables are in the environment of pods that come after it.
        self.cluster.apply(_service(), self._files(), self._deployment(), self._client(), *corners)
        self._kubectl("rollout", "status", DEPLOYMENT, "--timeout=60s", seconds=70.0)
        names = ["pod/client", *(f"pod/{corner['metadata']['name']}" for corner in corners)]
        self._kubectl("wait", "--for=condition=Ready", "--timeout=60s", *names, seconds=70.0)

    def close(self) -> None:
        self.cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=90s", seconds=100.0)

    def pod(self) -> "dict[str, Any]":
        """The pod of the deployment."""
        items: "list[dict[str, Any]]" = self.cluster.read("get", "pods", "-n", NAMESPACE, "-l", "app=web")["items"]
        running = [item for item in items if not item["metadata"].get("deletionTimestamp")]
        assert len(running) == 1, running
        return running[0]

    def pod_address(self) -> str:
        return str(self.pod()["status"]["podIP"])

    def client_address(self) -> str:
        return str(self.cluster.read("get", "pod", "client", "-n", NAMESPACE)["status"]["podIP"])

    def ask(self, line: str, host: str = "web") -> str:
        """Send one line to the echo port from the client pod; the whole answer."""
        script = 'printf "%s\\n" "$1" | nc -w 5 "$2" "$3"'
        words = ("sh", "-c", script, "ask", line, host, str(ECHO_PORT))
        return self._kubectl("exec", "client", "--", *words).strip()

    def conversation(self) -> "Conversation":
        """A connection of the client pod to the echo port that stays open."""
        command = ("exec", "-i", "client", "-n", NAMESPACE, "--", "nc", self.pod_address(), str(ECHO_PORT))
        return Conversation(self.cluster.kubectl_command(*command))

    def _kubectl(self, *words: str, seconds: float = 60.0) -> str:
        return self.cluster.kubectl("-n", NAMESPACE, *words, seconds=seconds)

    def _files(self) -> "dict[str, Any]":
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _named("files"), "data": {"greeting": GREETING}}

    def _deployment(self) -> "dict[str, Any]":
        pod = {
            "nodeName": self.cluster.nodes[-1],
            "terminationGracePeriodSeconds": 0,
            "containers": [
                self._container("web", _SERVE, ENVIRONMENT),
                self._container("sidecar", "exec sleep 1000000", {"SHOP_NAME": SIDECAR_NAME}),
            ],
            "volumes": [{"name": "files", "configMap": {"name": "files"}}],
        }
        labels = {"app": "web"}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": _named("web"),
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }

    def _corner(self, number: int, node: str) -> "dict[str, Any]":
        return self._pod(f"corner-{number}", {"nodeName": node})

    def _client(self) -> "dict[str, Any]":
        return self._pod("client", {"nodeName": self.cluster.nodes[0]})

    def _pod(self, name: str, placement: "dict[str, Any]") -> "dict[str, Any]":
        container = self._container("main", "exec sleep 1000000", {"SHOP_NAME": name}, mounts=False)
        spec = {"terminationGracePeriodSeconds": 0, "containers": [container], **placement}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": _named(name), "spec": spec}

    def _container(self, name: str, script: str, environment: "dict[str, str]", mounts: bool = True) -> Any:
        container: "dict[str, Any]" = {
            "name": name,
            "image": self.cluster.target_image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", script],
            "env": [{"name": key, "value": value} for key, value in environment.items()],
        }
        if mounts:
            container["volumeMounts"] = [{"name": "files", "mountPath": FOLDER}]
        return container


class Conversation:
    """A connection held open by a `nc` in the client pod, one line at a time."""

    def __init__(self, command: "list[str]") -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        self._lines: "queue.Queue[str | None]" = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def say(self, line: str) -> str:
        """Send a line; what comes back for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        try:
            answer = self._lines.get(timeout=LINE_SECONDS)
        except queue.Empty:
            raise AssertionError(f"no answer to `{line}` within {LINE_SECONDS:.0f} s") from None
        assert answer is not None, f"the connection ended before it answered `{line}`"
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.wait(10)
        self._reader.join(10)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)


def _named(name: str) -> "dict[str, str]":
    return {"name": name, "namespace": NAMESPACE}


def _service() -> "dict[str, Any]":
    ports = [
        {"name": "http", "port": 80, "targetPort": HTTP_PORT},
        {"name": "echo", "port": ECHO_PORT, "targetPort": ECHO_PORT},
    ]
    spec = {"selector": {"app": "web"}, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _named("web"), "spec": spec}
