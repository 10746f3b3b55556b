"""Interval arithmetic for the verifier: plain ranges of activations, and a neuron's term over a box by bisection.

Nothing here is shared with the search. A sum of n products is computed in double precision and widened by
(n + 4) 2^-52 times the sum of the magnitudes, at least twice its error (Higham, Accuracy and Stability of Numerical
Algorithms, 2002, section 3.1); functions of the mathematical library are widened by 8 units in the last place.
"""

# mypy: disallow-untyped-defs=False
# Compiled functions carry no hints: their types are numba's; docstrings give the shapes.
from __future__ import annotations

import math

import numpy as np

from nnspec.engines.boxes.kinds import (
    ABS,
    GELU,
    HARDTANH,
    LEAKY,
    LINEAR,
    RELU,
    SIGMOID,
    SIGN,
    SOFTPLUS,
    STEP,
    TANH,
)
from nnspec.engines.compiled import compiled

EPS = 2.0**-52
LIBRARY = 8.0 * EPS


@compiled
def _wide(lo, hi):
    """The interval widened for one call of a library function and a few operations."""
    return lo - LIBRARY * (abs(lo) + 1e-300), hi + LIBRARY * (abs(hi) + 1e-300)


@compiled
def _gelu(a):
    return 0.5 * a * math.erfc(-a * math.sqrt(0.5))


@compiled
def _gelu_slope(a):
    return 0.5 * math.erfc(-a * math.sqrt(0.5)) + a * math.exp(-0.5 * a * a) / math.sqrt(2.0 * math.pi)


@compiled
def _logistic(a):
    return 1.0 / (1.0 + math.exp(-a)) if a > -700.0 else 0.0


@compiled
def _silu_slope(a):
    s = _logistic(a)
    return s + a * s * (1.0 - s)


@compiled
def _extremes(fa, fb, inside_lo, least, inside_hi, most):
    lo, hi = min(fa, fb), max(fa, fb)
    return (least if inside_lo else lo), (most if inside_hi else hi)


@compiled
def value(kind, alpha, a, b):
    """Range of the activation on [a, b]."""
    if kind == LINEAR:
        return a, b
    if kind == RELU:
        return max(a, 0.0), max(b, 0.0)
    if kind in (LEAKY, ABS):
        left = alpha if kind == LEAKY else -1.0
        fa, fb = (a if a >= 0.0 else left * a), (b if b >= 0.0 else left * b)
        lo, hi = min(fa, fb), max(fa, fb)
        if a < 0.0 < b:
            lo, hi = min(lo, 0.0), max(hi, 0.0)
        return _wide(lo, hi)
    if kind == HARDTANH:
        return min(1.0, max(-1.0, a)), min(1.0, max(-1.0, b))
    if kind == SIGN:
        return (1.0 if a >= 0.0 else -1.0), (1.0 if b >= 0.0 else -1.0)
    if kind == STEP:
        return (1.0 if a >= 0.0 else 0.0), (1.0 if b >= 0.0 else 0.0)
    if kind == TANH:
        return _wide(math.tanh(a), math.tanh(b))
    if kind == SIGMOID:
        return _wide(_logistic(a), _logistic(b))
    if kind == SOFTPLUS:
        return _wide(max(a, 0.0) + math.log1p(math.exp(-abs(a))), max(b, 0.0) + math.log1p(math.exp(-abs(b))))
    if kind == GELU:
        lo, hi = _extremes(_gelu(a), _gelu(b), a < -0.7517 and b > -0.7518, -0.16997121, False, 0.0)
    else:
        lo, hi = _extremes(a * _logistic(a), b * _logistic(b), a < -1.2784 and b > -1.2785, -0.27846455, False, 0.0)
    lo, hi = _wide(lo, hi)
    return lo - 1e-17, hi + 1e-17


