"""However a run on the demo target ends, nothing of it stays: processes, namespaces, mounts, files."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .traces import Traces

pytestmark = pytest.mark.usefixtures("sandbox_is_possible")

_EXEC = [sys.executable, "-m", "mirrord", "exec", "-q", "--target", "demo", "--"]
_SECONDS = 40.0
# Tells that it runs, then waits for the end of its input.
_PROGRAM = ["sh", "-c", "echo started; read answer; exit 7"]


@contextmanager
def running(program: "list[str]") -> "Iterator[subprocess.Popen[bytes]]":
    """`mirrord exec` of a program that has printed its first line."""
    process = subprocess.Popen(
        [*_EXEC, *program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    try:
        assert process.stdout.readline() == b"started\n", process.stderr.read()
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
        process.wait()


def test_normal_end_leaves_nothing() -> None:
    with running(_PROGRAM) as process, Traces(process.pid) as traces:
        assert traces.folders
        assert traces.namespaces
        assert process.stdin
        process.stdin.close()
        assert process.wait(_SECONDS) == 7
        assert traces.left() == []


def test_interrupt_leaves_nothing_and_ends_as_the_program() -> None:
    with running(_PROGRAM) as process, Traces(process.pid) as traces:
        # As a terminal does: to the whole foreground group.
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(_SECONDS) == -signal.SIGINT
        assert traces.left() == []


def test_terminate_is_passed_on_to_the_program() -> None:
    program = ["sh", "-c", "trap 'exit 5' TERM; echo started; while :; do sleep 0.05; done"]
    with running(program) as process, Traces(process.pid) as traces:
        process.terminate()
        assert process.wait(_SECONDS) == 5
        assert traces.left() == []


def test_kill_leaves_nothing() -> None:
    with running(_PROGRAM) as process, Traces(process.pid) as traces:
        process.kill()
        process.wait(_SECONDS)
        assert process.stdin
        process.stdin.close()
        assert traces.left() == []


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 42", 42), ("kill -KILL $$", -9)])
def test_exit_status_is_the_programs(script: str, status: int) -> None:
    done = subprocess.run([*_EXEC, "sh", "-c", script], timeout=_SECONDS, check=False, capture_output=True)
    assert done.returncode == status, done.stderr


def test_output_is_the_programs_alone() -> None:
    done = subprocess.run([*_EXEC, "printf", "a\\0b"], timeout=_SECONDS, check=True, capture_output=True)
    assert done.stdout == b"a\0b"


def test_unknown_program_is_refused_before_a_target_is_made() -> None:
    done = subprocess.run([*_EXEC, "no-such-program"], timeout=_SECONDS, check=False, capture_output=True, text=True)
    assert done.returncode in (1, 2, 125, 127)
    assert "`no-such-program`" in done.stderr
    assert "Traceback" not in done.stderr
