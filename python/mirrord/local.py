"""Targets of this machine: the demo sandbox and any process. Called by the session; no Kubernetes anywhere.

The agent is our child and speaks over a socket pair, with the same protocol, keys and TLS as in a pod. A process in
another user namespace (the sandbox, a rootless container) is entered through that namespace: that is where the agent
gets the rights that it has none of outside.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirrord import native
from mirrord.errors import AGENT_CRASHED, PROCESS_NOT_FOUND, SANDBOX, MirrordError
from mirrord.targets import Demo, Process

if TYPE_CHECKING:
    from mirrord.proxy import Session, Target

END_SECONDS = 3.0
MAX_COMPLAINT = 4096


class LocalAgent:
    """An agent as a child process, and the sandbox that it serves if it is the demo's. A carrier of `session`."""

    def __init__(self, target: Process | Demo, keys: str, grace: int, timeout: int, log: str) -> None:
        self._target = target
        self._keys = keys
        self._grace = grace
        self._timeout = timeout
        self._log = log
        self._sandbox: Any = None
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints: int | None = None
        self._socket: socket.socket | None = None
        self._preparing = threading.Lock()
        self._is_closed = False

    def prepare(self) -> None:
        """Start the sandbox if there is one, then the agent."""
        with self._preparing:
            if not self._is_closed:
                self._prepare()

    def _prepare(self) -> None:
        pid = self._target.pid if isinstance(self._target, Process) else self._start_sandbox()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            command = [str(native.agent()), "serve", "--fd", str(theirs.fileno()), "--pid", str(pid)]
            command += ["--grace", str(self._grace), "--log", self._log]
            if _is_other_user_namespace(pid):
                command.append("--enter-user-namespace")
            # Its complaints go to a memory file: nobody reads while it works, and a pipe could fill up.
            self._complaints = os.memfd_create("mirrord-agent-log", os.MFD_CLOEXEC)
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=self._complaints,
                    stderr=self._complaints,
                    env={"MIRRORD_AGENT_KEYS": self._keys},
                    pass_fds=[theirs.fileno()],
                    # The terminal's Ctrl-C is for the program; we end the agent ourselves.
                    start_new_session=True,
                )
            except OSError as problem:
                raise MirrordError(AGENT_CRASHED, f"The agent cannot be started: {problem.strerror}") from problem

    def connect(self, session: Session) -> Target:
        """Make the link."""
        if self._socket is None:
            raise RuntimeError("connect before prepare")
        ours, self._socket = self._socket, None
        return session.connect_fd(ours.detach(), float(self._timeout))

    @property
    def description(self) -> str:
        return f"`{self._target}`"

    def failure_now(self) -> MirrordError | None:
        """Why the agent does not answer, if it has ended."""
        if self._process is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            # The link broke because it is ending: its status is there in a moment.
            self._process.wait(timeout=0.5)
        code = self._process.returncode
        if code is None:
            return None
        how = f"signal `{-code}`" if code < 0 else f"exit code `{code}`"
        return MirrordError(AGENT_CRASHED, f"The agent for `{self._target}` ended with {how}", *self._last_words())

    def close(self) -> list[str]:
        """End the agent, then the sandbox; returns what could not be ended. Idempotent."""
        self._is_closed = True
        with self._preparing:
            return self._close()

    def _close(self) -> list[str]:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            process, self._process = self._process, None
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._complaints is not None:
            os.close(self._complaints)
            self._complaints = None
        if self._sandbox is not None:
            sandbox, self._sandbox = self._sandbox, None
            sandbox.close()
        return []

    def _start_sandbox(self) -> int:
        from mirrord.demo.sandbox import Sandbox, SandboxError

        self._sandbox = Sandbox()
        try:
            self._sandbox.start()
        except SandboxError as problem:
            raise MirrordError(
                SANDBOX, "The demo target could not be made", problem.message, hint=problem.hint
            ) from problem
        return int(self._sandbox.pid)

    def _last_words(self) -> list[str]:
        if self._complaints is None:
            return []
        text = os.pread(self._complaints, MAX_COMPLAINT, max(0, os.fstat(self._complaints).st_size - MAX_COMPLAINT))
        return [f"log: {line}" for line in text.decode(errors="replace").strip().splitlines()[-5:]]


def check(target: Process | Demo) -> None:
    """Refuse early what cannot work. Raises when the process is not there or not ours to enter."""
    if isinstance(target, Demo):
        return
    folder = Path(f"/proc/{target.pid}")
    if not folder.exists():
        raise MirrordError(PROCESS_NOT_FOUND, f"There is no process `{target.pid}` on this machine")
    try:
        (folder / "ns" / "net").readlink()
        (folder / "environ").open("rb").close()
    except OSError as problem:
        raise MirrordError(
            PROCESS_NOT_FOUND,
            f"The process `{target.pid}` cannot be entered",
            problem.strerror or str(problem),
            hint="Run mirrord as the user who owns that process, or as root",
        ) from problem


def _is_other_user_namespace(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/ns/user").readlink() != Path("/proc/self/ns/user").readlink()
    except OSError as problem:
        raise MirrordError(
            PROCESS_NOT_FOUND, f"The process `{pid}` cannot be entered", problem.strerror or str(problem)
        ) from problem
