"""The boxes engine as an engine: known optima, another solver's optima, refusals, limits, checkpoints, certificates."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from boxes_problems import XOR_X, XOR_Y, teacher, training

from nnspec.engines.boxes import BoxesEngine
from nnspec.engines.boxes.verify import verify
from nnspec.engines.choose import choose
from nnspec.engines.interface import Limits, Progress, Status
from nnspec.errors import UnsupportedError, UsageError
from nnspec.problem import Constraint, Layer, Parameter, Problem, Tie, Variable, evaluate
from nnspec.problem import expression as ex

GAP = 1e-3


def solve(problem: Problem, gap: float = GAP, threads: int = 1, **engine: object) -> float:
    outcome = BoxesEngine(**engine).solve(problem, Limits(gap=gap, threads=threads))  # type: ignore[arg-type]
    assert outcome.status is Status.OPTIMAL, outcome
    assert outcome.point is not None
    assert outcome.objective is not None
    assert outcome.objective == pytest.approx(evaluate.objective(problem, outcome.point), rel=1e-12)
    return outcome.objective


@pytest.mark.parametrize(
    ("problem", "optimum"),
    [
        (training(XOR_X, XOR_Y, 1, decay=0.1), 1.024390),
        (training(XOR_X, XOR_Y, 2, "relu", decay=0.1), 0.487591),
        (training(*teacher(12), 1, decay=0.05), 0.412285),
        (training(*teacher(60), 1, decay=0.05), 12.122875),
    ],
    ids=["xor-tanh-1", "xor-relu-2", "n12-tanh-1", "n60-tanh-1"],
)  # fmt: skip
def test_known_optima(problem: Problem, optimum: float) -> None:
    assert solve(problem) == pytest.approx(optimum, rel=GAP)


@pytest.mark.long
def test_xor_tanh_two_neurons_to_a_small_gap() -> None:
    assert solve(training(XOR_X, XOR_Y, 2, decay=0.1), gap=1e-5) == pytest.approx(0.960488, rel=2e-5)


def test_maximisation_constant_and_coefficient() -> None:
    base = solve(training(*teacher(12), 1, decay=0.05))
    problem = training(*teacher(12), 1, decay=0.1, coefficient=2.0, constant=5.0, maximize=True)
    assert solve(problem) == pytest.approx(-(2 * base + 5.0), rel=2 * GAP)


def test_multiplicities_are_repeated_samples() -> None:
    x, y = teacher(6)
    count = np.array([1, 3, 1, 2, 1, 1])
    merged = training(x, y, 1, decay=0.1, weights=count.astype(float))
    repeated = training(np.repeat(x, count, axis=0), np.repeat(y, count, axis=0), 1, decay=0.1)
    assert solve(merged) == pytest.approx(solve(repeated), rel=2 * GAP)


def test_symmetry_breaking_does_not_change_the_optimum() -> None:
    from nnspec.problem import BreakSymmetry

    problem = training(XOR_X[1:], XOR_Y[1:] - 0.2, 2, decay=0.3)
    free = replace(problem, break_symmetry=(BreakSymmetry("f", "h", ("none",)),))
    assert solve(free) == pytest.approx(solve(problem), rel=2 * GAP)


def scip_optimum(
    x: np.ndarray, y: np.ndarray, activation: str, loss: str, decay: float, box: float
) -> tuple[float, float]:
    """(bound, value) of one hidden neuron by SCIP on a model written here: output v*s(w.x + b) + c."""
    from pyscipopt import Model, exp, quicksum

    model = Model()
    model.hideOutput()
    model.setParam("limits/time", 20)
    model.setParam("limits/gap", 1e-4)
    model.setParam("misc/usesymmetry", 0)
    w = [model.addVar(f"w{j}", lb=-box, ub=box) for j in range(x.shape[1])]
    b, v, c = (model.addVar(name, lb=-box, ub=box) for name in "bvc")
    costs = []
    for i, row in enumerate(x):
        z = model.addVar(lb=-100, ub=100)
        model.addCons(z == quicksum(float(t) * a for t, a in zip(row, w)) + b)
        h = model.addVar(lb=-1 if activation == "tanh" else 0, ub=100)
        if activation == "tanh":
            model.addCons(h == 1 - 2 / (exp(2 * z) + 1))
        elif activation == "sigmoid":
            model.addCons(h == 1 / (exp(-z) + 1))
        else:
            model.addCons(h == 0.5 * (z + abs(z)))
        r = model.addVar(lb=-100, ub=100)
        model.addCons(r == v * h + c - float(y[i, 0]))
        t = model.addVar(lb=0, ub=1000)
        if loss == "sse":
            model.addCons(t >= r * r)
        else:
            model.addCons(t >= r)
            model.addCons(t >= -r)
        costs.append(t)
    penalty = model.addVar(lb=0, ub=1000)
    model.addCons(penalty >= decay * quicksum(t * t for t in (*w, b, v, c)))
    model.setObjective(quicksum(costs) + penalty)
    model.optimize()
    return model.getDualbound(), model.getObjVal() if model.getNSols() else float("inf")


@pytest.mark.parametrize(
    ("activation", "loss"), [("relu", "sse"), ("relu", "sae"), ("sigmoid", "sse"), ("tanh", "sae")]
)
def test_agrees_with_scip(activation: str, loss: str) -> None:
    x, y = XOR_X[:3], np.array([[0.3], [-1.0], [1.2]])
    bound, value = scip_optimum(x, y, activation, loss, 0.1, 2.0)
    problem = training(x, y, 1, activation, loss=loss, decay=0.1, box=2.0)
    outcome = BoxesEngine().solve(problem, Limits(gap=1e-4, threads=1))
    assert outcome.status is Status.OPTIMAL
    assert outcome.objective is not None
    assert outcome.bound is not None
    assert outcome.bound <= value + 1e-5  # never above what SCIP found
    assert bound <= outcome.objective + 1e-4  # nor SCIP's bound above what we found
    if value - bound < 1e-3:
        assert outcome.objective == pytest.approx(value, abs=2e-3)


def refused(problem: Problem) -> str:
    reason = BoxesEngine().accepts(problem)
    assert reason is not None
    with pytest.raises(UnsupportedError, match="NNS170"):
        BoxesEngine().solve(problem, Limits())
    with pytest.raises(UnsupportedError, match="NNS170"):
        choose(problem, "boxes")
    return reason


def test_refuses_what_it_would_have_to_ignore() -> None:
    p = training(XOR_X, XOR_Y, 2, decay=0.1)
    network = p.networks["f"]
    hidden, output = network.layers[1:]

    def with_layers(*layers: Layer, **changes: object) -> Problem:
        changed = replace(network, layers=(network.layers[0], *layers), **changes)  # type: ignore[arg-type]
        return replace(p, networks={"f": changed})

    assert BoxesEngine().accepts(p) is None
    assert "variables" in refused(replace(p, variables={"a": Variable("a", 0, 1)}))

    def with_constraint(*parts: ex.Expression) -> Problem:
        return replace(p, constraints=(Constraint(ex.Or(parts) if len(parts) > 1 else parts[0], "few"),))

    one, l0 = ex.Constant(1), ex.Size("l0", "f")
    few, many = ex.Comparison("<=", l0, one), ex.Comparison(">=", l0, one)
    assert "alternatives" in refused(with_constraint(few, many))
    assert "few is no upper limit" in refused(with_constraint(many))
    assert "mixes" in refused(with_constraint(ex.Comparison("<=", ex.Size("l2", "f"), one)))
    assert "not linear" in refused(with_constraint(ex.Comparison("<=", ex.Loss("sae", "f", "D"), one)))
    entries = (ex.ParameterRef("f.h.bias", (0,)), ex.ParameterRef("f.out.bias", (0,)))
    assert "not linear" in refused(with_constraint(ex.Comparison("<=", ex.Product(entries), one)))
    big = training(np.zeros((4, 12)), XOR_Y, 2, decay=0.1)
    assert "sets of nonzero" in refused(replace(big, constraints=(Constraint(few),)))
    assert "no set of nonzero" in refused(replace(training(XOR_X, XOR_Y, 2, box=(1.0, 2.0)), constraints=(
        Constraint(few),)))  # fmt: skip
    for a, b, why in (
        (("f.h.bias", 0), ("f.h.bias", 1), "differ in more than the sign"),
        (("f.h.bias", 0), ("f.out.weights", 1), "output weights are tied to hidden"),
        (("f.h.bias", 0), ("f.out.bias", 0), "output biases are tied"),
    ):
        assert why in refused(replace(p, ties=(Tie(a, b),)))
    endless = replace(hidden, bias=Parameter.box("f.h.bias", (2,), kind="int"))
    assert "integers without bounds" in refused(with_layers(endless, output))
    many_values = replace(hidden, bias=Parameter.box("f.h.bias", (2,), -3000, 3000, "int"))
    assert "integers" in refused(with_layers(many_values, output))
    deep = Layer("g", "dense", ("h",), (2,), hidden.activation, Parameter.box("f.g.weights", (2, 2), -1, 1))
    assert "hidden layers" in refused(with_layers(hidden, deep, replace(output, inputs=("g",))))
    assert "activation" in refused(with_layers(hidden, replace(output, activation=hidden.activation)))
    assert "errors" in refused(training(XOR_X, XOR_Y, 2, loss="errors"))
    assert "losses" in refused(replace(p, objective=replace(p.objective, expression=ex.Size("l2", "f"))))
    product = ex.Product((ex.Loss("sse", "f", "D"), ex.Size("l2", "f")))
    assert "neither" in refused(replace(p, objective=replace(p.objective, expression=product)))
    assert "rewards" in refused(replace(p, objective=replace(p.objective, sense="maximize")))
    wide = training(XOR_X, XOR_Y, 2, box=np.inf)
    assert "bounds" in refused(wide)


def test_bounds_that_penalties_imply() -> None:
    """Without any bounds in the spec, decay on the weights and the loss's growth in the bias give finite ones."""
    boxed = training(*teacher(12), 1, decay=0.05, biases=True, box=6.0)
    free = training(*teacher(12), 1, decay=0.05, biases=True, box=np.inf)
    assert solve(free) == pytest.approx(solve(boxed), rel=2 * GAP)
    output = free.networks["f"]["out"]
    assert output.bias is not None
    fixed = replace(free.networks["f"], layers=tuple(
        replace(x, weights=Parameter.box("f.h.weights", (1, 2), -2, 2), bias=Parameter.box("f.h.bias", (1,), -2, 2))
        if x.name == "h" else x for x in free.networks["f"].layers))  # fmt: skip
    decayed = replace(free, networks={"f": fixed}, objective=replace(free.objective, expression=ex.Sum((
        ex.Loss("sae", "f", "D"), ex.Product((ex.Constant(0.3), ex.Size("l2", "f")))))))  # fmt: skip
    bias = Parameter.box("f.out.bias", (1,), -9, 9)
    closed = replace(fixed, layers=tuple(replace(x, bias=bias) if x.name == "out" else x for x in fixed.layers))
    assert solve(decayed) == pytest.approx(solve(replace(decayed, networks={"f": closed})), rel=2 * GAP)


