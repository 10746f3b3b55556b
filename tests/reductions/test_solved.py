"""Optima of the reduced problems, from the solver, against searches on the problem as it was stated."""

import math
from dataclasses import replace

import numpy as np
import pytest

from nnspec.engines.interface import Limits, Status
from nnspec.engines.run import solve_problem
from nnspec.incumbents import local_search
from nnspec.problem import Activation
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import objective, violations

from .specs import network, problem, random_problem, times


def agrees(p, seed, time=20.0):
    """The proven optimum against many local searches: none may be better, the best must be as good."""
    r = solve_problem(p, Limits(time=time), engine="solver", incumbents=bool(seed % 2))
    assert r.status is not Status.ERROR, r.messages
    points = local_search(p, seed, starts=600)
    best = objective(p, points[0]) if points else math.inf
    if r.status is Status.INFEASIBLE:
        assert not points
        return True
    if r.bound is not None:
        assert r.bound <= best + 1e-4 * max(1, abs(best))
    if r.status is not Status.OPTIMAL:
        return False
    assert violations(p, r.point) == []
    assert r.objective == pytest.approx(objective(p, r.point))
    assert r.objective <= best + 1e-4 * max(1, abs(best))
    return True


def small(seed):
    """Random problems whose reduced form has no products left, so that every one is solved in a moment."""
    rng = np.random.default_rng(seed)
    n, activation = int(rng.integers(2, 5)), str(rng.choice(["relu", "leaky_relu", "abs"]))
    x = rng.integers(-2, 3, size=(n, 1)) / 2.0
    y = rng.normal(size=(n, 1)).round(1)
    kinds = ["sse", "sae", "max_error", "huber", "pinball", "hinge", "squared_hinge", "errors"]
    kind = str(rng.choice(kinds))
    if kind in ("hinge", "squared_hinge", "errors"):
        y = (y > 0).astype(float)
    terms = [ex.Loss(kind, "f", "D")]
    if rng.random() < 0.3:
        terms.append(times(0.1, ex.Size(str(rng.choice(["l2", "l0"])), "f", biases=True)))
    box = (-2.0, 2.0) if rng.random() < 0.5 else (-2.0, 1.0)
    return problem(network(1, [int(rng.integers(1, 3))], Activation(activation, 0.1), box=box), x, y, terms)


def deep(seed):
    """Two hidden layers, or two outputs: what the solver proves once the scale of every layer is removed."""
    rng = np.random.default_rng(seed)
    activation = Activation(str(rng.choice(["relu", "leaky_relu", "abs"])), 0.1)
    outputs = int(rng.integers(1, 3))
    hidden = [1] if outputs > 1 else [int(rng.integers(1, 3)), 1]
    n = int(rng.integers(2, 5))
    x, y = rng.integers(-2, 3, size=(n, 1)) / 2.0, rng.normal(size=(n, outputs)).round(1)
    kind = str(rng.choice(["sse", "sae", "max_error", "huber", "pinball"]))
    terms = [ex.Loss(kind, "f", "D")]
    if rng.random() < 0.3:
        terms.append(times(0.1, ex.Size(str(rng.choice(["l0", "neurons"])), "f")))
    box = (-2.0, 2.0) if rng.random() < 0.5 else (-2.0, 1.0)
    return problem(network(1, hidden, activation, outputs, box), x, y, terms)


def test_reduced_optima_on_deep_networks_and_several_outputs():
    solved = sum(agrees(deep(seed), seed, 10) for seed in range(5))
    assert solved >= 4


@pytest.mark.long
def test_reduced_optima_on_more_deep_networks_and_several_outputs():
    solved = sum(agrees(deep(seed), seed, 10) for seed in range(100, 200))
    assert solved >= 80


def test_reduced_optima_on_small_problems():
    solved = sum(agrees(small(seed), seed) for seed in range(8))
    assert solved >= 7


@pytest.mark.long
def test_reduced_optima_on_random_problems():
    solved = sum(agrees(random_problem(seed), seed) for seed in range(300))
    assert solved >= 200


@pytest.mark.long
def test_reduced_optima_on_more_small_problems():
    solved = sum(agrees(small(seed), seed) for seed in range(100, 300))
    assert solved >= 190


def test_relaxed_decay_falls_back_where_a_box_binds():
    """Without decay of the biases and with a narrow box for them, the sum of norms is only a bound."""
    x, y = np.array([[-1.0], [0.0], [1.0]]), np.array([[1.0], [0.0], [0.0]])
    def box(i, role):
        return (-0.3, 0.3) if (i, role) == (0, "bias") else (-3.0, 3.0)

    net = network(1, [1], Activation("relu"), box=box)
    p = problem(net, x, y, [ex.Loss("sse", "f", "D"), times(0.05, ex.Size("l2", "f"))])
    assert agrees(p, 1, 30)


@pytest.mark.parametrize("seed", [20, 482, 552])
def test_samples_on_the_margin_are_right_when_counted(seed):
    """The solver's own solutions lead by the margin less 1e-16, and the neurons' weights stand at their bounds."""
    p = random_problem(seed, budgets=False)
    r = solve_problem(p, Limits(time=20), engine="solver", incumbents=False)
    assert r.status is Status.OPTIMAL
    assert r.objective == r.bound == objective(p, local_search(p, seed, starts=600)[0])


def test_room_beyond_the_margin_is_no_part_of_the_bound():
    """The only networks without errors lead by exactly the margin: none is cut off, and no bound denies them."""
    x, y = np.array([[-1.0], [1.0]]), np.array([[0.0], [1.0]])

    def box(i, role):
        return (0.0, 0.0) if role == "bias" else (-1.0, 1.0)

    for kind in ("real", "int"):
        net = network(1, [2], Activation("relu"), box=box)
        layers = tuple(replace(x, weights=x.weights and replace(x.weights, kind=kind)) for x in net.layers)
        p = problem(replace(net, layers=layers), x, y, [ex.Loss("errors", "f", "D", margin=1.0)])
        r = solve_problem(p, Limits(time=20), engine="solver", incumbents=False)
        assert r.bound == 0.0
        assert r.objective == 0.0 if kind == "int" else r.objective in (0.0, 1.0, 2.0)
        assert (r.status is Status.OPTIMAL) == (r.objective == 0.0)
