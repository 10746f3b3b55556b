"""A CellProblem with fixed signs of the output weights as the rows of `search_convex`: one form for all activations,
losses and penalties.

Unknowns z: those of the neurons (see `neurons` and `unknowns`), then the output bias c, where it is free. The largest
error is one more, e, with rows e >= +-r in place of losses (`search_convex`).

Weight decay (T2): p |D (w, b)|^2 + q v^2 with the best scale is 2 sqrt(q) |D |v| (w, b)|, a norm of z. Where v is
fixed it is a square of |v| (w, b), and where the decaying (w, b) are, one of |v|.

Units: inputs are centred and divided by their size, targets likewise, so that rounding margins are stated once, for
data of size 1; z is what a network in these units would have; objective = offset + unit * (loss + penalty of z).
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np

from nnspec.engines.cells.directions import Directions, directions
from nnspec.engines.cells.instance import independent, tolerances
from nnspec.engines.cells.model import LINEAR, SQUARED, CellProblem
from nnspec.engines.cells.neurons import HOMOGENEOUS, STRICT, THRESHOLD, neuron
from nnspec.engines.cells.traverse import Bases
from nnspec.engines.cells.unknowns import unknowns
from nnspec.problem.problem import Point

REACH = 1e4
"""Bounds on |z| in these units where boxes and penalties imply none: rounding margins need some such bound, and weights
10^4 times the size of the data are none that a float network should have."""

STEEP = 1e4
"""Multipliers, per sample, of boxes that do not contain z = 0. The pattern's own inequalities do, so that a problem is
infeasible only because of these; with bounded multipliers they are penalties, STEEP N times what is missing. The
problem then has a solution, whose value is a lower bound: far above the cut-off for infeasible patterns, and the
optimum where multipliers are smaller (exact penalties, Han and Mangasarian 1979)."""

FIXED = 1e-10
"""kappa of the square that keeps an unknown at its value. Such a problem's optimum is lower by FIXED u^2 / 2 with the
multiplier u, some 1e-10 of the loss; networks are moved onto the value before they are evaluated."""


@dataclass(frozen=True, eq=False)
class Form:
    """See `search_convex` for the arrays; N samples in the order of the data. K sets of tied neurons, H without ties.

    inputs (N, p): what a neuron sees, (x, 1) or x; cone (H, N, S - 1, r): the cuts on a neuron's own unknowns in
    orthonormal coordinates, half_space (f, r) the rows that hold at every sample; for step and sign neurons see
    `directions`. offset and unit: the objective of a
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
    box_hi: np.ndarray
    box_kappa: np.ndarray
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
    directions: Directions | None  # of step and sign neurons
    heights: np.ndarray  # (K, P): |v|, in the problem's units, where it is an unknown
    to_weights: np.ndarray  # (K (d + 1) + 1, P): |v| (w, b) of each set and c, in the problem's units, less `level`
    level: float

    @property
    def samples(self) -> int:
        return int(self.y.shape[0])

    @functools.cached_property
    def group(self) -> np.ndarray:
        """(N,): equal numbers for samples with equal inputs."""
        return np.asarray(np.unique(self.problem.x, axis=0, return_inverse=True)[1]).reshape(-1)

    @property
    def twins(self) -> bool:
        """Whether there are samples with equal inputs."""
        return int(self.group.max(initial=-1)) + 1 < self.samples

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
    def largest(self) -> bool:
        """Whether the loss is the largest of the samples' instead of their sum."""
        return self.problem.kind == "max_error"

    @property
    def penalised(self) -> bool:
        return len(self.nu) + len(self.p_y) > 0

    def point(self, z: np.ndarray) -> Point:
        """The network of z in the problem's weights."""
        z, rest = z[: self.size], z[self.size :]
        weights = self.to_weights @ z
        if self.strict > 0:
            assert self.directions is not None
            own = rest.reshape(self.neurons, -1)[self.directions.lead]
            hidden = np.einsum("kdr,kr->kd", self.directions.weights, own)
            return self.problem.threshold_network(hidden, self.heights @ z, float(weights[-1]) + self.level)
        theta = weights[:-1].reshape(len(self.heights), -1)
        sign = np.array(self.signs, dtype=float)
        if self.problem.activation.kind not in HOMOGENEOUS:
            return self.problem.direct_point(theta, self.heights @ z * sign, float(weights[-1]) + self.level)
        v = np.where(np.any(self.heights, axis=1), self.heights @ z, np.nan)
        return self.problem.point(theta * sign[:, None], sign, float(weights[-1]) + self.level, v)

    def unknowns(self, point: Point) -> np.ndarray | None:
        """The z of a network; None if its output weights have other signs."""
        theta, sign, c = self.problem.reduced(point)
        hidden, v, _ = self.problem.values(point)
        if self.strict > 0:
            turn = np.where((v < 0) & one_sided(self.problem), -1.0, 1.0)
            hidden, v = hidden * turn[:, None], v * turn
            matrix = np.vstack([self.heights, self.to_weights[-1:]])
            z, *_ = np.linalg.lstsq(matrix, np.append(v, c - self.level), rcond=None)
            assert self.directions is not None
            own = np.zeros((self.neurons, self.cone.shape[3]))
            for k, matrix, weights in zip(self.directions.lead, self.directions.weights, hidden, strict=True):
                own[k] = np.linalg.lstsq(matrix, weights, rcond=None)[0]
            return np.append(z, own.reshape(-1))
        used = np.any(theta != 0.0, axis=1)
        turned = used & (sign != np.array(self.signs))
        theta = theta * np.array(self.signs, dtype=float)[:, None]
        if np.any(turned & ~one_sided(self.problem)):
            return None
        theta[turned] *= -1.0  # odd: -v times the neuron of (-w, -b)
        target = np.append(theta.reshape(-1), c - self.level)
        tall = np.any(self.heights, axis=1)
        matrix = np.vstack([self.to_weights, self.heights[tall]])
        target = np.append(target, np.abs(v[tall]))
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
    """Which neurons need no negative output weight: odd ones in boxes that are symmetric about 0. sign(0) = 1, so sign
    is odd only where a bias keeps samples from the jump."""
    symmetric = np.all(problem.lo == -problem.hi, axis=1) & (problem.out_lo == -problem.out_hi)
    biased = problem.lo[:, -1] < problem.hi[:, -1]
    return symmetric & problem.activation.odd & (biased | (problem.activation.kind not in THRESHOLD))


