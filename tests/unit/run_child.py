"""`run_child.py PROGRAM …`: `mirrord.child.Child` as a process of its own, for the tests of terminals and signals."""

import os
import sys

from mirrord.child import Child, Command
from mirrord.errors import MirrordError
from mirrord.output import error
from mirrord.signals import die_by

words = [os.fsencode(word) for word in sys.argv[1:]]


def started(pid: int) -> None:
    if os.environ.get("SAY_PID"):
        sys.stderr.write(f"started {pid}\n")
        sys.stderr.flush()


def descendants(count: int) -> None:
    sys.stderr.write(f"left {count}\n")
    sys.stderr.flush()


try:
    outcome = Child(Command(words[0], tuple(words), os.environb)).run(started, descendants)
except MirrordError as failure:
    error(failure)
    sys.exit(failure.exit_code)
if outcome.signal is not None:
    die_by(outcome.signal)
sys.exit(outcome.code)
