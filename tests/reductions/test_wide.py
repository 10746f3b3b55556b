"""The convex program over all activation patterns: below every network, and reached by wide ones."""

import math
from dataclasses import replace

import numpy as np
import pytest

from nnspec.engines.interface import Limits, Status
from nnspec.engines.run import solve_problem
from nnspec.incumbents import local_search
from nnspec.problem import Activation, Constraint, DataSet
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import objective, violations
from nnspec.reductions import reduce, wide
from nnspec.reductions.decay import Decay
from nnspec.reductions.wide import patterns
from nnspec.reductions.wide_bounds import WideBounds

from .specs import network, problem, random_points, times

GRID = [[i, j] for i in range(3) for j in range(3)]


def spec(seed, units=4):
    """A problem with weight decay: any homogeneous activation, biases that decay or not, or none, degenerate data."""
    rng = np.random.default_rng(seed)
    d, n = int(rng.integers(1, 4)), int(rng.integers(2, 7))
    x = rng.integers(-2, 3, size=(n, d)) / 2.0 if seed % 2 else rng.normal(size=(n, d)).round(2)
    if seed % 5 == 0:
        x = np.outer(rng.normal(size=n).round(1), np.arange(1, d + 1))  # on a line through 0
    y = rng.normal(size=(n, 1)).round(1)
    activation = Activation(str(rng.choice(["relu", "relu", "leaky_relu", "abs"])), 0.2)
    net = network(d, [units], activation, box=(-9.0, 9.0), bias=bool(rng.integers(4)))
    if rng.random() < 0.2:
        net = replace(net, layers=(*net.layers[:-1], replace(net.layers[-1], bias=None)))
    loss = ex.Loss(str(rng.choice(["sse", "mse"])), "f", "D")
    biases = bool(rng.integers(2))
    terms = [times(rng.choice([0.5, 1.0, 3.0]), loss), times(rng.choice([0.02, 0.1, 0.4]), ex.Size(
        "l2", "f", biases=biases)), ex.Constant(float(rng.choice([0.0, -0.7])))]  # fmt: skip
    p = problem(net, x, y, terms)
    if seed % 3 == 0:
        p = replace(p, data={"D": DataSet("D", x, y, weights=rng.integers(1, 4, size=n).astype(float))})
    return p


def lowest(p):
    cases = reduce(p).cases
    return min(c.lower for c in cases), cases


def reached(p, cases):
    """The best of the networks that the program itself found."""
    values = [objective(p, c.inverse(q)) for c in cases for q in c.points if not violations(p, c.inverse(q))]
    return min(values, default=math.inf)


@pytest.mark.parametrize("seed", range(16))
def test_bound_is_below_networks_and_reached_by_wide_ones(seed):
    p = spec(seed, units=6)
    bound, cases = lowest(p)
    assert math.isfinite(bound)
    best = reached(p, cases)
    assert bound <= best + 1e-7
    if p.networks["f"]["out"].bias is not None:  # else the program's constant may need neurons of its own
        assert best - bound <= 1e-5 * max(0.1, abs(best))
    for point in random_points(p, np.random.default_rng(seed), 200):
        assert bound <= objective(p, point) + 1e-7


@pytest.mark.long
def test_bound_is_below_networks_found_by_search():
    equal = 0
    for seed in range(100, 400):
        p = spec(seed, units=int(seed % 4) + 1)
        bound, cases = lowest(p)
        best = min(objective(p, local_search(p, seed, starts=60)[0]), reached(p, cases))
        assert bound <= best + 1e-7, seed
        equal += best - bound <= 1e-4 * max(0.1, abs(best))
    assert equal >= 150


def test_each_case_has_a_bound_below_its_own_networks():
    for seed in range(20):
        p = spec(seed, units=2)
        rng = np.random.default_rng(seed)
        for c in reduce(p).cases:
            for q in [*c.points, *random_points(c.problem, rng, 20)]:
                if not violations(c.problem, q, 1e-9):
                    assert c.lower <= objective(c.problem, q) + 1e-7, (seed, c.label)


