"""Piecewise-linear losses: the dual linear program of one pattern by a bounded simplex method (numba).

minimise over z  sum_i max(lo_i r_i, hi_i r_i),  r = y - A z,  lo_i <= 0 <= hi_i,

whose dual is  maximise y'u  subject to  A'u = 0,  lo <= u <= hi. An absolute value has (lo, hi) = (-1, 1), a pinball
loss (q - 1, q), a hinge (0, 1), a constraint a.z >= y (0, inf): the rows of `interior` with kappa = 0. Every dual
feasible u is a lower bound, and stays one when rows are added with u = 0: a child starts from its parent's basis and
needs a few pivots. Of its parent's inequalities those that are basic are kept; they hold for the child as well.

The bound that is reported is that of `interior` for the final u, so it does not rest on what rounding did to the
pivots. Rows 0..P-1 are artificial, ANCHOR * |z_j|, and make the first basis.

State: `basic[j]` is the row that is basic in column j, `inverse` the inverse of the basic rows' matrix, u all rows'
multipliers, theta the solution of the basic rows.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnspec.engines.cells.interior import certified
from nnspec.engines.compiled import bare

ANCHOR = 1e-13
"""Weight of the artificial rows; they cost the bound ANCHOR * sum of the reach at most."""

TOLERANCE = 1e-10
"""Residual, in normalised data, that counts as zero when a row's multiplier is checked against its sign."""


class Simplex(NamedTuple):
    """One state per depth, t samples: multipliers u of the rows that stay, `basic` rows (-1 - q: kept[q]), the kept
    inequalities with their multipliers, the inverse. `work_` and the rest: room for one problem."""

    u: np.ndarray
    basic: np.ndarray
    kept: np.ndarray
    kept_u: np.ndarray
    count: np.ndarray
    inverse: np.ndarray
    work_u: np.ndarray
    is_basic: np.ndarray
    residual: np.ndarray
    delta: np.ndarray
    zeros: np.ndarray
    lower: np.ndarray
    blocks: np.ndarray
    g: np.ndarray


def simplex(size: int, samples: int, stay: int, most: int) -> Simplex:
    """`stay` of the `most` rows are artificial ones, boxes and samples."""
    n, z = samples + 1, np.zeros
    state = Simplex(z((n, stay)), z((n, size), dtype=np.int64), z((n, size, size)), z((n, size)), z(n, dtype=np.int64),
                    z((n, size, size)), z(most), z(most, dtype=np.bool_), z(most), z(size), z(size), z((size, size)),
                    z((0, 1, size)), z((0, 1)))  # fmt: skip
    state.basic[0] = np.arange(size)
    state.inverse[0] = np.eye(size)
    return state


@bare
def solve(a: np.ndarray, y: np.ndarray, lo: np.ndarray, hi: np.ndarray, m: int, basic: np.ndarray, is_basic: np.ndarray,
          inverse: np.ndarray, u: np.ndarray, theta: np.ndarray, residual: np.ndarray, delta: np.ndarray, cutoff: float,
          pivots: int) -> bool:  # fmt: skip
    """Maximise the dual over rows 0..m-1 from the given basis; whether it is optimal.

    Stops early, with False, once the value reaches the cut-off. Column j of the inverse belongs to row basic[j].
    """
    size = theta.shape[0]
    for _ in range(pivots):
        # primal solution of the basic rows
        for i in range(size):
            value = 0.0
            for j in range(size):
                value += inverse[i, j] * y[basic[j]]
            theta[i] = value
        total = 0.0
        worst = TOLERANCE
        entering = -1
        for i in range(m):
            total += y[i] * u[i]
            if is_basic[i]:
                continue
            r = y[i]
            for j in range(size):
                r -= a[i, j] * theta[j]
            residual[i] = r
            if r > worst and u[i] < hi[i]:
                worst = r
                entering = i
            elif -r > worst and u[i] > lo[i]:
                worst = -r
                entering = i
        if total >= cutoff:
            return False
        if entering < 0:
            return True
        direction = 1.0 if residual[entering] > 0 else -1.0
        # basic multipliers move by -step * delta
        for j in range(size):
            value = 0.0
            for i in range(size):
                value += a[entering, i] * inverse[i, j]
            delta[j] = direction * value
        step = hi[entering] - u[entering] if direction > 0 else u[entering] - lo[entering]
        leaving = -1
        best = 0.0
        for j in range(size):
            b = basic[j]
            if delta[j] > 1e-11:
                t = max(0.0, (u[b] - lo[b]) / delta[j])
            elif delta[j] < -1e-11:
                t = max(0.0, (u[b] - hi[b]) / delta[j])
            else:
                continue
            if t < step - 1e-14 or (t <= step and abs(delta[j]) > best):
                step = min(t, step)
                leaving = j
                best = abs(delta[j])
        if step == np.inf:  # no z has all of these rows: further on the bound grows as long as the reach of z allows
            if cutoff == np.inf:
                return False
            step = 2.0 * (cutoff - total) / worst
            for j in range(size):
                u[basic[j]] -= step * delta[j]
            u[entering] += direction * step
            continue
        for j in range(size):
            u[basic[j]] -= step * delta[j]
        u[entering] += direction * step
        if leaving < 0:
            u[entering] = hi[entering] if direction > 0 else lo[entering]
            continue
        out = basic[leaving]
        u[out] = lo[out] if delta[leaving] > 0 else hi[out]
        is_basic[out] = False
        is_basic[entering] = True
        basic[leaving] = entering
        # inverse of the matrix with row `leaving` replaced
        pivot = direction * delta[leaving]
        for i in range(size):
            inverse[i, leaving] /= pivot
        for j in range(size):
            if j == leaving:
                continue
            factor = direction * delta[j]
            for i in range(size):
                inverse[i, j] -= factor * inverse[i, leaving]
    return False


