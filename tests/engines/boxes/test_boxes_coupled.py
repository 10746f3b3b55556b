"""Linear constraints that output weights take part in: against SCIP, random feasible points, cases written out one by
one, and with certificates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from boxes_problems import COMBINATIONS, random_problem, teacher, training
from test_boxes_agreement import check
from test_boxes_restricted import GAP, constrained, least_over_supports, solve, weights, with_budget, with_parameter
from test_boxes_sound import dual_function
from test_boxes_tied import SWAP, enforced, tied_points

from nnspec.engines.boxes import BoxesEngine, kinds, search
from nnspec.engines.boxes.enclosure import workspace
from nnspec.engines.boxes.model import Model, closed, read
from nnspec.engines.boxes.verify import verify
from nnspec.engines.interface import Limits, Outcome, Status
from nnspec.engines.run import solve_problem
from nnspec.problem import BreakSymmetry, Parameter, Point, Problem, evaluate
from nnspec.problem import expression as ex
from nnspec.symmetry import expand

V, C, W, B = "f.out.weights", "f.out.bias", "f.h.weights", "f.h.bias"
OPERATORS = ("<=", ">=", "==")


def entries(problem: Problem) -> list[tuple[str, tuple[int, ...]]]:
    return [(p.name, index) for p in problem.free_parameters() for index in np.ndindex(p.shape)]


def random_rows(problem: Problem, r: np.random.Generator, count: int) -> Problem:
    """Constraints on two to four weights, one of them an output weight or bias, that one random point satisfies."""
    inside = Point({p.name: p.lo + r.uniform(size=p.shape) * (p.hi - p.lo) for p in problem.free_parameters()}, {})
    known = entries(problem)
    outer = [e for e in known if e[0] in (V, C)]
    for _ in range(count):
        chosen = [outer[int(r.integers(len(outer)))]]
        chosen += [known[int(i)] for i in r.choice(len(known), size=int(r.integers(1, 4)))]
        factors = {e: float(r.choice([-1.0, 0.5, 1.0, 2.0])) for e in chosen}
        if len(factors) == 1:
            continue
        left = weights(*((c, *e) for e, c in factors.items()))
        value = evaluate.value(problem, inside, left)
        operator = str(r.choice(OPERATORS))
        room = float(r.choice([0.0, 0.3])) if operator != "==" else 0.0
        problem = constrained(problem, operator, left, value + (room if operator == "<=" else -room))
    return problem


def feasible_points(problem: Problem, r: np.random.Generator, count: int) -> list[Point]:
    """Random points moved onto the violated constraints, one after the other, as far as the ranges allow."""
    found = []
    ranges = {p.name: (p.lo, p.hi) for p in problem.free_parameters()}
    for _ in range(count):
        point = Point({k: lo + r.uniform(size=lo.shape) * (hi - lo) for k, (lo, hi) in ranges.items()}, {})
        for c in (c for _ in range(40) for c in problem.constraints):
            e = c.expression
            assert isinstance(e, ex.Comparison)
            miss = evaluate.value(problem, point, e.left) - evaluate.value(problem, point, e.right)
            if miss == 0 or (e.operator != "==" and (miss < 0) == (e.operator == "<=")):
                continue
            terms = ex.linear_terms(e.left)[1]
            for factor, ref in terms:
                assert isinstance(ref, ex.ParameterRef)
                lo, hi = (end[ref.index] for end in ranges[ref.parameter])
                values = point.parameters[ref.parameter]
                step = miss * factor / sum(f * f for f, _ in terms)
                values[ref.index] = np.clip(values[ref.index] - step, lo, hi)
        if not evaluate.violations(problem, point, 1e-9):
            found.append(point)
    return found


def check_points(problem: Problem, outcome: Outcome, points: list[Point]) -> None:
    """No bound above a point's value, and no point better than a proven optimum, by more than rounding and gap."""
    sign = 1.0 if problem.minimize else -1.0
    if outcome.status is Status.INFEASIBLE:
        assert not points
        return
    if outcome.point is not None:
        assert not evaluate.violations(problem, outcome.point)
        points = [*points, outcome.point]
    for point in points:
        value = sign * evaluate.objective(problem, point)
        # a violation of 1e-9 is worth that times the multiplier
        if outcome.bound is not None:
            assert sign * outcome.bound <= value + 1e-7 * (1 + abs(value))
        if outcome.status is Status.OPTIMAL:
            assert outcome.objective is not None
            assert value >= sign * outcome.objective - 2e-3 * (1 + abs(outcome.objective))


