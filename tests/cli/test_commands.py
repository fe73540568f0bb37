"""The other commands, and what every command has in common: help, versions, mistakes."""

import subprocess
import sys
from pathlib import Path

import pytest
from mirrord import __version__


def mirrord(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "mirrord", *words], capture_output=True, text=True, timeout=30, check=False
    )


def test_version() -> None:
    assert mirrord("--version").stdout.strip().endswith(__version__)


@pytest.mark.parametrize("words", [("--help",), ("exec", "--help"), ("agent", "--help"), ("-h",)])
def test_help_needs_no_heavy_import(words: tuple[str, ...]) -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mirrord", *words],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert "Usage" in result.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.stderr.splitlines()}
    assert not imported & {"kubernetes", "urllib3", "requests", "msgspec", "yaml", "rich", "asyncio", "ssl"}
    assert "mirrord.proxy" not in result.stderr


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("exec", "--bogus", "ls"), "`--bogus`"),
        (("exec",), "No PROGRAM"),
        (("fly",), "`fly`"),
        (("exec", "-t", "deplyment/x", "ls"), "`deplyment`"),
        (("exec", "-t", "demo", "--pod-name", "x", "ls"), "exclude each other"),
        (("exec", "-t", "demo", "--fs-mode", "write", "ls"), "`feature.fs.mode`"),
        (("exec", "-t", "demo", "--mode", "mirror", "ls"), "`feature.network.incoming.mode`"),
        (("exec", "-t", "demo", "--ports", "http", "ls"), "`http`"),
        (("exec", "-t", "demo", "-x", "A", "-s", "B", "ls"), "exclude each other"),
        (("exec", "-n", "A_B", "-t", "pod/x", "ls"), "`A_B`"),
        (("exec", "--steal", "ls"), "`feature.network.incoming.mode`"),
        (("verify-config", "/nowhere.json"), "`/nowhere.json`"),
    ],
)
def test_mistakes_are_one_paragraph_with_exit_code_2(words: tuple[str, ...], part: str) -> None:
    result = mirrord(*words)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert part in result.stderr
    assert "Traceback" not in result.stderr


def test_verify_config_tells_the_target(tmp_path: Path) -> None:
    path = tmp_path / "mirrord.toml"
    path.write_text('target = "deploy/shop"\n')
    assert "`deployment/shop`" in mirrord("verify-config", str(path)).stdout


def test_agent_image_is_written_whole_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRRORD_AGENT_FILE", sys.executable)
    result = mirrord("agent", "image", "--output", str(tmp_path / "a.tar"), "--tag", "r.test/a:1")
    assert result.stdout.startswith("r.test/a:1 sha256:")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_image_that_cannot_be_written_is_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRRORD_AGENT_FILE", sys.executable)
    result = mirrord("agent", "image", "--output", str(tmp_path / "no" / "a.tar"))
    assert result.returncode == 1
    assert result.stderr.startswith("error: Could not write the image")
