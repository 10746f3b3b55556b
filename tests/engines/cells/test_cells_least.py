"""The fewest weights, neurons or inputs under a limit of the loss: against all supports one by one, and SCIP."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from cells_models import boxed, teacher, training

from nnspec.engines.cells import CellsEngine
from nnspec.engines.cells.least import GROWTH, Least
from nnspec.engines.cells.model import recognise
from nnspec.engines.interface import Limits, Status
from nnspec.engines.run import solve_problem
from nnspec.engines.solver.engine import SolverEngine
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import objective, value, violations
from nnspec.problem.problem import Constraint, Objective, Problem
from nnspec.tolerances import FEASIBILITY

ENGINE = CellsEngine()
SIZES = {"h": ex.Size("l0", "f", "h"), "out": ex.Size("l0", "f", "out"), "l0": ex.Size("l0", "f"),
         "neurons": ex.Size("neurons", "f"), "inputs": ex.Size("inputs", "f")}  # fmt: skip
KINDS = ("sse", "mse", "sae", "mae", "pinball", "max_error", "huber")


def fewest(p: Problem, prices: dict[str, float], tolerance: float, most: dict[str, int] | None = None) -> Problem:
    """Minimise the prices with the problem's objective <= tolerance, and limits on numbers."""
    goal = Objective("minimize", ex.Sum(tuple(ex.Product((ex.Constant(c), SIZES[n])) for n, c in prices.items())))
    limits = [Constraint(ex.Comparison("<=", p.objective.expression, ex.Constant(tolerance)), "loss")]
    limits += [Constraint(ex.Comparison(">=", ex.Constant(float(k)), SIZES[n])) for n, k in (most or {}).items()]
    return replace(p, objective=goal, constraints=tuple(limits))


def numbers(h: np.ndarray, v: np.ndarray, c: float) -> dict[str, float]:
    return {"h": h.sum(), "out": v.sum() + c, "l0": h.sum() + v.sum() + c, "neurons": v.sum(),
            "inputs": h[:, :-1].any(axis=0).sum()}  # fmt: skip


def by_all_supports(p: Problem, prices: dict[str, float], tolerance: float, most: dict[str, int]) -> float:
    """The least price over all sets of nonzeros; whether a set is enough is the engine's optimum of the loss on it."""
    f = p.networks["f"]
    neurons, d = f.layers[1].weights.shape
    best = np.inf
    for bits in itertools.product((0.0, 1.0), repeat=neurons * (d + 1) + 1):
        h, c = np.array(bits[:-1]).reshape(neurons, d + 1), bits[-1]
        v = h.any(axis=1) * 1.0
        n = numbers(h, v, c)
        price = sum(n[name] * factor for name, factor in prices.items())
        if price >= best or any(n[name] > k for name, k in most.items()):
            continue
        box = f.layers[1].weights.hi.max() * h[:, :-1], f.layers[1].bias.hi.max() * h[:, -1], \
            f.layers[2].weights.hi.max() * v[None, :], f.layers[2].bias.hi * c  # fmt: skip
        q = boxed(p, w=(-box[0], box[0]), b=(-box[1], box[1]), v=(-box[2], box[2]), c=(-box[3], box[3]))
        if ENGINE.solve(q, Limits(threads=1)).objective <= tolerance + FEASIBILITY:
            best = price
    return best


def random_problem(seed: int) -> tuple[Problem, dict[str, float], float, dict[str, int]]:
    """(loss, prices, tolerance, limits); the tolerance is between the optimum and the loss of a constant."""
    r = np.random.RandomState(seed)
    kind = KINDS[seed % len(KINDS)]
    activation = ("relu", "abs", "leaky_relu", "hardtanh")[r.randint(0, 3 if kind == "max_error" else 4)]
    d, neurons = ((1, 1), (2, 1), (1, 2))[r.randint(0, 3)]
    n = r.randint(3, 6)
    x = r.uniform(-1, 1, (n, d)) if r.rand() < 0.5 else r.randint(-1, 3, (n, d)).astype(float)  # or a grid
    box = [float(r.choice([1.0, 2.0])) for _ in range(4)]
    p = training(x, np.round(0.5 + r.randn(n), 2), neurons, activation, kind, *box, q=0.3, delta=0.5)
    top = ENGINE.solve(boxed(p, v=(0.0, 0.0)), Limits(threads=1)).objective
    low = ENGINE.solve(p, Limits(threads=1)).objective
    tolerance = low + float(r.choice([-0.2, 0.05, 0.3, 0.7, 1.2])) * (top - low)
    names = r.choice(list(SIZES), r.randint(1, 3), replace=False)
    most = {"out": 2} if r.rand() < 0.3 else {}
    return p, {n: float(r.choice([1.0, 2.5])) for n in names}, tolerance, most


