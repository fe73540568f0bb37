"""From a workload's name to one container of one pod, by asking the cluster. Called by the session.

The whole selector counts, `matchExpressions` included. A cron job stands for its newest job's pod; a rollout may
borrow a deployment's selector (`workloadRef`).
"""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import quote, urlencode

from mirrord.errors import (
    KUBE_FORBIDDEN,
    TARGET_AMBIGUOUS,
    TARGET_NOT_FOUND,
    TARGET_NOT_READY,
    MirrordError,
)
from mirrord.targets.grammar import Unqualified, Workload
from mirrord.targets.pods import Chosen, choose_container, choose_pod

Json = dict[str, Any]


class Api(Protocol):
    """What is needed of `mirrord.kube.Api`: GET and its two outcomes."""

    def get(self, path: str) -> Json: ...
    def find(self, path: str) -> Json | None: ...


PATHS = {
    "pod": ("api/v1", "pods"),
    "service": ("api/v1", "services"),
    "deployment": ("apis/apps/v1", "deployments"),
    "statefulset": ("apis/apps/v1", "statefulsets"),
    "daemonset": ("apis/apps/v1", "daemonsets"),
    "replicaset": ("apis/apps/v1", "replicasets"),
    "job": ("apis/batch/v1", "jobs"),
    "cronjob": ("apis/batch/v1", "cronjobs"),
    "rollout": ("apis/argoproj.io/v1alpha1", "rollouts"),
}

PAGE = 500


def resolve(api: Api, target: Workload | Unqualified, namespace: str) -> Chosen:
    """The container that stands for `target` in `namespace`."""
    if isinstance(target, Unqualified):
        target = _qualify(api, target.name, namespace)
    if target.kind == "pod":
        return _single(api, target, namespace)
    chosen, why = choose_pod(_list_pods(api, namespace, _selector_of(api, target, namespace)), target.container)
    if chosen is None:
        raise MirrordError(TARGET_NOT_READY, f"No pod of `{target}` in namespace `{namespace}` can be used", why)
    return chosen


def _single(api: Api, target: Workload, namespace: str) -> Chosen:
    pod = _find(api, target.kind, target.name, namespace)
    if pod is None:
        raise _not_found(target, namespace)
    choose_container(pod, target.container)
    chosen, why = choose_pod([pod], target.container)
    if chosen is None:
        raise MirrordError(TARGET_NOT_READY, f"`{target}` in namespace `{namespace}` cannot be used", why)
    return chosen


def _find(api: Api, kind: str, name: str, namespace: str) -> Json | None:
    group, plural = PATHS[kind]
    return api.find(f"/{group}/namespaces/{quote(namespace)}/{plural}/{quote(name)}")


def _selector_of(api: Api, target: Workload, namespace: str) -> str:
    if target.kind == "label":
        return target.name
    found = _find(api, target.kind, target.name, namespace)
    if found is None:
        raise _not_found(target, namespace)
    if target.kind == "cronjob":
        return _newest_job_selector(api, target, found, namespace)
    spec = found.get("spec", {})
    if target.kind == "service":
        if not spec.get("selector"):
            raise MirrordError(TARGET_NOT_READY, f"`{target}` in namespace `{namespace}` selects no pods by label")
        return ",".join(f"{key}={value}" for key, value in spec["selector"].items())
    if target.kind == "rollout" and not spec.get("selector") and spec.get("workloadRef"):
        reference = spec["workloadRef"]
        inner = Workload(str(reference.get("kind", "Deployment")).lower(), str(reference["name"]))
        return _selector_of(api, inner, namespace)
    return selector_text(spec.get("selector") or {})


def _newest_job_selector(api: Api, target: Workload, cronjob: Json, namespace: str) -> str:
    uid = cronjob["metadata"]["uid"]
    jobs = api.get(f"/apis/batch/v1/namespaces/{quote(namespace)}/jobs")["items"]
    own = [
        job
        for job in jobs
        if any(owner.get("uid") == uid for owner in job["metadata"].get("ownerReferences") or [])
        and job.get("status", {}).get("active")
    ]
    if not own:
        raise MirrordError(TARGET_NOT_READY, f"`{target}` in namespace `{namespace}` has no running job now")
    newest = max(own, key=lambda job: str(job["metadata"]["creationTimestamp"]))
    return selector_text(newest["spec"]["selector"])


def selector_text(selector: Json) -> str:
    """A `LabelSelector` as the API's query text."""
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for rule in selector.get("matchExpressions") or []:
        key, values = rule["key"], ",".join(rule.get("values") or [])
        parts.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }[rule["operator"]]
        )
    if not parts:
        # An empty selector would match every pod of the namespace.
        raise MirrordError(TARGET_NOT_READY, "The target has an empty selector")
    return ",".join(parts)


def _list_pods(api: Api, namespace: str, selector: str) -> list[Json]:
    pods: list[Json] = []
    token = ""
    while True:
        query = urlencode({"labelSelector": selector, "limit": PAGE, **({"continue": token} if token else {})})
        page = api.get(f"/api/v1/namespaces/{quote(namespace)}/pods?{query}")
        pods += page.get("items") or []
        token = page.get("metadata", {}).get("continue") or ""
        if not token:
            return pods


def _qualify(api: Api, name: str, namespace: str) -> Workload:
    found: list[str] = []
    for kind in ("deployment", "statefulset", "daemonset", "job", "cronjob", "pod"):
        try:
            if _find(api, kind, name, namespace) is not None:
                found.append(kind)
        except MirrordError as problem:  # noqa: PERF203 - six requests
            # Whoever may not read daemon sets can still mean a deployment.
            if problem.kind is not KUBE_FORBIDDEN:
                raise
    if len(found) == 1:
        return Workload(found[0], name)
    if not found:
        raise MirrordError(
            TARGET_NOT_FOUND,
            f"Nothing in namespace `{namespace}` is called `{name}`",
            hint=f"Write the kind too, like `deployment/{name}`, or choose a namespace with `-n`",
        )
    choices = " or ".join(f"`{kind}/{name}`" for kind in found)
    raise MirrordError(
        TARGET_AMBIGUOUS, f"`{name}` in namespace `{namespace}` could be {choices}", hint=f"Write {choices}"
    )


def _not_found(target: Workload, namespace: str) -> MirrordError:
    return MirrordError(
        TARGET_NOT_FOUND,
        f"There is no `{target.kind}/{target.name}` in namespace `{namespace}`",
        hint="Choose another namespace with `-n`, or see what is there with `kubectl get pods,deployments`",
    )
