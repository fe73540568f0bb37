"""What every tier shares: no setting of the developer's own shell reaches a test.

Tiers are folders, named by the power that they need: `unit` (none), `contract` (the built files), `cli`, `layer`,
`agent` and `e2e` (namespaces), `cluster` (a Kubernetes). A test that the machine cannot run is skipped with one
sentence, which `make test` lists.
"""

import os

import pytest

_BUILT_FILES = {"MIRRORD_LAYER_FILE", "MIRRORD_AGENT_FILE"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MIRRORD_") and name not in _BUILT_FILES and not name.startswith("MIRRORD_BUILD_"):
            monkeypatch.delenv(name)
