"""One cluster, one agent image and one shop for the whole session of the cluster tier.

Where no cluster is possible every test is skipped with the reason; see `machine` for where one comes from.
"""

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from .machine import Cluster, ClusterUnavailableError, provided
from .running import Mirrord
from .shop import Shop

IMAGE_VARIABLE = "MIRRORD_TEST_AGENT_IMAGE"
LOADED_IMAGE = "local.test/mirrord-agent:test"


SECONDS_PER_TEST = 150
HERE = pathlib.Path(__file__).parent


def pytest_collection_modifyitems(items: "list[pytest.Item]") -> None:
    """Gives this tier its own time limit, which does not count the making of the cluster."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(SECONDS_PER_TEST, func_only=True))


@pytest.fixture(scope="session")
def cluster() -> "Iterator[Cluster]":
    try:
        with provided() as cluster:
            yield cluster
    except ClusterUnavailableError as problem:
        pytest.skip(str(problem))


@pytest.fixture(scope="session")
def agent_image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> "str | None":
    """The agent's image, made from the installed package; None means that the cluster has the default one."""
    if given := os.environ.get(IMAGE_VARIABLE):
        return given
    if not cluster.has_local_nodes:
        pytest.skip(f"no way to load the agent's image into this cluster: name one with `{IMAGE_VARIABLE}`")
    archive = tmp_path_factory.mktemp("image") / "agent.tar"
    command = [sys.executable, "-m", "mirrord", "agent", "image", "--output", str(archive), "--tag", LOADED_IMAGE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    cluster.load_image(archive)
    return LOADED_IMAGE


@pytest.fixture(scope="session")
def shop(cluster: Cluster) -> "Iterator[Shop]":
    shop = Shop(cluster)
    shop.open()
    yield shop
    shop.close()


@pytest.fixture
def mirrord(cluster: Cluster, shop: Shop, agent_image: "str | None", tmp_path: pathlib.Path) -> Mirrord:
    return Mirrord(cluster, agent_image, tmp_path)