@compiled
def slope(kind, alpha, a, b):
    """Range of the (generalised) derivative on [a, b]; not for sign and step."""
    if kind == LINEAR:
        return 1.0, 1.0
    if kind in (RELU, LEAKY, ABS):
        left = 0.0 if kind == RELU else alpha if kind == LEAKY else -1.0
        if a > 0.0:
            return 1.0, 1.0
        if b < 0.0:
            return left, left
        return min(left, 1.0), max(left, 1.0)
    if kind == HARDTANH:
        return (1.0 if a > -1.0 and b < 1.0 else 0.0), (0.0 if b < -1.0 or a > 1.0 else 1.0)
    if kind in (TANH, SIGMOID):
        c = 1.0 if kind == TANH else 0.5
        ta, tb = math.tanh(c * a), math.tanh(c * b)
        fa, fb = c * c * (1.0 - ta * ta), c * c * (1.0 - tb * tb)
        lo, hi = min(fa, fb), max(fa, fb)
        if a < 0.0 < b:
            hi = c * c
        return max(0.0, lo - 1e-14), hi + 1e-14
    if kind == SOFTPLUS:
        return _wide(_logistic(a), _logistic(b))
    if kind == GELU:
        lo, hi = _extremes(_gelu_slope(a), _gelu_slope(b), a < -1.41421 and b > -1.41422, -0.1289045,
                           a < 1.41422 and b > 1.41421, 1.1289045)  # fmt: skip
    else:
        lo, hi = _extremes(_silu_slope(a), _silu_slope(b), a < -2.39935 and b > -2.39936, -0.0998394,
                           a < 2.39936 and b > 2.39935, 1.0998394)  # fmt: skip
    return lo - 1e-14, hi + 1e-14


@compiled
def least_output(s, q2, q1, vlo, vhi):
    """(m, v): least value of s v + q2 v^2 + q1 |v| for v in [vlo, vhi], and a minimiser; m is concave in s."""
    t = max(0.0, abs(s) - q1)
    sign = 1.0 if s > 0.0 else -1.0
    if t == 0.0:
        v = 0.0
    elif q2 == 0.0:
        v = -sign * math.inf
    else:
        v = -sign * t / (2.0 * q2)
    v = min(vhi, max(vlo, v))
    m = s * v + q2 * v * v + q1 * abs(v)
    return m - 4.0 * LIBRARY * (abs(s * v) + q2 * v * v + q1 * abs(v)), v


@compiled
def _least(c, p2, p1, lo, hi):
    """Least value of c w + p2 w^2 + p1 |w| over [lo, hi], up to a few roundings of its terms."""
    best = min(c * lo + p2 * lo * lo + p1 * abs(lo), c * hi + p2 * hi * hi + p1 * abs(hi))
    if lo <= 0.0 <= hi:
        best = min(best, 0.0)
    for sign in (-1.0, 1.0):
        t = c + sign * p1
        if p2 > 0.0 and sign * t < 0.0 and lo < -t / (2.0 * p2) < hi:
            best = min(best, -t * t / (4.0 * p2))
    return best


