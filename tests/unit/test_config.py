"""The configuration: formats, short forms, precedence, and errors that name key, value and origin."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirrord.config import Config, Source, resolve
from mirrord.config.check import known_keys
from mirrord.config.known import NOT_YET
from mirrord.config.read import parse, strip_comments
from mirrord.config.settings import Surroundings, settings
from mirrord.errors import CONFIG_CONFLICT, CONFIG_KEY, CONFIG_SYNTAX, CONFIG_VALUE, NOT_SUPPORTED, Kind, MirrordError

HERE = Surroundings(cwd="/work", home="/home/me", temp="/tmp", program_prefixes=("/opt/x",))


def config(tmp_path: Path, tree: Any, flags: list[Source] | None = None, env: dict[str, str] | None = None) -> Config:
    path = tmp_path / "mirrord.json"
    path.write_text(json.dumps(tree))
    return resolve(flags or [], env or {}, str(path))


def failure(tmp_path: Path, tree: Any, kind: Kind) -> MirrordError:
    with pytest.raises(MirrordError) as caught:
        config(tmp_path, tree)
    assert caught.value.kind is kind
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"target": "pod/x", // why\n "agent": {"ttl": /* seconds */ 5}}'),
        ("a", '{"target": "pod/x", "agent": {"ttl": 5}}'),
        ("a.yaml", "target: pod/x\nagent:\n  ttl: 5\n"),
        ("a.yml", "\ufefftarget: pod/x\nagent: {ttl: 5}\n"),
        ("a.toml", 'target = "pod/x"\n[agent]\nttl = 5\n'),
    ],
)
def test_formats_give_the_same(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    found = resolve([], {}, str(path))
    assert (found.target.path, found.agent.ttl) == ("pod/x", 5)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"target": "a", "target": "b"}'),
        ("a.json", "[1]"),
        ("a.json", "{"),
        ("a.json", "{} /* no end"),
        ("a.json", '{"a": ' + "[" * 70 + "]" * 70 + "}"),
        ("a.yaml", "a: &x 1\nb: *x\n"),
        ("a.yaml", "a: 1\na: 2\n"),
        ("a.yaml", "a: [\n"),
        ("a.toml", "a = \n"),
    ],
)
def test_what_cannot_be_read_safely_is_refused(name: str, text: str) -> None:
    with pytest.raises(MirrordError) as caught:
        parse(text.encode(), name)
    assert caught.value.kind is CONFIG_SYNTAX
    assert f"`{name}`" in caught.value.message


@given(st.dictionaries(st.text(), st.text()))
def test_comments_inside_strings_are_text(tree: dict[str, str]) -> None:
    text = json.dumps({**tree, "url": "http://x/*y*/"})
    assert json.loads(strip_comments(text)) == json.loads(text)


def test_toggles_and_words_are_short_forms(tmp_path: Path) -> None:
    off = config(tmp_path, {"feature": {"network": False, "env": False, "fs": False}}).feature
    assert (off.network.incoming.mode, off.network.outgoing.tcp, off.network.dns.enabled) == ("off", False, False)
    assert (off.env.exclude, off.fs.mode) == (("*",), "local")
    words = config(tmp_path, {"feature": {"fs": "localwithoverrides", "network": {"incoming": "steal"}}}).feature
    assert (words.fs.mode, words.network.incoming.mode) == ("localwithoverrides", "steal")
    assert config(tmp_path, {"feature": {"network": True, "env": None, "fs": True}}) == Config()


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("pod/x", "pod/x"),
        ({"deployment": "web", "container": "c"}, "deployment/web/container/c"),
        ({"path": {"stateful_set": "db"}, "namespace": "n"}, "statefulset/db"),
        ({"path": "pod/x", "namespace": "n"}, "pod/x"),
        ({"labels": {"a": "b", "c": "d"}}, "label/a=b,c=d"),
    ],
)
def test_target_has_three_forms(tmp_path: Path, target: Any, path: str) -> None:
    assert config(tmp_path, {"target": target}).target.path == path


def test_flag_wins_over_variable_over_file_over_default(tmp_path: Path) -> None:
    tree = {"agent": {"ttl": 1, "startup_timeout": 11, "communication_timeout": 12}, "target": "pod/file"}
    env = {"MIRRORD_AGENT_STARTUP_TIMEOUT": "21", "MIRRORD_IMPERSONATED_TARGET": "pod/variable"}
    found = config(tmp_path, tree, [Source("target.path", "pod/flag", "flag `--target`")], env)
    assert found.agent.communication_timeout == 12
    assert found.agent.startup_timeout == 21
    assert found.target.path == "pod/flag"
    assert found.agent.log_level == "info"


def test_flag_meets_toggle_of_the_file(tmp_path: Path) -> None:
    found = config(
        tmp_path, {"feature": {"network": False}}, [Source("feature.network.incoming.mode", "steal", "flag")]
    )
    assert found.feature.network.incoming.mode == "steal"
    assert found.feature.network.dns.enabled is False


def test_higher_source_replaces_the_opposite_list(tmp_path: Path) -> None:
    tree = {"feature": {"env": {"include": "A"}}}
    found = config(tmp_path, tree, [Source("feature.env.exclude", ["B"], "flag `-x`")])
    assert (found.feature.env.include, found.feature.env.exclude) == (None, ("B",))


def test_variable_lists_split_on_semicolons() -> None:
    found = resolve([], {"MIRRORD_OVERRIDE_ENV_VARS_INCLUDE": "A; B;;C*"}, None)
    assert found.feature.env.include == ("A", "B", "C*")


def test_unknown_key_is_refused_with_path_value_origin_and_nearest(tmp_path: Path) -> None:
    found = failure(tmp_path, {"agent": {"comunication_timeout": 7}}, CONFIG_KEY)
    assert "`agent.comunication_timeout`" in found.message
    assert "`7`" in found.message
    assert "mirrord.json" in found.message
    assert found.hint == "Did you mean `agent.communication_timeout`?"


def test_right_word_under_the_wrong_parent_finds_its_place(tmp_path: Path) -> None:
    assert (
        failure(tmp_path, {"port_mapping": []}, CONFIG_KEY).hint
        == "Did you mean `feature.network.incoming.port_mapping`?"
    )


@pytest.mark.parametrize("key", sorted(NOT_YET))
def test_known_key_outside_the_slice_is_named_as_not_supported_yet(tmp_path: Path, key: str) -> None:
    tree: Any = True
    for part in reversed(key.split(".")):
        tree = {part: tree}
    assert f"`{key}`" in failure(tmp_path, tree, NOT_SUPPORTED).message


@pytest.mark.parametrize(
    ("tree", "key"),
    [
        ({"feature": {"fs": "write"}}, "feature.fs.mode"),
        ({"feature": {"network": {"incoming": "mirror"}}}, "feature.network.incoming.mode"),
    ],
)
def test_words_that_do_not_work_yet_name_their_key(tmp_path: Path, tree: Any, key: str) -> None:
    assert f"`{key}`" in failure(tmp_path, tree, NOT_SUPPORTED).message


@pytest.mark.parametrize(
    ("tree", "part"),
    [
        ({"agent": {"ttl": "soon"}}, "`agent.ttl`"),
        ({"feature": {"network": {"incoming": {"ports": [0]}}}}, "feature.network.incoming.ports"),
        ({"feature": {"network": {"incoming": {"port_mapping": [[80]]}}}}, "port_mapping"),
        ({"feature": {"network": {"incoming": {"mode": "grab"}}}}, "`grab`"),
        ({"feature": {"fs": {"local": "("}}}, "`(`"),
        ({"feature": {"network": {"incoming": {"port_mapping": [[80, 1], [80, 2]]}}}}, "`80`"),
    ],
)
def test_wrong_value_is_named(tmp_path: Path, tree: Any, part: str) -> None:
    assert part in failure(tmp_path, tree, CONFIG_VALUE).message


@pytest.mark.parametrize(
    "feature",
    [
        {"env": {"include": "A", "exclude": "B"}},
        {"network": {"incoming": {"ports": [1], "ignore_ports": [2]}}},
    ],
)
def test_contradictions_are_refused(tmp_path: Path, feature: Any) -> None:
    failure(tmp_path, {"feature": feature}, CONFIG_CONFLICT)


def test_wrong_variable_is_named() -> None:
    with pytest.raises(MirrordError, match="MIRRORD_REMOTE_DNS"):
        resolve([], {"MIRRORD_REMOTE_DNS": "maybe"}, None)


def test_settings_are_the_policy_crates_fields() -> None:
    value = json.loads(settings(Config(), HERE, has_target=True))
    assert set(value) == {"files", "outgoing", "dns", "incoming", "process", "hostname"}
    assert value["files"]["mode"] == "read"
    assert value["incoming"]["mode"] == "steal"
    assert value["process"] == {
        "cwd": "/work", "home": "/home/me", "temp": "/tmp", "program_prefixes": ["/opt/x"], "skip": []
    }  # fmt: skip


def test_targetless_listens_and_reads_here() -> None:
    value = json.loads(settings(Config(), HERE, has_target=False))
    assert (value["files"]["mode"], value["incoming"]["mode"], value["hostname"]) == (
        "localwithoverrides",
        "off",
        False,
    )


def test_every_schema_key_is_known() -> None:
    assert {"feature.network.incoming.ports", "agent.image", "target.namespace"} <= known_keys()
    assert not {key for key in NOT_YET if key in known_keys() - NOT_YET}
