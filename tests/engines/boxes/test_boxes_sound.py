"""No bound above a feasible point: random instances of every activation and loss, judged by nnspec.problem.evaluate."""

from __future__ import annotations

import numpy as np
import pytest
from boxes_problems import COMBINATIONS, LOSSES, random_problem

from nnspec.engines.boxes import BoxesEngine, kinds, search, verify
from nnspec.engines.boxes.enclosure import workspace
from nnspec.engines.boxes.model import Model, closed, read
from nnspec.engines.interface import Limits, Status
from nnspec.problem import Activation, Problem, evaluate
from nnspec.problem.forward import activate


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


@pytest.mark.parametrize("number", [38, 100, 119, 135, 168, 192, 251])
def test_incumbent_is_the_point_of_its_value(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box yields several points; the one kept is the one whose value is. Without a first local search, all incumbents
    come from boxes."""
    from nnspec.engines.boxes import driver

    monkeypatch.setattr(driver, "STARTS", 0)
    problem = random_problem(number, *COMBINATIONS[(number * 7) % len(COMBINATIONS)])
    model = read(problem)
    assert not isinstance(model, str)
    solve = driver.Driver(problem, model, Limits(nodes=60, threads=1, gap=1e-4, seed=number), None, None, None, None)
    outcome = solve.solve(())
    assert outcome.point is not None
    assert evaluate.objective(problem, outcome.point) == pytest.approx(solve.outside(solve.best), rel=1e-11)


def dual_function(model: Model, u: np.ndarray, w: np.ndarray, shift: np.ndarray | float = 0.0) -> float:
    """The bound for hidden weights w (H, D) alone: -l*(u) + sum psi(w) + sum min_v (s v + q2 v^2 + q1 |v|), s with the
    shift added."""
    h = np.column_stack([activate(Activation(kinds.ACTIVATIONS[model.activation], model.alpha), model.x @ w.T),
                         np.ones(len(u))])  # fmt: skip
    numbers = {"loss": model.loss, "parameter": model.parameter}
    u, conjugate = verify.conjugate(numbers, {"y": model.y, "cw": model.cw}, u)
    s = h.T @ u + shift
    candidates = [model.vlo, model.vhi, np.clip(0.0, model.vlo, model.vhi)]
    for t in (s - model.q1, s + model.q1):
        with np.errstate(divide="ignore", invalid="ignore"):
            candidates.append(np.clip(np.where(model.q2 > 0, -t / (2 * model.q2), 0.0), model.vlo, model.vhi))
    least = np.min([s * v + model.q2 * v**2 + model.q1 * np.abs(v) for v in candidates], axis=0)
    return float(-conjugate + least.sum() + (model.p2 * w**2 + model.p1 * np.abs(w)).sum())


@pytest.mark.parametrize("activation", kinds.ACTIVATIONS)
def test_box_bound_for_any_dual_point(activation: str) -> None:
    """For any u, even a random one, the bound over a box lies below the dual function at every point of the box, and
    in a tiny box close to it; and the dual function lies below the objective for any output weights."""
    for number, loss in enumerate(LOSSES * 4):
        problem = random_problem(number, activation, loss)
        model = read(problem)
        assert not isinstance(model, str)
        model = closed(model, np.inf)
        r = np.random.default_rng(number)
        hh, d = model.lo.shape
        n, m = len(model.x), model.vlo.shape[1]
        ws = workspace(n, d, m)
        for width in (1.0, 0.5, 0.25, 0.05, 1e-4):
            a, b = r.uniform(size=(2, hh, d))
            if number % 2 and width > 0.1:  # a coarse grid puts kinks on the edges of boxes
                a, b = np.round(a * 4) / 4, np.round(b * 4) / 4
            lo = model.lo + np.minimum(a, b) * (model.hi - model.lo)
            hi = np.minimum(lo + width * np.abs(a - b) * (model.hi - model.lo), model.hi)
            t = r.uniform(size=lo.shape)
            e = lo + (np.round(t) if number % 2 else t) * (hi - lo)
            u = r.normal(size=(n, m)) * model.cw[:, None] * r.choice([0.1, 0.3, 1.0])
            term, argmin = np.zeros(hh), np.zeros((hh, d))
            table = np.zeros((0, 5))
            bound = search.dual_bound.dispatcher(model.arrays(), u, table, lo, hi, e, model.vlo, model.vhi, term,
                                                 argmin, ws)  # fmt: skip
            points = [e, *(lo + f * (hi - lo) for f in r.uniform(size=(12, hh, d))),
                      *(lo + f * (hi - lo) for f in r.integers(0, 2, size=(12, hh, d)))]  # fmt: skip
            values = [dual_function(model, u, w) for w in points]
            slack = 1e-9 * (1 + abs(bound))
            assert bound <= min(values) + slack, (loss, number, width)
            if width == 1e-4 and activation not in ("sign", "step"):
                assert bound >= min(values) - 0.05 * (1 + abs(bound)), (loss, number)
            v = model.vlo + r.uniform(size=model.vlo.shape) * (model.vhi - model.vlo)
            objective = model.sense * evaluate.objective(problem, model.point(e, v)) - model.constant
            assert values[0] <= objective + 1e-9 * (1 + abs(objective))
