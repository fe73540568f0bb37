"""When it cannot work: one paragraph with value, reason and hint, in bounded time, and nothing left behind."""

import json
import pathlib
import time
from typing import Any

import pytest

from .running import Mirrord, Outcome
from .shop import ECHO_PORT, NAMESPACE, Shop

REASON_SECONDS = 15.0
LOST_SECONDS = 30.0
DEVELOPER = "developer"


def _is_explained(outcome: Outcome, *words: str, seconds: float = REASON_SECONDS) -> None:
    assert outcome.status == 1, outcome
    assert outcome.output == "", outcome
    assert "Traceback" not in outcome.errors, outcome.errors
    for word in ("error:", "hint:", *words):
        assert word in outcome.errors, outcome.errors
    assert outcome.seconds < seconds, outcome


@pytest.mark.parametrize(
    ("target", "namespace", "value"),
    [
        ("pod/nobody", NAMESPACE, "pod/nobody"),
        ("deployment/nothing", NAMESPACE, "deployment/nothing"),
        ("deployment/web/container/none", NAMESPACE, "`none`"),
        ("deployment/web", "nowhere", "`nowhere`"),
    ],
)
def test_missing_target_is_named(target: str, namespace: str, value: str, mirrord: Mirrord) -> None:
    _is_explained(mirrord.run("true", target=target, namespace=namespace), value)
    mirrord.agent_is_gone()


def test_image_that_cannot_be_pulled_is_named(mirrord: Mirrord) -> None:
    image = "registry.invalid/mirrord-agent:none"
    outcome = mirrord.run("true", config={"agent": {"image": image}})
    _is_explained(outcome, f"`{image}`", "Pull")
    mirrord.agent_is_gone()


def test_node_without_room_is_named(mirrord: Mirrord) -> None:
    resources = {"requests": {"cpu": "4000", "memory": "1Mi"}, "limits": {"cpu": "4000", "memory": "100Mi"}}
    outcome = mirrord.run("true", config={"agent": {"resources": resources}})
    _is_explained(outcome, "cpu", NAMESPACE)
    mirrord.agent_is_gone()


def test_namespace_that_forbids_privileged_pods_is_named(mirrord: Mirrord, shop: Shop) -> None:
    label = "pod-security.kubernetes.io/enforce"
    shop.cluster.kubectl("label", "namespace", NAMESPACE, f"{label}=baseline")
    try:
        outcome = mirrord.run("true")
    finally:
        shop.cluster.kubectl("label", "namespace", NAMESPACE, f"{label}-")
    _is_explained(outcome, "PodSecurity", f"`{NAMESPACE}`")
    mirrord.agent_is_gone()


def test_exhausted_quota_is_named(mirrord: Mirrord, shop: Shop) -> None:
    metadata = {"name": "full", "namespace": NAMESPACE}
    shop.cluster.apply(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": {"pods": "1"}}}
    )
    try:
        # The quota counts only once its controller has looked.
        shop.cluster.kubectl(
            "wait", "--for=jsonpath={.status.hard.pods}=1", "resourcequota/full", "-n", NAMESPACE, "--timeout=20s"
        )
        outcome = mirrord.run("true")
    finally:
        shop.cluster.kubectl("delete", "resourcequota", "full", "-n", NAMESPACE)
    _is_explained(outcome, "exceeded quota")
    mirrord.agent_is_gone()


def test_agent_that_ends_at_once_is_told_with_its_reason(mirrord: Mirrord) -> None:
    outcome = mirrord.run("true", config={"agent": {"image": mirrord.cluster.target_image}})
    _is_explained(outcome, "agent")
    mirrord.agent_is_gone()


def test_unreachable_api_server_is_named(mirrord: Mirrord, tmp_path: pathlib.Path) -> None:
    config = _kubeconfig(mirrord, {"token": "x"})
    config["clusters"][0]["cluster"] = {"server": "https://127.0.0.1:1"}
    _is_explained(mirrord.run("true", kubeconfig=_written(tmp_path, config)), "`https://127.0.0.1:1`")


def test_untrusted_api_server_is_named(mirrord: Mirrord, tmp_path: pathlib.Path) -> None:
    config = _kubeconfig(mirrord, {"token": "x"})
    for key in ("certificate-authority", "certificate-authority-data", "insecure-skip-tls-verify"):
        config["clusters"][0]["cluster"].pop(key, None)
    _is_explained(mirrord.run("true", kubeconfig=_written(tmp_path, config)), "certificate")


