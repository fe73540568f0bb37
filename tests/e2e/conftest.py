"""What the end-to-end tests need of the machine."""

import pytest
from mirrord.demo.sandbox import Sandbox, SandboxError


@pytest.fixture(scope="session")
def sandbox_is_possible() -> None:
    """Skips where the demo target cannot be made, with the reason and what to do."""
    try:
        with Sandbox():
            pass
    except SandboxError as error:
        pytest.skip(f"{error.message}: {error.hint}")
