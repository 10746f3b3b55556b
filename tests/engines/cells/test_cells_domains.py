"""Boxes that do not contain 0, fixed weights and biases: against SCIP, and cases that can be told by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cells_models import INF, agree, boxed, teacher, training

from nnspec.engines.cells import CellsEngine
from nnspec.engines.cells.form import build, make, sign_vectors
from nnspec.engines.cells.instance import cone_coordinates
from nnspec.engines.cells.model import recognise
from nnspec.engines.interface import Limits, Status
from nnspec.engines.solver.engine import SolverEngine
from nnspec.problem.network import Parameter
from nnspec.problem.problem import Problem

ENGINE = CellsEngine()
LOSSES = ("sse", "mse", "sae", "mae", "pinball", "hinge", "huber", "squared_hinge", "max_error", "errors")
CLASSES = ("hinge", "squared_hinge", "errors")
ACTIVATIONS = ("relu", "abs", "leaky_relu", "hardtanh", "relu", "step", "sign")


def random_range(r: np.random.RandomState, shape: tuple[int, ...], size: float) -> tuple[np.ndarray, np.ndarray]:
    """One of five kinds: anywhere, around 0, a point, points for some entries."""
    kind = r.randint(0, 5)
    a, b = (np.round(r.uniform(-size, size, shape), 1) for _ in range(2))
    lo, hi = np.minimum(a, b), np.maximum(a, b)
    if kind == 0:
        lo, hi = -np.abs(a), np.abs(b)
    if kind == 1:
        hi = lo.copy()
    if kind == 2:
        hi = np.where(r.rand(*shape) < 0.5, lo, hi)
    return lo, hi


def random_problem(seed: int) -> Problem:
    r = np.random.RandomState(seed)
    kind, activation = LOSSES[seed % len(LOSSES)], ACTIVATIONS[r.randint(0, len(ACTIVATIONS))]
    n, d, neurons = r.randint(3, 6), r.randint(1, 3), r.randint(1, 3)
    x = r.uniform(-1, 1, (n, d)) if r.rand() < 0.5 else r.randint(-1, 2, (n, d)).astype(float)  # or a grid
    y = (r.rand(n) < 0.5).astype(float) if kind in CLASSES else np.round(r.randn(n), 2)
    p = training(x, y, neurons, activation, kind, 2.0, 3.0, 2.0, 2.0, q=0.3, margin=1.0, delta=0.5)
    ranges = {"v": random_range(r, (1, neurons), 2.0)}
    if r.rand() < 0.5:
        ranges["c"] = random_range(r, (1,), 1.0)
    if activation not in ("step", "sign"):
        ranges |= {"w": random_range(r, (neurons, d), 2.0), "b": random_range(r, (neurons,), 2.0)}
    return boxed(p, **ranges)


def compare(seed: int, limit: float) -> None:
    p = random_problem(seed)
    out = ENGINE.solve(p, Limits(threads=1))
    assert out.status is Status.OPTIMAL
    agree(p, out, SolverEngine("scip").solve(p, Limits(threads=1, time=limit)))


@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_scip(seed: int) -> None:
    compare(seed, 1.0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 500))
def test_agrees_with_scip_400(seed: int) -> None:
    compare(seed, 5.0)


def test_fixed_hidden_layer_is_least_squares() -> None:
    """With constant hidden weights and biases what is left is linear regression on two features."""
    x, y = teacher(15)
    p = training(x, y, 2)
    f = p.networks["f"]
    w, b = np.array([[1.5, -1.0], [0.5, 1.3]]), np.array([0.2, -0.1])
    hidden = replace(f.layers[1], weights=Parameter.constant("f.h.weights", w),
                     bias=Parameter.constant("f.h.bias", b))  # fmt: skip
    p = replace(p, networks={"f": replace(f, layers=(f.layers[0], hidden, f.layers[2]))})
    out = ENGINE.solve(p, Limits())
    a = np.column_stack([np.maximum(x @ w.T + b, 0.0), np.ones(15)])
    _, best, *_ = np.linalg.lstsq(a, y, rcond=None)
    assert out.status is Status.OPTIMAL
    assert out.objective == pytest.approx(float(best[0]), rel=1e-6)
    assert set(out.point.parameters) == {"f.out.weights", "f.out.bias"}
    again = ENGINE.solve(p, Limits(nodes=0), start=(out.point,))
    assert again.objective <= out.objective * (1 + 1e-9)


@pytest.mark.parametrize(("kind", "n", "neurons"), [("sse", 12, 2), ("max_error", 12, 2), ("max_error", 24, 2)])
def test_fixed_output_layer_loses_nothing_without_boxes(kind: str, n: int, neurons: int) -> None:
    """Output weights 1 and -1 are what the scale allows: the optimum of neurons with these signs. For the largest error
    the two are solved by different searches."""
    x, y = teacher(n)
    free = ENGINE.solve(training(x, y, neurons, kind=kind), Limits())
    v = np.sign(free.point.parameters["f.out.weights"])
    fixed = ENGINE.solve(boxed(training(x, y, neurons, kind=kind), v=(v, v)), Limits())
    assert fixed.status is Status.OPTIMAL
    assert fixed.objective == pytest.approx(free.objective, rel=2e-6)
    assert np.array_equal(fixed.point.parameters["f.out.weights"], v)


def test_fixed_output_bias() -> None:
    x, y = teacher(10)
    shifted = ENGINE.solve(boxed(training(x, y, 1, kind="huber"), c=(0.3, 0.3)), Limits())
    plain = ENGINE.solve(training(x, y - 0.3, 1, kind="huber", use_output_bias=False), Limits())
    assert shifted.status is Status.OPTIMAL
    assert shifted.objective == pytest.approx(plain.objective, rel=1e-6)


def test_errors_where_the_zero_network_is_outside() -> None:
    """It would get more samples right than any network in the boxes, whose outputs are all negative."""
    x = np.linspace(0.0, 1.0, 5)[:, None]
    p = training(x, [1, 1, 0, 1, 1], 1, kind="errors", margin=0.25)
    p = boxed(p, w=(0.5, 1.0), b=(1.0, 1.0), v=(-3.0, -2.0), c=(1.0, 1.0))
    out = ENGINE.solve(p, Limits())
    assert out.status is Status.OPTIMAL
    assert out.objective == out.bound == 4.0


def test_boxes_that_are_bounded_on_one_side() -> None:
    """Weights >= 1 without an upper limit, bias in [1, 2]: as v falls, w may grow, and the bias counts for less."""
    x = np.linspace(0.0, 1.0, 6)[:, None]
    p = boxed(training(x, 2.0 * x[:, 0], 1, use_output_bias=False), w=(1.0, INF), b=(1.0, 2.0))
    out = ENGINE.solve(p, Limits())
    assert out.status is Status.OPTIMAL
    assert out.objective == pytest.approx(0.0, abs=1e-9)  # v (w, b) -> (2, 0)
    p = boxed(training(x, -2.0 * x[:, 0], 1, use_output_bias=False), w=(1.0, INF), b=(1.0, 2.0), v=(0.5, INF))
    out = ENGINE.solve(p, Limits())
    assert out.status is Status.OPTIMAL
    assert out.objective == pytest.approx(float(np.sum((0.5 * (x[:, 0] + 1.0) + 2.0 * x[:, 0]) ** 2)), rel=1e-6)


@pytest.mark.parametrize("activation", ["relu", "abs", "hardtanh"])
@pytest.mark.parametrize("kind", ["sae", "huber"])
def test_a_sample_at_the_origin_without_biases(activation: str, kind: str) -> None:
    """Its output is the output bias, whatever the weights are."""
    x, y = np.array([[0.0, 0.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, 0.0]]), np.array([0.5, -1.0, 1.0, 0.2])
    p = training(x, y, 2, activation, kind, 2.0, 2.0, 2.0, 2.0, bias=False, delta=0.5)
    out = ENGINE.solve(p, Limits(threads=1))
    assert out.status is Status.OPTIMAL
    agree(p, out, SolverEngine("scip").solve(p, Limits(threads=1, time=1.0)))


def test_the_origin_is_no_direction() -> None:
    p = recognise(training([[0.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]], [0.5, -1.0, 1.0], 1, "hardtanh", bias=False))
    form = make(p, sign_vectors(p)[0])
    doll = build(form, cone_coordinates(form.inputs), [0, 1, 2], [0.0] * 4)
    assert doll.index[-1] == 0  # the first two are independent
    assert not np.any(cone_coordinates(form.inputs)[0])


def test_the_usual_boxes_need_no_further_unknowns() -> None:
    x, y = teacher(6)
    for usual in (training(x, y, 2, kind="sae", weights=1.0, outputs=2.0),
                  boxed(training(x, y, 2, kind="sae"), w=(0.0, 1.0), v=(0.0, 2.0), c=(1.0, 2.0))):  # fmt: skip
        assert make(recognise(usual), (1, 1)).size == 7
    assert make(recognise(boxed(training(x, y, 2, kind="sae"), w=(0.1, 1.0))), (1, 1)).size == 9


def decayed_problem(seed: int) -> Problem:
    """Weight decay with fixed output weights, fixed hidden weights, or output weights of which some are fixed."""
    r = np.random.RandomState(seed)
    activation, kind = ("relu", "abs", "leaky_relu")[seed % 3], ("sse", "sae", "huber", "max_error", "hinge")[seed % 5]
    n, d, neurons = r.randint(3, 6), r.randint(1, 3), r.randint(1, 3)
    x = r.uniform(-1, 1, (n, d)) if r.rand() < 0.5 else r.randint(-1, 2, (n, d)).astype(float)
    y = (r.rand(n) < 0.5).astype(float) if kind == "hinge" else np.round(r.randn(n), 2)
    biases = bool(r.rand() < 0.5)
    p = training(x, y, neurons, activation, kind, 2.0, 3.0, 2.0, 2.0, delta=0.5, decay=float(r.choice([0.02, 0.2])),
                 decay_biases=biases)  # fmt: skip
    v, w = np.round(r.uniform(-2, 2, (1, neurons)), 1), np.round(r.uniform(-2, 2, (neurons, d)), 1)
    ranges = {"c": random_range(r, (1,), 1.0)} if r.rand() < 0.5 else {}
    match r.randint(0, 3):
        case 0:
            ranges |= {"w": random_range(r, (neurons, d), 2.0), "b": random_range(r, (neurons,), 2.0)}
            return boxed(p, v=(v, v), **ranges)
        case 1:
            b = np.round(r.uniform(-2, 2, neurons), 1)
            ranges |= {"b": (b, b)} if biases else {}
            return boxed(p, w=(w, w), v=random_range(r, (1, neurons), 2.0), **ranges)
        case _:
            some = r.rand(1, neurons) < 0.5
            return boxed(p, v=(np.where(some, v, -2.0), np.where(some, v, 2.0)), **ranges)


def compare_decay(seed: int, limit: float) -> None:
    p = decayed_problem(seed)
    out = ENGINE.solve(p, Limits(threads=1))
    assert out.status is Status.OPTIMAL or out.messages  # boxes with 0 that bind
    agree(p, out, SolverEngine("scip").solve(p, Limits(threads=1, time=limit)), out.status is Status.OPTIMAL)


@pytest.mark.parametrize("seed", range(15))
def test_weight_decay_agrees_with_scip(seed: int) -> None:
    compare_decay(seed, 0.7)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 250))
def test_weight_decay_agrees_with_scip_150(seed: int) -> None:
    compare_decay(seed, 5.0)


def test_ridge_regression_on_fixed_features() -> None:
    """Fixed hidden weights and biases, decay of all: least squares with squares of the output weights."""
    x, y = teacher(12)
    w, b = np.array([[1.5, -1.0], [0.5, 1.3]]), np.array([0.2, -0.1])
    p = boxed(training(x, y, 2, decay=0.3, decay_biases=True), w=(w, w), b=(b, b))
    out = ENGINE.solve(p, Limits())
    a = np.vstack([np.column_stack([np.maximum(x @ w.T + b, 0.0), np.ones(12)]), np.sqrt(0.3) * np.eye(3)])
    _, best, *_ = np.linalg.lstsq(a, np.append(y, np.zeros(3)), rcond=None)
    assert out.status is Status.OPTIMAL
    assert out.objective == pytest.approx(float(best[0]) + 0.3 * float(np.sum(w**2) + np.sum(b**2)), rel=1e-6)


def test_refusals() -> None:
    x, y = teacher(6)
    away = {"w": (0.5, 1.0)}
    assert "not convex" in ENGINE.accepts(boxed(training(x, y, 2, decay=0.1), **away))
    assert "0 inside" in ENGINE.accepts(boxed(training(x, y, 2, "step"), **away))
    assert "empty" in ENGINE.accepts(boxed(training(x, y, 2), w=(1.0, 0.5)))
