"""Every activation and layer, embedded in each library: with the inputs fixed the outputs are the forward pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.contrib.solver.common.factory import SolverFactory

import nnspec
from nnspec.formats import write_network
from nnspec.problem import Activation
from nnspec.problem.forward import predict
from nnspec.problem.network import ACTIVATIONS
from tests.formats.test_onnx import image

from .test_embed import gurobi_model, network, scip_model


def at_point(library, net, point):
    """The outputs that the solver finds at a point, and what was added."""
    if library == "scip":
        model = scip_model()
        x = [model.addVar(f"x{k}", lb=-1, ub=1) for k in range(len(point))]
        y, part = nnspec.embed(model, net, x)
        for v, p in zip(x, point):
            model.addCons(v == p)
        model.optimize()
        return [model.getVal(v) for v in y], part
    if library == "gurobi":
        model = gurobi_model()
        x = model.addVars(len(point), lb=-1, ub=1)
        y, part = nnspec.embed(model, net, x)
        for v, p in zip(x.values(), point):
            model.addConstr(v == p)
        model.optimize()
        return [v.X for v in y], part
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(len(point)), bounds=(-1, 1))
    y, part = nnspec.embed(model, net, model.x)
    model.fixed = pyo.Constraint(model.x.index_set(), rule=lambda m, k: m.x[k] == point[k])
    model.nothing = pyo.Objective(expr=0 * model.x[0])
    SolverFactory("scip_direct").solve(model)
    return [v.value for v in y], part


@pytest.mark.parametrize("library", ["scip", "gurobi", "pyomo"])
@pytest.mark.parametrize("activation", [a for a in ACTIVATIONS if a != "linear"])
def test_activations(activation, library):
    rng = np.random.default_rng(1)
    net = network(rng, (2, 3, 2), "relu" if activation == "softmax" else activation, scaled=False)
    if activation == "softmax":
        net = replace(net, layers=(*net.layers[:-1], replace(net.layers[-1], activation=Activation("softmax"))))
    point = np.array([0.3, -0.7])
    found, part = at_point(library, net, point)
    expected = predict(net, {}, point[None])[0]
    gain = np.abs(net.layers[-1].weights.value).sum()
    assert set(part.errors) == ({"net.l0"} if activation == "gelu" else set())
    np.testing.assert_allclose(found, expected, atol=1e-6 + gain * sum(part.errors.values()))


@pytest.mark.parametrize("library", ["scip", "gurobi", "pyomo"])
def test_convolutions_and_pools_from_a_file(library, tmp_path):
    rng = np.random.default_rng(2)
    net = image(rng)
    layers = [replace(x, activation=Activation("relu")) if x.activation.kind in ("tanh", "gelu") else x
              for x in net.layers]  # fmt: skip
    net = replace(net, layers=tuple(layers))
    write_network(net, tmp_path / "f.onnx")
    point = rng.uniform(-1, 1, net.input_size)
    if library == "gurobi":  # the free licence takes 2000 variables
        point = np.where(rng.random(net.input_size) < 0.9, 0.0, point)
    try:
        found, _ = at_point(library, str(tmp_path / "f.onnx"), point)
    except Exception as e:
        if "size-limited" in str(e):
            pytest.skip("too large for the licence that comes with gurobipy")
        raise
    np.testing.assert_allclose(found, predict(net, {}, point[None])[0], atol=1e-4)
