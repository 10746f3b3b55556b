"""The convex losses as compiled functions: value, smoothed derivatives, conjugate.

With weight c > 0 of a sample, the loss term c*l(f, y) has the conjugate c*l*(u/c) in f, so for *every* u with a finite
conjugate c*l(f, y) >= u.f - c*l*(u/c): the bound needs nothing else. Which u is used is a matter of quality only; it
comes from the gradient of a smoothed loss (tau > 0 for the losses with kinks), whose values all lie in the
conjugate's domain.

| loss | smoothed for its gradient as | conjugate of l at u | domain |
|---|---|---|---|
| sse | itself | u^2/4 + u y | all u |
| sae | sqrt(r^2 + tau^2) | u y | abs(u) <= 1 |
| pinball(t) | sqrt(r^2 + tau^2)/2 + (1/2 - t) r | u y | -t <= u <= 1 - t |
| huber(d) | itself | u^2/2 + u y | abs(u) <= d |
| hinge, one output, s = +-1 | ((M - s f) + sqrt((M - s f)^2 + tau^2))/2 | -M a | u = -s a, 0 <= a <= 1 |
| squared_hinge, one output | itself | a^2/4 - M a | u = -s a, a >= 0 |
| logistic | itself | a log a + (1 - a) log(1 - a) | u = -s a, 0 <= a <= 1 |
| cross_entropy, several outputs | itself | sum_c p_c log p_c | p = u + e_y >= 0, sum p = 1 |
| hinge, C outputs | tau lse((f_c + M [c != y])/tau) - f_y | -M a | u_c >= 0, a = sum of u_c <= 1 (c != y), u_y = -a |
| squared_hinge, several outputs | the square of that | a^2/4 - M a | as before without a <= 1 |
| max_error (over all samples, weight c) | tau logsumexp(+-r/tau) | sum u y | sum abs(u) <= c |

Sources: Rockafellar, Convex Analysis (1970), sections 12 and 16; Crammer and Singer (2001) for the multiclass hinge.
"""

# mypy: disallow-untyped-defs=False
# Compiled functions carry no hints: their types are numba's; docstrings give the shapes.
from __future__ import annotations

import math

import numpy as np

from nnspec.engines.boxes.kinds import (
    CLASS_HINGE,
    CLASS_SQUARED,
    CROSS_ENTROPY,
    HINGE,
    HUBER,
    LOGISTIC,
    MAX_ERROR,
    PINBALL,
    SAE,
    SQUARED_HINGE,
    SSE,
)  # fmt: skip
from nnspec.engines.boxes.types import FLOAT, INT, MATRIX, PAIR, VECTOR
from nnspec.engines.compiled import compiled, linked


@compiled
def separable(loss):
    """Whether the loss is a sum over outputs."""
    return loss <= LOGISTIC


@compiled
def kinked(loss):
    """Whether the loss is smoothed."""
    return loss in (SAE, PINBALL, HINGE) or loss >= CLASS_HINGE


@compiled
def scalar(loss, par, f, y, tau):
    """(value, gradient, curvature) of a separable loss at output f, smoothed by tau >= 0; par is delta, q or margin."""
    if loss == SSE:
        r = f - y
        return r * r, 2.0 * r, 2.0
    if loss in (SAE, PINBALL):
        r = f - y
        root = math.sqrt(r * r + tau * tau)
        g = r / root if root > 0.0 else 0.0
        c = tau * tau / (root * root * root) if root > 0.0 else 0.0
        if loss == SAE:
            return root, g, c
        return 0.5 * root + (0.5 - par) * r, 0.5 * g + 0.5 - par, 0.5 * c
    if loss == HUBER:
        r = f - y
        a = abs(r)
        if a <= par:
            return 0.5 * r * r, r, 1.0
        return par * (a - 0.5 * par), (par if r > 0.0 else -par), par / a
    if loss == HINGE:
        z = par - y * f
        root = math.sqrt(z * z + tau * tau)
        g = 0.5 * (1.0 + (z / root if root > 0.0 else 0.0))
        c = 0.5 * tau * tau / (root * root * root) if root > 0.0 else 0.0
        return 0.5 * (z + root), -y * g, c
    if loss == SQUARED_HINGE:
        z = par - y * f
        if z > 0.0:
            return z * z, -2.0 * y * z, 2.0
        return 0.0, 0.0, 1e-3
    z = y * f  # logistic
    e = math.exp(-abs(z))
    a = e / (1.0 + e) if z > 0.0 else 1.0 / (1.0 + e)
    return (0.0 if z > 0.0 else -z) + math.log1p(e), -y * a, a * (1.0 - a) + 1e-12


