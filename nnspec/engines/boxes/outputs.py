"""The convex problem that is left when the hidden weights are fixed, and the dual point that it gives.

    min over z (K, m) in a box of  sum_i c_i l(sum_a g_ia z_a, y_i) + sum q2 z^2 + q1 |z|

for features g (N, K): the hidden units and a column of ones for the output biases. Newton's method with exact
box-constrained steps (coordinate descent, then the exact solution on its active set), and a falling tau for losses
with kinks. Its gradient in the outputs is the dual point u. Nothing rests on convergence but the quality of the bound.
Linear constraints on z are treated by the method of multipliers, see coupling.py.
"""

# mypy: disallow-untyped-defs=False
# Compiled functions carry no hints: their types are numba's; docstrings give the shapes.
from __future__ import annotations

import math

import numpy as np

from nnspec.engines.boxes import coupling, kinds
from nnspec.engines.boxes import losses as ls
from nnspec.engines.boxes.arrays import copy, corner, matrix
from nnspec.engines.boxes.enclosure import concave_part
from nnspec.engines.boxes.types import FLOAT, INT, MATRIX, OUTPUTS, STRIDED, VECTOR, VOID
from nnspec.engines.compiled import compiled, linked


@compiled
def factorise(a, n):
    """Cholesky factor of the positive semidefinite a (n, n) into its lower triangle; tiny pivots are raised."""
    trace = 0.0
    for j in range(n):
        trace += a[j, j]
    for j in range(n):
        t = a[j, j]
        for r in range(j):
            t -= a[j, r] * a[j, r]
        t = math.sqrt(max(t, 1e-13 * trace + 1e-300))
        a[j, j] = t
        for i in range(j + 1, n):
            z = a[i, j]
            for r in range(j):
                z -= a[i, r] * a[j, r]
            a[i, j] = z / t


@compiled
def substitute(a, b, n):
    """b = (a a')^-1 b for a lower triangular a."""
    for i in range(n):
        t = b[i]
        for r in range(i):
            t -= a[i, r] * b[r]
        b[i] = t / a[i, i]
    for i in range(n - 1, -1, -1):
        t = b[i]
        for r in range(i + 1, n):
            t -= a[r, i] * b[r]
        b[i] = t / a[i, i]


@linked(VOID(MATRIX, STRIDED, INT, STRIDED, STRIDED, STRIDED, STRIDED, STRIDED, MATRIX, MATRIX))
def box_quadratic(hess, g, n, q2, q1, lo, hi, z, fac, b):
    """z (n,) := minimiser over the box of (z - z0)'hess(z - z0)/2 + g.(z - z0) + q2 z^2 + q1 |z|, z0 the z given.

    Vectors are (n,); fac (n, n), b (n, 4) scratch. Returns nothing; the result is approximate if the active set cycles.
    """
    # linear coefficient of the model in z itself
    for i in range(n):
        t = g[i]
        for r in range(n):
            t -= hess[i, r] * z[r]
        b[i, 0] = t
    plain = True
    for i in range(n):
        if q1[i] > 0.0 or lo[i] == hi[i]:
            plain = False
    for attempt in range(8):
        if not (attempt == 0 and plain):
            for _ in range(10 if attempt > 0 else 20):
                moved = 0.0
                size = 0.0
                for i in range(n):
                    t = b[i, 0]
                    for r in range(n):
                        if r != i:
                            t += hess[i, r] * z[r]
                    _, y = concave_part(t, q2[i] + 0.5 * hess[i, i] + 1e-14, q1[i], lo[i], hi[i])
                    moved = max(moved, abs(y - z[i]))
                    size = max(size, abs(y))
                    z[i] = y
                if moved <= 1e-13 * (1.0 + size):
                    return
        # exact solution on the active set: variables at a bound or at a kink keep their value
        for i in range(n):
            active = not (attempt == 0 and plain) and (z[i] <= lo[i] or z[i] >= hi[i] or (q1[i] > 0.0 and z[i] == 0.0))
            b[i, 2] = 1.0 if active else 0.0
        for i in range(n):
            for r in range(i + 1):
                fac[i, r] = hess[i, r] if b[i, 2] == 0.0 and b[r, 2] == 0.0 else 0.0
            if b[i, 2] == 0.0:
                fac[i, i] += 2.0 * q2[i]
                t = -b[i, 0] - (q1[i] if z[i] > 0.0 else -q1[i])
                for r in range(n):
                    if b[r, 2] == 1.0:
                        t -= hess[i, r] * z[r]
                b[i, 1] = t
            else:
                fac[i, i] = 1.0
                b[i, 1] = 0.0
        factorise(fac, n)
        substitute(fac, b[:, 1], n)
        inside = True
        for i in range(n):
            if b[i, 2] == 0.0 and (b[i, 1] < lo[i] or b[i, 1] > hi[i] or (q1[i] > 0.0 and b[i, 1] * z[i] <= 0.0)):
                inside = False
        if inside:
            for i in range(n):
                if b[i, 2] == 0.0:
                    z[i] = b[i, 1]
            if attempt == 0 and plain:
                return
        elif attempt == 0:
            for i in range(n):
                z[i] = min(hi[i], max(lo[i], z[i]))


