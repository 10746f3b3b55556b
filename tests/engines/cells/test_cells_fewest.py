"""The fewest errors of any activation and number of inputs: against mixed-integer programs, enumeration, the search for
half-planes, and SCIP."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace

import numpy as np
import pytest
from cells_models import scip, training
from errors_milp import THRESHOLD, by_enumeration, fewest
from scipy.optimize import linprog

from nnspec.engines.cells import CellsEngine
from nnspec.engines.cells.model import CellProblem, recognise
from nnspec.engines.interface import Limits, Outcome, Status
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import objective, violations
from nnspec.problem.network import Parameter
from nnspec.problem.problem import Constraint, Problem

ENGINE = CellsEngine()
ACTIVATIONS = ("relu", "abs", "leaky_relu", "hardtanh", "step", "sign")


def solved(p: Problem, **limits) -> Outcome:  # type: ignore[no-untyped-def]
    """Proven, by networks that keep their boxes and have the errors that are claimed."""
    assert ENGINE.accepts(p) is None
    out = ENGINE.solve(p, Limits(threads=1, **limits))
    assert out.status is Status.OPTIMAL
    assert not violations(p, out.point, 1e-9)
    assert out.objective == objective(p, out.point)
    assert out.bound <= out.objective
    return out


def instance(seed: int, d: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y and multiplicities; integer grids and points on a hyperplane among them."""
    r = np.random.RandomState(seed)
    n, d = r.randint(3, 8), r.randint(1, 4) if d is None else d
    shape = seed % 3
    x = r.randint(0, 3, (n, d)).astype(float) if shape == 0 else r.uniform(-1, 1, (n, d))
    if shape == 1:
        x[:, -1] = 2 * x[:, 0] + 1
    counts = (np.ones(n), r.randint(1, 5, n).astype(float), 0.37 * r.randint(1, 5, n))[r.randint(3)]
    return x, (r.rand(n) < 0.5) * 1.0, counts


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree has to find the networks itself: one that loses the best of them is found out."""
    monkeypatch.setattr("nnspec.engines.cells.fewest.multistart_errors", lambda *arguments: None)


def compare(seed: int) -> None:
    x, y, counts = instance(seed)
    r = np.random.RandomState(seed)
    activation, neurons = ACTIVATIONS[seed % 6], 1 + seed // 6 % 2
    x, y, counts = (a[: 9 - 3 * neurons + seed % 2] for a in (x, y, counts))
    # no box is as tight as the margin: what then is right is a matter of the last digit
    box = dict(weights=float(r.choice([1.0, 5.0])), biases=float(r.choice([1.0, 3.0])),
               outputs=float(r.choice([0.52, 2.1])), output_bias=float(r.choice([0.31, 1.7])))  # fmt: skip
    margin = float(r.choice([0.01, 0.11, 0.4, 1.2]))
    out = solved(training(x, y, neurons, activation, "errors", margin=margin, counts=counts, **box))
    want = fewest(x, y, neurons, activation, margin=margin, counts=counts, **box)
    if activation in THRESHOLD:  # between networks that leave samples 1e-4 on their sides, and -1e-5
        least = fewest(x, y, neurons, activation, margin=margin, counts=counts, eps=-1e-5, **box)
        assert least - 1e-6 <= out.objective <= want + 1e-6
        return
    assert out.objective == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("seed", [s for s in range(30) if s != 10])  # HiGHS takes 10 s for that one
def test_agrees_with_mixed_integer_programs(seed: int, alone: None) -> None:
    compare(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_agrees_with_mixed_integer_programs_300(seed: int) -> None:
    compare(seed)


@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_all_patterns_and_sets_of_right_samples(seed: int) -> None:
    r = np.random.RandomState(seed)
    activation, d = ACTIVATIONS[seed % 4], 1 + seed % 2
    x, y, counts = instance(seed, d)
    n = min(len(x), 4 if activation == "hardtanh" else 5)
    x, y, counts = x[:n], y[:n], counts[:n]
    margin = float(r.choice([0.001, 1.0, 3.0]))
    out = solved(training(x, y, 1, activation, "errors", margin=margin, counts=counts))
    assert out.objective == pytest.approx(by_enumeration(x, y, activation, margin, counts), abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_scip(seed: int) -> None:
    x, y, counts = instance(seed + 50)
    activation = ("relu", "abs", "leaky_relu", "hardtanh")[seed % 4]
    box = dict(weights=2.0, biases=1.5, outputs=0.8, output_bias=0.6)
    out = solved(training(x, y, 1, activation, "errors", margin=0.25, counts=counts, **box))
    primal, dual = scip(x, y, 1, activation, "errors", margin=0.25, counts=counts, limit=5.0, **box)
    assert out.bound <= primal + 1e-6
    assert dual <= out.objective + 1e-6


@pytest.mark.parametrize("seed", range(12))
def test_agrees_with_half_planes(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    r = np.random.RandomState(seed)
    n = 20 + 3 * seed
    x = r.randint(0, 6, (n, 2)).astype(float) if seed % 3 == 0 else r.randn(n, 2)
    y = (x[:, 0] + x[:, 1] + (1.5 if seed % 2 else 0.3) * r.randn(n) > 0.5) * 1.0
    counts = np.ones(n) if seed % 4 else r.randint(1, 4, n).astype(float)
    p = training(x, y, 1 + seed % 2, ("step", "sign")[seed // 2 % 2], "errors", weights=2, biases=9, outputs=1,
                 output_bias=1, counts=counts)  # fmt: skip
    known = solved(p)
    assert known.evidence["method"] == "enumeration of maximal half-planes"
    monkeypatch.setattr(CellProblem, "planar", False)
    monkeypatch.setattr("nnspec.engines.cells.fewest.multistart_errors", lambda *arguments: None)
    assert solved(p).objective == known.objective


def hard(n: int = 24, d: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    r = np.random.RandomState(seed)
    return r.uniform(-1, 1, (n, d)), (r.rand(n) < 0.5) * 1.0


@pytest.mark.parametrize("activation", ["relu", "abs", "hardtanh"])
def test_work_is_split_and_resumed(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnspec.engines.cells import fewest as driver

    x, y = hard()
    p = training(x, y, 2, activation, "errors")
    whole = solved(p)
    monkeypatch.setattr(driver, "multistart_errors", lambda *arguments: None)
    budgets = []
    explore = driver.ErrorsSearch.explore

    def watched(self, members, proven, subtree, loss, budget):  # type: ignore[no-untyped-def]
        budgets.append(len(subtree.prefix))
        return explore(self, members, proven, subtree, loss, budget)

    monkeypatch.setattr(driver, "FIRST_BUDGET", 10)
    monkeypatch.setattr(driver, "BUDGET_NODES", 25)
    monkeypatch.setattr(driver.ErrorsSearch, "explore", watched)
    parts = solved(p)
    assert max(budgets) > 2
    assert parts.objective == whole.objective
    again = ENGINE.solve(p, Limits(threads=2))
    assert (again.objective, again.nodes) == (parts.objective, parts.nodes)


@pytest.mark.parametrize("activation", ["relu", "abs", "step"])
def test_dominance_loses_nothing(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of exchangeable neurons and flips: the same optimum without them, by more nodes."""
    from nnspec.engines.cells import fewest as driver

    monkeypatch.setattr(CellProblem, "planar", False)
    x, y = hard(24, 2, 3)
    p = training(x, y, 2, activation, "errors", outputs=2.0, output_bias=1.0, weights=50.0, biases=50.0)
    known, make = solved(p), driver.parts
    monkeypatch.setattr(driver, "multistart_errors", lambda *arguments: None)
    ordered = solved(p)
    assert ordered.objective == known.objective

    def plain(*arguments):  # type: ignore[no-untyped-def]
        parts = make(*arguments)
        for part in parts:
            part.search.options = replace(part.search.options, flip=False, alike=np.zeros(2, dtype=bool))
            part.search.errors = replace(part.search.errors, options=part.search.options)
        return parts

    monkeypatch.setattr("nnspec.engines.cells.fewest.parts", plain)
    out = solved(p)
    assert out.objective == known.objective
    assert out.nodes > ordered.nodes


