"""The shortest point of a polyhedron, or a proof that it is empty within a reach (numba).

    minimise |z|^2   subject to   rows z >= rhs:   the dual active-set method of Goldfarb and Idnani (1983, see
    `quadratic`) for an identity as its matrix.

Its state (active rows, their multipliers u >= 0, an orthonormal basis of them) stays dual feasible when rows are added,
so a child in a search goes on where its parent ended. A point that respects the new rows already costs nothing.

*Emptiness.* For every u >= 0 and every z with rows z >= rhs:  (rows'u).z >= u.rhs.  So there is no such z with
|z_j| <= reach_j if  u.rhs > sum_j |rows'u|_j reach_j,  whatever way u was found. The inequality is checked with the
rounding of both sides: sums of k products lose less than (k + 2) 1.2e-16 of the sum of their absolute values. At an
optimum u.rhs = |z|^2 and rows'u = z, so the test succeeds once |z| exceeds the length of the reach; it succeeds for the
multipliers of linearly dependent rows that contradict each other, too.

*Two right-hand sides.* The point is looked for with `target`, a little more than `rhs`, so that rounding cannot take
away what it satisfies; emptiness is proven for `rhs`. What lies between is UNSURE.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnspec.engines.compiled import compiled

FOUND, EMPTY, UNSURE = 0, 1, 2

SLACK = 1e-6
"""How much larger than its right-hand side a row's target is, relative to it: far above the rounding of outputs
(1e-12 of the margin for the largest weights allowed)."""

VIOLATION = 1e-11
"""Violation of a row of about unit size whose target is no larger than its right-hand side that counts as none."""


class Point(NamedTuple):
    """The state: z (1, P), the number of active rows count (1,), their ids, multipliers, basis (P, P) and triangle
    (P, P): active row a = sum over j <= a of triangle[j, a] basis[j]."""

    z: np.ndarray
    count: np.ndarray
    active: np.ndarray
    u: np.ndarray
    basis: np.ndarray
    triangle: np.ndarray


@compiled
def begin(size: int) -> Point:
    """The origin, for no rows."""
    return Point(np.zeros(size), np.zeros(1, dtype=np.int64), np.zeros(size + 1, dtype=np.int64), np.zeros(size + 1),
                 np.zeros((size, size)), np.zeros((size, size)))  # fmt: skip


@compiled
def copy_point(source: Point, to: Point) -> None:
    k = source.count[0]
    to.z[:] = source.z
    to.count[0] = k
    to.active[:k] = source.active[:k]
    to.u[:k] = source.u[:k]
    to.basis[:k] = source.basis[:k]
    to.triangle[:k, :k] = source.triangle[:k, :k]


@compiled
def proves_empty(rows: np.ndarray, rhs: np.ndarray, reach: np.ndarray, ids: np.ndarray, u: np.ndarray, count: int,
                 work: np.ndarray) -> bool:  # fmt: skip
    """The test of the module's docstring for the multipliers u[:count] >= 0 of the rows ids[:count]."""
    size = rows.shape[1]
    rounding = 1.2e-16 * (count + size + 4)
    gain = 0.0
    total = 0.0
    loss = 0.0
    work[:size] = 0.0
    for a in range(count):
        value = u[a] * rhs[ids[a]]
        gain += value
        total += abs(value)
        for j in range(size):
            value = u[a] * rows[ids[a], j]
            work[j] += value
            loss += abs(value) * reach[j]
    loss *= rounding
    for j in range(size):
        loss += abs(work[j]) * reach[j]
    return gain - rounding * total > loss * (1.0 + rounding)


@compiled
def orthogonalise(rows: np.ndarray, at: int, point: Point) -> None:
    """Basis and triangle of active row `at` from those before it."""
    size = rows.shape[1]
    v = point.basis[at]
    v[:] = rows[point.active[at]]
    point.triangle[: at + 1, at] = 0.0
    for _ in range(2):
        for a in range(at):
            value = 0.0
            for j in range(size):
                value += point.basis[a, j] * v[j]
            point.triangle[a, at] += value
            for j in range(size):
                v[j] -= value * point.basis[a, j]
    norm = 0.0
    for j in range(size):
        norm += v[j] * v[j]
    norm = max(np.sqrt(norm), 1e-300)
    point.triangle[at, at] = norm
    for j in range(size):
        v[j] /= norm


