"""Which engine is chosen, and what is said about it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnspec.engines.choose import choose
from nnspec.engines.interface import Limits, Status
from nnspec.engines.run import solve_problem
from nnspec.errors import UnsupportedError, UsageError
from nnspec.problem import Activation, Constraint, Objective, Point, Problem, Variable
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import objective, violations
from tests.reductions.specs import network, problem

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([[0.0], [1.0], [1.0], [0.0]])
SSE = ex.Loss("sse", "f", "D")


def spec(activation="relu", hidden=(2,), terms=(SSE,), box=(-4.0, 4.0)):
    return problem(network(2, list(hidden), Activation(activation), box=box), X, Y, terms)


def knapsack():
    e = ex.Sum((ex.VariableRef("a"), ex.Product((ex.Constant(2.0), ex.VariableRef("b")))))
    return Problem("v", {}, {}, {"a": Variable("a", 0, 3, "int"), "b": Variable("b", 0, 2.5)}, Objective("maximize", e),
                   (Constraint(ex.Comparison("<=", e, ex.Constant(4.2))),))  # fmt: skip


def test_unknown_engine_is_a_usage_error():
    with pytest.raises(UsageError, match="unknown engine"):
        choose(spec(), "magic")


def test_an_engine_that_cannot_is_refused_with_its_reason():
    with pytest.raises(UnsupportedError, match="cells engine cannot solve"):
        choose(spec(hidden=(2, 2)), "cells")


def test_the_solver_is_left_for_depth_with_reasons():
    choice = choose(spec(hidden=(2, 2)))
    assert choice.engine.name == "solver"
    assert any("not used" in r for r in choice.reasons)


def test_several_networks_are_left_to_the_solver_with_reasons():
    f, g = spec().networks["f"], network(2, [2], Activation("relu"), name="g")
    for term in (SSE, ex.Loss("sse", "g", "D")):
        choice = choose(replace(spec(terms=(term,)), networks={"f": f, "g": g}))
        assert choice.engine.name == "solver"
        assert [r.split(":")[0] for r in choice.reasons] == ["engine cells", "engine boxes", "engine solver"]


def test_a_backend_asks_for_the_solver():
    assert choose(spec(), "auto", "scip").engine.name == "solver"


def test_problems_without_networks_go_to_the_solver():
    r = solve_problem(knapsack(), Limits(time=20))
    assert r.status is Status.OPTIMAL
    assert r.objective == pytest.approx(4.2)
    assert r.bound == pytest.approx(4.2)


def test_explanation_names_chain_and_class():
    lines = []
    r = solve_problem(spec(), Limits(time=30), engine="solver", explain=lines.append)
    text = "\n".join(lines)
    assert r.status is Status.OPTIMAL
    assert r.objective == pytest.approx(0.0, abs=1e-6)
    assert "scaling symmetry of f.h1" in text
    assert "duplicate samples: not used" in text
    assert "first incumbent" in text


def test_class_is_checked():
    lines = []
    y = np.array([[0.0], [1.0], [0.3], [0.9]])
    p = problem(network(2, [1], Activation("relu")), X, y, [SSE])
    solve_problem(p, Limits(time=30), engine="solver", explain=lines.append)
    assert any("MISOCP" in line or "convex MIQP" in line for line in lines), lines
    lines.clear()
    solve_problem(p, Limits(time=5), engine="solver", explain=lines.append, reductions=False, incumbents=False)
    assert not any("convex MIQP" in line and "nonconvex" not in line for line in lines)


@pytest.mark.parametrize("reductions", [True, False])
def test_infeasible_is_proven(reductions):
    p = spec(box=(-1.0, 1.0))
    p = replace(p, constraints=(Constraint(ex.Comparison("<=", SSE, ex.Constant(-1.0)), "impossible"),))
    r = solve_problem(p, Limits(time=20), engine="solver", reductions=reductions)
    assert r.status is Status.INFEASIBLE
    assert r.point is None


def test_start_points_and_progress():
    p = spec(hidden=(1,))
    start = Point({"f.h1.weights": np.array([[1.0, -1.0]]), "f.h1.bias": np.zeros(1),
                   "f.out.weights": np.array([[1.0]]), "f.out.bias": np.array([0.3])})  # fmt: skip
    seen = []
    r = solve_problem(p, Limits(time=30), engine="solver", start=(start,), on_progress=seen.append, incumbents=False)
    assert r.status is Status.OPTIMAL
    assert r.objective <= objective(p, start)
    assert violations(p, r.point) == []
    for progress in seen:
        if progress.incumbent is not None and progress.bound is not None:
            assert progress.bound <= progress.incumbent + 1e-6


def test_a_time_limit_leaves_a_network_and_a_valid_bound():
    rng = np.random.default_rng(0)
    p = problem(network(2, [4], Activation("relu")), rng.normal(size=(30, 2)), rng.normal(size=(30, 1)), [SSE])
    r = solve_problem(p, Limits(time=4), engine="solver")
    assert r.status is Status.LIMIT
    assert r.point is not None
    assert r.bound is None or r.bound <= r.objective


FEW_BITS = """
data D = table(x = [[0, 0], [0, 1], [1, 0], [1, 1]], y = [0, 1, 1, 0])
net f = input(2) -> h: dense(2, step, weights in {-1, 0, 1}, biases in -2..2)
    -> out: dense(1, weights in {-1, 0, 1}, biases in -2..2)
