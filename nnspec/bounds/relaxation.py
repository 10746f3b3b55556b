"""Two lines that enclose an activation over an interval: a z + b <= f(z) <= c z + d for l <= z <= u.

ReLU and other convex f: above the chord, below a tangent; concave f the other way round. S-shaped f (tanh, sigmoid)
across their inflection: the lines through the ends with the smaller of the two end slopes (Zhang et al. 2018, CROWN).
Everything else: the constants of its range. Where an end is infinite: constants as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnspec.bounds.interval import Interval
from nnspec.bounds.propagate import image
from nnspec.problem.forward import activate
from nnspec.problem.network import Activation

_ROUNDING = 1e-14  # relative outward shift of intercepts: covers the rounding of values, slopes and products


@dataclass(frozen=True, eq=False)
class Lines:
    """Slopes and intercepts, arrays of the shape of the pre-activations."""

    low_slope: np.ndarray
    low: np.ndarray
    high_slope: np.ndarray
    high: np.ndarray


def lines(a: Activation, z: Interval) -> Lines:
    """The enclosing lines of an activation over z."""
    lo, hi = z.lo, z.hi
    out = image(a, z)
    low_slope, high_slope = np.zeros(z.shape), np.zeros(z.shape)
    low, high = out.lo.copy(), out.hi.copy()
    if a.kind == "linear":
        return Lines(np.ones(z.shape), np.zeros(z.shape), np.ones(z.shape), np.zeros(z.shape))
    finite = np.isfinite(lo) & np.isfinite(hi) & (hi > lo)
    safe_lo, safe_hi = np.where(finite, lo, 0.0), np.where(finite, hi, 1.0)
    f_lo, f_hi = activate(a, safe_lo), activate(a, safe_hi)
    chord = (f_hi - f_lo) / (safe_hi - safe_lo)
    d_lo, d_hi, middle = _slope(a, safe_lo), _slope(a, safe_hi), 0.5 * (safe_lo + safe_hi)
    touch, d_middle = activate(a, middle), _slope(a, middle)
    convex, concave, s_shaped = _shape(a, safe_lo, safe_hi)

    def put(where: np.ndarray, above: bool, slope: np.ndarray, at: np.ndarray, value: np.ndarray) -> None:
        where = where & finite
        intercept = value - slope * at
        slack = _ROUNDING * (
            np.abs(value) + np.abs(slope) * (np.abs(at) + np.maximum(np.abs(safe_lo), np.abs(safe_hi)))
        )
        if above:
            high_slope[where], high[where] = slope[where], (intercept + slack)[where]
        else:
            low_slope[where], low[where] = slope[where], (intercept - slack)[where]

    if a.kind in ("relu", "leaky_relu", "abs"):  # tangent at the kink: the steeper side that spans more of the interval
        kink = np.where(safe_hi >= -safe_lo, _slope(a, np.ones(z.shape)), _slope(a, -np.ones(z.shape)))
        through = (safe_lo < 0) & (safe_hi > 0)
        d_middle, touch = np.where(through, kink, d_middle), np.where(through, 0.0, touch)
        middle = np.where(through, 0.0, middle)
    put(convex, True, chord, safe_lo, f_lo)
    put(convex, False, d_middle, middle, touch)
    put(concave, False, chord, safe_lo, f_lo)
    put(concave, True, d_middle, middle, touch)
    least = np.minimum(d_lo, d_hi)
    put(s_shaped, False, least, safe_lo, f_lo)
    put(s_shaped, True, least, safe_hi, f_hi)
    return Lines(low_slope, low, high_slope, high)


def _shape(a: Activation, lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the activation is convex, concave, or convex then concave over [lo, hi]."""
    yes, no = np.ones(lo.shape, dtype=bool), np.zeros(lo.shape, dtype=bool)
    match a.kind:
        case "relu" | "abs" | "softplus":
            return yes, no, no
        case "leaky_relu":
            return (yes, no, no) if a.alpha <= 1 else (no, yes, no)
        case "tanh" | "sigmoid":
            return hi <= 0, lo >= 0, (lo < 0) & (hi > 0)
        case "hardtanh":
            return hi <= 1, (lo >= -1) & (hi > 1), no
    return no, no, no


def _slope(a: Activation, z: np.ndarray) -> np.ndarray:
    """A derivative (a one-sided one at kinks)."""
    match a.kind:
        case "relu":
            return (z > 0).astype(float)
        case "leaky_relu":
            return np.where(z > 0, 1.0, a.alpha)
        case "abs":
            return np.where(z > 0, 1.0, -1.0)
        case "hardtanh":
            return ((z >= -1) & (z <= 1)).astype(float)
        case "tanh":
            return 1 - np.tanh(z) ** 2
        case "sigmoid":
            s = activate(a, z)
            return s * (1 - s)
        case "softplus":
            return activate(Activation("sigmoid"), z)
    return np.zeros(z.shape)
