"""Pyomo: the model users get, the same optima through several of its solvers, and that a solve can be stopped."""

import os
import sys
import threading
import time

import numpy as np
import pyomo.environ as pyo
import pytest

from nnspec import backends
from nnspec.backends.bridges import bridge
from nnspec.backends.pyomo import PyomoBackend, _limits, _proof
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

INSIDE = (
    "scip_direct", "scip_persistent", "highs", "appsi_highs", "gurobi_direct", "gurobi_persistent",
    "gurobi_direct_minlp",
)  # fmt: skip
"""Those that run inside the process that solves."""


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
        }, lambda _: None)  # fmt: skip
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


DEFAULT = ("scip_direct", "highs", "gurobi_persistent")


@pytest.fixture(params=[pytest.param(n, marks=[] if n in DEFAULT else [pytest.mark.long]) for n in INSIDE])
def inside(request):
    backend = PyomoBackend(request.param)
    if not backend.available().ok:
        pytest.skip(backend.available().reason)
    return backend


def test_progress_and_stop(inside):
    """Incumbents and bounds while it runs, the start first; a stop request comes back with them in about a second."""
    p = market_split()
    start = np.zeros(p.columns)
    start[50:57] = p.rows[0].hi
    seen, stop, asked = [], threading.Event(), []

    def listen(report):
        seen.append(report)
        if len([s for s in seen if s.x is not None]) >= 3 and report.bound is not None and not asked:
            asked.append(time.monotonic())
            stop.set()

    result = inside.solve(p, Limits(time=60), [start], listen, stop)
    assert time.monotonic() - asked[0] < 5  # a second and a half where nothing else runs
    assert result.status is Status.INTERRUPTED
    points = [s for s in seen if s.x is not None]
    assert points[0].objective == pytest.approx(p.objective_value(start))
    for s in points:
        assert p.violations(s.x, 1e-5) == []
    values = [s.objective for s in seen if s.objective is not None]
    assert values == sorted(values, reverse=True)
    bounds = [s.bound for s in seen if s.bound is not None]
    assert bounds
    assert max(bounds) <= result.objective + 1e-6
    assert result.bound is not None
    assert result.bound <= result.objective
    assert result.objective <= values[-1] + 1e-6
    assert [s.seconds for s in seen] == sorted(s.seconds for s in seen)


def hidden(seed=1, n=30):
    """Rows that only one choice of binaries is likely to satisfy, and a continuous variable that follows from it."""
    r = np.random.default_rng(seed)
    p = Program("hidden")
    b, c = p.add_variables("b", (n,), kind="binary"), p.add_variables("c", (), 0, 1000)
    a, choice = r.integers(1, 1000, (4, n)).astype(float), r.integers(0, 2, n).astype(float)
    p.add_linear(a @ b, a @ choice, a @ choice)
    weights = r.uniform(0, 9, n)
    p.add_linear(weights @ b - c, 0.0, 0.0)
    p.minimize(c)
    return p, np.append(choice, weights @ choice)


@pytest.mark.parametrize("known", ["all", pytest.param("binaries", marks=pytest.mark.long)])
def test_the_solver_gets_the_start(inside, known):
    """In a node no solver finds this point by itself."""
    p, start = hidden()
    assert p.violations(start) == []
    if known == "binaries":
        start = np.append(start[:-1], np.nan)
    if (inside.solver, known) == ("appsi_highs", "binaries"):
        pytest.skip("fills the rest with zeros, which HiGHS then refuses")
    limit = {"scip": "limits/totalnodes", "highs": "mip_max_nodes", "gurobi": "NodeLimit"}
    options = {name: 1 for solver, name in limit.items() if solver in inside.solver}
    task = {"program": p, "solver": inside.solver, "new": inside.solver != "appsi_highs", "options": options,
            "limits": Limits(time=20), "deadline": None}  # fmt: skip
    assert "x" not in run({**task, "start": None}, lambda _: None)
    answer = run({**task, "start": start}, lambda _: None)
    assert answer["status"] in (Status.LIMIT, Status.OPTIMAL), answer
    assert np.round(answer["x"][:-1]) == pytest.approx(start[:-1])


def test_another_pyomo_solves_unobserved(monkeypatch):
    """Where the solver's model is kept is no promise of Pyomo's."""
    def elsewhere(solver, task):
        raise AttributeError("_solver_model")

    monkeypatch.setattr("nnspec.backends.pyomo_watch._highs", elsewhere)
    program, optimum = PROGRAMS["milp"]()
    seen = []
    answer = run({"program": program, "start": None, "solver": "highs", "new": True, "options": {},
                  "limits": Limits(time=20), "deadline": None}, seen.append)  # fmt: skip
    assert program.objective_value(answer["x"]) == pytest.approx(optimum)
    assert "no progress" in answer["messages"][0]
    assert seen == []


@pytest.mark.long
def test_undecided_is_decided(inside):
    p = Program()
    x = p.add_variables("x", (2,))
    p.add_linear(x[0] - x[1], 0, 1)
    p.minimize(x.sum())
    assert inside.solve(p, Limits(time=30)).status is Status.UNBOUNDED
    p.add_linear(x[0] - x[1], 2, 3)
    result = inside.solve(p, Limits(time=30))
    assert (result.status, result.x, result.bound) == (Status.INFEASIBLE, None, None)


@pytest.mark.long
def test_limits(inside):
    p = market_split()
    for limits in (Limits(nodes=2, time=60), Limits(time=4.0)):
        result = inside.solve(p, limits)
        assert result.status is Status.LIMIT, result
        assert result.seconds < 30
        assert result.messages == ()


def test_limits_that_pyomo_does_not_know():
    messages = []
    assert _limits("scip_direct", Limits(nodes=3, memory=100, seed=7), messages) == {
        "limits/totalnodes": 3, "limits/memory": 100, "randomization/randomseedshift": 7,
    }  # fmt: skip
    assert messages == []
    assert _limits("glpk", Limits(nodes=3), messages) == {}
    assert messages == ["pyomo:glpk was not told the limit on nodes"]


FAKE = """#!/bin/sh
case "$1" in
  -v|--version) echo "Ipopt 3.14.0 (x86_64-linux-gnu), ASL(20190605)"; exit 0;;
esac
trap "" INT
echo $$ > {pid}
sleep 300
"""


def runs(pid):
    """Whether there is such a process, a few seconds on."""
    for _ in range(50):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for the solver")
@pytest.mark.parametrize("way", ["stop", pytest.param("time limit", marks=pytest.mark.long)])
def test_a_solver_of_its_own_program_is_ended(tmp_path, monkeypatch, way):
    """Also one that ignores SIGINT and its time limit; nothing of it stays behind."""
    pid = tmp_path / "pid"
    fake = tmp_path / "ipopt"
    fake.write_text(FAKE.format(pid=pid))
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("nnspec.backends.pyomo_process.OVERTIME", 1.0)
    monkeypatch.setattr(PyomoBackend, "_interface", lambda _: "new")  # Pyomo remembers that there was none
    program, _ = PROGRAMS["convex_qp"]()
    stop = threading.Event()
    seen = []

    def listen(report):
        seen.append(report)
        if way == "stop" and pid.exists():
            stop.set()

    limits = Limits(time=120 if way == "stop" else 6)
    start = np.zeros(program.columns)
    result = PyomoBackend("ipopt").solve(program, limits, [start], listen, stop)
    assert result.status is (Status.INTERRUPTED if way == "stop" else Status.LIMIT)
    assert result.seconds < 60
    assert result.x == pytest.approx(start)
    assert result.bound is None
    assert not runs(int(pid.read_text()))


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
