"""What an engine says is compared with what the written files compute; lies and rounding do not pass."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import nnspec
from nnspec.engines.interface import Outcome
from nnspec.errors import UsageError
from nnspec.problem import evaluate, losses
from nnspec.problem import expression as ex
from nnspec.problem.problem import Point, Problem
from nnspec.settings import Settings
from nnspec.solution.conclude import conclude
from nnspec.solution.output import OutputFolder
from nnspec.solution.recompute import recompute
from nnspec.status import Status

SETTINGS = Settings().plain()

REGRESSION = """
data D = csv("d.csv", x = [a, b], y = {y}, scale = standard{scale_y})
net f = input(2) -> h: dense(3, {activation}) -> out: dense({outputs}{last}) with weights in -3..3, biases in -3..3
minimize {loss}
"""


def problem(folder, loss: str, activation: str = "tanh", outputs: int = 1, last: str = "", target: str = "t",
            more: str = "") -> Problem:  # fmt: skip
    rows = np.random.default_rng(0).normal(size=(12, 2)) * 10 + 100
    kinds = ["red", "green", "blue"]
    table = ["a,b,t,c,s"] + [f"{a},{b},{a - 2 * b},{kinds[k % 3]},{k % 2}" for k, (a, b) in enumerate(rows)]
    (folder / "d.csv").write_text("\n".join(table))
    y = {"t": "t", "c": "label(c)", "s": "s"}[target]
    scale_y = ", scale_y = minmax" if target == "t" else ""
    text = REGRESSION.format(y=y, scale_y=scale_y, activation=activation, outputs=outputs, last=last, loss=loss) + more
    (folder / "p.nns").write_text(text)
    return nnspec.load(folder / "p.nns")


def point(p: Problem, seed: int = 0) -> Point:
    rng = np.random.default_rng(seed)
    return Point({q.name: rng.uniform(-2, 2, size=q.shape) for q in p.free_parameters()})


def outcome(p: Problem, at: Point, **changes) -> Outcome:
    value = evaluate.objective(p, at)
    told = Outcome(Status.OPTIMAL, at, value, value, 1.0, 1, "test")
    return replace(told, **changes)


@pytest.mark.parametrize("kind", losses.REGRESSION)
def test_regression_losses_of_the_file(kind, tmp_path):
    p = problem(tmp_path, f"{kind}(f, D) + 0.1 * l2(f)")
    at = point(p)
    solution = conclude(p, outcome(p, at), SETTINGS, None)
    assert solution.status == Status.OPTIMAL
    assert solution.warnings == ()
    assert solution.objective == pytest.approx(evaluate.objective(p, at), rel=1e-9)
    assert solution.objective32 == pytest.approx(solution.objective, rel=1e-4)
    raw = nnspec.load(tmp_path / "p.nns").data["D"]
    assert raw.x_scaling is not None
    predicted = solution.network("f").predict(raw.x_scaling.invert(raw.x))
    assert predicted.std() > 1  # raw units: targets are about -100


@pytest.mark.parametrize("kind", losses.CLASSIFICATION)
@pytest.mark.parametrize("outputs", [1, 3])
def test_classification_losses_of_the_file(kind, outputs, tmp_path):
    if kind == "logistic" and outputs == 3:
        pytest.skip("logistic is for two classes")
    last = ", softmax" if kind == "cross_entropy" and outputs == 3 else ""
    p = problem(tmp_path, f"{kind}(f, D)", "relu", outputs, last, "c" if outputs == 3 else "s")
    at = point(p)
    solution = conclude(p, outcome(p, at), SETTINGS, None)
    assert solution.objective == pytest.approx(evaluate.objective(p, at), rel=1e-9)
    assert solution.warnings == ()


def test_a_wrong_objective_is_reported(tmp_path):
    p = problem(tmp_path, "sse(f, D)")
    at = point(p)
    value = evaluate.objective(p, at)
    solution = conclude(p, outcome(p, at, objective=value - 0.1, bound=value - 0.1), SETTINGS, None)
    assert solution.objective == pytest.approx(value)
    assert solution.status != Status.OPTIMAL
    assert any("the engine reports" in w for w in solution.warnings)


def test_a_bound_beyond_the_objective_is_an_error(tmp_path):
    p = problem(tmp_path, "sse(f, D)")
    at = point(p)
    value = evaluate.objective(p, at)
    solution = conclude(p, outcome(p, at, bound=value + 0.1), SETTINGS, None)
    assert solution.status == Status.ERROR
    assert any("contradicts" in w for w in solution.warnings)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ("constraint small: mse(f, D) <= 0.001", "small"),
        ("constraint call: f(100, 100) <= -1000", "call"),
        ("constraint sparse: l0(f.h) <= 2", "sparse"),
    ],
)
def test_violations_are_found_in_the_files(more, what, tmp_path):
    p = problem(tmp_path, "sse(f, D)", more=more)
    solution = conclude(p, outcome(p, point(p)), SETTINGS, None)
    assert solution.status == Status.ERROR
    assert any(f"violate the constraint {what}" in w for w in solution.warnings)


def test_weights_outside_their_domain(tmp_path):
    p = problem(tmp_path, "sse(f, D)")
    at = point(p)
    at.parameters["f.h.weights"][0, 0] = 3.5
    solution = conclude(p, outcome(p, at), SETTINGS, None)
    assert solution.status == Status.ERROR
    assert any("domain of f.h.weights" in w for w in solution.warnings)


def test_the_files_are_judged_and_not_the_point(tmp_path):
    """Other files than those of the point: the objective is theirs."""
    p = problem(tmp_path, "sse(f, D)")
    here, there = point(p, 1), point(p, 2)
    from nnspec.formats.onnx.write import serialise

    content = serialise(p.networks["f"].with_values(there.parameters))
    assert recompute(p, {}, {"f": content}).objective == pytest.approx(evaluate.objective(p, there), rel=1e-9)
    assert evaluate.objective(p, here) != pytest.approx(evaluate.objective(p, there))


def test_networks_in_expressions_are_run(tmp_path):
    p = problem(tmp_path, "f(100, 90)^2 + sse(f, D)", more="constraint low: f(100, 90) - 2 * f(90, 100) <= 10000")
    at = point(p)
    solution = conclude(p, outcome(p, at), SETTINGS, None)
    assert solution.objective == pytest.approx(evaluate.value(p, at, p.objective.expression), rel=1e-9)
    assert solution.status == Status.OPTIMAL


def test_single_precision_is_compared(tmp_path):
    """Sign neurons within 1e-9 of their threshold on a sample decide otherwise in float32."""
    p = problem(tmp_path, "sse(f, D)", "sign")
    at = point(p)
    weights = np.array([[1.0, 0.3], [0.7, 1.0], [1.0, 1.0]])
    at.parameters["f.h.weights"][:] = weights
    at.parameters["f.h.bias"][:] = 1e-9 - p.data["D"].x[0] @ weights.T
    solution = conclude(p, outcome(p, at), SETTINGS, None)
    assert solution.objective == pytest.approx(evaluate.objective(p, at), rel=1e-9)
    assert solution.status == Status.OPTIMAL
    assert abs(solution.objective32 - solution.objective) > 1e-3
    assert any("single precision" in w for w in solution.warnings)


def test_files_and_record_are_written_together(tmp_path):
    p = problem(tmp_path, "sse(f, D)")
    output = OutputFolder(tmp_path / "out")
    solution = conclude(p, outcome(p, point(p)), SETTINGS, output)
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["f.float32.onnx", "f.onnx", "solution.json"]
    assert [f.name for f in solution.files] == ["f.onnx", "f.float32.onnx", "solution.json"]
    record = json.loads((tmp_path / "out" / "solution.json").read_text())
    assert record["objective"] == solution.objective
    output.claim(["f.onnx"])
    (tmp_path / "out" / "g.onnx").write_text("")
    with pytest.raises(UsageError):
        output.claim(["g.onnx"])


def test_no_solution(tmp_path):
    p = problem(tmp_path, "sse(f, D)")
    nothing = Outcome(Status.INFEASIBLE, None, None, None, 1.0, 1, "test")
    solution = conclude(p, nothing, SETTINGS, OutputFolder(tmp_path / "out"))
    assert (solution.status, solution.objective, solution.found) == (Status.INFEASIBLE, None, False)
    assert [f.name for f in solution.files] == ["solution.json"]


def test_expressions_are_rebuilt_around_replaced_nodes():
    x = ex.VariableRef("x")
    e = ex.Sum((ex.Product((ex.Constant(2.0), x)), ex.Power(ex.Quotient(x, ex.Constant(4.0)), 2.0),
                ex.Function("max", (x, ex.Constant(0.0)))))  # fmt: skip
    found = ex.replaced(e, lambda node: ex.Constant(8.0) if node == x else None)
    p = Problem("p", {}, {}, {}, nnspec.load("var x in 0..1\nminimize x\n").objective)
    assert evaluate.value(p, Point(), found) == 16 + 4 + 8
    logic = ex.Implies(ex.And((ex.Comparison("<=", x, x),)), ex.Or((ex.Not(ex.Comparison("==", x, x)),)))
    assert ex.replaced(logic, lambda node: None) == logic
