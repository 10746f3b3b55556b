"""The general search: huber, squared hinge, the largest error, and weight decay with every loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cells_models import scip, teacher, training

from nnspec.engines.cells import CellsEngine
from nnspec.engines.cells.interior import CUT, KEPT, SOLVED, certified, primal
from nnspec.engines.cells.interior import minimise as linked_minimise
from nnspec.engines.interface import Limits, Status
from nnspec.problem.evaluate import objective, violations

ENGINE = CellsEngine()
minimise = linked_minimise.dispatcher
LOSSES = ("sse", "mse", "sae", "mae", "pinball", "hinge", "huber", "squared_hinge", "max_error")
ACTIVATIONS = ("relu", "abs", "leaky_relu")
CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float)
XOR = np.array([0.0, 1.0, 1.0, 0.0])


# -- the convex problems -----------------------------------------------------------------------------------------------


def convex_problem(seed: int):
    """A random one of the module's form, and a point that respects its constraints."""
    r = np.random.RandomState(seed)
    size, samples = r.randint(2, 9), r.randint(1, 15)
    a, target = r.uniform(-1, 1, (samples, size)), r.uniform(-1, 1, samples)
    lower, q, rss = np.eye(size) * 1e-9, np.zeros(size), 0.0
    rows, y, bounds = [], [], []
    kind = r.randint(0, 5)
    if kind == 0:  # squares in the factor
        orthogonal, upper = np.linalg.qr(np.vstack([lower.T, a]))
        values = np.append(q, target)
        signs = np.where(np.diag(upper) < 0, -1.0, 1.0)
        lower, q = np.ascontiguousarray((upper * signs[:, None]).T), signs * (orthogonal.T @ values)
        rss = float(values @ values - q @ q)
    else:
        rows, y = list(a), list(target)
        each = {1: (-np.inf, np.inf, 0.5), 2: (-0.2, 0.2, 1.0), 3: (0, np.inf, 0.5), 4: (-1, 1, 0.0)}[kind]
        bounds = [each] * samples
    inside = r.uniform(-1, 1, size)
    for _ in range(r.randint(0, 12)):
        g = r.uniform(-1, 1, size)
        g /= np.linalg.norm(g)
        rows.append(g)
        y.append(g @ inside - r.choice([0.0, r.rand()]))
        bounds.append((0, np.inf, 0.0))
    for g in np.vstack([np.eye(size), -np.eye(size)]):
        rows.append(g)
        y.append(-3.0)
        bounds.append((0, np.inf, 0.0))
    blocks = r.uniform(-1, 1, (r.randint(0, 3), r.randint(1, size + 1), size))
    lo, hi, kappa = np.array(bounds, dtype=float).T.copy()
    nu = r.uniform(0.01, 1, len(blocks))
    return (size, lower, q, rss, np.array(rows), np.array(y), lo, hi, kappa, len(y), blocks, nu), inside


@pytest.mark.parametrize("seed", range(60))
def test_value_and_bound_of_a_convex_problem_meet(seed: int) -> None:
    p, inside = convex_problem(seed)
    size, m, blocks = p[0], p[9], p[10]
    z, u, g, centre = np.zeros(size), np.zeros(m), np.zeros(blocks.shape[:2]), np.zeros(size)
    reach = np.full(size, 1e4)
    status, bound = minimise(*p, reach, np.inf, 1e-6, z, u, g, centre)
    value, worst = primal(*p, z)
    assert status == SOLVED
    assert worst <= 1e-8
    assert bound <= value + 1e-9 * (1 + abs(value))
    assert value - bound <= 2e-6 * (1 + abs(value))
    known, worst = primal(*p, inside)
    assert worst <= 1e-12
    assert bound <= known + 1e-9 * (1 + abs(known))
    # far below: cut before the end; far above: kept, with a bound that is valid all the same
    assert minimise(*p, reach, 0.5 * bound - 1e-3, -0.02, z, u, g, centre)[0] == CUT
    status, weak = minimise(*p, reach, 2 * value + 1.0, -0.02, z, u, g, centre)
    assert status == KEPT
    assert weak <= value + 1e-9 * (1 + abs(value))


