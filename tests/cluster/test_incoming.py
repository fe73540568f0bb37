"""A stolen port: the program on this machine answers the cluster's customers, and the pod gets its port back."""

import os
import signal
import time

import pytest

from .running import Mirrord, Started
from .shop import ECHO_PORT, Shop

PORT = str(ECHO_PORT)
BACK_SECONDS = 3.0
LOST_SECONDS = 3
"""How long the agent lives without its client in the test that kills the client."""


def _is_local(shop: Shop, started: Started) -> None:
    answer = shop.ask("good day")
    assert answer == f"local {shop.client_address()} good day", started.report()


def _is_back(shop: Shop, seconds: float = BACK_SECONDS) -> None:
    """The pod answers again; each question is an event of its own and takes some tenths of a second."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = shop.ask("still there?")
        except AssertionError as problem:
            answer = str(problem)
        if answer == "still there?":
            return
        assert time.monotonic() < deadline, f"{seconds:.0f} s after the end the pod's port answers `{answer}`"


def test_program_answers_with_the_customer_s_real_address(mirrord: Mirrord, shop: Shop) -> None:
    assert shop.ask("hello") == "hello"
    with mirrord.started("server", PORT) as started:
        started.wait_for("listening")
        _is_local(shop, started)
        by_address = shop.ask("by address", shop.pod_address())
        assert by_address == f"local {shop.client_address()} by address", started.report()
        assert started.finish() == 0, started.report()
    _is_back(shop)
    mirrord.agent_is_gone()


def test_connections_from_before_survive_start_and_end(mirrord: Mirrord, shop: Shop) -> None:
    conversation = shop.conversation()
    try:
        assert conversation.say("before") == "before"
        with mirrord.started("server", PORT) as started:
            started.wait_for("listening")
            _is_local(shop, started)
            assert conversation.say("during") == "during"
            assert started.finish() == 0, started.report()
        _is_back(shop)
        assert conversation.say("after") == "after"
    finally:
        conversation.close()


def test_killed_program_gives_the_port_back(mirrord: Mirrord, shop: Shop) -> None:
    with mirrord.started("server", PORT) as started:
        program = int(started.wait_for("listening").split()[1])
        _is_local(shop, started)
        os.kill(program, signal.SIGKILL)
        assert started.process.wait(20) == -signal.SIGKILL, started.report()
    _is_back(shop)
    mirrord.agent_is_gone()


def test_killed_session_gives_the_port_back(mirrord: Mirrord, shop: Shop) -> None:
    """SIGKILL of `mirrord exec`: nobody is left on this machine, so agent and Job must end by themselves."""
    with mirrord.started("server", PORT, config={"agent": {"communication_timeout": LOST_SECONDS}}) as started:
        started.wait_for("listening")
        _is_local(shop, started)
        started.process.kill()
        started.process.wait(10)
        _is_back(shop, LOST_SECONDS + BACK_SECONDS)
    # The agent's grace, the kubelet's report, the Job's time to live, and the collector of what it owned.
    mirrord.agent_is_gone(LOST_SECONDS + 15.0)


def test_agent_s_pod_deleted_gives_the_port_back(mirrord: Mirrord, shop: Shop) -> None:
    with mirrord.started("server", PORT) as started:
        started.wait_for("listening")
        _is_local(shop, started)
        (agent,) = mirrord.agent_pods()
        shop.cluster.kubectl("delete", "pod", agent["metadata"]["name"], "-n", "shop", "--wait=false")
        _is_back(shop, 10.0)
        started.finish()


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_bytes_from_the_customer_arrive_whole(size: int, mirrord: Mirrord, shop: Shop) -> None:
    script = f'head -c {size} /dev/zero | tr "\\0" x; echo'
    with mirrord.started("server", PORT) as started:
        started.wait_for("listening")
        words = ("exec", "client", "-n", "shop", "--", "sh", "-c", f"({script}) | nc -w 10 web {PORT}")
        answer = shop.cluster.kubectl(*words).strip()
        assert answer == f"local {shop.client_address()} {'x' * size}", started.report()[:500]
        assert started.finish() == 0, started.report()