@compiled
def scratch(n, kk, m, rows):
    """Scratch of `solve` for at most kk features: outputs, gradient, Hessian and factor over all (kk*m) weights,
    vectors, and the table of coupling.py for so many rows."""
    p = kk * m
    return matrix(n, m), matrix(p, 8), matrix(p, p), matrix(p, p), matrix(p, 4), matrix(rows, 5 + p)


@compiled
def _predict(g, z, f):
    n, kk = g.shape
    for i in range(n):
        for o in range(z.shape[1]):
            t = 0.0
            for a in range(kk):
                t += g[i, a] * z[a, o]
            f[i, o] = t


@compiled
def _penalty(z, q2, q1, o0, o1):
    t = 0.0
    for a in range(z.shape[0]):
        for o in range(o0, o1):
            t += q2[a, o] * z[a, o] * z[a, o] + q1[a, o] * abs(z[a, o])
    return t


@linked(FLOAT(INT, FLOAT, MATRIX, MATRIX, VECTOR, FLOAT, MATRIX, MATRIX, INT, INT))
def gradient(loss, par, f, y, cw, tau, u, om, o0, o1):
    """Smoothed loss of the outputs o0..o1-1 (all of them for a coupled loss), its gradient u, diagonal curvature om."""
    n, m = f.shape
    total = 0.0
    if ls.separable(loss):
        for i in range(n):
            for o in range(o0, o1):
                v, g, c = ls.scalar(loss, par, f[i, o], y[i, o], tau)
                total += cw[i] * v
                u[i, o] = cw[i] * g
                om[i, o] = cw[i] * c
        return total
    if loss == kinds.MAX_ERROR:
        top = 0.0
        for i in range(n):
            for o in range(m):
                top = max(top, abs(f[i, o] - y[i, o]))
        for i in range(n):
            for o in range(m):
                r = f[i, o] - y[i, o]
                a = math.exp((r - top) / tau)
                b = math.exp((-r - top) / tau)
                total += a + b
                u[i, o] = a - b
                om[i, o] = a + b
        for i in range(n):
            for o in range(m):
                u[i, o] *= cw[0] / total
                om[i, o] *= cw[0] / (total * tau)
        return cw[0] * (top + tau * math.log(total))
    for i in range(n):
        label = int(y[i, 0])
        v, t = ls.class_loss(loss, par, f[i], label, tau, u[i])
        total += cw[i] * v
        s = 2.0 * t if loss == kinds.CLASS_SQUARED else 1.0
        for o in range(m):
            p = u[i, o] / max(s, 1e-300) + (1.0 if o == label else 0.0)
            c = s * p * (1.0 - p) / (1.0 if loss == kinds.CROSS_ENTROPY else tau)
            if loss == kinds.CLASS_SQUARED:
                c += 0.5 * (u[i, o] / max(t, 1e-300)) ** 2
            om[i, o] = cw[i] * c + 1e-12
            u[i, o] *= cw[i]
    return total


