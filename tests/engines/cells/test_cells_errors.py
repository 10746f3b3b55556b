"""0-1 loss of step and sign neurons on the plane against enumeration of all line-separable subsets."""

from __future__ import annotations

import itertools
import threading
from fractions import Fraction

import numpy as np
import pytest
from cells_models import training

from nnspec.engines.cells import CellsEngine
from nnspec.engines.interface import Limits, Status
from nnspec.problem.evaluate import objective, violations


def half_planes(x: np.ndarray) -> set[frozenset[int]]:
    """All subsets that a line cuts off, exactly: through each pair of points, every split along the line."""
    points = [(Fraction(float(a)), Fraction(float(b))) for a, b in x]
    distinct = sorted(set(points))
    sets: set[frozenset] = {frozenset(), frozenset(distinct)}
    for p in distinct:  # lines that isolate one point in some direction are limits of lines through two
        for q in distinct:
            if p == q:
                continue
            dx, dy = q[0] - p[0], q[1] - p[1]
            side = {r: dx * (r[1] - p[1]) - dy * (r[0] - p[0]) for r in distinct}
            left = frozenset(r for r in distinct if side[r] > 0)
            on = sorted((r for r in distinct if side[r] == 0), key=lambda r: dx * r[0] + dy * r[1])
            for cut in range(len(on) + 1):
                sets.add(left | frozenset(on[:cut]))
                sets.add(left | frozenset(on[cut:]))
    return {frozenset(i for i, p in enumerate(points) if p in s) for s in sets}


def brute(x: np.ndarray, y: np.ndarray, counts: np.ndarray, neurons: int) -> float:
    sets = half_planes(x)
    best = np.inf
    for planes in itertools.combinations_with_replacement(sets, neurons):
        union = frozenset().union(*planes)
        for positive in (1, 0):
            wrong = sum(counts[i] for i in range(len(x)) if (y[i] == positive) != (i in union))
            best = min(best, wrong)
    return float(best)


@pytest.mark.parametrize("seed", range(30))
def test_fewest_errors(seed: int) -> None:
    r = np.random.RandomState(seed)
    n = r.randint(2, 10)
    grid = seed % 3
    x = r.uniform(-1, 1, (n, 2)) if grid == 0 else r.randint(0, 2 + grid, (n, 2)).astype(float)
    if seed % 7 == 6:
        x[:, 1] = 2 * x[:, 0] + 1  # all on one line
    y = (r.rand(n) < 0.5).astype(float)
    counts = np.ones(n) if seed % 2 else r.randint(1, 4, n).astype(float)
    neurons = 1 + seed % 2 if n > 6 else 1 + (seed // 2) % 2
    activation = "step" if seed % 4 < 2 else "sign"
    p = training(x, y, neurons, activation, "errors", weights=2, biases=3, outputs=1, output_bias=1, counts=counts)
    engine = CellsEngine()
    assert engine.accepts(p) is None
    out = engine.solve(p, Limits())
    assert out.point is not None
    assert not violations(p, out.point)
    assert objective(p, out.point) == out.objective
    assert out.objective == brute(x, y, counts, neurons)
    assert out.status is Status.OPTIMAL


def test_boxes_without_room_for_the_margin_are_left_to_the_tree() -> None:
    x, y = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]), np.array([0.0, 1.0, 0.0])
    p = training(x, y, 2, "step", "errors", weights=1, biases=1, outputs=1, output_bias=1, margin=0.6)
    out = CellsEngine().solve(p, Limits())
    assert out.evidence["method"] == "branch-and-bound over activation patterns"
    assert out.status is Status.OPTIMAL
    # from -0.6 to 0.6 and back takes two neurons with |v| >= 1.2
    assert out.objective == objective(p, out.point) == 1.0


def clouds(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    r = np.random.RandomState(0)
    return np.vstack([r.randn(n, 2), r.randn(n, 2) + np.array([[1.0, 0.0]])]), np.repeat([0.0, 1.0], n)


def test_limits_and_stop_claim_nothing() -> None:
    x, y = clouds()
    p = training(x, y, 2, "step", "errors", weights=2, biases=9, outputs=2, output_bias=1)
    optimum = CellsEngine().solve(p, Limits()).objective
    out = CellsEngine().solve(p, Limits(memory=0.01))
    assert out.status is Status.LIMIT
    assert "memory" in out.messages[0]
    assert out.bound <= optimum <= out.objective
    assert objective(p, out.point) == out.objective


def test_a_search_that_was_stopped_is_not_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    from nnspec.engines.cells import errors

    x, y = clouds()
    last = errors.best_pair
    whole = errors.HalfPlanes(x, 2 * y - 1, np.ones(len(y)), 2, 1e9)
    assert whole.run()
    search = errors.HalfPlanes(x, 2 * y - 1, np.ones(len(y)), 2, 1e9)
    roles = []

    def stopped(*arguments):  # type: ignore[no-untyped-def]
        if not any(np.array_equal(arguments[5], words) for words in roles):
            roles.append(arguments[5])
        if len(roles) < 2:
            return last(*arguments)
        search.control[0] = 1  # in the very last search for a pair
        return arguments[7], -1, -1, arguments[9]

    monkeypatch.setattr(errors, "best_pair", stopped)
    assert not search.run()
    assert search.bound < search.best.errors
    assert search.bound <= whole.best.errors


@pytest.mark.parametrize("weighted", [False, True])
def test_bounds_grow_and_are_none_too_high(weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnspec.engines.cells import errors

    monkeypatch.setattr(errors, "STEP", 3)
    x, y = clouds(25)
    weights = np.random.RandomState(3).uniform(0.5, 2.0, len(y)) if weighted else np.ones(len(y))
    search = errors.HalfPlanes(x, 2 * y - 1, weights, 2, 1e9)
    seen: list[tuple[float, float]] = []

    def report() -> None:
        seen.append((search.bound, search.best.errors))
        for role in search.roles:
            if role.stage == errors.PAIRS and role.place:  # what is left costs at least the bound
                sets = [errors._mask(role.planes[0][i], len(y)) for i in role.order[role.place :]]
                left = [weights[(a | b) != role.positive].sum() for a in sets for b in sets]
                assert role.bound <= min(left) + 1e-9

    search.report = report
    assert search.run()
    assert search.bound == search.best.errors
    bounds = [b for b, _ in seen]
    assert bounds == sorted(bounds)
    assert len({b for b in bounds if 0.0 < b < search.best.errors}) >= 3
    assert [e for _, e in seen] == sorted((e for _, e in seen), reverse=True)


def test_stop_event() -> None:
    r = np.random.RandomState(1)
    x, y = r.randn(700, 2), (r.rand(700) < 0.5).astype(float)
    p = training(x, y, 2, "step", "errors", weights=2, biases=9, outputs=2, output_bias=1)
    stop = threading.Event()
    stop.set()
    out = CellsEngine().solve(p, Limits(), stop=stop)
    assert out.status is Status.INTERRUPTED
    assert out.bound <= out.objective
