"""The `mirrord` command and its subcommands. Called by `mirrord.cli.main`."""

from __future__ import annotations

from pathlib import Path

from mirrord import __version__
from mirrord.cli.exec import exec_command
from mirrord.cli.style import click

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 120}


@click.group(context_settings=_SETTINGS)
@click.version_option(__version__, "-V", "--version", prog_name="mirrord")
def root() -> None:
    """Run a program on this machine as if it ran inside a Kubernetes pod."""


root.add_command(exec_command)


@root.group("agent")
def agent_group() -> None:
    """The far half of mirrord, which runs in the cluster."""


@agent_group.command("image")
@click.option("--output", "path", required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
@click.option("--tag", metavar="NAME", help=f"The image's name.  [default: mirrord-agent:{__version__}]")
def agent_image(path: Path, tag: str | None) -> None:
    """Write the agent's image as an OCI archive; no container engine is needed.

    Push it with any registry tool, or load it into a node with `ctr -n k8s.io images import FILE`.
    """
    from mirrord import image, output

    name = tag or image.DEFAULT_TAG
    output.data(f"{image.full_name(name)} {image.write(path, name)}")


@root.command("verify-config")
@click.argument("file", metavar="FILE")
def verify_config(file: str) -> None:
    """Check a configuration file without running anything."""
    from mirrord import output
    from mirrord.config import resolve_file
    from mirrord.targets import parse

    config = resolve_file(file)
    target = parse(config.target.path)
    output.data(f"`{file}` is valid; target: `{target}`")


@root.command("demo")
def demo() -> None:
    """Show what mirrord does, on a throw-away target."""
    from importlib import import_module

    import_module("mirrord.demo").main()
