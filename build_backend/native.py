"""Builds the layer and the agent with cargo and copies them into the package's tree (`python/mirrord/_native/`).

Called by `backend`. Settings, from the environment:

- `MIRRORD_BUILD_PROFILE`: `release` (default) or `dev`, which shares the layer's build with `cargo test`.
- `MIRRORD_BUILD_ZIG=1`: link against glibc 2.17 with cargo-zigbuild, as release wheels do.
- `CARGO_BUILD_TARGET`: another platform's triple, for cross-building.

The agent's static linking is a flag that must not reach the others, so it is built for an explicit triple in a target
directory of its own; the layer has its own too in a release build, because cargo locks a directory.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_NATIVE = _ROOT / "python" / "mirrord" / "_native"
_GLIBC = "2.17"


class BuildError(SystemExit):
    """A build that cannot go on; the text is for the person who ran pip."""


def profile() -> str:
    name = os.environ.get("MIRRORD_BUILD_PROFILE", "release")
    if name not in ("release", "dev"):
        raise BuildError(f"MIRRORD_BUILD_PROFILE is `{name}`: it may be `release` or `dev`")
    return name


def wants_zig() -> bool:
    return os.environ.get("MIRRORD_BUILD_ZIG", "") == "1"


def build() -> None:
    """Build both and put them in place."""
    if shutil.which("cargo") is None:
        raise BuildError("mirrord is built from source here, which needs Rust: install it from https://rustup.rs")
    _NATIVE.mkdir(exist_ok=True)
    triple = _triple()
    layer = _cargo("mirrord-layer", triple, "layer", [])
    if "linux" in triple:
        agent = _cargo("mirrord-agent", triple, "agent", ["-C", "target-feature=+crt-static"])
        _put(agent / "mirrord-agent", 0o755)
        _put(layer / "libmirrord_layer.so", 0o755)
    else:
        _put(layer / "libmirrord_layer.dylib", 0o755)


def _triple() -> str:
    given = os.environ.get("CARGO_BUILD_TARGET")
    if given:
        return given
    machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    return f"{machine}-apple-darwin" if sys.platform == "darwin" else f"{machine}-unknown-linux-gnu"


def _cargo(package: str, triple: str, folder: str, flags: list[str]) -> Path:
    """Build one package; returns the folder its files are in."""
    shares_tests_build = profile() == "dev" and not flags
    target = _ROOT / "target" if shares_tests_build else _ROOT / "target" / folder
    # The agent is static however it is built: zig's linker would bring musl-like surprises and no gain.
    zig = wants_zig() and not flags
    command = ["cargo", "zigbuild" if zig else "build", "--locked", "--package", package, "--profile", profile()]
    # With an explicit triple the flags reach the package, but not build scripts and macros, which must load libraries.
    if not shares_tests_build:
        command += ["--target", f"{triple}.{_GLIBC}" if zig else triple]
    command += ["--target-dir", str(target)]
    environment = dict(os.environ)
    if flags:
        environment["RUSTFLAGS"] = " ".join([environment.get("RUSTFLAGS", ""), *flags]).strip()
        environment.pop("CARGO_ENCODED_RUSTFLAGS", None)
    print("+", " ".join(command), file=sys.stderr, flush=True)
    if subprocess.run(command, cwd=_ROOT, env=environment, check=False).returncode != 0:
        raise BuildError(f"failed to build `{package}`: cargo's messages are above")
    return (target if shares_tests_build else target / triple) / ("debug" if profile() == "dev" else "release")


def _put(source: Path, mode: int) -> None:
    """Replace the file in one step: a running program may have the old one mapped."""
    place = _NATIVE / source.name
    fresh = place.with_name(f".{source.name}.new")
    shutil.copyfile(source, fresh)
    fresh.chmod(mode)
    fresh.replace(place)
