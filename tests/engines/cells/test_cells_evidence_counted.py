"""Proofs about numbers of weights, neurons and inputs with boxes without 0, with ties, and of step and sign neurons."""

from __future__ import annotations

import copy
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import test_cells_domains
import test_cells_tied
from cells_models import boxed, teacher, training
from test_cells_counted_boxes import limited
from test_cells_evidence import content_of, refused, rewrite
from test_cells_least import fewest
from test_cells_supports import counted
from test_cells_tied import SWAP, enforced

from nnspec.engines.cells import CellsEngine
from nnspec.engines.cells import evidence as writer
from nnspec.engines.cells.model import recognise
from nnspec.engines.cells.proof.exact import EvidenceError
from nnspec.engines.cells.proof.spec import _sets
from nnspec.engines.cells.proof.statement import Support, left_by, prover_of, support_of
from nnspec.engines.cells.proof.training import read
from nnspec.engines.cells.verify import verify
from nnspec.engines.interface import Limits, Status
from nnspec.problem import Problem
from nnspec.problem import expression as ex
from nnspec.symmetry import expand

LOSSES = ("sse", "sae", "max_error", "huber", "hinge", "squared_hinge", "pinball", "mse", "errors")


def proven(p: Problem, path: Path) -> Status:
    """Solve, write, verify, where the engine takes the problem and finishes."""
    if CellsEngine().accepts(p) is not None:
        return Status.ERROR
    out = CellsEngine(evidence=path).solve(p, Limits(threads=1))
    if out.status in (Status.OPTIMAL, Status.INFEASIBLE):
        if out.messages:
            assert "step and sign neurons with fixed weights, or without biases" in out.messages[0]
            return out.status
        report = verify(path, p)
        if out.objective is not None:
            assert report.objective == pytest.approx(out.objective, rel=1e-9, abs=1e-12)
            assert 0 <= report.objective - report.bound <= 1e-5 * max(1.0, abs(out.objective))
    return out.status


def steps(seed: int) -> tuple[Problem, np.random.RandomState]:
    """A loss of step or sign neurons in boxes."""
    r = np.random.RandomState(seed)
    kind, activation = LOSSES[seed % len(LOSSES)], ("step", "sign")[r.randint(0, 2)]
    n, d, neurons = r.randint(3, 6), r.randint(1, 3), r.randint(1, 3)
    x = r.uniform(-1, 1, (n, d)) if r.rand() < 0.5 else r.randint(-1, 3, (n, d)).astype(float)
    y = (r.rand(n) < 0.5) * 1.0 if kind in ("hinge", "squared_hinge", "errors") else np.round(1 + r.randn(n), 2)
    ends = {"weights": (0.5, 2), "biases": (1, 3), "outputs": (0.5, 1.5), "output_bias": (0.3, 2)}
    sizes = {name: float(r.choice(some)) for name, some in ends.items()}
    return training(x, y, neurons, activation, kind, **sizes, q=0.3, margin=0.25, delta=0.5), r


def counted_steps(seed: int) -> Problem:
    p, r = steps(seed)
    neurons, d = p.networks["f"].layers[1].weights.shape
    top = {"out": neurons + 1, "neurons": neurons, "inputs": d}
    most = {str(k): int(r.randint(0, top[k] + 1)) for k in r.choice(list(top), 2, replace=False)}
    prices = {str(k): float(r.choice([0.03, 0.2])) for k in r.choice(list(top), r.randint(0, 4), replace=False)}
    return counted(p, most, prices, bool(seed % 2))


def least_of(p: Problem, seed: int) -> Problem:
    """The fewest neurons, inputs or weights with a loss between the optimum and that of a constant."""
    r = np.random.RandomState(seed)
    low = CellsEngine().solve(p, Limits(threads=1)).objective
    return fewest(p, {str(r.choice(["neurons", "inputs", "l0"])): 1.0}, 1.2 * low + float(r.choice([0.01, 0.3])))


@pytest.mark.parametrize("seed", [2, 3, 4, 6, 7, 9, 12, 13, 16, 32])
def test_boxes(tmp_path: Path, seed: int) -> None:
    assert proven(limited(test_cells_domains.random_problem(seed), seed), tmp_path / "e.gz") is Status.OPTIMAL


@pytest.mark.parametrize("seed", range(8))
def test_ties(tmp_path: Path, seed: int) -> None:
    for case in expand(limited(test_cells_tied.random_problem(seed)[0], seed)):
        proven(case.plain, tmp_path / "e.gz")


@pytest.mark.parametrize("seed", range(18))
def test_steps(tmp_path: Path, seed: int) -> None:
    assert proven(counted_steps(seed), tmp_path / "e.gz") is Status.OPTIMAL


@pytest.mark.parametrize("seed", range(8))
def test_fewest(tmp_path: Path, seed: int) -> None:
    for p in (test_cells_domains.random_problem(seed), steps(seed)[0],
              *(case.plain for case in expand(test_cells_tied.random_problem(seed)[0]))):  # fmt: skip
        if isinstance(p.objective.expression, ex.Sum):  # with weight decay
            continue
        proven(least_of(p, seed), tmp_path / "e.gz")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 200))
def test_all_of_it_100(tmp_path: Path, seed: int) -> None:
    proven(limited(test_cells_domains.random_problem(seed), seed), tmp_path / "e.gz")
    proven(counted_steps(seed), tmp_path / "e.gz")
    for case in expand(limited(test_cells_tied.random_problem(seed)[0], seed)):
        proven(case.plain, tmp_path / "e.gz")


