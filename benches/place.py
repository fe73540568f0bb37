"""Where the same program runs three ways: natively in the target, plain on this machine, and in context.

`Place` is what the subjects see; `demo` and `cluster` provide it. Every run is bounded.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import types
from typing import Protocol

from .started import Started

SECONDS = 120.0
PROGRAMS = pathlib.Path(__file__).parent / "programs"
ECHO_PORT, SOURCE_PORT, SINK_PORT = 7101, 7102, 7103
STREAM_BYTES = 128 << 20
LARGE_BYTES = 256 << 20
SMALL_FILES = 2000

Values = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Layout:
    """What is where in the target."""

    address: str
    name: str
    large: str
    small: str
    port: int


class Place(Protocol):
    """A target to measure against."""

    title: str
    target: tuple[str, ...]
    layout: Layout
    programs: Programs

    def native(self, *arguments: str) -> Values: ...
    def customer(self) -> float: ...
    def remains(self) -> list[str]:
        """What the last session left in the target's world."""
        ...


class Programs:
    """The C programs: `measure` to be preloaded, `static` copies to be carried into a pod."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mirrord-bench-")
        self.folder = pathlib.Path(self._folder.name)
        self.measure = self._compile("measure")
        self.static_measure = self._compile("measure", "-static")
        self.static_services = self._compile("services", "-static")

    def __enter__(self) -> Programs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def _compile(self, name: str, *flags: str) -> str:
        target = self.folder / f"{name}{''.join(flags)}"
        command = ["cc", "-O2", *flags, "-w", "-Wl,--no-warnings", "-o", str(target), str(PROGRAMS / f"{name}.c")]
        subprocess.run(command, check=True, timeout=SECONDS)
        return str(target)


def parse(output: str) -> Values:
    """`NAME VALUE` lines; digests are text and are compared by `same_digests`."""
    values: Values = {}
    digests: dict[str, str] = {}
    for line in output.splitlines():
        name, _, value = line.partition(" ")
        if name.endswith(("digest", "received")):
            digests[name] = value
        else:
            values[name] = float(value)
    if "up-digest" in digests and digests["up-digest"] != digests["up-received"]:
        raise AssertionError("the bytes that arrived are not the bytes that were sent")
    if "down-digest" in digests:
        # Exact in a float: only the first 48 bits, enough to tell two runs' bytes apart.
        values["down-digest"] = float(int(digests["down-digest"][:12], 16))
    return values


def plain(programs: Programs, *arguments: str) -> Values:
    """On this machine, without mirrord."""
    return parse(_output([programs.measure, *arguments], str(programs.folder)))


def in_context(place: Place, *arguments: str) -> Values:
    """In the target's context."""
    return parse(_output(exec_command(place, place.programs.measure, *arguments), str(place.programs.folder)))


def exec_command(place: Place, *command: str) -> list[str]:
    return [sys.executable, "-m", "mirrord", "exec", *place.target, "--", *command]


def started(place: Place, *arguments: str) -> Started:
    """A program in context that stays until it is told to end."""
    return Started(exec_command(place, place.programs.measure, *arguments), str(place.programs.folder))


def _output(command: list[str], folder: str) -> str:
    null = subprocess.DEVNULL
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, cwd=folder, stdin=null, env=environment(), check=False
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: status {done.returncode}\n{done.stderr}")
    return done.stdout


def environment() -> dict[str, str]:
    """This process's own, without what would make the product talk differently."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MIRRORD_")}
