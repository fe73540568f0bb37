"""One sandbox for the tier: the agent under test takes the place of its target process."""

from collections.abc import Iterator

import pytest
from mirrord.demo.sandbox import Sandbox


@pytest.fixture(scope="session")
def sandbox() -> "Iterator[Sandbox]":
    with Sandbox() as sandbox:
        yield sandbox
