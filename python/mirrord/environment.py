"""The program's environment: the local one, with the target's laid over it. Called by the session.

    target's variables ── never-list, include/exclude ──> over the local ones ── override ── unset ──> program

Names and values are bytes from end to end: a value that is no UTF-8 passes through and hides nothing. What would run
code here, or break the local process, is not taken: the never-list always, the guarded list unless the user names the
variable itself in `feature.env.include` (a wildcard does not count as a name).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mirrord.config.schema import Env

NEVER = [
    "PATH",
    "HOME",
    "HOMEPATH",
    "PWD",
    "CLASSPATH",
    "JAVA_HOME",
    "JAVA_EXE",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "CATALINA_HOME",
    "PYTHONPATH",
    "RUBYLIB",
    "RUBYOPT",
    "GEM_HOME",
    "GEM_PATH",
    "GOPATH",
    "GOMODCACHE",
    "DOTNET_EnableDiagnostics",
    "DOTNET_STARTUP_HOOKS",
    "RUST_LOG",
    "MIRRORD_*",
    "BUNDLE_*",
    "BUNDLER_VERSION",
    "BUNDLER_ORIG_*",
]
"""About paths and tools of the other machine; `MIRRORD_*` would be taken for our own."""

GUARDED = [
    "LD_*",
    "DYLD_*",
    "GLIBC_TUNABLES",
    "NODE_OPTIONS",
    "BASH_ENV",
    "BASH_FUNC_*",
    "ENV",
    "PERL5*",
    "PYTHON*",
    "GIT_*",
    "SSL_CERT_*",
    "GCONV_PATH",
    "NLSPATH",
    "LOCPATH",
]
"""Runs code at start, or redirects trust."""


class Taken(NamedTuple):
    """The target's variables that come over, and the guarded names that did not."""

    variables: dict[bytes, bytes]
    guarded: tuple[str, ...]


def parse(block: bytes) -> dict[bytes, bytes]:
    """An environment block as in `/proc/PID/environ`; entries without a name are dropped, as a shell does."""
    variables: dict[bytes, bytes] = {}
    for entry in block.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if name and equals:
            variables.setdefault(name, value)
    return variables


def take(remote: Mapping[bytes, bytes], options: Env) -> Taken:
    """Which of the target's variables the program gets."""
    never, guarded = _Matcher(NEVER), _Matcher(GUARDED)
    include = _Matcher(options.include if options.include is not None else ["*"])
    exclude = _Matcher(options.exclude or ())
    named = {name.encode("utf-8", "surrogateescape") for name in options.include or ()}
    variables: dict[bytes, bytes] = {}
    refused: list[str] = []
    for name, value in remote.items():
        if never(name) or not include(name) or exclude(name):
            continue
        if guarded(name) and name not in named:
            refused.append(name.decode(errors="backslashreplace"))
            continue
        variables[name] = value
    return Taken(variables, tuple(sorted(refused)))


def compose(
    local: Mapping[bytes, bytes], taken: Mapping[bytes, bytes], options: Env, session: Mapping[str, str]
) -> dict[bytes, bytes]:
    """The program's whole environment; `session` is what the layer needs and nothing can unset."""
    merged = {name: value for name, value in local.items() if not name.startswith(b"MIRRORD_")}
    merged.update(taken)
    for name, text in options.override.items():
        merged[_bytes(name)] = _bytes(text)
    gone = {name.lower() for name in options.unset}
    merged = {name: value for name, value in merged.items() if name.decode(errors="replace").lower() not in gone}
    for name, text in session.items():
        key, value = _bytes(name), _bytes(text)
        if key == b"LD_PRELOAD" and merged.get(key):
            # Another preload library (an allocator, a profiler) keeps its place before ours.
            value = merged[key] + b":" + value
        merged[key] = value
    return merged


class _Matcher:
    """Wildcards `*` and `?` on whole names; nothing else is special."""

    def __init__(self, patterns: Iterable[str]) -> None:
        parts = []
        for pattern in patterns:
            text = re.escape(_bytes(pattern)).replace(rb"\*", rb".*").replace(rb"\?", rb".")
            parts.append(text)
        self._pattern = re.compile(b"|".join(parts) if parts else rb"(?!)", re.DOTALL)

    def __call__(self, name: bytes) -> bool:
        return self._pattern.fullmatch(name) is not None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
