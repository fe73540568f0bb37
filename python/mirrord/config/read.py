"""Configuration text to a raw tree: JSON (with comments), YAML or TOML, chosen by the file's name.

Called by `resolve`. The text comes from outside: size and depth are bounded, and what could hide a key (duplicate
keys, YAML aliases) is refused.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mirrord.errors import CONFIG_FILE, CONFIG_SYNTAX, MirrordError

MAX_BYTES = 1 << 20
MAX_DEPTH = 64

Tree = dict[str, Any]


def read_file(path: str) -> Tree:
    """The raw tree of the configuration at `path` (`-` is stdin, as JSON)."""
    try:
        if path == "-":
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(path).expanduser().open("rb") as file:
                content = file.read(MAX_BYTES + 1)
    except OSError as problem:
        raise MirrordError(
            CONFIG_FILE, f"Could not read the configuration file `{path}`", problem.strerror or str(problem)
        ) from problem
    if len(content) > MAX_BYTES:
        raise MirrordError(CONFIG_FILE, f"The configuration file `{path}` is larger than 1 MiB")
    return parse(content, path)


def parse(content: bytes, path: str) -> Tree:
    """The raw tree of `content`; `path` gives the format and names the file in errors."""
    suffix = "" if path == "-" else Path(path).suffix.lower()
    readers = {"": _json, ".json": _json, ".yaml": _yaml, ".yml": _yaml, ".toml": _toml}
    reader = readers.get(suffix)
    if reader is None:
        raise MirrordError(
            CONFIG_FILE,
            f"The configuration file `{path}` has the unknown extension `{suffix}`",
            hint="Use .json, .yaml, .yml or .toml",
        )
    try:
        tree = reader(content.decode("utf-8-sig"))
        if tree is None:
            return {}
        _check_depth(tree, 0)
    except (ValueError, RecursionError) as problem:
        detail = " ".join(str(problem).split())
        raise MirrordError(CONFIG_SYNTAX, f"The configuration file `{path}` cannot be read", detail) from problem
    if not isinstance(tree, dict):
        raise MirrordError(CONFIG_SYNTAX, f"The configuration file `{path}` is not an object of keys")
    return tree


def strip_comments(text: str) -> str:
    """`text` with `//` and `/* */` comments blanked out, so that positions in errors stay true."""
    out: list[str] = []
    index, end = 0, len(text)
    while index < end:
        char = text[index]
        if char == '"':
            stop = index + 1
            while stop < end and text[stop] != '"':
                stop += 2 if text[stop] == "\\" else 1
            stop = min(stop + 1, end)
            out.append(text[index:stop])
        elif text.startswith("//", index):
            stop = text.find("\n", index)
            stop = end if stop < 0 else stop
            out.append(" " * (stop - index))
        elif text.startswith("/*", index):
            stop = text.find("*/", index + 2)
            if stop < 0:
                raise ValueError(f"line {text.count(chr(10), 0, index) + 1}: the comment has no end")
            stop += 2
            out.append("".join(c if c == "\n" else " " for c in text[index:stop]))
        else:
            stop = index + 1
            out.append(char)
        index = stop
    return "".join(out)


def _json(text: str) -> Any:
    import json

    def unique(pairs: list[tuple[str, Any]]) -> Tree:
        tree: Tree = {}
        for key, value in pairs:
            if key in tree:
                raise ValueError(f"the key `{key}` is there twice")
            tree[key] = value
        return tree

    return json.loads(strip_comments(text), object_pairs_hook=unique)


def _toml(text: str) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    return tomllib.loads(text)


def _yaml(text: str) -> Any:
    import yaml

    class Strict(yaml.SafeLoader):
        """SafeLoader without what can hide keys or grow without bound."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
                raise ValueError(f"line {line}: aliases are not allowed")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[Any] = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                if not isinstance(key, str):
                    raise ValueError(f"line {key_node.start_mark.line + 1}: the key `{key}` is no string")
                if key in seen:
                    raise ValueError(f"line {key_node.start_mark.line + 1}: the key `{key}` is there twice")
                seen.add(key)
            return super().construct_mapping(node, deep=deep)

    try:
        return yaml.load(text, Loader=Strict)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as problem:
        raise ValueError(str(problem)) from problem


def _check_depth(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} levels")
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        _check_depth(child, depth + 1)
