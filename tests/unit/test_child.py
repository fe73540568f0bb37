"""The program as our child: status, signals, terminal and job control are what they would be without us."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

RUNNER = [sys.executable, str(Path(__file__).with_name("run_child.py"))]
SHELL = "/bin/sh"


def run(*words: str, **options: object) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([*RUNNER, *words], capture_output=True, timeout=20, check=False, **options)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_status_passes_through(code: int) -> None:
    assert run(SHELL, "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGINT, signal.SIGPIPE])
def test_death_by_signal_passes_through(number: signal.Signals) -> None:
    assert run(SHELL, "-c", f"kill -{int(number)} $$").returncode == -number


def test_stdin_and_stdout_are_the_programs() -> None:
    assert run("/bin/cat", input=b"bytes \xff\0 stay").stdout == b"bytes \xff\0 stay"


def test_environment_is_bytes() -> None:
    result = run("/usr/bin/env", env={b"ODD": b"\xff\xfe", b"PYTHONPATH": os.environb.get(b"PYTHONPATH", b"")})
    assert b"ODD=\xff\xfe" in result.stdout.splitlines()


# 32 and 33 are the C library's own: no program can change them, and some parents leave them ignored.
LIBRARY_SIGNALS = 1 << 31 | 1 << 32


def test_program_starts_with_default_signals_and_empty_mask() -> None:
    result = run("/bin/grep", "-E", "Sig(Ign|Blk)", "/proc/self/status")
    masks = {line.split(b":")[0]: int(line.split()[1], 16) & ~LIBRARY_SIGNALS for line in result.stdout.splitlines()}
    assert masks == {b"SigBlk": 0, b"SigIgn": 0}


def test_ignored_signals_stay_ignored() -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    result = run("/bin/grep", "SigIgn", "/proc/self/status", preexec_fn=ignore)
    assert int(result.stdout.split()[1], 16) & ~LIBRARY_SIGNALS == 1 << (signal.SIGHUP - 1)


def test_descriptors_of_the_caller_are_inherited_and_ours_are_not() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader), os.fdopen(writer):
        result = run("/bin/ls", "/proc/self/fd", pass_fds=[writer])
        # 0 1 2, the caller's, and the one with which `ls` reads the folder.
        assert len(result.stdout.split()) == 5
        assert str(writer).encode() in result.stdout.split()


def test_program_that_cannot_be_executed_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no program\n")
    text.chmod(0o755)
    result = run(str(text))
    assert result.returncode == 125
    assert b"cannot be executed" in result.stderr
    assert b"Exec format error" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT])
def test_signals_to_us_reach_the_program(number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got {name}; exit 7' {name}; echo ready; while :; do sleep 0.05; done"
    # A session of its own: without a terminal nobody else sends SIGINT to the program.
    process = subprocess.Popen([*RUNNER, SHELL, "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    assert process.communicate(timeout=10)[0] == f"got {name}\n".encode()
    assert process.returncode == 7


def test_descendants_keep_us_until_they_end(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = f"(read line < {gate}; echo late) & exit 3"
    process = subprocess.Popen([*RUNNER, SHELL, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert process.stderr.readline() == b"left 1\n"
    assert process.poll() is None
    gate.write_text("go\n")
    assert process.communicate(timeout=10)[0] == b"late\n"
    assert process.returncode == 3


def test_signal_ends_the_wait_for_descendants() -> None:
    words = [*RUNNER, SHELL, "-c", "sleep 60 >/dev/null 2>&1 & exit 4"]
    with subprocess.Popen(words, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"left 1\n"
        process.terminate()
        assert process.wait(10) == 4


class Terminal:
    """A pseudo-terminal with an interactive shell on it, as a user has."""

    def __init__(self) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.environ["PS1"] = "PROMPT> "
            os.execv("/bin/bash", ["bash", "--norc", "--noprofile", "-i"])
        self.seen = b""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, text: bytes, seconds: float = 15.0) -> bytes:
        """What appeared up to and with `text`."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            left = end - time.monotonic()
            ready, _, _ = select.select([self.master], [], [], max(0.0, left))
            if not ready:
                raise AssertionError(f"{text!r} did not appear after {self.seen!r}")
            self.seen += os.read(self.master, 4096)
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.master)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    try:
        terminal.until(b"PROMPT> ")
        yield terminal
    finally:
        terminal.close()


