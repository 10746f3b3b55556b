"""Many inputs, and data that do not span them: against all patterns one by one, and mixed-integer programs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from cells_models import training
from errors_milp import fewest
from scipy.optimize import linprog

from nnspec.engines.cells import CellsEngine
from nnspec.engines.interface import Limits, Status
from nnspec.problem.evaluate import objective

SHAPES = ("more inputs than samples", "rank 2", "on a line", "grid with duplicates", "on a hyperplane")


def data(shape: str, d: int, n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    r = np.random.RandomState(d + 100 * SHAPES.index(shape))
    x = r.uniform(-1, 1, (n, d))
    if shape == "rank 2":
        x = r.uniform(-1, 1, (n, 2)) @ r.uniform(-1, 1, (2, d))
    elif shape == "on a line":
        x = 3.0 + np.outer(r.randint(0, 5, n), r.randint(1, 4, d)).astype(float)
    elif shape == "grid with duplicates":
        x = np.repeat(r.randint(-1, 2, (n // 2, d)), 2, axis=0).astype(float)
    elif shape == "on a hyperplane":
        x[:, -1] = 1.0 - x[:, :-1].sum(axis=1)
    return x, np.round(r.randn(n), 2)


def least_absolute(x: np.ndarray, y: np.ndarray) -> float:
    """One relu neuron: a linear program for each sign and pattern."""
    n, d = x.shape
    z = np.hstack([x, np.ones((n, 1))])
    best = np.inf
    for sign, pattern in itertools.product((1.0, -1.0), itertools.product((0.0, 1.0), repeat=n)):
        on = np.array(pattern)
        output = np.hstack([sign * on[:, None] * z, np.ones((n, 1))])  # of (w, b) and the output bias
        sides = np.hstack([-(2 * on - 1)[:, None] * z, np.zeros((n, 1 + n))])
        above, below = np.hstack([output, -np.eye(n)]), np.hstack([-output, -np.eye(n)])
        result = linprog(np.append(np.zeros(d + 2), np.ones(n)), A_ub=np.vstack([sides, above, below]),
                         b_ub=np.concatenate([np.zeros(n), y, -y]), bounds=(None, None))  # fmt: skip
        best = min(best, float(result.fun))
    return best


@pytest.mark.parametrize("d", [5, 8, 10])
@pytest.mark.parametrize("shape", SHAPES)
def test_one_neuron_against_all_patterns(shape: str, d: int) -> None:
    x, y = data(shape, d)
    p = training(x, y, 1, "relu", "sae")
    out = CellsEngine().solve(p, Limits(threads=1))
    assert out.status is Status.OPTIMAL
    assert out.objective == objective(p, out.point)
    want = least_absolute(x, y)
    assert out.bound <= want + 1e-7
    assert out.objective == pytest.approx(want, rel=2e-6, abs=1e-7)


@pytest.mark.parametrize("d", [6, 9])
@pytest.mark.parametrize("shape", SHAPES)
def test_fewest_errors_against_a_mixed_integer_program(shape: str, d: int) -> None:
    x, y = data(shape, d)
    box = dict(weights=1.0, biases=2.0, outputs=0.7, output_bias=0.2)
    out = CellsEngine().solve(training(x, y > 0, 1, "relu", "errors", margin=0.3, **box), Limits(threads=1))
    assert out.status is Status.OPTIMAL
    assert out.objective == pytest.approx(fewest(x, y, 1, "relu", margin=0.3, **box), abs=1e-6)


@pytest.mark.parametrize("kind", ["sse", "huber"])
def test_polytopes_without_room_lose_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    r = np.random.RandomState(0)
    x, y = r.uniform(-1, 1, (14, 5)), r.randn(14)
    p = training(x, y, 1, "relu", kind)
    found = []
    for room in (7, 400):
        monkeypatch.setattr("nnspec.engines.cells.dolls.polytope_room", lambda r, room=room: room)
        out = CellsEngine().solve(p, Limits(threads=1))
        assert out.status is Status.OPTIMAL
        found.append(out)
    assert found[0].objective == pytest.approx(found[1].objective, rel=2e-6)
    assert found[0].nodes > found[1].nodes
