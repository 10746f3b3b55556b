"""Extended linear-quadratic programs with norms: a primal-dual interior-point method with proven bounds (numba).

    minimise over z   rss + |L'z - q|^2 + sum_i rho_i(y_i - a_i.z) + sum_b nu_b |B_b z|,
    rho_i(r) = max over lo_i <= u <= hi_i of  u r - kappa_i u^2 / 2.

With the right (lo, hi, kappa) a row is (Rockafellar 1987): a square (-inf, inf, 1/2), an absolute value (-1, 1, 0), a
Huber loss (-delta, delta, 1), a hinge (0, 1, 0) or squared hinge (0, inf, 1/2) of its residual, or the constraint
a_i.z >= y_i (0, inf, 0). Squares without bounds may sit in the triangular factor L instead.

*Bound.* For every u within its bounds, every |g_b| <= nu_b and every z, with e = L'z - q, convexity gives

    objective(z') >= rss - |e|^2 - 2 e.q + sum_i (u_i y_i - kappa_i u_i^2 / 2) + w.z',   w = 2 L e - A'u + sum B_b'g_b,

for all z', so that w.z' >= -sum_j |w_j| reach_j. Whatever the iteration does, this number is a lower bound over
|z'_j| <= reach_j: it needs no convergence and no feasibility. After a full step w has the size of rounding errors.
It is computed from the final u, g and z by one pass, whose rounding errors are bounded term by term and subtracted. (e
need not be exact: |L'z' - q|^2 >= 2 e.(L'z' - q) - |e|^2 for every e.)

*Method.* Mehrotra's predictor-corrector (1992) on u_i in (lo_i, hi_i) with multipliers s, and on |g_b|^2 < nu_b^2 with
multipliers t_b: B_b z = 2 t_b g_b, t_b (nu_b^2 - |g_b|^2) = tau. Rows and norms are eliminated: a step is a Cholesky
factorisation of the size of z.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
from __future__ import annotations

import numpy as np

from nnspec.engines.compiled import bare, linked

CUT, KEPT, SOLVED, STUCK = 0, 1, 2, 3

UNIT = 1.2e-16
"""A little more than the unit roundoff 2^-53. A sum of K products is computed to K UNIT of the sum of their absolute
values (Higham 2002, section 3.1)."""

WIDE = 100.0
"""Multipliers with more room than this begin near 0, others in the middle of it."""

STEPS = 80
"""Iterations; ten to twenty are usual."""


@bare
def factorise(a: np.ndarray, n: int) -> bool:
    """Cholesky factor in the lower triangle, in place. Pivots that rounding made nonpositive are replaced."""
    top = 0.0
    for j in range(n):
        top = max(top, a[j, j])
    if not (top > 0.0 and top < np.inf):
        return False
    for j in range(n):
        pivot = a[j, j]
        for k in range(j):
            pivot -= a[j, k] * a[j, k]
        if not pivot > 1e-15 * top:
            pivot = 1e-9 * top if pivot > -1e-9 * top else np.nan
        if not pivot > 0.0:
            return False
        root = np.sqrt(pivot)
        a[j, j] = root
        for i in range(j + 1, n):
            value = a[i, j]
            for k in range(j):
                value -= a[i, k] * a[j, k]
            a[i, j] = value / root
    return True


@bare
def substitute(a: np.ndarray, n: int, x: np.ndarray) -> None:
    """Solve with the factor, in place."""
    for j in range(n):
        value = x[j]
        for i in range(j):
            value -= a[j, i] * x[i]
        x[j] = value / a[j, j]
    for j in range(n - 1, -1, -1):
        value = x[j]
        for i in range(j + 1, n):
            value -= a[i, j] * x[i]
        x[j] = value / a[j, j]


@bare
def row_value(r: float, lo: float, hi: float, kappa: float) -> float:
    """rho(r): the loss of a row."""
    if r > 0.0:
        if kappa > 0.0 and r <= kappa * hi:
            return 0.5 * r * r / kappa
        return hi * r - 0.5 * kappa * hi * hi if hi < np.inf else np.inf
    if r < 0.0:
        if kappa > 0.0 and r >= kappa * lo:
            return 0.5 * r * r / kappa
        return lo * r - 0.5 * kappa * lo * lo if lo > -np.inf else np.inf
    return 0.0 if r == 0.0 else np.inf  # r is not a number


@bare
def certified(size: int, lower: np.ndarray, q: np.ndarray, rss: float, rows: np.ndarray, y: np.ndarray,
              kappa: np.ndarray, m: int, blocks: np.ndarray, z: np.ndarray, u: np.ndarray, g: np.ndarray,
              reach: np.ndarray, w: np.ndarray) -> float:  # fmt: skip
    """The bound of the module's docstring; u and g must be within their bounds. `w` is work space (size,)."""
    value = rss
    total = abs(rss)
    spread = 0.0  # the terms of w, times the reach of their places
    for j in range(size):
        w[j] = 0.0
    for j in range(size):
        e = -q[j]
        for i in range(j, size):
            e += lower[i, j] * z[i]
        value -= e * e + 2.0 * e * q[j]
        total += e * e + 2.0 * abs(e * q[j])
        for i in range(j, size):
            term = 2.0 * lower[i, j] * e
            w[i] += term
            spread += abs(term) * reach[i]
    for i in range(m):
        if u[i] == 0.0:
            continue
        value += u[i] * y[i] - 0.5 * kappa[i] * u[i] * u[i]
        total += abs(u[i] * y[i]) + 0.5 * kappa[i] * u[i] * u[i]
        for j in range(size):
            term = rows[i, j] * u[i]
            w[j] -= term
            spread += abs(term) * reach[j]
    for b in range(blocks.shape[0]):
        for i in range(blocks.shape[1]):
            for j in range(size):
                term = blocks[b, i, j] * g[b, i]
                w[j] += term
                spread += abs(term) * reach[j]
    for j in range(size):
        value -= abs(w[j]) * reach[j]
    terms = 3 * size + 2 * m + blocks.shape[0] * blocks.shape[1] + 8
    return value - UNIT * terms * (total + spread)


