"""Piecewise-linear losses max(lo_i r_i, hi_i r_i), summed, or the largest of them, by the dual simplex method (numba).

A sample is a row of the linear program of `linear`; a child inherits its parent's basis and multipliers, so its value
starts at its parent's and needs a few pivots. For the largest error the objective is one more column e with rows
e >= |r_i|, and bounds of disjoint subsets combine by their maximum instead of their sum. See `loss`.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnspec.engines.cells import loss as ls
from nnspec.engines.cells.linear import ANCHOR, solve
from nnspec.engines.cells.loss import CUT, FAILED, SOLVED
from nnspec.engines.cells.normal import REACH, Normal
from nnspec.engines.compiled import body

DRIFT = 1e-12
"""Bound on |A'u| after the pivots of one path, from rounding; its price is DRIFT * reach."""


class Slopes(NamedTuple):
    """lo <= 0 <= hi (n,): the slopes of the samples' losses, multiplicities included."""

    lo: np.ndarray
    hi: np.ndarray
    largest: bool


class PiecewiseBound(NamedTuple):
    """Rows of the linear program: `first` artificial ones (and the objective's), the samples', the inequalities."""

    loss: Slopes
    first: int
    price: float
    a: np.ndarray
    target: np.ndarray
    low: np.ndarray
    high: np.ndarray
    residual: np.ndarray
    u: np.ndarray  # from here on one per depth
    is_basic: np.ndarray
    basic: np.ndarray
    inverse: np.ndarray
    solution: np.ndarray
    value: np.ndarray
    work_u: np.ndarray
    work_is_basic: np.ndarray
    work_basic: np.ndarray
    work_inverse: np.ndarray
    work_theta: np.ndarray
    theta: np.ndarray


def loss_of(normal: Normal, index: np.ndarray) -> Slopes:
    return Slopes(normal.lo[index], normal.hi[index], normal.largest)


def bound_of(normal: Normal, index: np.ndarray, neurons: int, inequalities: int) -> PiecewiseBound:
    n, size = len(index), neurons * normal.box.shape[3] + 1
    columns = size + 1 if normal.largest else size
    first = columns + 1 if normal.largest else columns
    count = first + (2 if normal.largest else 1) * n + inequalities
    z = np.zeros
    return PiecewiseBound(
        loss_of(normal, index), first, ANCHOR * np.sqrt(columns) * REACH + DRIFT * REACH,
        z((count, columns)), z(count), z(count), z(count), z(count), z((n + 1, count)),
        z((n + 1, count), dtype=np.bool_), z((n + 1, columns), dtype=np.int64),
        z((n + 1, columns, columns)), z((n + 1, columns)), z(n + 1), z(count),
        z(count, dtype=np.bool_), z(columns, dtype=np.int64), z((columns, columns)), z(columns), z(size),
    )  # fmt: skip


@body(ls.sample_loss, Slopes)
def _sample_loss(loss: Slopes, i: int, residual: float) -> float:
    return max(loss.lo[i] * residual, loss.hi[i] * residual)


@body(ls.join, Slopes)
def _join(loss: Slopes, a: float, b: float) -> float:
    return max(a, b) if loss.largest else a + b


@body(ls.needed, Slopes)
def _needed(loss: Slopes, cutoff: float, rest: float) -> float:
    return cutoff if loss.largest else cutoff - rest


@body(ls.weight, Slopes)
def _weight(loss: Slopes, i: int, residual: float, top: float) -> float:
    if loss.largest:
        return (abs(residual) / top) ** 4
    slope = loss.hi[i] if residual > 0 else -loss.lo[i]
    return np.sqrt(slope / max(abs(residual), 1e-4))


@body(ls.margin, PiecewiseBound)
def _margin(bound: PiecewiseBound, value: float) -> float:
    return bound.price