def test_limits_stop_and_progress() -> None:
    problem = training(*teacher(20), 2, decay=0.01)
    seen: list[Progress] = []
    outcome = BoxesEngine().solve(problem, Limits(nodes=50, threads=2), on_progress=seen.append)
    assert outcome.status is Status.LIMIT
    assert outcome.nodes >= 50
    assert seen[0].point is not None
    assert seen[0].incumbent is not None
    stop = threading.Event()
    stop.set()
    outcome = BoxesEngine().solve(problem, Limits(threads=1), stop=stop)
    assert outcome.status is Status.INTERRUPTED
    assert outcome.point is not None
    assert outcome.bound is not None


def test_same_seed_same_result() -> None:
    problem = training(XOR_X, XOR_Y, 2, "softplus", decay=0.2)
    a, b = (BoxesEngine().solve(problem, Limits(gap=0.03, threads=2, seed=3)) for _ in range(2))
    assert (a.objective, a.bound, a.nodes) == (b.objective, b.bound, b.nodes)


def test_starts_are_used() -> None:
    problem = training(XOR_X, XOR_Y, 2, "relu", decay=0.1)
    good = BoxesEngine().solve(problem, Limits(gap=0.3, threads=1)).point
    assert good is not None
    outcome = BoxesEngine().solve(problem, Limits(nodes=1, threads=1), start=(good,))
    assert outcome.objective is not None
    assert outcome.objective <= evaluate.objective(problem, good) + 1e-9


