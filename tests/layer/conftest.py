"""One sandbox, one set of built programs and one tree of odd files for the whole session of the layer tier."""

import pathlib
from collections.abc import Iterator

import pytest
from mirrord.demo.sandbox import Sandbox

from . import cases
from .stage import Stage
from .world import World


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="session")
def sandbox(stage: Stage) -> "Iterator[Sandbox]":
    with Sandbox(share=[str(stage.folder)]) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def world(sandbox: Sandbox, stage: Stage) -> World:
    world = World(sandbox, stage)
    for program, arguments in (("target_files", (cases.TIER,)), ("target_services", ())):
        script = str(pathlib.Path(stage.folder) / "python" / f"{program}.py")
        outcome = world.inside([stage.python, script, *arguments])
        assert outcome.status == 0, f"{program}: {outcome}"
    return world
