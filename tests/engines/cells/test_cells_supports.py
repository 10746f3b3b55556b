"""Limits and prices on numbers of weights, neurons and inputs against SCIP and against all supports one by one."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from cells_models import scip, teacher, training

from nnspec.engines.cells import CellsEngine
from nnspec.engines.cells.checkpoint import CheckpointError
from nnspec.engines.cells.model import recognise
from nnspec.engines.cells.supports import MOST_SUPPORTS
from nnspec.engines.interface import Limits, Status
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import objective, violations
from nnspec.problem.network import Parameter
from nnspec.problem.problem import Constraint, Objective, Problem

KINDS = ("sse", "mse", "sae", "mae", "pinball", "hinge", "max_error")
ENGINE = CellsEngine()
SIZES = {"h": ex.Size("l0", "f", "h"), "out": ex.Size("l0", "f", "out"), "l0": ex.Size("l0", "f"),
         "neurons": ex.Size("neurons", "f"), "inputs": ex.Size("inputs", "f")}  # fmt: skip


def counted(p: Problem, most: dict[str, int], prices: dict[str, float] | None = None, budgets: bool = True) -> Problem:
    """The problem with limits (as budgets of layers and network, or all as constraints) and prices on numbers."""
    f = p.networks["f"]
    if budgets:
        layers = tuple(replace(x, l0=most.get(x.name)) for x in f.layers)
        f = replace(f, l0=most.get("l0"), layers=layers)
    limits = tuple(Constraint(ex.Comparison(">=", ex.Constant(float(k)), SIZES[name])) for name, k in most.items()
                   if not budgets or name in ("neurons", "inputs"))  # fmt: skip
    terms = tuple(ex.Product((ex.Constant(c), SIZES[name])) for name, c in (prices or {}).items())
    goal = Objective("minimize", ex.Sum((p.objective.expression, *terms)))
    return replace(p, networks={"f": f}, constraints=limits, objective=goal)


def compare(seed: int, limit: float) -> None:
    r = np.random.RandomState(seed)
    kind = KINDS[seed % len(KINDS)]
    activation = ("relu", "abs", "leaky_relu")[(seed // len(KINDS) + seed) % 3]
    n, d, neurons = r.randint(3, 6), r.randint(1, 3), r.randint(1, 3)
    x = r.uniform(-1, 1, (n, d)) if r.rand() < 0.5 else r.randint(-1, 3, (n, d)).astype(float)
    y = (r.rand(n) < 0.5).astype(float) if kind == "hinge" else np.round(1 + r.randn(n), 2)
    box = dict(weights=float(r.choice([0.5, 2.0])), biases=float(r.choice([1.0, 3.0])),
               outputs=float(r.choice([0.5, 1.5])), output_bias=float(r.choice([0.3, 2.0])))  # fmt: skip
    top = {"h": neurons * (d + 1), "out": neurons + 1, "l0": neurons * (d + 2) + 1, "neurons": neurons, "inputs": d}
    names = list(top)
    most = {k: int(r.randint(0, top[k] + 1)) for k in r.choice(names, 2, replace=False)}
    prices = {k: float(r.choice([0.0, 0.03, 0.2])) for k in r.choice(names, r.randint(0, 3), replace=False)}
    p = counted(training(x, y, neurons, activation, kind, q=0.3, margin=1.0, **box), most, prices, bool(seed % 2))
    out = ENGINE.solve(p, Limits(threads=1))
    assert out.status is Status.OPTIMAL
    assert not violations(p, out.point, 1e-9)
    assert out.objective == objective(p, out.point)
    assert out.bound <= out.objective
    primal, dual = scip(x, y, neurons, activation, kind, **box, q=0.3, limit=limit, most=most, prices=prices)
    slack = 2e-5 * max(1.0, abs(out.objective))
    assert out.bound <= primal + slack, "the engine's bound is above a network that SCIP found"
    assert dual <= out.objective + slack, "SCIP proved that the engine's network does not exist"


@pytest.mark.parametrize("seed", range(14))
def test_agrees_with_scip(seed: int) -> None:
    compare(seed, 1.0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2000, 2150))
def test_agrees_with_scip_150(seed: int) -> None:
    compare(seed, 10.0)


def by_all_supports(x: np.ndarray, y: np.ndarray, neurons: int, value) -> float:  # type: ignore[no-untyped-def]
    """min over all sets of nonzeros of the engine's optimum with the others in boxes [0, 0] plus value(h, v, c)."""
    d = x.shape[1]
    best = np.inf
    for bits in itertools.product((0.0, 1.0), repeat=neurons * (d + 2) + 1):
        on = np.array(bits)
        h, v, c = on[: neurons * (d + 1)].reshape(neurons, d + 1), on[-neurons - 1 : -1], on[-1]
        price = value(h, v, c)
        if price >= best:
            continue
        p = training(x, y, neurons)
        f = p.networks["f"]

        def box(name: str, shape: tuple[int, ...], mask: np.ndarray) -> Parameter:
            bound = 50.0 * mask.reshape(shape)
            return Parameter(name, shape, -bound, bound, "real", (), None)

        hidden = replace(f.layers[1], weights=box("f.h.weights", (neurons, d), h[:, :-1]),
                         bias=box("f.h.bias", (neurons,), h[:, -1]))  # fmt: skip
        out = replace(f.layers[2], weights=box("f.out.weights", (1, neurons), v),
                      bias=box("f.out.bias", (1,), on[-1:]))  # fmt: skip
        p = replace(p, networks={"f": replace(f, layers=(f.layers[0], hidden, out))})
        best = min(best, ENGINE.solve(p, Limits()).objective + price)
    return best


