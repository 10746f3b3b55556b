"""A CellProblem with fixed signs of the output weights as the rows of `search_convex`: one form for all activations,
losses and penalties of the general search.

Unknowns z: those of the neurons (see `neurons`), then the output bias c, where there is one.

Weight decay (T2): p |D (w, b)|^2 + q v^2 with the best scale is 2 sqrt(q) |D |v| (w, b)|, a norm of z.

Units: inputs are centred and divided by their size, targets likewise (see `normal`), so z is what a network in these
units would have; objective = offset + unit * (loss + penalty of z).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from nnspec.engines.cells.instance import independent, tolerances
from nnspec.engines.cells.model import SQUARED, CellProblem
from nnspec.engines.cells.neurons import STRICT, THRESHOLD, neuron
from nnspec.problem.problem import Point

REACH = 1e4
"""Bounds on |z| in these units where boxes and penalties imply none: see `normal.REACH`."""


@dataclass(frozen=True, eq=False)
class Form:
    """See `search_convex` for the arrays; N samples in the order of the data.

    inputs (N, p): what a neuron sees, (x, 1) or x; cone (N, S - 1, r): the cuts on a neuron's own unknowns in
    orthonormal coordinates, half_space (f, r) the rows that hold at every sample. offset and unit: the objective of a
    value.
    """

    problem: CellProblem
    signs: tuple[int, ...]
    features: np.ndarray
    base: np.ndarray
    cuts: np.ndarray
    cone: np.ndarray
    half_space: np.ndarray
    inputs: np.ndarray
    y: np.ndarray
    lo: np.ndarray
    hi: np.ndarray
    kappa: np.ndarray
    squared: bool
    boxes: np.ndarray
    box_rhs: np.ndarray
    p_rows: np.ndarray
    p_y: np.ndarray
    p_kappa: np.ndarray
    blocks: np.ndarray
    nu: np.ndarray
    alike: np.ndarray
    flip: bool
    reach: np.ndarray
    offset: float
    unit: float
    from_cone: np.ndarray  # (d + 1, r): (w, b) of a direction in the cone's coordinates
    heights: np.ndarray  # (H, P): |v|, in the problem's units, of neurons that are not homogeneous
    to_weights: np.ndarray  # (H (d + 1) + 1, P): |v| (w, b) of each neuron and c, in the problem's units, less `level`
    level: float

    @property
    def samples(self) -> int:
        return int(self.y.shape[0])

    @property
    def neurons(self) -> int:
        return int(self.features.shape[0])

    @property
    def pieces(self) -> int:
        return int(self.features.shape[1])

    @property
    def size(self) -> int:
        return int(self.features.shape[3])

    @property
    def numbers(self) -> int:
        """Of a network: z, for step and sign neurons also their directions in the cone's coordinates."""
        return int(self.cuts.shape[3])

    @property
    def strict(self) -> float:
        return max(STRICT, 1e-9 * self.samples) if self.numbers > self.size else 0.0

    @property
    def penalised(self) -> bool:
        return len(self.nu) + len(self.p_y) > 0

    def point(self, z: np.ndarray) -> Point:
        """The network of z in the problem's weights."""
        z, directions = z[: self.size], z[self.size :]
        weights = self.to_weights @ z
        if self.strict > 0:
            hidden = directions.reshape(self.neurons, -1) @ self.from_cone.T
            return self.problem.threshold_network(hidden, self.heights @ z, float(weights[-1]) + self.level)
        theta = weights[:-1].reshape(self.neurons, -1)
        sign = np.array(self.signs, dtype=float)
        if np.any(self.heights):
            return self.problem.direct_point(theta, self.heights @ z * sign, float(weights[-1]) + self.level)
        return self.problem.point(theta * sign[:, None], sign, float(weights[-1]) + self.level)

    def unknowns(self, point: Point) -> np.ndarray | None:
        """The z of a network; None if its output weights have other signs."""
        theta, sign, c = self.problem.reduced(point)
        if self.strict > 0:
            v = self.problem.output_weights(point)
            hidden = self.problem.hidden_weights(point)
            turn = np.where((v < 0) & one_sided(self.problem), -1.0, 1.0)
            hidden, v = hidden * turn[:, None], v * turn
            matrix = np.vstack([self.heights, self.to_weights[-1:]])
            z, *_ = np.linalg.lstsq(matrix, np.append(v, c - self.level), rcond=None)
            return np.append(z, np.linalg.lstsq(self.from_cone, hidden.T, rcond=None)[0].T.reshape(-1))
        used = np.any(theta != 0.0, axis=1)
        turned = used & (sign != np.array(self.signs))
        theta = theta * np.array(self.signs, dtype=float)[:, None]
        if np.any(turned & ~one_sided(self.problem)):
            return None
        theta[turned] *= -1.0  # odd: -v times the neuron of (-w, -b)
        target = np.append(theta.reshape(-1), c - self.level)
        matrix = self.to_weights
        if np.any(self.heights):
            matrix = np.vstack([matrix, self.heights])
            target = np.append(target, np.abs(self.problem.output_weights(point)))
        z, *_ = np.linalg.lstsq(matrix, target, rcond=None)
        return z if np.allclose(matrix @ z, target, atol=1e-9 * (1.0 + np.abs(target).max())) else None


