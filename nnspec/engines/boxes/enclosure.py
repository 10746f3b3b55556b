"""A neuron's term of the dual bound, bounded from below over a box of its weights.

With u (N, m) fixed, neuron k contributes to the bound (see docs/boxes.md)

    phi(w) = psi(w) + sum_o m_o(s_o(w)),       s_o(w) = shift_o + sum_i u_io sigma(w . x_i),
    psi(w) = sum_j slope_j w_j + p2_j w_j^2 + p1_j |w_j|,
    m_o(s) = min { s v + q2_o v^2 + q1_o |v| : v in [vlo_o, vhi_o] },

where slope and shift, 0 as a rule, are those of constraints on output weights (coupling.py); m_o is a concave function
of s whose derivative is the minimiser v*(s). Two lower bounds over the box, the better one counts:

1. First order. s_o is enclosed in [a, b] (naturally and by lines below and above sigma); the concave m_o lies above its
   chord there; what is left is psi(w) + sum_i q_i sigma(w . x_i) with q_i = sum_o slope_o u_io, and with one line per
   sample it is a separable convex function of w. Good on wide boxes, exact for constant pieces; valid for any sigma.
2. Second order. Taylor's formula about a point e of the box with an enclosure of the Hessian
   2 p2 I + sum_o ( m_o''  grad s_o grad s_o' + v*_o hess s_o ), where m_o'' >= -1/(2 q2_o). The quadratic at the
   enclosure's centre is made convex by a multiple of the box's scaling (the alpha-BB underestimator of Androulakis,
   Maranas and Floudas, 1995) and minimised over the box; any approximate minimiser gives a valid bound, because a
   convex function lies above its tangent planes.
"""

# mypy: disallow-untyped-defs=False
# Compiled functions carry no hints: their types are numba's; docstrings give the shapes.
from __future__ import annotations

import math

import numpy as np

from nnspec.engines.boxes import activations as act
from nnspec.engines.boxes.arrays import cube, matrix
from nnspec.engines.boxes.types import FLOAT, INT, MATRIX, VECTOR, WORK
from nnspec.engines.compiled import compiled, linked


@compiled
def concave_part(s, q2, q1, vlo, vhi):
    """(m(s), v*(s)): least value and minimiser of s v + q2 v^2 + q1 |v| over [vlo, vhi]."""
    if s > q1:
        t = s - q1
    elif s < -q1:
        t = s + q1
    else:
        t = 0.0
    if t == 0.0:
        v = 0.0
    elif q2 > 0.0:
        v = -t / (2.0 * q2)
    else:
        v = -math.inf if t > 0.0 else math.inf
    if v < vlo:
        v = vlo
    if v > vhi:
        v = vhi
    return s * v + q2 * v * v + q1 * abs(v), v


@compiled
def convex_term(slope, p2, p1, lo, hi):
    """(value, minimiser) over [lo, hi] of slope*w + p2*w^2 + p1*|w|."""
    best, at = slope * lo + p2 * lo * lo + p1 * abs(lo), lo
    value = slope * hi + p2 * hi * hi + p1 * abs(hi)
    if value < best:
        best, at = value, hi
    if lo < 0.0 < hi and best > 0.0:
        best, at = 0.0, 0.0
    if p2 > 0.0:
        t = slope - p1 if slope > p1 else (slope + p1 if slope < -p1 else 0.0)
        w = -t / (2.0 * p2)
        if lo < w < hi:
            value = slope * w + p2 * w * w + p1 * abs(w)
            if value < best:
                best, at = value, w
    return best, at


@compiled
def _cholesky_fails(a, n, shift, c):
    """Whether a + shift I is not safely positive definite; `c` is scratch for the factor."""
    trace = shift
    for j in range(n):
        trace += abs(a[j, j])
    for j in range(n):
        t = a[j, j] + shift
        for r in range(j):
            t -= c[j, r] * c[j, r]
        if t <= 1e-11 * trace:
            return True
        d = math.sqrt(t)
        c[j, j] = d
        for i in range(j + 1, n):
            t = a[i, j]
            for r in range(j):
                t -= c[i, r] * c[j, r]
            c[i, j] = t / d
    return False


