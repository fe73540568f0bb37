"""Programs that the layer cannot reach are refused with the reason, never run outside the context in silence."""

import pytest

from .world import World


def _static(world: World) -> str:
    program = world.stage.static_program()
    if program is None:
        pytest.skip("no static libc to link a program with")
    return program


def _go(world: World) -> str:
    program = world.stage.go_program()
    if program is None:
        pytest.skip("Go is not installed")
    return program


@pytest.mark.parametrize(("make", "word"), [(_static, "static"), (_go, "Go")], ids=["static", "go"])
def test_program_is_refused_with_its_reason(make, word: str, world: World) -> None:  # type: ignore[no-untyped-def]
    program = make(world)
    assert world.plain([program]).stdout == b"outside the context\n"
    outcome = world.in_context([program])
    errors = outcome.stderr.decode()
    assert outcome.status in (1, 2, 125), str(outcome)
    assert outcome.stdout == b"", str(outcome)
    assert word in errors, errors
    assert program in errors, errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(("make", "word"), [(_static, "static"), (_go, "Go")], ids=["static", "go"])
def test_child_is_refused_and_named(make, word: str, world: World) -> None:  # type: ignore[no-untyped-def]
    program = make(world)
    outcome = world.in_context(["bash", "-c", f"{program}; echo status $?"])
    assert b"outside the context" not in outcome.stdout, str(outcome)
    assert outcome.stdout.startswith(b"status 12"), str(outcome)
    assert word in outcome.stderr.decode(), str(outcome)
