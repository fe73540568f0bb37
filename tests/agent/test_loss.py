"""The agent is gone in mid-session: every call of the program fails with its documented errno in bounded time."""

import contextlib
import os
import pathlib
import signal
import subprocess

from mirrord.demo.inside import content
from mirrord.demo.sandbox import Sandbox

from .running import FOLDER, agent_of, exec_command

PROGRAM = f"""
import errno, socket, sys, time
database = socket.create_connection(("db.shop.internal", 5432), 10)
database.recv(100)
print("connected", flush=True)
sys.stdin.readline()
def attempt(name, call):
    begin = time.monotonic()
    try:
        call()
        outcome = "ok"
    except socket.gaierror as problem:
        outcome = f"gaierror {{problem.errno}}"
    except OSError as problem:
        outcome = errno.errorcode.get(problem.errno, str(problem))
    print(name, outcome, "late" if time.monotonic() - begin > 5 else "in time", flush=True)
database.settimeout(10)
attempt("open-connection", lambda: database.recv(1) or 1 / 1)
attempt("connect", lambda: socket.create_connection(("{content.WEB_V4}", {content.WEB_PORT}), 10))
attempt("name", lambda: socket.getaddrinfo("never-asked.shop.internal", 80))
attempt("file", lambda: open("/data/deep/er/est/leaf.txt").read())
attempt("local-file", lambda: open("/etc/passwd").read())
print("alive", flush=True)
"""


def test_calls_fail_in_time_and_the_program_lives(sandbox: Sandbox) -> None:
    command = exec_command(sandbox.pid, PROGRAM)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=FOLDER) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "connected\n"
            os.kill(agent_of(process), signal.SIGKILL)
            output, errors = process.communicate("go on\n", timeout=40)
        finally:
            process.kill()
    outcomes = dict(line.split(" ", 1) for line in output.splitlines() if " " in line)
    assert outcomes["connect"] == "ENETUNREACH in time", output
    assert outcomes["name"] == "gaierror -3 in time", output
    assert outcomes["local-file"] == "ok in time", output
    # A closed end and a reset both tell the program at once.
    assert outcomes["open-connection"] in ("ECONNRESET in time", "ok in time"), output
    assert outcomes["file"].split()[0] in ("EIO", "ENOENT"), output
    if os.access("/dev/fuse", os.R_OK | os.W_OK):
        assert outcomes["file"] == "EIO in time", output
    assert "alive" in output
    assert process.returncode == 0
    assert "agent" in errors
    with contextlib.suppress(FileNotFoundError):
        assert not list(pathlib.Path("/tmp").glob(f"mirrord-{process.pid}-*"))
