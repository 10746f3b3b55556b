"""The same spec has the same optimum on every backend: random specs, all backends that take them."""

import numpy as np
import pytest

from nnspec import backends
from nnspec.engines.interface import Limits, Status
from nnspec.engines.solver import SolverEngine
from nnspec.engines.solver.judge import ACCEPTED
from nnspec.errors import UnsupportedError
from nnspec.problem import Constraint, Objective, Problem, Variable, evaluate
from nnspec.problem import expression as ex
from tests.encodings.problems import PIECEWISE, dense_network, training

NAMES = ("scip", "highs", "gurobi", "pyomo:scip_direct", "pyomo:highs", "pyomo:gurobi_direct_minlp")
KINDS = ("sae", "max_error", "mae", "hinge", "errors", "pinball", "sse", "huber", "squared_hinge")


def spec(seed):
    """A tiny spec with discrete weights, or small real ones: linear for all backends in most cases."""
    r = np.random.default_rng(seed)
    kind = KINDS[int(r.integers(len(KINDS)))]
    activation = PIECEWISE[int(r.integers(len(PIECEWISE)))]
    domain = ("int", "two", "three", "binary", "spread")[int(r.integers(5))]
    return training(kind, activation, r, domain=domain, bias_domain=domain, sizes=(2, 1, 1), samples=3)


def decision(seed):
    """A network with constant weights in a decision model: real and integer variables, rows, implications, classes."""
    r = np.random.default_rng(seed)
    activation = (*PIECEWISE, "relu", "relu")[int(r.integers(len(PIECEWISE) + 2))]
    f = dense_network((2, int(r.integers(2, 5)), 2), activation)
    f = f.with_values({p.name: np.round(r.normal(size=p.shape), 2) for p in f.parameters})
    variables = {"a": Variable("a", -2, 2), "b": Variable("b", -2, 2, "int"), "c": Variable("c", 0, 1, "binary")}
    a, b, c = (ex.VariableRef(n) for n in variables)
    outputs = [ex.NetworkOutput("f", (a, b), k) for k in range(2)]

    def weighted(*terms):
        return ex.Sum(tuple(ex.Product((ex.Constant(round(float(w), 2)), t)) for w, t in zip(r.normal(size=9), terms)))

    rows = [Constraint(ex.Comparison("<=", weighted(a, b, c, outputs[0]), ex.Constant(1.5)))]
    if r.random() < 0.5:
        rows.append(Constraint(ex.Implies(ex.Comparison("==", c, ex.Constant(1.0)),
                                          ex.Comparison(">=", outputs[1], outputs[0]))))  # fmt: skip
    if r.random() < 0.5:
        rows.append(Constraint(ex.Comparison("==", ex.Function("argmax", tuple(outputs)),
                                             ex.Constant(float(r.integers(2))))))  # fmt: skip
    bent = [ex.Function("abs", (outputs[0],)), ex.Function("max", (a, outputs[1]))]
    goal = weighted(a, b, c, *outputs, *(bent if r.random() < 0.5 else []))
    return Problem("p", {"f": f}, {}, variables, Objective(str(r.choice(["minimize", "maximize"])), goal), tuple(rows))


def agree(problem, names):
    values = {}
    for name in names:
        if not backends.get(name).available().ok:
            continue
        try:
            outcome = SolverEngine(name).solve(problem, Limits(time=60))
        except UnsupportedError as e:  # a square for a linear backend, a licence that is too small
            if e.diagnostics[0].code not in ("NNS161", "NNS166"):
                raise
            continue
        assert outcome.status in (Status.OPTIMAL, Status.INFEASIBLE), (name, outcome)
        if outcome.status is Status.INFEASIBLE:
            values[name] = np.inf
            continue
        assert evaluate.violations(problem, outcome.point, ACCEPTED) == []
        assert outcome.objective == pytest.approx(evaluate.objective(problem, outcome.point), abs=1e-12)
        values[name] = outcome.objective
    assert len(values) >= 2, "too few backends to compare"
    if np.isinf(values["scip"]):
        assert set(values.values()) == {np.inf}, values
    else:
        assert max(values.values()) - min(values.values()) <= 2e-5 * (1 + abs(values["scip"])), values


@pytest.mark.parametrize("seed", range(8))
def test_some_specs(seed):
    agree(spec(seed), ("scip", "highs", "gurobi"))
    agree(decision(seed), ("scip", "highs", "gurobi"))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 200))
def test_a_hundred_specs(seed):
    agree(spec(seed), NAMES)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 200))
def test_a_hundred_decisions(seed):
    agree(decision(seed), NAMES)