@bare
def inherit(t: int, end: int, new: int, s: Simplex) -> None:
    """State t + 1 is state t, whose rows that stay end at `end`, with `new` more."""
    size = s.inverse.shape[1]
    for i in range(end):
        s.u[t + 1, i] = s.u[t, i]
    for i in range(end, end + new):
        s.u[t + 1, i] = 0.0
    s.count[t + 1] = s.count[t]
    for j in range(size):
        s.basic[t + 1, j] = s.basic[t, j]
        for i in range(size):
            s.inverse[t + 1, j, i] = s.inverse[t, j, i]
    for q in range(s.count[t]):
        s.kept_u[t + 1, q] = s.kept_u[t, q]
        for j in range(size):
            s.kept[t + 1, q, j] = s.kept[t, q, j]


@bare
def put_kept(t: int, m: int, s: Simplex, a: np.ndarray, y: np.ndarray, lo: np.ndarray, hi: np.ndarray,
             kappa: np.ndarray) -> int:  # fmt: skip
    """Append the inequalities that state t keeps to the rows from m on; the number of rows then."""
    for q in range(s.count[t]):
        for j in range(a.shape[1]):
            a[m, j] = s.kept[t, q, j]
        y[m] = 0.0
        lo[m] = 0.0
        hi[m] = np.inf
        kappa[m] = 0.0
        m += 1
    return m


@bare
def pivoted(t: int, end: int, m: int, a: np.ndarray, y: np.ndarray, lo: np.ndarray, hi: np.ndarray, kappa: np.ndarray,
            reach: np.ndarray, cutoff: float, z: np.ndarray, s: Simplex) -> tuple[bool, float]:  # fmt: skip
    """(whether optimal, bound): rows 0..m-1 from state t, which becomes that of the result. The rows that stay end at
    `end`; then come those that `put_kept` puts there, then further inequalities. z is the last solution."""
    size = a.shape[1]
    basic, u = s.basic[t], s.work_u
    for i in range(m):
        u[i] = s.u[t, i] if i < end else 0.0
        s.is_basic[i] = False
    for q in range(s.count[t]):
        u[end + q] = s.kept_u[t, q]
    for j in range(size):
        if basic[j] < 0:
            basic[j] = end - 1 - basic[j]
        s.is_basic[basic[j]] = True
    # a little further than the cut-off, so that the bound passes it as well
    optimal = solve(a, y, lo, hi, m, basic, s.is_basic, s.inverse[t], u, z, s.residual, s.delta,
                    cutoff + 1e-9 * (1.0 + abs(cutoff)), 100 * size + 400)  # fmt: skip
    count = 0
    for j in range(size):
        b = basic[j]
        if b >= end:
            for i in range(size):
                s.kept[t, count, i] = a[b, i]
            s.kept_u[t, count] = u[b]
            basic[j] = -1 - count
            count += 1
    s.count[t] = count
    for i in range(end):
        s.u[t, i] = u[i]
    for i in range(m):
        u[i] = min(max(u[i], lo[i]), hi[i])
    bound = certified(size, s.lower, s.zeros, 0.0, a[size:], y[size:], kappa[size:], m - size, s.blocks, z, u[size:],
                      s.g, reach, s.delta)  # fmt: skip
    return optimal, bound
