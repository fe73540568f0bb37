"""The `kubernetes` package's useful parts alone, and a kubeconfig read through them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from mirrord.errors import KUBE_CONTEXT, KUBECONFIG, Kind, MirrordError
from mirrord.kube.access import connect

PROGRAM = """
import sys
from mirrord.kube.package import parts
found = parts()
assert found.kube_config.KubeConfigLoader and found.rest.RESTClientObject
assert not [name for name in sys.modules if name.partition(".")[0] == "kubernetes"], "hollow packages stay behind"
import kubernetes
assert kubernetes.client.CoreV1Api, "the whole package is there for others"
"""


def test_parts_come_without_the_models_and_the_whole_package_still_works() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60)


def kubeconfig(folder: Path, user: Any, **over: Any) -> str:
    path = folder / "config"
    tree = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [{"name": "c", "cluster": {"server": "https://api.test:6443"}}],
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "users": [{"name": "u", "user": user}],
        **over,
    }
    path.write_text(yaml.safe_dump(tree))
    return str(path)


def refusal(path: str, kind: Kind, context: str | None = None) -> MirrordError:
    with pytest.raises(MirrordError) as caught:
        connect(path, context, accept_invalid_certificates=None)
    assert caught.value.kind is kind
    return caught.value


def test_address_namespace_and_token(tmp_path: Path) -> None:
    access = connect(kubeconfig(tmp_path, {"token": "secret"}), None, accept_invalid_certificates=None)
    assert (access.url, access.namespace) == ("https://api.test:6443", "shop")
    assert access.headers() == [("Authorization", "Bearer secret")]
    assert access.transport()["insecure"] is False


def test_certificate_check_can_be_switched_off(tmp_path: Path) -> None:
    access = connect(kubeconfig(tmp_path, {"token": "x"}), None, accept_invalid_certificates=True)
    assert access.transport()["insecure"] is True


def test_impersonation_becomes_headers(tmp_path: Path) -> None:
    user = {"token": "x", "as": "dev", "as-groups": ["a", "b"]}
    headers = connect(kubeconfig(tmp_path, user), None, accept_invalid_certificates=None).headers()
    assert headers[1:] == [("Impersonate-User", "dev"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b")]


def test_unknown_context_names_the_existing_ones(tmp_path: Path) -> None:
    failure = refusal(kubeconfig(tmp_path, {"token": "x"}), KUBE_CONTEXT, "two")
    assert failure.causes == ("it has `one`",)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal(str(tmp_path / "none"), KUBECONFIG).causes[0]
    broken = tmp_path / "broken"
    broken.write_text("clusters: [\n")
    assert str(broken) in refusal(str(broken), KUBECONFIG).message


def test_failed_log_in_plugin_is_told_instead_of_going_on_as_nobody(tmp_path: Path) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/no/plugin", "interactiveMode": "Never"}
    assert "/no/plugin" in refusal(kubeconfig(tmp_path, {"exec": plugin}), KUBECONFIG).causes[0]
