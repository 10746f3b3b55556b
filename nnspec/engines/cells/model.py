"""What the engine takes: recognises a Problem, refuses the rest with a reason, and maps solutions back.

T1 (scaling). For a positively homogeneous activation v * sigma(w.x + b) = s * sigma(w'.x + b') with s = sign(v) and
(w', b') = |v| (w, b). With 0 inside every box, {|v| (w, b)} over lo <= (w, b) <= hi and v of one sign with |v| <= B is
exactly the box B * [lo, hi] (B is the bound on that side), so the output weights leave the problem but for their signs.
Here theta_k = v_k (w_k, b_k), and the inverse is any split of the scale that respects the boxes. Other boxes, and fixed
weights, are kept exactly by the search, where |v| can be an unknown of its own (see `unknowns`).

Neurons with tied weights (from `enforce`) form a set that has one vector of weights; `Ties` says what each neuron makes
of it. The arrays of a CellProblem are then those of the sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnspec.engines.boxes.ties import Ties, read
from nnspec.engines.cells.neurons import HOMOGENEOUS, THRESHOLD
from nnspec.engines.cells.supports import (
    MOST_LEAST,
    MOST_SUPPORTS,
    Support,
    counting_limit,
    counting_terms,
    loss_limit,
    supports,
)
from nnspec.problem import expression as ex
from nnspec.problem.forward import activate
from nnspec.problem.losses import default_margin, signs
from nnspec.problem.network import Activation, Layer, Network, Parameter
from nnspec.problem.problem import Point, Problem
from nnspec.reductions.structure import penalties

SQUARED = ("sse", "mse")
LINEAR = ("sae", "mae", "pinball", "hinge", "max_error")
SMOOTH = ("huber", "squared_hinge")
LOSSES = (*SQUARED, *LINEAR, *SMOOTH, "errors")
SATURATED = ("hardtanh", *THRESHOLD)
MOST_NEURONS = 3
"""Step or sign neurons under the loss errors: the number of threshold functions of neurons grows fast, see `tables`."""


@dataclass(frozen=True, eq=False)
class Decay:
    """Factors of squares: of hidden weights and biases (H, d + 1), of output weights (H,), of the output bias."""

    hidden: np.ndarray
    output: np.ndarray
    constant: float

    def scale(self, k: int, theta: np.ndarray) -> float:
        """The output weight that is best for |v_k| (w, b) = theta: v^4 = |D theta|^2 / output."""
        return float(np.sum(self.hidden[k] * theta**2) / self.output[k]) ** 0.25 if self.output[k] > 0 else 0.0

    def of(self, rows: np.ndarray, inputs: np.ndarray) -> Decay:
        """For some of the neurons and inputs only."""
        columns = np.append(inputs, self.hidden.shape[1] - 1)
        return replace(self, hidden=self.hidden[np.ix_(rows, columns)], output=self.output[rows])


@dataclass(frozen=True, eq=False)
class CellProblem:
    """One hidden layer of H neurons on N samples; objective = scale * (loss + decay) + offset.

    x (N, d) and y (N,); weights (N,) multiplicities, times 1/N for means. lo, hi (H, d + 1): boxes of (w_k, b_k), b
    fixed to 0 without a bias; out_lo, out_hi (H,): of v_k; c_lo, c_hi: of the output bias (0, 0 without one).
    With `ties` H counts the sets of tied neurons, and their weights may be more or fewer than d + 1, the bias last.
    """

    network: Network
    hidden: Layer
    output: Layer
    activation: Activation
    kind: str
    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    scale: float
    offset: float
    lo: np.ndarray
    hi: np.ndarray
    out_lo: np.ndarray
    out_hi: np.ndarray
    c_lo: float
    c_hi: float
    quantile: float = 0.5
    margin: float = 1.0
    delta: float = 1.0
    decay: Decay | None = None  # in units of the loss: divided by `scale`
    supports: tuple[Support, ...] = ()  # the problem is the union of its restrictions to these, if there are any
    rows: np.ndarray | None = None  # of a restriction: its neurons and inputs in the whole network
    inputs: np.ndarray | None = None
    alone: tuple[int, ...] = ()  # of a restriction: step or sign neurons that are constants, and a part of c
    ranges: tuple[tuple[float, float], ...] = ()  # the ranges of the output bias and of these
    ties: Ties | None = None
    untied: CellProblem | None = None  # with ties: the problem without them
    least: bool = False  # the objective is the supports' price, the loss has to be <= 0 (offset included)

    @property
    def neurons(self) -> int:
        return int(self.lo.shape[0])

    @property
    def planar(self) -> bool:
        """Whether the fewest errors are those of a union of two half-planes, see `halfplanes`: step or sign neurons on
        two inputs with room in their boxes for every threshold function."""
        if self.kind != "errors" or self.activation.kind not in THRESHOLD or self.supports or self.ties:
            return False
        need = (2.0 if self.activation.kind == "step" else 1.0) * self.margin
        return (self.x.shape[1] == 2 and self.neurons <= 2 and min(-self.out_lo.max(), self.out_hi.min()) >= need
                and min(-self.c_lo, self.c_hi) >= self.margin)  # fmt: skip

    @property
    def apart(self) -> np.ndarray:
        """Which neurons have a box without 0, or a weight that is fixed elsewhere (H,)."""
        outer = (self.out_lo > 0) | (self.out_hi < 0)
        return np.asarray(outer | np.any((self.lo > 0) | (self.hi < 0), axis=1))

    def unscaled(self, k: int) -> bool:
        """Whether a homogeneous neuron's boxes keep it from the scale that weight decay asks for: with `apart` in them,
        the penalty is convex only if its output weight or all of its decaying hidden weights are fixed."""
        return self.activation.kind in HOMOGENEOUS and bool(self.apart[k])

    def copies(self) -> list[tuple[int, np.ndarray, float]]:
        """For each neuron of the network: its place in the arrays, its (w, b) as a matrix times the weights there, and
        the sign of its output weight there."""
        width = self.x.shape[1] + 1
        if self.ties is None:
            return [(k, np.eye(width), 1.0) for k in range(self.neurons)]
        found: dict[int, tuple[int, np.ndarray, float]] = {}
        for s, own in enumerate(self.ties.members):
            for k in own:
                matrix = np.zeros((width, self.lo.shape[1]))
                for i, (place, sign) in enumerate(zip(self.ties.hidden[k], self.ties.hidden_signs[k], strict=True)):
                    matrix[i, place - s * self.ties.columns] = sign
                found[k] = (s, matrix, float(self.ties.output_signs[k, 0]))
        return [found[k] for k in range(self.hidden.size)]

    def point(self, theta: np.ndarray, sign: np.ndarray, c: float, size: np.ndarray | None = None) -> Point:
        """The network with v_k (w_k, b_k) = theta_k (H, d + 1), sign(v_k) = sign_k and output bias c.

        size (H,): |v|, or nan where it is open.
        """
        v = np.zeros(len(theta))
        w = np.clip(np.zeros_like(theta), self.lo, self.hi)
        for k in range(len(theta)):
            if self._constant(k, theta[k]):
                output = sign[k] * float(activate(self.activation, theta[k, -1:] * sign[k])[0])
                if self.c_lo <= c + output <= self.c_hi:  # a neuron that is a constant belongs into the output bias
                    c += output
                    continue
            direction = theta[k] * sign[k]
            least, most = self.sizes(k, sign[k] > 0)
            low, high = self._scales(k, direction, least, most)
            norm = float(np.linalg.norm(theta[k]))
            if (norm == 0.0 and least == 0.0) or most <= 0.0:
                continue
            s = np.sqrt(norm)
            if self.decay is not None and self.decay.output[k] > 0:
                s = max(self.decay.scale(k, theta[k]), 1e-4 * s)  # a neuron without cost: the penalty's infimum is 0
            s = min(max(s, min(low, 1e300)), high) if size is None or np.isnan(size[k]) else float(size[k])
            s = max(s, 1e-8 * np.sqrt(norm))  # 0: a limit of unbounded weights
            s = min(max(s, least), most)
            v[k] = sign[k] * s
            if s > 0.0:
                w[k] = np.clip(direction / s, self.lo[k], self.hi[k])
        return self.assembled(v, w, c)

    def sizes(self, k: int, positive: bool) -> tuple[float, float]:
        """Least and largest |v_k| for a sign."""
        low, high = float(self.out_lo[k]), float(self.out_hi[k])
        return (max(low, 0.0), high) if positive else (max(-high, 0.0), -low)

    def _scales(self, k: int, direction: np.ndarray, low: float, high: float) -> tuple[float, float]:
        """Within low..high the least and largest s with lo s <= direction <= hi s."""
        for d, least, most in zip(direction, self.lo[k], self.hi[k], strict=True):
            for limit, upper in ((least, least > 0), (most, most < 0)):
                if limit == 0.0:
                    continue
                if upper:
                    high = min(high, d / limit)
                elif d / limit > low:
                    low = d / limit
        return float(low), float(high)

    def direct_point(self, theta: np.ndarray, v: np.ndarray, c: float) -> Point:
        """The network with output weights v (H,), 0 where they are tiny, and hidden ones theta_k / |v_k|."""
        used = np.abs(v) > 1e-12 * float(np.abs(theta).max(initial=1e-300))
        v = np.clip(np.where(used, v, 0.0), self.out_lo, self.out_hi)
        used &= v != 0.0
        w = np.where(used[:, None], theta / np.where(used, np.abs(v), 1.0)[:, None], 0.0)
        return self.assembled(v, np.clip(w, self.lo, self.hi), c)

    def threshold_network(self, hidden: np.ndarray, v: np.ndarray, c: float) -> Point:
        """The network of step or sign neurons with these directions (w, b) and output weights."""
        w = np.zeros_like(hidden)
        for k, direction in enumerate(hidden):
            with np.errstate(divide="ignore", invalid="ignore"):
                limit = np.where(direction > 0, self.hi[k], self.lo[k])
                room = np.where(direction != 0, limit / direction, np.inf)
            size = float(np.abs(direction).max())
            if size > 0:
                w[k] = np.clip(direction * min(1.0 / size, float(room.min())), self.lo[k], self.hi[k])
        return self.assembled(np.clip(v, self.out_lo, self.out_hi), w, c)

    def values(self, point: Point) -> tuple[np.ndarray, np.ndarray, float]:
        """(w, b) (H, d + 1), v (H,) and c of a network, of problems that are no restriction."""

        def get(p: Parameter | None, shape: tuple[int, ...]) -> np.ndarray:
            if p is None:
                return np.zeros(shape)
            return np.asarray(p.value if p.value is not None else point.parameters[p.name], dtype=float).reshape(shape)

        count = self.hidden.size
        v = get(self.output.weights, (count, 1))
        w = np.column_stack([get(self.hidden.weights, (count, self.x.shape[1])), get(self.hidden.bias, (count,))])
        c = float(get(self.output.bias, (1,))[0])
        if self.ties is not None:
            biased = self.hidden.bias is not None
            w, v = self.ties.reduce(w if biased else w[:, :-1], np.append(v, [[c]], axis=0))
            w = w if biased else np.column_stack([w, np.zeros(len(w))])
        return w, v[: self.neurons, 0], c

    def assembled(self, v: np.ndarray, w: np.ndarray, c: float) -> Point:
        """Weights of this problem's neurons and inputs as a point of the whole network."""
        c = min(max(c, self.c_lo), self.c_hi)
        if self.ties is not None:
            biased = self.hidden.bias is not None
            w, outer = self.ties.expand(w if biased else w[:, :-1], np.append(v, c)[:, None])
            w = w if biased else np.column_stack([w, np.zeros(len(w))])
            v, c = outer[:-1, 0], float(outer[-1, 0])
        if self.rows is not None and self.inputs is not None:
            part_v, part_w = v, w
            boxes = _boxes(self.hidden, self.output)
            assert not isinstance(boxes, str)
            w, v = (np.clip(np.zeros(low.shape), low, high) for low, high in (boxes[:2], boxes[2:4]))
            columns = w.shape[1]
            taken = (self.out_lo < 0) | (self.out_hi > 0)  # not a neuron that stands where there is none
            v[self.rows[taken]] = part_v[taken]
            w[np.ix_(self.rows[taken], np.append(self.inputs, columns - 1))] = part_w[taken]
            rest = c
            c = min(max(c, self.ranges[0][0]), self.ranges[0][1])
            rest -= c
            for k, (low, high) in zip(self.alone, self.ranges[1:], strict=True):
                v[k] = min(max(rest, low), high)
                rest -= v[k]
                box = self.output.weights
                if not box.lo[0, k] <= v[k] <= box.hi[0, k]:  # type: ignore[union-attr]
                    v[k], w[k, -1] = -v[k], max(self.hidden.bias.lo[k], -1.0)  # type: ignore[union-attr]
        whole = ((self.hidden.weights, w[:, :-1]), (self.hidden.bias, w[:, -1]), (self.output.weights, v[None, :]),
                 (self.output.bias, np.array([c])))  # fmt: skip
        return Point({p.name: value for p, value in whole if p is not None and p.free}, {})

    def _constant(self, k: int, theta: np.ndarray) -> bool:
        """Whether nothing but the bias of a neuron is there, and neither it nor the output bias decays."""
        decay = self.decay
        return decay is not None and self.output.bias is not None and decay.constant == 0 and not self.apart[k] \
            and decay.hidden[k, -1] == 0 and self.ties is None and not np.any(theta[:-1])  # fmt: skip

    def threshold_point(self, planes: tuple[np.ndarray, ...], negated: bool) -> Point:
        """Step or sign neurons that decide positive on the union of the half-planes w.x + b > 0 (negated: off it)."""
        count, columns = self.lo.shape
        w = np.zeros((count, columns))
        for k in range(count):
            plane = planes[k % len(planes)]
            with np.errstate(divide="ignore"):
                room = np.where(plane > 0, self.hi[k], -self.lo[k]) / np.where(plane == 0, 0.0, np.abs(plane))
            w[k] = plane * min(1.0 / float(np.abs(plane).max()), float(np.min(room)))
        # union: c + v * (number of neurons that are on) is -m for none, >= m for any; twice the margin where it fits
        step = self.activation.kind == "step"
        room = float(min(-self.out_lo.max(), self.out_hi.min()))
        m = min(2.0 * self.margin, room / 2 if step else room, -self.c_lo, self.c_hi)
        v, c = (2 * m, -m) if step else (m, m if count == 2 else 0.0)
        direction = -1.0 if negated else 1.0
        values = {self.hidden.weights.name: w[:, :-1], self.hidden.bias.name: w[:, -1],  # type: ignore[union-attr]
                  self.output.weights.name: np.full((1, count), direction * v),  # type: ignore[union-attr]
                  self.output.bias.name: np.array([direction * c])}  # type: ignore[union-attr]
        return Point(values, {})

    def reduced(self, point: Point) -> tuple[np.ndarray, np.ndarray, float]:
        """The inverse of `point`: theta (H, d + 1), signs (H,), c."""
        w, v, c = self.values(point)
        return v[:, None] * w, np.where(v >= 0, 1.0, -1.0), c


