"""The program's environment: what is taken of the target's, and in which order things win."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirrord.config.schema import Env
from mirrord.environment import compose, parse, take

names = st.binary(min_size=1, max_size=12).filter(lambda name: b"=" not in name and b"\0" not in name)
values = st.binary(max_size=20).filter(lambda value: b"\0" not in value)


@given(st.dictionaries(names, values))
def test_block_is_read_as_bytes(variables: dict[bytes, bytes]) -> None:
    block = b"".join(name + b"=" + value + b"\0" for name, value in variables.items())
    assert parse(block) == variables


def test_entries_without_name_or_sign_are_dropped_and_the_first_of_two_wins() -> None:
    assert parse(b"A=1\0=x\0nothing\0A=2\0B==\0") == {b"A": b"1", b"B": b"="}


@pytest.mark.parametrize("name", ["PATH", "HOME", "PWD", "RUST_LOG", "BUNDLE_GEMFILE", "MIRRORD_AGENT_KEYS"])
def test_never_list_wins_over_include(name: str) -> None:
    assert take({name.encode(): b"x"}, Env(include=(name,))).variables == {}


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PYTHONSTARTUP", "NODE_OPTIONS", "GIT_SSH_COMMAND", "BASH_ENV", "ENV"])
def test_guarded_names_come_only_when_named(name: str) -> None:
    remote = {name.encode(): b"x"}
    assert take(remote, Env()).variables == {}
    assert take(remote, Env(include=("*",))).guarded == (name,)
    assert take(remote, Env(include=(name,))).variables == remote


def test_include_and_exclude_take_wildcards_and_nothing_else() -> None:
    remote = {b"DB_URL": b"1", b"DB_USER": b"2", b"A.B": b"3", b"AXB": b"4"}
    assert set(take(remote, Env(include=("DB_*",))).variables) == {b"DB_URL", b"DB_USER"}
    assert set(take(remote, Env(exclude=("DB_US?R", "A.B"))).variables) == {b"DB_URL", b"AXB"}
    assert take(remote, Env(exclude=("*",))).variables == {}


def test_value_that_is_no_text_hides_nothing() -> None:
    remote = parse(b"ODD=\xff\xfe\0NEXT=1\0")
    assert take(remote, Env()).variables == {b"ODD": b"\xff\xfe", b"NEXT": b"1"}


def test_order_of_layers() -> None:
    local = {b"HOME": b"/me", b"A": b"local", b"B": b"local", b"MIRRORD_TTL": b"1", b"LD_PRELOAD": b"/jemalloc.so"}
    options = Env(override={"B": "override", "C": "override"}, unset=("a",))
    whole = compose(
        local, {b"A": b"target", b"B": b"target"}, options, {"LD_PRELOAD": "/layer.so", "MIRRORD_SESSION": "/s"}
    )
    assert whole == {
        b"HOME": b"/me",
        b"B": b"override",
        b"C": b"override",
        b"LD_PRELOAD": b"/jemalloc.so:/layer.so",
        b"MIRRORD_SESSION": b"/s",
    }


def test_nothing_can_unset_the_session() -> None:
    whole = compose({}, {}, Env(unset=("ld_preload", "mirrord_session")), {"LD_PRELOAD": "/l", "MIRRORD_SESSION": "/s"})
    assert set(whole) == {b"LD_PRELOAD", b"MIRRORD_SESSION"}
