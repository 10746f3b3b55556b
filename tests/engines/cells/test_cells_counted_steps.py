"""Numbers of weights, neurons and inputs of step and sign neurons: against SCIP, and against smaller networks one by
one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from cells_models import boxed, scip, teacher, training
from test_cells_least import fewest
from test_cells_supports import counted

from nnspec.engines.cells import CellsEngine
from nnspec.engines.cells.convex import Convex, explore_form
from nnspec.engines.cells.form import build, make
from nnspec.engines.cells.instance import cone_coordinates, whole_tree
from nnspec.engines.cells.model import recognise
from nnspec.engines.cells.opposite import opposite
from nnspec.engines.cells.supports import restrict
from nnspec.engines.cells.work import Effort
from nnspec.engines.interface import Limits, Status
from nnspec.problem.evaluate import objective, violations

ENGINE = CellsEngine()
LOSSES = ("sse", "sae", "max_error", "huber", "hinge", "squared_hinge", "pinball", "mse", "errors")
NAMES = ("h", "out", "l0", "neurons", "inputs")


def compare(seed: int, limit: float) -> None:
    r = np.random.RandomState(seed)
    kind, activation = LOSSES[seed % len(LOSSES)], ("step", "sign")[r.randint(0, 2)]
    n, d, neurons = r.randint(3, 6), r.randint(1, 3), r.randint(1, 3)
    x = r.uniform(-1, 1, (n, d)) if r.rand() < 0.5 else r.randint(-1, 3, (n, d)).astype(float)
    y = (r.rand(n) < 0.5).astype(float) if kind in ("hinge", "squared_hinge", "errors") else np.round(1 + r.randn(n), 2)
    box = dict(weights=float(r.choice([0.5, 2.0])), biases=float(r.choice([1.0, 3.0])),
               outputs=float(r.choice([0.5, 1.5])), output_bias=float(r.choice([0.3, 2.0])))  # fmt: skip
    more = dict(q=0.3, margin=0.25, delta=0.5)
    top = {"h": neurons * (d + 1), "out": neurons + 1, "l0": neurons * (d + 2) + 1, "neurons": neurons, "inputs": d}
    most = {str(k): int(r.randint(0, top[k] + 1)) for k in r.choice(NAMES, 2, replace=False)}
    prices = {str(k): float(r.choice([0.03, 0.2])) for k in r.choice(NAMES, r.randint(0, 4), replace=False)}
    p = counted(training(x, y, neurons, activation, kind, **box, **more), most, prices, bool(seed % 2))
    reason = ENGINE.accepts(p)
    if reason is not None:
        assert "lie opposite" in reason or "errors" in reason
        return
    out = ENGINE.solve(p, Limits(threads=1))
    assert out.status is Status.OPTIMAL
    assert not violations(p, out.point, 1e-9)
    assert out.objective == objective(p, out.point)
    primal, dual = scip(x, y, neurons, activation, kind, **box, **more, limit=limit, most=most, prices=prices)
    slack = 2e-5 * max(1.0, abs(out.objective))
    assert out.bound <= primal + slack, "the engine's bound is above a network that SCIP found"
    assert dual <= out.objective + slack, "SCIP proved that the engine's network does not exist"


@pytest.mark.parametrize("seed", range(27))
def test_agrees_with_scip(seed: int) -> None:
    compare(seed, 1.0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_agrees_with_scip_200(seed: int) -> None:
    compare(seed, 5.0)


@pytest.mark.parametrize(("activation", "kind"), [("step", "sse"), ("sign", "sae"), ("step", "max_error")])
def test_fewest_neurons_and_inputs_against_smaller_networks(activation: str, kind: str) -> None:
    x, y = teacher(8)
    best = {}
    for k, used in itertools.product(range(3), ((), (0,), (1,), (0, 1))):
        p = training(x[:, used or (0,)], y, max(k, 1), activation, kind)
        if not used or not k:
            p = boxed(p, v=(0.0, 0.0))
        best[k, used] = ENGINE.solve(p, Limits(threads=1)).objective
    tolerance = best[1, (0, 1)] * 0.9
    for prices in ({"neurons": 1.0}, {"inputs": 1.0}, {"neurons": 1.0, "inputs": 0.4}):
        needed = min(prices.get("neurons", 0.0) * k + prices.get("inputs", 0.0) * len(used)
                     for (k, used), loss in best.items() if loss <= tolerance)  # fmt: skip
        p = fewest(training(x, y, 2, activation, kind), prices, tolerance)
        out = ENGINE.solve(p, Limits(threads=1))
        assert out.status is Status.OPTIMAL
        assert out.objective == pytest.approx(needed)
        assert not violations(p, out.point)
    for k, used in itertools.product((1, 2), ((0,), (0, 1))):
        limited = counted(training(x, y, 2, activation, kind), {"neurons": k, "inputs": len(used)})
        out = ENGINE.solve(limited, Limits(threads=1))
        least = min(best[k, u] for u in ((0,), (1,), (0, 1)) if len(u) == len(used))
        assert out.objective == pytest.approx(least, rel=2e-6)


def test_neurons_without_inputs_are_constants() -> None:
    """No output bias: two output weights make the mean, as far as their boxes reach; a sign neuron's may be turned."""
    y = np.array([0.2, 0.4, 0.9])
    for activation, most, v, reach in (("step", {"h": 0}, (-1.0, 0.2), 0.4), ("sign", {"inputs": 0}, (-0.3, 0.0), 0.6),
                                       ("sign", {"h": 0}, (-0.3, 0.0), 0.0)):  # fmt: skip
        p = boxed(training(np.arange(3.0)[:, None], y, 2, activation, use_output_bias=False), v=v)
        p = counted(p, most)
        out = ENGINE.solve(p, Limits(threads=1))
        assert out.status is Status.OPTIMAL
        assert not violations(p, out.point)
        assert out.objective == pytest.approx(float(np.sum((y - min(reach, y.mean())) ** 2)), rel=2e-6)