@pytest.mark.parametrize("activation", ["relu", "hardtanh", "leaky_relu"])
def test_limits_on_neurons_and_inputs(activation: str) -> None:
    x, y = hard(26, 2, 1)
    box = dict(weights=4.0, biases=4.0, outputs=2.0, output_bias=2.0)
    p = training(x, y, 2, activation, "errors", **box)
    for kind, other in (("neurons", training(x, y, 1, activation, "errors", **box)), ("inputs", None)):
        limit = Constraint(ex.Comparison("<=", ex.Size(kind, "f"), ex.Constant(1.0)))
        want = solved(other).objective if other is not None else min(
            solved(training(x[:, [j]], y, 2, activation, "errors", **box)).objective for j in range(2))  # fmt: skip
        assert solved(replace(p, constraints=(limit,))).objective == want
        assert solved(p).objective < want


@pytest.mark.parametrize("seed", range(6))
def test_tight_boxes_claim_no_more_than_is_there(seed: int) -> None:
    """Margins that the boxes allow just so: the bound stays valid, and integers are met exactly."""
    r = np.random.RandomState(seed)
    x, y = r.randint(0, 3, (6, 2)).astype(float), (r.rand(6) < 0.5) * 1.0
    box = dict(weights=1.0, biases=1.0, outputs=1.0, output_bias=1.0)
    p = training(x, y, 1, ACTIVATIONS[seed], "errors", margin=1.0, **box)
    out = ENGINE.solve(p, Limits(threads=1))
    want = fewest(x, y, 1, ACTIVATIONS[seed], margin=1.0, **box)
    assert out.bound <= want + 1e-6
    assert out.objective == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("bias", [(0.3, 0.3), (-0.5, -0.1)])
