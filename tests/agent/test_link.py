"""Who may speak with an agent, what it tells, and when it ends."""

import os
import pathlib
import socket
import time

import pytest
from mirrord.demo.inside import content
from mirrord.demo.sandbox import Sandbox
from mirrord.proxy import Keys, ProxyError

from .running import SECONDS, agent, ended, free_port, session, started, tunnel


def test_agent_tells_of_its_target(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    keys = Keys()
    with session(keys, tmp_path / "session") as ours, agent(sandbox.pid, keys) as (_process, carrier):
        target = ours.connect_fd(carrier.detach(), SECONDS)
    assert target.hostname == content.HOST_NAME.encode()
    assert (target.pid, target.uid, target.gid) == (target.pid, 0, 0)
    assert target.environment.split(b"\0")[:-1] == [b"%s=%s" % item for item in content.ENVIRONMENT.items()]


def test_agent_with_other_keys_is_refused(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    with session(Keys(), tmp_path / "session") as ours, agent(sandbox.pid, Keys()) as (_process, carrier):
        begin = time.monotonic()
        with pytest.raises(ProxyError) as refused:
            ours.connect_fd(carrier.detach(), SECONDS)
        assert time.monotonic() - begin < SECONDS
    assert refused.value.args[0] in ("tls", "link")


def test_silent_peer_is_given_up_in_time(tmp_path: pathlib.Path) -> None:
    ours, theirs = socket.socketpair()
    with theirs, session(Keys(), tmp_path / "session") as opened:
        begin = time.monotonic()
        with pytest.raises(ProxyError) as silent:
            opened.connect_fd(ours.detach(), 1.0)
        assert time.monotonic() - begin < 5.0
    assert silent.value.args[0] in ("timeout", "link")


def test_agent_ends_with_its_client(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    keys = Keys()
    with agent(sandbox.pid, keys) as (process, carrier):
        with session(keys, tmp_path / "session") as ours:
            ours.connect_fd(carrier.detach(), SECONDS)
            assert process.poll() is None
        assert process.wait(SECONDS) == 0


def test_agent_ends_when_its_client_vanishes(sandbox: Sandbox) -> None:
    with agent(sandbox.pid, Keys(), "--grace", "1") as (process, carrier):
        carrier.close()
        process.wait(SECONDS)


def test_agent_without_a_client_ends_after_its_grace(sandbox: Sandbox) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can put an agent that listens beside a target in other namespaces")
    process = started(sandbox.pid, Keys(), "--listen", f"127.0.0.1:{free_port()}", "--grace", "1")
    try:
        assert process.wait(SECONDS) != 2
    finally:
        ended(process)


def test_agent_ends_with_its_target(tmp_path: pathlib.Path) -> None:
    keys = Keys()
    with Sandbox() as own, agent(own.pid, keys) as (process, carrier), session(keys, tmp_path / "session") as ours:
        ours.connect_fd(carrier.detach(), SECONDS)
        own.close()
        process.wait(SECONDS)


def test_strangers_get_no_answer_and_disturb_nobody(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """The attacker comes first, with forty connections; the one with the keys is served all the same."""
    if os.geteuid() != 0:
        pytest.skip("only root can put an agent that listens beside a target in other namespaces")
    keys, port = Keys(), free_port()
    process = started(sandbox.pid, keys, "--listen", f"127.0.0.1:{port}")
    strangers: "list[socket.socket]" = []
    try:
        _wait_for_listener(port, process.pid)
        strangers = [_stranger(port, number) for number in range(40)]
        with session(keys, tmp_path / "session") as ours, tunnel(port) as carrier:
            assert ours.connect_fd(carrier, SECONDS).hostname == content.HOST_NAME.encode()
        for stranger in strangers:
            assert _answer(stranger) in (b"", _ALERT)
    finally:
        for stranger in strangers:
            stranger.close()
        ended(process)


_ALERT = b"alert"


def _stranger(port: int, number: int) -> socket.socket:
    stranger = socket.create_connection(("127.0.0.1", port), SECONDS)
    if number % 4 == 1:
        stranger.sendall(os.urandom(200))
    elif number % 4 == 2:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n")
    elif number % 4 == 3:
        stranger.sendall(b"\x16\x03\x01\xff\xff" + os.urandom(1000))
    return stranger


def _answer(stranger: socket.socket) -> bytes:
    """What a stranger got before the end: nothing, or a TLS alert."""
    stranger.settimeout(SECONDS)
    answer = b""
    try:
        while part := stranger.recv(4096):
            answer += part
    except ConnectionResetError:
        pass
    return _ALERT if answer.startswith(b"\x15") else answer


def _wait_for_listener(port: int, pid: int) -> None:
    """Until the agent listens: /proc tells without touching it (a connection would be a stranger of its own)."""
    wanted = f"0100007F:{port:04X}"
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()
        if any(fields[1] == wanted and fields[3] == "0A" for fields in map(str.split, lines)):
            return
        assert pathlib.Path(f"/proc/{pid}").exists(), "the agent ended"
    raise AssertionError("the agent does not listen")
