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

from nnspec.engines.boxes import kinds
from nnspec.problem import expression as ex
from nnspec.problem import losses
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


@dataclass(frozen=True, eq=False)
class Model:
    """The engine's form of a problem; arrays as described in network.py, boxes possibly infinite until `closed`."""

    sense: float  # +1 minimise, -1 maximise: the objective is sense * (the engine's value)
    constant: float
    activation: int
    alpha: float
    loss: int
    parameter: float
    x: np.ndarray  # (N, D)
    y: np.ndarray
    cw: np.ndarray  # (N,)
    p2: np.ndarray  # (H, D)
    p1: np.ndarray
    q2: np.ndarray  # (H + 1, m)
    q1: np.ndarray
    lo: np.ndarray  # (H, D)
    hi: np.ndarray
    vlo: np.ndarray  # (H + 1, m)
    vhi: np.ndarray
    order_by: int  # coordinate by which equal neurons are ordered, or -1
    flipped: int  # coordinate made nonnegative by a sign flip of the neuron, or -1
    hidden: Layer
    output: Layer

    @property
    def tau(self) -> float:
        scale = float(np.ptp(self.y)) if self.loss in (kinds.SAE, kinds.PINBALL, kinds.MAX_ERROR) else 1.0
        return SMOOTHING * (scale if scale > 0 else 1.0)

    def arrays(self) -> Arrays:
        """What the compiled functions take."""
        return Arrays(
            self.activation, self.alpha, self.x, self.loss, self.parameter, self.tau, self.y, self.cw,
            self.p2, self.p1, self.q2, self.q1, self.constant,
        )  # fmt: skip

    def point(self, w: np.ndarray, v: np.ndarray) -> Point:
        """Hidden weights (H, D) and output weights (H + 1, m) as values of the free parameters."""
        d = self.hidden.weights.shape[1] if self.hidden.weights is not None else 0
        values = {}
        for p, value in (
            (self.hidden.weights, w[:, :d]), (self.hidden.bias, w[:, -1]),
            (self.output.weights, v[:-1].T), (self.output.bias, v[-1]),
        ):  # fmt: skip
            if p is not None and p.free:
                values[p.name] = np.array(value, dtype=float).reshape(p.shape)
        return Point(values, {})

    def weights(self, point: Point) -> np.ndarray:
        """The hidden weights (H, D) of a point."""

        def get(p: Parameter) -> np.ndarray:
            return np.asarray(p.value if p.value is not None else point.parameters[p.name], dtype=float).reshape(
                p.shape
            )

        assert self.hidden.weights is not None
        w = get(self.hidden.weights)
        if self.hidden.bias is not None:
            w = np.column_stack([w, get(self.hidden.bias)])
        return self.canonical(w)

    def canonical(self, w: np.ndarray) -> np.ndarray:
        """The equivalent of w (H, D) in the fundamental domain, clipped into the box."""
        if self.flipped >= 0:
            w = np.where(w[:, self.flipped : self.flipped + 1] < 0, -w, w)
        if self.order_by >= 0:
            w = w[np.argsort(-w[:, self.order_by], kind="stable")]
        return np.ascontiguousarray(np.clip(w, self.lo, self.hi))


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
    """constant, coefficient and loss, penalties; for maximisation all negated."""
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
        elif isinstance(atom, ex.Size) and atom.kind in ("l1", "l2"):
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
    if problem.constraints:
        c = problem.constraints[0]
        return f"there are constraints ({c.label or c.span or 'unnamed'})"
    if problem.ties or any(c.kind == "enforce" for c in problem.symmetry_claims):
        return "weights are tied (enforce)"
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
    wanted = ("linear", "softmax") if e.kind == "cross_entropy" else ("linear",)
    if output.activation.kind not in wanted:
        return f"the output layer has the activation {output.activation}"
    if hidden.activation.kind not in kinds.ACTIVATIONS:
        return f"the activation {hidden.activation} is not supported"
    for layer in (hidden, output):
        for p in layer.parameters:
            if p.free and p.kind != "real":
                return f"{p.name} takes integers or a finite set of values"
            if p.free and not np.all(np.asarray(p.lo) <= np.asarray(p.hi)):
                return f"{p.name} has an empty range"
    for where, budget, size in (
        (network.name, network.l0, sum(p.size for p in network.parameters)),
        *((x.name, x.l0, sum(p.size for p in x.parameters)) for x in (hidden, output)),
    ):
        if budget is not None and budget < size:
            return f"{where} has an l0 budget"
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
        float(hidden.activation.alpha), number, float(parameter), plain(x), y, cw, plain(p2), plain(p1), plain(q2),
        plain(q1), plain(lo), plain(hi), plain(vlo), plain(vhi), -1, -1, hidden, output,
    )  # fmt: skip
    reason = _unbounded(model)
    return reason if reason is not None else _fundamental(model, problem, network)


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
    column = model.lo.shape[1] - 1
    flipped = order_by = -1
    lo = model.lo
    symmetric = np.array_equal(model.lo, -model.hi) and np.array_equal(model.vlo[:-1], -model.vhi[:-1])
    if "signflip" in allowed and model.hidden.activation.odd and symmetric:
        flipped, lo = column, lo.copy()
        lo[:, column] = 0.0
    equal = all(np.array_equal(a, np.broadcast_to(a[0], a.shape)) for a in (
        lo, model.hi, model.p2, model.p1, model.vlo[:-1], model.vhi[:-1], model.q2[:-1], model.q1[:-1]))  # fmt: skip
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
        a = np.abs(model.x) @ np.maximum(np.abs(lo), np.abs(hi)).T
        largest = np.maximum(np.maximum(np.abs(_plain(model, a)), np.abs(_plain(model, -a))), 0.28)
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
