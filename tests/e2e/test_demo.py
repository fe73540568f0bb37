"""`make demo`: every observation of the tour, as whoever runs these tests."""

import json
import os
import subprocess
import sys

import pytest
from mirrord.demo import tour

pytestmark = pytest.mark.usefixtures("sandbox_is_possible")

_SECONDS = 90.0


@pytest.fixture(scope="module")
def seen() -> "dict[str, tuple[bool, str]]":
    """What the observer sees in context."""
    port = str(tour._free_port())
    settings = {"feature": {"network": {"incoming": {"mode": "steal", "port_mapping": [[int(port), 80]]}}}}
    command = [sys.executable, "-m", "mirrord", "exec", "-q", "--target", "demo", "-f", "-", "--"]
    command += [sys.executable, str(tour._OBSERVER), port]
    done = subprocess.run(
        command, input=json.dumps(settings), capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["what"]: (line["worked"], line["text"]) for line in lines}


def test_variables_are_the_targets(seen: "dict[str, tuple[bool, str]]") -> None:
    assert seen["variable"] == (True, "The Corner Shop: Grüße aus dem Pod")


def test_file_is_the_targets(seen: "dict[str, tuple[bool, str]]") -> None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("`/dev/fuse` is not open to this user")
    assert seen["file"] == (True, '{"currency": "EUR", "discount": 5, "source": "only in the pod"}')


def test_name_resolves(seen: "dict[str, tuple[bool, str]]") -> None:
    worked, text = seen["name"]
    assert worked
    assert text.split()[0] == "10.77.0.2"


def test_services_answer(seen: "dict[str, tuple[bool, str]]") -> None:
    assert seen["web_service"] == (True, '{"service": "catalog", "items": ["apple", "pear", "plum"]}')
    assert seen["database"] == (True, "* demo database ready")


def test_request_to_the_target_is_answered_here_with_the_clients_address(seen: "dict[str, tuple[bool, str]]") -> None:
    assert seen["incoming"] == (True, "10.88.0.2 asked the target, and got: hello from your machine")


def test_plain_run_sees_nothing_of_it() -> None:
    done = subprocess.run(
        [sys.executable, str(tour._OBSERVER), str(tour._free_port())],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=True,
    )
    assert [json.loads(line)["worked"] for line in done.stdout.splitlines()] == [False] * 6


def test_tour_shows_both_columns() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mirrord.demo"], capture_output=True, text=True, timeout=2 * _SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The Corner Shop" in done.stdout
    assert "hello from your machine" in done.stdout
    assert "SHOP_NAME is not set" in done.stdout
