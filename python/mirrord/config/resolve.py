"""Flags over environment over file over defaults: one configuration, and where each value came from.

Called by the commands. Each source becomes a raw tree in normal form; they are laid over each other; then the result
is checked once. A wrong value is therefore reported the same way wherever it came from, with its origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mirrord.config.check import to_config
from mirrord.config.normalise import normalise
from mirrord.config.read import Tree, read_file
from mirrord.config.schema import Config
from mirrord.config.variables import from_environment
from mirrord.errors import CONFIG_CONFLICT, CONFIG_VALUE, MirrordError


class Source(NamedTuple):
    """One value of a flag or a variable: `path` is the dotted key, `origin` how the user wrote it."""

    path: str
    value: Any
    origin: str


def resolve(flags: list[Source], environment: Mapping[str, str], file: str | None) -> Config:
    """The configuration of one run. Raises `MirrordError` before anything is started."""
    origins: dict[str, str] = {}
    file = file or environment.get("MIRRORD_CONFIG_FILE") or None
    tree = normalise(read_file(file)) if file else {}
    overlays = [Source(*entry) for entry in from_environment(environment)]
    for source in overlays + flags:
        _put(tree, source.path.split("."), source.value)
        origins[source.path] = source.origin
        for other in _REPLACES.get(source.path, ()):
            _remove(tree, other.split("."), origins, keep=source.origin)

    def origin(path: str) -> str:
        while path:
            if path in origins:
                return origins[path]
            path = path.rpartition(".")[0]
        return f"file `{file}`" if file else "defaults"

    config = to_config(normalise(tree), origin)
    _check_conflicts(config)
    return config


def resolve_file(file: str) -> Config:
    """The configuration of a file alone, for `mirrord verify-config`."""
    config = to_config(normalise(read_file(file)), lambda _path: f"file `{file}`")
    _check_conflicts(config)
    return config


# A higher source that sets the one replaces the other of a lower source; both in the same source is an error.
_REPLACES = {
    "feature.env.include": ("feature.env.exclude",),
    "feature.env.exclude": ("feature.env.include",),
    "feature.network.incoming.ports": ("feature.network.incoming.ignore_ports",),
    "feature.network.incoming.ignore_ports": ("feature.network.incoming.ports",),
}


def _check_conflicts(config: Config) -> None:
    env, incoming = config.feature.env, config.feature.network.incoming
    if env.include is not None and env.exclude is not None:
        raise MirrordError(
            CONFIG_CONFLICT,
            "`feature.env.include` and `feature.env.exclude` exclude each other",
            hint="Keep one of them",
        )
    if incoming.ports is not None and incoming.ignore_ports:
        raise MirrordError(
            CONFIG_CONFLICT,
            "`feature.network.incoming.ports` and `feature.network.incoming.ignore_ports` exclude each other",
            hint="Keep one of them",
        )
    for name, pairs in (("port_mapping", incoming.port_mapping), ("listen_ports", incoming.listen_ports)):
        for side in (0, 1):
            ports = [pair[side] for pair in pairs]
            twice = next((port for port in ports if ports.count(port) > 1), None)
            if twice is not None:
                raise MirrordError(
                    CONFIG_VALUE, f"The port `{twice}` is there twice in `feature.network.incoming.{name}`"
                )
    _check_patterns(config)


def _check_patterns(config: Config) -> None:
    import re

    files = config.feature.fs
    for key, patterns in (("read_only", files.read_only), ("local", files.local), ("not_found", files.not_found)):
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as problem:  # noqa: PERF203 - the list is short
                raise MirrordError(
                    CONFIG_VALUE,
                    f"The pattern `{pattern}` of `feature.fs.{key}` is no regular expression",
                    str(problem),
                ) from problem


def _put(tree: Tree, path: list[str], value: Any) -> None:
    *parents, last = path
    node = tree
    for key in parents:
        child = node.get(key)
        if not isinstance(child, dict):
            child = {}
            node[key] = child
        node = child
    node[last] = value


def _remove(tree: Tree, path: list[str], origins: dict[str, str], *, keep: str) -> None:
    dotted = ".".join(path)
    # Two flags, or two variables, that contradict each other are the user's mistake: let the check say so.
    if origins.get(dotted, "").split(" ")[0] == keep.split(" ")[0]:
        return
    node: Any = tree
    for key in path[:-1]:
        node = node.get(key) if isinstance(node, dict) else None
    if isinstance(node, dict):
        node.pop(path[-1], None)
    origins.pop(dotted, None)
