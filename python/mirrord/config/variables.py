"""The `MIRRORD_*` variables that stand for configuration keys. Called by `resolve`.

A variable is text: it is read by the kind of its key, and a text that does not fit is refused with the variable's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mirrord.errors import CONFIG_VALUE, NOT_SUPPORTED, MirrordError

TEXT, FLAG, NUMBER, LIST = "text", "flag", "number", "list"

VARIABLES: dict[str, tuple[str, str]] = {
    "MIRRORD_IMPERSONATED_TARGET": ("target.path", TEXT),
    "MIRRORD_TARGET_NAMESPACE": ("target.namespace", TEXT),
    "MIRRORD_ACCEPT_INVALID_CERTIFICATES": ("accept_invalid_certificates", FLAG),
    "MIRRORD_KUBE_CONTEXT": ("kube_context", TEXT),
    "MIRRORD_KUBECONFIG": ("kubeconfig", TEXT),
    "MIRRORD_SKIP_PROCESSES": ("skip_processes", LIST),
    "MIRRORD_AGENT_NAMESPACE": ("agent.namespace", TEXT),
    "MIRRORD_AGENT_IMAGE": ("agent.image", TEXT),
    "MIRRORD_AGENT_IMAGE_PULL_POLICY": ("agent.image_pull_policy", TEXT),
    "MIRRORD_AGENT_STARTUP_TIMEOUT": ("agent.startup_timeout", NUMBER),
    "MIRRORD_AGENT_COMMUNICATION_TIMEOUT": ("agent.communication_timeout", NUMBER),
    "MIRRORD_AGENT_RUST_LOG": ("agent.log_level", TEXT),
    "MIRRORD_AGENT_TTL": ("agent.ttl", NUMBER),
    "MIRRORD_OVERRIDE_ENV_VARS_INCLUDE": ("feature.env.include", LIST),
    "MIRRORD_OVERRIDE_ENV_VARS_EXCLUDE": ("feature.env.exclude", LIST),
    "MIRRORD_FILE_MODE": ("feature.fs.mode", TEXT),
    "MIRRORD_FILE_READ_ONLY_PATTERN": ("feature.fs.read_only", LIST),
    "MIRRORD_FILE_LOCAL_PATTERN": ("feature.fs.local", LIST),
    "MIRRORD_TCP_OUTGOING": ("feature.network.outgoing.tcp", FLAG),
    "MIRRORD_REMOTE_DNS": ("feature.network.dns.enabled", FLAG),
}

NOT_YET = {
    "MIRRORD_EPHEMERAL_CONTAINER": "agent.ephemeral",
    "MIRRORD_OVERRIDE_ENV_VARS_FILE": "feature.env.env_file",
    "MIRRORD_FILE_READ_WRITE_PATTERN": "feature.fs.read_write",
    "MIRRORD_HTTP_HEADER_FILTER": "feature.network.incoming.http_filter.header_filter",
    "MIRRORD_HTTP_PATH_FILTER": "feature.network.incoming.http_filter.path_filter",
    "MIRRORD_HTTP_METHOD_FILTER": "feature.network.incoming.http_filter.method_filter",
    "MIRRORD_OUTGOING_REMOTE_UNIX_STREAMS": "feature.network.outgoing.unix_streams",
}

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")


def from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, Any, str]]:
    """`(key, value, origin)` of every variable that is set."""
    for name, key in NOT_YET.items():
        if environment.get(name):
            raise MirrordError(NOT_SUPPORTED, f"The variable `{name}` (`{key}`) is not supported yet")
    if flag(environment, "MIRRORD_AGENT_TCP_STEAL_TRAFFIC"):
        yield "feature.network.incoming.mode", "steal", "variable `MIRRORD_AGENT_TCP_STEAL_TRAFFIC`"
    if flag(environment, "MIRRORD_FILE_RO_OPS"):
        yield "feature.fs.mode", "read", "variable `MIRRORD_FILE_RO_OPS`"
    if flag(environment, "MIRRORD_FILE_OPS"):
        yield "feature.fs.mode", "write", "variable `MIRRORD_FILE_OPS`"
    for name, (key, kind) in VARIABLES.items():
        text = environment.get(name)
        if text:
            yield key, _value(environment, name, text, kind), f"variable `{name}`"


def flag(environment: Mapping[str, str], name: str) -> bool | None:
    """A yes-or-no variable; None when it is not set."""
    text = environment.get(name)
    if text is None:
        return None
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise MirrordError(CONFIG_VALUE, f"The variable `{name}` has the value `{text}`; use `true` or `false`")


def _value(environment: Mapping[str, str], name: str, text: str, kind: str) -> Any:
    if kind == FLAG:
        return flag(environment, name)
    if kind == LIST:
        return split_list(text)
    if kind == NUMBER:
        if not text.isascii() or not text.isdigit():
            raise MirrordError(CONFIG_VALUE, f"The variable `{name}` has the value `{text}`; it must be a number")
        return int(text)
    return text


def split_list(text: str) -> list[str]:
    """The parts of a `;` list."""
    return [part.strip() for part in text.split(";") if part.strip()]
