"""The `mirrord` command with a scripted `mirrord.proxy`: `scripted.py ARGUMENTS…`, as `test_exec.py` runs it.

What the data path does is told by variables: `SCRIPT_EVENTS` (events after the start, `KIND:TEXT;…`), `SCRIPT_CONNECT`
(`fail` or `hang`), `SCRIPT_KIND` (what every program is), `SCRIPT_ENVIRONMENT` (the target's). What it was asked is
written, a line each, to the file `SCRIPT_LOG`.
"""

import os
import sys
import threading
import types
from pathlib import Path
from typing import Any

LOG = Path(os.environ["SCRIPT_LOG"])


def note(text: str) -> None:
    with LOG.open("a") as file:
        file.write(text + "\n")


class ProxyError(Exception):
    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message


class Keys:
    def agent_secret(self) -> str:
        return "secret"


class Session:
    files_provider = "fuse"
    files_problem = None

    def __init__(self, settings: str, keys: Keys, directory: str, holder: str) -> None:
        note(f"session {settings}")
        self.directory = directory
        words = [word for word in os.environ.get("SCRIPT_EVENTS", "hello:").split(";") if word]
        self.events = [word.partition(":") for word in words]
        self.is_started = False
        self.woken = threading.Event()

    def connect_fd(self, fd: int, timeout: float) -> Any:
        how = os.environ.get("SCRIPT_CONNECT")
        if how == "hang":
            sys.stderr.write("connecting\n")
            sys.stderr.flush()
            # Until the other end is closed, as the real one.
            os.read(fd, 1)
        os.close(fd)
        if how:
            raise ProxyError("link", "the other side went away")
        note("connected")
        environment = os.environb.get(b"SCRIPT_ENVIRONMENT", b"").replace(b"|", b"\0")
        return types.SimpleNamespace(environment=environment)

    def start(self, layer: str) -> dict[str, str]:
        note(f"started {layer}")
        self.is_started = True
        return {"MIRRORD_SESSION": self.directory}

    def next_event(self, timeout: float) -> Any:
        if self.is_started and self.events:
            kind, _, text = self.events.pop(0)
            return types.SimpleNamespace(kind=kind, text=text, port=80, pid=1)
        self.woken.wait(timeout)
        return None

    def wake(self) -> None:
        self.woken.set()

    def close(self) -> None:
        note("closed")


def inspect_program(path: bytes) -> Any:
    kind = os.environ.get("SCRIPT_KIND", "dynamic")
    return types.SimpleNamespace(kind=kind, interpreter=None, detail="the script says so")


def main() -> None:
    fake: Any = types.ModuleType("mirrord.proxy")
    for value in (ProxyError, Keys, Session, inspect_program):
        setattr(fake, value.__name__, value)
    import mirrord
    from mirrord.cli import main as command

    sys.modules["mirrord.proxy"] = fake
    mirrord.proxy = fake
    command()


main()