def test_output_biases_away_from_0(seed: int, bias: tuple[float, float], alone: None) -> None:
    x, y, counts = instance(seed + 20)
    box = dict(weights=2.0, biases=1.0, outputs=0.7)
    p = training(x, y, 1, ACTIVATIONS[seed], "errors", margin=0.25, counts=counts, output_bias=1.0, **box)
    f = p.networks["f"]
    last = replace(f.layers[-1], bias=Parameter.box("f.out.bias", (1,), *bias))
    p = replace(p, networks={"f": replace(f, layers=(*f.layers[:-1], last))})
    want = fewest(x, y, 1, ACTIVATIONS[seed], margin=0.25, counts=counts, output_bias=bias, **box)
    assert solved(p).objective == pytest.approx(want, abs=1e-6)


def test_margins_that_a_constant_network_has() -> None:
    x, y = hard(10)
    assert solved(training(x, y, 1, "relu", "errors", margin=0.0)).objective == 0.0
    assert solved(training(x, y, 1, "relu", "errors", margin=-2.0)).objective == 0.0


def test_refusals() -> None:
    x, y = hard(6)
    for reason, p in (
        ("weight decay", training(x, y, 1, "relu", "errors", decay=0.1)),
        ("at most 3 step", training(x, y, 4, "step", "errors")),
        ("positive margin", training(x, y, 1, "sign", "errors", margin=0.0)),
        ("0 inside", training(x, y, 1, "sign", "errors", bias=False)),
    ):
        assert reason in str(ENGINE.accepts(p))


def test_stop_and_limits_keep_valid_bounds() -> None:
    x, y = hard(60)
    p = training(x, y, 2, "relu", "errors")
    stop = threading.Event()
    stop.set()
    out = ENGINE.solve(p, Limits(), stop=stop)
    assert out.status is Status.INTERRUPTED
    limited = ENGINE.solve(p, Limits(nodes=2000, threads=1))
    assert limited.status is Status.LIMIT
    assert limited.bound < limited.objective == objective(p, limited.point)


# -- the parts ---------------------------------------------------------------------------------------------------------


