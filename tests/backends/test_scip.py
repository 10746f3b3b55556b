"""SCIP: what only it does."""

import threading

import numpy as np
import pytest

from nnspec.backends.scip import ScipBackend
from nnspec.errors import UsageError
from nnspec.program import Program, square
from nnspec.status import Limits, Status

from .programs import PROGRAMS, market_split

SCIP = ScipBackend()


def test_partial_start():
    """SCIP completes a start by itself where no recipe does."""
    p = market_split()
    x = p.unknown_point()
    x[:50] = 0
    result = SCIP.solve(p, Limits(nodes=1, time=20), [x])
    assert result.status is Status.LIMIT
    assert result.x is not None


def test_recipes_complete_a_start():
    p = Program()
    w = p.add_variables("w", (3,), -1, 1)
    z = w @ np.array([1.0, 2, -1]) + 0.2
    h = p.apply("tanh", z, "h")
    s = p.add_variables("s", (), 0, complete=lambda x: square(h - 0.3).value(x))
    p.add_quadratic(square(h - 0.3) - s, hi=0.0)
    p.minimize(s)
    x = p.unknown_point()
    x[:3] = (0.5, 0, 0.1)
    x = p.complete(x)
    assert p.violations(x) == []
    assert x[-1] == pytest.approx((np.tanh(0.6) - 0.3) ** 2)
    seen = []
    SCIP.solve(p, Limits(time=20), [x], seen.append)
    assert seen[0].objective == pytest.approx(x[-1])


def test_settings():
    p = PROGRAMS["lp"]()[0]
    with pytest.raises(UsageError, match="NNS163"):
        SCIP.solve(p, Limits(), options={"limits/gap": -1})
    settings = SCIP.solve(p, Limits(), options={"separating/maxrounds": 0}).settings
    assert settings["separating/maxrounds"] == 0
    assert settings["misc/usesymmetry"] == 0


def test_solves_share_a_thread():
    """SCIP's automatic differentiation (for NLPs) crashes in about the fiftieth thread that it meets."""
    program, _ = PROGRAMS["lp"]()
    SCIP.solve(program, Limits(time=20))
    before = threading.active_count()
    for _ in range(10):
        SCIP.solve(program, Limits(time=20))
        assert threading.active_count() == before


@pytest.mark.long
def test_many_nonlinear_solves_in_one_process():
    p = Program()
    x = p.add_variables("x", (3,), -2, 2)
    p.minimize(p.apply("sin", x * 3.0, "s").sum() + square(x - 0.3).sum())
    for _ in range(100):
        SCIP.solve(p, Limits(time=20, nodes=5))


def test_a_solver_that_gives_up_is_an_error_with_the_start_point(monkeypatch):
    def fail(watch):
        raise Exception("SCIP: error in LP solver!")

    monkeypatch.setattr("nnspec.backends.scip.Watch._optimize", fail)
    p = Program()
    x = p.add_variables("x", (2,), 0, 1, kind="binary")
    p.minimize(x.sum())
    result = ScipBackend().solve(p, Limits(), [np.array([1.0, 0.0])])
    assert result.status is Status.ERROR
    assert result.objective == 1
    assert result.bound is None
    assert result.messages[-1] == "SCIP gave up: error in LP solver!"


def test_a_solve_that_scip_gives_up_is_tried_again(monkeypatch):
    from nnspec.backends import scip

    tries = []

    def optimize(watch):
        tries.append(watch.model.getParam("lp/scaling"))
        if len(tries) in fails:
            raise Exception("SCIP: error in LP solver!")
        original(watch)

    original = scip.Watch._optimize
    monkeypatch.setattr(scip.Watch, "_optimize", optimize)
    program, _ = PROGRAMS["lp"]()
    fails = (1,)
    result = SCIP.solve(program, Limits(time=20))
    assert result.status is Status.OPTIMAL
    assert "asked again" in result.messages[0]
    assert tries == [1, 2]
    tries.clear()
    fails = (1, 2)
    result = SCIP.solve(program, Limits(time=20))
    assert (result.status, result.bound, len(tries)) == (Status.ERROR, None, 2)
    assert result.messages[-1] == "SCIP gave up: error in LP solver!"


def test_starts_of_programs_with_indicators_are_taken():
    p = Program()
    x = p.add_variables("x", (4,), 0, 10)
    b = p.add_variables("b", (4,), kind="binary")
    p.add_indicators(b, 0, x, -np.inf, 3.0, "small unless b")
    p.add_linear(x.sum(), 13.0, np.inf, "enough")
    p.minimize((b * np.array([3.0, 4.0, 5.0, 6.0])).sum())
    start = np.array([4.0, 3.0, 3.0, 3.0, 1.0, 0.0, 0.0, 0.0])
    result = SCIP.solve(p, Limits(time=20), [start])
    assert result.messages == ()
    assert result.objective == 3
