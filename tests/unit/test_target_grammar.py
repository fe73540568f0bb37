"""The grammar of target paths: what is understood, and what is refused before any request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirrord.errors import NOT_SUPPORTED, TARGET_SYNTAX, MirrordError
from mirrord.targets import Demo, Process, Targetless, Unqualified, Workload, parse
from mirrord.targets.grammar import KINDS, check_namespace


@pytest.mark.parametrize(("word", "kind"), sorted(KINDS.items()))
def test_every_kind_and_short_name_is_understood(word: str, kind: str) -> None:
    name = "app=shop" if kind == "label" else "shop"
    assert parse(f"{word}/{name}") == Workload(kind, name)
    assert parse(f"{word}/{name}/container/web") == Workload(kind, name, "web")


def test_targets_without_kubernetes() -> None:
    assert parse("demo") == Demo()
    assert parse("process/42") == Process(42)
    assert parse(None) == parse("targetless") == Targetless()
    assert parse("shop") == Unqualified("shop")


def test_label_key_may_hold_a_slash() -> None:
    assert parse("label/app.kubernetes.io/name=web,tier=a/container/x") == Workload(
        "label", "app.kubernetes.io/name=web,tier=a", "x"
    )


@pytest.mark.parametrize(
    "path",
    ["", "pod/", "pod/Shop", "pod/-a", "pod/a_b", "pod/a/b", "pod/a/container/", "pod/a/container/A", "process/0",
     "process/x", "process/-1", "label/app", "label/=x", "nodes/a", "pod/" + "a" * 254, "../x", "pod/a\n"],
)  # fmt: skip
def test_what_no_object_can_be_called_is_refused(path: str) -> None:
    with pytest.raises(MirrordError) as caught:
        parse(path)
    assert caught.value.kind is TARGET_SYNTAX
    assert "`" in caught.value.message


def test_unknown_kind_suggests_the_nearest() -> None:
    with pytest.raises(MirrordError) as caught:
        parse("deplyment/shop")
    assert caught.value.hint == "Did you mean `deployment/shop`?"


def test_container_of_this_machine_says_that_it_is_not_supported_yet() -> None:
    with pytest.raises(MirrordError) as caught:
        parse("container/db")
    assert caught.value.kind is NOT_SUPPORTED


@given(st.text(max_size=80))
def test_any_text_gives_a_target_or_a_usage_error(path: str) -> None:
    try:
        outcome: object = parse(path)
    except MirrordError as failure:
        outcome = failure
    if isinstance(outcome, MirrordError):
        assert outcome.exit_code == 2
    else:
        assert isinstance(outcome, Demo | Process | Targetless | Unqualified | Workload)


@given(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True))
def test_shown_target_is_read_back_as_the_same(name: str) -> None:
    target = Workload("deployment", name, name)
    assert parse(str(target)) == target


@pytest.mark.parametrize("name", ["A", "a_b", "-a", "a" * 64, ""])
def test_impossible_namespace_is_refused(name: str) -> None:
    with pytest.raises(MirrordError):
        check_namespace(name)