minimize sae(f, D)
"""


def test_finitely_many_networks_go_to_cpsat_if_it_is_installed(monkeypatch):
    from nnspec.backends import Availability
    from nnspec.engines.cpsat import engine
    from nnspec.language.load import load_problem

    p = load_problem(FEW_BITS)
    monkeypatch.setattr(engine, "available", lambda: Availability("CP-SAT"))
    choice = choose(p)
    assert choice.engine.backend == "cpsat"
    assert "finitely many networks" in choice.reasons[0]
    monkeypatch.setattr(engine, "available", lambda: Availability(None, "ortools is not installed", "pip install it"))
    choice = choose(p)
    assert choice.engine.backend.name == "scip"
    assert choice.reasons[0] == "backend cpsat: not used, ortools is not installed (pip install it)"


def test_large_finite_problems_are_not_written_out_unasked(monkeypatch):
    from nnspec.engines import choose as module
    from nnspec.language.load import load_problem

    monkeypatch.setattr(module, "MOST_PRODUCTS", 10)
    choice = choose(load_problem(FEW_BITS))
    assert choice.engine.backend.name == "scip"
    assert choice.reasons[0].startswith("backend cpsat: not used, 36 products of weights and samples")


def test_weight_decay_goes_to_cells():
    decay = ex.Product((ex.Constant(0.1), ex.Size("l2", "f")))
    assert choose(spec(hidden=(3,), terms=(SSE, decay))).engine.name == "cells"


def test_tiny_networks_go_to_the_solver():
    decay = ex.Product((ex.Constant(0.1), ex.Size("l2", "f")))
    for terms in ((SSE,), (SSE, decay), (ex.Loss("mae", "f", "D"),)):
        choice = choose(spec(terms=terms))
        assert choice.engine.name == "solver"
        assert "so small a network" in " ".join(choice.reasons)
    counted = replace(spec(), networks={"f": replace(spec().networks["f"], l0=3)})
    rest = (spec(hidden=(3,)), spec(box=(-40.0, 40.0)), spec(terms=(ex.Loss("huber", "f", "D"),)),
            spec(terms=(SSE, ex.Size("l0", "f"))), counted)  # fmt: skip
    for p in rest:
        assert choose(p).engine.name == "cells"
    x = np.vstack([X] * 4)
    assert choose(problem(spec().networks["f"], x, np.vstack([Y] * 4), (SSE,))).engine.name == "cells"
    assert choose(spec(), files={"certificate": Path("c")}).engine.name == "cells"
