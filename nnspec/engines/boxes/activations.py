"""Activations as compiled scalar functions: values, derivatives, and enclosures of both over an interval.

For a pre-activation interval [a, b] the bound needs of an activation s
- the range of s,
- the range of s'' (second order enclosures; not available across a kink or jump),
- two lines p*t + q below and above s on [a, b] (first order enclosures that stay good on wide intervals).
A line is found as a slope, chosen well, and the exact least intercept that makes it valid for that slope.
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
    SILU,
    SOFTPLUS,
    STEP,
    TANH,
)
from nnspec.engines.compiled import compiled

_R3 = 1.0 / math.sqrt(3.0)
_TANH_D2 = 4.0 / (3.0 * math.sqrt(3.0))  # max of tanh''
_SIGMOID_D2 = 1.0 / (6.0 * math.sqrt(3.0))  # max of sigmoid''
_GELU_MIN_AT, _GELU_MIN = -0.7517915246935645, -0.16997120747990369
_SILU_MIN_AT, _SILU_MIN = -1.2784645427610738, -0.2784645427610738
_SILU_D2_MIN_AT, _SILU_D2_MIN = 3.4358, -0.036915  # |argmin| to 1e-3 and a lower bound of min silu''
_SQRT2 = math.sqrt(2.0)
_NORMAL = 1.0 / math.sqrt(2.0 * math.pi)


@compiled
def sigmoid(a):
    return 0.5 * (1.0 + math.tanh(0.5 * a))


@compiled
def piecewise(kind):
    """Whether the activation consists of straight pieces."""
    return kind < TANH


@compiled
def value(kind, alpha, a):
    """s(a)."""
    if kind == TANH:
        return math.tanh(a)
    if kind == RELU:
        return a if a > 0.0 else 0.0
    if kind == SIGMOID:
        return sigmoid(a)
    if kind == SOFTPLUS:
        return (a if a > 0.0 else 0.0) + math.log1p(math.exp(-abs(a)))
    if kind == LEAKY:
        return a if a >= 0.0 else alpha * a
    if kind == ABS:
        return abs(a)
    if kind == HARDTANH:
        return min(1.0, max(-1.0, a))
    if kind == SIGN:
        return 1.0 if a >= 0.0 else -1.0
    if kind == STEP:
        return 1.0 if a >= 0.0 else 0.0
    if kind == GELU:
        return 0.5 * a * math.erfc(-a / _SQRT2)
    if kind == SILU:
        return a * sigmoid(a)
    return a


@compiled
def derivatives(kind, alpha, a, f):
    """(s'(a), s''(a)) given f = s(a); one-sided at kinks, 0 for sign and step."""
    if kind == TANH:
        d = 1.0 - f * f
        return d, -2.0 * f * d
    if kind == RELU:
        return (1.0 if a > 0.0 else 0.0), 0.0
    if kind == SIGMOID:
        d = f * (1.0 - f)
        return d, d * (1.0 - 2.0 * f)
    if kind == SOFTPLUS:
        s = sigmoid(a)
        return s, s * (1.0 - s)
    if kind == LEAKY:
        return (1.0 if a >= 0.0 else alpha), 0.0
    if kind == ABS:
        return (1.0 if a >= 0.0 else -1.0), 0.0
    if kind == HARDTANH:
        return (1.0 if -1.0 < a < 1.0 else 0.0), 0.0
    if kind in (SIGN, STEP):
        return 0.0, 0.0
    if kind == GELU:
        n = _NORMAL * math.exp(-0.5 * a * a)
        return 0.5 * math.erfc(-a / _SQRT2) + a * n, n * (2.0 - a * a)
    if kind == SILU:
        s = sigmoid(a)
        d = s * (1.0 - s)
        return s + a * d, d * (2.0 + a * (1.0 - 2.0 * s))
    return 1.0, 0.0


@compiled
def value_range(kind, alpha, a, b, fa, fb):
    """Range of s over [a, b], given fa = s(a) and fb = s(b)."""
    if kind == ABS or (kind == LEAKY and alpha < 0.0):
        return (0.0 if a < 0.0 < b else min(fa, fb)), max(fa, fb)
    if kind in (GELU, SILU):
        at, least = (_GELU_MIN_AT, _GELU_MIN) if kind == GELU else (_SILU_MIN_AT, _SILU_MIN)
        return (least if a < at < b else min(fa, fb)), max(fa, fb)
    return min(fa, fb), max(fa, fb)


@compiled
def curvature_range(kind, a, b, fa, fb):
    """(lo, hi, smooth): range of s'' over [a, b]; smooth is False if a kink or jump lies inside."""
    if kind == TANH:
        ga, gb = -2.0 * fa * (1.0 - fa * fa), -2.0 * fb * (1.0 - fb * fb)
        lo, hi = (ga, gb) if ga < gb else (gb, ga)
        if fa < -_R3 < fb:
            hi = _TANH_D2
        if fa < _R3 < fb:
            lo = -_TANH_D2
        return lo, hi, True
    if kind == SIGMOID:
        ga, gb = fa * (1.0 - fa) * (1.0 - 2.0 * fa), fb * (1.0 - fb) * (1.0 - 2.0 * fb)
        lo, hi = (ga, gb) if ga < gb else (gb, ga)
        if fa < 0.5 - 0.5 * _R3 < fb:
            hi = _SIGMOID_D2
        if fa < 0.5 + 0.5 * _R3 < fb:
            lo = -_SIGMOID_D2
        return lo, hi, True
    if kind == SOFTPLUS:
        sa, sb = sigmoid(a), sigmoid(b)
        ga, gb = sa * (1.0 - sa), sb * (1.0 - sb)
        return min(ga, gb), (0.25 if a < 0.0 < b else max(ga, gb)), True
    if kind == GELU:
        ga = _NORMAL * math.exp(-0.5 * a * a) * (2.0 - a * a)
        gb = _NORMAL * math.exp(-0.5 * b * b) * (2.0 - b * b)
        lo, hi = min(ga, gb), max(ga, gb)
        if a < 0.0 < b:
            hi = 2.0 * _NORMAL
        if a < -2.0 < b or a < 2.0 < b:
            lo = -2.0 * _NORMAL * math.exp(-2.0)
        return lo, hi, True
    if kind == SILU:
        sa, sb = sigmoid(a), sigmoid(b)
        ga = sa * (1.0 - sa) * (2.0 + a * (1.0 - 2.0 * sa))
        gb = sb * (1.0 - sb) * (2.0 + b * (1.0 - 2.0 * sb))
        lo, hi = min(ga, gb), max(ga, gb)
        if a < 0.0 < b:
            hi = 0.5
        for at in (-_SILU_D2_MIN_AT, _SILU_D2_MIN_AT):
            if a - 1e-3 < at < b + 1e-3:
                lo = _SILU_D2_MIN
        return lo, hi, True
    if kind == LINEAR:
        return 0.0, 0.0, True
    if kind == HARDTANH:
        return 0.0, 0.0, not (a < -1.0 < b or a < 1.0 < b)
    if kind in (SIGN, STEP):
        return 0.0, 0.0, not (a < 0.0 <= b)
    return 0.0, 0.0, not (a < 0.0 < b)


@compiled
def _tanh_lines(a, b, fa, fb):
    """Lines below and above tanh on [a, b] (convex left of 0, concave right of it).

    Below: left of 0 the tangent at the middle, right of 0 the secant; across 0 the secant if the tangent at `a` is
    steeper, else the tangent that passes (nearly) through (b, fb). Above by symmetry.
    """
    plo, qlo = _tanh_below(a, b, fa, fb)
    phi, qhi = _tanh_below(-b, -a, -fb, -fa)
    return plo, qlo, phi, -qhi


@compiled
def _tanh_below(a, b, fa, fb):
    secant = (fb - fa) / (b - a)
    if a >= 0.0:
        slope = secant
    elif b <= 0.0:
        f = math.tanh(0.5 * (a + b))
        slope = 1.0 - f * f
    else:
        slope = secant
        if 1.0 - fa * fa < secant:
            # the touching point t < 0 of the tangent through (b, fb): fixed point iteration on the slope
            t = 0.5 * a
            for _ in range(4):
                f = math.tanh(t)
                d = 1.0 - f * f
                r = f + d * (b - t) - fb  # tangent's value at b minus fb; falls as t falls
                t = t - r / (-2.0 * f * d * (b - t) + 1e-300)
                if t < a:
                    t = a
                elif t > -1e-3:
                    t = -1e-3
            f = math.tanh(t)
            slope = 1.0 - f * f
    # least value of tanh(t) - slope t: at the ends, or where the slope is met left of 0
    q = min(fa - slope * a, fb - slope * b)
    if a < 0.0 and 0.0 < slope < 1.0:
        t = math.sqrt(1.0 - slope)
        at = -math.atanh(t)
        if a < at < b:
            q = min(q, -t - slope * at)
    elif a < 0.0 and slope >= 1.0:
        q = min(q, 0.0) if b > 0.0 else q
    return slope, q


@compiled
def lines(kind, alpha, a, b, fa, fb):
    """(p, q, P, Q) with p*t + q <= s(t) <= P*t + Q on [a, b]; fa = s(a), fb = s(b)."""
    if b - a < 1e-9:
        lo, hi = value_range(kind, alpha, a, b, fa, fb)
        return 0.0, lo - 2e-9, 0.0, hi + 2e-9
    if kind == TANH:
        return _tanh_lines(a, b, fa, fb)
    if kind == SIGMOID:
        p, q, pp, qq = _tanh_lines(0.5 * a, 0.5 * b, 2.0 * fa - 1.0, 2.0 * fb - 1.0)
        return 0.25 * p, 0.5 + 0.5 * q, 0.25 * pp, 0.5 + 0.5 * qq
    secant = (fb - fa) / (b - a)
    if kind == LINEAR:
        return 1.0, 0.0, 1.0, 0.0
    if kind in (RELU, LEAKY, ABS):
        bottom = 0.0 if kind == RELU else alpha if kind == LEAKY else -1.0
        upper = secant
        if a >= 0.0:
            lower = 1.0
        elif b <= 0.0:
            lower = bottom
        else:  # a convex kink inside: any slope between the pieces' is valid
            lower = secant
        if bottom > 1.0:  # a leaky slope above 1 makes a concave kink
            return (
                secant,
                fa - secant * a,
                lower,
                max(fa - lower * a, fb - lower * b, 0.0 if a < 0.0 < b else fa - lower * a),
            )
        q = min(fa - lower * a, fb - lower * b)
        if a < 0.0 < b:
            q = min(q, 0.0)
        return lower, q, upper, fa - upper * a
    if kind == SOFTPLUS:
        m = 0.5 * (a + b)
        p = sigmoid(m)
        return p, value(SOFTPLUS, 0.0, m) - p * m, secant, fa - secant * a
    if kind == HARDTANH:
        return _hardtanh_lines(a, b, fa, fb)
    if kind in (SIGN, STEP):
        if not (a < 0.0 <= b):
            return 0.0, fa, 0.0, fa
        jump = fb - fa
        # below: through (0, fa) and (b, fb); above: through (a, fa) and (0, fb)
        below = jump / b if b > 0.0 else 0.0
        above = jump / (-a)
        if b < -a:  # the shallow alternative is a constant
            below = 0.0
        if -a < b:
            above = 0.0
        return below, fa, above, fb
    # gelu, silu: the tangent in the middle, lowered or raised by the curvature
    m, r = 0.5 * (a + b), 0.5 * (b - a)
    f = value(kind, alpha, m)
    d, _ = derivatives(kind, alpha, m, f)
    lo, hi, _ = curvature_range(kind, a, b, fa, fb)
    below, above = 0.5 * max(0.0, -lo) * r * r, 0.5 * max(0.0, hi) * r * r
    vlo, vhi = value_range(kind, alpha, a, b, fa, fb)
    p, q, pp, qq = d, f - d * m - below, d, f - d * m + above
    if hi >= 0.0 and lo >= 0.0:
        pp, qq = secant, fa - secant * a
    elif p * m + q < vlo:
        p, q = 0.0, vlo
    if hi <= 0.0:
        p, q = secant, fa - secant * a
    elif lo < 0.0 and pp * m + qq > vhi:
        pp, qq = 0.0, vhi
    return p, q, pp, qq


@compiled
def _hardtanh_lines(a, b, fa, fb):
    secant = (fb - fa) / (b - a)
    lower = secant if a >= -1.0 else (0.0 if b <= -1.0 else min(secant if b <= 1.0 else 2.0 / (b + 1.0), 1.0))
    q = min(fa - lower * a, fb - lower * b)
    if a < -1.0 < b:
        q = min(q, -1.0 + lower)
    if a < 1.0 < b:
        q = min(q, 1.0 - lower)
    upper = secant if b <= 1.0 else (0.0 if a >= 1.0 else min(secant if a >= -1.0 else 2.0 / (1.0 - a), 1.0))
    qq = max(fa - upper * a, fb - upper * b)
    if a < -1.0 < b:
        qq = max(qq, -1.0 + upper)
    if a < 1.0 < b:
        qq = max(qq, 1.0 - upper)
    return lower, q, upper, qq


def apply(kind: int, alpha: float, a: np.ndarray) -> np.ndarray:
    """s on an array (any shape), for code outside the kernels."""
    return np.array([value(kind, alpha, t) for t in a.reshape(-1)]).reshape(a.shape)
