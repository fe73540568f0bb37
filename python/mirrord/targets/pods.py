"""Which pod and which container: pure choices over the API's own JSON. Called by `resolve`.

A candidate is Running, not terminating, on a node, and its chosen container is ready. Among candidates the one that
became ready last wins: during a roll-out that is the new version, which is what somebody at work wants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mirrord.errors import CONTAINER_NOT_FOUND, MirrordError

Json = dict[str, Any]

SIDECARS = frozenset(
    [
        "kuma-sidecar",
        "kuma-init",
        "istio-proxy",
        "istio-init",
        "linkerd-proxy",
        "linkerd-init",
        "vault-agent",
        "vault-agent-init",
        "queue-proxy",
        "traffic-agent",
    ]
)
_RUNTIMES = ("containerd://", "cri-o://", "docker://")


@dataclass(frozen=True, slots=True)
class Chosen:
    """One container of one pod, and how it was chosen."""

    namespace: str
    pod: str
    node: str
    container: str
    container_id: str
    reason: str
    warnings: tuple[str, ...] = ()


def choose_container(pod: Json, wanted: str | None) -> tuple[str, str | None]:
    """The container's name, and a warning when it was guessed among several."""
    names = [container["name"] for container in pod["spec"]["containers"]]
    if wanted is not None:
        if wanted not in names:
            shown = ", ".join(f"`{name}`" for name in names)
            raise MirrordError(
                CONTAINER_NOT_FOUND,
                f"The pod `{pod['metadata']['name']}` has no container `{wanted}`",
                hint=f"It has {shown}",
            )
        return wanted, None
    annotated = pod["metadata"].get("annotations", {}).get("kubectl.kubernetes.io/default-container")
    if annotated in names:
        return str(annotated), None
    own = [name for name in names if name not in SIDECARS]
    name = (own or names)[0]
    warning = None
    if len(own) > 1:
        warning = f"the pod has several containers; `{name}` was taken. Choose with `/container/NAME`"
    return name, warning


def choose_pod(pods: list[Json], container: str | None) -> tuple[Chosen | None, str]:
    """The pod to work with, or None and why none fits."""
    fitting: list[tuple[str, Json, str, Json, str | None]] = []
    refusals: list[str] = []
    for pod in pods:
        name, warning = choose_container(pod, container)
        status = _status(pod, name)
        problem = _problem(pod, name, status)
        if problem is None and status is not None:
            fitting.append((_ready_since(pod), pod, name, status, warning))
        else:
            refusals.append(f"pod `{pod['metadata']['name']}`: {problem}")
    if not fitting:
        return None, "; ".join(refusals[:5]) if refusals else "no pod matches"
    # Newest ready first; the name breaks a tie, so that two runs choose the same.
    newest = max(since for since, *_ in fitting)
    _, pod, name, status, warning = min(
        (entry for entry in fitting if entry[0] == newest), key=lambda entry: str(entry[1]["metadata"]["name"])
    )
    reason = "the only ready one" if len(fitting) == 1 else f"the newest of {len(fitting)} ready ones"
    warnings = [warning] if warning else []
    if any(entry["name"] == "traffic-agent" for entry in pod["spec"]["containers"]):
        warnings.append("Telepresence's `traffic-agent` is in this pod: both tools redirect its traffic")
    return (
        Chosen(
            namespace=pod["metadata"]["namespace"],
            pod=pod["metadata"]["name"],
            node=pod["spec"]["nodeName"],
            container=name,
            container_id=status["containerID"].partition("://")[2],
            reason=reason,
            warnings=tuple(warnings),
        ),
        reason,
    )


def _status(pod: Json, container: str) -> Json | None:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return next((status for status in statuses if status["name"] == container), None)


def _problem(pod: Json, container: str, status: Json | None) -> str | None:
    phase = pod.get("status", {}).get("phase", "Unknown")
    if pod["metadata"].get("deletionTimestamp"):
        return "terminating"
    if phase != "Running":
        return f"its phase is `{phase}`"
    if not pod["spec"].get("nodeName"):
        return "not on a node yet"
    if status is None or not status.get("ready"):
        return f"container `{container}` is not ready{_waiting(status)}"
    if not status.get("containerID", "").startswith(_RUNTIMES):
        return f"container `{container}` has the unknown id `{status.get('containerID')}`"
    return None


def _waiting(status: Json | None) -> str:
    reason = (status or {}).get("state", {}).get("waiting", {}).get("reason")
    return f" (`{reason}`)" if reason else ""


def _ready_since(pod: Json) -> str:
    conditions = pod["status"].get("conditions") or []
    ready: Json = next((condition for condition in conditions if condition["type"] == "Ready"), {})
    # RFC 3339 in UTC: the order of the texts is the order of the times.
    return str(ready.get("lastTransitionTime") or pod["metadata"].get("creationTimestamp") or "")
