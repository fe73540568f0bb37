"""Stolen requests: a customer of the target is answered by a program on this machine, whatever it is written in."""

import contextlib
import time

import pytest
from mirrord.demo.inside import content
from mirrord.demo.sandbox import SandboxError

from .catalogue import Language
from .requirements import no_ipv6
from .world import SECONDS, Started, World

PORT = str(content.POD_PORT)
MAPPED = f"::ffff:{content.CUSTOMER_V4}"
SERVERS = {
    "c-accept": (Language.C, "incoming", ("accept", PORT), content.CUSTOMER_V4),
    "c-accept4": (Language.C, "incoming", ("accept4", PORT), content.CUSTOMER_V4),
    "c-accept-without-address": (Language.C, "incoming", ("no-address", PORT), content.CUSTOMER_V4),
    "c-dual-stack": (Language.C, "incoming", ("dual-stack", PORT), MAPPED),
    "c-epoll": (Language.C, "incoming", ("epoll", PORT), content.CUSTOMER_V4),
    "c-listener-in-forked-child": (Language.C, "incoming", ("forked", PORT), content.CUSTOMER_V4),
    "c-accept-in-prefork-child": (Language.C, "incoming", ("prefork", PORT), content.CUSTOMER_V4),
    "c-connection-outlives-listener": (Language.C, "incoming", ("close-before-answer", PORT), content.CUSTOMER_V4),
    "python-http-server": (Language.PYTHON, "incoming", ("http_server", PORT), content.CUSTOMER_V4),
    "python-forking-server": (Language.PYTHON, "incoming", ("forking", PORT), content.CUSTOMER_V4),
    "python-socket": (Language.PYTHON, "incoming", ("raw", PORT), content.CUSTOMER_V4),
    "python-asyncio": (Language.PYTHON, "incoming", ("streams", PORT), content.CUSTOMER_V4),
    "node-http": (Language.NODE, "incoming", (PORT, "0.0.0.0"), content.CUSTOMER_V4),
    "node-http-dual-stack": (Language.NODE, "incoming", (PORT, "::"), MAPPED),
    "java-server-socket": (Language.JAVA, "Incoming", (PORT,), content.CUSTOMER_V4),
    "rust-tcp-listener": (Language.RUST, "incoming", (PORT,), content.CUSTOMER_V4),
}


def _command(world: World, language: Language, program: str, arguments: "tuple[str, ...]") -> "list[str]":
    if language in world.stage.problems:
        pytest.skip(world.stage.problems[language])
    return world.stage.command(language, program, *arguments)


def _ask(world: World) -> str:
    return world.sandbox.request("/case").decode()


def _answered_by(program: Started, world: World, peer: str) -> None:
    answer = _ask(world)
    assert answer == f"stolen {peer}\n", program.report()


def _pod_answers(world: World) -> None:
    assert _ask(world) == content.POD_BODY.decode()


@pytest.mark.parametrize("name", SERVERS)
def test_program_answers_the_customer(name: str, world: World) -> None:
    language, program, arguments, peer = SERVERS[name]
    if peer == MAPPED and (reason := no_ipv6()):
        pytest.skip(reason)
    command = _command(world, language, program, arguments)
    _pod_answers(world)
    with world.started(command) as started:
        started.wait_for("listening")
        _answered_by(started, world, peer)
        assert started.finish() == 0, started.report()
    _pod_answers(world)
    for line in started.lines:
        if line.startswith("own "):
            assert line.replace(":", " ").endswith(f" {PORT}")
            assert content.POD_V4 in line
        elif line.startswith("accept and getpeername agree:"):
            assert line.endswith(" yes")


def test_sockets_show_what_was_asked_for(world: World) -> None:
    """An unprivileged program cannot really bind port 80 here; it must not see that."""
    command = _command(world, Language.C, "incoming", ("accept", PORT))
    with world.started(command) as started:
        assert started.wait_for("bound") == f"bound 0.0.0.0 {PORT}"
        assert started.wait_for("listening") == f"listening 0.0.0.0 {PORT}"
        _answered_by(started, world, content.CUSTOMER_V4)
        assert started.finish() == 0, started.report()


def test_listener_is_closed_and_opened_again(world: World) -> None:
    command = _command(world, Language.C, "incoming", ("restart", PORT))
    with world.started(command) as started:
        for _turn in range(2):
            started.wait_for("listening")
            _answered_by(started, world, content.CUSTOMER_V4)
        assert started.finish() == 0, started.report()
    _pod_answers(world)


def test_closed_listener_gives_the_port_back(world: World) -> None:
    """The program lives on: the pod must get its port back because the listener is gone."""
    command = _command(world, Language.C, "incoming", ("close-and-stay", PORT))
    with world.started(command) as started:
        started.wait_for("listening")
        _answered_by(started, world, content.CUSTOMER_V4)
        started.wait_for("closed")
        _pod_answers(world)
        assert started.process.poll() is None, started.report()
        assert started.finish() == 0, started.report()


def test_terminated_program_gives_the_port_back(world: World) -> None:
    command = _command(world, Language.C, "incoming", ("hold", PORT))
    with world.started(command) as started:
        started.wait_for("listening")
        started.process.terminate()
        assert started.process.wait(20) != 0
    _pod_answers(world)


def test_killed_session_gives_the_port_back(world: World) -> None:
    """SIGKILL of `mirrord exec` itself: nobody is left to clean up but the kernel and the agent."""
    command = _command(world, Language.C, "incoming", ("hold", PORT))
    with world.started(command) as started:
        started.wait_for("listening")
        started.process.kill()
        started.process.wait(10)
    _until_pod_answers(world)


def _until_pod_answers(world: World) -> None:
    # Each request is an event of its own: it ends when the target, or the dying redirect, has answered.
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(SandboxError):
            if _ask(world) == content.POD_BODY.decode():
                return
    raise AssertionError("the pod did not get its port back")
