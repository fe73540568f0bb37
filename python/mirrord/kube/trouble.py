"""Why an agent does not start, read from its pod's status and from the events. Called by `agent`.

Pure: API objects in, a failure and a patience out. Patience is how long the state may last before it counts: an image
pull may fail once on a bad moment, a node may just be making room; "never" states count at once. All are far below the
15 seconds within which a user should know.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mirrord.errors import (
    AGENT_CRASHED,
    AGENT_IMAGE,
    AGENT_UNSCHEDULABLE,
    KUBE_ADMISSION,
    KUBE_API,
    KUBE_QUOTA,
    Kind,
    MirrordError,
)

Json = dict[str, Any]


class Trouble(NamedTuple):
    """A state that ends the start when it lasts longer than `patience` seconds."""

    failure: MirrordError
    patience: float


IMAGE_REASONS = {
    "ErrImagePull": 0.5,
    "ImagePullBackOff": 0.5,
    "ErrImageNeverPull": 0.0,
    "InvalidImageName": 0.0,
    "ImageInspectError": 0.0,
    "RegistryUnavailable": 6.0,
}
_CREATE_REASONS = ("CreateContainerError", "RunContainerError", "CrashLoopBackOff", "StartError")
UNSCHEDULABLE_PATIENCE = 5.0
SECRET_PATIENCE = 8.0


def container_status(pod: Json, container: str) -> Json:
    """The status of one container; empty while the kubelet has not reported it."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return next((status for status in statuses if status["name"] == container), {})


def is_running(pod: Json, container: str) -> bool:
    """Has the container's process started?"""
    return "running" in container_status(pod, container).get("state", {})


def has_started(event: Json) -> bool:
    """Is this the kubelet's event that a container's process started?"""
    return event.get("reason") == "Started" and event.get("involvedObject", {}).get("kind") == "Pod"


def of_pod(pod: Json, container: str) -> Trouble | None:
    """What is wrong with the agent's pod, if anything."""
    status = pod.get("status", {})
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    where = f"the agent's pod `{name}` in namespace `{namespace}`"
    state = container_status(pod, container).get("state", {})
    waiting = state.get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in IMAGE_REASONS:
        image = next((c["image"] for c in pod["spec"]["containers"] if c["name"] == container), "")
        failure = MirrordError(AGENT_IMAGE, f"The agent's image `{image}` cannot be pulled", f"{reason}: {message}")
        return Trouble(failure, IMAGE_REASONS[reason])
    if reason == "CreateContainerConfigError":
        failure = MirrordError(AGENT_CRASHED, f"The container of {where} cannot be made", message)
        return Trouble(failure, SECRET_PATIENCE)
    if reason in _CREATE_REASONS:
        return Trouble(MirrordError(AGENT_CRASHED, f"The container of {where} cannot start", f"{reason}: {message}"), 0)
    if "terminated" in state:
        end = state["terminated"]
        how = f"signal `{end['signal']}`" if end.get("signal") else f"exit code `{end.get('exitCode')}`"
        text = " ".join(part for part in (end.get("reason", ""), end.get("message", "")) if part)
        return Trouble(MirrordError(AGENT_CRASHED, f"The agent ended at once with {how} in {where}", text), 0)
    if status.get("phase") == "Failed":
        # The kubelet's own refusal (out of pods, node affinity, eviction): there is no container to ask.
        text = f"{status.get('reason', '')}: {status.get('message', '')}".strip(": ")
        return Trouble(MirrordError(AGENT_UNSCHEDULABLE, f"The node refused {where}", text), 0)
    if pod["metadata"].get("deletionTimestamp"):
        failure = MirrordError(
            KUBE_ADMISSION, f"Something in the cluster deleted {where} while it was starting", status.get("message", "")
        )
        return Trouble(failure, 0)
    return _unscheduled(status, where)


def _unscheduled(status: Json, where: str) -> Trouble | None:
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            failure = MirrordError(AGENT_UNSCHEDULABLE, f"No node takes {where}", condition.get("message", ""))
            return Trouble(failure, UNSCHEDULABLE_PATIENCE)
    return None


def of_job_event(event: Json, namespace: str) -> Trouble | None:
    """What an event of the Job says about a pod that was never made."""
    if event.get("reason") != "FailedCreate":
        return None
    text = " ".join(str(event.get("message", "")).split())
    kind: Kind = KUBE_API
    if "exceeded quota" in text:
        kind = KUBE_QUOTA
    elif "forbidden" in text or "admission" in text or "violates PodSecurity" in text:
        kind = KUBE_ADMISSION
    return Trouble(MirrordError(kind, f"The agent's pod may not be created in namespace `{namespace}`", text), 0)


def warnings_of(events: list[Json]) -> list[str]:
    """The newest warnings among events, for a start that timed out."""
    warnings = [event for event in events if event.get("type") == "Warning"]
    warnings.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    return [f"{event.get('reason')}: {' '.join(str(event.get('message', '')).split())}" for event in warnings[-3:]]
