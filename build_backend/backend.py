"""The build backend of this project (PEP 517, PEP 660): maturin, with the layer and the agent built before it.

Called by pip, uv and build, by way of `pyproject.toml`. maturin makes the extension module and the wheel; `native`
makes the two files that are no extension module and puts them into the package's tree, from where maturin takes them.
"""

import os
from typing import Any

import maturin
import native

get_requires_for_build_wheel = maturin.get_requires_for_build_wheel
get_requires_for_build_editable = maturin.get_requires_for_build_editable
get_requires_for_build_sdist = maturin.get_requires_for_build_sdist
prepare_metadata_for_build_wheel = maturin.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = maturin.prepare_metadata_for_build_editable

Settings = dict[str, Any] | None


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    native.build()
    _set_maturin_arguments()
    return str(maturin.build_wheel(wheel_directory, config_settings, metadata_directory))


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    native.build()
    _set_maturin_arguments()
    return str(maturin.build_editable(wheel_directory, config_settings, metadata_directory))


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> str:
    """Sources only: whoever installs from them needs Rust, and is told so."""
    return str(maturin.build_sdist(sdist_directory, config_settings))


def _set_maturin_arguments() -> None:
    arguments = ["--profile", native.profile(), "--locked"]
    if native.wants_zig():
        arguments.append("--zig")
    given = os.environ.get("MATURIN_PEP517_ARGS", "")
    os.environ["MATURIN_PEP517_ARGS"] = " ".join([given, *arguments]).strip()
