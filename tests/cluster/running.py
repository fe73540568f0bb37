"""`mirrord exec` as a user runs it: once to its end, or held open and talked with. Called by the tests."""

import contextlib
import json
import os
import pathlib
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .machine import Cluster
from .shop import DEPLOYMENT, NAMESPACE

SECONDS = 60.0
AGENT_LABEL = "app.kubernetes.io/name=mirrord-agent"
GONE_SECONDS = 3.0
PROGRAMS = pathlib.Path(__file__).with_name("programs")


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    status: int
    output: str
    errors: str
    seconds: float


class Mirrord:
    """Starts programs in the context of a target in one cluster."""

    def __init__(self, cluster: Cluster, agent_image: "str | None", folder: pathlib.Path) -> None:
        self.cluster = cluster
        self._agent_image = agent_image
        self._folder = folder
        # Where built files are is about the machine; every other variable of ours would change what is tested.
        kept = ("MIRRORD_LAYER_FILE", "MIRRORD_AGENT_FILE")
        ours = {name for name in os.environ if name.startswith("MIRRORD_") and name not in kept}
        self._environment = {name: value for name, value in os.environ.items() if name not in ours}

    def command(
        self, program: "list[str]", target: str, namespace: str, config: "Mapping[str, Any] | None"
    ) -> "list[str]":
        settings = {"agent": {"image": self._agent_image} if self._agent_image else {}}
        for key, value in (config or {}).items():
            settings[key] = {**settings.get(key, {}), **value}
        file = self._folder / f"config-{time.monotonic_ns()}.json"
        file.write_text(json.dumps(settings))
        options = ["--target", target, "-n", namespace, "-f", str(file)]
        return [sys.executable, "-m", "mirrord", "exec", *options, "--", *program]

    def run(
        self,
        *program: str,
        target: str = DEPLOYMENT,
        namespace: str = NAMESPACE,
        config: "Mapping[str, Any] | None" = None,
        kubeconfig: "pathlib.Path | None" = None,
    ) -> Outcome:
        start = time.monotonic()
        done = subprocess.run(
            self.command(list(program), target, namespace, config),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=self.environment(kubeconfig),
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr, time.monotonic() - start)

    def python(self, program: str, *words: str, **options: Any) -> Outcome:
        """Run one of `programs/` in context."""
        return self.run(sys.executable, str(PROGRAMS / f"{program}.py"), *words, **options)

    @contextlib.contextmanager
    def started(self, program: str, *words: str, **options: Any) -> "Iterator[Started]":
        """One of `programs/`, held open; ended with the block if it has not ended before."""
        words_ = [sys.executable, str(PROGRAMS / f"{program}.py"), *words]
        target = options.get("target", DEPLOYMENT)
        namespace = options.get("namespace", NAMESPACE)
        command = self.command(words_, target, namespace, options.get("config"))
        started = Started(command, self.environment(options.get("kubeconfig")))
        try:
            yield started
        finally:
            started.end()

    def environment(self, kubeconfig: "pathlib.Path | None" = None) -> "dict[str, str]":
        return {**self._environment, "KUBECONFIG": str(kubeconfig or self.cluster.kubeconfig)}

    def agent_pods(self, namespace: str = NAMESPACE) -> "list[dict[str, Any]]":
        items: "list[dict[str, Any]]" = self.cluster.read("get", "pods", "-n", namespace, "-l", AGENT_LABEL)["items"]
        return items

    def agent_is_gone(self, seconds: float = GONE_SECONDS) -> None:
        """Waits for the end of each Job, pod and Secret of ours; fails if something is still there after `seconds`."""
        deadline = time.monotonic() + seconds
        while left := self._leftovers():
            remaining = deadline - time.monotonic()
            assert remaining > 0, f"still there {seconds:.0f} s after the end: {left}"
            # The end is an event: kubectl's watch of the objects. Its complaint is worth less than the next look.
            command = self.cluster.kubectl_command(
                "wait", "--for=delete", "-n", NAMESPACE, *left, f"--timeout={max(remaining, 0.1):.1f}s"
            )
            subprocess.run(command, capture_output=True, timeout=remaining + 10, check=False)

    def _leftovers(self) -> "list[str]":
        words = ("get", "jobs,pods,secrets", "-n", NAMESPACE, "-l", AGENT_LABEL, "-o", "name")
        return self.cluster.kubectl(*words).split()


class Started:
    """A running `mirrord exec` whose output lines are events."""

    def __init__(self, command: "list[str]", environment: "dict[str, str]") -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, text=True)
        self.errors: "list[str]" = []
        self._seen: "list[str]" = []
        self._arrived: "queue.Queue[str | None]" = queue.Queue()
        self._readers = [threading.Thread(target=self._read_output), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def wait_for(self, beginning: str, seconds: float = SECONDS) -> str:
        """The next output line that begins so."""
        deadline = time.monotonic() + seconds
        while True:
            line = self.next_line(deadline - time.monotonic())
            if line.startswith(beginning):
                return line

    def next_line(self, seconds: float = SECONDS) -> str:
        try:
            line = self._arrived.get(timeout=max(seconds, 0.001))
        except queue.Empty:
            raise AssertionError(f"no line within {seconds:.0f} s; {self.report()}") from None
        assert line is not None, f"the program ended; {self.report()}"
        self._seen.append(line)
        return line

    def say(self, line: str) -> None:
        """Give the program a line to read."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def finish(self, seconds: float = SECONDS) -> int:
        """Close the program's input and wait for the end of `mirrord exec`."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        return self.process.wait(seconds)

    def end(self) -> None:
        """Terminate what still runs."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        for reader in self._readers:
            reader.join(10)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def report(self) -> str:
        return "\n".join(["output so far:", *self._seen, "--- stderr", *self.errors])

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._arrived.put(line.rstrip("\n"))
        self._arrived.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line.rstrip("\n"))
