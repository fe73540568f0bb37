"""One cluster: where it is, who we are there, and the namespace that the context names.

`connect` is called by the session, on its own thread. Kubeconfig, exec plug-ins and token refresh are the `kubernetes`
package's business; the same values serve our API requests and, as plain bytes and strings, the port-forward in Rust.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirrord.errors import KUBE_CONTEXT, KUBECONFIG, MirrordError
from mirrord.kube.package import Parts, parts

DEFAULT_PATH = "~/.kube/config"


@dataclass(frozen=True)
class Access:
    """A cluster as one user sees it."""

    configuration: Any
    namespace: str
    impersonation: tuple[tuple[str, str], ...] = ()

    def headers(self) -> list[tuple[str, str]]:
        """Fresh request headers: an expired token is renewed here."""
        settings = self.configuration.auth_settings().get("BearerToken")
        token = [("Authorization", settings["value"])] if settings and settings["value"] else []
        return [*token, *self.impersonation]

    @property
    def url(self) -> str:
        return str(self.configuration.host).rstrip("/")

    def transport(self) -> dict[str, Any]:
        """The keyword arguments of `mirrord.proxy.Session.connect_port_forward` that describe the server."""
        configuration = self.configuration
        return {
            "ca": _content(configuration.ssl_ca_cert),
            "certificate": _content(configuration.cert_file),
            "key": _content(configuration.key_file),
            "insecure": not configuration.verify_ssl,
            "server_name": configuration.tls_server_name,
            "proxy": self.proxy,
        }

    @property
    def proxy(self) -> str | None:
        """The proxy on the way to this server, if any."""
        configuration = self.configuration
        if not configuration.proxy:
            return None
        bypass = getattr(parts().rest, "should_bypass_proxies", None)
        if bypass is not None and bypass(configuration.host, configuration.no_proxy or ""):
            return None
        return str(configuration.proxy)


def connect(kubeconfig: str | None, context: str | None, *, accept_invalid_certificates: bool | None) -> Access:
    """Read the kubeconfig (or, inside a pod, the service account) and log in."""
    package = parts()
    paths = _paths(kubeconfig)
    if not any(Path(path).exists() for path in paths):
        if kubeconfig is None and context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
            return _in_cluster(package)
        shown = ", ".join(f"`{path}`" for path in paths)
        raise MirrordError(KUBECONFIG, "There is no kubeconfig", f"looked at {shown}")
    access = _from_file(package, os.pathsep.join(paths), context)
    if accept_invalid_certificates is not None:
        access.configuration.verify_ssl = not accept_invalid_certificates
    access.configuration.retries = 1
    return access


def _paths(kubeconfig: str | None) -> list[str]:
    text = kubeconfig or os.environ.get("KUBECONFIG") or DEFAULT_PATH
    return [os.path.expandvars(str(Path(part).expanduser())) for part in text.split(os.pathsep) if part]


def _from_file(package: Parts, path: str, context: str | None) -> Access:
    configuration = package.configuration.Configuration()
    complaints = _Complaints()
    root = logging.getLogger()
    root.addHandler(complaints)
    try:
        merger = package.kube_config.KubeConfigMerger(path)
        if merger.config is None:
            raise MirrordError(KUBECONFIG, f"The kubeconfig `{path}` is empty")
        _check_context(merger.config, path, context)
        loader = package.kube_config.KubeConfigLoader(
            config_dict=merger.config,
            active_context=context,
            config_base_path=None,
            config_persister=merger.save_changes,
        )
        loader.load_and_set(configuration)
        chosen = loader.current_context["context"]
        impersonation = _impersonation(merger.config, chosen.get("user"))
    except MirrordError:
        raise
    # The package raises whatever a broken file or plug-in happens to trip over.
    except Exception as problem:
        raise MirrordError(
            KUBECONFIG, f"The kubeconfig `{path}` cannot be used", " ".join(str(problem).split())
        ) from problem
    finally:
        root.removeHandler(complaints)
    if complaints.lines and not configuration.api_key and not configuration.cert_file:
        # It logs a failed exec plug-in and goes on as an anonymous user, which only gives a puzzling refusal later.
        raise MirrordError(
            KUBECONFIG,
            f"The log-in that the kubeconfig `{path}` describes failed",
            complaints.lines[-1],
            hint="Run the same log-in by hand, then try `kubectl get pods`",
        )
    return Access(configuration, chosen.get("namespace") or "default", impersonation)


def _check_context(config: Any, path: str, context: str | None) -> None:
    names = [entry["name"] for entry in config.value.get("contexts") or []]
    wanted = context or config.value.get("current-context")
    if not wanted:
        raise MirrordError(KUBE_CONTEXT, f"The kubeconfig `{path}` names no current context", hint="Use `--context`")
    if wanted not in names:
        shown = ", ".join(f"`{name}`" for name in names) or "none"
        raise MirrordError(KUBE_CONTEXT, f"The kubeconfig `{path}` has no context `{wanted}`", f"it has {shown}")


def _impersonation(config: Any, user: str | None) -> tuple[tuple[str, str], ...]:
    # `as` and `as-groups` of a user are kubectl's; the package does not know them.
    entries = [entry for entry in config.value.get("users") or [] if entry["name"] == user]
    node = entries[0]["user"] if entries else None
    value = getattr(node, "value", node) or {}
    headers = [("Impersonate-User", value["as"])] if value.get("as") else []
    headers += [("Impersonate-Group", group) for group in value.get("as-groups") or []]
    return tuple(headers)


def _in_cluster(package: Parts) -> Access:
    configuration = package.configuration.Configuration()
    try:
        package.incluster_config.load_incluster_config(client_configuration=configuration)
        folder = Path(package.incluster_config.SERVICE_TOKEN_FILENAME).parent
        namespace = (folder / "namespace").read_text().strip()
    except (package.config_exception.ConfigException, OSError) as problem:
        raise MirrordError(KUBECONFIG, "The pod's service account cannot be used", str(problem)) from problem
    configuration.retries = 1
    return Access(configuration, namespace or "default")


def _content(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path else None


class _Complaints(logging.Handler):
    """Keeps what the package logs while it reads, instead of letting it print."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(" ".join(record.getMessage().split()))
