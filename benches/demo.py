"""The demo sandbox as a place: everything on this machine, so the floor of every figure is what we add."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator

from mirrord.demo.inside import content
from mirrord.demo.sandbox import Sandbox

from .place import ECHO_PORT, LARGE_BYTES, SECONDS, SMALL_FILES, STREAM_BYTES, Layout, Programs, Values, parse

_FOLDER = "/data/bench"
_LAY_OUT = f"""
import os
os.makedirs("{_FOLDER}/small")
for number in range({SMALL_FILES}):
    with open(f"{_FOLDER}/small/{{number:04d}}", "wb") as file:
        file.write(b"s" * 4096)
with open("{_FOLDER}/large", "wb") as file:
    # The sandbox's file system is smaller than this file: mostly holes, which are read like any other page.
    for place in range(0, {LARGE_BYTES}, 16 << 20):
        file.seek(place)
        file.write(b"%d" % place)
    file.truncate({LARGE_BYTES})
"""


class DemoPlace:
    """A running sandbox with the bench's files and services in it."""

    title = "demo target"

    def __init__(self, sandbox: Sandbox, programs: Programs) -> None:
        self.sandbox = sandbox
        self.programs = programs
        self.target: tuple[str, ...] = ("--target", f"process/{sandbox.pid}")
        self.layout = Layout(
            content.POD_V4, "catalog.shop.internal", f"{_FOLDER}/large", f"{_FOLDER}/small", content.POD_PORT
        )

    def native(self, *arguments: str) -> Values:
        done = self.sandbox.run(
            [self.programs.measure, *arguments], capture_output=True, text=True, timeout=SECONDS, check=True
        )
        return parse(done.stdout)

    def customer(self) -> float:
        begin = time.perf_counter()
        self.sandbox.request("/bench")
        return (time.perf_counter() - begin) * 1e6

    def remains(self) -> list[str]:
        return []  # everything of this place is on this machine, where `local_traces` looks


@contextlib.contextmanager
def opened(programs: Programs) -> Iterator[DemoPlace]:
    with Sandbox(share=[str(programs.folder)]) as sandbox:
        for command in (
            ["/usr/bin/python3", "-c", _LAY_OUT],
            [programs.static_services, str(ECHO_PORT), str(STREAM_BYTES)],
        ):
            done = sandbox.run(command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
            if done.returncode:
                raise AssertionError(done.stderr)
        yield DemoPlace(sandbox, programs)