def check_random(number: int, nodes: int) -> None:
    r = np.random.default_rng([number, 31])
    problem = random_problem(number, *COMBINATIONS[number * 7 % len(COMBINATIONS)])
    problem = random_rows(problem, r, int(r.integers(1, 4)))
    assert BoxesEngine().accepts(problem) is None
    outcome = BoxesEngine().solve(problem, Limits(nodes=nodes, threads=1, gap=1e-3, seed=number))
    check_points(problem, outcome, feasible_points(problem, r, 40))


@pytest.mark.parametrize("block", range(4))
def test_bound_is_never_above_a_feasible_point(block: int) -> None:
    for number in range(10 * block, 10 * block + 10):
        check_random(number, 30)


@pytest.mark.long
@pytest.mark.parametrize("block", range(30))
def test_bound_is_never_above_a_feasible_point_long(block: int) -> None:
    for number in range(1000 + 50 * block, 1050 + 50 * block):
        check_random(number, 200)


def random_table(model: Model, r: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A table of coupling.py with random multipliers of the right signs, and these."""
    sides = model.arrays().sides
    lam = r.normal(size=len(sides)) * r.choice([0.1, 1.0, 10.0])
    lam = np.where(np.isinf(sides[:, 0]), np.abs(lam), np.where(np.isinf(sides[:, 1]), -np.abs(lam), lam))
    table = np.zeros((len(sides), 5 + model.vlo.size))
    table[:, 4] = lam
    return table, lam


@pytest.mark.parametrize("activation", kinds.ACTIVATIONS)
def test_box_bound_for_any_multipliers(activation: str) -> None:
    """For any u and lam the bound over a box lies below the Lagrangian at every point of the box, and close to it in a
    tiny one; where the constraints hold, that lies below the objective."""
    for number, loss in enumerate(("sse", "sae", "max_error", "huber", "squared_hinge", "cross_entropy")):
        r = np.random.default_rng([number, 8])
        problem = random_rows(random_problem(number, activation, loss), r, 3)
        model = read(problem)
        assert not isinstance(model, str)
        model = closed(model, np.inf)
        hh, d = model.lo.shape
        n, m = len(model.x), model.vlo.shape[1]
        ws, sides = workspace(n, d, m), model.arrays().sides
        for width in (1.0, 0.3, 1e-4):
            a = r.uniform(size=(hh, d))
            lo = model.lo + a * (model.hi - model.lo)
            hi = lo + width * (model.hi - lo)
            e = lo + r.uniform(size=lo.shape) * (hi - lo)
            u = r.normal(size=(n, m)) * model.cw[:, None]
            table, lam = random_table(model, r)
            factors = lam @ sides[:, 3:]
            slope, shift = factors[: lo.size].reshape(lo.shape), factors[lo.size :].reshape(model.vlo.shape)
            term, argmin = np.zeros(hh), np.zeros((hh, d))
            bound = search.dual_bound.dispatcher(model.arrays(), u, table, lo, hi, e, model.vlo, model.vhi, term,
                                                 argmin, ws)  # fmt: skip
            limits = sum(t * (row[1] if t > 0 else row[0]) for t, row in zip(lam, sides))

            def lagrangian(w: np.ndarray) -> float:
                return dual_function(model, u, w, shift) + float((slope * w).sum()) - limits  # noqa: B023

            values = [lagrangian(w) for w in [e, lo, hi, *(lo + f * (hi - lo) for f in r.uniform(size=(12, hh, d)))]]
            assert bound <= min(values) + 1e-9 * (1 + abs(bound))
            if width == 1e-4 and activation not in ("sign", "step"):
                assert bound >= min(values) - 0.05 * (1 + abs(bound))
        for point in feasible_points(problem, r, 3):
            w, v = model.weights(point)
            objective = model.sense * evaluate.objective(problem, model.point(w, v)) - model.constant
            assert lagrangian(w) <= objective + 1e-6 * (1 + abs(objective))


@pytest.mark.parametrize(("loss", "decay"), [
    ("sse", 0.0), ("sse", 0.1), ("sae", 0.0), ("sae", 0.1), ("max_error", 0.1), ("huber", 0.0), ("pinball", 0.0),
    ("squared_hinge", 0.1), ("cross_entropy", 0.0), ("cross_entropy", 0.1),
])  # fmt: skip
def test_exact_where_hidden_weights_are_fixed(loss: str, decay: float) -> None:
    """u and lam found by the method of multipliers close the gap of the convex problem that is left."""
    r = np.random.default_rng(5)
    x, outputs = r.normal(size=(5, 2)), 1 if loss == "squared_hinge" else 3 if loss == "cross_entropy" else 2
    labels = loss in ("squared_hinge", "cross_entropy")
    y = r.integers(0, max(2, outputs), size=(5, 1)) * 1.0 if labels else r.normal(size=(5, outputs))
    problem = training(x, y, 2, loss=loss, outputs=outputs, decay=decay, output_box=2.0)
    for p in problem.free_parameters()[:2]:
        problem = with_parameter(problem, Parameter.constant(p.name, r.normal(size=p.shape)))
    free = BoxesEngine().solve(problem, Limits(gap=1e-4, threads=1, nodes=1))
    for operator in OPERATORS:
        for _ in range(2):
            left = weights(*((float(r.choice([-1.0, 1.0, 2.0])), *e) for e in entries(problem)[::2]))
            assert free.point is not None
            value = evaluate.value(problem, free.point, left)
            row = constrained(problem, operator, left, value + (0.4 if operator == ">=" else -0.4))
            outcome = BoxesEngine().solve(row, Limits(gap=1e-4, threads=1, nodes=1))
            assert outcome.status is Status.OPTIMAL, (operator, outcome)
            assert outcome.point is not None
            assert abs(evaluate.value(row, outcome.point, left) - value) >= 0.4 - 1e-6  # it is active
            assert outcome.objective >= free.bound  # type: ignore[operator]


def coupled_instance(number: int, activations: tuple[str, ...], hidden: int) -> Problem:
    r = np.random.default_rng([number, hidden, 4])
    n, loss = int(r.integers(4, 7)), ("sse", "sae")[number % 2]
    x, y = np.round(r.normal(size=(n, int(r.integers(1, 3)))), 2), r.normal(size=(n, 1))
    problem = training(x, y, hidden, str(r.choice(activations)), loss=loss, box=float(r.choice([1.0, 2.0])),
                       decay=float(r.choice([0.1, 0.3])))  # fmt: skip
    return random_rows(problem, r, int(r.integers(1, 3)))


def with_scip(number: int, activations: tuple[str, ...], hidden: int, nodes: int, seconds: float) -> bool:
    problem = coupled_instance(number, activations, hidden)
    boxes = BoxesEngine().solve(problem, Limits(nodes=nodes, gap=GAP, threads=1))
    scip = solve_problem(problem, Limits(gap=GAP, time=seconds, threads=1), engine="solver", incumbents=False)
    return scip.point is not None and check(problem, boxes, scip)


def test_agrees_with_scip() -> None:
    proofs = [with_scip(number, ("relu", "abs"), 1, 2000, 60.0) for number in range(6)]
    assert sum(proofs) >= 5


@pytest.mark.long
@pytest.mark.parametrize("block", range(6))
def test_agrees_with_scip_long(block: int) -> None:
    for number in range(100 + 10 * block, 110 + 10 * block):
        hidden = 1 + block % 2
        with_scip(number, ("relu", "abs", "tanh") if hidden == 1 else ("relu", "abs"), hidden, 20000, 20.0)


def test_infeasible() -> None:
    """By the sum of constraints on output weights alone, and of mixed ones; by the ranges alone."""
    problem = training(*teacher(5), 1, decay=0.05, box=2)
    v, c, w = (1.0, V, (0, 0)), (1.0, C, (0,)), (1.0, W, (0, 0))
    outer = constrained(constrained(problem, "<=", weights(v, c), 0.5), ">=", weights(v, c), 0.6)
    mixed = constrained(constrained(problem, "<=", weights(v, w), 0.5), ">=", weights(v, w, (0.1, *c[1:])), 0.8)
    for p in (outer, mixed, constrained(problem, ">=", weights(v, c, w), 6.1)):
        outcome = BoxesEngine().solve(p, Limits(gap=GAP, threads=1, nodes=2000))
        assert outcome.status is Status.INFEASIBLE
        assert outcome.point is None


def test_integer_output_weights_against_enumeration() -> None:
    """With the output weight fixed, the constraint is a range of the output bias."""
    x, y = teacher(5)
    problem = training(x[:, :1], y + 0.4, 1, decay=0.05, box=2)
    row = constrained(problem, "<=", weights((1.0, V, (0, 0)), (1.0, C, (0,))), -0.6)
    integers = with_parameter(row, Parameter.box(V, (1, 1), -2, 2, "int"))
    best = np.inf
    for value in range(-2, 3):
        one = with_parameter(problem, Parameter.constant(V, np.full((1, 1), float(value))))
        if -0.6 - value >= -2:
            one = with_parameter(one, Parameter.box(C, (1,), -2.0, min(2.0, -0.6 - value)))
            best = min(best, solve(one).objective)  # type: ignore[type-var]
    assert solve(integers).objective == pytest.approx(best, rel=2 * GAP)


def test_budget_and_constraint_against_all_supports() -> None:
    x, y = teacher(5)
    problem = training(x[:, :1], y + 0.4, 1, decay=0.02, box=2)
    allowed = with_budget(problem, 3)  # which sets of nonzero weights there are does not depend on the constraint

    def row(p: Problem) -> Problem:
        return constrained(p, "<=", weights((1.0, C, (0,)), (0.1, W, (0, 0)), (0.1, V, (0, 0))), 0.2)

    restricted = row(allowed)
    assert solve(restricted).objective == pytest.approx(least_over_supports(row(problem), allowed), rel=2 * GAP)
    assert solve(restricted).objective > 1.01 * solve(allowed).objective  # type: ignore[operator]


@pytest.mark.parametrize(("terms", "ordered", "flipped"), [
    ([(1.0, V, (0, 0)), (1.0, V, (0, 1))], True, False), ([(1.0, V, (0, 0)), (-1.0, V, (0, 1))], False, False),
    ([(1.0, W, (0, 0)), (1.0, V, (0, 1))], False, False), ([(1.0, C, (0,)), (1.0, C, (1,))], True, True),
    ([(1.0, B, (0,)), (1.0, B, (1,)), (1.0, C, (0,))], True, False),
])  # fmt: skip
def test_symmetries_are_used_where_the_constraint_has_them(terms: list, ordered: bool, flipped: bool) -> None:
    x, y = teacher(5)
    problem = training(x, np.column_stack([y, y**2]), 2, decay=0.3, box=1)
    problem = constrained(problem, ">=", weights(*terms), 0.6)
    model = read(problem)
    assert not isinstance(model, str)
    assert (model.order_by >= 0, model.flipped >= 0) == (ordered, flipped)
    if ordered:
        free = replace(problem, break_symmetry=(BreakSymmetry("f", "h", ("none",)),))
        assert solve(problem, 0.01).objective == pytest.approx(solve(free, 0.01).objective, rel=0.02)


def test_without_ranges() -> None:
    """Decay alone bounds the weights, once there is a feasible network; its cost is that of the boxed problem."""
    terms = ((1.0, V, (0, 0)), (1.0, C, (0,)), (-1.0, W, (0, 1)))
    free, boxed = (constrained(training(*teacher(6), 1, decay=0.1, box=b), ">=", weights(*terms), 2.0)
                   for b in (np.inf, 6.0))  # fmt: skip
    assert solve(free).objective == pytest.approx(solve(boxed).objective, rel=2 * GAP)


def test_tied_weights() -> None:
    """The constraint is one on the weights that stand for the tied ones; none of their points is below the bound."""
    r = np.random.default_rng(3)
    terms = weights((1.0, V, (0, 0)), (0.5, V, (0, 1)), (1.0, W, (0, 0)), (-1.0, W, (0, 1)))
    for case in expand(enforced(training(*teacher(5), 2, decay=0.1, box=2), SWAP)):
        row = replace(case, plain=constrained(case.plain, ">=", terms, 1.2))
        outcome = BoxesEngine().solve(row.plain, Limits(gap=0.01, threads=1, nodes=3000))
        assert outcome.status is Status.OPTIMAL
        assert outcome.point is not None
        assert case.tied.holds(outcome.point)
        assert evaluate.value(row.plain, outcome.point, terms) == pytest.approx(1.2, abs=1e-6)
        points = tied_points(row, r, 300)
        assert len(points) > 10
        check_points(row.plain, outcome, points)


def certified() -> list[Problem]:
    x, y = teacher(5)
    problem = training(x, y, 1, decay=0.3, box=2)
    v, c, w = (1.0, V, (0, 0)), (1.0, C, (0,)), (1.0, W, (0, 0))
    return [
        constrained(problem, ">=", weights(v, c), 0.8),
        constrained(problem, "==", weights(v, (-1.0, *w[1:]), (0.5, *c[1:])), 0.7),
        constrained(training(x, np.column_stack([y, -y]), 1, "sigmoid", decay=0.3, box=2), "<=",
                    weights(c, (1.0, C, (1,)), (0.3, *w[1:])), -0.5),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("nodes", [None, 20])
def test_certificates(number: int, nodes: int | None, tmp_path: Path) -> None:
    problem, file = certified()[number], tmp_path / "proof.npz"
    outcome = BoxesEngine(certificate=file).solve(problem, Limits(gap=0.03, threads=1, nodes=nodes))
    report = verify(file, problem)
    assert report.valid, report
    assert report.bound == pytest.approx(outcome.bound)
    with np.load(file) as f:
        content = {k: f[k] for k in f.files}
    assert np.any(content["lam"] != 0)

    def refused(**changes: np.ndarray) -> str:
        np.savez(tmp_path / "bad.npz", **{**content, **changes})
        return verify(tmp_path / "bad.npz", problem).reason

    none = {"rows": content["rows"][:0], "low": content["low"][:0], "high": content["high"][:0],
            "lam": content["lam"][:, :0]}  # fmt: skip
    assert "rows differs" in refused(**none)
    sign = refused(lam=-content["lam"])
    assert ("is not shown" if number == 1 else "wrong sign") in sign  # an equation's multipliers have any sign
    assert refused(lam=np.where(content["lam"] != 0, np.nan, 0))
    assert "is not shown" in refused(lam=0 * content["lam"])
    assert "differs" in refused(high=content["high"] + 0.1, low=content["low"] - 0.1)
    assert "breaks a linear constraint" in refused(w=content["w"] * 0, z=content["z"] * 0)
    old = str(content["head"]).replace('"format": 3', '"format": 2')
    assert "format 2" in refused(head=np.array(old))
