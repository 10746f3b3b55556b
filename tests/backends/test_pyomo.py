"""Pyomo: the model users get, the same optima through several of its solvers, and that a solve can be stopped."""

import threading
import time

import numpy as np
import pyomo.environ as pyo
import pytest

from nnspec import backends
from nnspec.backends.bridges import bridge
from nnspec.backends.pyomo import PyomoBackend, _proof
from nnspec.backends.pyomo_model import build
from nnspec.backends.pyomo_worker import run
from nnspec.errors import MissingPackageError, UnsupportedError, UsageError
from nnspec.program import Program
from nnspec.status import Limits, Status

from .programs import PROGRAMS, market_split

LINEAR = (
    "lp", "minimal_lp", "milp", "indicators", "indicators_below", "sos1", "sos2", "binary_products", "binary_quadratic",
    "abs",
)  # fmt: skip
QUADRATIC = ("convex_qp", "convex_miqp", "concave_max", "nonconvex_qp", "products", "quadratic_rows", "cone")
TAKEN = {
    "scip_direct": PROGRAMS, "highs": LINEAR, "gurobi_direct": LINEAR, "gurobi_persistent": (*LINEAR, *QUADRATIC),
    "gurobi_direct_minlp": (*LINEAR, *QUADRATIC, "exp", "tanh", "softplus", "silu", "root"),
}  # fmt: skip


@pytest.mark.parametrize("solver", TAKEN)
def test_optima(solver):
    """In this process: starting another one for each program would take a second each."""
    backend = PyomoBackend(solver)
    if not backend.available().ok:
        pytest.skip(backend.available().reason)
    for name in PROGRAMS:
        program, optimum = PROGRAMS[name]()
        if name not in TAKEN[solver]:
            if solver in ("highs", "gurobi_direct"):
                with pytest.raises(UnsupportedError):
                    bridge(program, backend.takes, backend.name)
            continue
        bridged = bridge(program, backend.takes, backend.name)
        answer = run({
            "program": bridged.program, "start": None, "solver": solver, "new": True, "options": {},
            "limits": Limits(time=20), "deadline": None,
        })  # fmt: skip
        assert answer["status"] is Status.OPTIMAL, (name, answer)
        x = answer["x"][: program.columns]
        assert program.violations(x, 1e-5) == [], name
        assert program.objective_value(x) == pytest.approx(optimum, abs=1e-5), name
        if answer["bound"] is not None:
            assert answer["bound"] == pytest.approx(optimum, abs=1e-5), name


def test_solve_in_a_process_of_its_own():
    program, optimum = PROGRAMS["binary_products"]()
    seen = []
    result = PyomoBackend("scip_direct").solve(program, Limits(time=30), [np.zeros(program.columns)], seen.append)
    assert result.status is Status.OPTIMAL
    assert (result.objective, result.bound) == pytest.approx((optimum, optimum), abs=1e-5)
    assert seen[0].objective == 0
    p = Program()
    p.add_linear(p.add_variables("x", (2,)).sum(), 5, 3)
    assert PyomoBackend("scip_direct").solve(p, Limits(time=30)).status is Status.INFEASIBLE


def test_stop_comes_back_with_the_best_so_far():
    stop = threading.Event()
    threading.Timer(3.0, stop.set).start()
    began = time.monotonic()
    result = PyomoBackend("scip_direct").solve(market_split(), Limits(time=60), stop=stop)
    assert time.monotonic() - began < 30
    assert result.status is Status.INTERRUPTED
    assert result.x is not None or result.seconds > 8  # killed after the grace period if it had not begun