def compare(seed: int, limit: float) -> None:
    p, prices, tolerance, most = random_problem(seed)
    q = fewest(p, prices, tolerance, most)
    out = ENGINE.solve(q, Limits(threads=1))
    best = by_all_supports(p, prices, tolerance, most)
    if not np.isfinite(best):
        assert out.status is Status.INFEASIBLE
        assert out.point is None
    else:
        assert out.status is Status.OPTIMAL
        assert out.objective == objective(q, out.point) == pytest.approx(best, abs=1e-9)
        assert out.bound == pytest.approx(best, abs=1e-9)
        assert not violations(q, out.point)
    other = SolverEngine("scip").solve(q, Limits(threads=1, time=limit))
    if other.objective is not None and not violations(q, other.point, 0.0):
        assert best <= other.objective + 1e-9
    if other.status is Status.OPTIMAL:
        assert out.status is Status.OPTIMAL
        assert other.bound <= out.objective + 1e-6


@pytest.mark.parametrize("seed", range(14))
def test_agrees_with_all_supports_and_scip(seed: int) -> None:
    compare(seed, 0.5)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 300))
def test_agrees_with_all_supports_and_scip_200(seed: int) -> None:
    compare(seed, 5.0)


def test_known_optima() -> None:
    """N=12, H=2: at most k nonzeros in the hidden layer reach .12378, .08013, .06759, .03854 for k = 2 to 5."""
    p = training(*teacher(12), 2)
    for tolerance, k in ((0.1238, 2), (0.1237, 3), (0.0676, 4), (0.0675, 5), (0.0386, 5), (0.0385, 6)):
        out = ENGINE.solve(fewest(p, {"h": 1.0}, tolerance), Limits())
        assert out.status is Status.OPTIMAL
        assert out.objective == out.bound == k
        assert value(p, out.point, p.objective.expression) <= tolerance
    out = ENGINE.solve(fewest(p, {"h": 1.0}, 0.038), Limits())
    assert out.status is Status.INFEASIBLE


def test_tolerance_at_the_optimum() -> None:
    """A limit that a support reaches exactly is kept; one below it by more than the feasibility tolerance is not."""
    x = np.array([[0.0], [1.0], [2.0], [3.0]])
    y = np.array([0.0, 0.0, 1.0, 3.0])
    p = training(x, y, 1, use_output_bias=False)
    one = ENGINE.solve(boxed(p, b=(0.0, 0.0)), Limits()).objective  # a line through 0
    for tolerance, k in ((one, 2), (one - 0.5 * FEASIBILITY, 2), (one - 2 * FEASIBILITY, 3), (one + 1e-9, 2)):
        out = ENGINE.solve(fewest(p, {"l0": 1.0}, tolerance), Limits())
        assert out.status is Status.OPTIMAL
        assert out.objective == out.bound == k
        assert not violations(fewest(p, {"l0": 1.0}, tolerance), out.point)


@pytest.mark.parametrize(("excess", "excluded"), [(-1.5, True), (-0.5, False), (0.5, False)])
def test_only_what_is_above_the_tolerance_is_excluded(excess: float, excluded: bool) -> None:
    """Without a network that would end the search: a support whose least loss is the limit minus `excess`."""
    x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0.0, 0.0, 1.0, 3.0])
    p = training(x, y, 1, use_output_bias=False)
    whole = ENGINE.solve(p, Limits()).objective
    q = fewest(p, {"l0": 1.0}, whole + excess * FEASIBILITY)
    least = Least(q, recognise(q), Limits(threads=1), None, None)
    least.consider = lambda point: False  # type: ignore[method-assign]
    assert least.search(int(np.argmax(least.sizes))) == excluded
    assert np.any(least.open) != excluded


