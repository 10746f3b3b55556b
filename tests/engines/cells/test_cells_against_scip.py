"""Differential tests: the engine's interval [bound, objective] meets SCIP's on random small problems."""

from __future__ import annotations

import numpy as np
import pytest
from cells_models import scip, training

from nnspec.engines.cells import CellsEngine
from nnspec.engines.interface import Limits, Status
from nnspec.problem.evaluate import objective, violations

KINDS = ("sse", "mse", "sae", "mae", "pinball", "hinge", "max_error")
ACTIVATIONS = ("relu", "abs", "leaky_relu")


def compare(seed: int, limit: float) -> None:
    r = np.random.RandomState(seed)
    kind = KINDS[seed % len(KINDS)]
    activation = ACTIVATIONS[(seed // len(KINDS)) % len(ACTIVATIONS)]
    n, d, neurons = r.randint(3, 7), r.randint(1, 3), r.randint(1, 3)
    shape = r.randint(0, 3)
    if shape == 0:
        x = r.uniform(-1, 1, (n, d))
    elif shape == 1:  # integer grid: duplicates, collinear points
        x = r.randint(-1, 2, (n, d)).astype(float)
    else:  # on a line, and far from 0
        x = 5.0 + np.outer(r.randint(0, 4, n), np.arange(1, d + 1)).astype(float)
    y = (r.rand(n) < 0.5).astype(float) if kind == "hinge" else np.round(r.randn(n), 2)
    box = dict(weights=float(r.choice([0.5, 2.0])), biases=float(r.choice([1.0, 3.0])),
               outputs=float(r.choice([0.5, 1.5])), output_bias=float(r.choice([0.3, 2.0])))  # fmt: skip
    counts = None if r.rand() < 0.5 else r.randint(1, 4, n).astype(float)
    p = training(x, y, neurons, activation, kind, q=0.3, margin=1.0, counts=counts, **box)
    out = CellsEngine().solve(p, Limits(threads=1))
    assert out.status is Status.OPTIMAL
    assert out.point is not None
    assert objective(p, out.point) == pytest.approx(out.objective, abs=1e-12)
    assert not violations(p, out.point, 1e-9)
    assert out.bound <= out.objective + 1e-12
    primal, dual = scip(x, y, neurons, activation, kind, **box, q=0.3, margin=1.0, counts=counts, limit=limit)
    slack = 2e-5 * max(1.0, abs(out.objective))
    assert out.bound <= primal + slack, "the engine's bound is above a network that SCIP found"
    assert dual <= out.objective + slack, "SCIP proved that the engine's network does not exist"


@pytest.mark.parametrize("seed", range(21))
def test_agrees_with_scip(seed: int) -> None:
    compare(seed, 2.0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_agrees_with_scip_300(seed: int) -> None:
    compare(seed, 10.0)
