"""Batched values and gradients against the definitions and against differences."""

import numpy as np
import pytest

from nnspec.incumbents import smooth
from nnspec.incumbents.merit import Merit
from nnspec.problem import Activation, Constraint, DataSet, Layer, Network, Objective, Parameter, Problem, losses
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import objective, value
from tests.reductions.specs import network, problem, random_problem, times

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(5, 2)), RNG.normal(size=(5, 1))


def differences(f, z, h=1e-6):
    up = [f((z + h * e)[None])[0][0] for e in np.eye(len(z))]
    down = [f((z - h * e)[None])[0][0] for e in np.eye(len(z))]
    return (np.array(up) - np.array(down)) / (2 * h)


def check(p, **more):
    merit = Merit(p)
    c = merit.coordinates
    z = np.clip(np.random.default_rng(1).normal(size=(3, c.size)), c.lo, c.hi)
    f, g = merit.value(z, **more)
    for row in range(len(z)):
        numeric = differences(lambda u: merit.value(u, **more), z[row])
        np.testing.assert_allclose(g[row], numeric, rtol=1e-4, atol=1e-5)
    return merit, z, f


SLOPED = ["linear", "relu", "leaky_relu", "abs", "hardtanh", "tanh", "sigmoid", "softplus", "gelu", "silu"]


@pytest.mark.parametrize("kind", SLOPED)
@pytest.mark.parametrize("hidden", [(3,), (2, 3)])
def test_activations(kind, hidden):
    p = problem(network(2, list(hidden), Activation(kind, 0.1)), X, Y, [ex.Loss("sse", "f", "D")])
    merit, z, f = check(p)
    for row, v in zip(z, f):
        assert v == pytest.approx(objective(p, merit.coordinates.point(row)))


@pytest.mark.parametrize("kind", ["sign", "step"])
def test_sharpened_steps(kind):
    p = problem(network(2, [3], Activation(kind)), X, Y, [ex.Loss("sse", "f", "D")])
    check(p, sharpness=3.0)
    merit = Merit(p)
    z = merit.coordinates.starts(4, np.random.default_rng(0))
    for row, v in zip(z, merit.value(z)[0]):
        assert v == pytest.approx(objective(p, merit.coordinates.point(row)))


@pytest.mark.parametrize("eps", [0.0, 0.3])
@pytest.mark.parametrize("kind", losses.KINDS)
def test_losses(kind, eps):
    outputs = [1, 3] if kind not in ("logistic", "pinball") else [1]
    for m in outputs:
        o = RNG.normal(size=(4, 6, m))
        y = RNG.integers(0, max(m, 2), size=(6, 1)) if kind in losses.CLASSIFICATION else RNG.normal(size=(6, m))
        y, c = y.astype(float), RNG.integers(1, 4, size=6).astype(float)
        e = ex.Loss(kind, "f", "D", delta=0.7, q=0.3)
        v, g = smooth.loss(e, o, y, c, eps)
        if eps == 0:
            for row in range(len(o)):
                assert v[row] == pytest.approx(losses.evaluate(kind, o[row], y, c, delta=0.7, q=0.3))
        if kind == "errors" and eps == 0:
            continue
        h = 1e-6
        for i, j in np.ndindex(6, m):
            d = np.zeros_like(o)
            d[:, i, j] = h
            numeric = (smooth.loss(e, o + d, y, c, eps)[0] - smooth.loss(e, o - d, y, c, eps)[0]) / (2 * h)
            np.testing.assert_allclose(g[:, i, j], numeric, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["l1", "l2", "norm"])
def test_sizes(kind):
    p = problem(network(2, [2], Activation("tanh")), X, Y, [times(0.3, ex.Size(kind, "f", biases=True))])
    merit, z, f = check(p)
    assert f[0] == pytest.approx(objective(p, merit.coordinates.point(z[0])))


def test_expressions_and_constraints():
    a, b = ex.ParameterRef("f.h1.weights", (0, 0)), ex.ParameterRef("f.h1.bias", (1,))
    e = ex.Sum((ex.Product((a, b, ex.Constant(2.0))), ex.Power(a, 2), ex.Function("exp", (b,)),
                ex.Quotient(a, ex.Sum((ex.Power(b, 2), ex.Constant(1.0)))), ex.Function("max", (a, b)),
                ex.NetworkOutput("f", (ex.Constant(0.3), b))))  # fmt: skip
    p = problem(network(2, [2], Activation("tanh")), X, Y, [e])
    rows = (ex.Comparison("<=", a, ex.Constant(-0.5)), ex.Comparison("==", ex.Product((a, b)), ex.Constant(0.2)),
            ex.Or((ex.Comparison(">=", a, ex.Constant(5.0)), ex.Comparison(">=", b, ex.Constant(4.0)))))  # fmt: skip
    p = Problem(p.name, p.networks, p.data, {}, p.objective, tuple(Constraint(r) for r in rows))
    merit, z, _ = check(p, penalty=3.0)
    point = merit.coordinates.point(z[0])
    assert merit.value(z[:1])[0][0] == pytest.approx(value(p, point, e))
    assert merit.violation(z)[0] > 0


def test_graphs_with_convolutions_and_joins():
    def free(name, shape):
        return Parameter.box(f"f.{name}", shape, -2, 2)

    plane = {"kernel": (2, 2), "stride": (1, 1), "padding": (1, 0), "dilation": (1, 1), "groups": 1}
    layers = (
        Layer("x", "input", (), (1, 4, 3)),
        Layer("c", "conv", ("x",), (2, 5, 2), Activation("tanh"), free("c.weights", (2, 1, 2, 2)), free("c.bias", (2,)),
              attributes=plane),
        Layer("n", "batchnorm", ("c",), (2, 5, 2), Activation(), free("n.weights", (2,)), free("n.bias", (2,))),
        Layer("m", "maxpool", ("n",), (2, 4, 1), attributes={"kernel": (2, 2), "stride": (1, 1)}),
        Layer("a", "avgpool", ("n",), (2, 4, 1), attributes={"kernel": (2, 2), "stride": (1, 1)}),
        Layer("s", "add", ("m", "a"), (2, 4, 1)),
        Layer("fl", "flatten", ("s",), (8,)),
        Layer("fa", "flatten", ("a",), (8,)),
        Layer("j", "concat", ("fl", "fa"), (16,)),
        Layer("out", "dense", ("j",), (2,), Activation("softmax"), free("out.weights", (2, 16)),
              free("out.bias", (2,))),
    )  # fmt: skip
    net = Network("f", layers, ("out",))
    data = DataSet("D", RNG.normal(size=(3, 12)), np.array([[0.0], [1.0], [1.0]]))
    for kind in ("cross_entropy", "errors"):
        p = Problem("g", {"f": net}, {"D": data}, {}, Objective("minimize", ex.Loss(kind, "f", "D")))
        merit, z, _ = check(p, eps=0.5 if kind == "errors" else 0.0)
        exact = merit.value(z[:1])[0][0]
        assert exact == pytest.approx(objective(p, merit.coordinates.point(z[0])))


def test_values_of_random_problems():
    for seed in range(60):
        p = random_problem(seed)
        merit = Merit(p)
        z = merit.coordinates.starts(4, np.random.default_rng(seed))
        for row, v in zip(z, merit.value(z)[0]):
            assert v == pytest.approx(objective(p, merit.coordinates.point(row)), abs=1e-9), seed
