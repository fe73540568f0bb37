"""A real agent beside a sandbox, with and without a session at the other end of its link. Called by the tests here.

`agent` and `session` have no layer and no program: what `mirrord.proxy` offers to Python is enough for the link.
`exec_command` is a whole session, for what only a program can ask for.
"""

import contextlib
import os
import pathlib
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

from mirrord import native, proxy
from mirrord.config.schema import Config
from mirrord.config.settings import Surroundings, settings

SECONDS = 10.0
FOLDER = "/tmp"
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
"""The machine's interpreter, whose folder is local wherever the tests' own one is."""


def exec_command(target: int, script: str) -> "list[str]":
    """A Python script in the context of process `target`; run it in `FOLDER`."""
    return [sys.executable, "-m", "mirrord", "exec", "--target", f"process/{target}", "--", PYTHON, "-c", script]


def agent_of(process: "subprocess.Popen[str]") -> int:
    """The agent's process id, among the children of a `mirrord exec`."""
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                is_child = f"\nPPid:\t{process.pid}\n" in (folder / "status").read_text()
                if is_child and (folder / "comm").read_text() == "mirrord-agent\n":
                    return int(folder.name)
    raise AssertionError("mirrord exec has no agent among its children")


@contextlib.contextmanager
def watched(pid: int) -> "Iterator[int]":
    """A descriptor that becomes readable when process `pid` ends."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def await_end(descriptor: int) -> None:
    readable, _, _ = select.select([descriptor], [], [], SECONDS)
    assert readable, "the process does not end"


def session_settings() -> str:
    """Default settings with a target."""
    return settings(Config(), Surroundings("/nonexistent", "/nonexistent", "/tmp", ()), has_target=True)


@contextlib.contextmanager
def agent(target: int, keys: proxy.Keys, *options: str) -> "Iterator[tuple[subprocess.Popen[bytes], socket.socket]]":
    """An agent for process `target`, and our end of its socket pair."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = started(target, keys, "--fd", str(theirs.fileno()), *options, inherited=theirs.fileno())
    try:
        with ours:
            yield process, ours
    finally:
        ended(process)


def started(target: int, keys: proxy.Keys, *options: str, inherited: "int | None" = None) -> "subprocess.Popen[bytes]":
    words = [str(native.agent()), "serve", "--pid", str(target), *options]
    if inherited is not None:
        words.append("--enter-user-namespace")
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"MIRRORD_AGENT_KEYS": keys.agent_secret()},
        pass_fds=[] if inherited is None else [inherited],
    )


def ended(process: "subprocess.Popen[bytes]") -> int:
    """End an agent that may have ended already; its exit status."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(SECONDS)


@contextlib.contextmanager
def session(keys: proxy.Keys, folder: pathlib.Path, holder: str = "tester@here") -> "Iterator[proxy.Session]":
    """A session without its link."""
    opened = proxy.Session(session_settings(), keys, str(folder), holder)
    try:
        yield opened
    finally:
        opened.close()


@contextlib.contextmanager
def tunnel(port: int) -> "Iterator[int]":
    """A descriptor for `Session.connect_fd` that reaches a TCP port here: the relay that a port-forward is."""
    ours, theirs = socket.socketpair()
    far = socket.create_connection(("127.0.0.1", port), SECONDS)
    far.settimeout(None)
    threads = [threading.Thread(target=_copy, args=ends, daemon=True) for ends in ((theirs, far), (far, theirs))]
    for thread in threads:
        thread.start()
    try:
        yield ours.detach()
    finally:
        for end in (theirs, far):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(SECONDS)
        theirs.close()
        far.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while part := source.recv(65536):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # One side was cut: the other is closed by the tunnel's end.
        return


def free_port() -> int:
    """A port of this machine's loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def rules(target: int) -> "str | None":
    """The nftables rules of the target's network namespace; None where they cannot be read."""
    # Root has its rights in there already; anybody else gets them by entering the user namespace first.
    user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    command = ["nsenter", "--target", str(target), *user, "--net", "nft", "list", "ruleset"]
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