def test_checkpoint_goes_on_where_it_stopped(tmp_path: Path) -> None:
    problem = training(*teacher(12), 1, decay=0.05)
    file = tmp_path / "open.npz"
    first = BoxesEngine(checkpoint=file).solve(problem, Limits(nodes=60, gap=GAP, threads=1))
    assert first.status is Status.LIMIT
    assert file.exists()
    second = BoxesEngine(checkpoint=file).solve(problem, Limits(gap=GAP, threads=2))
    assert second.status is Status.OPTIMAL
    assert second.nodes > 60
    assert second.objective == pytest.approx(0.412285, rel=GAP)
    assert not file.exists()
    BoxesEngine(checkpoint=file).solve(problem, Limits(nodes=60, gap=GAP, threads=1))
    with pytest.raises(UsageError, match="NNS171"):
        BoxesEngine(checkpoint=file).solve(training(*teacher(12), 1, decay=0.06), Limits(gap=GAP))
    file.write_bytes(b"junk")
    with pytest.raises(UsageError, match="NNS171"):
        BoxesEngine(checkpoint=file).solve(problem, Limits(gap=GAP))


CERTIFIED = [
    training(*teacher(12), 1, decay=0.05),
    training(XOR_X, XOR_Y, 2, "relu", decay=0.3),
    training(XOR_X, np.array([[0.0], [1.0], [2.0], [0.0]]), 1, "sigmoid", loss="cross_entropy", outputs=3, decay=0.1),
    training(XOR_X, 2 * XOR_Y - 1, 1, "softplus", loss="hinge", decay=0.1),
    training(*teacher(6), 1, "gelu", loss="huber", decay=0.1, l1=0.05, delta=0.5),
    training(*teacher(6), 1, "hardtanh", loss="sae", decay=0.1, maximize=True, constant=2.0),
]


