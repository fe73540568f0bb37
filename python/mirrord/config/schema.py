"""The keys that this version supports, as types. Built by `resolve`, read by everybody else.

Names, types and defaults are an interface (`mirrord.json`). Toggles and short forms are spelled out by `normalise`
before the conversion, so each key has exactly one shape here.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=86400)]
Capability = Literal["NET_ADMIN", "SYS_PTRACE", "SYS_ADMIN"]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every object of the file: immutable, and no key passes unseen."""


class Target(Part, frozen=True):
    """`target`, as a path; absent means targetless."""

    path: str | None = None
    namespace: str | None = None


class SecretName(Part, frozen=True):
    """One entry of `agent.image_pull_secrets`."""

    name: str


class Toleration(Part, frozen=True):
    """One entry of `agent.tolerations`, as Kubernetes spells it."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    tolerationSeconds: int | None = None  # noqa: N815 - Kubernetes' own name


class Resources(Part, frozen=True):
    """`agent.resources`: quantities as Kubernetes spells them."""

    requests: dict[str, str] = msgspec.field(default_factory=lambda: {"cpu": "1m", "memory": "16Mi"})
    limits: dict[str, str] = msgspec.field(default_factory=lambda: {"cpu": "1", "memory": "128Mi"})


class Agent(Part, frozen=True):
    """`agent`."""

    namespace: str | None = None
    image: str | None = None
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[SecretName, ...] = ()
    startup_timeout: Seconds = 60
    communication_timeout: Seconds = 30
    log_level: str = "info"
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] | None = None
    resources: Resources = Resources()
    ttl: Annotated[int, msgspec.Meta(ge=0, le=86400)] = 1
    node_selector: dict[str, str] = {}
    priority_class: str | None = None
    service_account: str | None = None
    disabled_capabilities: tuple[Capability, ...] = ()
    disable_mesh_sidecar_injection: bool = True


class Env(Part, frozen=True):
    """`feature.env`. `include` and `exclude` are wildcards on names and exclude each other."""

    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    override: dict[str, str] = {}
    unset: tuple[str, ...] = ()


class Files(Part, frozen=True):
    """`feature.fs`. `mode` None means the default, which depends on the target."""

    mode: Literal["local", "localwithoverrides", "read"] | None = None
    read_only: tuple[str, ...] = ()
    local: tuple[str, ...] = ()
    not_found: tuple[str, ...] = ()


class Incoming(Part, frozen=True):
    """`feature.network.incoming`. `mode` None means the default, which depends on the target."""

    mode: Literal["steal", "off"] | None = None
    ports: tuple[Port, ...] | None = None
    ignore_ports: tuple[Port, ...] = ()
    ignore_localhost: bool = False
    port_mapping: tuple[tuple[Port, Port], ...] = ()
    listen_ports: tuple[tuple[Port, Port], ...] = ()


class Outgoing(Part, frozen=True):
    """`feature.network.outgoing`."""

    tcp: bool = True
    ignore_localhost: bool = False


class Dns(Part, frozen=True):
    """`feature.network.dns`."""

    enabled: bool = True


class Network(Part, frozen=True):
    """`feature.network`."""

    incoming: Incoming = Incoming()
    outgoing: Outgoing = Outgoing()
    dns: Dns = Dns()


class Feature(Part, frozen=True):
    """`feature`."""

    env: Env = Env()
    fs: Files = Files()
    network: Network = Network()
    hostname: bool = True


class Config(Part, frozen=True):
    """The root of the file."""

    target: Target = Target()
    kube_context: str | None = None
    kubeconfig: str | None = None
    accept_invalid_certificates: bool | None = None
    agent: Agent = Agent()
    feature: Feature = Feature()
    skip_processes: tuple[str, ...] = ()
    telemetry: bool = False