@compiled
def class_loss(loss, par, f, label, tau, g):
    """(value, t): a class loss of the outputs f (m,) of one sample, gradient into g; t the hinge before squaring.

    The Hessian is scale*(diag(p) - p p') with p = g/s + e_y, s = 1 or 2t, scale = s/tau (tau = 1 for cross entropy),
    plus (1/(2 t^2)) g g' for the squared hinge.
    """
    m = f.size
    if loss == CROSS_ENTROPY:
        tau, par = 1.0, 0.0
    top = -math.inf
    for c in range(m):
        top = max(top, f[c] + (0.0 if c == label else par))
    if tau == 0.0:
        t = top - f[label]
        return (t * t if loss == CLASS_SQUARED else t), t
    total = 0.0
    for c in range(m):
        g[c] = math.exp((f[c] + (0.0 if c == label else par) - top) / tau)
        total += g[c]
    t = top + tau * math.log(total) - f[label]
    rest = 0.0
    for c in range(m):
        g[c] /= total
        if c != label:
            rest += g[c]
    g[label] = -rest
    if loss == CLASS_SQUARED:
        for c in range(m):
            g[c] *= 2.0 * t
        return t * t, t
    return t, t


@linked(FLOAT(INT, FLOAT, MATRIX, MATRIX, VECTOR))
def total_loss(loss, par, f, y, cw):
    """The loss, not smoothed, of outputs f (N, m); targets y (N, m), signs (N, 1) or class numbers (N, 1)."""
    n, m = f.shape
    total = 0.0
    if loss == MAX_ERROR:
        for i in range(n):
            for o in range(m):
                total = max(total, abs(f[i, o] - y[i, o]))
        return total * cw[0]
    if separable(loss):
        for i in range(n):
            for o in range(m):
                total += cw[i] * scalar(loss, par, f[i, o], y[i, o], 0.0)[0]
        return total
    none = np.zeros(0)
    for i in range(n):
        t = 0.0 if loss == CROSS_ENTROPY else 1.0
        if t == 0.0:
            top = -math.inf
            for c in range(m):
                top = max(top, f[i, c])
            for c in range(m):
                t += math.exp(f[i, c] - top)
            total += cw[i] * (top + math.log(t) - f[i, int(y[i, 0])])
        else:
            total += cw[i] * class_loss(loss, par, f[i], int(y[i, 0]), 0.0, none)[0]
    return total


@compiled
def _entropy(p):
    return p * math.log(p) if p > 0.0 else 0.0


@linked(PAIR(INT, FLOAT, MATRIX, MATRIX, VECTOR))
def conjugate(loss, par, u, y, cw):
    """(sum_i c_i l*(u_i/c_i), magnitude): u (N, m) is moved into the conjugate's domain in place where rounding left
    it.

    magnitude bounds the sum of the absolute values of all terms, for the bound on rounding errors.
    """
    n, m = u.shape
    total = 0.0
    size = 0.0
    if loss == MAX_ERROR:
        t = 0.0
        for i in range(n):
            for o in range(m):
                t += abs(u[i, o])
        if t > cw[0]:
            t = cw[0] / t * (1.0 - 1e-15 * n * m)
            for i in range(n):
                for o in range(m):
                    u[i, o] *= t
        for i in range(n):
            for o in range(m):
                total += u[i, o] * y[i, o]
                size += abs(u[i, o] * y[i, o])
        return total, size
    for i in range(n):
        c = cw[i]
        if separable(loss):
            for o in range(m):
                a = u[i, o] / c
                t = y[i, o]
                if loss == SSE:
                    z = a * a * 0.25 + a * t
                    size += c * (a * a + abs(a * t))
                elif loss == HUBER:
                    a = min(par, max(-par, a))
                    z = 0.5 * a * a + a * t
                    size += c * (a * a + abs(a * t))
                elif loss in (SAE, PINBALL):
                    a = min(1.0, max(-1.0, a)) if loss == SAE else min(1.0 - par, max(-par, a))
                    z = a * t
                    size += c * abs(z)
                else:
                    b = max(0.0, -t * a)
                    if loss == HINGE:
                        b = min(1.0, b)
                        z = -par * b
                    elif loss == SQUARED_HINGE:
                        z = 0.25 * b * b - par * b
                        size += c * b * b
                    else:
                        b = min(1.0, b)
                        z = _entropy(b) + _entropy(1.0 - b)
                    a = -t * b
                    size += c * (abs(par * b) + 1.0)
                u[i, o] = c * a
                total += c * z
        else:
            label = int(y[i, 0])
            rest = 0.0
            for o in range(m):
                if o != label:
                    u[i, o] = max(0.0, u[i, o])
                    rest += u[i, o] / c
            if rest > 1.0 and loss != CLASS_SQUARED:
                for o in range(m):
                    u[i, o] /= rest * (1.0 + 1e-15 * m)
                rest = 1.0
            u[i, label] = -c * rest
            if loss == CROSS_ENTROPY:
                z = _entropy(max(0.0, 1.0 - rest))
                for o in range(m):
                    if o != label:
                        z += _entropy(u[i, o] / c)
            elif loss == CLASS_HINGE:
                z = -par * rest
            else:
                z = 0.25 * rest * rest - par * rest
            size += c * (1.0 + abs(par) * rest + rest * rest)
            total += c * z
    return total, size