@pytest.mark.parametrize("number", range(len(CERTIFIED)))
def test_certificate_holds_and_tampering_is_found(number: int, tmp_path: Path) -> None:
    problem, file = CERTIFIED[number], tmp_path / "proof.npz"
    outcome = BoxesEngine(certificate=file).solve(problem, Limits(gap=0.01, threads=2))
    assert outcome.status is Status.OPTIMAL
    report = verify(file, problem)
    assert report.valid, report
    assert report.bound == pytest.approx(outcome.bound)
    assert report.objective == pytest.approx(outcome.objective)
    with np.load(file) as f:
        content = {k: f[k] for k in f.files}

    def changed(problem: Problem | None = None, **changes: np.ndarray) -> bool:
        bad = tmp_path / "bad.npz"
        np.savez(bad, **{**content, **changes})
        return not verify(bad, problem).valid

    raised = json.loads(str(content["head"]))
    raised["bound"] += 0.05 * (1 + abs(raised["bound"]))
    assert changed(head=np.array(json.dumps(raised)))
    assert changed(boxes=content["boxes"][1:], u=content["u"][1:])  # a hole
    moved = content["boxes"].copy()
    moved[0, 0] += 0.01
    assert changed(boxes=moved)
    assert changed(u=np.zeros_like(content["u"]) + 50.0)
    assert changed(u=content["u"] * np.nan)
    assert changed(w=content["w"] + 100.0)
    assert changed(problem, y=content["y"] + 1.0)
    assert changed(cw=-content["cw"])
    file.write_bytes(file.read_bytes()[:200])
    assert not verify(file).valid


CLOSED = [
    training(*teacher(6), 1, decay=0.3, box=40.0),
    *(training(*teacher(6), 1, "tanh", loss=loss, decay=0.5, biases=False, box=np.inf, bias=False, delta=0.4, q=0.3)
      for loss in ("sse", "sae", "max_error", "huber", "pinball")),
    *(training(XOR_X, XOR_Y, 1, "sigmoid", loss=loss, decay=0.5, biases=False, box=np.inf, bias=False, margin=1.0)
      for loss in ("hinge", "squared_hinge", "logistic")),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CLOSED)))