def test_without_some_patterns_the_bound_is_wrong(monkeypatch):
    """The test above would see it."""
    wrong = 0
    original = WideBounds.__init__

    def fewer(self, *args):
        original(self, *args)
        self.cells = self.cells[:1]

    for seed in range(16):
        p = spec(seed, units=6)
        best = reached(p, lowest(p)[1])
        monkeypatch.setattr(WideBounds, "__init__", fewer)
        monkeypatch.setattr(wide, "_found", {})
        wrong += lowest(p)[0] > best + 1e-6
        monkeypatch.undo()
    assert wrong >= 6


@pytest.mark.parametrize(
    ("points", "count"),
    [
        ([[0.0], [1.0], [2.0]], 6),  # 3 points on a line: 2 * 3
        ([[0, 0], [0, 1], [1, 0], [1, 1]], 14),
        ([[0, 0], [1, 1], [2, 2]], 6),  # the same three points in the plane
        ([[1.0, 2.0]], 2),
    ],
)
def test_patterns_of_hyperplanes(points, count):
    found = patterns(np.array(points, dtype=float), True)
    assert len(found) == len({tuple(f) for f in found.tolist()})
    assert len(found) >= count  # more than hyperplanes realise do no harm
    rng = np.random.default_rng(0)
    x = np.array(points, dtype=float)
    known = {tuple(f) for f in found.tolist()}
    for _ in range(500):
        w, b = rng.normal(size=x.shape[1]), rng.normal()
        value = x @ w - b * np.abs(x @ w).max()
        if np.all(np.abs(value) > 1e-9):
            assert tuple(np.sign(value)) in known


def test_patterns_of_a_grid_with_many_points_on_lines():
    x = np.array(GRID, dtype=float)
    known = {tuple(f) for f in patterns(x, True).tolist()}
    rng = np.random.default_rng(1)
    for _ in range(2000):
        value = x @ rng.normal(size=2) + rng.normal() * 2
        assert tuple(np.sign(value)) in known


XOR = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def xor(units=2, **more):
    net = network(2, [units], Activation("relu"), box=(-3.0, 3.0))
    terms = [ex.Loss("sse", "f", "D"), times(0.1, ex.Size("l2", "f", biases=True))]
    return problem(net, XOR, np.array([[0.0], [1.0], [1.0], [0.0]]), terms, **more)


def test_networks_that_are_wide_enough_are_proven_without_a_solver():
    lines = []
    r = solve_problem(xor(), Limits(time=30), explain=lines.append)
    assert r.status is Status.OPTIMAL
    assert r.objective == pytest.approx(0.4875902, abs=1e-6)
    assert r.nodes == 0
    assert r.evidence["bound"] == "the convex program over all activation patterns"
    assert "whose solution has few enough neurons" in lines[-1]


def test_one_neuron_is_not_wide_enough():
    r = solve_problem(xor(1), Limits(time=30), engine="solver")
    assert r.status is Status.OPTIMAL
    assert r.objective > 0.4875902 + 1e-3
    assert r.nodes > 0 or r.backend == "scip"


def test_constraints_leave_the_bound_but_not_the_proof():
    """The optimal network of infinite width is no network that the constraint allows."""
    small = Constraint(ex.Comparison("<=", ex.Loss("sse", "f", "D"), ex.Constant(0.05)))
    p = xor(constraints=(small,))
    r = solve_problem(p, Limits(time=30), engine="solver")
    assert r.status is Status.OPTIMAL
    assert r.objective > 0.4875902 + 1e-4
    assert violations(p, r.point) == []


def test_other_losses_and_deep_networks_have_no_such_bound():
    p = xor()
    absolute = replace(p, objective=replace(p.objective, expression=ex.Sum(
        (ex.Loss("sae", "f", "D"), times(0.1, ex.Size("l2", "f", biases=True))))))  # fmt: skip
    assert Decay().applies(absolute, math.inf) is None
    assert all(c.lower == -math.inf for c in reduce(absolute).cases)
    decay = [times(0.1, ex.Size("l2", "f", layer, biases=True)) for layer in ("h2", "out")]
    deep = problem(network(2, [2, 2], Activation("relu")), XOR, p.data["D"].y, [ex.Loss("sse", "f", "D"), *decay])
    assert all(c.lower == -math.inf for c in reduce(deep).cases)