def recognise(problem: Problem) -> CellProblem | str:
    """The problem in the engine's form, or the reason why it is not one, in the user's words."""
    inner = loss_limit(problem)
    if inner is None:
        return _recognise(problem, ())
    loss, constant, prices = inner
    cells = _recognise(loss, prices)
    if isinstance(cells, str):
        return cells
    if cells.kind == "errors":
        return "the cells engine does not count weights, neurons or inputs under a limit of errors"
    return replace(cells, least=True, supports=tuple(replace(s, price=s.price + constant) for s in cells.supports))


def _recognise(problem: Problem, sizes: Sequence[tuple[float, ex.Expression]]) -> CellProblem | str:
    """`recognise` for a loss as the objective; `sizes` are the counts that a limit of the loss leaves as prices."""
    if problem.objective.sense != "minimize" or problem.objective.expression is None:
        return "the cells engine minimises a training loss; this spec does not"
    if problem.variables:
        return "the cells engine takes no decision variables besides the network"
    if any(c.kind == "enforce" for c in problem.symmetry_claims):
        return "an enforced symmetry stands for several problems with tied weights"
    constant, terms = ex.linear_terms(problem.objective.expression)
    losses = [(c, e) for c, e in terms if isinstance(e, ex.Loss)]
    others = [(c, e) for c, e in terms if not isinstance(e, ex.Loss)]
    squares = [(c, e) for c, e in others if isinstance(e, ex.Size) and e.kind == "l2"]
    prices = [(c, e) for c, e in others if not (isinstance(e, ex.Size) and e.kind == "l2")]
    prices += sizes
    if len(losses) != 1 or not counting_terms(prices, losses[0][1].network):
        return "the cells engine takes one loss as its objective, and penalties l2 and on l0, neurons and inputs"
    factor, loss = losses[0]
    if not all(counting_limit(c.expression, loss.network) for c in problem.constraints):
        return "the cells engine takes no constraints but upper limits on l0, neurons and inputs"
    if not factor > 0 or not np.isfinite(factor) or not np.isfinite(constant):
        return "the cells engine takes a positive multiple of one loss"
    if loss.kind not in LOSSES:
        return f"the cells engine does not take the loss {loss.kind} (it takes {', '.join(LOSSES)})"
    trained = [n.name for n in problem.networks.values() if n.name != loss.network and n.free]
    if trained:
        return f"the cells engine trains one network, and {trained[0]} is to be trained too"
    network = problem.networks[loss.network]
    chain = network.chain()
    if chain is None or len(chain) != 2 or any(layer.kind != "dense" for layer in chain):
        return f"the cells engine takes one hidden dense layer and a dense output layer; {network.name} is different"
    hidden, output = chain
    if output.activation.kind != "linear" or output.size != 1:
        return "the cells engine takes one linear output"
    taken = (*HOMOGENEOUS, *SATURATED)
    if hidden.activation.kind not in taken:
        return f"the cells engine does not take the activation {hidden.activation} (it takes {', '.join(taken)})"
    if not network.free:
        return f"nothing is left to train in {network.name}"
    for p in network.parameters:
        if p.free and p.kind != "real":
            return f"the cells engine takes real weights only; {p.name} has other domains"
    decay = _decay(problem, squares, network, hidden, output)
    if isinstance(decay, str):
        return decay
    if decay is not None and loss.kind == "errors":
        return f"the cells engine takes no weight decay with the loss {loss.kind}"
    budgets = [(network.l0, sum(p.size for p in network.parameters))]
    budgets += [(layer.l0, sum(p.size for p in layer.parameters)) for layer in chain]
    counted = bool(prices or problem.constraints) or any(k is not None and k < size for k, size in budgets)
    data = problem.data[loss.data]
    if data.samples == 0 or data.y.shape[1] != 1:
        return "the cells engine takes one target column"
    y = data.y[:, 0].astype(float)
    if loss.kind in ("hinge", "squared_hinge", "errors"):
        y = signs(y)
    weights = np.ones(data.samples) if data.weights is None else np.asarray(data.weights, dtype=float)
    if np.any(weights <= 0) or not np.all(np.isfinite(weights)):
        return "the cells engine takes positive multiplicities only"
    if loss.kind in ("mse", "mae"):
        weights = weights / weights.sum()
    if loss.kind == "max_error":
        weights = np.ones(data.samples)
    boxes = _boxes(hidden, output)
    if isinstance(boxes, str):
        return boxes
    cells = CellProblem(
        network, hidden, output, hidden.activation, loss.kind, np.asarray(data.x, dtype=float), y, weights,
        factor, constant, boxes[0], boxes[1], boxes[2], boxes[3], boxes[4], boxes[5], 0.5 if loss.q is None else loss.q,
        default_margin(loss.kind) if loss.margin is None else loss.margin, 1.0 if loss.delta is None else loss.delta,
        None if decay is None else Decay(decay.hidden / factor, decay.output / factor, decay.constant / factor),
    )  # fmt: skip
    reason = _beyond(cells) if problem.ties or np.any(cells.apart) else None
    if reason is not None:
        return reason
    whole = _tied(cells, problem) if problem.ties else cells
    reason = whole if isinstance(whole, str) else _jumps(whole) if hidden.activation.kind in THRESHOLD else None
    if reason is not None or not counted:
        return whole if reason is None else reason
    assert not isinstance(whole, str)
    found = supports(problem, whole, prices, MOST_LEAST if sizes else MOST_SUPPORTS)
    return found if isinstance(found, str) else replace(whole, supports=found)


