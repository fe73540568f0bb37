"""Runs a program inside the sandbox, as the target is: its namespaces, its working folder, no capabilities.

Started by `Sandbox.run` as `python -I -S -c … PID PROGRAM [ARGS…]` with the target's environment; PID is the process to
join. Ends as the program ends, with its exit status or by its signal.
"""

import os
import signal
import sys
from typing import NoReturn

from . import linux

_KINDS = {
    "user": linux.CLONE_NEWUSER,
    "mnt": linux.CLONE_NEWNS,
    "net": linux.CLONE_NEWNET,
    "uts": linux.CLONE_NEWUTS,
    "ipc": linux.CLONE_NEWIPC,
    "pid": linux.CLONE_NEWPID,
}


def main() -> None:
    process, program = int(sys.argv[1]), sys.argv[2:]
    _join(process)
    child = os.fork()
    if child == 0:
        _become(program)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL) if os.WTERMSIG(status) != signal.SIGKILL else None
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


def _join(process: int) -> None:
    wanted = {kind: f"/proc/{process}/ns/{kind}" for kind in _KINDS}
    wanted = {kind: path for kind, path in wanted.items() if not os.path.samefile(path, f"/proc/self/ns/{kind}")}
    # All are opened first: after the first steps this process has another /proc and other rights.
    descriptors = {kind: os.open(path, os.O_RDONLY | os.O_CLOEXEC) for kind, path in wanted.items()}
    for kind, descriptor in descriptors.items():
        linux.setns(descriptor, _KINDS[kind])


def _become(program: "list[str]") -> NoReturn:
    try:
        linux.die_with_parent(signal.SIGKILL)
        linux.drop_capabilities_at_exec()
        os.chdir("/app")
        os.execvp(program[0], program)
    except OSError as error:
        print(f"{program[0]}: {error.strerror}", file=sys.stderr)
    os._exit(127)
