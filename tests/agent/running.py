"""A real agent beside a sandbox, with and without a session at the other end of its link. Called by the tests here.

No layer and no program: the session is the one that `mirrord.proxy` offers to Python, so what is tested is agent and link.
"""

import contextlib
import os
import pathlib
import socket
import subprocess
import threading
from collections.abc import Iterator

from mirrord import native, proxy
from mirrord.config.schema import Config
from mirrord.config.settings import Surroundings, settings

SECONDS = 10.0


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


def started(
    target: int, keys: proxy.Keys, *options: str, inherited: "int | None" = None
) -> "subprocess.Popen[bytes]":
    words = [str(native.agent()), "serve", "--pid", str(target), "--enter-user-namespace", *options]
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
    threads = [
        threading.Thread(target=_copy, args=ends, daemon=True) for ends in ((theirs, far), (far, theirs))
    ]
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
    command = ["nsenter", "--target", str(target), "--user", "--net", "--preserve-credentials", "nft", "list", "ruleset"]
    if os.geteuid() == 0:
        command = ["nsenter", "--target", str(target), "--net", "nft", "list", "ruleset"]
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