def test_what_a_support_contains() -> None:
    """Up to the order of neurons with equal boxes."""
    x, y = teacher(6)
    p = training(x[:, :1], y, 2, use_output_bias=False)
    q = fewest(p, {"l0": 1.0}, 0.1)
    for problem, orders in ((q, 2), (replace(q, networks=boxed(q, w=([[-1.0], [-2.0]], 1.0)).networks), 1)):
        least = Least(problem, recognise(problem), Limits(), None, None)
        supports = [s.hidden.astype(int).tolist() for s in recognise(problem).supports]
        inside = least.inside(supports.index([[1, 0], [1, 1]]))
        for part, contained in (([[1, 0], [1, 0]], True), ([[0, 1], [1, 0]], orders == 2), ([[0, 1], [0, 1]], False),
                                ([[1, 1], [1, 1]], False)):  # fmt: skip
            assert inside[supports.index(part)] == contained


def test_around_is_the_inverse_of_inside() -> None:
    x, y = teacher(6)
    for p in (training(x[:, :1], y, 2), boxed(training(x[:, :1], y, 2), w=([[-1.0], [-2.0]], 1.0))):
        q = fewest(p, {"l0": 1.0}, 0.1)
        least = Least(q, recognise(q), Limits(), None, None)
        inside = np.array([least.inside(s) for s in range(len(least.open))])
        assert np.array_equal(inside.T, [least.around(s) for s in range(len(least.open))])
        assert np.any(inside != inside.T)


def test_the_cheapest_support_grows_while_local_search_stays_above_the_limit() -> None:
    tolerance = 0.1
    p = fewest(training(*teacher(12), 2), {"l0": 1.0}, tolerance)
    least = Least(p, recognise(p), Limits(threads=1), None, None)
    least.descend()
    cheapest = np.flatnonzero(least.open & (least.prices == least.prices.min()))
    s = least.choose()
    assert np.any(least.inside(s)[cheapest])
    assert least.sizes[s] > least.sizes[cheapest].max()
    assert least.value(s) > (GROWTH - 1.0) * tolerance
    larger = least.around(s) & ~least.inside(s)
    assert all(least.feasible[t] or least.value(t) <= (GROWTH - 1.0) * tolerance for t in least.smallest(larger))


def test_limits_and_start() -> None:
    p = fewest(training(*teacher(20), 2), {"l0": 1.0}, 0.3)
    whole = ENGINE.solve(p, Limits(threads=1))
    assert whole.status is Status.OPTIMAL
    seen: list = []
    for nodes in (0, 1000):
        out = ENGINE.solve(p, Limits(nodes=nodes, threads=1), on_progress=seen.append)
        assert out.bound <= whole.objective
        assert out.objective is None or out.objective >= whole.objective
    assert all(not violations(p, s.point) for s in seen if s.point is not None)
    assert ENGINE.solve(p, Limits(nodes=0), start=(whole.point,)).objective == whole.objective


def test_whole_way() -> None:
    p = fewest(training(*teacher(10), 2, weights=5.0, biases=5.0, outputs=5.0), {"neurons": 1.0, "inputs": 0.5}, 0.12)
    out = solve_problem(p, Limits(), engine="cells")
    assert out.status is Status.OPTIMAL
    assert out.objective == out.bound == 2.0


def test_refusals() -> None:
    p = training(*teacher(6), 2)
    q = fewest(p, {"l0": 1.0}, 0.1)
    assert "one loss" in ENGINE.accepts(replace(q, constraints=q.constraints * 2))
    assert "one loss" in ENGINE.accepts(replace(q, constraints=()))
    reward = replace(q, constraints=(Constraint(ex.Comparison(">=", p.objective.expression, ex.Constant(0.1))),))
    assert ENGINE.accepts(reward)
    assert "errors" in ENGINE.accepts(fewest(training(*teacher(6), 2, kind="errors", margin=1.0), {"l0": 1.0}, 2.0))
