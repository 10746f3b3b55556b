"""Finite values of biases keep the optimum: point by point, and by solving with and without them."""

import math

import numpy as np
import pytest

from nnspec.problem import Activation, Layer, Network, Parameter
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import objective
from nnspec.reductions.finite import FINITE, OutputBias, Thresholds

from .specs import problem, times
from .test_both_ways import disagreements

LOSSES = ("sae", "mae", "pinball", "max_error", "hinge", "errors", "sse", "mse", "huber")


def finite_problem(seed, losses=LOSSES, hidden=None):
    """Finite weights, real biases in odd boxes, inputs with one decimal."""
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(losses))
    outputs = 2 if rng.random() < 0.2 and kind in ("sae", "sse", "pinball") else 1
    d, n = int(rng.integers(1, 3)), int(rng.integers(2, 6))
    hidden = hidden or [int(rng.integers(1, 3))] * int(rng.integers(1, 3))
    activations = [str(rng.choice(["step", "sign", "relu", "hardtanh"])) for _ in hidden]
    layers, previous, width = [Layer("x", "input", (), (d,))], "x", d
    for i, size in enumerate([*hidden, outputs]):
        last = i == len(hidden)
        name = "out" if last else f"h{i + 1}"
        w = Parameter.box(f"f.{name}.weights", (size, width), kind="set",
                          values=((-1, 0, 1), (-1, 1), (-0.5, 0.25, 1))[int(rng.integers(3))])  # fmt: skip
        lo = float(np.round(rng.uniform(-2, 0), 2))
        b = Parameter.box(f"f.{name}.bias", (size,), lo, lo + float(np.round(rng.uniform(0.3, 3), 2)))
        if not last and activations[i] in ("relu", "hardtanh"):
            b = Parameter.box(f"f.{name}.bias", (size,), -1, 1, "int")
        activation = Activation() if last else Activation(activations[i])
        layers.append(Layer(name, "dense", (previous,), (size,), activation, w, b))
        previous, width = name, size
    net = Network("f", tuple(layers), ("out",))
    x = rng.integers(-10, 11, size=(n, d)) / 10.0
    y = (rng.integers(0, 2, (n, 1)) if kind in ("hinge", "errors") else rng.integers(-10, 11, (n, outputs)) / 5.0)
    more = [times(0.1, ex.Size("l0", "f", "h1", "weights"))] if rng.random() < 0.3 else []
    e = ex.Loss(kind, "f", "D", margin=(0.5, 1 / 3)[seed % 2] if kind in ("hinge", "errors") else None,
                q=0.3 if kind == "pinball" else None)  # fmt: skip
    return problem(net, x, y.astype(float), [e, *more])


@pytest.mark.parametrize("reduction", FINITE, ids=lambda r: r.name)
def test_no_optimum_is_lost_and_none_invented(reduction):
    applied = 0
    for seed in range(200):
        p = finite_problem(seed)
        if reduction.applies(p, math.inf) is not None:
            continue
        applied += 1
        cases = reduction.apply(p, math.inf).cases
        assert disagreements(p, cases, math.inf, np.random.default_rng(seed)) == [], f"seed {seed}"
    assert applied >= 50


def best_biases(p, values):
    """The optimum over all finite weights and the given values of biases, by trying all."""
    import itertools

    from nnspec.problem import Point

    entries = []
    for tensor in p.free_parameters():
        for k in range(tensor.size):
            if tensor.kind == "set":
                inside = [v for v in tensor.values if tensor.lo.reshape(-1)[k] <= v <= tensor.hi.reshape(-1)[k]]
            elif tensor.kind == "int":
                inside = list(np.arange(tensor.lo.reshape(-1)[k], tensor.hi.reshape(-1)[k] + 1))
            else:
                inside = list(np.linspace(tensor.lo.reshape(-1)[k], tensor.hi.reshape(-1)[k], values))
            entries.append((tensor.name, inside))
    best = math.inf
    for combination in itertools.product(*(inside for _, inside in entries)):
        arrays, at = {}, 0
        for tensor in p.free_parameters():
            arrays[tensor.name] = np.array(combination[at : at + tensor.size]).reshape(tensor.shape)
            at += tensor.size
        best = min(best, objective(p, Point(arrays)))
    return best


