"""Stolen ports in the target's network namespace: what is there meanwhile, and that nothing is there afterwards.

These run whole sessions (`mirrord exec`), because a port is stolen by a program that listens.
"""

import contextlib
import getpass
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
from mirrord.demo.inside import content
from mirrord.demo.sandbox import Sandbox

from .running import FOLDER, PYTHON, SECONDS, agent_of, exec_command, rules

SERVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"stolen\\n")
    def log_message(self, *words):
        pass
with http.server.ThreadingHTTPServer(("", 80), Handler) as server:
    print("listening", flush=True)
    server.serve_forever()
"""
HOLD = """
import socket, sys
pod = socket.create_connection((sys.argv[1], 80), 10)
def ask():
    pod.sendall(b"GET /client HTTP/1.1\\r\\nHost: pod\\r\\n\\r\\n")
    print(pod.recv(4096).partition(b"\\r\\n\\r\\n")[2].decode().strip(), flush=True)
ask()
for line in sys.stdin:
    ask()
"""


@contextlib.contextmanager
def _thief(sandbox: Sandbox) -> "Iterator[subprocess.Popen[str]]":
    """A program in context that has stolen port 80."""
    pipe, command = subprocess.PIPE, exec_command(sandbox.pid, SERVER)
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=FOLDER) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n", process.stderr and process.stderr.read()
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _pod_answers(sandbox: Sandbox) -> None:
    """Each request ends with an answer, of the target or of a redirect that is going: it is its own pause."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception):
            if sandbox.request("/") == content.POD_BODY:
                return
    raise AssertionError("the pod did not get its port back")


def test_rules_belong_to_the_agent_and_go_with_it(sandbox: Sandbox) -> None:
    before = rules(sandbox.pid)
    if before is None:
        pytest.skip("`nft` or `nsenter` is not installed, or may not be used here")
    with _thief(sandbox) as process:
        during = rules(sandbox.pid)
        assert during is not None
        assert during != before
        assert "owner" in during
        os.kill(agent_of(process), signal.SIGKILL)
        _pod_answers(sandbox)
        assert rules(sandbox.pid) == before


def test_killed_client_leaves_no_rule(sandbox: Sandbox) -> None:
    before = rules(sandbox.pid)
    with _thief(sandbox) as process:
        assert sandbox.request("/") == b"stolen\n"
        process.kill()
        process.wait(SECONDS)
        _pod_answers(sandbox)
    assert rules(sandbox.pid) == before


def test_open_connection_stays_with_the_pod(sandbox: Sandbox) -> None:
    """A customer's connection from before the steal goes on with the pod, during it and after it."""
    feed, answers = os.pipe(), os.pipe()
    with os.fdopen(feed[1], "w") as orders, os.fdopen(answers[0]) as lines:

        def hold() -> None:
            command = [PYTHON, "-c", HOLD, content.POD_V4]
            sandbox.run(command, as_customer=True, stdin=feed[0], stdout=answers[1], timeout=60)
            os.close(answers[1])

        customer = threading.Thread(target=hold)
        customer.start()
        try:
            assert lines.readline() == f"{content.CUSTOMER_V4}\n"
            with _thief(sandbox):
                assert sandbox.request("/") == b"stolen\n"
                orders.write("again\n")
                orders.flush()
                assert lines.readline() == f"{content.CUSTOMER_V4}\n"
            orders.write("again\n")
            orders.flush()
            assert lines.readline() == f"{content.CUSTOMER_V4}\n"
        finally:
            orders.close()
            customer.join(SECONDS)
            os.close(feed[0])


def test_second_session_is_told_who_holds_the_port(sandbox: Sandbox) -> None:
    with _thief(sandbox):
        script = "import socket; socket.create_server(('', 80))"
        command = exec_command(sandbox.pid, script)
        second = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=FOLDER, check=False)
        assert second.returncode != 0
        assert f"{getpass.getuser()}@{socket.gethostname()}" in second.stderr
        assert sandbox.request("/") == b"stolen\n"
