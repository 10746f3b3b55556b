"""Budgets and prices, integers and finite sets, linear constraints: against the same problems written out case by case,
against random feasible points, and with certificates."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from boxes_problems import teacher, training

from nnspec.engines.boxes import BoxesEngine
from nnspec.engines.boxes.verify import verify
from nnspec.engines.interface import Limits, Outcome, Status
from nnspec.problem import Constraint, Parameter, Point, Problem, evaluate
from nnspec.problem import expression as ex

GAP = 1e-3
SHAPES = {"f.h.weights": ("h", "weights"), "f.h.bias": ("h", "bias"), "f.out.weights": ("out", "weights"),
          "f.out.bias": ("out", "bias")}  # fmt: skip


def with_parameter(problem: Problem, p: Parameter) -> Problem:
    layer, tensor = SHAPES[p.name]
    network = problem.networks["f"]
    layers = tuple(replace(x, **{tensor: p}) if x.name == layer else x for x in network.layers)
    return replace(problem, networks={"f": replace(network, layers=layers)})


def with_budget(problem: Problem, k: int, layer: str | None = None) -> Problem:
    network = problem.networks["f"]
    if layer is None:
        return replace(problem, networks={"f": replace(network, l0=k)})
    layers = tuple(replace(x, l0=k) if x.name == layer else x for x in network.layers)
    return replace(problem, networks={"f": replace(network, layers=layers)})


def constrained(problem: Problem, operator: str, left: ex.Expression, right: float) -> Problem:
    row = Constraint(ex.Comparison(operator, left, ex.Constant(right)), "c")
    return replace(problem, constraints=(*problem.constraints, row))


def priced(problem: Problem, price: float, size: ex.Size) -> Problem:
    assert problem.objective.expression is not None
    sign = 1.0 if problem.minimize else -1.0
    e = ex.Sum((problem.objective.expression, ex.Product((ex.Constant(sign * price), size))))
    return replace(problem, objective=replace(problem.objective, expression=e))


def weights(*terms: tuple[float, str, tuple[int, ...]]) -> ex.Expression:
    return ex.Sum(tuple(ex.Product((ex.Constant(c), ex.ParameterRef(name, index))) for c, name, index in terms))


def solve(problem: Problem, gap: float = GAP, **engine: object) -> Outcome:
    outcome = BoxesEngine(**engine).solve(problem, Limits(gap=gap, threads=1))  # type: ignore[arg-type]
    assert outcome.status is Status.OPTIMAL, outcome
    assert outcome.point is not None
    assert not evaluate.violations(problem, outcome.point)
    assert outcome.objective == pytest.approx(evaluate.objective(problem, outcome.point), rel=1e-12)
    return outcome


def least_over_supports(problem: Problem, allowed: Problem) -> float:
    """The best value over all sets of entries fixed to 0 that `allowed` accepts: one solve each, prices added here."""
    parameters = problem.free_parameters()
    sizes = [p.size for p in parameters]
    best = np.inf
    for bits in itertools.product((0.0, 1.0), repeat=sum(sizes)):
        parts = np.split(np.array(bits), np.cumsum(sizes)[:-1])
        point = Point({p.name: part.reshape(p.shape) for p, part in zip(parameters, parts)}, {})
        if evaluate.violations(allowed, point):
            continue
        fixed = problem
        for p, part in zip(parameters, parts):
            mask = part.reshape(p.shape)
            fixed = with_parameter(fixed, replace(p, lo=p.lo * mask, hi=p.hi * mask))
        extra = evaluate.objective(allowed, point) - evaluate.objective(problem, point)
        value = solve(fixed).objective
        assert value is not None
        best = min(best, value + extra)
    return best


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
@pytest.mark.parametrize("what", ["budget", "hidden", "price", "neurons", "inputs", "limit"])
def test_budgets_and_prices_against_all_supports(what: str, activation: str) -> None:
    x, y = teacher(5)
    inputs = 2 if what == "inputs" else 1
    problem = training(x[:, :inputs], y, 1, activation, decay=0.02, box=2)
    restricted = {
        "budget": with_budget(problem, 2), "hidden": with_budget(problem, 1, "h"),
        "price": priced(problem, 0.1, ex.Size("l0", "f")),
        "neurons": priced(problem, 0.5, ex.Size("neurons", "f", "h")),
        "inputs": priced(problem, 0.1, ex.Size("inputs", "f")),
        "limit": constrained(problem, "<=", ex.Size("l0", "f", "h", "weights"), 0.0),
    }[what]  # fmt: skip
    objective = solve(restricted).objective
    assert objective == pytest.approx(least_over_supports(problem, restricted), rel=2 * GAP)


def test_budget_over_two_neurons_keeps_the_best_order() -> None:
    """With equal neurons one support stands for both orders; without, all are searched."""
    from nnspec.problem import BreakSymmetry

    problem = with_budget(training(*teacher(6), 2, "tanh", decay=0.2, box=2), 4)
    free = replace(problem, break_symmetry=(BreakSymmetry("f", "h", ("none",)),))
    assert solve(problem, 0.01).objective == pytest.approx(solve(free, 0.01).objective, rel=0.02)


@pytest.mark.parametrize("name", ["f.h.weights", "f.h.bias", "f.out.weights", "f.out.bias"])
@pytest.mark.parametrize("values", [(-1.0, 0.0, 1.0, 2.0), (-0.7, 0.3)])
def test_finite_values_against_enumeration(name: str, values: tuple[float, ...]) -> None:
    x, y = teacher(5)
    problem = training(x[:, :1], y + 0.4, 1, decay=0.05, box=2)
    p = next(p for p in problem.free_parameters() if p.name == name)
    if len(values) == 4:
        restricted = with_parameter(problem, Parameter.box(name, p.shape, -1.4, 2.3, "int"))
    else:
        restricted = with_parameter(problem, Parameter.box(name, p.shape, kind="set", values=values))
    best = min(solve(with_parameter(problem, Parameter.constant(name, np.full(p.shape, v)))).objective for v in values)  # type: ignore[type-var]
    assert solve(restricted).objective == pytest.approx(best, rel=2 * GAP)


def test_all_weights_finite() -> None:
    x, y = teacher(5)
    problem = training(x[:, :1], y, 1, "relu", decay=0.05, box=1)
    values = (-1.0, 0.0, 0.5, 1.0)
    best = np.inf
    for w in itertools.product(values, repeat=4):
        arrays = (np.array([[w[0]]]), np.array([w[1]]), np.array([[w[2]]]), np.array([w[3]]))
        best = min(best, evaluate.objective(problem, Point(dict(zip(SHAPES, arrays)), {})))
    for p in problem.free_parameters():
        problem = with_parameter(problem, Parameter.box(p.name, p.shape, kind="set", values=values))
    assert solve(problem, 1e-6).objective == pytest.approx(best, rel=1e-6)


def test_equality_of_two_weights_is_one_weight_on_their_sum() -> None:
    x, y = teacher(8)
    tied = constrained(training(x, y, 1, decay=0.05, box=2), "==",
                       weights((1.0, "f.h.weights", (0, 0)), (-1.0, "f.h.weights", (0, 1))), 0.0)  # fmt: skip
    single = training(x.sum(axis=1, keepdims=True), y, 1, box=2)
    decay = ex.Sum((ex.Product((ex.Constant(0.05), ex.Size("l2", "f", biases=True))),
                    ex.Product((ex.Constant(0.05), ex.Size("l2", "f", "h", "weights")))))  # fmt: skip
    assert single.objective.expression is not None
    single = replace(
        single, objective=replace(single.objective, expression=ex.Sum((single.objective.expression, decay)))
    )
    assert solve(tied).objective == pytest.approx(solve(single).objective, rel=2 * GAP)


def test_constraints_on_single_weights_are_ranges() -> None:
    x, y = teacher(6)
    problem = training(x, y, 1, decay=0.05, box=2)
    restricted = constrained(problem, "<=", weights((2.0, "f.out.weights", (0, 0))), -0.5)
    narrow = with_parameter(problem, Parameter.box("f.out.weights", (1, 1), -2, -0.25))
    assert solve(restricted).objective == pytest.approx(solve(narrow).objective, rel=2 * GAP)


def test_infeasible() -> None:
    problem = training(*teacher(5), 1, decay=0.05, box=1)
    a, b = (1.0, "f.h.weights", (0, 0)), (1.0, "f.h.weights", (0, 1))
    p = constrained(constrained(problem, ">=", weights(a, b), 1.5), ">=", weights(a, (-1.0, *b[1:])), 1.2)
    outcome = BoxesEngine().solve(p, Limits(gap=GAP, threads=1))
    assert outcome.status is Status.INFEASIBLE
    assert outcome.point is None


def random_restriction(problem: Problem, r: np.random.Generator) -> Problem:
    hidden = next(p for p in problem.free_parameters() if p.name == "f.h.weights")
    kind = int(r.integers(6))
    if kind == 0:
        return with_budget(problem, int(r.integers(1, 5)), None if r.integers(2) else "h")
    if kind == 1:
        return priced(problem, float(r.choice([0.05, 0.5])), ex.Size("l0", "f"))
    if kind == 2:
        name = str(r.choice(["f.h.weights", "f.out.weights"]))
        p = next(p for p in problem.free_parameters() if p.name == name)
        return with_parameter(problem, replace(p, kind="int"))
    if kind == 3:
        name = str(r.choice(["f.h.weights", "f.out.weights"]))
        p = next(p for p in problem.free_parameters() if p.name == name)
        values = (-0.5, 0.0, 0.25, 1.0)
        return with_parameter(problem, Parameter.box(name, p.shape, kind="set", values=values))
    index = tuple(int(r.integers(n)) for n in hidden.shape)
    terms = [(1.0, "f.h.weights", index)]
    if any(p.name == "f.h.bias" for p in problem.free_parameters()):
        terms.append((float(r.choice([-1.0, 2.0])), "f.h.bias", (0,)))
    return constrained(problem, str(r.choice(["<=", ">=", "=="])), weights(*terms), float(r.choice([-0.3, 0.0, 0.3])))


def feasible_points(problem: Problem, r: np.random.Generator, count: int) -> list[Point]:
    """Random points moved towards the restriction; those that do not respect it are dropped."""
    found = []
    for _ in range(count):
        values = {}
        for p in problem.free_parameters():
            v = p.lo + r.uniform(size=p.shape) * (p.hi - p.lo)
            v = np.where(r.uniform(size=p.shape) < 0.4, np.clip(0.0, p.lo, p.hi), v)
            if p.kind == "int":
                v = np.round(v)
            elif p.kind == "set":
                v = r.choice(p.values, size=p.shape)
            values[p.name] = v
        for c in problem.constraints:
            e = c.expression
            if isinstance(e, ex.Comparison) and e.operator == "==":  # solve the row for its first entry
                (_, ref), *_ = ex.linear_terms(e.left)[1]
                if isinstance(ref, ex.ParameterRef):
                    point = Point(values, {})
                    miss = evaluate.value(problem, point, e.left) - evaluate.value(problem, point, e.right)
                    values[ref.parameter][ref.index] -= miss
        point = Point(values, {})
        if not evaluate.violations(problem, point, 0.0 if not problem.constraints else 1e-12):
            found.append(point)
    return found


def check_restricted(number: int, nodes: int = 100) -> None:
    from nnspec.engines.boxes import kinds

    r = np.random.default_rng([number, 77])
    n, d, hidden = int(r.integers(2, 6)), int(r.integers(1, 3)), int(r.integers(1, 3))
    loss = str(r.choice(["sse", "sae", "huber", "logistic"]))
    y = r.integers(0, 2, size=(n, 1)).astype(float) if loss == "logistic" else r.normal(size=(n, 1))
    activation = str(r.choice(kinds.ACTIVATIONS))
    problem = random_restriction(
        training(r.normal(size=(n, d)), y, hidden, activation, loss=loss, decay=float(r.choice([0.0, 0.05, 0.3])),
                 box=(-1.0, 2.0) if r.integers(2) else 1.0, bias=bool(r.integers(4)),
                 maximize=bool(r.integers(4) == 0)), r)  # fmt: skip
    assert BoxesEngine().accepts(problem) is None
    outcome = BoxesEngine().solve(problem, Limits(nodes=nodes, threads=1, gap=1e-3, seed=number))
    sign = 1.0 if problem.minimize else -1.0
    points = feasible_points(problem, r, 200)
    if outcome.status is Status.INFEASIBLE:
        assert not points
        return
    if outcome.point is not None:
        assert not evaluate.violations(problem, outcome.point)
        points.append(outcome.point)
    for point in points:
        value = sign * evaluate.objective(problem, point)
        if outcome.bound is not None:
            assert sign * outcome.bound <= value + 1e-9 * (1 + abs(value)), (number, point)
        if outcome.status is Status.OPTIMAL:
            assert outcome.objective is not None
            assert value >= sign * outcome.objective - 2e-3 * abs(outcome.objective) - 1e-8


@pytest.mark.parametrize("block", range(4))
def test_bound_is_never_above_a_feasible_point_of_a_restricted_problem(block: int) -> None:
    for number in range(25 * block, 25 * block + 25):
        check_restricted(number)


@pytest.mark.long
@pytest.mark.parametrize("block", range(20))
def test_bound_is_never_above_a_feasible_point_of_a_restricted_problem_long(block: int) -> None:
    for number in range(1000 + 100 * block, 1100 + 100 * block):
        check_restricted(number, 300)


def certified() -> list[Problem]:
    x, y = teacher(5)
    problem = training(x, y, 1, decay=0.3, box=2)
    out = Parameter.box("f.out.weights", (1, 1), kind="set", values=(-1.0, 0.0, 0.5, 1.0))
    return [
        with_budget(problem, 3), priced(problem, 0.05, ex.Size("l0", "f")),
        with_parameter(with_parameter(problem, Parameter.box("f.h.weights", (1, 2), -2, 2, "int")), out),
        constrained(problem, "<=", weights((1.0, "f.h.weights", (0, 0)), (1.0, "f.h.weights", (0, 1))), -0.5),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(4))
def test_certificates_of_restricted_problems(number: int, tmp_path: Path) -> None:
    problem, file = certified()[number], tmp_path / "proof.npz"
    outcome = solve(problem, 0.03, certificate=file)
    report = verify(file, problem)
    assert report.valid, report
    assert report.bound == pytest.approx(outcome.bound)
    assert not verify(file, training(*teacher(5), 1, decay=0.3, box=2)).valid
    with np.load(file) as f:
        content = {k: f[k] for k in f.files}

    def changed(**changes: np.ndarray) -> bool:
        bad = tmp_path / "bad.npz"
        np.savez(bad, **{**content, **changes})
        return not verify(bad, problem).valid

    last = len(content["prices"]) - 1
    if last > 0:  # a set of nonzero weights less, with all of its boxes
        rest = content["boxes"][:, 0] != last
        assert changed(supports=content["supports"][:-1], prices=content["prices"][:-1], boxes=content["boxes"][rest],
                       u=content["u"][rest])  # fmt: skip
    if number == 1:
        assert changed(prices=content["prices"] + 1.0)
    if number == 2:
        assert changed(w=content["w"] + 0.25)
        assert changed(counts=0 * content["counts"])
    if number == 3:
        assert changed(w=np.abs(content["w"]))
        assert changed(high=content["high"] - 0.2)
