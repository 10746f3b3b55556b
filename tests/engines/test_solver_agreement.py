"""The same spec has the same optimum on every backend: random specs, all backends that take them."""

import numpy as np
import pytest

from nnspec import backends
from nnspec.engines.interface import Limits, Status
from nnspec.engines.solver import SolverEngine
from nnspec.errors import UnsupportedError
from nnspec.problem import evaluate
from tests.encodings.problems import PIECEWISE, training

NAMES = ("scip", "highs", "gurobi", "pyomo:scip_direct", "pyomo:highs", "pyomo:gurobi_direct_minlp")
KINDS = ("sae", "max_error", "mae", "hinge", "errors", "pinball", "sse", "huber", "squared_hinge")


def spec(seed):
    """A tiny spec with discrete weights, or small real ones: linear for all backends in most cases."""
    r = np.random.default_rng(seed)
    kind = KINDS[int(r.integers(len(KINDS)))]
    activation = PIECEWISE[int(r.integers(len(PIECEWISE)))]
    domain = ("int", "two", "three", "binary", "spread")[int(r.integers(5))]
    return training(kind, activation, r, domain=domain, bias_domain=domain, sizes=(2, 1, 1), samples=3)


def agree(seed, names):
    problem = spec(seed)
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
        assert outcome.status is Status.OPTIMAL, (name, outcome)
        assert evaluate.violations(problem, outcome.point) == []
        assert outcome.objective == pytest.approx(evaluate.objective(problem, outcome.point), abs=1e-12)
        values[name] = outcome.objective
    assert len(values) >= 2, "too few backends to compare"
    assert max(values.values()) - min(values.values()) <= 2e-5 * (1 + abs(values["scip"])), values


@pytest.mark.parametrize("seed", range(8))
def test_some_specs(seed):
    agree(seed, ("scip", "highs", "gurobi"))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 200))
def test_a_hundred_specs(seed):
    agree(seed, NAMES)