@linked(VOID(INT, FLOAT, MATRIX, MATRIX, MATRIX, VECTOR, FLOAT, MATRIX, MATRIX, INT, INT, MATRIX))
def _hessian(loss, par, g, f, y, cw, tau, u, om, o0, o1, hess):
    """Hessian over the weights z[a, o], index a*(o1-o0) + (o-o0)."""
    n, kk = g.shape
    w = o1 - o0
    p = kk * w
    for a in range(p):
        for b in range(p):
            hess[a, b] = 0.0
    if w == 1:
        for i in range(n):
            c = om[i, o0]
            for a in range(kk):
                t = c * g[i, a]
                for b in range(a + 1):
                    hess[a, b] += t * g[i, b]
    elif ls.separable(loss) or loss == kinds.MAX_ERROR:
        for i in range(n):
            for a in range(kk):
                for o in range(w):
                    t = om[i, o] * g[i, a]
                    for b in range(a + 1):
                        hess[a * w + o, b * w + o] += t * g[i, b]
    if w > 1 and loss == kinds.MAX_ERROR:
        # minus the outer product of the whole gradient, over tau*c
        row = np.zeros(p)
        for i in range(n):
            for a in range(kk):
                for o in range(w):
                    row[a * w + o] += u[i, o] * g[i, a]
        for a in range(p):
            for b in range(a + 1):
                hess[a, b] -= row[a] * row[b] / (tau * cw[0])
    elif w > 1 and not ls.separable(loss):
        prob = np.zeros(w)
        for i in range(n):
            label = int(y[i, 0])
            s = 1.0
            rank = 0.0
            if loss == kinds.CLASS_SQUARED:
                t = 0.0
                for o in range(w):
                    if o != label:
                        t += u[i, o]
                # the hinge value follows from f
                for o in range(w):
                    prob[o] = 0.0
                _, s = ls.class_loss(kinds.CLASS_HINGE, par, f[i], label, tau, prob)
                rank = 0.5 / max(s * s, 1e-300)
                s *= 2.0
            scale = cw[i] * s / (1.0 if loss == kinds.CROSS_ENTROPY else tau)
            for o in range(w):
                prob[o] = u[i, o] / (cw[i] * max(s, 1e-300)) + (1.0 if o == label else 0.0)
            for o in range(w):
                for q in range(w):
                    c = scale * ((prob[o] if o == q else 0.0) - prob[o] * prob[q]) + rank * u[i, o] * u[i, q] / cw[i]
                    for a in range(kk):
                        t = c * g[i, a]
                        for b in range(a + 1):
                            hess[a * w + o, b * w + q] += t * g[i, b]
    for a in range(p):
        for b in range(a):
            hess[b, a] = hess[a, b]


