"""Squared losses: the residual of least squares, kept as a triangular factor per depth (numba). See `loss`.

A child's residual comes from the parent's factor by one forward substitution; the factor itself is updated only for
children that are entered. Under inequalities the dual active-set method of `quadratic` runs from the same factor.
docs/cells.md derives the bound and the rounding margins.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnspec.engines.cells import loss as ls
from nnspec.engines.cells import quadratic as qp
from nnspec.engines.cells.loss import CUT, FAILED, SOLVED
from nnspec.engines.cells.normal import REACH, ROUNDING, Normal
from nnspec.engines.cells.quadratic import LEAF_RIDGE, absorb, constrained, increment
from nnspec.engines.compiled import body

RIDGE = 1e-9
"""Square root of the ridge that keeps the triangular factor regular; the bound pays RIDGE^2 reach^2 for it."""

class Squares(NamedTuple):
    """sum r_i^2; multiplicities are in the rows."""

    power: float = 2.0


class SquaredBound(NamedTuple):
    loss: Squares
    lower: np.ndarray  # (n + 1, P, P)
    q: np.ndarray  # (n + 1, P)
    rss: np.ndarray  # (n + 1,)
    margins: np.ndarray  # (2,): a + b sqrt(value)
    reach: float
    theta: np.ndarray
    centre: np.ndarray
    z: np.ndarray
    row: np.ndarray
    work_lower: np.ndarray
    work_q: np.ndarray
    multipliers: np.ndarray
    active: np.ndarray


def loss_of(normal: Normal, index: np.ndarray) -> Squares:
    return Squares()


def bound_of(normal: Normal, index: np.ndarray, neurons: int, inequalities: int) -> SquaredBound:
    n, size = len(index), neurons * normal.box.shape[3] + 1
    row = np.sqrt(float(np.max(np.sum(normal.features**2, axis=2).max(axis=0)) * neurons) + 1.0)
    backward = ROUNDING * row * np.sqrt(normal.samples * size) * REACH
    margins = np.array([RIDGE**2 * REACH**2 + backward**2, 2 * backward])
    return SquaredBound(
        Squares(), np.zeros((n + 1, size, size)), np.zeros((n + 1, size)), np.zeros(n + 1), margins, REACH,
        np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size), np.zeros((size, size)), np.zeros(size),
        np.zeros(size + 1), np.zeros(size + 1, dtype=np.int64),
    )  # fmt: skip


@body(ls.sample_loss, Squares)
def _sample_loss(loss: Squares, i: int, residual: float) -> float:
    return residual * residual


@body(ls.join, Squares)
def _join(loss: Squares, a: float, b: float) -> float:
    return a + b


@body(ls.needed, Squares)
def _needed(loss: Squares, cutoff: float, rest: float) -> float:
    return cutoff - rest


@body(ls.weight, Squares)
def _weight(loss: Squares, i: int, residual: float, top: float) -> float:
    return 1.0


@body(ls.margin, SquaredBound)
def _margin(bound: SquaredBound, value: float) -> float:
    return bound.margins[0] + bound.margins[1] * np.sqrt(max(value, 0.0))


@body(ls.begin, SquaredBound)
def _begin(bound: SquaredBound) -> None:
    bound.lower[0] = 0.0
    for j in range(bound.theta.shape[0]):
        bound.lower[0, j, j] = RIDGE
    bound.q[0] = 0.0
    bound.rss[0] = 0.0


@body(ls.child, SquaredBound)
def _child(bound: SquaredBound, t: int, i: int, row: np.ndarray, y: float) -> tuple[float, float]:
    value = bound.rss[t] + increment(bound.lower[t], bound.q[t], row, y, bound.z)
    return value, value


@body(ls.enter, SquaredBound)
def _enter(bound: SquaredBound, t: int, i: int, row: np.ndarray, y: float, limit: float) -> float:
    size = row.shape[0]
    for a in range(size):
        for b in range(a + 1):
            bound.lower[t + 1, a, b] = bound.lower[t, a, b]
        bound.q[t + 1, a] = bound.q[t, a]
    left = absorb(bound.lower[t + 1], bound.q[t + 1], row, y)
    bound.rss[t + 1] = bound.rss[t] + left * left
    return bound.rss[t + 1]


@body(ls.inner, SquaredBound)
def _inner(bound: SquaredBound, t: int, rows: np.ndarray, rhs: np.ndarray, m: int, limit: float, leaf: bool
           ) -> tuple[int, float]:  # fmt: skip
    size = bound.theta.shape[0]
    bound.centre[:] = 0.0
    status, value = FAILED, -np.inf
    for _ in range(3):
        bound.work_lower[:, :] = bound.lower[t]
        bound.work_q[:] = bound.q[t]
        base = bound.rss[t]
        for j in range(size):
            bound.row[:] = 0.0
            bound.row[j] = LEAF_RIDGE
            left = absorb(bound.work_lower, bound.work_q, bound.row, LEAF_RIDGE * bound.centre[j])
            base += left * left
        result, value, _ = constrained(bound.work_lower, bound.work_q, base, rows, rhs, m, limit, bound.theta,
                                       20 * size + 200, bound.multipliers, bound.active)  # fmt: skip
        away = 0.0
        for j in range(size):
            away += (bound.theta[j] - bound.centre[j]) ** 2
        value -= 4 * LEAF_RIDGE**2 * np.sqrt(away) * bound.reach
        if result == qp.CUT and value >= limit:
            return CUT, value
        status = SOLVED if result == qp.SOLVED else FAILED
        if not leaf or (result != qp.SOLVED and result != qp.CUT) or value >= limit:
            break
        # a second round about the solution makes the price of the ridge vanish
        bound.centre[:] = bound.theta
    return status, value
