"""From a workload to one container of one pod: the choice, its reason and its refusals."""

from typing import Any

import pytest
from mirrord.errors import CONTAINER_NOT_FOUND, TARGET_AMBIGUOUS, TARGET_NOT_FOUND, TARGET_NOT_READY, MirrordError
from mirrord.targets import Unqualified, Workload
from mirrord.targets.pods import choose_container, choose_pod
from mirrord.targets.resolve import resolve, selector_text

Json = dict[str, Any]


def pod(
    name: str, *, ready_at: str = "2026-01-01T00:00:00Z", containers: tuple[str, ...] = ("app",), **over: Any
) -> Json:
    statuses = [
        {"name": container, "ready": over.get("ready", True), "containerID": f"containerd://{name}{container}"}
        for container in containers
    ]
    metadata: Json = {"name": name, "namespace": "shop", "annotations": over.get("annotations", {})}
    if over.get("terminating"):
        metadata["deletionTimestamp"] = ready_at
    return {
        "metadata": metadata,
        "spec": {"nodeName": "n1", "containers": [{"name": container} for container in containers]},
        "status": {
            "phase": over.get("phase", "Running"),
            "containerStatuses": statuses,
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": ready_at}],
        },
    }


def test_newest_ready_pod_wins() -> None:
    old, new = pod("old"), pod("new", ready_at="2026-01-02T00:00:00Z")
    chosen, reason = choose_pod([old, new], None)
    assert chosen is not None
    assert (chosen.pod, chosen.container_id) == ("new", "newapp")
    assert reason == "the newest of 2 ready ones"


def test_tie_is_broken_the_same_way_every_time() -> None:
    chosen, _ = choose_pod([pod("b"), pod("a")], None)
    assert chosen is not None
    assert chosen.pod == "a"


@pytest.mark.parametrize("over", [{"terminating": True}, {"phase": "Pending"}, {"ready": False}])
def test_unfit_pod_is_not_taken_and_the_reason_is_told(over: Json) -> None:
    chosen, reason = choose_pod([pod("x", **over)], None)
    assert chosen is None
    assert reason.startswith("pod `x`: ")


def test_container_choice_explicit_then_annotation_then_no_sidecar() -> None:
    many = pod("x", containers=("istio-proxy", "app", "log"))
    assert choose_container(many, "log") == ("log", None)
    name, warning = choose_container(many, None)
    assert name == "app"
    assert warning is not None
    annotated = pod("x", containers=("a", "b"), annotations={"kubectl.kubernetes.io/default-container": "b"})
    assert choose_container(annotated, None) == ("b", None)
    assert choose_container(pod("x", containers=("istio-proxy",)), None) == ("istio-proxy", None)


def test_unknown_container_names_the_existing_ones() -> None:
    with pytest.raises(MirrordError) as caught:
        choose_container(pod("x", containers=("a", "b")), "c")
    assert caught.value.kind is CONTAINER_NOT_FOUND
    assert caught.value.hint == "It has `a`, `b`"


def test_whole_selector_becomes_query_text() -> None:
    selector = {
        "matchLabels": {"app": "shop"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "old", "operator": "DoesNotExist"},
            {"key": "env", "operator": "NotIn", "values": ["test"]},
            {"key": "live", "operator": "Exists"},
        ],
    }
    assert selector_text(selector) == "app=shop,tier in (a,b),!old,env notin (test),live"


def test_empty_selector_never_means_every_pod() -> None:
    with pytest.raises(MirrordError):
        selector_text({})


class Cluster:
    """Answers GET from a dictionary."""

    def __init__(self, objects: Json) -> None:
        self.objects = objects
        self.asked: list[str] = []

    def find(self, path: str) -> Json | None:
        self.asked.append(path)
        found: Json | None = self.objects.get(path)
        return found

    def get(self, path: str) -> Json:
        found = self.find(path)
        assert found is not None, path
        return found


PODS = "/api/v1/namespaces/shop/pods"


def test_deployment_is_resolved_through_its_selector() -> None:
    cluster = Cluster(
        {
            "/apis/apps/v1/namespaces/shop/deployments/web": {"spec": {"selector": {"matchLabels": {"app": "web"}}}},
            f"{PODS}?labelSelector=app%3Dweb&limit=500": {"items": [pod("web-1")], "metadata": {}},
        }
    )
    assert resolve(cluster, Workload("deployment", "web"), "shop").pod == "web-1"


def test_cron_job_means_its_newest_running_job() -> None:
    def job(name: str, created: str) -> Json:
        return {
            "metadata": {"ownerReferences": [{"uid": "u"}], "creationTimestamp": created},
            "status": {"active": 1},
            "spec": {"selector": {"matchLabels": {"job": name}}},
        }

    cluster = Cluster(
        {
            "/apis/batch/v1/namespaces/shop/cronjobs/c": {"metadata": {"uid": "u"}},
            "/apis/batch/v1/namespaces/shop/jobs": {"items": [job("old", "2026-01-01"), job("new", "2026-01-02")]},
            f"{PODS}?labelSelector=job%3Dnew&limit=500": {"items": [pod("c-1")]},
        }
    )
    assert resolve(cluster, Workload("cronjob", "c"), "shop").pod == "c-1"


def test_rollout_may_borrow_a_deployments_selector() -> None:
    cluster = Cluster(
        {
            "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/r": {
                "spec": {"workloadRef": {"kind": "Deployment", "name": "web"}}
            },
            "/apis/apps/v1/namespaces/shop/deployments/web": {"spec": {"selector": {"matchLabels": {"app": "web"}}}},
            f"{PODS}?labelSelector=app%3Dweb&limit=500": {"items": [pod("r-1")]},
        }
    )
    assert resolve(cluster, Workload("rollout", "r"), "shop").pod == "r-1"


def test_pages_are_followed() -> None:
    first = f"{PODS}?labelSelector=a%3Db&limit=500"
    cluster = Cluster(
        {
            first: {"items": [pod("one")], "metadata": {"continue": "t"}},
            f"{first}&continue=t": {"items": [pod("two", ready_at="2027-01-01T00:00:00Z")]},
        }
    )
    assert resolve(cluster, Workload("label", "a=b"), "shop").pod == "two"


def test_missing_and_unready_targets_say_so() -> None:
    with pytest.raises(MirrordError) as caught:
        resolve(Cluster({}), Workload("pod", "x"), "shop")
    assert caught.value.kind is TARGET_NOT_FOUND
    with pytest.raises(MirrordError) as caught:
        resolve(Cluster({f"{PODS}/x": pod("x", phase="Pending")}), Workload("pod", "x"), "shop")
    assert caught.value.kind is TARGET_NOT_READY


def test_bare_name_must_be_unique() -> None:
    cluster = Cluster({f"{PODS}/x": pod("x"), "/apis/apps/v1/namespaces/shop/statefulsets/x": {}})
    with pytest.raises(MirrordError) as caught:
        resolve(cluster, Unqualified("x"), "shop")
    assert caught.value.kind is TARGET_AMBIGUOUS
    assert resolve(Cluster({f"{PODS}/x": pod("x")}), Unqualified("x"), "shop").pod == "x"