@bare
def primal(size: int, lower: np.ndarray, q: np.ndarray, rss: float, rows: np.ndarray, y: np.ndarray, lo: np.ndarray,
           hi: np.ndarray, kappa: np.ndarray, m: int, blocks: np.ndarray, nu: np.ndarray, z: np.ndarray
           ) -> tuple[float, float]:  # fmt: skip
    """(objective without constraints, largest violation of a constraint)."""
    value = rss
    worst = 0.0
    for j in range(size):
        e = -q[j]
        for i in range(j, size):
            e += lower[i, j] * z[i]
        value += e * e
    for i in range(m):
        r = y[i]
        for j in range(size):
            r -= rows[i, j] * z[j]
        if kappa[i] == 0.0 and hi[i] == np.inf:
            worst = max(worst, r)
        else:
            value += row_value(r, lo[i], hi[i], kappa[i])
    for b in range(blocks.shape[0]):
        norm = 0.0
        for i in range(blocks.shape[1]):
            t = 0.0
            for j in range(size):
                t += blocks[b, i, j] * z[j]
            norm += t * t
        value += nu[b] * np.sqrt(norm)
    return value, worst


@bare
def restore(size: int, quadratic: np.ndarray, rows: np.ndarray, lo: np.ndarray, hi: np.ndarray, m: int, z: np.ndarray,
            u: np.ndarray, w: np.ndarray, normal: np.ndarray) -> None:  # fmt: skip
    """Move z and u so that w (of the bound at them) vanishes: the least change in units of the room that u has.

    Close to the end the steps' matrix is so badly scaled that w stays at some 1e-10. `w` and `normal` are destroyed.
    """
    for i in range(size):
        for j in range(i + 1):
            normal[i, j] = quadratic[i, j]
    for i in range(m):
        room = min(min(u[i] - lo[i], hi[i] - u[i]), 1.0)
        for j in range(size):
            value = room * room * rows[i, j]
            if value != 0.0:
                for k in range(j + 1):
                    normal[j, k] += value * rows[i, k]
    if not factorise(normal, size):
        return
    substitute(normal, size, w)
    for i in range(m):
        room = min(min(u[i] - lo[i], hi[i] - u[i]), 1.0)
        move = 0.0
        for j in range(size):
            move += rows[i, j] * w[j]
        move *= room * room
        if abs(move) < 0.5 * room:
            u[i] += move
    for j in range(size):
        z[j] -= w[j]


