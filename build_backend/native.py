"""Builds the layer and the agent with cargo and copies them into the package's tree (`python/mirrord/_native/`).

Called by `backend`. Settings, from the environment:

- `MIRRORD_BUILD_PROFILE`: `release` (default) or `dev`.
- `MIRRORD_BUILD_ZIG=1`: link against glibc 2.17 with cargo-zigbuild, as release wheels do.
- `CARGO_BUILD_TARGET`: another platform's triple, for cross-building.

Both have flags that must not reach the others: the agent is linked statically, and the layer takes the unwinder into
itself, so that it brings no library but the C library into somebody else's process. So each is built for an explicit
triple, which keeps the flags from build scripts and macros, in a target directory of its own.
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
        raise BuildError("mirrord is built from source here, which needs Rust: install rustup or your system's cargo")
    _NATIVE.mkdir(exist_ok=True)
    triple = _triple()
    layer = _cargo("mirrord-layer", triple, "layer", _layer_flags(triple))
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


def _layer_flags(triple: str) -> list[str]:
    """Flags that answer `-lgcc_s`, which the Rust standard library asks for, with the static library; and one more."""
    if "linux" not in triple or wants_zig():
        return []  # zig has its own static unwinder, and macOS has it in the system library
    folder = _ROOT / "target" / "layer" / "unwinder"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "libgcc_s.so").write_text("INPUT(-lgcc_eh -lgcc)\n")
    # The linker makes two symbols around the table of hooks, which nobody else may see.
    return ["-L", f"native={folder}", "-C", "link-arg=-Wl,-z,start-stop-visibility=hidden"]


def _cargo(package: str, triple: str, folder: str, flags: list[str]) -> Path:
    """Build one package; returns the folder its files are in."""
    target = _ROOT / "target" / folder
    # The agent asks nothing of the machine's C library, so it gains nothing from zig.
    zig = wants_zig() and package == "mirrord-layer"
    wanted = "agent" if profile() == "release" and package == "mirrord-agent" else profile()
    command = ["cargo", "zigbuild" if zig else "build", "--locked", "--package", package, "--profile", wanted]
    command += ["--target", f"{triple}.{_GLIBC}" if zig else triple, "--target-dir", str(target)]
    environment = dict(os.environ)
    if flags:
        environment["RUSTFLAGS"] = " ".join([environment.get("RUSTFLAGS", ""), *flags]).strip()
        environment.pop("CARGO_ENCODED_RUSTFLAGS", None)
    print("+", " ".join(command), file=sys.stderr, flush=True)
    if subprocess.run(command, cwd=_ROOT, env=environment, check=False).returncode != 0:
        raise BuildError(f"failed to build `{package}`: cargo's messages are above")
    return target / triple / ("debug" if wanted == "dev" else wanted)


def _put(source: Path, mode: int) -> None:
    """Replace the file in one step: a running program may have the old one mapped."""
    place = _NATIVE / source.name
    fresh = place.with_name(f".{source.name}.new")
    shutil.copyfile(source, fresh)
    fresh.chmod(mode)
    fresh.replace(place)
