"""Embedded networks: fixed inputs give the forward pass, optima agree with a fine grid and between libraries."""

from __future__ import annotations

import itertools

import gurobipy
import numpy as np
import pyomo.environ as pyo
import pyscipopt
import pytest
from pyomo.contrib.solver.common.factory import SolverFactory

import nnspec
from nnspec.formats import write_network
from nnspec.problem import Activation, Layer, Network, Parameter, Scaling
from nnspec.problem.forward import predict

ENCODINGS = [None, {"relu": "sos1"}, {"relu": "indicator"}, {"relu": "complementarity"}]


def network(rng, sizes=(2, 5, 4, 2), activation="relu", scaled=True) -> Network:
    layers = [Layer("x", "input", (), (sizes[0],))]
    for k, (n, m) in enumerate(itertools.pairwise(sizes)):
        last = k == len(sizes) - 2
        w = Parameter.constant(f"f.l{k}.weights", rng.normal(size=(m, n)))
        b = Parameter.constant(f"f.l{k}.bias", rng.normal(size=m))
        layers.append(
            Layer(f"l{k}", "dense", (layers[-1].name,), (m,), Activation("linear" if last else activation), w, b)
        )
    scaling = Scaling(rng.normal(size=sizes[0]), rng.uniform(0.5, 2, size=sizes[0])) if scaled else None
    return Network("f", tuple(layers), (layers[-1].name,), input_scaling=scaling)


def scip_model():
    model = pyscipopt.Model()
    model.hideOutput()
    return model


def gurobi_model():
    return gurobipy.Model(env=gurobipy.Env(params={"OutputFlag": 0}))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_fixed_inputs_give_the_forward_pass(encoding, tmp_path):
    rng = np.random.default_rng(1)
    net = network(rng)
    write_network(net, tmp_path / "f.onnx")
    for point in rng.uniform(-2, 2, size=(3, 2)):
        expected = predict(net, {}, point[None])[0]
        model = scip_model()
        x = [model.addVar(f"x{k}", lb=-2, ub=2) for k in range(2)]
        y, part = nnspec.embed(model, str(tmp_path / "f.onnx"), x, encoding=encoding)
        for v, value in zip(x, point):
            model.addCons(v == value)
        model.optimize()
        np.testing.assert_allclose([model.getVal(v) for v in y], expected, atol=1e-5)
        np.testing.assert_allclose(part.network.predict(point), expected, atol=1e-9)


def best_on_grid(net: Network, sign: float) -> float:
    side = np.linspace(-1.5, 1.5, 301)
    points = np.array(np.meshgrid(side, side)).reshape(2, -1).T
    return float(np.max(sign * predict(net, {}, points)[:, 0]))


@pytest.mark.parametrize("seed", [2, 3])
def test_optima_agree_between_libraries_and_with_a_grid(seed, tmp_path):
    net = network(np.random.default_rng(seed))
    file = tmp_path / "f.onnx"
    write_network(net, file)
    on_grid = best_on_grid(net, 1.0)

    scip = scip_model()
    y, _ = nnspec.embed(scip, file, [scip.addVar(f"x{k}", lb=-1.5, ub=1.5) for k in range(2)])
    scip.setObjective(y[0], "maximize")
    scip.optimize()

    gurobi = gurobi_model()
    y, _ = nnspec.embed(gurobi, file, gurobi.addVars(2, lb=-1.5, ub=1.5))
    gurobi.setObjective(y[0], gurobipy.GRB.MAXIMIZE)
    gurobi.optimize()

    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(-1.5, 1.5))
    y, part = nnspec.embed(model, file, model.x, name="f")
    model.best = pyo.Objective(expr=y[0], sense=pyo.maximize)
    SolverFactory("highs").solve(model)
    assert part.block is model.f

    values = [scip.getObjVal(), gurobi.ObjVal, pyo.value(model.best)]
    assert max(values) - min(values) <= 1e-5
    assert on_grid - 1e-6 <= values[0] <= on_grid + 0.2  # the grid is 0.01 fine
    x = [pyo.value(v) for v in model.x.values()]
    assert part.network.predict(x)[0] == pytest.approx(values[2], abs=1e-5)


def test_smooth_activation_in_scip():
    net = network(np.random.default_rng(4), (2, 3, 1), "tanh")
    model = scip_model()
    y, _ = nnspec.embed(model, net, [model.addVar(f"x{k}", lb=-1.5, ub=1.5) for k in range(2)])
    model.setObjective(y[0], "maximize")
    model.optimize()
    assert model.getObjVal() == pytest.approx(best_on_grid(net, 1.0), abs=1e-3)


def test_expressions_as_inputs():
    """Bounds of linear expressions come from those of their variables."""
    net = network(np.random.default_rng(5), (1, 3, 1), scaled=False)
    model = scip_model()
    a, b = model.addVar("a", lb=0, ub=1), model.addVar("b", lb=0, ub=2)
    y, part = nnspec.embed(model, net, [2 * a - b + 1])
    assert part.input_bounds[0] == pytest.approx((-1.0, 3.0))
    model.addCons(a == 0.5)
    model.addCons(b == 1.5)
    model.optimize()
    assert model.getVal(y[0]) == pytest.approx(predict(net, {}, np.array([[0.5]]))[0, 0], abs=1e-6)
    gurobi = gurobi_model()
    u, v = gurobi.addVar(ub=1), gurobi.addVar(ub=2)
    gurobi.update()
    assert nnspec.embed(gurobi, net, [2 * u - v + 1])[1].input_bounds[0] == pytest.approx((-1.0, 3.0))
    block = pyo.ConcreteModel()
    block.a, block.b = pyo.Var(bounds=(0, 1)), pyo.Var(bounds=(0, 2))
    assert nnspec.embed(block, net, [2 * block.a - block.b + 1])[1].input_bounds[0] == pytest.approx((-1.0, 3.0))


def test_two_networks_in_one_model():
    rng = np.random.default_rng(6)
    first, second = network(rng, (1, 3, 1)), network(rng, (1, 2, 1))
    for model, x in ((scip_model(), None), (pyo.ConcreteModel(), None)):
        if isinstance(model, pyo.ConcreteModel):
            model.x = pyo.Var(bounds=(-1, 1))
            x = model.x
        else:
            x = model.addVar("x", lb=-1, ub=1)
        y, _ = nnspec.embed(model, first, x, name="first")
        z, _ = nnspec.embed(model, second, y, name="second", bounds=[(-50, 50)])
        assert len(z) == 1


def test_what_is_refused():
    net = network(np.random.default_rng(7))
    model = scip_model()
    x = [model.addVar("a", lb=0, ub=1), model.addVar("b", lb=0, ub=None)]
    with pytest.raises(nnspec.UsageError, match="takes 2 inputs, and x has 1"):
        nnspec.embed(model, net, x[:1])
    with pytest.raises(nnspec.UsageError, match=r"input 1 .* no finite bounds"):
        nnspec.embed(model, net, x, encoding={"relu": "bigm"})
    assert model.getNConss() == 0
    nnspec.embed(model, net, x, bounds=[(0, 1), (0, 5)])
    with pytest.raises(nnspec.UsageError, match="Pyomo, PySCIPOpt and gurobipy"):
        nnspec.embed({}, net, x)
    with pytest.raises(nnspec.SpecError):
        nnspec.embed(model, "missing.onnx", x)
