"""Tied weights of enforced symmetries: each case against SCIP and the boxes engine, and the whole way of a solve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cells_models import agree, teacher, training

from nnspec.engines.boxes import BoxesEngine
from nnspec.engines.cells import CellsEngine
from nnspec.engines.cells.model import recognise
from nnspec.engines.interface import Limits, Status
from nnspec.engines.run import solve_problem
from nnspec.engines.solver.engine import SolverEngine
from nnspec.problem import Group, Problem, SymmetryClaim
from nnspec.symmetry import expand

ENGINE = CellsEngine()
SWAP = Group("swap(0, 1)", (((1, 0), (1, 1)),))
FLIP = Group("signflip", (((0, 1), (-1, -1)),))
TURN = Group("turn", (((1, 0), (1, -1)),))
MINUS = Group("signflip(0)", (((0,), (-1,)),))
GROUPS = ((SWAP, None), (SWAP, MINUS), (FLIP, None), (FLIP, MINUS), (TURN, None))


def enforced(problem: Problem, group: Group, outputs: Group | None = None) -> Problem:
    return replace(problem, symmetry_claims=(SymmetryClaim("enforce", "f", group, outputs),))


def random_problem(seed: int) -> tuple[Problem, float]:
    """A problem with an enforced symmetry, and its weight decay."""
    r = np.random.RandomState(seed)
    kind = ("sse", "mse", "sae", "mae", "pinball", "huber", "max_error", "errors")[seed % 8]
    activations = ("relu", "abs", "leaky_relu", "hardtanh", "step", "sign")
    activation = activations[r.randint(0, 4 if kind == "errors" else 6)]
    n, neurons = r.randint(3, 6), r.randint(1, 4)
    x = r.uniform(-1, 1, (n, 2)) if r.rand() < 0.5 else r.randint(-1, 2, (n, 2)).astype(float)  # or a grid
    y = (r.rand(n) < 0.5).astype(float) if kind == "errors" else np.round(r.randn(n), 2)
    decay = 0.0 if activation in activations[3:] or kind == "errors" else float(r.choice([0.0, 0.0, 0.05]))
    box = [float(r.choice([1.0, 3.0])) for _ in range(3)]
    p = training(x, y, neurons, activation, kind, *box, 2.0, q=0.3, delta=0.5, margin=0.25, decay=decay,
                 decay_biases=bool(r.rand() < 0.5), bias=bool(r.rand() < 0.8) or activation in activations[4:],
                 use_output_bias=bool(r.rand() < 0.8))  # fmt: skip
    return enforced(p, *GROUPS[r.randint(0, len(GROUPS))]), decay


def compare(seed: int, limit: float) -> None:
    p, decay = random_problem(seed)
    for case in expand(p):
        reason = ENGINE.accepts(case.plain)
        if reason is not None:
            assert "ties that turn" in reason
            continue
        out = ENGINE.solve(case.plain, Limits(threads=1))
        assert out.status is Status.OPTIMAL or (decay and out.messages)  # boxes that bind together with decay
        assert case.tied.holds(out.point)
        other = SolverEngine("scip").solve(case.problem, Limits(threads=1, time=limit))
        agree(case.plain, out, other, out.status is Status.OPTIMAL)


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_scip(seed: int) -> None:
    compare(seed, 0.7)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 250))
def test_agrees_with_scip_150(seed: int) -> None:
    compare(seed, 5.0)


@pytest.mark.parametrize(("activation", "group"), [("relu", SWAP), ("abs", FLIP)])
def test_agrees_with_the_boxes_engine(activation: str, group: Group) -> None:
    x, y = teacher(5)
    p = training(x, y, 2, activation, "huber", 2.0, 2.0, 2.0, 2.0, delta=0.5)
    for case in expand(enforced(p, group)):
        out = ENGINE.solve(case.plain, Limits(threads=1))
        assert out.status is Status.OPTIMAL
        agree(case.plain, out, BoxesEngine().solve(case.plain, Limits(gap=1e-2, threads=1, time=1)))


def test_whole_way() -> None:
    """The best of all cases, symmetric to the last bit, with a start that is another engine's optimum."""
    x, y = teacher(9)
    p = enforced(training(x, y, 2), SWAP)
    said: list[str] = []
    out = solve_problem(p, Limits(threads=1), engine="cells", explain=said.append)
    assert out.status is Status.OPTIMAL
    assert out.engine == "cells"
    cases = [ENGINE.solve(case.plain, Limits(threads=1)) for case in expand(p)]
    assert len(cases) > 1
    assert out.objective == pytest.approx(min(c.objective for c in cases), rel=2e-6)
    assert any(case.tied.holds(out.point) for case in expand(p))
    best = min(cases, key=lambda c: c.objective)
    case = next(case for case in expand(p) if case.tied.holds(best.point))
    assert ENGINE.solve(case.plain, Limits(nodes=0), start=(best.point,)).objective <= best.objective * (1 + 1e-9)


def test_orbits_of_the_whole_data_cost_nothing() -> None:
    """Data and targets that the group leaves alone: two mirrored neurons are as good as the best pair."""
    r = np.random.RandomState(0)
    x = r.uniform(-1, 1, (6, 2))
    y = np.maximum(x[:, 0] - 0.5 * x[:, 1], 0) + np.maximum(x[:, 1] - 0.5 * x[:, 0], 0)
    p = training(np.vstack([x, x[:, ::-1]]), np.append(y, y), 2)
    out = solve_problem(enforced(p, SWAP), Limits(threads=1), engine="cells", incumbents=False)
    assert out.status is Status.OPTIMAL
    assert out.objective == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("activation", ["step", "sign"])
def test_tied_steps_against_sampled_directions(activation: str) -> None:
    """Two neurons that the swap exchanges: one direction for both, and all that 100,000 of them do to the samples."""
    r = np.random.RandomState(4)
    x, y = r.uniform(-1, 1, (7, 2)), r.randn(7)
    low = 0.0 if activation == "step" else -1.0
    directions = r.randn(100_000, 3)
    sides = [directions[:, [0, 1]] @ x.T + directions[:, 2:] >= 0, directions[:, [1, 0]] @ x.T + directions[:, 2:] >= 0]
    for outputs, sign in ((None, 1.0), (MINUS, -1.0)):
        total = np.where(sides[0], 1.0, low) + sign * np.where(sides[1], 1.0, low)
        best = np.inf
        for h in np.unique(total, axis=0):
            a = np.column_stack([h, np.ones(7)]) if sign > 0 else h[:, None]  # an output bias would change its sign
            z = np.linalg.lstsq(a, y, rcond=None)[0]
            best = min(best, float(np.sum((a @ z - y) ** 2)))
        p = enforced(training(x, y, 2, activation, use_output_bias=sign > 0), SWAP, outputs)
        pair = next(case for case in expand(p) if len(recognise(case.plain).ties.members) == 1)
        out = ENGINE.solve(pair.plain, Limits(threads=1))
        assert out.status is Status.OPTIMAL
        assert out.objective == pytest.approx(best, rel=2e-6)


def test_refusals() -> None:
    x, y = teacher(6)
    assert "errors" in ENGINE.accepts(enforced(training(x, y > 0, 2, "step", "errors"), SWAP))
    assert "boxes" in ENGINE.accepts(enforced(training(x, y, 2, "step", bias=False), SWAP))
