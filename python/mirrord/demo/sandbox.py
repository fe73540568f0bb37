"""The throw-away `demo` target, from the side of whoever makes it: the CLI, `make demo`, the tests.

`Sandbox` starts one process (`inside/builder.py`) and speaks with it over a socket; see there for what it makes and why
nothing of it can be left behind. Only the standard library is used, and nothing heavy is imported: the sandbox stands
between the command and the program's first instruction.
"""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from .inside import content

_START_SECONDS = 30.0
_REQUEST_SECONDS = 15.0
_END_SECONDS = 10.0
_ANSWER_LIMIT = 1 << 20
_BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from inside.{} import main; main()"
_CODE = os.path.dirname(os.path.abspath(__file__))
_OWN_FOLDERS = ("/tmp/", "/run/", "/var/", "/mnt/", "/app/", "/data/", "/dev/", "/sys/", "/proc/")
"""Folders of the machine that the sandbox replaces by its own."""
_SWITCHES = {
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
    "kernel.unprivileged_userns_clone": ("0", "1"),
    "user.max_user_namespaces": ("0", "15000"),
}
"""Settings of the kernel that deny user namespaces: the value that does, and one that does not."""


class SandboxError(Exception):
    """The sandbox could not be made, or did not do what it was asked: `message`, and what to do (`hint`)."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Sandbox:
    """A running sandbox. A context manager; `start` and `close` do the same by hand.

    `share` names files or folders of the machine to show inside at the same place, read-only; needed only for what is
    in a folder that the sandbox has of its own (`/tmp`, `/var`, …).
    """

    def __init__(self, share: Sequence[str] = ()) -> None:
        self._share = [*_interpreter_folders(), *(os.path.abspath(path) for path in share)]
        self._builder: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._target = 0
        self._customer = 0

    @property
    def pid(self) -> int:
        """The target process, as this machine numbers it."""
        return self._target

    @property
    def environment(self) -> Mapping[bytes, bytes]:
        """The target process's environment."""
        return content.ENVIRONMENT

    def __enter__(self) -> "Sandbox":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Make the sandbox; returns when everything in it takes connections. Raises: SandboxError."""
        if self._builder is not None:
            raise RuntimeError("a sandbox starts once")
        self._control, theirs = socket.socketpair()
        with theirs:
            self._builder = subprocess.Popen(
                _command("builder", str(theirs.fileno()), str(os.getpid()), *self._share),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                # Ctrl-C is for the program; the sandbox ends after it.
                start_new_session=True,
            )
        try:
            self._target, self._customer = self._await_ready(self._control)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Take everything down and wait until it is gone. Idempotent."""
        if self._control is not None:
            self._control.close()
        if self._builder is not None:
            try:
                self._builder.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._builder.kill()
                self._builder.wait()
        self._builder = self._control = None

    def request(self, path: str = "/") -> bytes:
        """Have the customer process ask port 80 of the pod for `path`; returns the body. Raises: SandboxError."""
        with socket.socket(socket.AF_UNIX) as orders:
            orders.settimeout(_REQUEST_SECONDS)
            try:
                orders.connect(f"/proc/{self._target}/root{content.CUSTOMER_SOCKET}")
                orders.sendall(path.encode() + b"\n")
                outcome = _read_all(orders)
            except OSError as error:
                raise SandboxError(f"The customer of the demo target did not answer: {error}") from error
        if not outcome.startswith(b"+"):
            raise SandboxError(f"The pod did not answer its customer: {outcome[1:].decode(errors='replace')}")
        return outcome[1:]

    def run(
        self, argv: Sequence[str], *, as_customer: bool = False, **options: Any
    ) -> subprocess.CompletedProcess[Any]:
        """Run a program inside, as the truth: the target's namespaces and environment, or the customer's network.

        `options` are those of `subprocess.run`; `env` adds to the target's environment.
        """
        process = self._customer if as_customer else self._target
        added = {os.fsencode(name): os.fsencode(value) for name, value in (options.pop("env", None) or {}).items()}
        environment = {**content.ENVIRONMENT, **added}
        return subprocess.run(_command("enter", str(process), *argv), env=environment, **options)

    def _await_ready(self, control: socket.socket) -> tuple[int, int]:
        control.settimeout(_START_SECONDS)
        try:
            line = control.makefile("rb").readline(4096).decode(errors="replace").strip()
        except TimeoutError:
            raise SandboxError("The demo target did not get ready in time") from None
        word, _, rest = line.partition(" ")
        if word == "ready":
            target, customer = rest.split(" ")
            return int(target), int(customer)
        if word == "failed":
            step, number, text = rest.split(" ", 2)
            raise _explain(step, int(number), text)
        raise SandboxError("The demo target's builder ended without a word")


def _command(role: str, *arguments: str) -> list[str]:
    # The interpreter itself, not a virtual environment's link to it, which may be in a folder that is replaced inside.
    return [os.path.realpath(sys.executable), "-I", "-S", "-c", _BOOT.format(role), _CODE, *arguments]


def _interpreter_folders() -> list[str]:
    """Where the interpreter lives, if that is in a folder that the sandbox replaces."""
    places = {sys.base_prefix, sys.base_exec_prefix, os.path.realpath(sys.executable)}
    return sorted(place for place in places if place.startswith(_OWN_FOLDERS))


def _read_all(connection: socket.socket) -> bytes:
    answer = bytearray()
    while len(answer) < _ANSWER_LIMIT:
        received = connection.recv(65536)
        if not received:
            break
        answer += received
    return bytes(answer)


def _explain(step: str, number: int, text: str) -> SandboxError:
    denied = _denied_namespaces(step, number)
    if denied is not None:
        return SandboxError("The demo target needs user namespaces, and this machine denies them to you", denied)
    if step == "network" and number in (errno.EOPNOTSUPP, errno.ENODEV):
        return SandboxError(
            "The demo target needs `veth` devices, which this kernel lacks", "Run `modprobe veth` as root"
        )
    return SandboxError(f"The demo target could not be made ({step}): {text}")


def _denied_namespaces(step: str, number: int) -> str | None:
    """What to do, when the failure is a refusal of user namespaces."""
    if number not in (errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EUSERS, errno.EINVAL):
        return None
    for name, (closed, opened) in _SWITCHES.items():
        if _setting(name) == closed:
            return f"Allow them with `sysctl {name}={opened}` as root, or run this as root"
    if step == "namespaces":
        return "Run this as root; in a container, start it with `--security-opt seccomp=unconfined` or `--privileged`"
    return None


def _setting(name: str) -> str:
    try:
        with open(f"/proc/sys/{name.replace('.', '/')}") as file:
            return file.read(32).strip()
    except OSError:
        return ""