@compiled
def term(kind, alpha, x, u, p2, p1, q2, q1, vlo, vhi, linear, linear_error, shift, shift_error, lo, hi, slopes, trend):
    """Lower bound of the neuron's term over [lo, hi]: the better of the natural one and the mean value form about the
    middle. The term has the linear part `linear` (d,) and the part `shift` (m,) of the coefficients of v besides those
    of docs/boxes.md; each is known up to its error.

    slopes (d,) receives the share of each weight in the error, trend (d,) +1 or -1 where the term rises or falls with
    the weight all over the box. x (N, d), u (N, m).
    """
    n, d = x.shape
    m = u.shape[1]
    steep = kind in (SIGN, STEP)
    slo, shi, mid = shift.copy(), shift.copy(), shift.copy()
    size = np.abs(shift) + shift_error / EPS
    glo, ghi, gsize = np.zeros((m, d)), np.zeros((m, d)), np.zeros(d)
    for i in range(n):
        a, b, c, t = 0.0, 0.0, 0.0, 0.0
        for j in range(d):
            z = x[i, j]
            a += z * lo[j] if z >= 0.0 else z * hi[j]
            b += z * hi[j] if z >= 0.0 else z * lo[j]
            c += z * 0.5 * (lo[j] + hi[j])
            t += abs(z) * max(abs(lo[j]), abs(hi[j]))
        t *= (d + 4) * EPS
        fa, fb = value(kind, alpha, a - t, b + t)
        ga, gb = (0.0, 0.0)
        ca, cb = (0.0, 0.0)
        if not steep:
            ga, gb = slope(kind, alpha, a - t, b + t)
            ca, cb = value(kind, alpha, c - t, c + t)
        for o in range(m):
            w = u[i, o]
            slo[o] += w * (fa if w >= 0.0 else fb)
            shi[o] += w * (fb if w >= 0.0 else fa)
            size[o] += abs(w) * max(abs(fa), abs(fb))
            if not steep:
                mid[o] += w * 0.5 * (ca + cb)
                size[o] += abs(w) * (cb - ca) / EPS
                for j in range(d):
                    z = w * x[i, j]
                    glo[o, j] += z * (ga if z >= 0.0 else gb)
                    ghi[o, j] += z * (gb if z >= 0.0 else ga)
                    gsize[j] += abs(z) * max(abs(ga), abs(gb))
    natural = 0.0
    total = 0.0
    for j in range(d):
        t = max(abs(lo[j]), abs(hi[j]))
        natural += _least(linear[j], p2[j], p1[j], lo[j], hi[j]) - linear_error[j] * t
        total += abs(natural) + abs(linear[j]) * t
    va, vb = np.zeros(m), np.zeros(m)
    middle = 0.0
    for o in range(m):
        t = (n + 4) * EPS * size[o]
        a, b = least_output(slo[o] - t, q2[o], q1[o], vlo[o], vhi[o])
        c, va[o] = least_output(shi[o] + t, q2[o], q1[o], vlo[o], vhi[o])
        vb[o] = b
        natural += min(a, c)
        total += abs(a) + abs(c)
        a, _ = least_output(mid[o] - t, q2[o], q1[o], vlo[o], vhi[o])
        b, _ = least_output(mid[o] + t, q2[o], q1[o], vlo[o], vhi[o])
        middle += min(a, b)
        total += abs(a) + abs(b)
    natural -= (d + m + 4) * EPS * total
    if steep:
        for j in range(d):
            slopes[j] = hi[j] - lo[j]
            trend[j] = 0.0
        return natural
    for j in range(d):
        c = 0.5 * (lo[j] + hi[j])
        middle += linear[j] * c + p2[j] * c * c + p1[j] * abs(c) - linear_error[j] * abs(c)
        total += abs(linear[j] * c) + p2[j] * c * c + p1[j] * abs(c)
    error = 0.0
    for j in range(d):
        a = linear[j] - linear_error[j] + 2.0 * p2[j] * lo[j] + (p1[j] if lo[j] > 0.0 else -p1[j])
        b = linear[j] + linear_error[j] + 2.0 * p2[j] * hi[j] + (-p1[j] if hi[j] < 0.0 else p1[j])
        for o in range(m):
            t = 2.0 * (n + 4) * EPS * gsize[j]
            e, f = glo[o, j] - t, ghi[o, j] + t
            c1, c2, c3, c4 = va[o] * e, va[o] * f, vb[o] * e, vb[o] * f
            a += min(min(c1, c2), min(c3, c4))
            b += max(max(c1, c2), max(c3, c4))
        trend[j] = 1.0 if a > 0.0 else (-1.0 if b < 0.0 else 0.0)
        slopes[j] = max(abs(a), abs(b)) * 0.5 * (hi[j] - lo[j])
        error += slopes[j]
        total += slopes[j]
    return max(natural, middle - error * (1.0 + 1e-12) - (d + m + 8) * EPS * total)


@compiled
def _part(kind, alpha, x, u, p2, p1, q2, q1, vlo, vhi, linear, linear_error, shift, shift_error, lo, hi, slopes, trend):
    """(bound, weight to bisect, its share in the error) of a part of a box, which is first reduced to the face on which
    a monotone term takes its minimum."""
    b = term(
        kind, alpha, x, u, p2, p1, q2, q1, vlo, vhi, linear, linear_error, shift, shift_error, lo, hi, slopes, trend
    )
    for _ in range(2):
        changed = False
        for j in range(lo.size):
            if trend[j] != 0.0 and lo[j] < hi[j]:
                changed = True
                if trend[j] > 0.0:
                    hi[j] = lo[j]
                else:
                    lo[j] = hi[j]
        if not changed:
            break
        t = term(
            kind, alpha, x, u, p2, p1, q2, q1, vlo, vhi, linear, linear_error, shift, shift_error, lo, hi, slopes, trend
        )
        b = max(b, t)
    j = np.argmax(slopes)
    return b, j, slopes[j]


