"""The resolved configuration and this machine's facts as the JSON that `mirrord.proxy.Session` takes.

Called by the session. The receiver is `Settings` of crates/policy, which refuses unknown fields: this file and that
one change together.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from mirrord.config.schema import Config


class Surroundings(NamedTuple):
    """What the policy must know about this machine to keep local things local."""

    cwd: str
    home: str
    temp: str
    program_prefixes: tuple[str, ...]


def settings(config: Config, surroundings: Surroundings, *, has_target: bool) -> str:
    """The JSON text of the policy crate's `Settings`."""
    files, network = config.feature.fs, config.feature.network
    incoming = network.incoming
    mode = files.mode or ("read" if has_target else "localwithoverrides")
    if mode == "read" and not has_target:
        mode = "localwithoverrides"
    value = {
        "files": {
            "mode": mode,
            "read_only": files.read_only,
            "local": files.local,
            "not_found": files.not_found,
        },
        "outgoing": {"tcp": network.outgoing.tcp, "ignore_localhost": network.outgoing.ignore_localhost},
        "dns": {"enabled": network.dns.enabled},
        "incoming": {
            "mode": (incoming.mode or "steal") if has_target else "off",
            "ports": incoming.ports,
            "ignore_ports": incoming.ignore_ports,
            "ignore_localhost": incoming.ignore_localhost,
            "port_mapping": incoming.port_mapping,
            "listen_ports": incoming.listen_ports,
        },
        "process": {**surroundings._asdict(), "skip": config.skip_processes},
        "hostname": config.feature.hostname and has_target,
    }
    # A path that is no UTF-8 cannot travel in JSON; what cannot be shown cannot match a rule of the user's either.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
