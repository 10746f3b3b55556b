"""Embedded networks bring a heuristic to SCIP models: good first solutions, feasible ones, whatever else there is."""

from __future__ import annotations

import numpy as np
import pytest
from pyscipopt import SCIP_PARAMSETTING, Model, quicksum

import nnspec
from nnspec.embedding.start import good_inputs
from nnspec.problem.forward import predict

from .test_embed import network


def root_only(sense: str, encoding, side: bool):
    """A model of which SCIP sees the root node only, with no heuristic of its own."""
    net = network(np.random.default_rng(4), sizes=(4, 12, 12, 1))
    model = Model()
    model.hideOutput()
    x = [model.addVar(f"x{k}", lb=-2, ub=2) for k in range(4)]
    y, _ = nnspec.embed(model, net, x, encoding=encoding)
    cost = model.addVar("cost", lb=0, ub=10)
    if side:  # a constraint on inputs, an integer, and a variable that follows from both
        n = model.addVar("n", "I", lb=0, ub=3)
        model.addCons(quicksum(x) <= n)
        model.addCons(cost >= n)
    worse = 1 if sense == "minimize" else -1
    model.setObjective(y[0] + 0.1 * x[0] + worse * 0.2 * cost, sense)
    model.setHeuristics(SCIP_PARAMSETTING.OFF)
    model.setParam("heuristics/pieces of net/freq", 1)
    model.setParam("limits/nodes", 1)
    model.optimize()
    return net, model, x, y[0]


@pytest.mark.parametrize("side", [False, True])
@pytest.mark.parametrize("encoding", [{"relu": "sos1"}, {"relu": "bigm"}])
@pytest.mark.parametrize("sense", ["minimize", "maximize"])
def test_first_solution_at_the_root(sense, encoding, side):
    net, model, x, y = root_only(sense, encoding, side)
    assert model.getNSols() > 0
    at = np.array([model.getVal(v) for v in x])
    assert abs(model.getVal(y) - predict(net, {}, at[None])[0, 0]) < 1e-5
    sign = 1.0 if sense == "minimize" else -1.0
    assert sign * model.getObjVal() >= sign * model.getDualbound() - 1e-5
    if not side:  # as good as the best of many random inputs
        r = np.random.default_rng(0).uniform(-2, 2, (5000, 4))
        best = (sign * (predict(net, {}, r)[:, 0] + 0.1 * r[:, 0])).min()
        assert sign * model.getObjVal() <= best + 1e-6


def test_proposals_go_downhill_and_stay_in_the_box():
    net = network(np.random.default_rng(5), sizes=(3, 10, 10, 2))
    lo, hi = np.array([-1.0, 0.0, 2.0]), np.array([1.0, 3.0, 2.5])
    c, d = np.array([0.3, 0.0, -1.0]), np.array([1.0, -2.0])
    found = good_inputs(net, lo, hi, c, d)
    values = [float(predict(net, {}, x[None])[0] @ d + x @ c) for x in found]
    assert values == sorted(values)
    assert all(np.all(lo <= x) and np.all(x <= hi) for x in found)
    r = np.random.default_rng(1).uniform(lo, hi, (3000, 3))
    assert values[0] <= (predict(net, {}, r) @ d + r @ c).min() + 1e-9
    assert good_inputs(net, lo, hi, c, np.zeros(2)) == []