def sign_vectors(problem: CellProblem) -> list[tuple[int, ...]]:
    """The signs of the output weights that have to be tried: neurons with equal boxes are exchangeable."""
    odd = one_sided(problem)
    if problem.activation.kind in THRESHOLD:
        return [(1,) * problem.neurons]
    choices = [[s for s, limit in ((1, problem.out_hi[k]), (-1, -problem.out_lo[k])) if limit > 0 and not odd[k]] or [1]
               for k in range(problem.neurons)]  # fmt: skip
    equal = _exchangeable(problem)
    return [v for v in itertools.product(*choices)
            if all(not equal[k] or v[k] <= v[k - 1] for k in range(1, problem.neurons))]  # fmt: skip


def one_sided(problem: CellProblem) -> np.ndarray:
    """Which neurons need no negative output weight: odd ones in boxes that are symmetric about 0."""
    symmetric = np.all(problem.lo == -problem.hi, axis=1) & (problem.out_lo == -problem.out_hi)
    return symmetric & problem.activation.odd


def _exchangeable(problem: CellProblem) -> np.ndarray:
    boxes = np.column_stack([problem.lo, problem.hi, problem.out_lo, problem.out_hi])
    return np.array([k > 0 and bool(np.all(boxes[k] == boxes[k - 1])) for k in range(problem.neurons)])


def make(problem: CellProblem, signs: tuple[int, ...]) -> Form:
    """The problem's networks whose output weights have these signs."""
    biased = bool(np.any(problem.lo[:, -1] != 0) or np.any(problem.hi[:, -1] != 0))
    n, d = problem.x.shape
    shift = problem.x.mean(axis=0) if biased else np.zeros(d)
    x = problem.x - shift
    width = np.abs(x).max(axis=0)
    width[width <= 1e-9 * np.maximum(1.0, np.abs(shift))] = 1.0
    x = x / width
    regression = problem.kind not in ("hinge", "squared_hinge")
    level = float(np.average(problem.y, weights=problem.weights)) if problem.c_hi > problem.c_lo and regression else 0.0
    unit = float(np.abs(problem.y - level).max()) if regression else 1.0
    unit = unit if unit > 0 else 1.0
    squared = problem.kind in SQUARED
    power = unit if problem.kind in ("sae", "mae", "pinball", "hinge") else unit**2
    scale = power * float(problem.weights.max())  # loss = scale * (loss in these units)
    factor = problem.scale * scale

    count, has_c = problem.neurons, problem.output.bias is not None
    inputs = np.hstack([x, np.ones((n, 1))]) if biased else x
    forms = np.zeros((d + 1, d + biased))
    forms[:d, :d] = np.diag(unit / width)
    if biased:
        forms[d, d] = unit
        forms[d, :d] = -unit * shift / width
    one = neuron(problem.activation, inputs, forms, unit)
    pieces, _, own = one.features.shape
    size = count * own + has_c

    features = np.zeros((count, pieces, n, size))
    cuts = np.zeros((count, n, pieces - 1, size))
    to_weights = np.zeros((count * (d + 1) + 1, size))
    heights = np.zeros((count, size))
    for k in range(count):
        place = slice(k * own, (k + 1) * own)
        features[k, :, :, place] = signs[k] * one.features
        cuts[k, :, :, place] = one.cuts
        to_weights[k * (d + 1) : (k + 1) * (d + 1), place] = one.weights
        heights[k, place] = one.height
    base = np.zeros((n, size))
    if has_c:
        base[:, -1] = 1.0
        to_weights[-1, -1] = unit
    y = (problem.y - level) / unit
    if not regression:  # M - s o: the row s o against M
        features, base = features * y[None, None, :, None], base * y[:, None]
        y = np.full(n, problem.margin)
    y, lo, hi, kappa, root = _losses(problem, y, unit)
    features, base = features * root[None, None, :, None], base * root[:, None]

    boxes, box_rhs = _boxes(problem, signs, to_weights, heights, level)
    implied = _implied(problem, to_weights)
    reach = _reach(np.vstack([boxes, implied[0]]), np.append(box_rhs, implied[1]))
    cone, half_space, coordinates = _cone(one.cone, one.half_space)
    from_cone = (forms / unit) @ coordinates if coordinates.shape[0] == forms.shape[1] else np.zeros((d + 1, 0))
    if problem.activation.kind in THRESHOLD:
        r = cone.shape[2]
        wide = np.zeros((count, n, 1, size + count * r))
        for k in range(count):
            wide[k, :, :, size + k * r : size + (k + 1) * r] = cone
        cuts = wide
    p_rows, p_y, p_kappa, blocks, nu = _decay(problem, to_weights, heights, level, scale)
    equal = _exchangeable(problem)
    alike = np.array([equal[k] and signs[k] == signs[k - 1] for k in range(count)])
    flip = problem.activation.kind == "abs" and bool(np.all(problem.lo == -problem.hi))
    return Form(problem, signs, features, base, cuts, cone, half_space, inputs, y, lo, hi, kappa, squared, boxes,
                box_rhs, p_rows, p_y, p_kappa, blocks, nu, alike, flip, reach, problem.offset, factor,
                from_cone, heights, to_weights, level)  # fmt: skip


