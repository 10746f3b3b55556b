"""The dual bound in SCIP's nodes: valid for every network in the box, whatever else is asked, and used."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnspec.backends import scip_plugins
from nnspec.backends.interface import NodeBound
from nnspec.backends.scip import ScipBackend
from nnspec.encodings.compile import compile_problem
from nnspec.engines.interface import Limits, Status
from nnspec.engines.solver.engine import SolverEngine
from nnspec.engines.solver.node_bound import node_bound
from nnspec.language.load import load_problem
from nnspec.problem import evaluate
from nnspec.problem.problem import Problem

DATA = "data D = table(x = [[-1.0], [-0.4], [0.3], [1.0]], y = [0.5, -0.3, 0.1, 0.9])\n"


def problem(folder: Path, objective: str, rest: str = "", neurons: int = 1, activation: str = "tanh") -> Problem:
    spec = folder / "spec.nns"
    spec.write_text(
        f"{DATA}net f = input(1) -> h: dense({neurons}, {activation}) -> out: dense(1)\n"
        f"  with weights in -2..2, biases in -1.5..2.5\n{objective}\n{rest}\n"
    )
    return load_problem(spec)


@pytest.fixture(autouse=True)
def _compiled_code_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnspec.engines.solver.node_bound.is_kept", lambda folder, function: True)


def test_code_is_compiled_beside_the_solver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnspec.engines.solver.node_bound.is_kept", lambda folder, function: False)
    asked = problem(tmp_path, "minimize sse(f, D) + 0.1 * l2(f)", "", 2)
    compiled = compile_problem(asked, backend="scip")
    bound = node_bound(asked, compiled)
    assert bound is not None
    box = compiled.program.lo[bound.columns], compiled.program.hi[bound.columns]
    assert bound.evaluate(*box, math.inf)[0] == -math.inf
    bound.evaluate.compiling.join()  # type: ignore[attr-defined]
    assert bound.evaluate(*box, math.inf)[0] > -math.inf


@pytest.mark.parametrize("objective", [
    "minimize sse(f, D) + 0.1 * l2(f, biases = true)", "minimize sae(f, D) + 0.05 * l1(f) + 3",
    "maximize 1 - 2 * huber(f, D) - 0.1 * l2(f)", "minimize sse(f, D) + 0.1 * l2(f) + 0.02 * l0(f)",
])  # fmt: skip
@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_bound_and_cuts_hold_for_all_networks_in_the_box(tmp_path: Path, objective: str, activation: str) -> None:
    asked = problem(tmp_path, objective, "constraint f(0.5) <= 0.3", 2, activation)
    compiled = compile_problem(asked, backend="scip")
    bound = node_bound(asked, compiled)
    assert bound is not None
    sign = 1.0 if asked.minimize else -1.0
    r = np.random.default_rng(len(objective))
    lo, hi = compiled.program.lo[bound.columns], compiled.program.hi[bound.columns]
    assert len(bound.columns) == 7
    known = compiled.parameters.columns
    cuts, tight = 0, math.inf
    for trial in range(30):
        width = (hi - lo) * r.choice([0.02, 0.3, 1.0])
        a = lo + r.random(len(lo)) * (hi - lo - width)
        b = a + width
        points, values = [], []
        for number in range(60):  # corners, insides, and points near the best so far
            x = np.zeros(compiled.program.columns)
            x[bound.columns] = r.uniform(a, b) if number % 3 == 0 else np.where(r.random(len(a)) < 0.5, a, b)
            if number > 30:
                x[bound.columns] = np.clip(points[int(np.argmin(values))] + r.normal(0, 0.2, len(a)) * width, a, b)
            parameters = {p.name: np.zeros(p.shape) for p in asked.networks["f"].parameters}
            for (name, k), (column, offset, factor) in known.items():
                parameters[name].reshape(-1)[k] = offset + factor * x[column]
            points.append(x[bound.columns])
            point = replace(compiled.point(x), parameters=parameters)
            values.append(sign * evaluate.objective(asked, point))
        cutoff = math.inf if trial % 2 else float(np.quantile(values, 0.1))
        value, c, d = bound.evaluate(a, b, sign * cutoff)
        assert np.all(c >= a)
        assert np.all(d <= b)
        better = [(p, v) for p, v in zip(points, values) if v < cutoff]
        assert all(sign * value <= v + 1e-12 for _, v in better)
        assert all(np.all(p >= c) and np.all(p <= d) for p, _ in better)
        cuts += int(np.any(c > a) or np.any(d < b))
        tight = min(tight, min(values) - sign * value)
    prices = 7 * 0.02 if "l0" in objective else 0.0  # which the bound leaves out
    assert cuts > 0 or prices
    assert tight < 0.05 + prices


def test_same_optimum_with_the_bound_and_fewer_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scip_plugins, "AFTER_NODES", 0)
    limits, rest = Limits(time=60, gap=1e-3), "constraint f(0) >= 0.05"
    asked = problem(tmp_path, "minimize sse(f, D) + 0.3 * l2(f, biases = true)", rest)
    plain = SolverEngine("scip", node_bound=False).solve(asked, limits)
    helped = SolverEngine("scip").solve(asked, limits)
    turned = problem(tmp_path, "maximize 5 - 3 * sse(f, D) - 0.9 * l2(f, biases = true)", rest)
    most = SolverEngine("scip").solve(turned, limits)
    for outcome in (plain, helped, most):
        assert outcome.status is Status.OPTIMAL, outcome.messages
    assert plain.objective is not None
    assert helped.objective == pytest.approx(plain.objective, rel=2e-3)
    assert helped.bound == pytest.approx(plain.objective, rel=2e-3)
    assert most.objective == pytest.approx(5 - 3 * plain.objective, rel=2e-3)
    assert most.bound == pytest.approx(5 - 3 * plain.objective, rel=4e-3)
    assert helped.nodes < plain.nodes


@pytest.mark.parametrize(("objective", "sign"), [
    ("minimize 2 + sse(f, D) + 0.3 * l2(f, biases = true)", 1.0), ("maximize 5 - 3 * sse(f, D) - l2(f)", -1.0),
])  # fmt: skip
def test_bound_and_cutoff_are_in_the_units_of_the_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                          objective: str, sign: float) -> None:  # fmt: skip
    monkeypatch.setattr(scip_plugins, "AFTER_NODES", 0)
    asked = problem(tmp_path, objective, "constraint f(0) >= 0.05", 2)
    program = compile_problem(asked, backend="scip").program
    best = ScipBackend().solve(program, Limits(time=20, nodes=30))
    assert best.objective is not None
    claimed = best.objective - sign * 0.01  # no bound, but better than what SCIP proves in so few nodes
    cutoffs = []

    def evaluate_box(lower: np.ndarray, upper: np.ndarray, cutoff: float) -> tuple[float, np.ndarray, np.ndarray]:
        cutoffs.append(cutoff)
        return claimed, lower, upper

    assert best.x is not None
    told = ScipBackend().solve(program, Limits(time=20, nodes=3), [best.x],
                               node_bound=NodeBound(np.arange(2), evaluate_box))  # fmt: skip
    assert told.bound == pytest.approx(claimed, abs=1e-6)
    assert sign * cutoffs[-1] <= sign * best.objective + 1e-6
    assert sign * cutoffs[-1] >= sign * best.objective - 0.01


def test_problems_without_the_form_have_no_bound(tmp_path: Path) -> None:
    asked = problem(tmp_path, "minimize sse(f, D) + 0.1 * l2(f) + f(0.5)")
    assert node_bound(asked, compile_problem(asked, backend="scip")) is None