def test_certificate_shows_that_no_better_point_lies_outside(number: int, tmp_path: Path) -> None:
    """Ranges that penalties and the loss imply are derived again by the verifier from the bound alone; a cover of less,
    all else being right, is refused."""
    problem, file, forged = CLOSED[number], tmp_path / "proof.npz", tmp_path / "forged.npz"
    assert BoxesEngine(certificate=file).solve(problem, Limits(gap=0.05, threads=1)).status is Status.OPTIMAL
    assert verify(file, problem).valid, verify(file, problem)
    # a valid proof of a smaller problem, presented for this one: refused wherever it is smaller
    layers = problem.networks["f"].layers
    for where in range(3):
        narrow = []
        for layer in layers:
            p = layer.weights if (layer.name, where) in (("h", 0), ("out", 1)) else layer.bias if where == 2 else None
            if p is None or layer.name == "x":
                narrow.append(layer)
                continue
            small = Parameter.box(p.name, p.shape, -0.2, 0.2)
            narrow.append(replace(layer, bias=small) if p is layer.bias else replace(layer, weights=small))
        smaller = replace(problem, networks={"f": replace(problem.networks["f"], layers=tuple(narrow))})
        assert BoxesEngine(certificate=forged).solve(smaller, Limits(gap=0.05, threads=1)).status is Status.OPTIMAL
        assert verify(forged, smaller).valid
        report = verify(forged, problem)
        assert not report.valid
        assert "less than the problem's domain" in report.reason


def test_certificate_closed_by_an_incumbent_that_the_final_one_misses(tmp_path: Path) -> None:
    """The incumbent in the file need not be the one whose value closed the domain: a bound below is enough."""
    problem, file = CLOSED[0], tmp_path / "proof.npz"
    BoxesEngine(certificate=file).solve(problem, Limits(gap=0.05, threads=1))
    with np.load(file) as f:
        content = {k: f[k] for k in f.files}
    np.savez(file, **{**content, "z": content["z"] + 0.05})
    report = verify(file, problem)
    assert report.valid, report
    assert report.objective is not None
    assert report.bound is not None
    assert report.objective > report.bound * 1.002


def test_checkpoint_and_certificate_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="NNS172"):
        BoxesEngine(checkpoint=tmp_path / "a", certificate=tmp_path / "b")


def test_certificate_of_a_stopped_solve(tmp_path: Path) -> None:
    """Open boxes are part of it; the bound that it proves lies below the search's, and above what fewer boxes give."""
    problem, file = training(*teacher(12), 1, decay=0.05), tmp_path / "proof.npz"
    bounds = []
    for nodes in (20, 150):
        outcome = BoxesEngine(certificate=file).solve(problem, Limits(nodes=nodes, gap=GAP, threads=2))
        assert outcome.status is Status.LIMIT
        report = verify(file, problem)
        assert report.valid, report
        assert report.bound is not None
        assert outcome.bound is not None
        assert report.bound <= outcome.bound + 1e-9
        assert f"{report.bound:.9g}" in outcome.messages[-1]
        bounds.append(report.bound)
        with np.load(file) as f:
            content = {k: f[k] for k in f.files}
        np.savez(file, **{**content, "boxes": content["boxes"][:-1], "u": content["u"][:-1]})
        assert not verify(file, problem).valid
    assert -1e-9 <= bounds[0] <= bounds[1]
    assert bounds[1] > 0.2


def test_no_certificate_beyond_the_memory_limit(tmp_path: Path) -> None:
    problem, file = training(XOR_X, XOR_Y, 2, decay=0.1), tmp_path / "proof.npz"
    outcome = BoxesEngine(certificate=file).solve(problem, Limits(nodes=100, gap=GAP, threads=1, memory=0.001))
    assert "do not fit" in outcome.messages[-1]
    assert not file.exists()


@pytest.mark.parametrize("cutoff", [-0.3, 0.05])
def test_a_cutoff_below_the_optimum_is_all_that_is_proven(cutoff: float) -> None:
    """Ranges are cut to what the cutoff leaves, here to one end, so no more than the cutoff follows for the rest."""
    problem = training(np.array([[1.0], [2.0]]), np.array([[2.0], [2.5]]), 1, decay=0.1, box=(0.5, 2.0))
    best = BoxesEngine().solve(problem, Limits(gap=1e-3, threads=1))
    outcome = BoxesEngine().solve(problem, Limits(gap=1e-3, threads=1, cutoff=cutoff))
    assert best.status is Status.OPTIMAL
    assert best.objective > cutoff
    assert outcome.status is Status.INFEASIBLE
    assert outcome.bound == pytest.approx(cutoff)
    assert outcome.messages == ()
