"""The agent's container image as an OCI archive, without a container engine.

Called by `mirrord agent image` and as `python -m mirrord.image`.

One layer with one file. Everything that could differ between two runs (times, owners, order) is fixed, so the same
agent gives the same bytes and the same digest. Any registry tool pushes the archive; `ctr -n k8s.io images import`
loads it into a node, under the name that the index entry carries.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import struct
import tarfile
from pathlib import Path
from typing import Any

from mirrord import __version__, native, output
from mirrord.errors import BAD_USAGE, IMAGE_WRITE, MirrordError

DEFAULT_TAG = f"mirrord-agent:{__version__}"
ENTRYPOINT = "mirrord-agent"

_MACHINES = {62: "amd64", 183: "arm64"}
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


def write(path: Path, tag: str = DEFAULT_TAG) -> str:
    """Write the archive to `path`; returns the image's digest."""
    digest, content = archive(native.agent().read_bytes(), tag)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # Whole or not at all: a cut archive would be loaded and fail in the cluster.
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as problem:
        temporary.unlink(missing_ok=True)
        raise MirrordError(
            IMAGE_WRITE, f"Could not write the image to `{path}`", problem.strerror or str(problem)
        ) from problem
    return digest


def archive(agent: bytes, tag: str) -> tuple[str, bytes]:
    """`(digest, tar)` of an image that runs `agent`."""
    architecture = _architecture(agent)
    plain = _tar([(ENTRYPOINT, agent, 0o755)])
    layer = _compressed(plain)
    config = _json(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Entrypoint": [f"/{ENTRYPOINT}"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [_digest(plain)]},
            "history": [{"created_by": f"mirrord {__version__}"}],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, config),
            "layers": [_descriptor(_LAYER, layer)],
        }
    )
    name = full_name(tag)
    entry = {
        **_descriptor(_MANIFEST, manifest),
        "platform": {"architecture": architecture, "os": "linux"},
        "annotations": {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name.rpartition(":")[2],
        },
    }
    index = _json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]})
    blobs = sorted((f"blobs/sha256/{_digest(blob)[7:]}", blob, 0o644) for blob in (config, layer, manifest))
    marker = _json({"imageLayoutVersion": "1.0.0"})
    return _digest(manifest), _tar([("oci-layout", marker, 0o644), ("index.json", index, 0o644), *blobs])


def full_name(tag: str) -> str:
    """The name as a container runtime completes it: with registry, `library/` and version."""
    first, slash, _ = tag.partition("/")
    has_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
    if not has_registry:
        tag = f"docker.io/{tag}" if slash else f"docker.io/library/{tag}"
    last = tag.rpartition("/")[2]
    return tag if ":" in last or "@" in last else f"{tag}:latest"


def main(arguments: list[str] | None = None) -> None:
    """`python -m mirrord.image`, for build machines without the command."""
    parser = argparse.ArgumentParser(prog="python -m mirrord.image", description="Write the agent's OCI image archive")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE")
    parser.add_argument("--tag", default=DEFAULT_TAG, metavar="NAME", help=f"default: {DEFAULT_TAG}")
    options = parser.parse_args(arguments)
    try:
        output.data(f"{full_name(options.tag)} {write(options.output, options.tag)}")
    except MirrordError as failure:
        output.error(failure)
        raise SystemExit(failure.exit_code) from failure


def _architecture(agent: bytes) -> str:
    if len(agent) < 20 or agent[:4] != b"\x7fELF":
        raise MirrordError(BAD_USAGE, "The agent's file is no Linux executable")
    machine = struct.unpack_from("<H", agent, 18)[0]
    if machine not in _MACHINES:
        raise MirrordError(BAD_USAGE, f"The agent is built for the unknown machine `{machine}`")
    return _MACHINES[machine]


def _tar(files: list[tuple[str, bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content, mode in files:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _compressed(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(content)
    return buffer.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _descriptor(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(content), "size": len(content)}


if __name__ == "__main__":
    main()