@pytest.mark.parametrize("seed", range(6))
def test_the_finite_optimum_is_below_a_fine_grid(seed):
    """No real biases of a fine grid are better than the finitely many values."""
    p = finite_problem(seed, ("sae", "hinge", "max_error", "errors", "sse"), hidden=[1])
    q = p
    for reduction in FINITE:
        if reduction.applies(q, math.inf) is None:
            q = reduction.apply(q, math.inf).cases[0].problem
    assert all(t.kind != "real" for t in q.free_parameters())
    if math.prod(len(t.values) if t.kind == "set" else 3 for t in q.free_parameters() for _ in range(t.size)) > 20_000:
        pytest.skip("too many networks to try")
    assert best_biases(q, 0) <= best_biases(p, 12) + 1e-9


@pytest.mark.parametrize(
    ("reduction", "change", "reason"),
    [
        (Thresholds(), "size", "a size counts"),
        (OutputBias(), "size", "a size counts"),
        (OutputBias(), "huber", "no short list"),
        (OutputBias(), "constraint", "more than one loss"),
        (Thresholds(), "real", "not finite"),
    ],
)  # fmt: skip
def test_steps_aside(reduction, change, reason):
    from dataclasses import replace

    from nnspec.problem import Constraint

    p = next(q for q in (finite_problem(s, ("sae",)) for s in range(100)) if reduction.applies(q, math.inf) is None)
    net, objective_ = p.networks["f"], p.objective
    if change == "size":
        p = replace(p, objective=replace(objective_, expression=ex.Sum((objective_.expression, ex.Size("l0", "f")))))
    elif change == "huber":
        p = replace(p, objective=replace(objective_, expression=ex.Loss("huber", "f", "D")))
    elif change == "constraint":
        few = ex.Comparison("<=", ex.Loss("max_error", "f", "D"), ex.Constant(2.0))
        p = replace(p, constraints=(Constraint(few, "few"),))
    else:
        layers = tuple(replace(x, weights=x.weights and replace(x.weights, kind="real")) for x in net.layers)
        p = replace(p, networks={"f": replace(net, layers=layers)})
    assert reason in reduction.applies(p, math.inf)


def best(p, parameters, k, biases):
    """The best objective over values of output bias k, the others 0."""
    from nnspec.problem import Point

    b, found = p.networks["f"]["out"].bias, math.inf
    for c in np.clip(biases, b.lo[k], b.hi[k]):
        bias = np.zeros(b.shape)
        bias[k] = c
        found = min(found, objective(p, Point({**parameters, b.name: bias})))
    return found


def test_the_best_output_bias_is_among_the_values():
    """For random weights: no bias at a residual, half-way between two, at the mean or at a margin is better."""
    from nnspec.problem.forward import forward

    from .specs import random_points

    tried = 0
    for seed in range(150):
        p = finite_problem(seed)
        if OutputBias().applies(p, math.inf) is not None:
            continue
        case = OutputBias().apply(p, math.inf).cases[0]
        margin = (0.5, 1 / 3)[seed % 2]
        name, data, b = "f.out.bias", p.data["D"], p.networks["f"]["out"].bias
        values = np.array(case.problem.networks["f"]["out"].bias.values)
        for point in random_points(p, np.random.default_rng(seed), 3):
            base = {**point.parameters, name: np.zeros(b.shape)}
            g = forward(p.networks["f"], base, data.x)
            for k in range(b.size):
                r = data.y.reshape(len(g), -1)[:, k] - g[:, k]
                m = np.concatenate([margin - g[:, k], -margin - g[:, k]])
                candidates = np.concatenate([r, ((r[:, None] + r) / 2).reshape(-1), [r.mean()], m])

                assert best(p, base, k, values) <= best(p, base, k, candidates) + 1e-9, f"seed {seed}"
                tried += 1
    assert tried > 100
