"""Numbers of weights, neurons and inputs together with boxes that do not contain 0, fixed weights and ties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import test_cells_domains
import test_cells_tied
from cells_models import agree, boxed, teacher, training
from test_cells_least import fewest
from test_cells_supports import counted
from test_cells_tied import SWAP, enforced

from nnspec.engines.cells import CellsEngine
from nnspec.engines.cells.model import recognise
from nnspec.engines.interface import Limits, Status
from nnspec.engines.solver.engine import SolverEngine
from nnspec.problem import Problem
from nnspec.problem.evaluate import violations
from nnspec.problem.network import Parameter
from nnspec.symmetry import expand

ENGINE = CellsEngine()
NAMES = ("h", "out", "l0", "neurons", "inputs")


def limited(p: Problem, seed: int) -> Problem:
    r = np.random.RandomState(seed)
    neurons, d = p.networks["f"].layers[1].weights.shape
    top = {"h": neurons * (d + 1), "out": neurons + 1, "l0": neurons * (d + 2) + 1, "neurons": neurons, "inputs": d}
    most = {str(k): int(r.randint(top[k] // 2, top[k] + 1)) for k in r.choice(NAMES, 1)}
    prices = {str(k): float(r.choice([0.03, 0.2])) for k in r.choice(NAMES, r.randint(0, 3), replace=False)}
    return counted(p, most, prices, bool(seed % 2))


def compare_boxes(seed: int, limit: float) -> None:
    p = limited(test_cells_domains.random_problem(seed), seed)
    reason = ENGINE.accepts(p)
    if reason is not None:
        assert "cannot be kept" in reason or "step or sign" in reason or "step and sign" in reason
        return
    out = ENGINE.solve(p, Limits(threads=1))
    assert out.status is Status.OPTIMAL
    agree(p, out, SolverEngine("scip").solve(p, Limits(threads=1, time=limit)))


def compare_ties(seed: int, limit: float) -> None:
    p, decay = test_cells_tied.random_problem(seed)
    for case in expand(limited(p, seed)):
        reason = ENGINE.accepts(case.plain)
        if reason is not None:
            assert "cannot be kept" in reason or "lie opposite" in reason or "ties that turn" in reason
            continue
        out = ENGINE.solve(case.plain, Limits(threads=1))
        assert out.status is Status.OPTIMAL or (decay and out.messages)  # boxes that bind together with decay
        assert case.tied.holds(out.point)
        other = SolverEngine("scip").solve(case.problem, Limits(threads=1, time=limit))
        agree(case.plain, out, other, out.status is Status.OPTIMAL)


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 6, 7, 9, 12, 13, 14, 16, 32])
def test_boxes_agree_with_scip(seed: int) -> None:
    compare_boxes(seed, 0.7)


@pytest.mark.parametrize("seed", range(8))
def test_ties_agree_with_scip(seed: int) -> None:
    compare_ties(seed, 0.5)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 300))
def test_boxes_agree_with_scip_200(seed: int) -> None:
    compare_boxes(seed, 5.0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 200))
def test_ties_agree_with_scip_100(seed: int) -> None:
    compare_ties(seed, 5.0)


def test_weights_that_are_never_zero_count_always() -> None:
    """Fixed output weights: leaving out a neuron leaves its output weight. Hidden weights in [.5, 2] of one feature."""
    x, y = teacher(10)
    p = boxed(training(x, y, 2, weights=3.0), v=(np.array([[1.0, -1.0]]), np.array([[1.0, -1.0]])))
    both = counted(p, {"l0": 2 + 1 + 2})  # two output weights, the output bias, two of the hidden layer
    out = ENGINE.solve(both, Limits(threads=1))
    assert out.status is Status.OPTIMAL
    assert not violations(both, out.point)
    assert np.array_equal(out.point.parameters["f.out.weights"], [[1.0, -1.0]])
    assert out.objective == pytest.approx(ENGINE.solve(counted(p, {"h": 2}), Limits(threads=1)).objective, rel=2e-6)
    assert "cannot be kept" in ENGINE.accepts(counted(p, {"out": 1}))
    away = boxed(training(x, y, 1), w=(np.array([[0.5, -3.0]]), np.array([[2.0, 3.0]])))
    one = ENGINE.solve(counted(away, {"inputs": 1}), Limits(threads=1))
    alone = ENGINE.solve(boxed(training(x[:, :1], y, 1), w=(0.5, 2.0)), Limits(threads=1))
    assert one.point.parameters["f.h.weights"][0, 1] == 0.0
    assert one.objective == pytest.approx(alone.objective, rel=2e-6)
    assert "cannot be kept" in ENGINE.accepts(counted(away, {"inputs": 0}))


def test_constant_tensors_count_their_nonzeros() -> None:
    x, y = teacher(8)
    p = training(x, y, 2, kind="sae")
    f = p.networks["f"]
    w = Parameter.constant("f.h.weights", np.array([[1.5, -1.0], [0.5, 0.0]]))
    p = replace(p, networks={"f": replace(f, layers=(f.layers[0], replace(f.layers[1], weights=w), f.layers[2]))})
    assert "cannot be kept" in ENGINE.accepts(counted(p, {"h": 2}))
    out = ENGINE.solve(counted(p, {"h": 4}), Limits(threads=1))  # three weights and one bias
    assert out.status is Status.OPTIMAL
    assert np.count_nonzero(out.point.parameters["f.h.bias"]) <= 1


def test_fewest_neurons_with_fixed_biases() -> None:
    x, y = teacher(8)
    p = boxed(training(x, y, 2, weights=10.0, outputs=10.0), b=(0.2, 0.2))
    one = ENGINE.solve(boxed(training(x, y, 1, weights=10.0, outputs=10.0), b=(0.2, 0.2)), Limits(threads=1))
    two = ENGINE.solve(p, Limits(threads=1))
    for tolerance, needed in ((1.01 * one.objective, 1.0), (0.5 * (one.objective + two.objective), 2.0)):
        out = ENGINE.solve(fewest(p, {"neurons": 1.0}, tolerance), Limits(threads=1))
        assert out.status is Status.OPTIMAL
        assert out.objective == needed


def test_limits_on_tied_weights() -> None:
    """Two neurons that the swap of the inputs exchanges have at most one hidden weight each, the same for both."""
    x, y = teacher(8)
    p = counted(enforced(training(x, y, 2, weights=5.0, biases=5.0, outputs=5.0), SWAP), {"h": 2})
    for case in expand(p):
        out = ENGINE.solve(case.plain, Limits(threads=1))
        assert out.status is Status.OPTIMAL
        assert case.tied.holds(out.point)
        assert not violations(case.plain, out.point)
        assert recognise(case.plain).supports
