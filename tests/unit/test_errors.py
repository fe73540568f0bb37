"""The catalogue of failures: stable ids, exit codes, and the shape of the words."""

import re

import pytest
from mirrord import errors, output
from mirrord.errors import CATALOGUE, MirrordError

IDS = """
    agent-crashed agent-image agent-link agent-timeout agent-unschedulable cluster-admission cluster-api
    cluster-certificate cluster-forbidden cluster-quota cluster-unauthorized cluster-unreachable config-conflict
    config-file config-key config-syntax config-value container-not-found image-write internal kube-context kubeconfig
    native-missing native-unsafe nested-session not-supported process-not-found program-not-found program-start
    program-unsupported sandbox session-start target-ambiguous target-not-found target-not-ready target-syntax usage
"""


def test_ids_are_the_ones_that_scripts_know() -> None:
    assert sorted(CATALOGUE) == IDS.split()


def test_every_entry_has_a_right_shape() -> None:
    for identifier, kind in CATALOGUE.items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", identifier)
        assert kind.exit_code in (1, 2, 125)
        assert kind.hint is None or not kind.hint.endswith(".")


def test_failure_is_shown_as_sentence_causes_and_one_hint(capsys: pytest.CaptureFixture[str]) -> None:
    output.error(MirrordError(errors.KUBE_FORBIDDEN, "Could not read `pods`", "no", "", "really", hint="Ask"))
    assert capsys.readouterr().err == "error: Could not read `pods`\n  caused by: no\n  caused by: really\nhint: Ask\n"


def test_internal_error_is_words_not_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MIRRORD_DEBUG", raising=False)
    output.internal_error(ZeroDivisionError("division by zero"))
    shown = capsys.readouterr().err
    assert shown.startswith("error: Internal error: `ZeroDivisionError`\n  caused by: division by zero\nhint: ")
    assert "Traceback" not in shown
