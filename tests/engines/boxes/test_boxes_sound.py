"""No bound above a feasible point: random instances of every activation and loss, judged by nnspec.problem.evaluate."""

from __future__ import annotations

import numpy as np
import pytest
from boxes_problems import training

from nnspec.engines.boxes import BoxesEngine, kinds
from nnspec.engines.boxes.model import Model, closed, read
from nnspec.engines.interface import Limits, Status
from nnspec.problem import Problem, evaluate

LOSSES = ("sse", "mse", "sae", "mae", "max_error", "huber", "pinball", "hinge", "squared_hinge", "logistic", "cross_entropy")
BINARY, SEVERAL = ("hinge", "squared_hinge", "logistic", "cross_entropy"), ("hinge", "squared_hinge", "cross_entropy")
COMBINATIONS = [(a, loss) for a in kinds.ACTIVATIONS for loss in LOSSES]


def random_problem(seed: int, activation: str, loss: str) -> Problem:
    """A small instance with random sizes, penalties, boxes, multiplicities, and options of the loss."""
    r = np.random.default_rng([seed, kinds.ACTIVATIONS.index(activation), LOSSES.index(loss)])
    n, d, hidden = r.integers(2, 7), r.integers(1, 3), r.integers(1, 3)
    outputs = int(r.integers(1, 4)) if loss != "logistic" else 1
    x = np.round(r.normal(size=(n, d)), int(r.integers(0, 4)))
    if loss in BINARY:
        classes = 2 if outputs == 1 else outputs
        y = r.integers(0, classes, size=(n, 1)).astype(float)
    else:
        y = r.normal(size=(n, outputs)) * r.choice([0.5, 1.0, 4.0])
    options = {}
    if loss == "huber":
        options["delta"] = float(r.choice([0.3, 1.0, 2.0]))
    elif loss == "pinball":
        options["q"] = float(r.choice([0.0, 0.1, 0.5, 0.8, 1.0]))
    elif loss in ("hinge", "squared_hinge"):
        options["margin"] = float(r.choice([0.5, 1.0, 2.0]))
    box = float(r.choice([0.5, 2.0, 5.0]))
    return training(
        x, y, int(hidden), activation, loss=loss, outputs=outputs, decay=float(r.choice([0.0, 0.02, 0.3])),
        l1=float(r.choice([0.0, 0.0, 0.1])), biases=bool(r.integers(2)), box=box if r.integers(3) else (-0.3 * box, box),
        output_box=float(r.choice([0.7, 3.0])), bias=bool(r.integers(4)), output_bias=bool(r.integers(4)),
        coefficient=float(r.choice([1.0, 0.2, 7.0])), constant=float(r.choice([0.0, -3.0])),
        weights=None if r.integers(2) else r.integers(1, 4, size=n).astype(float),
        alpha=float(r.choice([0.01, 0.5, 1.5, -0.5])), maximize=bool(r.integers(4) == 0), **options,
    )  # fmt: skip


def random_values(model: Model, problem: Problem, r: np.random.Generator, count: int) -> np.ndarray:
    """The objective, to be minimised, at random points of the domain and of its corners."""
    values = []
    for _ in range(count):
        t, s = r.uniform(size=model.lo.shape), r.uniform(size=model.vlo.shape)
        if r.integers(3) == 0:
            t, s = np.round(t), np.round(s)
        point = model.point(model.lo + t * (model.hi - model.lo), model.vlo + s * (model.vhi - model.vlo))
        values.append(model.sense * evaluate.objective(problem, point))
    return np.array(values)


def check_solve(seed: int, activation: str, loss: str, nodes: int = 60) -> None:
    problem = random_problem(seed, activation, loss)
    engine = BoxesEngine()
    assert engine.accepts(problem) is None
    outcome = engine.solve(problem, Limits(nodes=nodes, threads=1, gap=1e-4, seed=seed))
    model = read(problem)
    assert not isinstance(model, str)
    assert outcome.point is not None
    assert outcome.bound is not None
    assert not evaluate.violations(problem, outcome.point)
    value = evaluate.objective(problem, outcome.point)
    assert value == pytest.approx(outcome.objective, rel=1e-12, abs=1e-12)
    bound, value = model.sense * outcome.bound, model.sense * value
    slack = 1e-9 * (1 + abs(value))
    assert bound <= value + slack
    best = random_values(model, problem, np.random.default_rng(seed), 60).min()
    assert bound <= best + slack
    if outcome.status is Status.OPTIMAL:
        assert best >= value - 2e-4 * max(abs(value), abs(value - model.constant)) - 1e-8
    else:
        assert outcome.status is Status.LIMIT


@pytest.mark.parametrize("block", range(12))
def test_bound_is_never_above_a_feasible_point(block: int) -> None:
    for number in range(block * 25, block * 25 + 25):
        check_solve(number, *COMBINATIONS[(number * 7) % len(COMBINATIONS)])


@pytest.mark.long
@pytest.mark.parametrize("block", range(100))
def test_bound_is_never_above_a_feasible_point_long(block: int) -> None:
    for number in range(1000 + block * 100, 1100 + block * 100):
        check_solve(number, *COMBINATIONS[number % len(COMBINATIONS)])


@pytest.mark.parametrize("activation", kinds.ACTIVATIONS)
def test_box_bound_for_any_dual_point(activation: str) -> None:
    """For any u, even a random one, the bound over a random box lies below the objective at every point of the box."""
    from nnspec.engines.boxes import search
    from nnspec.engines.boxes.enclosure import workspace

    tight = 0
    for number, loss in enumerate(LOSSES * 4):
        problem = random_problem(number, activation, loss)
        model = read(problem)
        assert not isinstance(model, str)
        model = closed(model, np.inf)
        r = np.random.default_rng(number)
        hh, d = model.lo.shape
        n, m = len(model.x), model.vlo.shape[1]
        ws = workspace(n, d, m)
        for width in (1.0, 0.3, 0.05, 1e-3):
            a, b = r.uniform(size=(2, hh, d))
            lo = model.lo + np.minimum(a, b) * (model.hi - model.lo)
            hi = lo + width * np.abs(a - b) * (model.hi - model.lo)
            hi = np.minimum(hi, model.hi)
            e = lo + r.uniform(size=lo.shape) * (hi - lo)
            u = r.normal(size=(n, m)) * model.cw[:, None] * r.choice([0.3, 1.0])
            term, argmin = np.zeros(hh), np.zeros((hh, d))
            bound = search.dual_bound(model.arrays(), u, lo, hi, e, model.vlo, model.vhi, term, argmin, ws)
            assert np.isfinite(bound)
            inside = closed(model, np.inf)
            object.__setattr__(inside, "lo", lo)
            object.__setattr__(inside, "hi", hi)
            least = random_values(inside, problem, r, 20).min() - model.constant
            assert bound <= least + 1e-9 * (1 + abs(least)), (loss, number, width)
            tight += bound > 0
    assert tight > 0