@compiled
def approach(rows: np.ndarray, rhs: np.ndarray, target: np.ndarray, reach: np.ndarray, ids: np.ndarray, m: int,
             point: Point, work: np.ndarray) -> int:  # fmt: skip
    """Move `point`, the shortest one for some of the rows ids[:m], to the shortest for all of them.

    FOUND; EMPTY if that is proven; UNSURE leaves a point that is of no use. work: at least 4 P + 4 numbers.
    """
    size = rows.shape[1]
    limit = 0.0
    for j in range(size):
        limit += reach[j] * reach[j]
    limit *= 1.0 + 1e-6
    v = work[:size]
    d = work[size : 2 * size + 1]
    r = work[2 * size + 1 : 3 * size + 2]
    spare = work[3 * size + 2 :]
    z, active, u, basis, triangle = point.z, point.active, point.u, point.basis, point.triangle
    for _ in range(50 + 10 * size):
        worst = 0.0
        p = -1
        for a in range(m):
            i = ids[a]
            value = -target[i]
            for j in range(size):
                value += rows[i, j] * z[j]
            value += max(0.5 * (target[i] - rhs[i]), VIOLATION)
            if value < worst:
                worst = value
                p = i
        if p < 0:
            return FOUND
        slack = -target[p]
        total = 0.0
        for j in range(size):
            slack += rows[p, j] * z[j]
            total += rows[p, j] * rows[p, j]
        dual = 0.0
        while True:
            k = point.count[0]
            v[:] = rows[p]
            d[:k] = 0.0
            for _ in range(2):
                for a in range(k):
                    value = 0.0
                    for j in range(size):
                        value += basis[a, j] * v[j]
                    d[a] += value
                    for j in range(size):
                        v[j] -= value * basis[a, j]
            norm = 0.0
            for j in range(size):
                norm += v[j] * v[j]
            for a in range(k - 1, -1, -1):
                value = d[a]
                for b in range(a + 1, k):
                    value -= triangle[a, b] * r[b]
                r[a] = value / triangle[a, a]
            blocking = -1
            t1 = np.inf
            for a in range(k):
                if r[a] > 1e-14 and u[a] < t1 * r[a]:
                    t1 = u[a] / r[a]
                    blocking = a
            t2 = -slack / norm if norm > 1e-24 * total and k < size else np.inf
            if t1 == np.inf and t2 == np.inf:  # a combination of rows that contradict each other
                for a in range(k):
                    u[a] = max(-r[a], 0.0)
                active[k] = p
                u[k] = 1.0
                return EMPTY if proves_empty(rows, rhs, reach, active, u, k + 1, spare) else UNSURE
            step = min(t1, t2)
            for a in range(k):
                u[a] = max(u[a] - step * r[a], 0.0)
            dual += step
            if t2 < np.inf:
                for j in range(size):
                    z[j] += step * v[j]
            if t2 <= t1:  # the row becomes active
                norm = np.sqrt(norm)
                triangle[:k, k] = d[:k]
                triangle[k, k] = norm
                for j in range(size):
                    basis[k, j] = v[j] / norm
                active[k] = p
                u[k] = dual
                point.count[0] = k + 1
                length = 0.0
                for j in range(size):
                    length += z[j] * z[j]
                if length > limit:
                    return EMPTY if proves_empty(rows, rhs, reach, active, u, k + 1, spare) else UNSURE
                break
            for a in range(blocking, k - 1):  # a row leaves
                active[a] = active[a + 1]
                u[a] = u[a + 1]
            point.count[0] = k - 1
            for a in range(blocking, k - 1):
                orthogonalise(rows, a, point)
            slack = -target[p]
            for j in range(size):
                slack += rows[p, j] * z[j]
            slack = min(slack, 0.0)  # both steps were equally long but for rounding: the row becomes active at once
    return UNSURE
