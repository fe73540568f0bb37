"""A program in the context of a pod: what it sees of the pod, and that nothing of the run stays behind."""

import shutil
import signal
import subprocess
import sys
import threading

import pytest

from .running import Mirrord
from .shop import ECHO_PORT, ENVIRONMENT, FOLDER, GREETING, NAMESPACE, SIDECAR_NAME, Shop


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"`{name}` is not installed")
    return path


def test_environment_is_that_of_the_pod(mirrord: Mirrord) -> None:
    outcome = mirrord.run(_tool("env"), "-0")
    assert outcome.status == 0, outcome
    seen = dict(entry.split("=", 1) for entry in outcome.output.split("\0") if "=" in entry)
    assert {name: seen.get(name) for name in ENVIRONMENT} == ENVIRONMENT
    assert seen["WEB_SERVICE_PORT"] == "80"


def test_container_is_chosen_by_name(mirrord: Mirrord) -> None:
    outcome = mirrord.run("sh", "-c", 'echo "$SHOP_NAME"', target="deployment/web/container/sidecar")
    assert (outcome.status, outcome.output) == (0, SIDECAR_NAME + "\n"), outcome


def test_file_is_that_of_the_pod(mirrord: Mirrord) -> None:
    outcome = mirrord.run(_tool("cat"), f"{FOLDER}/greeting")
    assert (outcome.status, outcome.output) == (0, GREETING), outcome


def test_host_name_is_that_of_the_pod(mirrord: Mirrord, shop: Shop) -> None:
    outcome = mirrord.run(_tool("cat"), "/etc/hostname")
    assert (outcome.status, outcome.output.strip()) == (0, shop.pod()["metadata"]["name"]), outcome


@pytest.mark.parametrize("name", ["web", f"web.{NAMESPACE}", f"web.{NAMESPACE}.svc.cluster.local"])
def test_service_name_is_resolved_as_in_the_pod(name: str, mirrord: Mirrord, shop: Shop) -> None:
    address = shop.cluster.read("get", "service", "web", "-n", NAMESPACE)["spec"]["clusterIP"]
    outcome = mirrord.python("resolve", name)
    assert (outcome.status, outcome.output.split()) == (0, [address]), outcome


def test_service_is_reached_over_http(mirrord: Mirrord) -> None:
    outcome = mirrord.python("fetch", "http://web/greeting")
    assert (outcome.status, outcome.output) == (0, GREETING), outcome


def test_pod_is_reached_by_its_address(mirrord: Mirrord, shop: Shop) -> None:
    with mirrord.started("caller", shop.pod_address(), str(ECHO_PORT)) as started:
        started.say("call")
        assert started.next_line() == "connected", started.report()
        started.say("call again")
        assert started.next_line() == "connected", started.report()
        assert started.finish() == 0, started.report()


def test_exit_status_is_the_program_s(mirrord: Mirrord) -> None:
    assert mirrord.run("sh", "-c", "exit 7").status == 7
    mirrord.agent_is_gone()


def test_death_by_signal_is_the_program_s(mirrord: Mirrord) -> None:
    assert mirrord.run("sh", "-c", "kill -KILL $$").status == -signal.SIGKILL
    mirrord.agent_is_gone()


def test_nothing_but_the_program_s_output_is_on_stdout(mirrord: Mirrord) -> None:
    outcome = mirrord.run("sh", "-c", "echo one; echo two >&2")
    assert outcome.output == "one\n", outcome
    assert "two\n" in outcome.errors, outcome


def test_short_form_takes_a_pod_s_name(mirrord: Mirrord, shop: Shop) -> None:
    pod = shop.pod()["metadata"]["name"]
    command = mirrord.command(["sh", "-c", 'echo "$SHOP_NAME"'], "pod/x", NAMESPACE, None)
    at = command.index("--target")
    command[at : at + 2] = ["--pod-name", pod]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=mirrord.environment(), stdin=subprocess.DEVNULL
    )
    assert (done.returncode, done.stdout) == (0, ENVIRONMENT["SHOP_NAME"] + "\n"), done.stderr


def test_agent_is_on_the_target_s_node_wherever_that_is(mirrord: Mirrord) -> None:
    nodes = mirrord.cluster.nodes
    # The pod of the session before may be on its way out still.
    mirrord.agent_is_gone()
    for number, node in enumerate(nodes):
        with mirrord.started("server", "9", target=f"pod/corner-{number}") as started:
            started.wait_for("listening")
            assert [pod["spec"]["nodeName"] for pod in mirrord.agent_pods()] == [node], started.report()
            assert started.finish() == 0, started.report()
        mirrord.agent_is_gone()
        outcome = mirrord.run("sh", "-c", 'echo "$SHOP_NAME"', target=f"pod/corner-{number}")
        assert outcome.output == f"corner-{number}\n", outcome
        mirrord.agent_is_gone()
    if len(nodes) < 2:
        pytest.skip("this cluster has one node: that the agent goes to the target's was not put to the test")


def test_nothing_stays_in_the_cluster_after_the_end(mirrord: Mirrord) -> None:
    outcome = mirrord.run(_tool("true"))
    mirrord.agent_is_gone()
    assert outcome.status == 0, outcome


def test_interrupted_start_leaves_nothing(mirrord: Mirrord) -> None:
    command = mirrord.command(["sleep", "60"], "deployment/web", NAMESPACE, None)
    with subprocess.Popen(command, env=mirrord.environment(), stderr=subprocess.PIPE, text=True) as process:
        # The first pod of ours is the event: from there on something has to be cleaned up.
        watch = mirrord.cluster.kubectl_command(
            "get", "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=mirrord-agent", "-w", "-o", "name"
        )
        with subprocess.Popen(watch, stdout=subprocess.PIPE, text=True) as watching:
            ender = threading.Timer(20, watching.kill)
            ender.start()
            assert watching.stdout is not None
            assert watching.stdout.readline().startswith("pod/mirrord-agent-")
            ender.cancel()
            watching.kill()
        process.send_signal(signal.SIGINT)
        _output, errors = process.communicate(timeout=20)
    assert process.returncode in (1, 130, -signal.SIGINT), errors
    assert "Traceback" not in errors
    mirrord.agent_is_gone()


def test_two_sessions_on_one_pod_see_the_same(mirrord: Mirrord) -> None:
    with (
        mirrord.started("caller", "web", str(ECHO_PORT)) as first,
        mirrord.started("caller", "web", str(ECHO_PORT)) as second,
    ):
        for started in (first, second):
            started.say("call")
            assert started.next_line() == "connected", started.report()
        assert (first.finish(), second.finish()) == (0, 0)


def test_python_child_keeps_the_context(mirrord: Mirrord) -> None:
    script = f'{sys.executable} -c "print(open(\\"{FOLDER}/greeting\\").read(), end=\\"\\")"'
    outcome = mirrord.run("sh", "-c", f"env -i {script}")
    assert (outcome.status, outcome.output) == (0, GREETING), outcome