@pytest.mark.parametrize("seed", range(30))
def test_any_multipliers_give_a_bound(seed: int) -> None:
    p, inside = convex_problem(seed)
    size, lower, q, rss, rows, y, lo, hi, kappa, m, blocks, nu = p
    r = np.random.RandomState(seed)
    reach = np.full(size, 3.0)
    z = r.uniform(-3, 3, size)
    u = np.clip(r.randn(m), lo, hi)
    g = r.randn(*blocks.shape[:2])
    for b in range(len(blocks)):
        g[b] *= nu[b] * r.rand() / np.linalg.norm(g[b])
    bound = certified(size, lower, q, rss, rows, y, kappa, m, blocks, z, u, g, reach, np.zeros(size))
    known, _ = primal(*p, inside)
    remainder = float(np.sum((lower.T @ (inside - z)) ** 2))
    assert bound + remainder <= known + 1e-9 * (1 + abs(known))


# -- known optima ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "optimum"),
    [
        (training(CORNERS, XOR, 2, "relu", "sse", 3, 3, 3, 3, decay=0.1, decay_biases=True), 0.48759),
        (training(2 * CORNERS - 1, 2 * XOR - 1, 2, decay=0.05), 0.277843),
        (training(*teacher(12), 2, decay=0.02), 0.12574),
        (training(*teacher(12), 2, kind="huber"), 0.03816 / 2),
        (training(*teacher(12), 2, kind="sae", decay=1e-7), None),
        (training(*teacher(12), 2, kind="max_error", decay=1e-7), None),
    ],
)
def test_known_optima(problem, optimum) -> None:
    out = ENGINE.solve(problem, Limits())
    assert out.status is Status.OPTIMAL
    assert objective(problem, out.point) == pytest.approx(out.objective, abs=1e-12)
    if optimum is None:  # hardly any decay: the optimum without it, by the search that is made for it
        kind = problem.objective.expression.terms[0].kind
        plain = ENGINE.solve(training(*teacher(12), 2, kind=kind), Limits())
        assert plain.bound - 1e-9 <= out.objective
        optimum = plain.objective
    assert out.objective == pytest.approx(optimum, abs=1e-5)


@pytest.mark.long
def test_three_neurons_with_decay() -> None:
    out = ENGINE.solve(training(*teacher(12), 3, decay=0.02), Limits())
    assert out.status is Status.OPTIMAL
    assert out.objective == pytest.approx(0.11857, abs=1e-5)


def test_known_networks_are_taken() -> None:
    p = training(*teacher(12), 2, decay=0.02)
    first = ENGINE.solve(p, Limits())
    again = ENGINE.solve(p, Limits(nodes=0), start=(first.point,))
    assert again.objective <= first.objective + 1e-12


def test_same_result_for_any_number_of_threads() -> None:
    p = training(*teacher(10), 2, kind="huber", delta=0.1)
    one, two = (ENGINE.solve(p, Limits(threads=t)) for t in (1, 2))
    assert one.nodes == two.nodes
    assert one.objective == two.objective


def test_decay_with_a_limit_on_neurons() -> None:
    x, y = teacher(10)
    p = training(x, y, 2, decay=0.02)
    f = p.networks["f"]
    out = replace(f.layers[2], l0=2)  # one output weight and the output bias, or two weights
    limited = replace(p, networks={"f": replace(f, layers=(f.layers[0], f.layers[1], out))})
    both, one = ENGINE.solve(limited, Limits()), ENGINE.solve(training(x, y, 1, decay=0.02), Limits())
    assert both.status is Status.OPTIMAL
    assert not violations(limited, both.point, 1e-9)
    assert both.objective <= one.objective * (1 + 1e-6)
    v = np.asarray(both.point.parameters["f.out.weights"])
    assert np.count_nonzero(v) + np.count_nonzero(both.point.parameters["f.out.bias"]) <= 2


def test_boxes_that_bind_with_decay_are_told() -> None:
    """The decay wants equal sizes of v and w, the boxes forbid it: no proof, and no wrong one."""
    p = training(*teacher(8), 1, decay=0.02, outputs=0.05)
    out = ENGINE.solve(p, Limits())
    free = ENGINE.solve(training(*teacher(8), 1, decay=0.02), Limits())
    assert out.status is Status.LIMIT
    assert out.messages
    assert out.bound <= out.objective
    assert free.objective < out.objective
    assert not violations(p, out.point, 1e-9)


# -- agreement ---------------------------------------------------------------------------------------------------------