def test_shortest_points_and_proofs_of_emptiness() -> None:
    """Against HiGHS: points that respect all rows, of the least length; emptiness only where there is none."""
    from nnspec.engines.cells.separation import EMPTY, FOUND, approach, begin

    seen = set()
    for seed in range(300):
        r = np.random.RandomState(seed)
        size, m = r.randint(1, 6), r.randint(1, 15)
        rows = r.uniform(-1, 1, (m, size)) if seed % 3 else r.randint(-1, 2, (m, size)).astype(float)
        if seed % 5 == 0:  # dependent ones
            rows[m // 2 :] = rows[: m - m // 2] * r.choice([-1.0, 1.0])
        rhs = r.choice([0.0, 1e-3, 1.0], m)
        reach = np.full(size, 1e4)
        point = begin(size)
        some = np.arange(m)
        status = approach(rows, rhs, rhs * (1 + 1e-6), reach, some, (m + 1) // 2, point, np.zeros(4 * size + 8))
        if status == FOUND:  # goes on with the other rows
            status = approach(rows, rhs, rhs * (1 + 1e-6), reach, some, m, point, np.zeros(4 * size + 8))
        seen.add(status)
        judge = linprog(np.zeros(size), A_ub=-rows, b_ub=-rhs, bounds=[(-1e4, 1e4)] * size)
        if status == FOUND:
            assert np.all(rows @ point.z >= rhs - 1e-11)
            k = point.count[0]
            # stationary with multipliers >= 0 of rows that are tight: there is no shorter point
            u, active = point.u[:k], rows[point.active[:k]]
            assert np.all(u >= 0)
            assert point.z == pytest.approx(u @ active, abs=1e-8 * (1 + np.abs(point.z).max()))
            assert active @ point.z == pytest.approx(rhs[point.active[:k]], abs=1e-5)
        elif status == EMPTY:
            assert judge.status == 2, seed
        if judge.status == 2 and not np.any(rhs == 0.0):
            assert status == EMPTY, seed
    assert {FOUND, EMPTY} <= seen


def test_the_bound_of_a_node_is_the_best_of_all_subsets() -> None:
    from nnspec.engines.cells.search_errors import GIVEN_UP, OPEN, System, bound_of

    for seed in range(50):
        r = np.random.RandomState(seed)
        n = r.randint(1, 8)
        cost, proven = r.rand(n), np.append(0.0, np.cumsum(r.rand(n)))
        decided = r.choice([GIVEN_UP, OPEN, 0], n)
        members = r.permutation(n)
        none = np.zeros(0, dtype=np.int64)
        system = System(none, none, none, none[None], cost[None], cost, cost, 0, cost, cost > 0, False, cost)
        want = max(sum(cost[i] for i, what in zip(members[: n - m], decided[: n - m], strict=True) if what == GIVEN_UP)
                   + proven[m] for m in range(n + 1))  # fmt: skip
        assert bound_of(system, members, proven, decided) == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("neurons", [1, 2, 3])
def test_tables_of_roomy_boxes(neurons: int) -> None:
    """For one, two and three neurons the monotone threshold functions that depend on all: 1, 2 and 5."""
    from nnspec.engines.cells.tables import tables

    x, y = hard(6)
    for activation in THRESHOLD:
        cells = recognise(training(x, y, neurons, activation, "errors", outputs=1.0, output_bias=1.0))
        assert isinstance(cells, CellProblem)
        found = tables(cells)
        assert len(found) == {1: 1, 2: 2, 3: 5}[neurons]
        low = 0.0 if activation == "step" else -1.0
        for t in found:
            assert len(t.up) + len(t.down) == 2**neurons
            v, flipped = np.array(t.v), np.array(t.v) < 0
            for s in range(2**neurons):
                on = np.array([s >> k & 1 for k in range(neurons)], dtype=bool) != flipped
                o = float(np.where(on, 1.0, low) @ v) + t.c
                assert o >= cells.margin if s in t.up else o <= -cells.margin


def test_multipliers_that_prove_nothing_are_told_apart() -> None:
    from nnspec.engines.cells.separation import proves_empty

    proven = 0
    for seed in range(400):
        r = np.random.RandomState(seed)
        size, m = r.randint(1, 3), r.randint(1, 5)
        rows, rhs = r.randint(-1, 2, (m, size)).astype(float), r.choice([-1.0, 0.0, 1.0, 3.0], m)
        u, reach = r.randint(0, 3, m).astype(float), np.full(size, 2.0)
        if proves_empty(rows, rhs, reach, np.arange(m), u, m, np.zeros(size)):
            proven += 1
            judge = linprog(np.zeros(size), A_ub=-rows, b_ub=-rhs, bounds=[(-2.0, 2.0)] * size)
            assert judge.status == 2, seed
    assert proven > 20


@pytest.mark.parametrize("seed", range(5))
def test_every_output_layer_has_a_table(seed: int) -> None:
    """Each pair of families of sets that some output layer in the boxes has, by linear programs, is inside a table, up
    to exchanges of on and off and of neurons, and neurons that never change."""
    from nnspec.engines.cells.tables import Table, tables

    r = np.random.RandomState(seed)
    x, y = hard(4)
    activation, m, count = THRESHOLD[seed % 2], 0.4, 2
    p = training(x, y, count, activation, "errors", margin=m, outputs=float(r.uniform(0.3, 1.1)),
                 output_bias=float(r.uniform(0.0, 0.8)))  # fmt: skip
    cells = recognise(p)
    assert isinstance(cells, CellProblem)
    found = tables(cells)
    wide = [t for f in found for a in (f, *(f.fixed(k, on) for k in range(count) for on in (False, True)))
            for t in (a, *(a.fixed(k, on) for k in range(count) for on in (False, True)))]  # fmt: skip
    low = 0.0 if activation == "step" else -1.0
    outputs = np.array([[1.0 if s >> k & 1 else low for k in range(count)] + [1.0] for s in range(4)])
    bounds = [(-cells.out_hi[0], cells.out_hi[0])] * count + [(cells.c_lo, cells.c_hi)]
    partial = 0
    for sides in itertools.product((-1, 0, 1), repeat=4):
        chosen = [s for s in range(4) if sides[s]]
        rows = np.array([sides[s] * outputs[s] for s in chosen]).reshape(-1, count + 1)
        if linprog(np.zeros(count + 1), A_ub=-rows, b_ub=np.full(len(rows), -m), bounds=bounds).status != 0:
            continue
        images = []
        for flips, order in itertools.product(range(4), itertools.permutations(range(count))):
            up, down = (frozenset(s ^ flips for s in range(4) if sides[s] == side) for side in (1, -1))
            images.append(Table(count, up, down).permuted(order))
        assert any(image.inside(t) for image in images for t in wide), sides
        partial += 0 in sides
    assert partial
    for t in found:  # and each table is one of an output layer in the boxes
        v, flipped = np.array(t.v), np.array(t.v) < 0
        assert np.all(np.abs(v) <= cells.out_hi[0])
        assert cells.c_lo <= t.c <= cells.c_hi
        for s in range(4):
            on = np.array([s >> k & 1 for k in range(count)], dtype=bool) != flipped
            o = float(np.where(on, 1.0, low) @ v) + t.c
            assert s not in t.up or o >= m - 1e-9
            assert s not in t.down or o <= -m + 1e-9


def test_split_searches_visit_the_same_nodes() -> None:
    """With the optimum known nothing is exchanged: the nodes of all visits are those of one."""
    from nnspec.engines.cells import fewest as driver

    x, y = hard()
    cells = recognise(training(x, y, 2, "relu", "errors"))
    assert isinstance(cells, CellProblem)
    for part in driver.parts(cells, cells, 1e-6, 1e-9, 1, 0, {}):
        search = part.search
        assert isinstance(search, driver.ErrorsSearch)
        members, proven = np.arange(16), np.zeros(17)
        root = np.zeros((0, 2), dtype=np.int64)
        optimum = search.explore(members, proven, driver.Subtree(root, 0.0), 17.0, 10**9)[0]

        def visit(prefix, budget, search=search, members=members, optimum=optimum):  # type: ignore[no-untyped-def]
            subtree = driver.Subtree(prefix, 0.0)
            loss, _, left, _, nodes = search.explore(members, np.zeros(17), subtree, optimum, budget)
            assert loss == np.inf
            return left, nodes

        left, whole = visit(root, 10**9)
        assert not left
        assert whole > 50
        open_ones, total = [root], 0
        while open_ones:
            left, nodes = visit(open_ones.pop(), 7)
            total += nodes
            open_ones += [s.prefix for s in left]
        assert total == whole
