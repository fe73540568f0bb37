"""The useful parts of the `kubernetes` package, without its import cost. Called by `access` and `api`.

`import kubernetes.config` runs `kubernetes/__init__.py`, which imports every API group and about seven hundred model
classes: 0.45 s that a start does not have. Kubeconfig, authentication plug-ins and the REST layer need none of them.
So the four packages on the way are made as module objects that have their `__path__` but have not run their
`__init__`; only the submodules that we name are imported through them. Afterwards the hollow packages are taken out of
`sys.modules` again: whoever imports `kubernetes` later in this process (a debugger, a plug-in) gets the whole one.

When the package is laid out differently than we know, or is already imported, the ordinary import is used instead.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class Parts(NamedTuple):
    """The modules and classes that `access` and `api` use."""

    kube_config: Any
    incluster_config: Any
    configuration: Any
    rest: Any
    exceptions: Any
    config_exception: Any


_HOLLOW = ("kubernetes", "kubernetes.client", "kubernetes.config", "kubernetes.utils")
_lock = threading.Lock()
_parts: Parts | None = None


def parts() -> Parts:
    """The parts, imported once."""
    global _parts
    with _lock:
        if _parts is None:
            _parts = _import()
        return _parts


def _import() -> Parts:
    if "kubernetes" not in sys.modules:
        try:
            with _hollow_packages():
                return _named_parts()
        except (ImportError, AttributeError):
            # A version with another layout: slower, but right.
            pass
    return _named_parts()


def _named_parts() -> Parts:
    load = importlib.import_module
    return Parts(
        configuration=load("kubernetes.client.configuration"),
        rest=load("kubernetes.client.rest"),
        exceptions=load("kubernetes.client.exceptions"),
        kube_config=load("kubernetes.config.kube_config"),
        incluster_config=load("kubernetes.config.incluster_config"),
        config_exception=load("kubernetes.config.config_exception"),
    )


@contextmanager
def _hollow_packages() -> Iterator[None]:
    try:
        for name in _HOLLOW:
            sys.modules[name] = _hollow(name)
        client: Any = sys.modules["kubernetes.client"]
        # What `from kubernetes.client import …` of the named modules asks for.
        client.Configuration = importlib.import_module("kubernetes.client.configuration").Configuration
        client.ApiClient = None
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "kubernetes"]:
            del sys.modules[name]


def _hollow(name: str) -> Any:
    parent, _, _ = name.rpartition(".")
    path = sys.modules[parent].__path__ if parent else None
    spec = importlib.machinery.PathFinder.find_spec(name, path)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"no package {name}")
    return importlib.util.module_from_spec(spec)