def compare(seed: int, limit: float) -> None:
    """The engine's interval [bound, objective] meets SCIP's on a random small problem."""
    r = np.random.RandomState(seed)
    kind = LOSSES[seed % len(LOSSES)]
    decay = 0.0 if kind in ("huber", "squared_hinge") and r.rand() < 0.5 else float(r.choice([0.01, 0.2]))
    activation = ACTIVATIONS[r.randint(0, 3)]
    n, d, neurons = r.randint(3, 6), r.randint(1, 3), r.randint(1, 3)
    shape = r.randint(0, 3)
    if shape == 0:
        x = r.uniform(-1, 1, (n, d))
    elif shape == 1:  # integer grid: duplicates, collinear points
        x = r.randint(-1, 2, (n, d)).astype(float)
    else:  # on a line, and far from 0
        x = 5.0 + np.outer(r.randint(0, 4, n), np.arange(1, d + 1)).astype(float)
    y = (r.rand(n) < 0.5).astype(float) if "hinge" in kind else np.round(r.randn(n), 2)
    box = dict(weights=float(r.choice([0.5, 4.0])), biases=float(r.choice([1.0, 4.0])),
               outputs=float(r.choice([0.5, 4.0])), output_bias=float(r.choice([0.3, 4.0])))  # fmt: skip
    more = dict(q=0.3, margin=1.0, delta=float(r.choice([0.2, 1.0])), decay=decay, decay_biases=bool(r.rand() < 0.5),
                counts=None if r.rand() < 0.5 else r.randint(1, 4, n).astype(float))  # fmt: skip
    p = training(x, y, neurons, activation, kind, **box, **more)
    out = ENGINE.solve(p, Limits(threads=1))
    # boxes that bind together with decay: the bound may stay below
    assert out.status is Status.OPTIMAL or (decay and out.messages)
    assert objective(p, out.point) == pytest.approx(out.objective, abs=1e-12)
    assert not violations(p, out.point, 1e-9)
    assert out.bound <= out.objective + 1e-12
    primal, dual = scip(x, y, neurons, activation, kind, **box, **more, limit=limit)
    slack = 2e-5 * max(1.0, abs(out.objective))
    assert out.bound <= primal + slack, "the engine's bound is above a network that SCIP found"
    if out.status is Status.OPTIMAL:
        assert dual <= out.objective + slack, "SCIP proved that the engine's network does not exist"


@pytest.mark.parametrize("seed", range(9))
def test_agrees_with_scip(seed: int) -> None:
    compare(seed, 1.5)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2000, 2200))
def test_agrees_with_scip_200(seed: int) -> None:
    compare(seed, 10.0)


def test_boxes_of_all_signs_agree_with_the_search_for_squares() -> None:
    """A tiny decay leaves the optimum of the plain search, boxes and signs included."""
    r = np.random.RandomState(3)
    for seed in range(4):
        x, y = teacher(7, seed=seed)
        box = dict(weights=1.0, biases=float(r.choice([0.3, 2.0])), outputs=float(r.choice([0.4, 2.0])),
                   output_bias=0.2)  # fmt: skip
        plain = ENGINE.solve(training(x, y, 2, **box), Limits())
        near = ENGINE.solve(training(x, y, 2, **box, kind="huber", delta=1e3), Limits())
        assert 2 * near.objective == pytest.approx(plain.objective, rel=1e-5, abs=1e-8)


