"""SCIP: optima of programs of every kind, and everything around a solve that can go wrong."""

import threading
import time

import numpy as np
import pytest

from nnspec.backends.scip import ScipBackend
from nnspec.errors import UnsupportedError, UsageError
from nnspec.program import Program, square
from nnspec.status import Limits, Status

from .programs import PROGRAMS

SCIP = ScipBackend()


def solve(program, **kwargs):
    return SCIP.solve(program, kwargs.pop("limits", Limits(time=20)), **kwargs)


def market_split(n=50):
    """Feasibility is trivial, the proof takes far longer than any test."""
    rng = np.random.default_rng(0)
    p = Program("market_split")
    b = p.add_variables("b", (n,), kind="binary")
    a = rng.integers(1, 1000, (7, n)).astype(float)
    s, t = p.add_variables("s", (7,), 0), p.add_variables("t", (7,), 0)
    p.add_linear(a @ b + s - t, a.sum(1) // 2, a.sum(1) // 2)
    p.minimize(s.sum() + t.sum())
    return p


@pytest.mark.parametrize("name", PROGRAMS)
def test_optima(name):
    program, optimum = PROGRAMS[name]()
    result = solve(program)
    assert result.status is Status.OPTIMAL, result
    assert program.violations(result.x, 1e-5) == []
    assert result.objective == pytest.approx(program.objective_value(result.x))
    assert result.bound == pytest.approx(result.objective, abs=1e-5)
    if optimum is not None:
        assert result.objective == pytest.approx(optimum, abs=1e-5)


def test_infeasible_and_unbounded():
    p = Program()
    x = p.add_variables("x", (2,))
    p.minimize(x.sum())
    assert solve(p).status is Status.UNBOUNDED
    p.add_linear(x.sum(), 5, 3)
    result = solve(p)
    assert (result.status, result.x, result.objective) == (Status.INFEASIBLE, None, None)


def test_limits_return_what_is_there():
    result = solve(market_split(), limits=Limits(time=0))
    assert result.status is Status.LIMIT
    result = solve(market_split(), limits=Limits(nodes=20, time=20))
    assert result.status is Status.LIMIT
    assert result.x is not None
    assert result.bound is not None
    assert result.bound <= result.objective
    result = solve(PROGRAMS["milp"]()[0], limits=Limits(gap=0.5, time=20))
    assert result.status is Status.OPTIMAL  # within the gap asked for


def test_start_is_the_first_incumbent_and_survives_a_limit():
    p = market_split()
    x = p.unknown_point()
    x[:50] = 0  # the slacks follow from no recipe: a partial start
    result = solve(p, starts=[x], limits=Limits(nodes=1, time=20))
    assert result.x is not None
    full = np.zeros(p.columns)
    rows = p.rows[0]
    full[50:57] = rows.hi
    assert p.violations(full) == []
    seen = []
    result = solve(p, starts=[full], limits=Limits(nodes=1, time=20), on_progress=seen.append)
    assert seen[0].objective == pytest.approx(p.objective_value(full))
    assert result.objective <= p.objective_value(full)
    worse = full.copy()
    worse[50] += 1
    result = solve(p, starts=[worse, full], limits=Limits(nodes=1, time=20))
    assert any("violates row[0] by 1" in m for m in result.messages)


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


def test_stop_ends_with_the_best_so_far():
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    began = time.monotonic()
    result = solve(market_split(), stop=stop, limits=Limits(time=30))
    assert time.monotonic() - began < 10
    assert result.status is Status.INTERRUPTED
    assert result.x is not None


def test_stop_before_the_beginning():
    stop = threading.Event()
    stop.set()
    assert solve(market_split(), stop=stop, limits=Limits(time=30)).status is Status.INTERRUPTED


def test_exception_in_on_progress_comes_out():
    def fail(_):
        raise ZeroDivisionError("from the caller")

    with pytest.raises(ZeroDivisionError, match="from the caller"):
        solve(market_split(), on_progress=fail)


def test_progress_reports_incumbents():
    seen = []
    p = market_split()
    solve(p, on_progress=seen.append, limits=Limits(nodes=200, time=20))
    points = [s for s in seen if s.x is not None]
    assert points
    for s in points:
        assert p.objective_value(s.x) == pytest.approx(s.objective, abs=1e-4)
    values = [s.objective for s in points]
    assert values == sorted(values, reverse=True)


def test_wrong_settings():
    p = PROGRAMS["lp"]()[0]
    with pytest.raises(UsageError, match=r"NNS163.*limits/gup"):
        solve(p, options={"limits/gup": 1})
    with pytest.raises(UsageError, match="NNS163"):
        solve(p, options={"limits/gap": -1})
    assert solve(p, options={"separating/maxrounds": 0}).settings["separating/maxrounds"] == 0


def test_gelu_is_refused():
    p = Program()
    x = p.add_variables("x", (), -1, 1)
    p.minimize(p.apply("gelu", x, "g"))
    with pytest.raises(UnsupportedError, match=r"gelu \(g\).*envelope"):
        solve(p)


def test_more_than_one_thread():
    """optimizeNogil lets two solves run side by side; off the main thread SCIP must not catch signals."""
    results = []
    threads = [threading.Thread(target=lambda: results.append(solve(PROGRAMS["tanh"]()[0]))) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [r.status for r in results] == [Status.OPTIMAL] * 2
