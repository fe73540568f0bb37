"""Run the program as our child, as if it ran alone. Called by the session with everything prepared.

Main thread only. Every signal is a byte in a pipe (Python's wake-up descriptor), so one loop sees them in order and
waits without a time limit and without polling:

    SIGCHLD              the program or a descendant ended or stopped
    SIGTERM, SIGHUP, …   forwarded to the program
    SIGINT, SIGQUIT      a terminal sends them to the program too; forwarded only where there is none
    SIGCONT              `fg` or `bg`: the terminal goes to the program if it is ours, and the program goes on

The program stops: the terminal comes back to us and we stop ourselves, so that the shell sees one stopped job.
The program ends: its descendants may go on, and the session with them, until they end or a signal asks us to.

fork and exec by hand: `subprocess` cannot put the child in the foreground before it runs. There are threads (the data
path), so the child makes nothing but system calls, on values made beforehand, with all signals blocked.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from mirrord.descendants import become_subreaper, children
from mirrord.errors import PROGRAM_START, MirrordError
from mirrord.terminal import Terminal

FORWARDED = (
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGALRM,
    signal.SIGTSTP,
)
FROM_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)
WATCHED = (*FORWARDED, *FROM_KEYBOARD, signal.SIGCHLD, signal.SIGCONT)
ENDS_THE_WAIT = (signal.SIGTERM, signal.SIGHUP, *FROM_KEYBOARD)


@dataclass(frozen=True, slots=True)
class Command:
    """What to execute: everything in bytes, as the kernel takes it."""

    path: bytes
    arguments: tuple[bytes, ...]
    environment: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the program ended: by itself with `code`, or by `signal`."""

    code: int
    signal: int | None = None


class Child:
    """One program and its descendants."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._terminal = Terminal()
        self._outcome: Outcome | None = None
        self._kept: set[int] = set()
        self.pid = 0

    def run(self, on_start: Callable[[int], None], on_end: Callable[[int], None]) -> Outcome:
        """Start it, wait for it and for its descendants.

        `on_start` gets its id; `on_end` the number of descendants when it ended before them.

        Raises: MirrordError when it cannot be executed.
        """
        become_subreaper()
        self._kept = children()
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        before = {number: signal.getsignal(number) for number in WATCHED}
        previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            for number, handler in before.items():
                # `nohup` and background shells start us with signals ignored: the program inherits that.
                if handler != signal.SIG_IGN or number == signal.SIGCHLD:
                    signal.signal(number, _noted)
            self._start(before)
            on_start(self.pid)
            return self._wait(reader, on_end)
        finally:
            signal.set_wakeup_fd(previous)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(reader)
            os.close(writer)

    def _start(self, before: Mapping[signal.Signals, object]) -> None:
        environment = dict(self._command.environment)
        arguments = list(self._command.arguments)
        defaults = [number for number, handler in before.items() if handler != signal.SIG_IGN]
        # Python ignores these two for itself; the program expects the default.
        defaults += [signal.SIGPIPE, signal.SIGXFSZ]
        failure_reader, failure_writer = os.pipe2(os.O_CLOEXEC)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            with warnings.catch_warnings():
                # The warning about threads is answered in this file's head.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
            if pid == 0:
                try:
                    signal.set_wakeup_fd(-1)
                    self._terminal.enter()
                    for number in defaults:
                        signal.signal(number, signal.SIG_DFL)
                    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                    os.execve(self._command.path, arguments, environment)  # noqa: S606 - that is the point
                except BaseException as problem:  # noqa: BLE001 - nothing may return into the copy of the parent
                    reason = getattr(problem, "errno", None) or errno.EINVAL
                    os.write(failure_writer, str(reason).encode())
                finally:
                    os._exit(127)
        finally:
            os.close(failure_writer)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self.pid = pid
        self._terminal.give(pid)
        try:
            failure = os.read(failure_reader, 16)
        finally:
            os.close(failure_reader)
        if failure:
            os.waitpid(pid, 0)
            self._terminal.take(pid)
            raise self._not_executed(int(failure))

    def _not_executed(self, number: int) -> MirrordError:
        path = os.fsdecode(self._command.path)
        hint = None
        if number == errno.E2BIG:
            hint = "Take fewer variables of the target: `feature.env.include` or `feature.env.exclude`"
        elif number == errno.ENOEXEC:
            hint = "Start it through its interpreter, like `sh FILE`"
        return MirrordError(PROGRAM_START, f"The program `{path}` cannot be executed", os.strerror(number), hint=hint)

    def _wait(self, reader: int, on_end: Callable[[int], None]) -> Outcome:
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        # One look first: the program may have ended before its SIGCHLD had a handler.
        pending: list[int] = [signal.SIGCHLD]
        while True:
            for number in pending:
                if number == signal.SIGCHLD:
                    had_ended = self._outcome is not None
                    left = self._reap()
                    if self._outcome is not None and not left:
                        return self._outcome
                    if self._outcome is not None and not had_ended:
                        on_end(len(left))
                elif self._outcome is not None and number in ENDS_THE_WAIT:
                    return self._outcome
                elif self._outcome is None:
                    self._pass_on(signal.Signals(number))
            poll.poll()
            with suppress(BlockingIOError):
                pending = list(os.read(reader, 4096))

    def _pass_on(self, number: signal.Signals) -> None:
        if number == signal.SIGCONT:
            self._terminal.give(self.pid)
            self._send(number, to_group=self._terminal.is_ours_to_give)
        elif number in FORWARDED:
            self._send(number)
        elif not self._terminal.has_controlling or self._terminal.is_ours_to_give:
            # Not from the keyboard: that would not have reached us, or does not exist.
            self._send(number)

    def _send(self, number: signal.Signals, *, to_group: bool = False) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if to_group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)

    def _reap(self) -> set[int]:
        """Collect who has ended; returns the program's processes that are still our children."""
        while True:
            left: set[int] = set()
            has_ended = False
            for pid in children() - self._kept:
                try:
                    done, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
                except ChildProcessError:  # it ended meanwhile
                    continue
                if done == 0:
                    left.add(pid)
                elif os.WIFSTOPPED(status):
                    left.add(pid)
                    if pid == self.pid:
                        self._stopped(os.WSTOPSIG(status))
                else:
                    has_ended = True
                    self._ended(pid, status)
            # Whoever ended after the look may have left us its children: only a quiet pass is the truth.
            if not has_ended:
                return left

    def _ended(self, pid: int, status: int) -> None:
        if pid == self.pid:
            self._outcome = _outcome(status)
            self._terminal.take(pid)

    def _stopped(self, number: int) -> None:
        if not self._terminal.has_controlling:
            return  # stopped by `kill`, and continued by it
        if not self._terminal.can_stop():
            # Alone, its group would be an orphaned one, which the kernel does not let Ctrl-Z stop.
            if number == signal.SIGTSTP:
                self._send(signal.SIGCONT, to_group=self._terminal.is_ours_to_give)
            return
        self._terminal.take(self.pid)
        os.kill(os.getpid(), signal.SIGSTOP)


def _outcome(status: int) -> Outcome:
    if os.WIFSIGNALED(status):
        return Outcome(128 + os.WTERMSIG(status), os.WTERMSIG(status))
    return Outcome(os.WEXITSTATUS(status))


def _noted(_number: int, _frame: object) -> None:
    """The wake-up descriptor has it."""