def _losses(problem: CellProblem, y: np.ndarray, unit: float
            ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Targets and (lo, hi, kappa) of each sample's row, and the factor that its rows get (squares only)."""
    n = len(y)
    weights = problem.weights / problem.weights.max()
    inf, one = np.full(n, np.inf), np.ones(n)
    match problem.kind:
        case "sse" | "mse":
            root = np.sqrt(weights)
            return y * root, -inf, inf, 0.5 * one, root
        case "huber":
            top = weights * problem.delta / unit
            return y, -top, top, 1.0 / weights, one
        case "squared_hinge":
            return y, 0.0 * one, inf, 0.5 / weights, one
        case "hinge":
            return y, 0.0 * one, weights, 0.0 * one, one
        case "pinball":
            return y, weights * (problem.quantile - 1.0), weights * problem.quantile, 0.0 * one, one
        case "sae" | "mae":
            return y, -weights, weights, 0.0 * one, one
    raise ValueError(f"no rows for the loss {problem.kind}")


def _boxes(problem: CellProblem, signs: tuple[int, ...], to_weights: np.ndarray, heights: np.ndarray, level: float
           ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Rows and right-hand sides, each row of size 1, of the boxes of |v| (w, b) and c."""
    count, columns = problem.lo.shape
    rows, rhs = [], []

    def bound(form: np.ndarray, low: float, high: float) -> None:
        norm = float(np.linalg.norm(form))
        if norm == 0.0:
            return
        for s, limit in ((1.0, low), (-1.0, -high)):
            if limit > -np.inf:
                rows.append(s * form / norm)
                rhs.append(limit / norm)

    for k in range(count):
        most = float(problem.out_hi[k] if signs[k] > 0 else -problem.out_lo[k])
        if np.any(heights[k]):  # 0 <= v <= most, lo v <= v w <= hi v
            if problem.activation.kind in THRESHOLD:
                low = 0.0 if one_sided(problem)[k] else float(problem.out_lo[k])
                bound(heights[k], low, float(problem.out_hi[k]))
                continue
            bound(heights[k], 0.0, most)
            for j in range(columns):
                form = to_weights[k * columns + j]
                for s, limit in ((1.0, problem.lo[k, j]), (-1.0, problem.hi[k, j])):
                    if np.any(form) and np.isfinite(limit):
                        bound(s * (form - limit * heights[k]), 0.0, np.inf)
            continue
        for j in range(columns):
            low, high = float(problem.lo[k, j]), float(problem.hi[k, j])
            bound(to_weights[k * columns + j], 0.0 if low == 0.0 else most * low if most > 0 else 0.0,
                  0.0 if high == 0.0 else most * high if most > 0 else 0.0)  # fmt: skip
    bound(to_weights[-1], problem.c_lo - level, problem.c_hi - level)
    return np.array(rows).reshape(-1, to_weights.shape[1]), np.array(rhs)


def _implied(problem: CellProblem, to_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of opposite rows and right-hand sides that all boxes together imply for v (w, b)."""
    count, columns = problem.lo.shape
    rows, rhs = [], []
    for k, j in itertools.product(range(count), range(columns)):
        form = to_weights[k * columns + j]
        v, w = np.abs([problem.out_lo[k], problem.out_hi[k]]).max(), np.abs([problem.lo[k, j], problem.hi[k, j]]).max()
        if np.any(form) and np.isfinite(v) and np.isfinite(w):
            rows += [form, -form]
            rhs += [-v * w, -v * w]
    return np.array(rows).reshape(-1, to_weights.shape[1]), np.array(rhs)


def _reach(boxes: np.ndarray, box_rhs: np.ndarray) -> np.ndarray:
    """Bounds on |z_j|: REACH, or what boxes imply: |a.z| <= b for independent rows a gives |z| <= |A^-1| b."""
    size = boxes.shape[1]
    rows, limits = [], []
    for i in range(len(boxes) - 1):  # pairs of opposite rows
        if np.array_equal(boxes[i], -boxes[i + 1]):
            rows.append(boxes[i])
            limits.append(max(abs(box_rhs[i]), abs(box_rhs[i + 1])))
    reach = np.full(size, REACH)
    for j in range(size):  # unknowns whose own rows suffice
        connected = {j}
        for row in rows:
            if row[j] != 0.0:
                connected |= set(np.flatnonzero(row).tolist())
        columns = sorted(connected)
        own = [i for i, row in enumerate(rows) if set(np.flatnonzero(row).tolist()) <= connected and np.any(row)]
        a = np.array([rows[i][columns] for i in own]).reshape(-1, len(columns))
        if len(own) == len(columns) and np.linalg.matrix_rank(a) == len(columns):
            bound = np.abs(np.linalg.inv(a)) @ np.array([limits[i] for i in own])
            reach[j] = min(REACH, (1.0 + 1e-9) * float(bound[columns.index(j)]) + 1e-9)
    return reach


def _cone(cuts: np.ndarray, half_space: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """cuts (N, S - 1, p) and half_space (f, p) in coordinates in which all of them together are orthonormal columns,
    each row of length 1: same signs, better conditioned. And (p, r): what a vector in these coordinates is."""
    n, each, p = cuts.shape
    rows = np.vstack([cuts.reshape(-1, p), half_space])
    u, s, vt = np.linalg.svd(rows, full_matrices=False)
    r = max(1, int(np.sum(s > 1e-9 * s[0])))
    u = u[:, :r]
    norm = np.linalg.norm(u, axis=1, keepdims=True)
    u = u / np.where(norm > 0, norm, 1.0)
    return u[: n * each].reshape(n, each, -1), u[n * each :], vt[:r].T / s[:r]


def _decay(problem: CellProblem, to_weights: np.ndarray, heights: np.ndarray, level: float, scale: float
           ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Squares and norms of the penalty in the units of the loss: p_rows, p_y, p_kappa, blocks, nu."""
    count, columns = problem.lo.shape
    size = to_weights.shape[1]
    rows, targets, kappas, blocks, nu = [], [], [], [], []
    if problem.decay is not None:
        inside = problem.decay.hidden > 0
        for k in range(count):
            if np.any(heights[k]):
                if problem.decay.output > 0:
                    rows.append(heights[k])
                    targets.append(0.0)
                    kappas.append(0.5 * scale / problem.decay.output)
                continue
            part = to_weights[k * columns : (k + 1) * columns][inside]
            block = np.sqrt(problem.decay.hidden[inside] * problem.decay.output)[:, None] * part
            size_of = float(np.abs(block).max())
            if size_of > 0.0:
                blocks.append(block / size_of)
                nu.append(2.0 * size_of / scale)
        if problem.decay.constant > 0 and problem.output.bias is not None:  # (level + c)^2
            rows.append(-to_weights[-1])
            targets.append(level)
            kappas.append(0.5 * scale / problem.decay.constant)
    width = blocks[0].shape[0] if blocks else 1
    return (np.array(rows).reshape(-1, size), np.array(targets, dtype=float), np.array(kappas, dtype=float),
            np.array(blocks).reshape(-1, width, size), np.array(nu, dtype=float))  # fmt: skip


@dataclass(frozen=True, eq=False)
class Doll:
    """Samples `index` of a Form, the first `basis` with independent cuts; the arrays of `Rows` and `Cones` for them.

    suffix (n,) and proven (n + 1,): proven[m] bounds the optimum on the samples with suffix <= m.
    """

    index: np.ndarray
    cone: np.ndarray
    eps: np.ndarray
    inverse: np.ndarray
    basis: int
    suffix: np.ndarray
    proven: np.ndarray

    @property
    def size(self) -> int:
        return len(self.index)


def build(form: Form, span: np.ndarray, order: list[int], proven: list[float]) -> Doll | None:
    """The samples `order`, where proven[m] bounds the optimum on the last m of them. None if they do not span.

    span: `cone_coordinates` of the form's inputs.
    """
    index = np.array(order, dtype=np.int64)
    rank = span.shape[1]
    front = independent(span[index], rank)
    if front is None:
        return None
    n = len(index)
    positions = np.array(front + [i for i in range(n) if i not in set(front)])
    bounds = np.array([proven[min(m, len(proven) - 1)] for m in range(n + 1)])
    bounds[n] = 0.0  # the whole doll is what is searched
    cone = np.ascontiguousarray(form.cone[index[positions]])
    eps = tolerances(form.samples * cone.shape[1]).reshape(form.samples, -1)[index[positions]]
    inverse = np.linalg.inv(np.vstack([form.half_space, cone[:rank, 0]]))
    return Doll(index[positions], cone, eps, inverse, rank, n - positions, bounds)
