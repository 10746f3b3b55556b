"""From a Problem to the arrays of the engine, or the reason why not. Imports no compiled code.

The engine's form: one hidden layer of H neurons on N samples with m outputs,

    minimise  constant + loss(sum_k v_k sigma(w_k . x_i) + c, y) + sum p2 w^2 + p1 |w| + sum q2 v^2 + q1 |v|

over boxes, where the output biases c are the last row of v, and a column of ones in x carries the hidden biases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from nnspec.engines.boxes import kinds, ties
from nnspec.engines.boxes.domain import levels_of, table
from nnspec.engines.boxes.side import Side, constraints
from nnspec.engines.boxes.supports import COUNTS, supports
from nnspec.engines.boxes.ties import Ties
from nnspec.problem import expression as ex
from nnspec.problem import losses
from nnspec.problem.evaluate import nonzeros, size, violation
from nnspec.problem.network import Layer, Network, Parameter
from nnspec.problem.problem import Point, Problem

SMOOTHING = 1e-5
"""Final tau of losses with kinks, in units of the targets: costs about N*tau in the bound, far below usual gaps."""


class Arrays(NamedTuple):
    """What the compiled functions take; the names are those of Model and of network.py."""

    kind: int
    alpha: float
    x: np.ndarray
    loss: int
    par: float
    tau: float
    y: np.ndarray
    cw: np.ndarray
    p2: np.ndarray
    p1: np.ndarray
    q2: np.ndarray
    q1: np.ndarray
    constant: float
    copies: np.ndarray  # (H, N * G, D): what each neuron sees of the samples, see ties.py; x itself without ties
    signs: np.ndarray  # (H, G)
    sides: np.ndarray  # (L, 3 + C) constraints that output weights take part in: low, high, the only output that does
    # or -1, and the coefficients


@dataclass(frozen=True, eq=False)
class Model:
    """The engine's form of a problem; arrays as described in network.py, boxes possibly infinite until `closed`."""

    sense: float  # +1 minimise, -1 maximise: the objective is sense * (the engine's value)
    constant: float
    activation: int
    alpha: float
    loss: int
    parameter: float
    x: np.ndarray  # (N, D), without regard to ties
    y: np.ndarray
    cw: np.ndarray  # (N,)
    copies: np.ndarray  # (H, N * G, D), see Arrays; from here on H and D are those that ties leave
    signs: np.ndarray  # (H, G)
    p2: np.ndarray  # (H, D)
    p1: np.ndarray
    q2: np.ndarray  # (H + 1, m)
    q1: np.ndarray
    lo: np.ndarray  # (H, D)
    hi: np.ndarray
    vlo: np.ndarray  # (H + 1, m)
    vhi: np.ndarray
    levels: np.ndarray  # (C, L), see domain.py, as all up to prices
    counts: np.ndarray  # (C,)
    rows: np.ndarray  # (R, C)
    low: np.ndarray  # (R,)
    high: np.ndarray
    supports: np.ndarray  # (T, C), 1 where a coordinate may be nonzero
    prices: np.ndarray  # (T,)
    order_by: int  # coordinate by which equal neurons are ordered, or -1
    flipped: int  # coordinate made nonnegative by a sign flip of the neuron, or -1
    hidden: Layer
    output: Layer
    ties: Ties | None

    @property
    def tau(self) -> float:
        scale = float(np.ptp(self.y)) if self.loss in (kinds.SAE, kinds.PINBALL, kinds.MAX_ERROR) else 1.0
        return SMOOTHING * (scale if scale > 0 else 1.0)

    def arrays(self) -> Arrays:
        """What the compiled functions take."""
        chosen = self.coupled
        rows = self.rows[chosen]
        used = np.any(rows[:, self.lo.size :].reshape(-1, *self.vlo.shape) != 0, axis=1)
        only = np.where(used.sum(axis=1) == 1, used.argmax(axis=1), -1.0)
        return Arrays(
            self.activation, self.alpha, self.x, self.loss, self.parameter, self.tau, self.y, self.cw,
            self.p2, self.p1, self.q2, self.q1, self.constant, self.copies, self.signs,
            np.column_stack([self.low[chosen], self.high[chosen], only, rows]),
        )  # fmt: skip

    @property
    def coupled(self) -> np.ndarray:
        """Which of the rows output weights or biases take part in."""
        return np.any(self.rows[:, self.lo.size :] != 0, axis=1)

    def point(self, w: np.ndarray, v: np.ndarray) -> Point:
        """Hidden weights (H, D) and output weights (H + 1, m) as values of the free parameters."""
        if self.ties is not None:
            w, v = self.ties.expand(w, v)
        d = self.hidden.weights.shape[1] if self.hidden.weights is not None else 0
        values = {}
        for p, value in (
            (self.hidden.weights, w[:, :d]), (self.hidden.bias, w[:, -1]),
            (self.output.weights, v[:-1].T), (self.output.bias, v[-1]),
        ):  # fmt: skip
            if p is not None and p.free:
                values[p.name] = np.array(value, dtype=float).reshape(p.shape)
        return Point(values, {})

    def weights(self, point: Point) -> tuple[np.ndarray, np.ndarray]:
        """The hidden weights (H, D) and output weights (H + 1, m) of a point, in the fundamental domain."""

        def get(p: Parameter | None, shape: tuple[int, ...]) -> np.ndarray:
            if p is None:
                return np.zeros(shape)
            return np.asarray(p.value if p.value is not None else point.parameters[p.name], dtype=float).reshape(shape)

        hh, m = self.hidden.shape[0], self.vlo.shape[1]
        assert self.hidden.weights is not None
        w = get(self.hidden.weights, self.hidden.weights.shape)
        if self.hidden.bias is not None:
            w = np.column_stack([w, get(self.hidden.bias, (hh,))])
        z = np.vstack([get(self.output.weights, (m, hh)).T, get(self.output.bias, (m,))])
        return self.canonical(*(self.ties.reduce(w, z) if self.ties is not None else (w, z)))

    def canonical(self, w: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The equivalents of w (H, D) and z (H + 1, m) in the fundamental domain, clipped into the box."""
        z = z.copy()
        if self.flipped >= 0:
            flip = w[:, self.flipped] < 0
            w, z[:-1][flip] = np.where(flip[:, None], -w, w), -z[:-1][flip]
        if self.order_by >= 0:
            order = np.argsort(-w[:, self.order_by], kind="stable")
            w, z[:-1] = w[order], z[:-1][order]
        w, z = np.clip(w, self.lo, self.hi), np.clip(z, self.vlo, self.vhi)
        return np.ascontiguousarray(w), np.ascontiguousarray(z)


def _layers(network: Network) -> tuple[Layer, Layer] | str:
    """The hidden layer, with its activation, and the output layer."""
    chain = network.chain()
    if chain is None:
        return f"network {network.name} is not a plain chain of dense layers"
    merged: list[Layer] = []
    for layer in chain:
        if layer.kind == "activation":
            if not merged or merged[-1].activation.kind != "linear":
                return f"layer {layer.name}: two activations in a row"
            merged[-1] = replace(merged[-1], activation=layer.activation)
        else:
            merged.append(layer)
    if len(merged) != 2:
        return f"network {network.name} has {max(0, len(merged) - 1)} hidden layers; the boxes engine takes exactly one"
    return merged[0], merged[1]


def _bounds(p: Parameter) -> tuple[np.ndarray, np.ndarray]:
    if p.value is not None:
        v = np.asarray(p.value, dtype=float).reshape(p.shape)
        return v, v
    return np.asarray(p.lo, dtype=float), np.asarray(p.hi, dtype=float)


def _terms(problem: Problem, network: Network) -> tuple[float, float, ex.Loss, list[tuple[float, ex.Size]]] | str:
    """constant, coefficient and loss, penalties and prices; for maximisation all negated."""
    e = problem.objective.expression
    if e is None:
        return "there is no objective"
    constant, terms = ex.linear_terms(e)
    sign = 1.0 if problem.minimize else -1.0
    found: list[tuple[float, ex.Loss]] = []
    sizes: list[tuple[float, ex.Size]] = []
    for coefficient, atom in terms:
        coefficient *= sign
        if coefficient == 0:
            continue
        if isinstance(atom, ex.Loss):
            found.append((coefficient, atom))
        elif isinstance(atom, ex.Size) and atom.kind in ("l1", "l2", *COUNTS):
            if atom.network != network.name:
                return f"the objective has a size of network {atom.network}, which has nothing to train"
            sizes.append((coefficient, atom))
        elif isinstance(atom, ex.Size):
            return f"the objective contains {atom.kind}(...), which the boxes engine does not take"
        else:
            return "the objective contains something that is neither a loss nor l1(...) or l2(...)"
    if len(found) != 1:
        return f"the objective has {len(found)} losses; the boxes engine takes exactly one"
    if found[0][0] <= 0 or any(c < 0 for c, _ in sizes):
        return "the objective rewards a larger loss or penalty: not convex in the outputs"
    if found[0][1].network != network.name:
        return f"the loss is that of network {found[0][1].network}, which has nothing to train"
    return sign * constant, found[0][0], found[0][1], sizes


def _loss(e: ex.Loss, coefficient: float, x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, outputs: int,
          ) -> tuple[int, float, np.ndarray, np.ndarray] | str:  # fmt: skip
    """(loss number, its parameter, targets, sample weights)."""
    cw = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=float)
    if np.any(cw <= 0):
        return "a sample has a multiplicity that is not positive"
    kind = e.kind
    if kind in losses.REGRESSION:
        y = np.asarray(y, dtype=float).reshape(len(x), outputs)
        if kind in ("mse", "mae"):
            cw = cw / (cw.sum() * outputs)
            kind = {"mse": "sse", "mae": "sae"}[kind]
        if kind == "max_error":
            cw = np.ones(len(x))
        parameter = 0.0
        if kind == "huber":
            parameter = 1.0 if e.delta is None else e.delta
        elif kind == "pinball":
            parameter = 0.5 if e.q is None else e.q
            if not 0 <= parameter <= 1:
                return "pinball with q outside 0..1 is not convex"
        return kinds.LOSSES.index(kind), parameter, np.ascontiguousarray(y), coefficient * cw
    if kind == "errors":
        return "errors(...) is not convex in the outputs"
    margin = losses.default_margin(kind) if e.margin is None else e.margin
    if outputs == 1:
        kind = "logistic" if kind == "cross_entropy" else kind
        return kinds.LOSSES.index(kind), margin, losses.signs(y).reshape(-1, 1), coefficient * cw
    if kind == "logistic":
        return "logistic(...) takes one output"
    if kind == "squared_hinge" and margin < 0:
        return "a squared hinge with a negative margin is not supported"
    kind = {"hinge": "class_hinge", "squared_hinge": "class_squared_hinge"}.get(kind, kind)
    return kinds.LOSSES.index(kind), margin, np.asarray(y, dtype=float).reshape(-1, 1), coefficient * cw


def _penalties(sizes: list[tuple[float, ex.Size]], layer: Layer, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of a layer's weights and biases in the l1 or l2 terms."""
    assert layer.weights is not None
    w, b = np.zeros(layer.weights.shape), np.zeros(layer.weights.shape[0])
    for coefficient, e in sizes:
        if e.kind != kind or e.layer not in (None, layer.name):
            continue
        rows = slice(None) if e.neuron is None else e.neuron
        if e.tensor in (None, "weights"):
            w[rows] += coefficient
        if e.tensor == "bias" or (e.tensor is None and e.biases):
            b[rows] += coefficient
    return w, b


def _refusal(problem: Problem) -> str | None:
    """Constructs that change what is asked and that the engine has no place for."""
    if problem.variables:
        return f"there are decision variables ({next(iter(problem.variables))})"
    if any(c.kind == "enforce" for c in problem.symmetry_claims):
        return "a symmetry is enforced, which stands for several problems with tied weights"
    if sum(n.free for n in problem.networks.values()) != 1:
        return "there is not exactly one network to train"
    return None


def read(problem: Problem) -> Model | str:
    """The engine's form of a problem, or the reason why it has none."""

    def plain(a: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(a, dtype=float)

    reason = _refusal(problem)
    if reason is not None:
        return reason
    network = next(n for n in problem.networks.values() if n.free)
    pair = _layers(network)
    if isinstance(pair, str):
        return pair
    hidden, output = pair
    terms = _terms(problem, network)
    if isinstance(terms, str):
        return terms
    constant, coefficient, e, sizes = terms
    side = constraints(problem, network)
    if isinstance(side, str):
        return side
    wanted = ("linear", "softmax") if e.kind == "cross_entropy" else ("linear",)
    if output.activation.kind not in wanted:
        return f"the output layer has the activation {output.activation}"
    if hidden.activation.kind not in kinds.ACTIVATIONS:
        return f"the activation {hidden.activation} is not supported"
    values: dict[str, tuple[float, ...]] = {}
    for p in (*hidden.parameters, *output.parameters):
        if p.free and not np.all(np.asarray(p.lo) <= np.asarray(p.hi)):
            return f"{p.name} has an empty range"
        levels = levels_of(p) if p.free else ()
        if isinstance(levels, str):
            return levels
        values[p.name] = levels
    data = problem.data[e.data]
    if hidden.weights is None or output.weights is None or not data.samples:
        return "there are no weights or no samples"
    x = np.asarray(data.x, dtype=float)
    loss = _loss(e, coefficient, x, data.y, data.weights, output.weights.shape[0])
    if isinstance(loss, str):
        return loss
    number, parameter, y, cw = loss

    lo, hi = _bounds(hidden.weights)
    penalties = [_penalties(sizes, hidden, kind) for kind in ("l2", "l1")]
    p2, p1 = (w for w, _ in penalties)
    if hidden.bias is not None:
        blo, bhi = _bounds(hidden.bias)
        x = np.column_stack([x, np.ones(len(x))])
        lo, hi = np.column_stack([lo, blo]), np.column_stack([hi, bhi])
        p2, p1 = (np.column_stack([w, b]) for w, b in penalties)
    vlo, vhi = (b.T for b in _bounds(output.weights))
    m = vlo.shape[1]
    clo, chi = _bounds(output.bias) if output.bias is not None else (np.zeros(m), np.zeros(m))
    vlo, vhi = np.vstack([vlo, clo]), np.vstack([vhi, chi])
    q2, q1 = (np.vstack([w.T, b]) for w, b in (_penalties(sizes, output, kind) for kind in ("l2", "l1")))
    model = Model(
        1.0 if problem.minimize else -1.0, constant, kinds.ACTIVATIONS.index(hidden.activation.kind),
        float(hidden.activation.alpha), number, float(parameter), plain(x), y, cw,
        np.repeat(x[None], len(lo), axis=0), np.ones((len(lo), 1)), plain(p2), plain(p1), plain(q2), plain(q1),
        plain(lo), plain(hi), plain(vlo), plain(vhi), *_levels(hidden, output, values),
        np.zeros((0, lo.size + vlo.size)), np.zeros(0), np.zeros(0), np.ones((1, lo.size + vlo.size)), np.zeros(1),
        -1, -1, hidden, output, None,
    )  # fmt: skip
    limited = _limited(model, side)
    if not isinstance(limited, str) and problem.ties:
        limited = _tied(limited, problem)
    if isinstance(limited, str):
        return limited
    reason = _unbounded(limited)
    if reason is not None:
        return reason
    return _supported(_fundamental(limited, problem, network), problem, network, side, sizes)


def _tied(model: Model, problem: Problem) -> Model | str:
    """With one neuron in place of each set of tied ones."""
    t = ties.read(problem.ties, model.hidden, model.output)
    if isinstance(t, str):
        return t
    ranges = t.ranges(model.lo, model.hi, model.vlo, model.vhi)
    if ranges is None:
        return "the ties leave a weight no value"
    lo, hi, vlo, vhi = (np.ascontiguousarray(a) for a in ranges)
    p2, q2 = t.total(model.p2, model.q2)
    p1, q1 = t.total(model.p1, model.q1)
    # levels that all tied weights share, and constraints on the weights that are left
    places = np.concatenate([t.hidden.ravel(), lo.size + t.output.ravel()])
    signs = np.concatenate([t.hidden_signs.ravel(), t.output_signs.ravel()])
    values: list[set[float] | None] = [None] * (lo.size + vlo.size)
    for c, (place, sign) in enumerate(zip(places, signs)):
        if model.counts[c]:
            own = {float(sign * v) + 0.0 for v in model.levels[c, : int(model.counts[c])]}
            if sign == 0 and 0.0 not in model.levels[c, : int(model.counts[c])]:
                return "the ties leave a weight no value"
            if sign != 0:
                kept = values[place]
                values[place] = own if kept is None else kept & own
    if any(v is not None and not v for v in values):
        return "the ties leave a weight no value"
    levels, counts = table([() if v is None else tuple(sorted(v)) for v in values])
    rows = np.zeros((len(model.rows), lo.size + vlo.size))
    for old, new in zip(model.rows, rows):
        np.add.at(new, places, old * signs)
    copies, weights = t.copies(model.x)
    return replace(
        model, lo=lo, hi=hi, vlo=vlo, vhi=vhi, p2=p2, p1=p1, q2=q2, q1=q1, levels=levels, counts=counts, rows=rows,
        copies=copies, signs=weights, supports=np.ones((1, lo.size + vlo.size)), ties=t,
    )  # fmt: skip


def _levels(hidden: Layer, output: Layer, values: dict[str, tuple[float, ...]]) -> tuple[np.ndarray, np.ndarray]:
    """The table of levels of all coordinates."""
    h, units = hidden.shape[0], output.shape[0]

    def of(p: Parameter | None) -> tuple[float, ...]:
        return values[p.name] if p is not None else ()

    assert hidden.weights is not None
    one = [of(hidden.weights)] * hidden.weights.shape[1] + ([of(hidden.bias)] if hidden.bias is not None else [])
    return table(one * h + [of(output.weights)] * (h * units) + [of(output.bias)] * units)


def _coordinate(model: Model, parameter: str, index: tuple[int, ...]) -> int:
    """The number of a weight among the coordinates."""
    hh, d = model.lo.shape
    m = model.vlo.shape[1]
    hidden, output = model.hidden, model.output
    if hidden.weights is not None and parameter == hidden.weights.name:
        return index[0] * d + index[1]
    if hidden.bias is not None and parameter == hidden.bias.name:
        return index[0] * d + d - 1
    if output.weights is not None and parameter == output.weights.name:
        return hh * d + index[1] * m + index[0]
    return hh * d + hh * m + index[0]


def _limited(model: Model, side: Side) -> Model | str:
    """With linear constraints: those on one weight become its range, the others rows."""
    hidden = model.lo.size
    lo, hi = (np.concatenate([a.ravel(), b.ravel()]) for a, b in ((model.lo, model.vlo), (model.hi, model.vhi)))
    rows, low, high = [], [], []
    for named, a, b in zip(side.rows, side.low, side.high):
        row = np.zeros(lo.size)
        for (parameter, index), coefficient in named.items():
            row[_coordinate(model, parameter, index)] = coefficient
        where = np.flatnonzero(row)
        if not len(where):
            if not a <= 0 <= b:
                return "a constraint on constants does not hold"
        elif len(where) == 1:
            ends = sorted((a / row[where[0]], b / row[where[0]]))
            lo[where], hi[where] = max(lo[where[0]], ends[0]), min(hi[where[0]], ends[1])
        else:
            rows.append(row)
            low.append(a)
            high.append(b)
    if np.any(lo > hi):
        return "its constraints leave a weight no value"
    w, v = model.lo.shape, model.vlo.shape
    return replace(
        model, lo=lo[:hidden].reshape(w), hi=hi[:hidden].reshape(w), vlo=lo[hidden:].reshape(v),
        vhi=hi[hidden:].reshape(v), rows=np.array(rows, dtype=float).reshape(-1, lo.size),
        low=np.array(low, dtype=float), high=np.array(high, dtype=float),
    )  # fmt: skip


def _supported(model: Model, problem: Problem, network: Network, side: Side,
               sizes: list[tuple[float, ex.Size]]) -> Model | str:  # fmt: skip
    """With the supports that budgets and prices leave."""
    prices = [(c, e) for c, e in sizes if e.kind in COUNTS]
    budgets = [(where, k) for where, k in ((None, network.l0), (model.hidden.name, model.hidden.l0),
                                           (model.output.name, model.output.l0)) if k is not None]  # fmt: skip
    if not (prices or budgets or side.limits):
        return model
    hh, d = model.lo.shape

    def judge(w: np.ndarray, v: np.ndarray) -> float | None:
        point = model.point(w, v)
        if any(nonzeros(network, point, where) > k for where, k in budgets):
            return None
        if any(violation(problem, point, e) > 0 for e in side.limits):
            return None
        return float(sum(c * size(problem, point, e) for c, e in prices))

    def seen(c: int) -> bool:
        unit = np.zeros(model.lo.size + model.vlo.size)
        unit[c] = 1.0
        point = model.point(unit[: hh * d].reshape(hh, d), unit[hh * d :].reshape(model.vlo.shape))
        nothing = model.point(np.zeros((hh, d)), np.zeros(model.vlo.shape))
        counts = [ex.Size("l0", network.name, where) for where, _ in budgets] + [e for _, e in prices]
        counts += [a for e in side.limits for a in _counts(e)]
        return any(size(problem, point, e) > size(problem, nothing, e) for e in counts)

    lo, hi = (np.concatenate([a.ravel(), b.ravel()]) for a, b in ((model.lo, model.vlo), (model.hi, model.vhi)))
    zero = (lo <= 0) & (hi >= 0)
    for c in np.flatnonzero(model.counts):
        zero[c] &= bool(np.any(model.levels[c, : model.counts[c]] == 0))
    fixed = (lo == 0) & (hi == 0)
    counted = np.array([seen(c) for c in range(lo.size)])
    one_neuron = any(
        e.neuron is not None for e in (*(e for _, e in prices), *(a for e in side.limits for a in _counts(e)))
    )
    if one_neuron:
        model = replace(model, order_by=-1)
    found = supports(judge, counted & zero, fixed, hh, model.vlo.shape[1], model.order_by >= 0)
    if isinstance(found, str):
        return found
    return replace(model, supports=found[0].astype(float), prices=found[1])


def _counts(e: ex.Expression) -> list[ex.Size]:
    if isinstance(e, ex.Size):
        return [e]
    return [a for part in ex.children(e) for a in _counts(part)]


def _unbounded(model: Model) -> str | None:
    """Why no finite box can be derived, or None."""
    free = ~(np.isfinite(model.lo) & np.isfinite(model.hi))
    if np.any(free & (model.p2 == 0) & (model.p1 == 0)):
        return "hidden weights or biases have neither bounds nor a penalty"
    free = ~(np.isfinite(model.vlo) & np.isfinite(model.vhi)) & (model.q2 == 0) & (model.q1 == 0)
    if np.any(free[:-1]):
        return "output weights have neither bounds nor a penalty"
    if np.any(free[-1]):
        if model.loss in (kinds.HINGE, kinds.SQUARED_HINGE, kinds.LOGISTIC):
            if np.unique(model.y).size < 2:
                return "the output bias has neither bounds nor a penalty, and all samples are of one class"
        elif model.loss in (kinds.CROSS_ENTROPY, kinds.CLASS_HINGE, kinds.CLASS_SQUARED):
            return "output biases have neither bounds nor a penalty, and the loss is the same when all grow together"
        elif model.loss == kinds.PINBALL and model.parameter in (0.0, 1.0):
            return "the output bias has neither bounds nor a penalty"
    return None


def _fundamental(model: Model, problem: Problem, network: Network) -> Model:
    """Use the sign flips and orders of neurons that the spec lets us use: one of 2^H H! equal optima is enough."""
    allowed = {"permutation", "signflip"}
    for b in problem.break_symmetry:
        if b.network == network.name and b.layer in (None, model.hidden.name):
            allowed = set() if "none" in b.kinds else allowed if "auto" in b.kinds else set(b.kinds)
    free = np.flatnonzero(np.all(model.hi > model.lo, axis=0))
    column = int(free[-1]) if len(free) else model.lo.shape[1] - 1
    flipped = order_by = -1
    lo = model.lo
    symmetric = np.array_equal(model.lo, -model.hi) and np.array_equal(model.vlo[:-1], -model.vhi[:-1])
    values = [sorted(v[:c]) for v, c in zip(model.levels, model.counts)]
    neurons = model.rows[:, : -model.vlo.shape[1]]  # of the rows, without the output biases
    symmetric = symmetric and not neurons.any() and all(v == sorted(-t for t in v) for v in values)
    if "signflip" in allowed and model.hidden.activation.odd and symmetric:
        flipped, lo = column, lo.copy()
        lo[:, column] = 0.0
    equal = all(np.array_equal(a, np.broadcast_to(a[0], a.shape)) for a in (
        lo, model.hi, model.p2, model.p1, model.vlo[:-1], model.vhi[:-1], model.q2[:-1], model.q1[:-1], model.copies,
        model.signs))  # fmt: skip
    for part, shape in zip(np.split(neurons, [model.lo.size], axis=1), (model.lo.shape, model.vlo[:-1].shape)):
        part = part.reshape(-1, *shape)
        equal = equal and np.array_equal(part, np.broadcast_to(part[:, :1], part.shape))
    if "permutation" in allowed and equal and len(lo) > 1:
        order_by = column
    return replace(model, lo=lo, order_by=order_by, flipped=flipped)


def closed(model: Model, best: float) -> Model:
    """Finite boxes: weights whose penalty, or whose effect on the loss, alone would exceed the value `best` are cut
    off.

    `best` is the engine's value (without the constant) of a feasible point; loss and penalties are nonnegative.
    """
    grow = 1.0 + 1e-9

    def radius(p2: np.ndarray, p1: np.ndarray) -> np.ndarray:
        r = np.full(p2.shape, math.inf)
        np.copyto(r, np.sqrt(best / np.where(p2 > 0, p2, 1.0)), where=p2 > 0)
        np.copyto(r, np.minimum(r, best / np.where(p1 > 0, p1, 1.0)), where=p1 > 0)
        return r * grow + 1e-9

    r, s = radius(model.p2, model.p1), radius(model.q2, model.q1)
    lo, hi = np.maximum(model.lo, -r), np.minimum(model.hi, r)
    vlo, vhi = np.maximum(model.vlo, -s), np.minimum(model.vhi, s)
    if not (np.all(np.isfinite(vlo[-1])) and np.all(np.isfinite(vhi[-1]))):
        a = np.einsum("krd,kd->rk", np.abs(model.copies), np.maximum(np.abs(lo), np.abs(hi)))
        largest = np.maximum(np.maximum(np.abs(_plain(model, a)), np.abs(_plain(model, -a))), 0.28)
        largest = np.einsum("igk,kg->ik", largest.reshape(len(model.x), -1, len(lo)), np.abs(model.signs))
        reach = largest @ np.maximum(np.abs(vlo[:-1]), np.abs(vhi[:-1]))  # (N, m): most that the neurons contribute
        below, above = _output_range(model, best)
        vlo[-1] = np.maximum(vlo[-1], np.max(below - reach, axis=0) - 1e-9)
        vhi[-1] = np.minimum(vhi[-1], np.min(above + reach, axis=0) + 1e-9)
    return replace(model, lo=lo, hi=np.maximum(hi, lo), vlo=vlo, vhi=np.maximum(vhi, vlo))


def _plain(model: Model, a: np.ndarray) -> np.ndarray:
    from nnspec.problem.forward import activate

    return activate(model.hidden.activation, a)


def _output_range(model: Model, best: float) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (N, m) whose own loss is at most `best`, as lower and upper limits."""
    share = (best / model.cw)[:, None]
    t, y = model.parameter, model.y
    match model.loss:
        case kinds.SSE:
            r = np.sqrt(share)
        case kinds.SAE | kinds.MAX_ERROR:
            r = share
        case kinds.HUBER:
            r = np.where(share <= 0.5 * t * t, np.sqrt(2 * share), share / t + 0.5 * t)
        case kinds.PINBALL:
            r = share / min(t, 1 - t)
        case _:
            reach = {kinds.HINGE: share - t, kinds.SQUARED_HINGE: np.sqrt(share) - t}.get(model.loss, share)
            return np.where(y > 0, -reach, -math.inf), np.where(y > 0, math.inf, reach)
    return y - r, y + r
