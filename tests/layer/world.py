"""The three places where a program of this tier runs: inside the target, plain on this machine, and in context.

Built once per session by `conftest`. Every run is bounded by `SECONDS`; a run that does not end fails with what it had
printed until then.
"""

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator

from mirrord.demo.sandbox import Sandbox

from .catalogue import Case, Outcome
from .stage import Stage

SECONDS = 30.0
_PLAIN_SECONDS = 10.0
STILL_RUNNING = -1000
"""The status of a plain run that did not end: this machine's network may swallow what the target answers."""


class World:
    """Runs programs in the three places with one and the same local environment."""

    def __init__(self, sandbox: Sandbox, stage: Stage) -> None:
        self.sandbox = sandbox
        self.stage = stage
        self.environment = {
            "PATH": f"/case-own-folder:{os.environ.get('PATH', os.defpath)}",
            "HOME": os.environ.get("HOME", "/"),
            "LANG": "C.UTF-8",
            "CASE_OWN": "the machine's own value",
        }

    def command(self, case: Case) -> "list[str]":
        return self.stage.command(case.language, case.program, *case.args)

    def inside(self, command: "list[str]") -> Outcome:
        """The truth: in the target's namespaces, with the target's environment."""
        done = self.sandbox.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def plain(self, command: "list[str]") -> Outcome:
        try:
            return self._run(command, _PLAIN_SECONDS)
        except subprocess.TimeoutExpired as ended:
            return Outcome(STILL_RUNNING, ended.stdout or b"", ended.stderr or b"")

    def in_context(self, command: "list[str]", *options: str) -> Outcome:
        return self._run(self.exec_command(command, *options), SECONDS)

    def exec_command(self, command: "list[str]", *options: str) -> "list[str]":
        target = f"process/{self.sandbox.pid}"
        return [sys.executable, "-m", "mirrord", "exec", "--target", target, *options, "--", *command]

    @contextlib.contextmanager
    def started(self, command: "list[str]", *options: str) -> "Iterator[Started]":
        """A program in context that the test talks with; killed at the end if it has not ended."""
        started = Started(self.exec_command(command, *options), self.environment, str(self.stage.folder))
        try:
            yield started
        finally:
            started.kill()

    def _run(self, command: "list[str]", seconds: float) -> Outcome:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            env=self.environment,
            cwd=self.stage.folder,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)


class Started:
    """A running `mirrord exec` whose output lines are events."""

    def __init__(self, command: "list[str]", environment: "dict[str, str]", folder: str) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd=folder)
        self.lines: "list[str]" = []
        self.errors: "list[str]" = []
        self._arrived: "queue.Queue[str | None]" = queue.Queue()
        self._readers = [threading.Thread(target=self._read_output), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._arrived.put(line.decode("utf-8", "backslashreplace").rstrip("\n"))
        self._arrived.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line.decode("utf-8", "backslashreplace").rstrip("\n"))

    def wait_for(self, beginning: str) -> str:
        """The next output line that begins so."""
        while True:
            try:
                line = self._arrived.get(timeout=SECONDS)
            except queue.Empty:
                raise AssertionError(f"no line `{beginning}…` within {SECONDS:.0f} s; {self.report()}") from None
            if line is None:
                raise AssertionError(f"the program ended without a line `{beginning}…`; {self.report()}")
            self.lines.append(line)
            if line.startswith(beginning):
                return line

    def finish(self) -> int:
        """Close its input and wait for its end; all output is in `lines` afterwards."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        status = self.process.wait(SECONDS)
        while (line := self._arrived.get(timeout=SECONDS)) is not None:
            self.lines.append(line)
        return status

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        for reader in self._readers:
            reader.join(10)
            # A program that outlived its session holds the pipes: closing ours would wait for the reader for ever.
            assert not reader.is_alive(), f"a program is left behind; {self.report()}"
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def report(self) -> str:
        return "output so far:\n" + "\n".join([*self.lines, "--- stderr", *self.errors])
