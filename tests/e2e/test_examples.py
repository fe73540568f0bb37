"""Every numbered example runs in the context of the demo target and shows what its README line says."""

import os
import pathlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from mirrord.demo.inside import content
from mirrord.demo.sandbox import Sandbox

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
SECONDS = 30.0
EXPECTED = {
    "01-env/greet.sh": "Welcome to The Corner Shop\n",
    "02-files/settings.py": "5 % off, in EUR\n",
    "03-dns/lookup.py": f"{content.WEB_V4}\n",
    "04-outgoing/catalog.sh": content.WEB_BODY.decode(),
    "05-children/family.sh": "hello from the target\n" * 3,
}
NEEDS_FILES = {"02-files/settings.py", "05-children/family.sh"}

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="there is no checkout with `examples` here")


@pytest.fixture(scope="module")
def sandbox() -> "Iterator[Sandbox]":
    with Sandbox() as sandbox:
        yield sandbox


def _command(sandbox: Sandbox, example: str) -> "list[str]":
    target = f"process/{sandbox.pid}"
    return [sys.executable, "-m", "mirrord", "exec", "--target", target, "--", str(EXAMPLES / example)]


def _environment() -> "dict[str, str]":
    # The examples' first line finds `python3` on PATH: the machine's, whose folder is local.
    return {**os.environ, "PATH": f"/usr/local/bin:/usr/bin:/bin:{os.environ.get('PATH', '')}"}


@pytest.mark.parametrize("example", EXPECTED)
def test_example_shows_the_target(example: str, sandbox: Sandbox) -> None:
    if example in NEEDS_FILES and not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("`/dev/fuse` is not open to this user")
    if example.startswith("04") and shutil.which("curl") is None:
        pytest.skip("`curl` is not installed")
    options = {"capture_output": True, "text": True, "timeout": SECONDS, "env": _environment(), "cwd": EXAMPLES}
    plain = subprocess.run([EXAMPLES / example], **options)
    assert plain.stdout != EXPECTED[example]
    context = subprocess.run(_command(sandbox, example), **options)
    assert (context.stdout, context.returncode) == (EXPECTED[example], 0), context.stderr


def test_stolen_request_is_answered_here(sandbox: Sandbox) -> None:
    assert sandbox.request("/") == content.POD_BODY
    pipe = subprocess.PIPE
    with subprocess.Popen(
        _command(sandbox, "06-steal/server.py"), stdout=pipe, stderr=pipe, env=_environment(), cwd=EXAMPLES, text=True
    ) as server:
        # A server that never gets there must not hold the test: its death ends the reading.
        limit = threading.Timer(SECONDS, server.kill)
        limit.start()
        try:
            assert server.stdout is not None
            first = server.stdout.readline()
            assert first == "listening on port 80\n", server.stderr and server.stderr.read()
            body = sandbox.request("/").decode()
        finally:
            limit.cancel()
            server.terminate()
            server.wait(SECONDS)
    assert body == f"answered on the laptop, for {content.CUSTOMER_V4}\n"
    assert sandbox.request("/") == content.POD_BODY


def test_every_example_is_tested_and_described() -> None:
    folders = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
    assert folders == sorted({example.split("/")[0] for example in EXPECTED} | {"06-steal"})
    table = (EXAMPLES / "README.md").read_text()
    for folder in folders:
        lines = (EXAMPLES / folder / "README.md").read_text().splitlines()
        assert len(lines) == 1
        assert f"[{folder}]({folder})" in table
        assert lines[0].split("`mirrord exec")[1].rstrip("`") in table