@linked(FLOAT(VECTOR, MATRIX, VECTOR, VECTOR, VECTOR, INT, MATRIX, MATRIX, VECTOR))
def quadratic_min(g, q, dlo, dhi, rho, n, scaled, factor, x):
    """Lower bound of g.d + d'q d/2 over dlo <= d <= dhi (dlo <= 0 <= dhi), rho = max(-dlo, dhi) > 0.

    `scaled`, `factor` (n, n) and `x` (n,) are scratch. q is changed. Errors of rounding are of the order of
    1e-14 * sum |q| rho rho and covered by the caller's slack.
    """
    gersh = 0.0
    for j in range(n):
        off = 0.0
        for i in range(n):
            scaled[j, i] = q[j, i] * rho[j] * rho[i]
            if i != j:
                off += abs(scaled[j, i])
        gersh = min(gersh, scaled[j, j] - off)
    shift = 0.0
    if gersh < 0.0 and _cholesky_fails(scaled, n, 0.0, factor):
        bad, shift = 0.0, -gersh * (1.0 + 1e-9) + 1e-300
        for _ in range(3):
            middle = 0.5 * (bad + shift)
            if _cholesky_fails(scaled, n, middle, factor):
                bad = middle
            else:
                shift = middle
    constant = 0.0
    if shift > 0.0:
        for j in range(n):
            e = shift / (rho[j] * rho[j])
            q[j, j] += e
            # -e/2 d^2 lies above its chord on [dlo, dhi]
            g[j] -= 0.5 * e * (dlo[j] + dhi[j])
            constant += 0.5 * e * dlo[j] * dhi[j]
    for j in range(n):
        x[j] = 0.0
    for _ in range(12):
        moved = 0.0
        for j in range(n):
            t = g[j]
            for i in range(n):
                t += q[j, i] * x[i]
            if q[j, j] > 0.0:
                y = x[j] - t / q[j, j]
            else:
                y = -math.inf if t > 0.0 else math.inf
            y = min(dhi[j], max(dlo[j], y))
            moved = max(moved, abs(y - x[j]) / rho[j])
            x[j] = y
        if moved < 1e-4:
            break
    total = constant
    for j in range(n):
        t = 0.0
        for i in range(n):
            t += q[j, i] * x[i]
        total += (g[j] + 0.5 * t) * x[j]
        slope = g[j] + t
        total += min(slope * (dlo[j] - x[j]), slope * (dhi[j] - x[j]))
    return total


@compiled
def _reduced(lin, qm, dlo, dhi, rho, d, qs, qf, vec):
    """`quadratic_min` over the coordinates whose box is no point, moved to the front in place."""
    free = vec[6]
    for j in range(d):
        free[j] = rho[j]
    k = np.int64(0)  # typed: a literal would give `quadratic_min` a compiled version of its own
    for j in range(d):
        if free[j] > 0.0:
            lin[k] = lin[j]
            dlo[k] = dlo[j]
            dhi[k] = dhi[j]
            c = 0
            for r in range(j + 1):
                if free[r] > 0.0:
                    qm[k, c] = qm[j, r]
                    c += 1
            rho[k] = free[j]
            k += 1
    if k == 0:
        return 0.0
    for j in range(k):
        for r in range(j):
            qm[r, j] = qm[j, r]
    return quadratic_min(lin, qm, dlo, dhi, rho, k, qs, qf, vec[5])


@compiled
def workspace(n, d, m):
    """Scratch for `neuron_bound`: per sample (n, 12), per output (m, 13), per output and weight, Hessians, vectors,
    and room for the u of a neuron's copies of the samples (n, m). The last of the vectors is the neuron's slope, and
    the last number per output its shift: zeros, unless there are constraints on output weights."""
    return (
        matrix(n, 12), matrix(m, 13), matrix(m, d), matrix(m, d), matrix(m, d),
        cube(m, d, d), cube(m, d, d), matrix(d, d), matrix(d, d), matrix(d, d), matrix(9, d), matrix(n, m),
    )  # fmt: skip


