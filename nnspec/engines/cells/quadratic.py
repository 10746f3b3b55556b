"""Least squares under linear inequalities: the dual active-set method of Goldfarb and Idnani (1983), in numba.

minimise  rss + |L' theta - q|^2   subject to  G theta >= h,        L lower triangular, positive diagonal.

The method starts at the unconstrained minimum and adds violated rows one at a time. Its iterates are dual feasible, so
the objective only grows and each value is a valid lower bound: the search stops as soon as it passes the cut-off.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnspec.engines.compiled import bare

SOLVED, CUT, INFEASIBLE, FAILED = 0, 1, 2, 3
VIOLATION = 1e-11
"""Violation of a row (of unit size, in normalised data) that counts as none. The incumbent's loss is recomputed from
the network itself, so this is no source of optimism: a violated sign costs at most its own size in the loss."""


LEAF_RIDGE = 1e-7
"""Root of the ridge in constrained problems, where the factor is inverted; centred at theta0 it costs the bound
2 LEAF_RIDGE^2 |theta - theta0| 2 reach."""
REGULAR = 1e12
"""Square of the size of an inverse that needs no ridge: an inverse with it may be as large as 1 / LEAF_RIDGE."""


class ActiveSet(NamedTuple):
    """Room for `bounded` in problems of P unknowns and `most` rows: see `active_set`."""

    lower: np.ndarray
    q: np.ndarray
    inverse: np.ndarray
    triangle: np.ndarray
    d: np.ndarray
    z: np.ndarray
    r: np.ndarray
    centre: np.ndarray
    row: np.ndarray
    multipliers: np.ndarray
    active: np.ndarray
    is_active: np.ndarray


def active_set(size: int, most: int) -> ActiveSet:
    """Room of that size."""
    return ActiveSet(
        np.zeros((size, size)), np.zeros(size), np.zeros((size, size)), np.zeros((size, size)), np.zeros(size),
        np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size + 1),
        np.zeros(size + 1, dtype=np.int64), np.zeros(most, dtype=np.bool_),
    )  # fmt: skip


@bare
def absorb(lower: np.ndarray, q: np.ndarray, row: np.ndarray, target: float) -> float:
    """Add a row to the triangular factor by Givens rotations, in place; returns what is left of the target.

    `row` is destroyed. The residual sum of squares grows by the square of the result.
    """
    n = q.shape[0]
    for j in range(n):
        x = row[j]
        if x == 0.0:
            continue
        a = lower[j, j]
        h = np.sqrt(a * a + x * x)
        c = a / h
        s = x / h
        lower[j, j] = h
        for i in range(j + 1, n):
            u = lower[i, j]
            v = row[i]
            lower[i, j] = c * u + s * v
            row[i] = c * v - s * u
        u = q[j]
        q[j] = c * u + s * target
        target = c * target - s * u
    return target


@bare
def back_substitute(lower: np.ndarray, q: np.ndarray, theta: np.ndarray) -> None:
    """theta with L' theta = q."""
    n = q.shape[0]
    for j in range(n - 1, -1, -1):
        value = q[j]
        for i in range(j + 1, n):
            value -= lower[i, j] * theta[i]
        theta[j] = value / lower[j, j]


@bare
def invert(lower: np.ndarray, inverse: np.ndarray) -> float:
    """L^-1 by columns: inverse[c] is what e_c becomes, zeros before c. The square of its Frobenius norm."""
    n = lower.shape[0]
    norm = 0.0
    for c in range(n):
        for a in range(c, n):
            value = 1.0 if a == c else 0.0
            for j in range(c, a):
                value -= lower[a, j] * inverse[c, j]
            value /= lower[a, a]
            inverse[c, a] = value
            norm += value * value
    return norm


