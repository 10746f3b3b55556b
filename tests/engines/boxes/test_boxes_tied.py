"""Enforced symmetries: tied neurons as one neuron on copies of the data, against local search on the tied weights, the
solver engine, random tied points, and the verifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from boxes_problems import teacher, training
from scipy.optimize import minimize

from nnspec.engines.boxes import BoxesEngine, kinds
from nnspec.engines.boxes.verify import verify
from nnspec.engines.interface import Limits, Status
from nnspec.engines.run import solve_problem
from nnspec.errors import UsageError
from nnspec.problem import Group, Point, Problem, SymmetryClaim, evaluate
from nnspec.symmetry import Expanded, expand

GAP = 1e-3
SWAP = Group("swap(0, 1)", (((1, 0), (1, 1)),))
FLIP = Group("signflip", (((0, 1), (-1, -1)),))
MINUS = Group("signflip(0)", (((0,), (-1,)),))


def enforced(problem: Problem, group: Group, outputs: Group | None = None) -> Problem:
    return replace(problem, symmetry_claims=(SymmetryClaim("enforce", "f", group, outputs),))


def tied_points(case: Expanded, r: np.random.Generator, count: int) -> list[Point]:
    """Random points of a case: one entry of each class of tied weights is drawn from the ranges of all."""
    found = []
    for _ in range(count):
        values = {p.name: p.lo + r.uniform(size=p.shape) * (p.hi - p.lo) for p in case.plain.free_parameters()}
        point = case.tied.project(Point(values, {}))
        if not evaluate.violations(case.plain, point):
            found.append(point)
    return found


def local_optimum(case: Expanded, starts: int) -> float:
    """The best value that descents from random tied weights find, by finite differences over the tied entries."""
    parameters = case.plain.free_parameters()
    roots = np.flatnonzero((case.tied.roots == np.arange(len(case.tied.roots))) & (case.tied.signs != 0))
    lo, hi = (np.concatenate([np.ravel(a) for a in ends])[roots] for ends in zip(*((p.lo, p.hi) for p in parameters)))
    r, best = np.random.default_rng(0), np.inf

    def point(t: np.ndarray) -> Point:
        values = np.zeros(len(case.tied.roots))
        values[roots] = t
        values = case.tied.signs * values[case.tied.roots]
        parts = np.split(values, np.cumsum([p.size for p in parameters])[:-1])
        return Point({p.name: part.reshape(p.shape) for p, part in zip(parameters, parts)}, {})

    for _ in range(starts):
        found = minimize(lambda t: evaluate.objective(case.plain, point(t)), lo + r.uniform(size=len(lo)) * (hi - lo),
                         bounds=list(zip(lo, hi)))  # fmt: skip
        best = min(best, float(found.fun))
    return best


@pytest.mark.parametrize(("activation", "group", "outputs"), [
    ("tanh", SWAP, None), ("sigmoid", SWAP, None), ("tanh", FLIP, MINUS), ("tanh", SWAP, MINUS), ("abs", FLIP, None),
])  # fmt: skip
def test_each_case_against_local_search(activation: str, group: Group, outputs: Group | None) -> None:
    x, y = teacher(5)
    for case in expand(enforced(training(x, y, 2, activation, decay=0.2, box=2), group, outputs)):
        outcome = BoxesEngine().solve(case.plain, Limits(gap=5 * GAP, threads=1))
        assert outcome.status is Status.OPTIMAL
        assert outcome.point is not None
        assert case.tied.holds(outcome.point)
        assert not evaluate.violations(case.plain, outcome.point)
        assert outcome.objective == pytest.approx(evaluate.objective(case.plain, outcome.point), rel=1e-12)
        assert outcome.objective == pytest.approx(local_optimum(case, 5), rel=6 * GAP)


def test_whole_way_agrees_with_the_solver() -> None:
    x, y = teacher(4)
    problem = enforced(training(x, y, 2, "relu", decay=0.2, box=1), SWAP)
    a = solve_problem(problem, Limits(gap=1e-3, threads=1), engine="boxes")
    b = solve_problem(problem, Limits(gap=1e-3, threads=1, time=4), engine="solver")
    assert a.status is Status.OPTIMAL
    assert a.point is not None
    assert not evaluate.violations(problem, a.point)
    assert a.engine == "boxes"
    assert a.bound is not None
    assert b.objective is not None
    assert a.bound <= b.objective + 1e-6
    if b.status is Status.OPTIMAL:
        assert a.objective == pytest.approx(b.objective, rel=3e-3)


def test_no_file_for_several_cases(tmp_path: Path) -> None:
    problem = enforced(training(*teacher(4), 2, decay=0.2, box=1), SWAP)
    assert len(expand(problem)) > 1
    with pytest.raises(UsageError, match="NNS172"):
        solve_problem(problem, engine="boxes", incumbents=False, files={"certificate": tmp_path / "a"})


@pytest.mark.parametrize("cutoff", [0.3, 2.0])
def test_cutoff(cutoff: float) -> None:
    """Below the optimum there is nothing, which is proven; above, the optimum is found as without."""
    problem = training(*teacher(12), 1, decay=0.05)  # optimum 0.412285
    outcome = BoxesEngine().solve(problem, Limits(gap=GAP, threads=1, cutoff=cutoff))
    if cutoff > 0.42:
        assert outcome.status is Status.OPTIMAL
        assert outcome.objective == pytest.approx(0.412285, rel=GAP)
    else:
        assert outcome.bound is not None
        assert cutoff - 1e-9 <= outcome.bound <= 0.4123


def check_tied(number: int, nodes: int = 60) -> None:
    r = np.random.default_rng([number, 5])
    activation = str(r.choice(kinds.ACTIVATIONS))
    n, hidden = int(r.integers(2, 6)), int(r.integers(1, 4))
    loss = str(r.choice(["sse", "max_error", "pinball", "logistic", "cross_entropy"]))
    m = 3 if loss == "cross_entropy" else 1 if loss == "logistic" else int(r.integers(1, 3))
    y = r.integers(0, m if m > 2 else 2, size=(n, 1)).astype(float) if loss in ("logistic", "cross_entropy") else (
        r.normal(size=(n, m)))  # fmt: skip
    group = FLIP if activation in ("tanh", "hardtanh", "abs", "linear") and r.integers(2) else SWAP
    problem = enforced(training(r.normal(size=(n, 2)), y, hidden, activation, loss=loss, outputs=m,
                                decay=float(r.choice([0.0, 0.1])), l1=float(r.choice([0.0, 0.1])),
                                box=float(r.choice([1.0, 3.0])), maximize=bool(r.integers(4) == 0)), group)  # fmt: skip
    for case in expand(problem):
        assert BoxesEngine().accepts(case.plain) is None
        outcome = BoxesEngine().solve(case.plain, Limits(nodes=nodes, threads=1, gap=1e-3, seed=number))
        sign = 1.0 if problem.minimize else -1.0
        assert outcome.point is not None
        assert outcome.bound is not None
        assert case.tied.holds(outcome.point)
        for point in [outcome.point, *tied_points(case, r, 60)]:
            value = sign * evaluate.objective(case.plain, point)
            assert sign * outcome.bound <= value + 1e-9 * (1 + abs(value)), (number, case.label)


@pytest.mark.parametrize("block", range(2))
def test_bound_is_never_above_a_tied_point(block: int) -> None:
    for number in range(20 * block, 20 * block + 20):
        check_tied(number)


@pytest.mark.long
@pytest.mark.parametrize("block", range(10))
def test_bound_is_never_above_a_tied_point_long(block: int) -> None:
    for number in range(1000 + 100 * block, 1100 + 100 * block):
        check_tied(number, 200)


def test_certificate_of_a_tied_problem(tmp_path: Path) -> None:
    file = tmp_path / "proof.npz"
    cases = expand(enforced(training(*teacher(5), 2, decay=0.3, box=2), SWAP))
    for case in cases:
        outcome = BoxesEngine(certificate=file).solve(case.plain, Limits(gap=0.02, threads=1))
        report = verify(file, case.plain)
        assert report.valid, report
        assert report.bound == pytest.approx(outcome.bound)
        other = next(c for c in cases if c is not case)
        assert not verify(file, other.plain).valid
        with np.load(file) as f:
            content = {k: f[k] for k in f.files}
        np.savez(file, **{**content, "signs": -content["signs"]})
        assert not verify(file, case.plain).valid
