"""What every solver backend has to do: the optima of all programs it takes, refusals of the others, limits, starts,
progress, stopping. One test, all backends."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from nnspec import backends
from nnspec.backends.bridges import bridge
from nnspec.errors import UnsupportedError, UsageError
from nnspec.program import Program
from nnspec.status import Limits, Status

from .programs import PROGRAMS, market_split

LINEAR_ONLY = (
    "lp", "minimal_lp", "milp", "convex_qp", "concave_max", "indicators", "indicators_below", "sos1", "sos2",
    "binary_products", "binary_quadratic", "abs",
)  # fmt: skip
NAMES = ("scip", "highs", "gurobi")


@pytest.fixture(params=NAMES)
def backend(request):
    found = backends.get(request.param)
    if not found.available().ok:
        pytest.skip(found.available().reason)
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_optimum_or_refusal(backend, name):
    program, optimum = PROGRAMS[name]()
    if backend.name == "highs" and name not in LINEAR_ONLY:
        with pytest.raises(UnsupportedError, match="NNS161"):
            backend.solve(program, Limits(time=20))
        return
    result = backend.solve(program, Limits(time=20))
    assert result.status is Status.OPTIMAL, result
    assert program.violations(result.x, 1e-5) == []
    assert result.objective == pytest.approx(program.objective_value(result.x))
    assert result.bound == pytest.approx(result.objective, abs=1e-5)
    assert result.objective == pytest.approx(optimum, abs=1e-5)


def test_infeasible_unbounded_and_empty(backend):
    p = Program()
    x = p.add_variables("x", (2,))
    assert backend.solve(p, Limits(time=20)).status is Status.OPTIMAL
    p.minimize(x.sum())
    assert backend.solve(p, Limits(time=20)).status is Status.UNBOUNDED
    p.add_linear(x.sum(), 5, 3)
    result = backend.solve(p, Limits(time=20))
    assert (result.status, result.x, result.objective, result.bound) == (Status.INFEASIBLE, None, None, None)


def test_limits_return_what_is_there(backend):
    for limits in (Limits(nodes=1, time=20), Limits(time=0.7)):
        result = backend.solve(market_split(), limits)
        assert result.status is Status.LIMIT
        assert result.seconds < 10
        assert result.x is not None
        assert result.bound <= result.objective
    assert backend.solve(market_split(), Limits(time=0)).status is Status.LIMIT
    assert backend.solve(PROGRAMS["milp"]()[0], Limits(gap=0.5, time=20)).status is Status.OPTIMAL


def test_start_is_the_first_incumbent(backend):
    p = market_split()
    good = np.zeros(p.columns)
    good[50:57] = p.rows[0].hi
    worse = good.copy()
    worse[50] += 1
    partial = p.unknown_point()
    partial[:50] = 0
    seen = []
    result = backend.solve(p, Limits(nodes=1, time=20), [partial, worse, good], seen.append)
    assert seen[0].objective == pytest.approx(p.objective_value(good))
    assert result.objective <= p.objective_value(good)
    assert [m for m in result.messages if "start" in m] == [
        "start point 1 was not used: it violates row[0] by 1"
    ]  # fmt: skip


def test_start_is_lifted_over_a_bridge(backend):
    """A start in the old columns, where bridges have added columns behind them."""
    program, optimum = PROGRAMS["binary_products"]()
    best = backend.solve(program, Limits(time=20)).x
    start = program.complete(np.where(np.arange(program.columns) < 4, np.round(best * 2) / 2, np.nan))
    assert program.violations(start) == []
    bridged = bridge(program, backend.takes, backend.name)
    assert bridged.program.violations(bridged.lift(start)) == []
    seen = []
    result = backend.solve(program, Limits(time=20), [start], seen.append)
    assert seen[0].objective == pytest.approx(optimum)
    assert result.messages == ()


def test_progress_reports_incumbents(backend):
    seen = []
    p = market_split()
    result = backend.solve(p, Limits(nodes=200, time=20), on_progress=seen.append)
    points = [s for s in seen if s.x is not None]
    assert points
    for s in points:
        assert p.objective_value(s.x) == pytest.approx(s.objective, abs=1e-4)
        assert p.violations(s.x, 1e-5) == []
    assert result.objective == pytest.approx(min(s.objective for s in points), abs=1e-4)
    assert [s.seconds for s in seen] == sorted(s.seconds for s in seen)


def test_exception_in_on_progress_comes_out(backend):
    def fail(_):
        raise ZeroDivisionError("from the caller")

    with pytest.raises(ZeroDivisionError, match="from the caller"):
        backend.solve(market_split(), Limits(time=20), on_progress=fail)


@pytest.mark.parametrize("way", ["stop", "Ctrl-C"])
def test_stop_and_ctrl_c(backend, way, capfd):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background start with it ignored
    stop = threading.Event()
    end = stop.set if way == "stop" else lambda: os.kill(os.getpid(), signal.SIGINT)
    timer = threading.Timer(0.7, end)
    timer.start()
    began = time.monotonic()
    result = backend.solve(market_split(), Limits(time=30), stop=stop)
    assert time.monotonic() - began < 10
    assert result.status is Status.INTERRUPTED
    assert result.x is not None
    timer.join()
    signal.signal(signal.SIGINT, before)
    if backend.name != "gurobi":  # gurobipy announces an interrupt by itself
        assert capfd.readouterr() == ("", "")


def test_stop_before_the_beginning(backend):
    stop = threading.Event()
    stop.set()
    assert backend.solve(market_split(), Limits(time=30), stop=stop).status is Status.INTERRUPTED


def test_wrong_settings(backend):
    with pytest.raises(UsageError, match=r"NNS163.*limits/gup"):
        backend.solve(PROGRAMS["lp"]()[0], Limits(), options={"limits/gup": 1})


def test_more_than_one_thread(backend):
    results = []
    call = lambda: results.append(backend.solve(PROGRAMS["milp"]()[0], Limits(time=20)))  # noqa: E731
    threads = [threading.Thread(target=call) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [r.status for r in results] == [Status.OPTIMAL] * 2


def test_a_limit_that_is_not_handed_over_is_said(backend):
    messages = backend.solve(PROGRAMS["lp"]()[0], Limits(time=20, memory=8000)).messages
    assert messages == (("highs was not told the limit on memory: it has none",) if backend.name == "highs" else ())


def test_gelu_is_refused(backend):
    p = Program()
    p.minimize(p.apply("gelu", p.add_variables("x", (), -1, 1), "g"))
    with pytest.raises(UnsupportedError, match=r"gelu \(g\).*envelope"):
        backend.solve(p, Limits())


def test_installed_lists_all_backends():
    lines = {line.name: line for line in backends.installed()}
    assert {"scip", "highs", "gurobi"} <= set(lines)
    assert lines["scip"].availability.version.startswith("SCIP ")
    for line in lines.values():
        assert line.availability.ok or line.availability.command


def test_unknown_backend():
    with pytest.raises(UsageError, match="did you mean highs"):
        backends.get("higs")
