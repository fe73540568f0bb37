"""The agent's objects, and the reading of why one does not start."""

from typing import Any

import pytest
from mirrord.config.schema import Agent, Toleration
from mirrord.errors import AGENT_CRASHED, AGENT_IMAGE, AGENT_UNSCHEDULABLE, KUBE_ADMISSION, KUBE_QUOTA, Kind
from mirrord.kube.job import CONTAINER, Placement, job, secret
from mirrord.kube.trouble import is_running, of_job_event, of_pod, warnings_of

Json = dict[str, Any]
NEAR = Placement(node="n1", container_id="0123456789ab")


def pod_spec(options: Agent = Agent(), placement: Placement = NEAR) -> Json:  # noqa: B008 - immutable
    spec: Json = job("a", "s", "me@here", options, placement)["spec"]["template"]["spec"]
    return spec


def test_targeted_pod_is_pinned_and_mounts_nothing_of_the_host() -> None:
    spec = pod_spec()
    assert (spec["nodeName"], spec["hostPID"], spec["automountServiceAccountToken"]) == ("n1", True, False)
    assert "volumes" not in spec
    assert "hostNetwork" not in spec
    assert spec["tolerations"] == [{"operator": "Exists"}]
    (container,) = spec["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
    assert container["args"][-2:] == ["--container-id", "0123456789ab"]


def test_targetless_pod_has_no_rights_at_all() -> None:
    spec = pod_spec(Agent(node_selector={"a": "b"}), Placement(None, None))
    assert spec["hostPID"] is False
    assert spec["nodeSelector"] == {"a": "b"}
    assert spec["containers"][0]["securityContext"]["capabilities"]["add"] == []
    assert "--targetless" in spec["containers"][0]["args"]


def test_options_reach_the_pod() -> None:
    options = Agent(
        image="r/x:1", tolerations=(Toleration(key="k"),), disabled_capabilities=("SYS_ADMIN",), labels={"team": "a"}
    )
    whole = job("a", "s", "me", options, NEAR)
    spec = whole["spec"]["template"]["spec"]
    assert spec["containers"][0]["image"] == "r/x:1"
    assert spec["tolerations"] == [{"key": "k"}]
    assert "SYS_ADMIN" not in spec["containers"][0]["securityContext"]["capabilities"]["add"]
    assert whole["metadata"]["labels"]["team"] == "a"
    assert whole["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"


def test_key_is_in_the_secret_only() -> None:
    assert secret("a", "s", "KEY")["stringData"] == {"keys.pem": "KEY"}
    assert "KEY\n" not in str(job("a", "s", "me", Agent(), NEAR))


def pod(state: Json | None = None, **status: Any) -> Json:
    statuses = [{"name": CONTAINER, "state": state}] if state is not None else []
    return {
        "metadata": {"name": "p", "namespace": "n"},
        "spec": {"containers": [{"name": CONTAINER, "image": "r/x:1"}]},
        "status": {"phase": "Pending", "containerStatuses": statuses, **status},
    }


def waiting(reason: str) -> Json:
    return {"waiting": {"reason": reason, "message": "because"}}


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        (pod(waiting("ErrImagePull")), AGENT_IMAGE),
        (pod(waiting("ImagePullBackOff")), AGENT_IMAGE),
        (pod(waiting("ErrImageNeverPull")), AGENT_IMAGE),
        (pod(waiting("CreateContainerError")), AGENT_CRASHED),
        (pod({"terminated": {"exitCode": 2, "reason": "Error"}}), AGENT_CRASHED),
        (pod(phase="Failed", reason="OutOfpods", message="no room"), AGENT_UNSCHEDULABLE),
        (pod(conditions=[{"type": "PodScheduled", "reason": "Unschedulable", "message": "0/1"}]), AGENT_UNSCHEDULABLE),
    ],
)
def test_states_that_end_a_start(seen: Json, kind: Kind) -> None:
    trouble = of_pod(seen, CONTAINER)
    assert trouble is not None
    assert trouble.failure.kind is kind
    assert trouble.patience < 15


@pytest.mark.parametrize("state", [None, waiting("ContainerCreating"), waiting("PodInitializing"), {"running": {}}])
def test_states_that_are_no_trouble(state: Json | None) -> None:
    assert of_pod(pod(state), CONTAINER) is None


def test_running_is_the_containers_own_word() -> None:
    assert is_running(pod({"running": {"startedAt": "now"}}), CONTAINER)
    assert not is_running(pod(phase="Running"), CONTAINER)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('pods "x" is forbidden: violates PodSecurity "baseline:latest"', KUBE_ADMISSION),
        ('admission webhook "w" denied the request', KUBE_ADMISSION),
        ('pods "x" is forbidden: exceeded quota: q', KUBE_QUOTA),
    ],
)
def test_job_event_tells_why_there_is_no_pod(text: str, kind: Kind) -> None:
    trouble = of_job_event({"reason": "FailedCreate", "message": text}, "n")
    assert trouble is not None
    assert trouble.failure.kind is kind
    assert of_job_event({"reason": "SuccessfulCreate"}, "n") is None


def test_last_warnings_are_quoted() -> None:
    events = [
        {"type": "Normal", "reason": "Pulled", "message": "ok"},
        {"type": "Warning", "reason": "FailedMount", "message": "no\n secret", "lastTimestamp": "2"},
        {"type": "Warning", "reason": "First", "message": "x", "lastTimestamp": "1"},
    ]
    assert warnings_of(events) == ["First: x", "FailedMount: no secret"]