@pytest.mark.parametrize(
    ("d", "neurons", "most", "prices"),
    [(2, 1, {"h": 2}, {}), (2, 1, {"l0": 3}, {}), (2, 1, {}, {"l0": 0.05}), (2, 1, {"out": 1}, {"inputs": 0.1}),
     (1, 2, {"h": 3, "out": 2}, {}), (1, 2, {"l0": 5}, {"neurons": 0.03})],
)  # fmt: skip
def test_against_all_supports(d: int, neurons: int, most: dict[str, int], prices: dict[str, float]) -> None:
    x, y = teacher(9, d=2)
    x = x[:, :d]

    def value(h: np.ndarray, v: np.ndarray, c: float) -> float:
        number = {"h": h.sum(), "out": v.sum() + c, "l0": h.sum() + v.sum() + c, "neurons": v.sum(),
                  "inputs": h[:, :-1].any(axis=0).sum()}  # fmt: skip
        if any(number[name] > k for name, k in most.items()):
            return np.inf
        return float(sum(number[name] * price for name, price in prices.items()))

    p = counted(training(x, y, neurons, weights=50.0, biases=50.0, outputs=50.0, output_bias=50.0), most, prices)
    out = ENGINE.solve(p, Limits())
    assert out.status is Status.OPTIMAL
    assert not violations(p, out.point, 1e-9)
    assert out.objective == pytest.approx(by_all_supports(x, y, neurons, value), rel=3e-6, abs=1e-9)


def test_number_of_neurons_without_boxes() -> None:
    """At most one of two neurons, without boxes, is the optimum of one neuron; nothing but the bias is the mean."""
    x, y = teacher(12)
    p = training(x, y, 2)
    for k, value in ((1, 0.11148), (2, 0.03816), (0, float(np.sum((y - y.mean()) ** 2)))):
        out = ENGINE.solve(counted(p, {"neurons": k}), Limits())
        assert out.status is Status.OPTIMAL
        assert out.objective == pytest.approx(value, abs=6e-6)
        assert np.count_nonzero(out.point.parameters["f.out.weights"]) <= k


def test_limits_stop_progress_and_start() -> None:
    x, y = teacher(20)
    p = counted(training(x, y, 2), {"h": 4})
    whole = ENGINE.solve(p, Limits())
    assert whole.status is Status.OPTIMAL
    seen: list = []
    for nodes in (0, 200, 2000):
        out = ENGINE.solve(p, Limits(nodes=nodes), on_progress=seen.append)
        assert out.bound <= whole.objective * (1 + 1e-12)
        assert out.objective >= whole.bound * (1 - 1e-12)
        assert not violations(p, out.point, 1e-9)
        bounds = [s.bound for s in seen]
        assert bounds == sorted(bounds)
        assert all(objective(p, s.point) == s.incumbent for s in seen if s.point is not None)
        seen.clear()
    assert ENGINE.solve(p, Limits(nodes=0), start=(whole.point,)).objective <= whole.objective


def test_checkpoints(tmp_path) -> None:  # type: ignore[no-untyped-def]
    p = counted(training(*teacher(14), 2), {"h": 3})
    path = tmp_path / "n.npz"
    out = CellsEngine(checkpoint=path).solve(p, Limits(nodes=1))
    assert out.status is Status.LIMIT
    assert path.exists()
    again = CellsEngine(checkpoint=path).solve(p, Limits())
    assert again.status is Status.OPTIMAL
    assert again.objective == pytest.approx(CellsEngine().solve(p, Limits()).objective, rel=2e-6)
    assert not path.exists()
    path.write_bytes(b"of another solve")
    with pytest.raises(CheckpointError):
        CellsEngine(checkpoint=path).solve(p, Limits())


def test_only_as_many_supports_as_are_needed() -> None:
    p = training(*teacher(6), 2)
    assert len(recognise(counted(p, {"neurons": 1})).supports) == 1
    assert len(recognise(counted(p, {"out": 2})).supports) == 2  # two neurons, or one and the bias
    assert len(recognise(counted(p, {"h": 6})).supports) == 0  # no limit at all
    assert len(recognise(counted(p, {}, {"neurons": 0.1})).supports) == 3


def test_refusals() -> None:
    p = training(*teacher(6), 2)
    loss = p.objective.expression
    neurons = SIZES["neurons"]
    for constraint in (
        ex.Comparison(">=", neurons, ex.Constant(1.0)), ex.Comparison("==", neurons, ex.Constant(1.0)),
        ex.Comparison("<=", ex.Size("l2", "f"), ex.Constant(1.0)), ex.Comparison("<=", loss, ex.Constant(1.0)),
        ex.Or((ex.Comparison("<=", neurons, ex.Constant(1.0)),)),
    ):  # fmt: skip
        assert "constraints" in ENGINE.accepts(replace(p, constraints=(Constraint(constraint),)))
    reward = Objective("minimize", ex.Sum((loss, ex.Product((ex.Constant(-1.0), neurons)))))
    assert "penalties" in ENGINE.accepts(replace(p, objective=reward))
    assert "penalties" in ENGINE.accepts(replace(p, objective=Objective("minimize", neurons)))
    impossible = Constraint(ex.Comparison("<=", neurons, ex.Constant(-1.0)))
    assert "cannot be kept" in ENGINE.accepts(replace(p, constraints=(impossible,)))
    assert str(MOST_SUPPORTS) in ENGINE.accepts(counted(training(*teacher(6, d=4), 2), {}, {"l0": 0.1}))
    assert ENGINE.accepts(counted(training(*teacher(6, d=4), 3), {"l0": 6})) is None
    assert ENGINE.accepts(counted(training(*teacher(6, d=6), 4), {"l0": 7}))
