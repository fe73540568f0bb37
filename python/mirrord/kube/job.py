"""What the agent's objects look like: a Secret with the session's key, and a Job of one pod. Called by `agent`.

The pod sits on the target's node and sees the host's processes: so it finds the target's namespaces. It mounts
nothing of the host, has no service account token, no writable root, and only the capabilities that entering namespaces,
reading another process's files and redirecting ports ask for. It is pinned with `nodeName`: that needs no right to read
nodes, holds for nodes whose host name label differs, and skips a scheduler that has nothing to decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from mirrord import __version__
from mirrord.config.schema import Agent

Json = dict[str, Any]

PORT = 61337
"""Where the agent listens, on its own pod's loopback, which is what a port-forward dials."""

CONTAINER = "agent"
KEY_NAME = "keys.pem"
DEFAULT_IMAGE = f"mirrord-agent:{__version__}"
SESSION_LABEL = "mirrord.dev/session"

BACKSTOP_SECONDS = 7 * 24 * 3600
"""A session may last long; this only ends an agent whose own watchdog failed."""

GRACE_SECONDS = 2

# SYS_PTRACE: /proc/PID/root and ns of others. SYS_ADMIN + SYS_CHROOT: setns. NET_ADMIN: nf_tables, netlink.
# DAC_*: what a root target may read whatever its mode, as the target may. SETPCAP, SETUID, SETGID: giving this up.
ALWAYS = ("DAC_OVERRIDE", "DAC_READ_SEARCH", "SYS_CHROOT", "SETPCAP", "SETUID", "SETGID")
TARGETED = ("NET_ADMIN", "SYS_PTRACE", "SYS_ADMIN")

_MESH_OFF_ANNOTATIONS = {
    "sidecar.istio.io/inject": "false",
    "linkerd.io/inject": "disabled",
    "kuma.io/sidecar-injection": "disabled",
}
_MESH_OFF_LABELS = {"sidecar.istio.io/inject": "false", "kuma.io/sidecar-injection": "disabled"}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the agent goes: next to a container, or (targetless) anywhere."""

    node: str | None
    container_id: str | None


def secret(name: str, session: str, keys: str) -> Json:
    """The Secret that holds the agent's key."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": labels(session)},
        "type": "Opaque",
        "stringData": {KEY_NAME: keys},
    }


def job(name: str, session: str, holder: str, options: Agent, placement: Placement) -> Json:
    """The Job that runs the agent."""
    mesh = options.disable_mesh_sidecar_injection
    all_labels = {**options.labels, **(_MESH_OFF_LABELS if mesh else {}), **labels(session)}
    annotations = {
        **options.annotations,
        **(_MESH_OFF_ANNOTATIONS if mesh else {}),
        "mirrord.dev/holder": holder,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": all_labels, "annotations": annotations},
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "ttlSecondsAfterFinished": options.ttl,
            "activeDeadlineSeconds": BACKSTOP_SECONDS,
            "template": {
                "metadata": {"labels": all_labels, "annotations": annotations},
                "spec": _pod_spec(name, options, placement),
            },
        },
    }


def labels(session: str) -> dict[str, str]:
    """The labels by which our objects are found again."""
    return {
        "app.kubernetes.io/name": "mirrord-agent",
        "app.kubernetes.io/managed-by": "mirrord",
        SESSION_LABEL: session,
    }


def _pod_spec(secret_name: str, options: Agent, placement: Placement) -> Json:
    targeted = placement.container_id is not None
    spec: Json = {
        "restartPolicy": "Never",
        "hostPID": targeted,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "containers": [_container(secret_name, options, placement)],
    }
    if targeted:
        spec["nodeName"] = placement.node
        tolerations = [{"operator": "Exists"}]
    else:
        tolerations = []
        if options.node_selector:
            spec["nodeSelector"] = options.node_selector
    if options.tolerations is not None:
        tolerations = [_plain(entry) for entry in options.tolerations]
    if tolerations:
        spec["tolerations"] = tolerations
    if options.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": entry.name} for entry in options.image_pull_secrets]
    if options.priority_class:
        spec["priorityClassName"] = options.priority_class
    if options.service_account:
        spec["serviceAccountName"] = options.service_account
    return spec


def _container(secret_name: str, options: Agent, placement: Placement) -> Json:
    targeted = placement.container_id is not None
    command = ["serve", "--listen", f"127.0.0.1:{PORT}", "--grace", str(options.communication_timeout)]
    command += ["--log", options.log_level]
    if placement.container_id is None:
        command.append("--targetless")
    else:
        command += ["--container-id", placement.container_id]
    capabilities = [*TARGETED, *ALWAYS] if targeted else []
    return {
        "name": CONTAINER,
        "image": options.image or DEFAULT_IMAGE,
        "imagePullPolicy": options.image_pull_policy,
        "args": command,
        "env": [
            {"name": "MIRRORD_AGENT_KEYS", "valueFrom": {"secretKeyRef": {"name": secret_name, "key": KEY_NAME}}},
        ],
        "resources": _plain(options.resources),
        "securityContext": {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": targeted,
            "runAsUser": 0 if targeted else 65534,
            "capabilities": {
                "drop": ["ALL"],
                "add": [name for name in capabilities if name not in options.disabled_capabilities],
            },
        },
    }


def _plain(value: Any) -> Any:
    return {key: child for key, child in msgspec.to_builtins(value).items() if child is not None}
