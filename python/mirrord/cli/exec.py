"""`mirrord exec`: flags to configuration sources, then the session. Added to the command line by `root`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mirrord.cli.style import click

if TYPE_CHECKING:
    from mirrord.config import Source

_SETTINGS = {"ignore_unknown_options": False, "allow_interspersed_args": False}

# flag's name in the function, the key that it sets, how its text becomes the value
_KEYS: dict[str, tuple[str, str]] = {
    "target": ("target.path", "text"),
    "pod_name": ("target.path", "pod"),
    "target_namespace": ("target.namespace", "text"),
    "agent_namespace": ("agent.namespace", "text"),
    "agent_image": ("agent.image", "text"),
    "agent_startup_timeout": ("agent.startup_timeout", "text"),
    "agent_log_level": ("agent.log_level", "text"),
    "context": ("kube_context", "text"),
    "kubeconfig": ("kubeconfig", "text"),
    "exclude": ("feature.env.exclude", "list"),
    "include": ("feature.env.include", "list"),
    "fs_mode": ("feature.fs.mode", "mode"),
    "mode": ("feature.network.incoming.mode", "text"),
    "ports": ("feature.network.incoming.ports", "ports"),
    "ignore_ports": ("feature.network.incoming.ignore_ports", "ports"),
    "skip_processes": ("skip_processes", "list"),
}

_SWITCHES: dict[str, tuple[tuple[str, Any], ...]] = {
    "steal": (("feature.network.incoming.mode", "steal"),),
    "no_remote_dns": (("feature.network.dns.enabled", False),),
    "no_outgoing": (("feature.network.outgoing.tcp", False),),
    "no_tcp_outgoing": (("feature.network.outgoing.tcp", False),),
    "accept_invalid_certificates": (("accept_invalid_certificates", True),),
}

_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option(
        "-t",
        "--target",
        metavar="KIND/NAME",
        help="Whose place the program takes: `deployment/shop`, `pod/shop-0/container/app`, `process/PID`, `demo`.",
    ),
    click.option("--pod-name", metavar="POD", help="The same as `--target pod/POD`."),
    click.option("-n", "--target-namespace", "--namespace", metavar="NAME", help="The target's namespace."),
    click.option(
        "-a", "--agent-namespace", metavar="NAME", help="Where the agent is created.  [default: the target's namespace]"
    ),
    click.option("-i", "--agent-image", metavar="IMAGE", help="The agent's image."),
    click.option("-l", "--agent-log-level", metavar="FILTER", help="What the agent logs."),
    click.option("--agent-startup-timeout", type=int, metavar="SECONDS", help="For the whole start.  [default: 60]"),
    click.option("-f", "--config-file", metavar="FILE", help="JSON, YAML or TOML; `-` is stdin."),
    click.option("--context", metavar="NAME", help="Context of the kubeconfig."),
    click.option("--kubeconfig", metavar="FILE", help="Path of the kubeconfig."),
    click.option(
        "-x",
        "--override-env-vars-exclude",
        "exclude",
        metavar="A;B",
        help="Variables not to take (wildcards `*`, `?`).",
    ),
    click.option("-s", "--override-env-vars-include", "include", metavar="A;B", help="The only variables to take."),
    click.option("--fs-mode", metavar="MODE", help="`read`, `local` or `local-with-overrides`."),
    click.option("--steal", is_flag=True, help="Requests to the target's ports come here."),
    click.option("--mode", metavar="MODE", help="What happens to the target's traffic: `steal` or `off`."),
    click.option("--ports", metavar="80;443", help="Only these ports of the target."),
    click.option("--ignore-ports", metavar="80;443", help="Never these ports."),
    click.option("--no-remote-dns", is_flag=True, help="Resolve names here."),
    click.option("--no-outgoing", is_flag=True, help="Connect from here."),
    click.option("--no-tcp-outgoing", is_flag=True, help="Connect TCP from here."),
    click.option("--skip-processes", metavar="A;B", help="Programs that stay local."),
    click.option(
        "-c", "--accept-invalid-certificates", is_flag=True, help="Do not check the API server's certificate."
    ),
    click.option("-q", "--quiet", is_flag=True, help="No progress on stderr; warnings and errors stay."),
)


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("exec", context_settings=_SETTINGS)
@click.argument("words", nargs=-1, required=False, type=click.UNPROCESSED, metavar="PROGRAM [ARGS]...")
@_with_options
def exec_command(words: tuple[str, ...], quiet: bool, config_file: str | None, **flags: Any) -> None:
    """Run PROGRAM in the context of a target. Everything after PROGRAM belongs to the program.

    Example: `mirrord exec --target deployment/shop -n staging -- python app.py`
    """
    from mirrord.config import resolve
    from mirrord.session import Run, execute
    from mirrord.signals import die_by
    from mirrord.targets import parse
    from mirrord.targets.grammar import check_namespace

    if not words:
        raise click.UsageError("No PROGRAM to run")
    config = resolve(sources(flags), os.environ, config_file)
    target = parse(config.target.path)
    check_namespace(config.target.namespace)
    check_namespace(config.agent.namespace)
    outcome = execute(Run(config, target, tuple(os.fsencode(word) for word in words), quiet))
    if outcome.signal is not None:
        die_by(outcome.signal)
    sys.exit(outcome.code)


def sources(flags: dict[str, Any]) -> list[Source]:
    """The flags that were given, as values of configuration keys."""
    from mirrord.config import Source
    from mirrord.errors import BAD_USAGE, MirrordError

    found: list[Source] = []
    for name, (key, kind) in _KEYS.items():
        if flags.get(name) is not None:
            found.append(Source(key, _value(name, kind, flags[name]), f"flag `{_flag(name)}`"))
    for name, settings in _SWITCHES.items():
        if flags.get(name):
            found += [Source(key, value, f"flag `{_flag(name)}`") for key, value in settings]
    if flags.get("target") is not None and flags.get("pod_name") is not None:
        raise MirrordError(BAD_USAGE, "`--target` and `--pod-name` exclude each other", hint="Keep one of them")
    if flags.get("steal") and flags.get("mode") not in (None, "steal"):
        raise MirrordError(BAD_USAGE, f"`--steal` and `--mode {flags['mode']}` exclude each other")
    return found


def _flag(name: str) -> str:
    full = {"exclude": "override-env-vars-exclude", "include": "override-env-vars-include"}.get(name, name)
    return "--" + full.replace("_", "-")


def _value(name: str, kind: str, value: Any) -> Any:
    from mirrord.config.variables import split_list
    from mirrord.errors import BAD_USAGE, MirrordError

    if kind == "pod":
        return f"pod/{value}"
    if kind == "mode":
        return value.replace("-", "")
    if kind == "list":
        return split_list(value)
    if kind == "ports":
        words = split_list(value.replace(",", ";"))
        wrong = next((word for word in words if not (word.isascii() and word.isdigit())), None)
        if wrong is not None:
            raise MirrordError(BAD_USAGE, f"`{_flag(name)}` has the value `{wrong}`, which is no port")
        return [int(word) for word in words]
    return value