def _signature() -> object:
    from numba import float64, int64, types

    vector, matrix, cube = float64[::1], float64[:, ::1], float64[:, :, ::1]
    return types.Tuple((int64, float64))(
        int64, matrix, vector, float64, matrix, vector, vector, vector, vector, int64, cube, vector, vector, float64,
        float64, vector, vector, matrix, vector,
    )  # fmt: skip


@linked(_signature())
def minimise(size: int, lower: np.ndarray, q: np.ndarray, rss: float, rows: np.ndarray, y: np.ndarray, lo: np.ndarray,
             hi: np.ndarray, kappa: np.ndarray, m: int, blocks: np.ndarray, nu: np.ndarray, reach: np.ndarray,
             cutoff: float, goal: float, z: np.ndarray, u: np.ndarray, g: np.ndarray, centre: np.ndarray
             ) -> tuple[int, float]:  # fmt: skip
    """(status, bound): CUT when the bound reached the cut-off, KEPT when a value below it showed that it will not
    (only with goal < 0), SOLVED when value and bound met to goal * (1 + |value|), STUCK otherwise.

    rows (>= m, size), blocks (b, p, size). z, u and g are results, of the last iterate; `centre` is the z of the
    bound: objective(z') >= bound + |L'(z' - centre)|^2, since the bound leaves the factor's second order out.
    """
    count_blocks, width = blocks.shape[0], blocks.shape[1]
    s_lo = np.zeros(m)
    s_hi = np.zeros(m)
    d_u = np.zeros(m)
    weight = np.zeros(m)
    e = np.zeros(m)
    r = np.zeros(m)
    p_lo = np.zeros(m)
    p_hi = np.zeros(m)
    i_lo = np.zeros(m)  # 1 / (u - lo)
    i_hi = np.zeros(m)
    t = np.zeros(count_blocks)
    theta = np.zeros((count_blocks, width))
    d_g = np.zeros((count_blocks, width))
    e_g = np.zeros((count_blocks, width))
    p_t = np.zeros(count_blocks)
    normal = np.zeros((size, size))
    quadratic = np.zeros((size, size))
    linear = np.zeros(size)
    step = np.zeros(size)
    work = np.zeros(size)
    best = -np.inf
    number = 0
    for i in range(size):
        for j in range(i + 1):
            value = 0.0
            for k in range(j + 1):
                value += lower[i, k] * lower[j, k]
            quadratic[i, j] = 2.0 * value
        value = 0.0
        for k in range(i + 1):
            value += lower[i, k] * q[k]
        linear[i] = 2.0 * value
        z[i] = 0.0
    for i in range(m):
        below, above = lo[i] > -np.inf, hi[i] < np.inf
        u[i] = 0.0
        if below and above:
            u[i] = 0.5 * (lo[i] + hi[i]) if hi[i] - lo[i] < WIDE else min(max(0.0, lo[i] + 0.5), hi[i] - 0.5)
            s_lo[i] = s_hi[i] = 0.5
            number += 2
        elif below:
            u[i] = lo[i] + 0.5
            s_lo[i] = 0.5
            number += 1
        elif above:
            u[i] = hi[i] - 0.5
            s_hi[i] = 0.5
            number += 1
    for b in range(count_blocks):
        for i in range(width):
            g[b, i] = 0.0
        t[b] = 0.25 / nu[b]
        number += 1
    status = STUCK
    for _ in range(STEPS):
        # residuals, weights of the rows, the matrix of the step
        for i in range(size):
            for j in range(i + 1):
                normal[i, j] = quadratic[i, j]
        mu = 0.0
        for i in range(m):
            value = y[i]
            for j in range(size):
                value -= rows[i, j] * z[j]
            r[i] = value - kappa[i] * u[i]
            scale = kappa[i]
            if s_lo[i] > 0.0:
                i_lo[i] = 1.0 / (u[i] - lo[i])
                scale += s_lo[i] * i_lo[i]
                mu += s_lo[i] * (u[i] - lo[i])
            if s_hi[i] > 0.0:
                i_hi[i] = 1.0 / (hi[i] - u[i])
                scale += s_hi[i] * i_hi[i]
                mu += s_hi[i] * (hi[i] - u[i])
            weight[i] = 1.0 / scale
            for j in range(size):
                value = weight[i] * rows[i, j]
                if value != 0.0:
                    for k in range(j + 1):
                        normal[j, k] += value * rows[i, k]
        for b in range(count_blocks):
            room = nu[b] * nu[b]
            for i in range(width):
                value = 0.0
                for j in range(size):
                    value += blocks[b, i, j] * z[j]
                theta[b, i] = value
                room -= g[b, i] * g[b, i]
            mu += t[b] * room
            # B' M^-1 B with M = 2 t (1 + 2 g g'/room), M^-1 = (1 - 2 g g'/(room + 2 g.g)) / (2 t)
            squared = nu[b] * nu[b] - room
            for j in range(size):
                work[j] = 0.0
                for i in range(width):
                    work[j] += blocks[b, i, j] * g[b, i]
            factor = 2.0 / (room + 2.0 * squared)
            for j in range(size):
                for k in range(j + 1):
                    value = -factor * work[j] * work[k]
                    for i in range(width):
                        value += blocks[b, i, j] * blocks[b, i, k]
                    normal[j, k] += value / (2.0 * t[b])
        if number > 0:
            mu /= number
        if not factorise(normal, size):
            break
        sigma = 0.0
        length = 1.0
        for phase in range(2):  # predictor, corrector
            tau = sigma * mu
            for j in range(size):
                value = linear[j]
                for k in range(j + 1):
                    value -= quadratic[j, k] * z[k]
                for k in range(j + 1, size):
                    value -= quadratic[k, j] * z[k]
                step[j] = value
            for i in range(m):
                # complementarity: c = tau - products - what the predictor's step left
                value = r[i]
                if s_lo[i] > 0.0:
                    value += (tau - p_lo[i]) * i_lo[i]
                if s_hi[i] > 0.0:
                    value -= (tau - p_hi[i]) * i_hi[i]
                e[i] = value
                value = u[i] + weight[i] * value
                for j in range(size):
                    step[j] += rows[i, j] * value
            for b in range(count_blocks):
                room = nu[b] * nu[b]
                for i in range(width):
                    room -= g[b, i] * g[b, i]
                squared = nu[b] * nu[b] - room
                c = tau - t[b] * room - p_t[b]
                inner = 0.0
                for i in range(width):
                    e_g[b, i] = theta[b, i] - 2.0 * t[b] * g[b, i] - 2.0 * g[b, i] * c / room
                    inner += g[b, i] * e_g[b, i]
                for i in range(width):
                    value = g[b, i] + (e_g[b, i] - 2.0 * g[b, i] * inner / (room + 2.0 * squared)) / (2.0 * t[b])
                    for j in range(size):
                        step[j] -= blocks[b, i, j] * value
            substitute(normal, size, step)
            # the steps of u and g, and how far they may go
            fastest = 1.0 if phase == 0 else 0.995
            after = 0.0
            for i in range(m):
                value = e[i]
                for j in range(size):
                    value -= rows[i, j] * step[j]
                d_u[i] = weight[i] * value
                if s_lo[i] > 0.0:
                    ds = (tau - p_lo[i] - s_lo[i] * d_u[i]) * i_lo[i] - s_lo[i]
                    fastest = max(fastest, -d_u[i] * i_lo[i])
                    if -ds > fastest * s_lo[i]:
                        fastest = -ds / s_lo[i]
                if s_hi[i] > 0.0:
                    ds = (tau - p_hi[i] + s_hi[i] * d_u[i]) * i_hi[i] - s_hi[i]
                    fastest = max(fastest, d_u[i] * i_hi[i])
                    if -ds > fastest * s_hi[i]:
                        fastest = -ds / s_hi[i]
            length = 1.0 / fastest
            for b in range(count_blocks):
                room = nu[b] * nu[b]
                inner = 0.0
                for i in range(width):
                    room -= g[b, i] * g[b, i]
                    value = e_g[b, i]
                    for j in range(size):
                        value += blocks[b, i, j] * step[j]
                    d_g[b, i] = value
                    inner += g[b, i] * value
                squared = nu[b] * nu[b] - room
                linear_part = 0.0
                square = 0.0
                for i in range(width):
                    d_g[b, i] = (d_g[b, i] - 2.0 * g[b, i] * inner / (room + 2.0 * squared)) / (2.0 * t[b])
                    linear_part += g[b, i] * d_g[b, i]
                    square += d_g[b, i] * d_g[b, i]
                dt = (tau - t[b] * room - p_t[b] + 2.0 * t[b] * linear_part) / room
                if square > 0.0:  # |g + length d_g| = nu
                    length = min(length, (-linear_part + np.sqrt(linear_part**2 + square * room)) / square)
                if dt < 0.0:
                    length = min(length, -t[b] / dt)
            if phase == 0:
                for i in range(m):
                    if s_lo[i] > 0.0:
                        ds = -s_lo[i] * d_u[i] * i_lo[i] - s_lo[i]
                        after += (s_lo[i] + length * ds) * (u[i] - lo[i] + length * d_u[i])
                        p_lo[i] = d_u[i] * ds
                    if s_hi[i] > 0.0:
                        ds = s_hi[i] * d_u[i] * i_hi[i] - s_hi[i]
                        after += (s_hi[i] + length * ds) * (hi[i] - u[i] - length * d_u[i])
                        p_hi[i] = -d_u[i] * ds
                for b in range(count_blocks):
                    room = nu[b] * nu[b]
                    linear_part = 0.0
                    square = 0.0
                    for i in range(width):
                        room -= g[b, i] * g[b, i]
                        linear_part += g[b, i] * d_g[b, i]
                        square += d_g[b, i] * d_g[b, i]
                    dt = (-t[b] * room + 2.0 * t[b] * linear_part) / room
                    after += (t[b] + length * dt) * (room - length * (2.0 * linear_part + length * square))
                    p_t[b] = -2.0 * linear_part * dt - t[b] * square
                if number > 0 and mu > 0.0:
                    sigma = (max(after, 0.0) / number / mu) ** 3
                    sigma = min(max(sigma, 1e-6), 0.8)
                    if length < 0.1:  # the corrections belong to a step that is not taken
                        for i in range(m):
                            p_lo[i] = 0.0
                            p_hi[i] = 0.0
                        for b in range(count_blocks):
                            p_t[b] = 0.0
                        sigma = max(sigma, 0.3)
                else:
                    length = 1.0 / 0.995
                    break
        length = min(1.0, 0.995 * length)
        if not length > 1e-12 or (number > 0 and mu < 1e-17):
            break
        tau = sigma * mu
        for j in range(size):
            z[j] += length * step[j]
        for i in range(m):
            if s_lo[i] > 0.0:
                s_lo[i] += length * ((tau - p_lo[i] - s_lo[i] * d_u[i]) * i_lo[i] - s_lo[i])
            if s_hi[i] > 0.0:
                s_hi[i] += length * ((tau - p_hi[i] + s_hi[i] * d_u[i]) * i_hi[i] - s_hi[i])
        for i in range(m):
            u[i] += length * d_u[i]
            p_lo[i] = 0.0
            p_hi[i] = 0.0
        for b in range(count_blocks):
            room = nu[b] * nu[b]
            linear_part = 0.0
            for i in range(width):
                room -= g[b, i] * g[b, i]
                linear_part += g[b, i] * d_g[b, i]
            t[b] += length * (tau - t[b] * room - p_t[b] + 2.0 * t[b] * linear_part) / room
            for i in range(width):
                g[b, i] += length * d_g[b, i]
            p_t[b] = 0.0
        bound = certified(size, lower, q, rss, rows, y, kappa, m, blocks, z, u, g, reach, work)
        if not bound < np.inf:
            break
        if bound > best:
            best = bound
            for j in range(size):
                centre[j] = z[j]
        if best >= cutoff:
            return CUT, best
        value, worst = primal(size, lower, q, rss, rows, y, lo, hi, kappa, m, blocks, nu, z)
        if goal < 0.0:
            if worst <= 1e-6 and value < cutoff and value - best <= -goal * cutoff:
                return KEPT, best
            if mu < 1e-11 * (1.0 + abs(value)):
                return STUCK, best
            continue
        if worst <= 1e-9 and value - best <= 1e-2 * (1.0 + abs(value)):
            if value - best > goal * (1.0 + abs(value)):
                for j in range(size):
                    step[j] = z[j]
                for i in range(m):
                    d_u[i] = u[i]
                certified(size, lower, q, rss, rows, y, kappa, m, blocks, step, d_u, g, reach, work)
                restore(size, quadratic, rows, lo, hi, m, step, d_u, work, normal)
                bound = certified(size, lower, q, rss, rows, y, kappa, m, blocks, step, d_u, g, reach, work)
                if bound > best and bound < np.inf:
                    best = bound
                    for j in range(size):
                        centre[j] = step[j]
            if best >= cutoff:
                return CUT, best
            if value - best <= goal * (1.0 + abs(value)):
                return SOLVED, best
    return status, best
