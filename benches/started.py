"""A `mirrord exec` whose output lines are events with a time. Used where a figure is a time between two of them."""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from typing import IO

from . import place

_SECONDS = 60.0


class Started:
    """Starts at once; `begun` and all event times are of CLOCK_MONOTONIC, which every process shares."""

    def __init__(self, command: list[str], folder: str) -> None:
        self.begun = time.clock_gettime(time.CLOCK_MONOTONIC)
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=folder, env=place.environment()
        )
        self.steps: list[tuple[float, str]] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self._lines.put), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self._step), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: IO[str] | None, take: object) -> None:
        assert pipe is not None
        assert callable(take)
        for line in pipe:
            take(line.rstrip("\n"))
        if take == self._lines.put:
            self._lines.put(None)

    def _step(self, line: str) -> None:
        self.steps.append((time.clock_gettime(time.CLOCK_MONOTONIC), line))

    def value(self, name: str) -> float:
        """The next output line `NAME VALUE`."""
        while True:
            line = self._lines.get(timeout=_SECONDS)
            if line is None:
                told = "\n".join(text for _time, text in self.steps)
                raise AssertionError(f"the program ended without `{name}`\n{told}")
            found, _, value = line.partition(" ")
            if found == name:
                return float(value)

    def close_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait(self) -> float:
        """Wait for the end of `mirrord exec`; returns when that was."""
        self.process.wait(_SECONDS)
        end = time.clock_gettime(time.CLOCK_MONOTONIC)
        for reader in self._readers:
            reader.join(_SECONDS)
        return end

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