def _decay(problem: Problem, terms: Sequence[tuple[float, ex.Size]], network: Network, hidden: Layer, output: Layer
           ) -> Decay | str | None:  # fmt: skip
    """The l2 terms of the objective, or why they are not taken."""
    if not terms:
        return None
    for c, e in terms:
        if e.neuron is not None or e.network != network.name or not 0 <= c < np.inf:
            return "the cells engine takes l2 of the trained network, its layers and tensors, with factors >= 0"
    total = penalties(problem, "l2")

    def of(p: Parameter | None) -> float:
        return 0.0 if p is None else total.get(p.name, 0.0)

    factors = np.append(np.full(hidden.weights.shape[1], of(hidden.weights)), of(hidden.bias))  # type: ignore[union-attr]
    price = of(output.weights)
    decay = Decay(np.tile(factors, (hidden.size, 1)), np.full(hidden.size, price), of(output.bias))
    if hidden.activation.kind in SATURATED:
        if np.any(factors > 0):
            return f"the cells engine takes no decay of the hidden weights of {hidden.activation} neurons"
    elif bool(np.any(factors > 0)) != (price > 0):
        return "the cells engine takes decay of hidden and output weights together: otherwise the scale undoes it"
    return decay if price > 0 or decay.constant > 0 else None


def _beyond(cells: CellProblem) -> str | None:
    """Why boxes without 0, fixed weights or ties are not taken together with the rest of the problem; None if so."""
    if cells.decay is not None and np.any(cells.decay.output > 0):
        for k in range(cells.neurons):
            weights = bool(np.all((cells.lo[k] == cells.hi[k]) | (cells.decay.hidden[k] == 0.0)))
            if cells.unscaled(k) and not weights and cells.out_lo[k] < cells.out_hi[k]:
                return ("the cells engine takes weight decay with boxes without 0 where they fix the output weights or "
                        "all decaying hidden weights: elsewhere it is not convex")  # fmt: skip
    return None