def test_what_a_support_leaves() -> None:
    """Constants of step and sign neurons without inputs; a box that does not contain 0 is in every support."""
    x, y = teacher(4)
    for activation, bias, ends in (("step", True, (-1, 2)), ("step", False, (0.5, 2)), ("sign", True, (-2, 2)),
                                   ("sign", False, (0.5, 2))):  # fmt: skip
        p = boxed(training(x, y, 2, activation, weights=1.0, biases=1.0, output_bias=0.25), v=(0.5, 2.0))
        problem = read(writer.problem_of(recognise(p)))
        left = left_by(problem, Support([[False, False, bias], [True, False, True]], [True, True], True, Fraction(0)))
        low = min(ends[0], 0) if activation == "step" and bias else ends[0]
        assert left.used == [1]
        assert left.free == [[True, False, True]]
        assert left.constants == [(Fraction(-1, 4), Fraction(1, 4)), (max(low, 0) if low == -1 else low, 2)]
        with pytest.raises(EvidenceError, match="bias"):
            left_by(problem, Support([[True, False, False]] * 2, [True, True], True, Fraction(0)))


def test_a_sum_of_constants_does_not_decay() -> None:
    """Only the output bias does: its square says nothing about the sum with step neurons without inputs."""
    x, y = teacher(4)
    problem = writer.problem_of(recognise(training(x, y, 1, "step", output_bias=1.0)))
    problem["decay"]["constant"] = 0.5
    own, both = (Support([[False] * 3], [used], True, Fraction(0)) for used in (False, True))
    assert prover_of(read(problem), own, [()], Fraction(0)).bounds.constant_decay > 0
    assert prover_of(read(problem), both, [()], Fraction(0)).bounds.constant_decay == 0


def test_supports_have_the_weights_that_cannot_be_zero() -> None:
    x, y = teacher(4)
    problem = read(writer.problem_of(recognise(boxed(training(x, y, 1), w=(0.5, 1.0), v=(-2.0, -1.0), c=(1.0, 2.0)))))
    part = {"hidden": [[True, True, False]], "outputs": [True], "constant": True, "price": 0.0}
    assert support_of(problem, {"support": part}).hidden == [[True, True, False]]
    for change in ({"hidden": [[True, False, True]]}, {"outputs": [False]}, {"constant": False}):
        with pytest.raises(EvidenceError, match="does not contain 0"):
            support_of(problem, {"support": {**part, **change}})


def test_sets_that_are_looked_at() -> None:
    """An output weight by itself does nothing, but for step and sign neurons, or where it has to be there."""
    x, y = teacher(4)
    for activation, ends, expected in (("relu", (-1.0, 1.0), [((), False), ((0,), True), ((1,), True), ((0, 1), True)]),
                                       ("step", (-1.0, 1.0), [((), False), ((), True), ((0,), True), ((1,), True),
                                                              ((0, 1), True)]),
                                       ("relu", (0.5, 1.0), [((), True), ((0,), True), ((1,), True), ((0, 1), True)]),
                                       ("relu", (0.0, 0.0), [((), False)])):  # fmt: skip
        p = boxed(training(x[:, :1], y, 1, activation), v=ends)
        problem = read(writer.problem_of(recognise(p)))
        assert _sets(problem, problem.orbits[0]) == expected


def test_refuses_what_leaves_something_out(tmp_path: Path) -> None:
    x, y = teacher(6)
    w = np.array([[0.5, -3.0]]), np.array([[2.0, 3.0]])
    away = counted(boxed(training(x, y, 1, outputs=1.0), w=w), {"inputs": 1})
    step = counted(training(x, y, 2, "step", outputs=1.0), {"neurons": 1})
    tied = expand(counted(enforced(training(x, y, 2, weights=5.0, outputs=1.0), SWAP), {"h": 2}))[-1].plain
    for p in (away, step, tied):
        path = tmp_path / "e.gz"
        assert proven(p, path) is Status.OPTIMAL
        content = content_of(path)
        for part in range(len(content["parts"])):
            at = content["parts"][part]["support"]["outputs"].index(True)
            for change in (lambda s, at=at: s["hidden"][at].__setitem__(0, not s["hidden"][at][0]),
                           lambda s, at=at: s["outputs"].__setitem__(at, not s["outputs"][at]),
                           lambda s: s["outputs"].pop(), lambda s: s.update(constant=False)):  # fmt: skip
                forged = copy.deepcopy(content)
                change(forged["parts"][part]["support"])
                assert refused(rewrite(path, forged), p)
            forged = copy.deepcopy(content)
            del forged["parts"][part]
            assert refused(rewrite(path, forged), p)


def test_larger_limits_need_more(tmp_path: Path) -> None:
    x, y = teacher(6)
    for most, more in (({"neurons": 1}, {"neurons": 2}), ({"inputs": 1}, {"inputs": 2}), ({"neurons": 0}, {"out": 2})):
        p = training(x, y, 2, "sign", outputs=1.0)
        assert proven(counted(p, most), tmp_path / "e.gz") is Status.OPTIMAL
        assert refused(tmp_path / "e.gz", counted(p, more))
    assert proven(replace(p), tmp_path / "e.gz") is Status.OPTIMAL