@compiled
def box_holds(kind, alpha, copies, signs, u, p2, p1, q2, q1, vlo, vhi, linear, linear_error, shift, shift_error,
              constant, target, lo, hi, most):  # fmt: skip
    """(whether constant + sum_k min of the neurons' terms over [lo, hi] (H, d) is at least target, bisections used).

    copies (H, N*G, d), signs (H, G): neuron k sees row i*G + g with the multipliers signs[k, g] u[i] (u is (N, m)).
    """
    hh, d = lo.shape
    group = signs.shape[1]
    own = np.zeros((hh, copies.shape[1], u.shape[1]))
    for k in range(hh):
        for r in range(copies.shape[1]):
            for o in range(u.shape[1]):
                own[k, r, o] = signs[k, r % group] * u[r // group, o]
    size = 16  # room for the parts of each neuron; it grows
    part_lo, part_hi = np.zeros((hh, size, d)), np.zeros((hh, size, d))
    bound, error, cut = np.zeros((hh, size)), np.zeros((hh, size)), np.zeros((hh, size), np.int64)
    slopes, trend = np.zeros(d), np.zeros(d)
    count = np.ones(hh, np.int64)
    for k in range(hh):
        part_lo[k, 0] = lo[k]
        part_hi[k, 0] = hi[k]
        bound[k, 0], cut[k, 0], error[k, 0] = _part(
            kind, alpha, copies[k], own[k], p2[k], p1[k], q2[k], q1[k], vlo[k], vhi[k], linear[k], linear_error[k],
            shift[k], shift_error[k], part_lo[k, 0], part_hi[k, 0], slopes, trend,
        )  # fmt: skip
    for step in range(most + 1):
        total = constant
        best_k, worst = 0, 0
        largest = -1.0
        for k in range(hh):
            c = np.argmin(bound[k, : count[k]])
            total += bound[k, c]
            if error[k, c] > largest:
                largest, best_k, worst = error[k, c], k, c
        if total - 4.0 * hh * EPS * (abs(total) + abs(constant)) >= target:
            return True, step
        if step == most or largest <= 0.0:
            return False, step
        # bisect the worst part of the neuron whose worst part has the largest error
        k = best_k
        j = cut[k, worst]
        new = count[k]
        if new == size:
            part_lo = np.concatenate((part_lo, np.zeros((hh, size, d))), axis=1)
            part_hi = np.concatenate((part_hi, np.zeros((hh, size, d))), axis=1)
            bound = np.concatenate((bound, np.zeros((hh, size))), axis=1)
            error = np.concatenate((error, np.zeros((hh, size))), axis=1)
            cut = np.concatenate((cut, np.zeros((hh, size), np.int64)), axis=1)
            size *= 2
        count[k] += 1
        middle = 0.5 * (part_lo[k, worst, j] + part_hi[k, worst, j])
        part_lo[k, new] = part_lo[k, worst]
        part_hi[k, new] = part_hi[k, worst]
        part_lo[k, new, j] = middle
        part_hi[k, worst, j] = middle
        for c in (worst, new):
            bound[k, c], cut[k, c], error[k, c] = _part(
                kind, alpha, copies[k], own[k], p2[k], p1[k], q2[k], q1[k], vlo[k], vhi[k], linear[k], linear_error[k],
                shift[k], shift_error[k], part_lo[k, c], part_hi[k, c], slopes, trend,
            )  # fmt: skip
    return False, most


@compiled
def tiles(boxes, lo, hi):
    """Whether the boxes (L, 2*D) are the leaves of a recursive halving of [lo, hi] (D,): then they cover it."""
    d = lo.size
    index = np.arange(boxes.shape[0])
    other = np.zeros_like(index)
    most = 4096
    stack_a, stack_b = np.zeros(most, np.int64), np.zeros(most, np.int64)
    stack_lo, stack_hi = np.zeros((most, d)), np.zeros((most, d))
    stack_b[0] = boxes.shape[0]
    stack_lo[0] = lo
    stack_hi[0] = hi
    top = 1
    while top > 0:
        top -= 1
        a, b = stack_a[top], stack_b[top]
        rlo, rhi = stack_lo[top].copy(), stack_hi[top].copy()
        if b <= a:
            return False
        if b - a == 1:
            r = index[a]
            for j in range(d):
                if boxes[r, j] != rlo[j] or boxes[r, d + j] != rhi[j]:
                    return False
            continue
        found = -1
        for j in range(d):
            middle = 0.5 * (rlo[j] + rhi[j])
            apart = rlo[j] < middle < rhi[j]
            for i in range(a, b):
                if not apart:
                    break
                r = index[i]
                apart = boxes[r, d + j] <= middle or boxes[r, j] >= middle
            if apart:
                found = j
                break
        if found < 0 or top + 2 > most:
            return False
        middle = 0.5 * (rlo[found] + rhi[found])
        below, above = a, b
        for i in range(a, b):
            if boxes[index[i], d + found] <= middle:
                other[below] = index[i]
                below += 1
            else:
                above -= 1
                other[above] = index[i]
        index[a:b] = other[a:b]
        for side in range(2):
            stack_a[top], stack_b[top] = (a, below) if side == 0 else (below, b)
            stack_lo[top] = rlo
            stack_hi[top] = rhi
            if side == 0:
                stack_hi[top, found] = middle
            else:
                stack_lo[top, found] = middle
            top += 1
    return True
