"""The agent's image: a valid OCI layout, the same bytes every time."""

import gzip
import hashlib
import io
import json
import struct
import tarfile

import pytest
from mirrord.errors import MirrordError
from mirrord.image import archive, full_name


def elf(machine: int) -> bytes:
    return b"\x7fELF" + bytes(14) + struct.pack("<H", machine) + b"program"


def members(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        found = {}
        for member in tar.getmembers():
            assert (member.mtime, member.uid, member.gid) == (0, 0, 0)
            file = tar.extractfile(member)
            assert file is not None
            found[member.name] = file.read()
        return found


def test_layout_is_complete_and_every_digest_is_true() -> None:
    digest, content = archive(elf(62), "registry.test/team/agent:2")
    files = members(content)
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["digest"] == digest
    assert entry["annotations"]["io.containerd.image.name"] == "registry.test/team/agent:2"

    def blob(descriptor: dict[str, object]) -> bytes:
        content = files[f"blobs/sha256/{str(descriptor['digest'])[7:]}"]
        assert hashlib.sha256(content).hexdigest() == str(descriptor["digest"])[7:]
        assert len(content) == descriptor["size"]
        return content

    manifest = json.loads(blob(entry))
    config = json.loads(blob(manifest["config"]))
    assert (config["architecture"], config["config"]["Entrypoint"]) == ("amd64", ["/mirrord-agent"])
    (layer,) = manifest["layers"]
    plain = gzip.decompress(blob(layer))
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(plain).hexdigest()]
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        (program,) = tar.getmembers()
        assert (program.name, program.mode) == ("mirrord-agent", 0o755)


def test_two_runs_give_the_same_bytes() -> None:
    assert archive(elf(183), "a:1") == archive(elf(183), "a:1")


def test_what_is_no_agent_is_refused() -> None:
    for content in (b"", b"#!/bin/sh\n", elf(3)):
        with pytest.raises(MirrordError):
            archive(content, "a:1")


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("agent", "docker.io/library/agent:latest"),
        ("agent:1", "docker.io/library/agent:1"),
        ("team/agent:1", "docker.io/team/agent:1"),
        ("localhost:5000/agent", "localhost:5000/agent:latest"),
        ("registry.test/a/b:3", "registry.test/a/b:3"),
    ],
)
def test_names_are_completed_as_container_runtimes_do(tag: str, name: str) -> None:
    assert full_name(tag) == name