@body(ls.begin, PiecewiseBound)
def _begin(bound: PiecewiseBound) -> None:
    columns = bound.work_basic.shape[0]
    bound.inverse[0] = 0.0
    bound.u[0] = 0.0
    bound.is_basic[0] = False
    for j in range(columns):
        bound.a[j, j] = 1.0
        bound.low[j] = -ANCHOR
        bound.high[j] = ANCHOR
        bound.basic[0, j] = j
        bound.is_basic[0, j] = True
        bound.inverse[0, j, j] = 1.0
    if bound.loss.largest:
        bound.a[columns, columns - 1] = 1.0
        bound.low[columns] = -1.0
    bound.solution[0] = 0.0
    bound.value[0] = 0.0


@body(ls.child, PiecewiseBound)
def _child(bound: PiecewiseBound, t: int, i: int, row: np.ndarray, y: float) -> tuple[float, float]:
    wrong = y
    for j in range(row.shape[0]):
        wrong -= row[j] * bound.solution[t, j]
    # the parent's bound; children that its solution fits come first
    return bound.value[t], max(bound.loss.lo[i] * wrong, bound.loss.hi[i] * wrong)


@body(ls.enter, PiecewiseBound)
def _enter(bound: PiecewiseBound, t: int, i: int, row: np.ndarray, y: float, limit: float) -> float:
    size, columns = row.shape[0], bound.work_basic.shape[0]
    largest = bound.loss.largest
    per_sample = 2 if largest else 1
    b = bound.first + per_sample * t
    if largest:
        for side in range(2):
            s = 1.0 if side == 0 else -1.0
            bound.a[b + side, :size] = s * row
            bound.a[b + side, size] = 1.0
            bound.target[b + side] = s * y
            bound.low[b + side] = 0.0
            bound.high[b + side] = np.inf
    else:
        bound.a[b, :size] = row
        bound.target[b] = y
        bound.low[b] = bound.loss.lo[i]
        bound.high[b] = bound.loss.hi[i]
    end = b + per_sample
    bound.u[t + 1, :b] = bound.u[t, :b]
    bound.is_basic[t + 1, :b] = bound.is_basic[t, :b]
    bound.u[t + 1, b:end] = 0.0
    bound.is_basic[t + 1, b:end] = False
    bound.basic[t + 1] = bound.basic[t]
    bound.inverse[t + 1] = bound.inverse[t]
    _, value = solve(bound.a, bound.target, bound.low, bound.high, end, bound.basic[t + 1], bound.is_basic[t + 1],
                     bound.inverse[t + 1], bound.u[t + 1], bound.solution[t + 1], bound.residual, limit,
                     50 * columns + 200)  # fmt: skip
    bound.value[t + 1] = max(value, 0.0)
    return value


@body(ls.inner, PiecewiseBound)
def _inner(bound: PiecewiseBound, t: int, rows: np.ndarray, rhs: np.ndarray, m: int, limit: float, leaf: bool
           ) -> tuple[int, float]:  # fmt: skip
    size, columns = rows.shape[1], bound.work_basic.shape[0]
    end = bound.first + (2 if bound.loss.largest else 1) * t
    for i in range(m):
        bound.a[end + i, :size] = rows[i]
        if bound.loss.largest:
            bound.a[end + i, size] = 0.0
        bound.target[end + i] = rhs[i]
        bound.low[end + i] = 0.0
        bound.high[end + i] = np.inf
    bound.work_u[:end] = bound.u[t, :end]
    bound.work_u[end : end + m] = 0.0
    bound.work_is_basic[:end] = bound.is_basic[t, :end]
    bound.work_is_basic[end : end + m] = False
    bound.work_basic[:] = bound.basic[t]
    bound.work_inverse[:, :] = bound.inverse[t]
    optimal, value = solve(bound.a, bound.target, bound.low, bound.high, end + m, bound.work_basic,
                           bound.work_is_basic, bound.work_inverse, bound.work_u, bound.work_theta, bound.residual,
                           limit, 100 * columns + 400)  # fmt: skip
    if value >= limit:
        return CUT, value
    bound.theta[:] = bound.work_theta[:size]
    return (SOLVED if optimal else FAILED), value
