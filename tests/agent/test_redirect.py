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
from collections.abc import Iterator
from typing import IO

import pytest
from mirrord.demo.inside import content
from mirrord.demo.sandbox import Sandbox

from .running import FOLDER, PYTHON, SECONDS, agent_of, await_end, exec_command, rules, watched

SERVER = """
import http.server, os, sys, threading
# Its input ends with the test, also when nobody else is left who could end it.
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
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
CUSTOMER = """
import socket, sys
pod = None
for line in sys.stdin:
    order = line.strip()
    try:
        if order == "/connect":
            pod = socket.create_connection((sys.argv[1], 80), 5)
        if order != "/wait":
            pod.sendall(b"GET %s HTTP/1.1\\r\\nHost: pod\\r\\n\\r\\n" % order.encode())
        text = b""
        while part := pod.recv(4096):
            text += part
            head, _, body = text.partition(b"\\r\\n\\r\\n")
            if body:
                break
        print(body.decode().strip() if text else "closed", flush=True)
    except TimeoutError:
        print("hangs", flush=True)
    except ConnectionError:
        print("reset", flush=True)
"""


class _Customer:
    """A customer that keeps one connection; each order is a path, `/connect` begins and `/wait` only reads."""

    def __init__(self, orders: "IO[str]", answers: "IO[str]") -> None:
        self._orders = orders
        self._answers = answers

    def ask(self, order: str) -> str:
        self._orders.write(f"{order}\n")
        self._orders.flush()
        return self._answers.readline().strip()


@contextlib.contextmanager
def _customer(sandbox: Sandbox) -> "Iterator[_Customer]":
    orders, answers = os.pipe(), os.pipe()

    def live() -> None:
        command = [PYTHON, "-c", CUSTOMER, content.POD_V4]
        sandbox.run(command, as_customer=True, stdin=orders[0], stdout=answers[1], timeout=60)
        os.close(answers[1])

    life = threading.Thread(target=live)
    life.start()
    try:
        with os.fdopen(orders[1], "w") as ours, os.fdopen(answers[0]) as theirs:
            yield _Customer(ours, theirs)
    finally:
        life.join(SECONDS)
        os.close(orders[0])


@contextlib.contextmanager
def _thief(sandbox: Sandbox) -> "Iterator[subprocess.Popen[str]]":
    """A program in context that has stolen port 80."""
    pipe, command = subprocess.PIPE, exec_command(sandbox.pid, SERVER)
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=FOLDER) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n", process.stderr and process.stderr.read()
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _pod_answers(sandbox: Sandbox) -> None:
    assert sandbox.request("/") == content.POD_BODY


def test_rules_belong_to_the_agent_and_go_with_it(sandbox: Sandbox) -> None:
    before = rules(sandbox.pid)
    if before is None:
        pytest.skip("`nft` or `nsenter` is not installed, or may not be used here")
    with _thief(sandbox) as process:
        during = rules(sandbox.pid)
        assert during is not None
        assert during != before
        assert "owner" in during
        agent = agent_of(process)
        with watched(agent) as end:
            os.kill(agent, signal.SIGKILL)
            await_end(end)
        _pod_answers(sandbox)
        assert rules(sandbox.pid) == before


def test_killed_client_leaves_no_rule(sandbox: Sandbox) -> None:
    """Nobody is left to clean up: the agent notices that its client is gone, and ends."""
    before = rules(sandbox.pid)
    with _thief(sandbox) as process:
        assert sandbox.request("/") == b"stolen\n"
        with watched(agent_of(process)) as end:
            process.kill()
            process.wait(SECONDS)
            await_end(end)
        _pod_answers(sandbox)
    assert rules(sandbox.pid) == before


def test_customer_of_a_killed_agent_is_not_left_hanging(sandbox: Sandbox) -> None:
    """An open stolen connection cannot go on, but its customer must learn that: end or reset, in bounded time."""
    with _customer(sandbox) as customer, _thief(sandbox) as process:
        assert customer.ask("/connect") == "stolen"
        os.kill(agent_of(process), signal.SIGKILL)
        assert customer.ask("/wait") in ("closed", "reset")


def test_open_connection_stays_with_the_pod(sandbox: Sandbox) -> None:
    """A customer's connection from before the steal goes on with the pod, during it and after it."""
    with _customer(sandbox) as customer:
        assert customer.ask("/connect") == content.POD_BODY.decode().strip()
        with _thief(sandbox):
            assert sandbox.request("/") == b"stolen\n"
            assert customer.ask("/client") == content.CUSTOMER_V4
        assert customer.ask("/client") == content.CUSTOMER_V4


def test_second_session_is_told_who_holds_the_port(sandbox: Sandbox) -> None:
    with _thief(sandbox):
        script = "import socket; socket.create_server(('', 80))"
        command = exec_command(sandbox.pid, script)
        second = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=FOLDER, check=False)
        assert second.returncode != 0
        assert f"{getpass.getuser()}@{socket.gethostname()}" in second.stderr
        assert sandbox.request("/") == b"stolen\n"