def _exchangeable(problem: CellProblem) -> np.ndarray:
    """Which sets may change places with the one before: equal boxes and penalties, and equal ties of their neurons."""
    own = [[(m.tobytes(), e) for where, m, e in problem.copies() if where == k] for k in range(problem.neurons)]
    columns = [problem.lo, problem.hi, problem.out_lo, problem.out_hi]
    if problem.decay is not None:
        columns += [problem.decay.hidden, problem.decay.output]
    boxes = np.column_stack(columns)
    return np.array([k > 0 and bool(np.all(boxes[k] == boxes[k - 1])) and own[k] == own[k - 1]
                     for k in range(problem.neurons)])  # fmt: skip


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
    fixed = problem.c_lo == problem.c_hi
    level = problem.c_lo if fixed else float(np.average(problem.y, weights=problem.weights)) if regression else 0.0
    unit = float(np.abs(problem.y - level).max()) if regression else 1.0
    unit = unit if unit > 0 else 1.0
    squared = problem.kind in SQUARED
    power = unit if problem.kind in LINEAR else unit**2
    scale = power * float(problem.weights.max())  # loss = scale * (loss in these units)
    factor = problem.scale * scale

    inputs = np.hstack([x, np.ones((n, 1))]) if biased else x
    to_own = np.zeros((d + biased, d + 1))
    to_own[:d, :d] = np.diag(width / unit)
    if biased:
        to_own[d] = np.append(shift, 1.0) / unit
    one = neuron(problem.activation, inputs)
    mine = unknowns(problem, to_own, unit)
    count, columns = len(mine.own), problem.lo.shape[1]
    has_c = int(not fixed or mine.size == 0)
    largest = problem.kind == "max_error"
    size = mine.size + has_c + largest
    own = np.concatenate([mine.own, np.zeros((*mine.own.shape[:2], size - mine.size))], axis=2)
    signs_of = np.array(signs, dtype=float)[mine.sets] * mine.signs
    features = signs_of[:, None, None, None] * np.einsum("snq,kqp->ksnp", one.features, own)
    cuts = np.einsum("ncq,kqp->kncp", one.cuts, own)
    to_weights = np.zeros((len(mine.heights) * columns + 1, size))
    to_weights[:-1, : mine.size] = mine.weights.reshape(len(to_weights) - 1, mine.size)
    heights = np.hstack([mine.heights, np.zeros((len(mine.heights), size - mine.size))])
    base = np.zeros((n, size))
    if has_c:
        base[:, mine.size] = 1.0
        to_weights[-1, mine.size] = unit
    y = (problem.y - level) / unit
    if not regression:  # M - s o: the row s o against M
        y = problem.y
        features, base = features * y[None, None, :, None], base * y[:, None]
        y = problem.margin - y * level
    y, lo, hi, kappa, root = _losses(problem, y, unit)
    features, base = features * root[None, None, :, None], base * root[:, None]

    boxes, box_rhs, box_kappa = _boxes(problem, signs, to_weights, heights, level)
    implied = _implied(problem, to_weights, heights)
    reach = _reach(np.vstack([boxes, implied[0]]), np.append(box_rhs, implied[1]))
    if largest:  # what a network within reach can have
        rows = np.abs(base) + np.abs(features).max(axis=1).sum(axis=0)
        reach[-1] = float(np.max(np.abs(y) + rows[:, :-1] @ reach[:-1]))
    found = None
    if problem.activation.kind in THRESHOLD:
        found = directions(problem)
        cone, half_space, r = found.cone, np.zeros((0, found.cone.shape[3])), found.cone.shape[3]
        cuts = np.zeros((count, n, 1, size + count * r))
        for k, h in enumerate(found.home):
            place = slice(size + h * r, size + h * r + found.ranks[k])  # a sample that is always on has no row
            cuts[k, :, :, place] = cone[k, :, :, : found.ranks[k]]
    else:
        cone, half_space = _cone(one.cone, one.half_space)
        cone = np.tile(cone, (count, 1, 1, 1))
    p_rows, p_y, p_kappa, blocks, nu = _decay(problem, to_weights, heights, level, scale)
    offset = problem.offset
    if problem.decay is not None:
        offset += problem.scale * (problem.decay.constant * level**2 if fixed else 0.0)
        offset += problem.scale * float(sum(_fixed_decay(problem, k) for k in range(len(problem.lo))))
    equal = _exchangeable(problem)
    alone = np.bincount(mine.sets)[mine.sets] == 1
    sets = mine.sets
    alike = np.array([k > 0 and alone[k] and sets[k] == sets[k - 1] + 1 and equal[sets[k]] and alone[k - 1]
                      and signs[sets[k]] == signs[sets[k - 1]] for k in range(count)])  # fmt: skip
    flip = problem.activation.kind == "abs" and bool(np.all(problem.lo == -problem.hi) and np.all(alone))
    box_hi = np.where((box_rhs > 0.0) & (box_kappa == 0.0), STEEP * n, np.inf)
    return Form(problem, signs, features, base, cuts, cone, half_space, inputs, y, lo, hi, kappa, squared, boxes,
                box_rhs, box_hi, box_kappa, p_rows, p_y, p_kappa, blocks, nu, alike, flip, reach, offset, factor,
                found, heights, to_weights, level)  # fmt: skip


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
        case "sae" | "mae" | "max_error":
            return y, -weights, weights, 0.0 * one, one
    raise ValueError(f"no rows for the loss {problem.kind}")