@linked(FLOAT(INT, FLOAT, MATRIX, MATRIX, *(VECTOR,) * 9, WORK))
def neuron_bound(kind, alpha, x, u, p2, p1, q2, q1, vlo, vhi, lo, hi, e, ws):
    """Lower bound of phi over lo <= w <= hi (d,), about the point e of the box. x (N, d), u (N, m), others (d,) or
    (m,); slope and shift stand in ws."""
    n, d = x.shape
    m = u.shape[1]
    ps, po, la, lb, ge, hc, hr, qm, qs, qf, vec, _ = ws
    smooth = True
    for o in range(m):
        for j in range(5):
            po[o, j] = po[o, 12]
        po[o, 5] = abs(po[o, 12])
        for j in range(d):
            la[o, j] = 0.0
            lb[o, j] = 0.0
            ge[o, j] = 0.0
    # po: 0 value at e, 1 natural lower, 2 natural upper, 3 and 4 intercepts of the lines, 5 magnitude
    for i in range(n):
        a = 0.0
        b = 0.0
        t = 0.0
        for j in range(d):
            z = x[i, j]
            t += z * e[j]
            if z >= 0.0:
                a += z * lo[j]
                b += z * hi[j]
            else:
                a += z * hi[j]
                b += z * lo[j]
        if a > t:
            a = t
        if b < t:
            b = t
        fa = act.value(kind, alpha, a)
        fb = act.value(kind, alpha, b)
        ft = act.value(kind, alpha, t)
        if act.piecewise(kind):
            # the slope of the piece that the box lies in; at e itself, on the box's edge, it may be the next piece's
            d1, _ = act.derivatives(kind, alpha, 0.5 * (a + b), 0.0)
        else:
            d1, _ = act.derivatives(kind, alpha, t, ft)
        rlo, rhi = act.value_range(kind, alpha, a, b, fa, fb)
        c2lo, c2hi, ok = act.curvature_range(kind, a, b, fa, fb)
        smooth = smooth and ok
        pl, ql, pu, qu = act.lines(kind, alpha, a, b, fa, fb)
        ps[i, 0] = c2lo
        ps[i, 1] = c2hi
        ps[i, 2] = pl
        ps[i, 3] = ql
        ps[i, 4] = pu
        ps[i, 5] = qu
        for o in range(m):
            w = u[i, o]
            po[o, 0] += w * ft
            po[o, 5] += abs(w) * max(abs(fa), abs(fb))
            if w >= 0.0:
                po[o, 1] += w * rlo
                po[o, 2] += w * rhi
                po[o, 3] += w * ql
                po[o, 4] += w * qu
                for j in range(d):
                    z = w * x[i, j]
                    la[o, j] += z * pl
                    lb[o, j] += z * pu
                    ge[o, j] += z * d1
            else:
                po[o, 1] += w * rhi
                po[o, 2] += w * rlo
                po[o, 3] += w * qu
                po[o, 4] += w * ql
                for j in range(d):
                    z = w * x[i, j]
                    la[o, j] += z * pu
                    lb[o, j] += z * pl
                    ge[o, j] += z * d1
    dlo, dhi, rho, lin = vec[0], vec[1], vec[2], vec[3]
    for j in range(d):
        dlo[j] = min(0.0, lo[j] - e[j])
        dhi[j] = max(0.0, hi[j] - e[j])
        rho[j] = max(-dlo[j], dhi[j])
    # ranges of s_o: natural, lines, Taylor
    for o in range(m):
        a = po[o, 3]
        b = po[o, 4]
        for j in range(d):
            z = la[o, j]
            a += z * (lo[j] if z >= 0.0 else hi[j])
            z = lb[o, j]
            b += z * (hi[j] if z >= 0.0 else lo[j])
        a = max(a, po[o, 1])
        b = min(b, po[o, 2])
        if smooth:
            for j in range(d):
                for r in range(j + 1):
                    hc[o, j, r] = 0.0
                    hr[o, j, r] = 0.0
            for i in range(n):
                w = u[i, o]
                c = 0.5 * w * (ps[i, 0] + ps[i, 1])
                radius = 0.5 * abs(w) * (ps[i, 1] - ps[i, 0])
                for j in range(d):
                    zc = c * x[i, j]
                    zr = radius * abs(x[i, j])
                    for r in range(j + 1):
                        hc[o, j, r] += zc * x[i, r]
                        hr[o, j, r] += zr * abs(x[i, r])
            tlo = po[o, 0]
            thi = po[o, 0]
            for j in range(d):
                z = ge[o, j]
                tlo += z * (dlo[j] if z >= 0.0 else dhi[j])
                thi += z * (dhi[j] if z >= 0.0 else dlo[j])
                for r in range(j + 1):
                    half = 0.5 * rho[j] * rho[r] * (1.0 if r == j else 2.0)
                    z = hc[o, j, r]
                    if r == j:
                        tlo += half * min(z - hr[o, j, r], 0.0)
                        thi += half * max(z + hr[o, j, r], 0.0)
                    else:
                        tlo -= half * (abs(z) + hr[o, j, r])
                        thi += half * (abs(z) + hr[o, j, r])
            a = max(a, tlo)
            b = min(b, thi)
        slack = (1e-13 + 4e-16 * n) * (1.0 + po[o, 5])
        po[o, 11] = slack
        a = min(a - slack, po[o, 0])
        b = max(b + slack, po[o, 0])
        po[o, 6] = a
        po[o, 7] = b
    # first order
    first = 0.0
    for o in range(m):
        a = po[o, 6]
        b = po[o, 7]
        ma, va = concave_part(a, q2[o], q1[o], vlo[o], vhi[o])
        mb, vb = concave_part(b, q2[o], q1[o], vlo[o], vhi[o])
        slope = (mb - ma) / (b - a)
        slope = min(va, max(vb, slope))
        first += min(ma - slope * a, mb - slope * b)
        po[o, 8] = slope
        po[o, 9] = va
        po[o, 10] = vb
    for j in range(d):
        lin[j] = vec[8, j]
    if m == 1:
        slope = po[0, 8]
        if slope >= 0.0:
            first += slope * po[0, 3]
            for j in range(d):
                lin[j] += slope * la[0, j]
        else:
            first += slope * po[0, 4]
            for j in range(d):
                lin[j] += slope * lb[0, j]
    else:
        for o in range(m):
            first += po[o, 8] * po[o, 12]
        for i in range(n):
            w = 0.0
            for o in range(m):
                w += po[o, 8] * u[i, o]
            if w >= 0.0:
                first += w * ps[i, 3]
                w *= ps[i, 2]
            else:
                first += w * ps[i, 5]
                w *= ps[i, 4]
            for j in range(d):
                lin[j] += w * x[i, j]
    least_psi = 0.0
    at = vec[7]
    for j in range(d):
        t, at[j] = convex_term(lin[j], p2[j], p1[j], lo[j], hi[j])
        first += t
        if vec[8, j] == 0.0:  # written out, since it is nearly always so and then costs less
            t, _ = convex_term(0.0, p2[j], p1[j], lo[j], hi[j])
        else:
            t, _ = convex_term(vec[8, j], p2[j], p1[j], lo[j], hi[j])
        least_psi += t
    natural = least_psi
    for o in range(m):
        ma, _ = concave_part(po[o, 6], q2[o], q1[o], vlo[o], vhi[o])
        mb, _ = concave_part(po[o, 7], q2[o], q1[o], vlo[o], vhi[o])
        natural += min(ma, mb)
    best = max(first, natural)
    if not smooth:
        return best
    # second order
    constant = 0.0
    for j in range(d):
        constant += vec[8, j] * e[j] + p2[j] * e[j] * e[j] + p1[j] * abs(e[j])
        lin[j] = vec[8, j] + 2.0 * p2[j] * e[j] + (p1[j] if e[j] > 0.0 else (-p1[j] if e[j] < 0.0 else 0.0))
        for r in range(j + 1):
            qm[j, r] = 0.0
        qm[j, j] = 2.0 * p2[j]
    radius = 0.0
    for o in range(m):
        va = po[o, 9]
        vb = po[o, 10]
        value, ve = concave_part(po[o, 0], q2[o], q1[o], vlo[o], vhi[o])
        constant += value - po[o, 11] * max(abs(ve), max(abs(va), abs(vb)))  # rounding of s_o and of its derivatives
        if va == vb:
            c = 0.0
        elif q2[o] > 0.0:
            c = 0.5 / q2[o]
        else:
            return best
        vc = 0.5 * (va + vb)
        vr = 0.5 * (va - vb)
        gr = vec[4]
        for j in range(d):
            lin[j] += ve * ge[o, j]
            t = 0.0
            for r in range(d):
                jj, rr = (j, r) if r <= j else (r, j)
                t += (abs(hc[o, jj, rr]) + hr[o, jj, rr]) * rho[r]
            gr[j] = t
        for j in range(d):
            for r in range(j + 1):
                z = hc[o, j, r]
                qm[j, r] += vc * z - c * ge[o, j] * ge[o, r]
                t = abs(vc) * hr[o, j, r] + vr * (abs(z) + hr[o, j, r])
                t += c * (abs(ge[o, j]) * gr[r] + gr[j] * abs(ge[o, r]) + gr[j] * gr[r])
                radius += (0.5 if r == j else 1.0) * t * rho[j] * rho[r]
    if constant - radius <= best:
        return best
    k = 0
    for j in range(d):
        if rho[j] > 0.0:
            k += 1
    if k < d:
        return max(best, _reduced(lin, qm, dlo, dhi, rho, d, qs, qf, vec) + constant - radius)
    for j in range(d):
        for r in range(j):
            qm[r, j] = qm[j, r]
    second = constant - radius + quadratic_min(lin, qm, dlo, dhi, rho, d, qs, qf, vec[5])
    if second > best:
        best = second
        for j in range(d):
            at[j] = e[j] + vec[5, j]
    return best