@linked(VOID(INT, FLOAT, MATRIX, MATRIX, VECTOR, *(MATRIX,) * 7, INT, INT, FLOAT, INT, OUTPUTS))
def _newton(loss, par, g, y, cw, q2, q1, vlo, vhi, z, u, om, o0, o1, tau, steps, sc):
    """Damped Newton for the outputs o0..o1-1 at one tau; leaves f and u at the result. Rows need all outputs."""
    n, kk = g.shape
    f, vec, hess, fac, b, table = sc
    w = o1 - o0
    p = kk * w
    coupled = table.shape[0] > 0
    quadratic = loss == kinds.SSE and not coupled  # one step suffices
    value = gradient(loss, par, f, y, cw, tau, u, om, o0, o1) + _penalty(z, q2, q1, o0, o1)
    if coupled:
        value += coupling.augmentation(z, table)
    for _ in range(steps):
        _hessian(loss, par, g, f, y, cw, tau, u, om, o0, o1, hess)
        for a in range(kk):
            for o in range(w):
                t = 0.0
                for i in range(n):
                    t += u[i, o0 + o] * g[i, a]
                j = a * w + o
                vec[j, 0] = t
                vec[j, 1] = z[a, o0 + o]
                vec[j, 2] = z[a, o0 + o]
                vec[j, 3] = q2[a, o0 + o]
                vec[j, 4] = q1[a, o0 + o]
                vec[j, 5] = vlo[a, o0 + o]
                vec[j, 6] = vhi[a, o0 + o]
        if loss != kinds.SSE:
            for j in range(p):
                hess[j, j] += 1e-10
        if coupled:
            coupling.derivatives(z, table, hess, vec)
        box_quadratic(hess, vec[:, 0], p, vec[:, 3], vec[:, 4], vec[:, 5], vec[:, 6], vec[:, 1], fac, b)
        t = 1.0
        better = False
        for _ in range(12):
            for a in range(kk):
                for o in range(w):
                    j = a * w + o
                    z[a, o0 + o] = vec[j, 2] + t * (vec[j, 1] - vec[j, 2])
            for i in range(n):
                for o in range(o0, o1):
                    s = 0.0
                    for a in range(kk):
                        s += g[i, a] * z[a, o]
                    f[i, o] = s
            new = gradient(loss, par, f, y, cw, tau, u, om, o0, o1) + _penalty(z, q2, q1, o0, o1)
            if coupled:
                new += coupling.augmentation(z, table)
            if new < value or quadratic:
                better = True
                break
            t *= 0.4
        if not better:
            for a in range(kk):
                for o in range(w):
                    z[a, o0 + o] = vec[a * w + o, 2]
            for i in range(n):
                for o in range(o0, o1):
                    s = 0.0
                    for a in range(kk):
                        s += g[i, a] * z[a, o]
                    f[i, o] = s
            gradient(loss, par, f, y, cw, tau, u, om, o0, o1)
            return
        gain = value - new
        value = new
        if quadratic or gain <= 1e-13 * (1.0 + abs(value)):
            return


@linked(FLOAT(INT, FLOAT, FLOAT, MATRIX, MATRIX, VECTOR, *(MATRIX,) * 7, OUTPUTS))
def solve(loss, par, tau, g, y, cw, q2, q1, vlo, vhi, z, u, om, sc):
    """Approximate solution z (K, m), started from the z given; dual point u (N, m); curvatures om (N, m) of the loss
    for Newton steps outside. Returns the exact (not smoothed) objective at z. tau: final smoothing of a loss with
    kinks. sc[5] is the table of coupling.place; its lam is moved from the one given."""
    kk = g.shape[1]
    m = u.shape[1]
    f = sc[0]
    for a in range(kk):
        for o in range(m):
            z[a, o] = min(vhi[a, o], max(vlo[a, o], z[a, o]))
    _predict(g, z, f)
    # typed: literal arguments would each get a compiled version of their own
    first, once = np.int64(0), np.int64(1)
    table = sc[5]
    coupled = table.shape[0] > 0
    if coupled:
        coupling.stiffen(g, cw, q2, table)
    if loss == kinds.SSE and not coupled:
        for o in range(m):
            _newton(loss, par, g, y, cw, q2, q1, vlo, vhi, z, u, om, o, o + 1, 0.0, once, sc)
    else:
        t = tau
        if ls.kinked(loss):
            while t < 0.03:
                t *= 10.0
        while True:
            last = t <= tau * 1.0001
            steps = 30 if last or coupled else 4
            if coupled:
                for attempt in range(coupling.STEPS if last else 2):
                    _newton(loss, par, g, y, cw, q2, q1, vlo, vhi, z, u, om, first, m, t, steps, sc)
                    if coupling.update(z, table, last and attempt < 6):
                        break
            elif ls.separable(loss):
                for o in range(m):
                    _newton(loss, par, g, y, cw, q2, q1, vlo, vhi, z, u, om, o, o + 1, t, steps, sc)
            else:
                _newton(loss, par, g, y, cw, q2, q1, vlo, vhi, z, u, om, first, m, t, steps, sc)
            if last:
                break
            t *= 0.1
        if ls.kinked(loss):
            # curvatures of a mildly smoothed loss serve the outer Newton step; u stays the sharp one
            keep = corner(u, u.shape[0], m)
            gradient(loss, par, f, y, cw, max(0.1, tau), u, om, first, m)
            copy(u, keep)
    return ls.total_loss(loss, par, f, y, cw) + _penalty(z, q2, q1, first, m)
