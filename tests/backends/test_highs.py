"""HiGHS: the optima of all programs it can take, directly or through bridges, and refusals for the others."""

import os
import signal
import threading

import numpy as np
import pytest

from nnspec.backends.highs import HighsBackend
from nnspec.errors import UnsupportedError, UsageError
from nnspec.program import Program
from nnspec.status import Limits, Status

from .programs import PROGRAMS
from .test_scip import market_split

HIGHS = HighsBackend()
TAKEN = (
    "lp", "minimal_lp", "milp", "convex_qp", "concave_max", "indicators", "sos1", "sos2", "binary_products",
    "binary_quadratic", "abs",
)  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_optima_or_refusal(name):
    program, optimum = PROGRAMS[name]()
    if name not in TAKEN:
        with pytest.raises(UnsupportedError, match="NNS161"):
            HIGHS.solve(program, Limits(time=20))
        return
    result = HIGHS.solve(program, Limits(time=20))
    assert result.status is Status.OPTIMAL, result
    assert program.violations(result.x, 1e-5) == []
    assert (result.objective, result.bound) == pytest.approx((optimum, optimum), abs=1e-5)


def test_infeasible_unbounded_empty():
    p = Program()
    x = p.add_variables("x", (2,))
    assert HIGHS.solve(p, Limits()).status is Status.OPTIMAL
    p.minimize(x.sum())
    assert HIGHS.solve(p, Limits()).status is Status.UNBOUNDED
    p.add_linear(x.sum(), 5, 3)
    assert HIGHS.solve(p, Limits()).status is Status.INFEASIBLE


def test_start_and_node_limit():
    p = market_split()
    x = np.zeros(p.columns)
    x[50:57] = p.rows[0].hi
    seen = []
    result = HIGHS.solve(p, Limits(nodes=1, time=20), [x], seen.append)
    assert seen[0].objective == pytest.approx(p.objective_value(x))
    assert result.status is Status.LIMIT
    assert result.objective <= p.objective_value(x)
    assert result.bound <= result.objective


@pytest.mark.parametrize("way", ["stop", "Ctrl-C"])
def test_stop_and_ctrl_c(way):
    stop = threading.Event()
    end = stop.set if way == "stop" else lambda: os.kill(os.getpid(), signal.SIGINT)
    threading.Timer(1.0, end).start()
    result = HIGHS.solve(market_split(), Limits(time=30), stop=stop)
    assert result.status is Status.INTERRUPTED
    assert result.seconds < 10
    assert result.x is not None


def test_exception_in_on_progress_comes_out():
    def fail(_):
        raise ZeroDivisionError("from the caller")

    with pytest.raises(ZeroDivisionError, match="from the caller"):
        HIGHS.solve(market_split(), Limits(time=20), on_progress=fail)


def test_wrong_settings():
    with pytest.raises(UsageError, match="NNS163"):
        HIGHS.solve(PROGRAMS["lp"]()[0], Limits(), options={"mip_gup": 1})
