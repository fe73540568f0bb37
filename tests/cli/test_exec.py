"""`mirrord exec` as a process: order of steps, output, exit codes, and what is left behind on every way out."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SCRIPTED = str(Path(__file__).with_name("scripted.py"))
AGENT = '#!/bin/sh\necho "agent $*" >> "{log}"\n{body}\n'
STAYS = 'sleep 60 <&- >/dev/null 2>&1 & trap "kill $!; exit 0" TERM; wait'


@dataclass
class World:
    """A folder with a log, a stand-in for the agent, and a process to be the target."""

    folder: Path
    target: "subprocess.Popen[bytes]"
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []

    def agent(self, body: str) -> None:
        path = self.folder / "agent"
        path.write_text(AGENT.format(log=self.folder / "log", body=body))
        path.chmod(0o755)

    def command(self, *words: str, target: str | None = None) -> list[str]:
        return [sys.executable, SCRIPTED, "exec", "-t", target or f"process/{self.target.pid}", *words]

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MIRRORD_", "SCRIPT_"))}
        return {
            **kept,
            "SCRIPT_LOG": str(self.folder / "log"),
            "MIRRORD_AGENT_FILE": str(self.folder / "agent"),
            "MIRRORD_LAYER_FILE": str(self.folder / "agent"),
            **self.variables,
        }

    def run(self, *words: str, **options: Any) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            self.command(*words, **options), env=self.environment(), capture_output=True, timeout=30, check=False
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with subprocess.Popen(["sleep", "120"]) as target:
        world = World(tmp_path, target)
        world.agent(STAYS)
        yield world
        target.kill()


def test_program_gets_the_targets_environment_and_stdout_is_its_own(world: World) -> None:
    world.variables["SCRIPT_ENVIRONMENT"] = "SHOP=green|PATH=/nowhere|HOME=/pod"
    result = world.run("sh", "-c", 'echo "$SHOP $HOME"')
    assert result.stdout == f"green {os.environ['HOME']}\n".encode()
    assert b"Ready!" in result.stderr
    assert result.returncode == 0


def test_steps_come_in_order_and_everything_is_closed(world: World) -> None:
    world.run("true")
    words = [line.split()[0] for line in world.log]
    assert words.index("connected") < words.index("started") < words.index("closed")
    assert "agent" in words
    agent = next(line for line in world.log if line.startswith("agent"))
    assert f"--pid {world.target.pid}" in agent
    assert "secret" not in agent


def test_everything_after_the_program_is_its_own(world: World) -> None:
    assert world.run("echo", "--target", "x", "-q", "--help").stdout == b"--target x -q --help\n"
    assert world.run("--", "echo", "--", "-n").stdout == b"-- -n\n"


def test_flags_reach_the_settings(world: World) -> None:
    world.run("--mode", "off", "--no-remote-dns", "--ports", "80;81", "--fs-mode", "local-with-overrides", "true")
    settings = json.loads(next(line for line in world.log if line.startswith("session"))[8:])
    assert settings["incoming"]["mode"] == "off"
    assert settings["incoming"]["ports"] == [80, 81]
    assert settings["dns"]["enabled"] is False
    assert settings["files"]["mode"] == "localwithoverrides"


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -TERM $$", -signal.SIGTERM)])
def test_programs_status_is_ours(world: World, script: str, code: int) -> None:
    assert world.run("sh", "-c", script).returncode == code
    assert world.log[-1] == "closed"


def test_quiet_shows_nothing_of_ours(world: World) -> None:
    assert world.run("-q", "true").stderr == b""


def test_layer_that_says_nothing_is_a_loud_warning(world: World) -> None:
    world.variables["SCRIPT_EVENTS"] = ""
    assert b"does NOT run in the target's context" in world.run("-q", "true").stderr


def test_lost_agent_is_one_clear_line_and_the_program_goes_on(world: World) -> None:
    world.variables["SCRIPT_EVENTS"] = "hello:;lost:the node went away"
    result = world.run("-q", "sh", "-c", "sleep 1; echo still")
    assert result.stdout == b"still\n"
    assert result.stderr.count(b"\n") == 1
    assert b"the agent is gone: the node went away" in result.stderr


@pytest.mark.parametrize("kind", ["static", "go", "privileged", "foreign"])
def test_program_that_the_layer_cannot_reach_is_refused_before_anything_starts(world: World, kind: str) -> None:
    world.variables["SCRIPT_KIND"] = kind
    result = world.run("true")
    assert result.returncode == 2
    assert b"cannot run in a target's context" in result.stderr
    assert world.log == []


def test_unknown_program_is_refused_before_anything_starts(world: World) -> None:
    result = world.run("no-such-program-anywhere")
    assert result.returncode == 2
    assert b"`no-such-program-anywhere`" in result.stderr
    assert world.log == []


def test_agent_that_dies_tells_why(world: World) -> None:
    world.variables["SCRIPT_CONNECT"] = "fail"
    world.agent("echo broken >&2; exit 3")
    result = world.run("true")
    assert result.returncode == 1
    assert b"ended with exit code `3`" in result.stderr
    assert b"log: broken" in result.stderr
    assert world.log[-1] == "closed"


def test_link_that_fails_is_words(world: World) -> None:
    world.variables["SCRIPT_CONNECT"] = "fail"
    result = world.run("true")
    assert result.returncode == 1
    assert b"link: the other side went away" in result.stderr
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_during_the_start_ends_it_and_removes_everything(world: World, number: signal.Signals) -> None:
    world.variables["SCRIPT_CONNECT"] = "hang"
    with subprocess.Popen(world.command("true"), env=world.environment(), stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        while process.stderr.readline() != b"connecting\n":
            assert process.poll() is None
        process.send_signal(number)
        assert b"interrupted" in process.stderr.read()
        assert process.wait(15) == -number
    assert world.log[-1] == "closed"
    assert subprocess.run(["pgrep", "-f", str(world.folder / "agent")], check=False).returncode == 1


def test_session_in_a_session_is_refused(world: World) -> None:
    world.variables["MIRRORD_SESSION"] = "/tmp/other"
    result = world.run("true")
    assert result.returncode == 2
    assert b"inside a mirrord session" in result.stderr


def test_missing_process_is_named(world: World) -> None:
    result = world.run("true", target="process/4000000")
    assert result.returncode == 1
    assert b"There is no process `4000000`" in result.stderr


def test_native_file_that_everybody_may_write_is_refused(world: World) -> None:
    (world.folder / "agent").chmod(0o777)
    result = world.run("true")
    assert result.returncode == 125
    assert b"may be written by everybody" in result.stderr


def test_missing_native_file_lists_where_it_was_looked_for(world: World) -> None:
    world.variables["MIRRORD_LAYER_FILE"] = "/nowhere/layer.so"
    result = world.run("true")
    assert result.returncode == 125
    assert b"looked at `/nowhere/layer.so` (variable `MIRRORD_LAYER_FILE`)" in result.stderr
