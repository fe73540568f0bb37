"""Every case of the catalogue: in context it is as its oracle, and its oracle is no accident of this machine."""

import pytest

from . import cases
from .catalogue import Case, Oracle
from .requirements import lacking
from .world import World


def _parameter(case: Case) -> object:
    marks = [pytest.mark.xfail(reason=case.gap, strict=True)] if case.gap else []
    return pytest.param(case, id=case.id, marks=marks)


@pytest.mark.timeout(100)  # three runs, each with a limit of its own
@pytest.mark.parametrize("case", [_parameter(case) for case in cases.ALL])
def test_in_context_is_as_its_oracle(case: Case, world: World) -> None:
    reason = lacking(case, world.stage)
    if reason:
        pytest.skip(reason)
    command = world.command(case)
    truth, plain = world.inside(command), world.plain(command)
    if case.differs_from_plain:
        assert truth != plain, f"proves nothing: the target and this machine agree\n{truth}"
    expected = truth if case.oracle is Oracle.TARGET else plain
    context = world.in_context(command)
    assert context == expected, f"in context: {context}\n\n{case.oracle.value}: {expected}"


def test_catalogue_names_each_case_once() -> None:
    names = [case.id for case in cases.ALL]
    assert len(names) == len(set(names))
    assert len(names) >= 60
    assert cases.GAPS.keys() <= set(names)
