"""The boxes engine against the others on random small instances: no engine's bound lies above another's point, and
two proofs agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from boxes_problems import COMBINATIONS, random_problem, training

from nnspec.engines.boxes import BoxesEngine
from nnspec.engines.cells import CellsEngine
from nnspec.engines.interface import Limits, Outcome, Status
from nnspec.engines.run import solve_problem
from nnspec.errors import UnsupportedError, UsageError
from nnspec.problem import Group, Problem, SymmetryClaim, evaluate
from nnspec.symmetry import enforced

GAP = 1e-3


def instance(number: int, losses: tuple[str, ...], activations: tuple[str, ...], hidden: int, decay: bool) -> Problem:
    """Three to five samples with one or two inputs; penalties on weights, with or without the biases."""
    r = np.random.default_rng([number, hidden, decay])
    loss, n, d = losses[number % len(losses)], int(r.integers(3, 6)), int(r.integers(1, 3))
    x = np.round(r.normal(size=(n, d)), 2)
    y = r.integers(0, 2, size=(n, 1)).astype(float) if loss in ("hinge", "squared_hinge") else r.normal(size=(n, 1))
    y[:2] = [[0.0], [1.0]]
    options = {"pinball": {"q": 0.3}, "huber": {"delta": 0.5}, "hinge": {"margin": 1.0},
               "squared_hinge": {"margin": 1.0}}  # fmt: skip
    penalties = {}
    if decay:
        penalties = {"decay": float(r.choice([0.05, 0.2, 0.5])), "l1": float(r.choice([0.0, 0.0, 0.1])),
                     "biases": bool(r.integers(2))}  # fmt: skip
    return training(x, y, hidden, str(r.choice(activations)), loss=loss, box=float(r.choice([1.0, 2.0])), alpha=0.2,
                    **penalties, **options.get(loss, {}))  # type: ignore[arg-type]  # fmt: skip


def check(problem: Problem, a: Outcome, b: Outcome) -> bool:
    """Whether both are proofs; fails where they contradict each other."""
    for o in (a, b):
        assert o.status in (Status.OPTIMAL, Status.LIMIT), o
        assert o.point is not None
        assert not evaluate.violations(problem, o.point)
    assert a.objective is not None
    assert b.objective is not None
    slack = 1e-5 * (1 + abs(a.objective))
    sense = 1 if problem.minimize else -1
    assert a.bound is None or sense * a.bound <= sense * b.objective + slack, (a.bound, b.objective)
    assert b.bound is None or sense * b.bound <= sense * a.objective + slack, (b.bound, a.objective)
    if not a.status is b.status is Status.OPTIMAL:
        return False
    assert a.objective == pytest.approx(b.objective, rel=2 * GAP, abs=1e-5)
    return True


def with_cells(number: int, hidden: int, nodes: int) -> bool:
    losses = ("sse", "mse", "sae", "pinball", "max_error", "hinge")
    problem = instance(number, losses, ("relu", "leaky_relu", "abs"), hidden, decay=False)
    assert CellsEngine().accepts(problem) is None
    boxes = BoxesEngine().solve(problem, Limits(nodes=nodes, gap=GAP, threads=1))
    cells = CellsEngine().solve(problem, Limits(gap=GAP, threads=1))
    assert cells.status is Status.OPTIMAL
    return check(problem, boxes, cells)


def with_scip(number: int, hidden: int, nodes: int, seconds: float) -> bool:
    losses = ("sse", "sae", "huber", "pinball", "max_error", "squared_hinge", "hinge")
    problem = instance(number, losses, ("relu", "leaky_relu", "abs", "tanh"), hidden, decay=True)
    boxes = BoxesEngine().solve(problem, Limits(nodes=nodes, gap=GAP, threads=1))
    scip = solve_problem(problem, Limits(gap=GAP, time=seconds, threads=1), engine="solver", incumbents=False)
    if scip.point is None:
        return False
    return check(problem, boxes, scip)


def test_agrees_with_cells() -> None:
    proofs = [with_cells(number, 1 + number % 2, 500) for number in range(14)]
    assert sum(proofs) >= 5


def test_agrees_with_scip() -> None:
    proofs = [with_scip(number, 1, 2000, 1.0) for number in range(8)]
    assert sum(proofs) >= 3


@pytest.mark.long
@pytest.mark.parametrize("block", range(10))
def test_agrees_with_cells_long(block: int) -> None:
    for number in range(1000 + 30 * block, 1030 + 30 * block):
        with_cells(number, 1 + number % 2, 10000)


@pytest.mark.long
@pytest.mark.parametrize("block", range(10))
def test_agrees_with_scip_long(block: int) -> None:
    for number in range(1000 + 8 * block, 1008 + 8 * block):
        with_scip(number, 1 + number % 2, 20000, 20.0)


SWAP, MINUS = Group("swap(0, 1)", (((1, 0), (1, 1)),)), Group("signflip(0)", (((0,), (-1,)),))


def whole_way(number: int) -> tuple[bool, bool]:
    """An instance of any activation and loss, several outputs, penalties, ranges, multiplicities, and in a third of
    them ties, by the boxes engine, the solver and, where it takes it, cells: whether the latter confirmed a proof."""
    problem = random_problem(number, *COMBINATIONS[(number * 29) % len(COMBINATIONS)])
    if number % 3 == 0:
        d = problem.data["D"].x.shape[1]
        problem = replace(problem, symmetry_claims=(SymmetryClaim("enforce", "f", SWAP if d == 2 else MINUS, None),))
        if enforced(problem) and BoxesEngine().accepts(problem) is not None:
            problem = replace(problem, symmetry_claims=())  # cross entropy has no tied form here
    boxes = solve_problem(problem, Limits(nodes=3000, gap=GAP, threads=1), engine="boxes", incumbents=False)
    found = [False, False]
    for k, engine in enumerate(("solver", "cells")):
        try:
            other = solve_problem(problem, Limits(gap=GAP, time=4.0, threads=1), engine=engine, incumbents=False)
        except (UnsupportedError, UsageError):
            continue
        if other.point is None:
            continue
        if problem.networks["f"].layers[1].activation.kind in ("sign", "step"):
            # the solver keeps a distance from jumps: its bound is one for networks that do
            sense = 1 if problem.minimize else -1
            assert boxes.bound is not None
            assert other.objective is not None
            assert sense * boxes.bound <= sense * other.objective + 1e-5 * (1 + abs(other.objective))
        else:
            found[k] = check(problem, boxes, other)
    return found[0], found[1]


@pytest.mark.long
@pytest.mark.parametrize("block", range(15))
def test_whole_way_agrees_long(block: int) -> None:
    confirmed = [whole_way(number) for number in range(10 * block, 10 * block + 10)]
    assert sum(by_solver or by_cells for by_solver, by_cells in confirmed) >= 1
