"""The program before it runs: found on PATH, inspected, and the folders that belong to its installation.

Called by the session before anything else is started: a typing mistake must not cost an agent, and a program that the
layer cannot reach must not run outside the context in silence.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mirrord.errors import PROGRAM_NOT_FOUND, PROGRAM_UNSUPPORTED, MirrordError

DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MAX_SCRIPTS = 4
"""As the kernel: a script whose interpreter is a script, and so on."""

_REASONS = {
    "static": "it is statically linked, so it makes its system calls without the C library that the layer hooks",
    "go": "it is a Go program, which makes its system calls without the C library that the layer hooks",
    "privileged": "it is set-uid, set-gid or has capabilities, so the dynamic linker ignores the layer",
    "foreign": "it is built for another kind of machine or system",
}


@dataclass(frozen=True, slots=True)
class Program:
    """An executable that the layer can go into."""

    path: bytes
    prefixes: tuple[str, ...]
    detail: str


def find(name: bytes, environment: dict[bytes, bytes]) -> bytes:
    """The path of the executable that `name` means. Raises like a shell: not found, or not executable."""
    shown = os.fsdecode(name)
    if not name:
        raise MirrordError(PROGRAM_NOT_FOUND, "The program's name is empty")
    if b"/" in name:
        if not os.path.exists(name):
            raise MirrordError(PROGRAM_NOT_FOUND, f"There is no program `{shown}`")
        if not _is_executable(name):
            raise MirrordError(PROGRAM_NOT_FOUND, f"`{shown}` is not executable", hint=f"Try `chmod +x {shown}`")
        return name
    search = environment.get(b"PATH", DEFAULT_PATH)
    for folder in search.split(b":"):
        path = os.path.join(folder or b".", name)
        if _is_executable(path):
            return path
    raise MirrordError(PROGRAM_NOT_FOUND, f"There is no program `{shown}` on PATH", f"PATH is `{os.fsdecode(search)}`")


def inspect(path: bytes, environment: dict[bytes, bytes]) -> Program:
    """What the program is. Raises when the layer would have no effect in it."""
    from mirrord import proxy

    prefixes = _prefixes(path)
    current, detail = path, ""
    for _ in range(MAX_SCRIPTS):
        try:
            found = proxy.inspect_program(current)
        except proxy.ProxyError as problem:
            raise MirrordError(
                PROGRAM_UNSUPPORTED, f"The program `{os.fsdecode(current)}` cannot be read", problem.message
            ) from problem
        detail = detail or found.detail
        if found.kind in _REASONS:
            raise _unsupported(path, current, found.kind, found.detail)
        if found.kind != "script" or not found.interpreter:
            break
        current = found.interpreter if b"/" in found.interpreter else find(found.interpreter, environment)
        prefixes += _prefixes(current)
    return Program(path, tuple(dict.fromkeys(prefixes)), detail)


def _unsupported(path: bytes, current: bytes, kind: str, detail: str) -> MirrordError:
    through = "" if current == path else f" (run by `{os.fsdecode(path)}`)"
    return MirrordError(
        PROGRAM_UNSUPPORTED,
        f"The program `{os.fsdecode(current)}`{through} cannot run in a target's context yet: {_REASONS[kind]}",
        detail,
        hint="Use a dynamically linked build of it"
        if kind in ("static", "go")
        else "Use a copy without these rights"
        if kind == "privileged"
        else "Use a build for this machine",
    )


def _is_executable(path: bytes) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _prefixes(path: bytes) -> list[str]:
    """The installation folders of `path`, which must stay local or the program would lose its own files."""
    prefixes: list[str] = []
    for place in (os.path.abspath(path), os.path.realpath(path)):
        folder = os.path.dirname(place)
        prefix = os.path.dirname(folder)
        if os.path.basename(folder) in (b"bin", b"sbin") and prefix != b"/":
            prefixes.append(os.fsdecode(prefix))
            prefixes += _environment_base(Path(os.fsdecode(prefix)))
    return list(dict.fromkeys(prefixes))


def _environment_base(prefix: Path) -> list[str]:
    """The installation that a Python virtual environment borrows its interpreter and library from."""
    try:
        lines = (prefix / "pyvenv.cfg").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() == "home":
            home = Path(value.strip())
            bases = {str(home.parent), str(Path(os.path.realpath(home)).parent)}
            return sorted(base for base in bases if base.startswith("/") and base != "/")
    return []