def _boxes(problem: CellProblem, signs: tuple[int, ...], to_weights: np.ndarray, heights: np.ndarray, level: float
           ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Rows, each of size 1, right-hand sides and kappas of the boxes of |v| (w, b), |v| and c: see `unknowns`."""
    count, columns = problem.lo.shape
    rows, rhs, kappa = [], [], []

    def bound(form: np.ndarray, low: float, high: float) -> None:
        norm = float(np.linalg.norm(form))
        if norm == 0.0:
            return
        for s, limit in ((1.0, low), (-1.0, -high)):
            if limit > -np.inf:
                rows.append(s * form / norm)
                rhs.append(limit / norm)
                kappa.append(FIXED if low == high else 0.0)
            if low == high:
                return

    for k in range(count):
        least, most = problem.sizes(k, signs[k] > 0)
        if problem.activation.kind in THRESHOLD:
            low = 0.0 if one_sided(problem)[k] else float(problem.out_lo[k])
            bound(heights[k], low, float(problem.out_hi[k]))
            continue
        if np.any(heights[k]):  # least <= v <= most, lo v <= v w <= hi v
            bound(heights[k], least, most)
        for j in range(columns):
            low, high = float(problem.lo[k, j]), float(problem.hi[k, j])
            form = to_weights[k * columns + j]
            if low == high and (np.any(heights[k]) or low == 0.0):  # replaced
                continue
            if np.any(heights[k]):
                for s, limit in ((1.0, low), (-1.0, high)):
                    if np.any(form) and np.isfinite(limit):
                        bound(s * (form - limit * heights[k]), 0.0, np.inf)
                continue
            v = most  # the largest, as 0 lies in the boxes, or the only one
            bound(form, 0.0 if low == 0.0 else v * low if v > 0 else 0.0,
                  0.0 if high == 0.0 else v * high if v > 0 else 0.0)  # fmt: skip
    bound(to_weights[-1], problem.c_lo - level, problem.c_hi - level)
    return np.array(rows).reshape(-1, to_weights.shape[1]), np.array(rhs), np.array(kappa)


def _implied(problem: CellProblem, to_weights: np.ndarray, heights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of opposite rows and right-hand sides that all boxes together imply for v (w, b) and v."""
    count, columns = problem.lo.shape
    rows, rhs = [], []
    for k, j in itertools.product(range(count), range(columns + 1)):
        form, w = heights[k], 1.0
        if j < columns:
            form, w = to_weights[k * columns + j], np.abs([problem.lo[k, j], problem.hi[k, j]]).max()
        v = np.abs([problem.out_lo[k], problem.out_hi[k]]).max()
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
        chosen: list[int] = []
        for i in sorted(own, key=lambda i: limits[i] / float(np.linalg.norm(rows[i]))):
            a = np.array([rows[t][columns] for t in (*chosen, i)])
            if np.linalg.matrix_rank(a) == len(a):
                chosen.append(i)
        if len(chosen) == len(columns):
            a = np.array([rows[i][columns] for i in chosen])
            bound = np.abs(np.linalg.inv(a)) @ np.array([limits[i] for i in chosen])
            reach[j] = min(REACH, (1.0 + 1e-9) * float(bound[columns.index(j)]) + 1e-9)
    return reach


def _cone(cuts: np.ndarray, half_space: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """cuts (N, S - 1, p) and half_space (f, p) in coordinates in which all of them together are orthonormal columns,
    each row of length 1: same signs, better conditioned."""
    n, each, p = cuts.shape
    rows = np.vstack([cuts.reshape(-1, p), half_space])
    u, s, _ = np.linalg.svd(rows, full_matrices=False)
    r = max(1, int(np.sum(s > 1e-9 * s[0])))
    u = u[:, :r].copy()
    empty = ~np.any(rows, axis=1)
    if not np.all(empty):
        u[empty] = 0.0  # a sample at the origin, see `cone_coordinates`
    norm = np.linalg.norm(u, axis=1, keepdims=True)
    u = u / np.where(norm > 0, norm, 1.0)
    return u[: n * each].reshape(n, each, -1), u[n * each :]


def _decay(problem: CellProblem, to_weights: np.ndarray, heights: np.ndarray, level: float, scale: float
           ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Squares and norms of the penalty in the units of the loss: p_rows, p_y, p_kappa, blocks, nu."""
    count, columns = problem.lo.shape
    size = to_weights.shape[1]
    rows, targets, kappas, blocks, nu = [], [], [], [], []
    if problem.decay is not None:
        hidden, output = problem.decay.hidden, problem.decay.output
        inside = np.any(hidden > 0, axis=0)

        def square(form: np.ndarray, factor: float) -> None:
            if factor > 0 and np.any(form):
                rows.append(form)
                targets.append(0.0)
                kappas.append(0.5 * scale / factor)

        for k in range(count):
            if problem.unscaled(k) and problem.out_lo[k] == problem.out_hi[k]:
                for j in np.flatnonzero(hidden[k]) if problem.out_lo[k] != 0.0 else ():
                    square(to_weights[k * columns + j], hidden[k, j] / problem.out_lo[k] ** 2)
                continue
            if np.any(heights[k]):
                square(heights[k], output[k])
                continue
            part = to_weights[k * columns : (k + 1) * columns][inside]
            block = np.sqrt(hidden[k, inside] * output[k])[:, None] * part
            size_of = float(np.abs(block).max(initial=0.0))
            if size_of > 0.0:
                blocks.append(block / size_of)
                nu.append(2.0 * size_of / scale)
        if problem.decay.constant > 0 and problem.c_lo < problem.c_hi:  # (level + c)^2
            rows.append(-to_weights[-1])
            targets.append(level)
            kappas.append(0.5 * scale / problem.decay.constant)
    width = blocks[0].shape[0] if blocks else 1
    return (np.array(rows).reshape(-1, size), np.array(targets, dtype=float), np.array(kappas, dtype=float),
            np.array(blocks).reshape(-1, width, size), np.array(nu, dtype=float))  # fmt: skip


def _fixed_decay(problem: CellProblem, k: int) -> float:
    """What the penalty of a set is whatever z is: see `_decay`."""
    decay = problem.decay
    if decay is None or not problem.unscaled(k):
        return 0.0
    lo, hi = problem.lo[k], problem.hi[k]
    if problem.out_lo[k] != problem.out_hi[k]:  # the decaying hidden weights are fixed
        return float(decay.hidden[k] @ np.where(decay.hidden[k] > 0, lo, 0.0) ** 2)
    if problem.out_lo[k] != 0.0:
        return float(decay.output[k] * problem.out_lo[k] ** 2)
    return float(decay.hidden[k] @ np.clip(0.0, lo, hi) ** 2)


@dataclass(frozen=True, eq=False)
class Doll:
    """Samples `index` of a Form, those first that the polytopes begin with; the arrays of `Rows` and `Cones` for them.

    suffix (n,) and proven (n + 1,): proven[m] bounds the optimum on the samples with suffix <= m.
    """

    index: np.ndarray
    cone: np.ndarray
    eps: np.ndarray
    bases: Bases
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
    rank, bases, front = span.shape[1], None, None
    if form.directions is None:
        front = independent(span[index], rank)
    else:
        bases, front = form.directions.bases(index) or (None, None)
    if front is None:
        return None
    n = len(index)
    positions = np.array(front + [i for i in range(n) if i not in set(front)])
    bounds = np.array([proven[min(m, len(proven) - 1)] for m in range(n + 1)])
    bounds[n] = 0.0  # the whole doll is what is searched
    if form.largest:  # bounds of disjoint sets combine by their maximum: one below the cut-off says nothing
        bounds[:] = 0.0
    cone = np.ascontiguousarray(form.cone[:, index[positions]])
    eps = tolerances(form.samples * cone.shape[2]).reshape(form.samples, -1)[index[positions]]
    if bases is None:
        inverse = np.linalg.inv(np.vstack([form.half_space, cone[0, :rank, 0]]))
        bases = Bases.common(form.neurons, len(form.half_space), inverse)
    return Doll(index[positions], cone, eps, bases, n - positions, bounds)