def _jumps(cells: CellProblem) -> str | None:
    """Why a problem of step or sign neurons is not taken; None if it is."""
    inside = (cells.lo < 0) & (cells.hi > 0)
    if cells.hidden.bias is None or not np.all(inside[:, -1]) or np.any(~inside & ((cells.lo != 0) | (cells.hi != 0))):
        return "the cells engine takes step and sign neurons with biases, and boxes of (w, b) that have 0 inside"
    if cells.ties is not None and any(matrix[-1, -1] != 1.0 for _, matrix, _ in cells.copies()):
        return "the cells engine takes no ties that turn or remove a bias of step and sign neurons"
    if cells.kind == "errors" and cells.ties is not None:
        return "the cells engine takes no tied weights of step and sign neurons with the loss errors"
    if cells.kind == "errors" and not np.all(inside):
        return "the cells engine takes errors of step and sign neurons only if none of their weights is fixed"
    if cells.kind == "errors" and not cells.margin > 0:
        return "the cells engine takes errors of step and sign neurons with a positive margin only"
    if cells.kind == "errors" and cells.neurons > MOST_NEURONS:
        return f"the cells engine minimises errors of at most {MOST_NEURONS} step or sign neurons"
    return None


def _tied(cells: CellProblem, problem: Problem) -> CellProblem | str:
    """With one row of the arrays for each set of tied neurons: ranges are intersected, penalties added up."""
    found = read(problem.ties, cells.hidden, cells.output)
    if isinstance(found, str):
        return f"the cells engine takes ties of an enforced symmetry only: {found}"
    biased = cells.hidden.bias is not None
    width = cells.lo.shape[1] if biased else cells.lo.shape[1] - 1
    outer = [np.append(a, b)[:, None] for a, b in ((cells.out_lo, cells.c_lo), (cells.out_hi, cells.c_hi))]
    ranges = found.ranges(cells.lo[:, :width], cells.hi[:, :width], *outer)
    if ranges is None:
        return "the ties leave a weight no value"
    lo, hi, out_lo, out_hi = ranges
    if not biased:  # the arrays' column of biases
        lo, hi = (np.hstack([a, np.zeros((len(a), 1))]) for a in (lo, hi))
    decay = cells.decay
    if decay is not None:
        hidden, output = found.total(decay.hidden[:, :width], np.append(decay.output, decay.constant)[:, None])
        if not biased:
            hidden = np.hstack([hidden, np.zeros((len(hidden), 1))])
        decay = Decay(hidden, output[:-1, 0], decay.constant)
    return replace(cells, ties=found, untied=cells, lo=lo, hi=hi, out_lo=out_lo[:-1, 0], out_hi=out_hi[:-1, 0],
                   c_lo=float(out_lo[-1, 0]), c_hi=float(out_hi[-1, 0]), decay=decay)  # fmt: skip


def _boxes(hidden: Layer, output: Layer) -> str | tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float, float]:
    assert hidden.weights is not None
    assert output.weights is not None
    count = hidden.size
    zero = np.zeros((count, 1))
    b_lo, b_hi = (zero, zero) if hidden.bias is None else (hidden.bias.lo[:, None], hidden.bias.hi[:, None])
    lo, hi = np.hstack([hidden.weights.lo, b_lo]), np.hstack([hidden.weights.hi, b_hi])
    out_lo, out_hi = output.weights.lo[0], output.weights.hi[0]
    for name, low, high in (
        ("hidden weights and biases", lo, hi), ("output weights", out_lo, out_hi),
    ):  # fmt: skip
        if np.any(low > high):
            return f"a box of the {name} is empty"
    c_lo, c_hi = (0.0, 0.0) if output.bias is None else (float(output.bias.lo[0]), float(output.bias.hi[0]))
    if c_lo > c_hi:
        return "the box of the output bias is empty"
    return lo, hi, out_lo, out_hi, c_lo, c_hi