@bare
def constrained(rss: float, rows: np.ndarray, rhs: np.ndarray, m: int, cutoff: float, theta: np.ndarray, steps: int,
                room: ActiveSet) -> tuple[int, float]:  # fmt: skip
    """Minimise under rows[:m] theta >= rhs[:m], the inverse of L and q those in `room`. Returns (status, value).

    The value is a lower bound whatever the status; theta is the last iterate. Rows are assumed to have a size of about
    1. The inverse is destroyed.
    """
    q, j_matrix, r_matrix, d, z, r = room.q, room.inverse, room.triangle, room.d, room.z, room.r
    multipliers, active, is_active = room.multipliers, room.active, room.is_active
    n = q.shape[0]
    for i in range(n):  # the inverse of L' times q
        value = 0.0
        for j in range(i, n):
            value += j_matrix[i, j] * q[j]
        theta[i] = value
        for j in range(i):
            j_matrix[i, j] = 0.0
    count = 0
    value = rss
    for i in range(m):
        is_active[i] = False
    for _ in range(steps):
        worst = -VIOLATION
        p = -1
        for i in range(m):
            if is_active[i]:
                continue
            s = -rhs[i]
            for j in range(n):
                s += rows[i, j] * theta[j]
            if s < worst:
                worst = s
                p = i
        if p < 0:
            return SOLVED, value
        slack = worst
        dual = 0.0
        while True:
            for j in range(n):
                t = 0.0
                for i in range(n):
                    t += j_matrix[i, j] * rows[p, i]
                d[j] = t
            size = 0.0
            for j in range(count, n):
                size += d[j] * d[j]
            total = size
            for j in range(count):
                total += d[j] * d[j]
            for i in range(n):
                t = 0.0
                for j in range(count, n):
                    t += j_matrix[i, j] * d[j]
                z[i] = t
            for i in range(count - 1, -1, -1):
                t = d[i]
                for j in range(i + 1, count):
                    t -= r_matrix[i, j] * r[j]
                r[i] = t / r_matrix[i, i]
            blocking = -1
            t1 = np.inf
            for i in range(count):
                if r[i] > 1e-14 and multipliers[i] / r[i] < t1:
                    t1 = multipliers[i] / r[i]
                    blocking = i
            t2 = -slack / size if size > 1e-20 * total else np.inf
            if t1 == np.inf and t2 == np.inf:
                return INFEASIBLE, np.inf
            step = min(t1, t2)
            for i in range(count):
                multipliers[i] -= step * r[i]
            if t2 != np.inf:
                for i in range(n):
                    theta[i] += step * z[i]
                value += 2.0 * step * size * (0.5 * step + dual)
            dual += step
            if value >= cutoff:
                return CUT, value
            if t2 <= t1:  # the row becomes active
                for j in range(n - 1, count, -1):
                    a = d[j - 1]
                    b = d[j]
                    if b * b == 0.0:  # nothing to rotate; h would be 0 if a were as small
                        continue
                    h = np.sqrt(a * a + b * b)
                    c = a / h
                    s = b / h
                    d[j - 1] = h
                    d[j] = 0.0
                    for i in range(n):
                        u = j_matrix[i, j - 1]
                        v = j_matrix[i, j]
                        j_matrix[i, j - 1] = c * u + s * v
                        j_matrix[i, j] = c * v - s * u
                for i in range(count + 1):
                    r_matrix[i, count] = d[i]
                multipliers[count] = dual
                active[count] = p
                is_active[p] = True
                count += 1
                break
            is_active[active[blocking]] = False  # a row leaves
            for i in range(blocking, count - 1):
                active[i] = active[i + 1]
                multipliers[i] = multipliers[i + 1]
                for k in range(i + 2):
                    r_matrix[k, i] = r_matrix[k, i + 1]
            count -= 1
            for i in range(blocking, count):
                a = r_matrix[i, i]
                b = r_matrix[i + 1, i]
                h = np.sqrt(a * a + b * b)
                if h == 0.0:
                    continue
                c = a / h
                s = b / h
                r_matrix[i, i] = h
                r_matrix[i + 1, i] = 0.0
                for k in range(i + 1, count):
                    u = r_matrix[i, k]
                    v = r_matrix[i + 1, k]
                    r_matrix[i, k] = c * u + s * v
                    r_matrix[i + 1, k] = c * v - s * u
                for k in range(n):
                    u = j_matrix[k, i]
                    v = j_matrix[k, i + 1]
                    j_matrix[k, i] = c * u + s * v
                    j_matrix[k, i + 1] = c * v - s * u
            slack = -rhs[p]
            for j in range(n):
                slack += rows[p, j] * theta[j]
            if slack >= 0.0:  # rounding has eaten the violation: the multipliers no longer certify the next values
                return FAILED, value
    return FAILED, value


@bare
def bounded(lower: np.ndarray, inverse: np.ndarray, norm: float, q: np.ndarray, rss: float, rows: np.ndarray,
            rhs: np.ndarray, m: int, reach: float, cutoff: float, exact: bool, z: np.ndarray, room: ActiveSet
            ) -> tuple[int, float]:  # fmt: skip
    """A lower bound of rss + |L'z' - q|^2 under rows[:m] z' >= rhs[:m], |z'| <= reach, and the z where it is taken:

        rss + |L'z' - q|^2 >= bound + |L'(z' - z)|^2,

    since the iterates of the method are minimisers under some of the inequalities as equations with multipliers of the
    right sign. `inverse` and `norm`: see `invert`. If L is singular up to rounding, a ridge about 0 is added, for which
    the bound pays. With `exact` it is added once more about the first solution, which costs next to nothing (`z`
    belongs to the last one).
    """
    size = q.shape[0]
    steps = 20 * size + 200
    if norm <= REGULAR:
        for i in range(size):
            room.q[i] = q[i]
            for j in range(i, size):
                room.inverse[i, j] = inverse[i, j]
        return constrained(rss, rows, rhs, m, cutoff, z, steps, room)
    centre, row = room.centre, room.row
    for j in range(size):
        centre[j] = 0.0
    best = -np.inf
    status = FAILED
    for _ in range(2 if exact else 1):
        for j in range(size):
            room.q[j] = q[j]
            for k in range(j + 1):
                room.lower[j, k] = lower[j, k]
        base = rss
        for j in range(size):
            for k in range(size):
                row[k] = 0.0
            row[j] = LEAF_RIDGE
            left = absorb(room.lower, room.q, row, LEAF_RIDGE * centre[j])
            base += left * left
        invert(room.lower, room.inverse)
        status, value = constrained(base, rows, rhs, m, cutoff, z, steps, room)
        away = 0.0
        for j in range(size):
            away += (z[j] - centre[j]) ** 2
        best = max(best, value - 4.0 * LEAF_RIDGE**2 * np.sqrt(away) * reach)
        if status != SOLVED or best >= cutoff:
            break
        for j in range(size):
            centre[j] = z[j]
    return status, best