def test_names_are_readable_and_lead_to_the_variables():
    p = Program("house")
    w = p.add_variables("f.h1.weights", (2, 2), -1, 1)
    z = p.add_variables("f.h1.active", (2,), kind="binary", labels=[("3,age", "3,bmi")])
    out = p.add_variables("f.h1")
    p.add_linear(w.sum() + z[1] + 2, 0, 5, "f.h1 upper", labels=["age <= bmi"])
    p.add_linear(out * 0 + 1, 0, 5, "constant")
    p.maximize(out + w[0, 1])
    model, variables = build(p)
    assert model.f.h1.weights[0, 1] is variables[1]
    assert model.f.h1.active_[3, "bmi"] is variables[5]  # Pyomo's Blocks have an attribute `active` of their own
    assert variables[5].is_binary()
    names = ["f.h1.weights[1,1]", "f.h1.active_[3,age]", "f.h1.active_[3,bmi]", "f.h1_"]
    assert [v.name for v in variables[3:]] == names
    row = model.rows.component("f_h1 upper")["age <= bmi"]
    assert str(row.expr).startswith("-2.0  <=  f.h1.weights[0,0]")
    assert model.objective.sense == pyo.maximize


def test_variables_named_like_parts_of_the_model():
    p = Program("rows")
    blocks = [p.add_variables(n, (2,), 1, 2) for n in ("objective.bit", "objective", "rows", "rows.x", "model")]
    p.minimize(sum((b.sum() for b in blocks[1:]), blocks[0].sum()))
    model, variables = build(p)
    assert all(v.parent_component() is not None and v.model() is model for v in variables)
    assert len({v.name for v in variables}) == 10
    assert pyo.value(len(list(model.component_data_objects(pyo.Var)))) == 10
    assert model.objective.expr is not None


def test_empty_rows():
    p = Program()
    x = p.add_variables("x", (2,), 0, 1)
    p.add_linear(x * 0 + np.array([1.0, 2.0]), 0, 1.5, "constant")
    p.minimize(x.sum())
    model, _ = build(p)
    assert list(model.rows.constant) == [1]
    assert PyomoBackend("highs").solve(p, Limits(time=20)).status is Status.INFEASIBLE


def test_variables_in_no_row():
    p = Program()
    x = p.add_variables("x", (2,), 1, 2)
    p.minimize(x[0])
    result = PyomoBackend("scip_direct").solve(p, Limits(time=20))
    assert (result.status, result.objective) == (Status.OPTIMAL, pytest.approx(1))
    assert p.violations(result.x) == []


def test_fills_a_block_of_a_users_model():
    user = pyo.ConcreteModel()
    user.part = pyo.Block()
    program, optimum = PROGRAMS["lp"]()
    build(program, user.part)
    user.limit = pyo.Constraint(expr=user.part.x["wine"] <= 4)
    pyo.SolverFactory("appsi_highs").solve(user)
    assert user.part.x["wine"].value == pytest.approx(4)
    assert pyo.value(user.part.objective) < optimum


def test_optimal_needs_a_bound_or_convexity():
    """A local solver's "optimal" proves nothing about a nonconvex program."""
    for name, expected in (("convex_qp", Status.OPTIMAL), ("nonconvex_qp", Status.FEASIBLE), ("milp", Status.FEASIBLE)):
        program, _ = PROGRAMS[name]()
        x = np.zeros(program.columns)
        assert _proof(program, Status.OPTIMAL, x, None, Limits())[0] is expected
        value = program.objective_value(x)
        assert _proof(program, Status.OPTIMAL, x, value - 1, Limits())[0] is Status.FEASIBLE
        assert _proof(program, Status.OPTIMAL, x, value - 1e-8, Limits())[0] is Status.OPTIMAL


def test_unknown_and_missing_solvers():
    program, _ = PROGRAMS["lp"]()
    with pytest.raises(UsageError, match=r"NNS164.*nosuch"):
        PyomoBackend("nosuch").solve(program, Limits())
    if not PyomoBackend("baron").available().ok:
        with pytest.raises(MissingPackageError, match=r"NNS160.*baron"):
            PyomoBackend("baron").solve(program, Limits())
    assert backends.get("pyomo:scip_direct").name == "pyomo:scip_direct"
