"""Neurons that a solver leaves on their jump decide as the model did once the point is read."""

from __future__ import annotations

import numpy as np
import pytest

from nnspec import backends
from nnspec.encodings.compile import compile_problem
from nnspec.encodings.recover import _turned
from nnspec.engines.solver import SolverEngine
from nnspec.problem import Activation, Layer, Network, Objective, Parameter, Problem, Variable
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import violations
from nnspec.problem.forward import layer_values
from nnspec.status import Limits, Status
from nnspec.tolerances import SIGN_MARGIN

from .problems import training


@pytest.mark.parametrize("kind", ["sign", "step"])
@pytest.mark.parametrize("seed", range(6))
def test_weights_turn_where_the_bias_is_an_integer(kind, seed):
    """Two samples are on the jump, on its wrong side by 1e-7, and a third is off it."""
    r = np.random.default_rng(seed)
    while True:
        problem = training("sae", kind, r, sizes=(2, 1, 1), samples=3, bias_domain="int")
        data = problem.data["D"].x
        w = np.linalg.solve(data[:2], [1 - 1e-7, 1 - 2e-7])
        z = data @ w - 1
        if np.abs(w).max() < 1.9 and abs(z[2]) > 2 * SIGN_MARGIN:
            break
    compiled = compile_problem(problem)
    x = np.zeros(compiled.program.columns)
    names = list(compiled.program.column_names())
    x[[names.index(n) for n in ("f.h1.weights[0,0]", "f.h1.weights[0,1]", "f.h1.bias[0]")]] = (*w, -1.0)
    point = compiled.point(x)
    values = layer_values(problem.networks["f"], point.parameters, data)["h1"][:, 0]
    assert (values == 1).tolist() == [True, True, z[2] >= 0]
    assert violations(problem, point, 1e-9) == []
    assert np.abs(point.parameters["f.h1.weights"][0] - w).max() < 0.01
    assert point.parameters["f.h1.bias"][0] == -1


def test_counted_zeros_and_bounds_stay():
    x = np.eye(2)
    w, lo = np.array([0.0, -1e-7]), np.array([0.0, -1.0])
    both, one = np.array([True, True]), np.array([True])
    # the first weight may not move, the second may only fall: nothing can be done
    assert _turned(w, lo, w, x, x @ w, both).tolist() == w.tolist()
    moved = _turned(w, lo, np.array([0.0, 1.0]), x[1:], x[1:] @ w, one)
    assert moved == pytest.approx([0.0, SIGN_MARGIN / 2])


@pytest.mark.parametrize("backend", ["scip", "highs", "gurobi"])
def test_decisions_at_the_jump_of_a_fixed_neuron(backend):
    """The best input lies where the neuron jumps; it is kept on the side that the solver chose."""
    if not backends.get(backend).available().ok:
        pytest.skip(f"{backend} is not installed")
    w, b = np.array([[-1.72, -0.33]]), np.array([-0.75])
    layers = (
        Layer("x", "input", (), (2,)),
        Layer("h", "dense", ("x",), (1,), Activation("step"), Parameter.constant("f.h.weights", w),
              Parameter.constant("f.h.bias", b)),
    )  # fmt: skip
    x = {"a": Variable("a", -2, 2), "c": Variable("c", -2, 2)}
    inputs = tuple(ex.VariableRef(n) for n in x)
    goal = ex.Sum((ex.Product((ex.Constant(5.0), ex.NetworkOutput("f", inputs))), *inputs))
    problem = Problem("p", {"f": Network("f", layers, ("h",))}, {}, x, Objective("maximize", goal))
    outcome = SolverEngine(backend).solve(problem, Limits(time=20))
    # active only for 1.72 a <= -0.75 - 0.33 c: c = 2 and a = -1.41 / 1.72 give 5 + 2 - 0.82
    assert outcome.status is Status.OPTIMAL, outcome
    assert outcome.objective == pytest.approx(7 - 1.41 / 1.72, abs=1e-5)