def command(script: str) -> str:
    return f"{' '.join(RUNNER)} {SHELL} -c '{script}'\n"


def test_ctrl_c_reaches_the_program_once(terminal: Terminal) -> None:
    terminal.type(command('trap "echo in""terrupted" INT; echo rea""dy; read line; echo end $line'))
    terminal.until(b"ready")
    terminal.type("\x03")
    terminal.until(b"interrupted")
    terminal.type("one\n")
    rest = terminal.until(b"PROMPT> ")
    assert rest.count(b"interrupted") == 0


def test_ctrl_c_kills_and_the_shell_sees_the_signal(terminal: Terminal) -> None:
    terminal.type(command('echo rea""dy; exec sleep 60'))
    terminal.until(b"ready")
    terminal.type("\x03")
    terminal.until(b"PROMPT> ")
    terminal.type("echo status=$?\n")
    terminal.until(b"status=130")


def stop_and_continue(terminal: Terminal, back: Callable[[], None]) -> None:
    terminal.type(command('echo rea""dy; read line; echo en""d $line'))
    terminal.until(b"ready")
    terminal.type("\x1a")
    terminal.until(b"Stopped")
    terminal.until(b"PROMPT> ")
    back()
    terminal.type("fg\n")
    terminal.type("again\n")
    terminal.until(b"end again")
    terminal.until(b"PROMPT> ")


def test_ctrl_z_stops_the_job_and_fg_continues_it(terminal: Terminal) -> None:
    stop_and_continue(terminal, lambda: None)


def test_bg_continues_the_job_which_stops_at_its_next_read(terminal: Terminal) -> None:
    def back() -> None:
        terminal.type("bg\n")
        terminal.until(b"PROMPT> ")
        terminal.type("sleep 0.3; jobs\n")
        terminal.until(b"Stopped")
        terminal.until(b"PROMPT> ")

    stop_and_continue(terminal, back)


def test_stopping_twice_works(terminal: Terminal) -> None:
    def back() -> None:
        terminal.type("fg\n")
        terminal.until(b"run_child")
        time.sleep(0.2)  # the shell shows the job before it continues it, and shows nothing afterwards
        terminal.type("\x1a")
        terminal.until(b"Stopped")
        terminal.until(b"PROMPT> ")

    stop_and_continue(terminal, back)


def test_program_in_a_pipeline_leaves_the_terminal_to_its_neighbours(terminal: Terminal) -> None:
    # The right side reads the terminal itself: it could not if the program had taken the foreground.
    right = "cat; read line < /dev/tty; echo from-right $line"
    terminal.type(f"{' '.join(RUNNER)} /bin/echo from-left | sh -c '{right}'\n")
    terminal.until(b"from-left\r\n")
    terminal.type("keyboard\n")
    terminal.until(b"from-right keyboard")


def test_interactive_shell_in_the_program_has_job_control(terminal: Terminal) -> None:
    terminal.type(f"PS1='INNER> ' {' '.join(RUNNER)} /bin/bash --norc --noprofile -i\n")
    terminal.until(b"INNER> ")
    terminal.type("sh -c 'echo rea\"\"dy; exec sleep 60'\n")
    terminal.until(b"ready")
    terminal.type("\x1a")
    terminal.until(b"Stopped")
    terminal.until(b"INNER> ")
    terminal.type("kill -9 %1; while jobs %1 >/dev/null 2>&1; do sleep 0.05; done; exit 5\n")
    terminal.until(b"PROMPT> ")
    terminal.type("echo status=$?\n")
    terminal.until(b"status=5")


def test_terminal_size_changes_reach_the_program(terminal: Terminal) -> None:
    import fcntl
    import struct
    import termios

    terminal.type(command('trap "stty size; exit" WINCH; echo rea""dy; while :; do sleep 0.05; done'))
    terminal.until(b"ready")
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    terminal.until(b"33 77")
