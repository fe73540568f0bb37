"""Is every key of a raw tree one that we know? Called by `resolve`, after the sources are merged.

Three answers: supported (it is a field of the schema), not yet (named in `known`), or unknown: then the nearest known
key is offered. Values are checked by the conversion to the schema's types, and here where words do not work yet.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from mirrord.config.known import NOT_YET, WORDS_NOT_YET
from mirrord.config.schema import Config
from mirrord.errors import CONFIG_KEY, CONFIG_VALUE, NOT_SUPPORTED, MirrordError

Origin = Callable[[str], str]


def to_config(tree: dict[str, Any], origin: Origin) -> Config:
    """The typed configuration; `origin` tells where a key's value came from."""
    _check_keys(tree, Config, "", origin)
    for (path, word), reason in WORDS_NOT_YET.items():
        if _get(tree, path) == word:
            raise MirrordError(NOT_SUPPORTED, f"The value `{word}` of `{path}` ({origin(path)}): {reason}")
    try:
        return msgspec.convert(tree, Config)
    except msgspec.ValidationError as problem:
        raise _value_error(problem, tree, origin) from problem


def known_keys() -> frozenset[str]:
    """Every dotted key that the schema or the not-yet list knows."""
    return frozenset(_schema_keys(Config, "")) | NOT_YET


def _check_keys(tree: dict[str, Any], struct: type[msgspec.Struct], prefix: str, origin: Origin) -> None:
    hints = typing.get_type_hints(struct)
    for key, value in tree.items():
        path = prefix + key
        if key not in struct.__struct_fields__:
            if path in NOT_YET:
                raise MirrordError(NOT_SUPPORTED, f"The key `{path}` ({origin(path)}) is not supported yet")
            raise _unknown(path, value, origin)
        inner = _struct_of(hints[key])
        if inner is not None and isinstance(value, dict):
            _check_keys(value, inner, path + ".", origin)


def _unknown(path: str, value: Any, origin: Origin) -> MirrordError:
    import difflib

    shown = str(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    known = known_keys()
    near = difflib.get_close_matches(path, known, n=1, cutoff=0.75)
    if not near:
        # The right word under the wrong parent is the commonest slip.
        word = path.rpartition(".")[2]
        near = sorted(name for name in known if name.rpartition(".")[2] == word)[:1]
    hint = f"Did you mean `{near[0]}`?" if near else "See the README for the keys that exist"
    return MirrordError(CONFIG_KEY, f"The key `{path}` with the value `{shown}` ({origin(path)}) is unknown", hint=hint)


def _value_error(problem: msgspec.ValidationError, tree: dict[str, Any], origin: Origin) -> MirrordError:
    text, _, where = str(problem).partition(" - at ")
    path = where.strip("`").removeprefix("$").removeprefix(".")
    value = _get(tree, path)
    shown = f" has the value `{value}`, which" if value is not None else ""
    return MirrordError(CONFIG_VALUE, f"The key `{path}` ({origin(path)}){shown} is not acceptable", text)


def _schema_keys(struct: type[msgspec.Struct], prefix: str) -> list[str]:
    hints = typing.get_type_hints(struct)
    keys: list[str] = []
    for field in struct.__struct_fields__:
        keys.append(prefix + field)
        inner = _struct_of(hints[field])
        if inner is not None:
            keys += _schema_keys(inner, prefix + field + ".")
    return keys


def _struct_of(hint: Any) -> type[msgspec.Struct] | None:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return option
    return None


def _get(tree: Any, path: str) -> Any:
    for part in path.replace("[", ".[").split("."):
        if part.startswith("["):
            index = part.strip("[]")
            if not index.isdigit() or not isinstance(tree, list) or int(index) >= len(tree):
                return None
            tree = tree[int(index)]
        elif isinstance(tree, dict):
            tree = tree.get(part)
        else:
            return None
    return tree
