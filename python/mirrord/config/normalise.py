"""Short forms of the file (toggles, single words, one-or-list) spelled out, so that every key has one shape.

Called by `resolve` on each source before they are laid over each other: `dns: false` in the file and a flag for
`dns.enabled` must meet in the same key.
"""

from __future__ import annotations

from typing import Any

from mirrord.errors import CONFIG_VALUE, MirrordError

Tree = dict[str, Any]

ONE_OR_LIST = (
    "skip_processes",
    "feature.env.include",
    "feature.env.exclude",
    "feature.env.unset",
    "feature.fs.read_only",
    "feature.fs.local",
    "feature.fs.not_found",
    "feature.network.incoming.ports",
    "feature.network.incoming.ignore_ports",
)

_TYPED_TARGETS = {
    "pod": "pod",
    "deployment": "deployment",
    "rollout": "rollout",
    "stateful_set": "statefulset",
    "daemon_set": "daemonset",
    "replica_set": "replicaset",
    "service": "service",
    "job": "job",
    "cron_job": "cronjob",
}


def normalise(tree: Tree) -> Tree:
    """`tree` without nulls and with every short form spelled out."""
    tree = _without_nulls(tree)
    if "target" in tree:
        tree["target"] = _target(tree["target"])
    feature = tree.get("feature")
    if isinstance(feature, dict):
        _toggle(feature, "env", off={"exclude": ["*"]})
        _toggle(feature, "fs", off={"mode": "local"}, word="mode")
        _toggle(
            feature,
            "network",
            off={"incoming": {"mode": "off"}, "outgoing": {"tcp": False}, "dns": {"enabled": False}},
        )
        network = feature.get("network")
        if isinstance(network, dict):
            _toggle(network, "incoming", off={"mode": "off"}, word="mode")
            _toggle(network, "outgoing", off={"tcp": False})
            _toggle(network, "dns", off={"enabled": False})
    for path in ONE_OR_LIST:
        _listed(tree, path.split("."))
    return tree


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(child) for key, child in value.items() if child is not None}
    return value


def _toggle(parent: Tree, key: str, *, off: Tree, word: str | None = None) -> None:
    value = parent.get(key)
    if isinstance(value, bool):
        parent[key] = {} if value else off
    elif isinstance(value, str) and word is not None:
        parent[key] = {word: value}


def _listed(tree: Tree, path: list[str]) -> None:
    *parents, last = path
    node: Any = tree
    for key in parents:
        node = node.get(key) if isinstance(node, dict) else None
    if isinstance(node, dict) and isinstance(node.get(last), str | int):
        node[last] = [node[last]]


def _target(value: Any) -> Any:
    if isinstance(value, str):
        return {"path": value}
    if not isinstance(value, dict):
        return value
    if "path" in value:
        typed = value["path"]
        return {**value, "path": _typed_path(typed)} if isinstance(typed, dict) else value
    if set(value) <= {"namespace"}:
        return value
    return {"path": _typed_path(value)}


def _typed_path(value: Tree) -> str:
    kinds = [key for key in value if key in _TYPED_TARGETS or key == "labels"]
    unknown = [key for key in value if key not in kinds and key != "container"]
    if len(kinds) != 1 or unknown:
        raise MirrordError(
            CONFIG_VALUE,
            f"The key `target` has the value `{value}`, which names no single object",
            hint="Write it as a path, like `deployment/shop`",
        )
    kind = kinds[0]
    if kind == "labels":
        labels = value["labels"]
        if not isinstance(labels, dict):
            raise MirrordError(CONFIG_VALUE, f"The key `target.labels` has the value `{labels}`; it must be a map")
        path = "label/" + ",".join(f"{name}={text}" for name, text in labels.items())
    else:
        path = f"{_TYPED_TARGETS[kind]}/{value[kind]}"
    return f"{path}/container/{value['container']}" if "container" in value else path
