"""The grammar of a target's path. Called by the commands before the cluster is touched.

    pod/NAME  deployment/NAME  statefulset/…  daemonset/…  replicaset/…  job/…  cronjob/…  service/…  rollout/…
    label/K=V[,K=V…]                         each with an optional /container/NAME
    process/PID  demo                        without Kubernetes
    NAME                                     when only one object of the namespace fits
    targetless                               the cluster's network and names, no pod

Names are checked here against Kubernetes' own rules, so that a slip never becomes a request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mirrord.errors import NOT_SUPPORTED, TARGET_SYNTAX, MirrordError


@dataclass(frozen=True, slots=True)
class Workload:
    """An object of the cluster; for `label` the name is the selector."""

    kind: str
    name: str
    container: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" + (f"/container/{self.container}" if self.container else "")


@dataclass(frozen=True, slots=True)
class Unqualified:
    """A bare name: the cluster must say what it is."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Targetless:
    """No pod: only the cluster's network and names."""

    def __str__(self) -> str:
        return "targetless"


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine."""

    pid: int

    def __str__(self) -> str:
        return f"process/{self.pid}"


@dataclass(frozen=True, slots=True)
class Demo:
    """The throw-away sandbox."""

    def __str__(self) -> str:
        return "demo"


Target = Workload | Unqualified | Targetless | Process | Demo

KINDS = {
    "pod": "pod",
    "pods": "pod",
    "po": "pod",
    "deployment": "deployment",
    "deployments": "deployment",
    "deploy": "deployment",
    "statefulset": "statefulset",
    "statefulsets": "statefulset",
    "sts": "statefulset",
    "daemonset": "daemonset",
    "daemonsets": "daemonset",
    "ds": "daemonset",
    "replicaset": "replicaset",
    "replicasets": "replicaset",
    "rs": "replicaset",
    "job": "job",
    "jobs": "job",
    "cronjob": "cronjob",
    "cronjobs": "cronjob",
    "cj": "cronjob",
    "service": "service",
    "services": "service",
    "svc": "service",
    "rollout": "rollout",
    "rollouts": "rollout",
    "label": "label",
}

_LABEL_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")


def parse(path: str | None) -> Target:
    """The target that `path` names. Raises `MirrordError` with the part that is wrong."""
    if path is None or path == "targetless":
        return Targetless()
    if path == "demo":
        return Demo()
    first, slash, rest = path.partition("/")
    if not slash:
        return Unqualified(_name(path, path))
    if first == "process":
        return _process(path, rest)
    if first == "container":
        raise MirrordError(
            NOT_SUPPORTED,
            f"The target `{path}` is not supported yet: containers of this machine",
            hint="Use `process/PID` with a process of that container",
        )
    kind = KINDS.get(first)
    if kind is None:
        raise _unknown_kind(path, first)
    name, container = _split_container(path, rest, is_label=kind == "label")
    return Workload(kind, _selector(path, name) if kind == "label" else _name(path, name), container)


def check_namespace(name: str | None) -> None:
    """Refuse what cannot be a namespace's name."""
    if name is not None and not (len(name) <= 63 and _LABEL_1123.fullmatch(name)):
        raise MirrordError(
            TARGET_SYNTAX,
            f"`{name}` cannot be the name of a namespace",
            hint="Use lower-case letters, digits and `-`, at most 63",
        )


def _split_container(path: str, rest: str, *, is_label: bool) -> tuple[str, str | None]:
    # A label's key may hold a slash (`app.kubernetes.io/name=web`): only the last `/container/NAME` counts there.
    name, separator, container = rest.rpartition("/container/") if is_label else rest.partition("/container/")
    if not separator:
        return rest, None
    if not (len(container) <= 63 and _LABEL_1123.fullmatch(container)):
        raise MirrordError(TARGET_SYNTAX, f"The target `{path}` has `{container}` as its container, which is no name")
    return name, container


def _name(path: str, name: str) -> str:
    if len(name) <= 253 and _SUBDOMAIN_1123.fullmatch(name):
        return name
    raise MirrordError(
        TARGET_SYNTAX,
        f"The target `{path}` has `{name}` as its name, which no object of Kubernetes can have",
        hint="Use lower-case letters, digits, `-` and `.`; write a target like `deployment/shop`",
    )


def _selector(path: str, text: str) -> str:
    for part in text.split(","):
        key, equals, value = part.partition("=")
        prefix, slash, name = key.rpartition("/")
        is_key = len(name) <= 63 and _LABEL_NAME.fullmatch(name) and (not slash or _SUBDOMAIN_1123.fullmatch(prefix))
        is_value = not value or (len(value) <= 63 and _LABEL_NAME.fullmatch(value))
        if not (equals and is_key and is_value):
            raise MirrordError(
                TARGET_SYNTAX,
                f"The target `{path}` has the label `{part}`, which is not `KEY=VALUE`",
                hint="Write it like `label/app=shop,tier=web`",
            )
    return text


def _process(path: str, text: str) -> Process:
    if text.isascii() and text.isdigit() and 0 < int(text) < 1 << 22:
        return Process(int(text))
    raise MirrordError(
        TARGET_SYNTAX, f"The target `{path}` has `{text}` as its process id", hint="Write it like `process/1234`"
    )


def _unknown_kind(path: str, kind: str) -> MirrordError:
    import difflib

    near = difflib.get_close_matches(kind.lower(), [*KINDS, "process", "container"], n=1)
    hint = f"Did you mean `{near[0]}/{path.partition('/')[2]}`?" if near else None
    return MirrordError(TARGET_SYNTAX, f"The target `{path}` has the unknown kind `{kind}`", hint=hint)