def test_wrong_token_is_named(mirrord: Mirrord, tmp_path: pathlib.Path) -> None:
    outcome = mirrord.run("true", kubeconfig=_written(tmp_path, _kubeconfig(mirrord, {"token": "wrong"})))
    _is_explained(outcome, "API server")


def test_missing_context_is_named(mirrord: Mirrord, tmp_path: pathlib.Path) -> None:
    config = _kubeconfig(mirrord, {"token": "x"})
    config["current-context"] = "elsewhere"
    outcome = mirrord.run("true", kubeconfig=_written(tmp_path, config))
    assert outcome.status == 2, outcome
    assert "`elsewhere`" in outcome.errors, outcome


def test_right_to_read_alone_is_not_enough(mirrord: Mirrord, tmp_path: pathlib.Path) -> None:
    outcome = mirrord.run("true", kubeconfig=_developer(mirrord, tmp_path, _READ))
    _is_explained(outcome, "forbidden", DEVELOPER, f"`{NAMESPACE}`")
    mirrord.agent_is_gone()


def test_no_right_at_all_is_told(mirrord: Mirrord, tmp_path: pathlib.Path) -> None:
    outcome = mirrord.run("true", kubeconfig=_developer(mirrord, tmp_path, []))
    _is_explained(outcome, "forbidden", DEVELOPER)
    mirrord.agent_is_gone()


def test_documented_role_is_enough(mirrord: Mirrord, tmp_path: pathlib.Path) -> None:
    outcome = mirrord.run("sh", "-c", 'echo "$SHOP_NAME"', kubeconfig=_developer(mirrord, tmp_path, [*_READ, *_USE]))
    assert (outcome.status, outcome.output) == (0, "tea & biscuits\n"), outcome
    mirrord.agent_is_gone()


def test_missing_right_to_forward_is_told(mirrord: Mirrord, tmp_path: pathlib.Path) -> None:
    rules = [*_READ, *(rule for rule in _USE if rule["resources"] != ["pods/portforward"])]
    outcome = mirrord.run("true", kubeconfig=_developer(mirrord, tmp_path, rules))
    _is_explained(outcome, "forbidden", "portforward")
    mirrord.agent_is_gone()


def test_lost_agent_ends_in_an_errno_and_a_line(mirrord: Mirrord, shop: Shop) -> None:
    with mirrord.started("caller", "web", str(ECHO_PORT)) as started:
        started.say("call")
        assert started.next_line() == "connected", started.report()
        (agent,) = mirrord.agent_pods()
        name = agent["metadata"]["name"]
        shop.cluster.kubectl("delete", "pod", name, "-n", NAMESPACE, "--grace-period=0", "--force", "--wait=false")
        start = time.monotonic()
        answer = "connected"
        while answer == "connected":
            # The API server forgets the pod before the kubelet ends its processes.
            assert time.monotonic() - start < LOST_SECONDS, started.report()
            started.say("call")
            answer = started.next_line(LOST_SECONDS)
        assert answer.startswith("lost "), started.report()
        assert started.finish() == 9, started.report()
    assert any("agent" in line for line in started.errors), started.report()
    assert "Traceback" not in "\n".join(started.errors)
    mirrord.agent_is_gone()


_READ = [
    {"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get", "list"]},
    {"apiGroups": ["apps"], "resources": ["deployments", "replicasets"], "verbs": ["get", "list"]},
]
_USE = [
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "delete"]},
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "delete", "patch"]},
    {"apiGroups": [""], "resources": ["pods", "events"], "verbs": ["list", "watch"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["get", "create"]},
]


def _developer(mirrord: Mirrord, folder: pathlib.Path, rules: "list[dict[str, Any]]") -> pathlib.Path:
    """The kubeconfig of a service account that may do just what `rules` say in the shop's namespace."""
    group = "rbac.authorization.k8s.io"
    metadata = {"name": DEVELOPER, "namespace": NAMESPACE}
    subject = {"kind": "ServiceAccount", **metadata}
    mirrord.cluster.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": DEVELOPER},
            "subjects": [subject],
        },
    )
    token = mirrord.cluster.kubectl("create", "token", DEVELOPER, "-n", NAMESPACE).strip()
    return _written(folder, _kubeconfig(mirrord, {"token": token}))


def _kubeconfig(mirrord: Mirrord, user: "dict[str, str]") -> Any:
    """The session's kubeconfig with another user in it."""
    config = json.loads(mirrord.cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    config["users"] = [{"name": DEVELOPER, "user": user}]
    config["contexts"][0]["context"]["user"] = DEVELOPER
    return config


def _written(folder: pathlib.Path, config: Any) -> pathlib.Path:
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    return path