def test_the_solver_goes_on_where_boxes_bind_with_decay() -> None:
    from nnspec.engines.run import solve_problem

    p = training([[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 1.0, 3.0], weights=0.5, biases=3.0, decay=0.05)
    said: list[str] = []
    out = solve_problem(p, Limits(), explain=said.append)
    assert out.status is Status.OPTIMAL
    assert out.engine == "solver"
    assert any("on to the solver" in line for line in said)
    assert ENGINE.solve(p, Limits()).bound <= out.objective


# -- hardtanh, step, sign ----------------------------------------------------------------------------------------------


def compare_activation(activation: str, seed: int, limit: float) -> None:
    r = np.random.RandomState(seed)
    n, d, neurons = r.randint(3, 6), r.randint(1, 3), r.randint(1, 3)
    x = r.uniform(-1, 1, (n, d)) if r.rand() < 0.5 else r.randint(-1, 2, (n, d)).astype(float)
    kind = LOSSES[seed % len(LOSSES)]
    y = (r.rand(n) < 0.5).astype(float) if "hinge" in kind else np.round(r.randn(n), 2)
    box = dict(weights=float(r.choice([0.5, 4.0])), biases=float(r.choice([1.0, 4.0])),
               outputs=float(r.choice([0.5, 4.0])), output_bias=float(r.choice([0.3, 4.0])))  # fmt: skip
    more = dict(q=0.3, margin=1.0, delta=0.5)
    p = training(x, y, neurons, activation, kind, **box, **more)
    out = ENGINE.solve(p, Limits(threads=1))
    assert out.bound <= out.objective
    assert out.objective - out.bound <= 1e-5 * max(1.0, out.objective)  # cells without an interior cost digits
    assert objective(p, out.point) == pytest.approx(out.objective, abs=1e-12)
    assert not violations(p, out.point, 1e-9)
    primal, dual = scip(x, y, neurons, activation, kind, **box, **more, limit=limit)
    slack = 2e-5 * max(1.0, abs(out.objective))
    assert out.bound <= primal + slack
    assert dual <= out.objective + slack


@pytest.mark.parametrize("activation", ["hardtanh", "step", "sign"])
@pytest.mark.parametrize("seed", range(4))
def test_other_activations_agree_with_scip(activation: str, seed: int) -> None:
    compare_activation(activation, seed, 1.0)


@pytest.mark.long
@pytest.mark.parametrize("activation", ["hardtanh", "step", "sign"])
@pytest.mark.parametrize("seed", range(100, 170))
def test_other_activations_agree_with_scip_210(activation: str, seed: int) -> None:
    compare_activation(activation, seed, 5.0)


@pytest.mark.parametrize("activation", ["step", "sign"])
def test_one_threshold_on_a_line(activation: str) -> None:
    """One neuron on one input: all thresholds between neighbours, by enumeration."""
    r = np.random.RandomState(5)
    x, y = r.uniform(-1, 1, 12), r.randn(12)
    order = np.argsort(x)
    best = min(np.var(y[order[:k]]) * k + np.var(y[order[k:]]) * (12 - k) for k in range(1, 12))
    p = training(x[:, None], y, 1, activation)
    out = ENGINE.solve(p, Limits())
    assert out.status is Status.OPTIMAL
    assert out.objective == pytest.approx(best, rel=1e-6)
    start = ENGINE.solve(p, Limits(nodes=0), start=(out.point,))
    assert start.objective == pytest.approx(best, rel=1e-6)


def test_samples_on_the_jump() -> None:
    """On a grid every line through two samples meets others: sides have to be told apart exactly."""
    x = np.array([[a, b] for a in (-1.0, 0.0, 1.0) for b in (-1.0, 0.0, 1.0)])
    inside = x[:, 0] + x[:, 1] >= 0  # through three samples
    out = ENGINE.solve(training(x, inside * 1.0, 1, "step"), Limits())
    assert out.objective == pytest.approx(0.0, abs=1e-12)
    middle = np.all(x == 0.0, axis=1) | (x[:, 0] + x[:, 1] > 0)  # no line has the middle of three samples alone
    out = ENGINE.solve(training(x, middle * 1.0, 1, "step"), Limits())
    assert out.status is Status.OPTIMAL
    assert out.objective > 0.1


def test_hardtanh_without_boxes_is_no_worse_than_with() -> None:
    x, y = teacher(9)
    free = ENGINE.solve(training(x, y, 1, "hardtanh"), Limits())
    boxed = ENGINE.solve(training(x, y, 1, "hardtanh", weights=2.0, biases=2.0, outputs=2.0), Limits())
    one_sided = training(x, y, 1, "hardtanh", weights=2.0, biases=2.0, outputs=2.0)
    f = one_sided.networks["f"]
    bias = replace(f.layers[1].bias, lo=np.zeros(1))  # no flips: both signs are searched
    one_sided = replace(one_sided, networks={"f": replace(f, layers=(
        f.layers[0], replace(f.layers[1], bias=bias), f.layers[2]))})  # fmt: skip
    half = ENGINE.solve(one_sided, Limits())
    assert free.status is boxed.status is half.status is Status.OPTIMAL
    assert free.objective <= boxed.objective + 1e-9
    # (w, b, v) and (-w, -b, -v) are the same network: b >= 0 loses nothing
    assert half.objective == pytest.approx(boxed.objective, rel=1e-5)


def test_a_number_that_is_none_is_no_loss() -> None:
    """An iterate that is not a number must not pass for a network without loss."""
    from nnspec.engines.cells.interior import row_value

    for lo, hi, kappa in ((0.0, 1.0, 0.0), (-1.0, 1.0, 0.0), (-np.inf, np.inf, 0.5)):
        assert row_value(np.nan, lo, hi, kappa) == np.inf
        assert row_value(0.0, lo, hi, kappa) == 0.0
