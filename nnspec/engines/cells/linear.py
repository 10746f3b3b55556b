"""Piecewise-linear losses: the dual linear program of one pattern by a bounded simplex method (numba).

minimise  sum_i max(lo_i r_i, hi_i r_i),  r = y - A theta,  lo_i <= 0 <= hi_i,

whose dual is  maximise y'u  subject to  A'u = 0,  lo <= u <= hi. An absolute value has (lo, hi) = (-1, 1), a pinball
loss (q - 1, q), a hinge max(0, M - s o) the row s o, y = M and (0, 1), a constraint g.theta >= h the row g, y = h
and (0, inf). Every dual feasible u is a lower bound; a sample added with u = 0 keeps it feasible, so a child starts
from
its parent's basis and needs a few pivots only. Artificial rows ANCHOR * |theta_j| make the first basis: they can raise
the
value by ANCHOR * |theta|_1 at most, which is part of the rounding margin.

State: `basis[j]` is the row that is basic in column j, `inverse` the inverse of the basic rows' matrix, u all rows'
multipliers, theta the solution of the basic rows. Rows 0..P-1 are the artificial ones.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
from __future__ import annotations

import numpy as np

from nnspec.engines.compiled import compiled

ANCHOR = 1e-13
"""Weight of the artificial rows; its price is ANCHOR * sqrt(P) * reach."""

TOLERANCE = 1e-10
"""Residual, in normalised data, that counts as zero when a row's multiplier is checked against its sign."""


@compiled
def solve(a: np.ndarray, y: np.ndarray, lo: np.ndarray, hi: np.ndarray, m: int, basis: np.ndarray, is_basic: np.ndarray,
          inverse: np.ndarray, u: np.ndarray, theta: np.ndarray, residual: np.ndarray, cutoff: float, pivots: int
          ) -> tuple[bool, float]:  # fmt: skip
    """Maximise the dual over rows 0..m-1 from the given basis; (whether optimal, value).

    Stops early, with False, once the value reaches the cut-off. Column j of the inverse belongs to row basis[j].
    """
    size = theta.shape[0]
    delta = np.zeros(size)
    for _ in range(pivots):
        # primal solution of the basic rows
        for i in range(size):
            value = 0.0
            for j in range(size):
                value += inverse[i, j] * y[basis[j]]
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
            return False, total
        if entering < 0:
            return True, total
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
            b = basis[j]
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
        if step == np.inf:
            return False, np.inf
        for j in range(size):
            u[basis[j]] -= step * delta[j]
        u[entering] += direction * step
        if leaving < 0:
            u[entering] = hi[entering] if direction > 0 else lo[entering]
            continue
        out = basis[leaving]
        u[out] = lo[out] if delta[leaving] > 0 else hi[out]
        is_basic[out] = False
        is_basic[entering] = True
        basis[leaving] = entering
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
    total = 0.0
    for i in range(m):
        total += y[i] * u[i]
    return False, total