def test_prices_that_are_no_multiple_of_an_error() -> None:
    """One error and no neuron costs more than a neuron; one error with it is not better than none without."""
    x = np.array([[0.0], [1.0], [2.0], [3.0]])
    p = counted(training(x, [0, 0, 1, 0], 1, "step", "errors", margin=0.25), {}, {"neurons": 0.03})
    out = ENGINE.solve(p, Limits(threads=1))
    assert out.status is Status.OPTIMAL
    assert out.objective == pytest.approx(1.0)


def test_a_neuron_without_its_bias_is_on_at_the_origin() -> None:
    """One weight: on at x >= 0 or at x <= 0, the sample at 0 in both cases."""
    x, y = np.array([[-2.0], [-1.0], [0.0], [1.0], [3.0]]), np.array([1.0, 2.0, 4.0, 4.5, 3.0])
    for activation in ("step", "sign"):
        p = counted(training(x, y, 1, activation), {"h": 1})
        out = ENGINE.solve(p, Limits(threads=1))
        assert out.status is Status.OPTIMAL
        assert not violations(p, out.point)
        left = min(float(np.var(y[m]) * m.sum() + np.var(y[~m]) * (~m).sum()) for m in (x[:, 0] >= 0, x[:, 0] <= 0))
        assert out.objective == pytest.approx(left, rel=2e-6)
        # the tree alone, without what local search finds
        cells = recognise(p)
        form = make(restrict(cells, next(s for s in cells.supports if not s.closed[0])), (1,))
        doll = build(form, cone_coordinates(form.inputs), list(range(5)), [0.0] * 6)
        convex, effort = Convex(form, np.zeros(1, dtype=np.int64)), Effort(1e-6, 1e-12, 10_000, 64)
        visit = explore_form(convex, doll, whole_tree(1), np.inf, effort)
        assert form.offset + form.unit * visit.loss == pytest.approx(left, rel=2e-6)


def test_neurons_with_different_inputs() -> None:
    """Two hidden weights and two biases: each neuron has one input, not the same one."""
    r = np.random.RandomState(2)
    x = r.uniform(-1, 1, (9, 2))
    y = (x[:, 0] > 0.1) - 2.0 * (x[:, 1] > -0.2)
    p = counted(training(x, y, 2, "step"), {"h": 4})
    out = ENGINE.solve(p, Limits(threads=1))
    assert out.status is Status.OPTIMAL
    assert out.objective == pytest.approx(0.0, abs=1e-9)
    w = out.point.parameters["f.h.weights"]
    assert np.count_nonzero(w) == 2
    assert np.all(np.any(w != 0, axis=0))
    same = ENGINE.solve(counted(training(x, y, 2, "step"), {"h": 4, "inputs": 1}), Limits(threads=1))
    assert same.objective > 0.1


def test_dependences_of_samples_that_lie_opposite_each_other() -> None:
    r = np.random.RandomState(0)
    x = r.uniform(-1, 1, (9, 3))
    assert not opposite(x)
    assert not opposite(np.abs(np.round(3 * x)))  # all on one side
    assert opposite(np.vstack([x, -2.0 * x[:1]]))
    assert opposite(np.vstack([x, -x[0] - 3.0 * x[1]]))
    assert not opposite(np.vstack([x, x[0] + 3.0 * x[1], np.zeros(3)]))
    assert not opposite(np.array([[1.0], [-1.0]]))
    assert opposite(r.uniform(-1, 1, (200, 3)))  # too many to tell


def test_what_is_not_counted() -> None:
    p = training(*teacher(6), 2, "step")
    assert ENGINE.accepts(counted(p, {"h": 3})) is None
    corners = np.array([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    assert "lie opposite" in ENGINE.accepts(counted(training(corners, [0, 1, 1, 0], 2, "step"), {"h": 3}))
    assert "same inputs" in ENGINE.accepts(counted(training(corners, [0, 1, 1, 0], 2, "step", "errors"), {"h": 3}))
    assert len(recognise(counted(p, {"neurons": 1})).supports) == 1
