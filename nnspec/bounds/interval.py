"""Interval arithmetic on numpy arrays, rounded outwards.

An operation computes its end points in float64 and then moves them outwards by a bound on the rounding error, so the
exact result always lies inside: one unit in the last place for a single operation, a few for transcendental functions
(whose libraries promise less than one; we allow `FUNCTION_ULPS`), and the standard bound gamma_n = n u / (1 - n u)
times sum |x_i||y_i| for a sum of n products (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section
3.1). Infinite ends are allowed; 0 * inf counts as 0, since an infinite end stands for "no bound known".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FUNCTION_ULPS = 4
"""Units in the last place by which results of exp, tanh, log, erf ... are widened."""

_UNIT = np.finfo(float).eps / 2


def down(x: np.ndarray, ulps: int = 1) -> np.ndarray:
    """`x` moved towards -inf by `ulps` units in the last place."""
    for _ in range(ulps):
        x = np.nextafter(x, -np.inf)
    return x


def up(x: np.ndarray, ulps: int = 1) -> np.ndarray:
    """`x` moved towards +inf by `ulps` units in the last place."""
    for _ in range(ulps):
        x = np.nextafter(x, np.inf)
    return x


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        p = a * b
    return np.where((a == 0) | (b == 0), 0.0, p)


def _widened(lo: np.ndarray, hi: np.ndarray, size_lo: np.ndarray, size_hi: np.ndarray, n: int) -> Interval:
    """Sums of n terms whose absolute values add up to `size`, widened by gamma_n * size; exact where size is 0."""
    with np.errstate(invalid="ignore"):
        lo = np.where(size_lo == 0, 0.0, down(lo - (n + 4) * _UNIT * 1.01 * size_lo))
        hi = np.where(size_hi == 0, 0.0, up(hi + (n + 4) * _UNIT * 1.01 * size_hi))
    return Interval(np.where(np.isnan(lo), -np.inf, lo), np.where(np.isnan(hi), np.inf, hi))


@dataclass(frozen=True, eq=False)
class Interval:
    """Arrays of intervals [lo, hi]; all operations broadcast like numpy."""

    lo: np.ndarray
    hi: np.ndarray

    @staticmethod
    def of(lo: np.ndarray | float, hi: np.ndarray | float) -> Interval:
        lo, hi = np.broadcast_arrays(np.asarray(lo, dtype=float), np.asarray(hi, dtype=float))
        return Interval(lo, hi)

    @staticmethod
    def point(x: np.ndarray | float) -> Interval:
        x = np.asarray(x, dtype=float)
        return Interval(x, x)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.lo.shape

    @property
    def finite(self) -> bool:
        return bool(np.all(np.isfinite(self.lo)) and np.all(np.isfinite(self.hi)))

    @property
    def constant(self) -> np.ndarray:
        """Where the interval is a single number."""
        return self.lo == self.hi

    @property
    def magnitude(self) -> np.ndarray:
        return np.maximum(np.abs(self.lo), np.abs(self.hi))

    def __getitem__(self, key: Any) -> Interval:
        return Interval(self.lo[key], self.hi[key])

    def reshape(self, *shape: int) -> Interval:
        return Interval(self.lo.reshape(*shape), self.hi.reshape(*shape))

    def contains(self, x: np.ndarray | float, tolerance: float = 0.0) -> bool:
        return bool(np.all(self.lo - tolerance <= x) and np.all(x <= self.hi + tolerance))

    def intersect(self, other: Interval) -> Interval:
        """The common part. Where rounding makes it empty by a hair, the hull of the nearest ends."""
        lo, hi = np.maximum(self.lo, other.lo), np.minimum(self.hi, other.hi)
        return Interval(np.minimum(lo, hi), np.maximum(lo, hi))

    def hull(self, other: Interval) -> Interval:
        return Interval(np.minimum(self.lo, other.lo), np.maximum(self.hi, other.hi))

    def __neg__(self) -> Interval:
        return Interval(-self.hi, -self.lo)

    def __add__(self, other: Interval) -> Interval:
        lo, hi = self.lo + other.lo, self.hi + other.hi  # a float64 sum that is 0 is exact
        return Interval(np.where(lo == 0, 0.0, down(lo)), np.where(hi == 0, 0.0, up(hi)))

    def __sub__(self, other: Interval) -> Interval:
        return self + (-other)

    def __mul__(self, other: Interval) -> Interval:
        products = [_times(a, b) for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        lo, hi = np.minimum.reduce(products), np.maximum.reduce(products)
        exact = ((self.lo == 0) & (self.hi == 0)) | ((other.lo == 0) & (other.hi == 0))
        return Interval(np.where(exact, 0.0, down(lo)), np.where(exact, 0.0, up(hi)))

    def scale(self, factor: np.ndarray | float) -> Interval:
        return self * Interval.point(factor)

    def divide(self, other: Interval) -> Interval:
        """Quotient; unbounded where the divisor's interval contains 0."""
        zero = (other.lo <= 0) & (other.hi >= 0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            quotients = [a / b for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        quotients = [np.where(np.isnan(q), 0.0, q) for q in quotients]  # inf / inf: an end of no information
        lo, hi = np.minimum.reduce(quotients), np.maximum.reduce(quotients)
        return Interval(np.where(zero, -np.inf, down(lo)), np.where(zero, np.inf, up(hi)))

    def sum(self, axis: int | tuple[int, ...] | None = None) -> Interval:
        """Sum along an axis, widened by the bound on the error of a float64 sum in any order."""
        axes = tuple(range(self.lo.ndim)) if axis is None else (axis,) if isinstance(axis, int) else axis
        n = math.prod(self.lo.shape[a] for a in axes) if self.lo.ndim else 1
        size_lo, size_hi = np.abs(self.lo).sum(axis=axis), np.abs(self.hi).sum(axis=axis)
        with np.errstate(invalid="ignore"):
            return _widened(self.lo.sum(axis=axis), self.hi.sum(axis=axis), size_lo, size_hi, n)

    def power(self, exponent: float) -> Interval:
        """x^k for a constant k; non-integer k wants x >= 0 and clips there. Unbounded where it has a pole."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if exponent != int(exponent):
                base = Interval(np.maximum(self.lo, 0.0), np.maximum(self.hi, 0.0))
                a, b = base.lo**exponent, base.hi**exponent
                lo, hi = np.minimum(a, b), np.maximum(a, b)
                return Interval(np.maximum(down(lo, FUNCTION_ULPS), 0.0), up(hi, FUNCTION_ULPS))
            if exponent < 0:
                return Interval.point(1.0).divide(self.power(-exponent))
            a, b = self.lo**exponent, self.hi**exponent
        lo, hi = np.minimum(a, b), np.maximum(a, b)
        if exponent == 0:
            return Interval.point(np.ones_like(lo))
        if exponent % 2 == 0:
            through = (self.lo <= 0) & (self.hi >= 0)
            return Interval(np.where(through, 0.0, np.maximum(down(lo, FUNCTION_ULPS), 0.0)), up(hi, FUNCTION_ULPS))
        return Interval(down(lo, FUNCTION_ULPS), up(hi, FUNCTION_ULPS))

    def increasing(self, f: Callable[[np.ndarray], np.ndarray], floor: float = -np.inf,
                   ceiling: float = np.inf, exact: bool = False) -> Interval:  # fmt: skip
        """Image under an increasing function with values in [floor, ceiling]; `exact` if it is free of rounding."""
        ulps = 0 if exact else FUNCTION_ULPS
        lo, hi = f(self.lo), f(self.hi)
        return Interval(np.maximum(down(lo, ulps), floor), np.minimum(up(hi, ulps), ceiling))

    def abs(self) -> Interval:
        through = (self.lo <= 0) & (self.hi >= 0)
        a, b = np.abs(self.lo), np.abs(self.hi)
        return Interval(np.where(through, 0.0, np.minimum(a, b)), np.maximum(a, b))


def minimum(parts: Sequence[Interval]) -> Interval:
    return Interval(np.minimum.reduce([p.lo for p in parts]), np.minimum.reduce([p.hi for p in parts]))


def maximum(parts: Sequence[Interval]) -> Interval:
    return Interval(np.maximum.reduce([p.lo for p in parts]), np.maximum.reduce([p.hi for p in parts]))


def matmul(x: Interval, w: Interval) -> Interval:
    """Enclosure of x @ w.T for x (N, n) and w (m, n); (N, m). Exact up to rounding when either side is constant."""
    n = x.shape[-1]
    if n == 0:
        return Interval.point(np.zeros((x.shape[0], w.shape[0])))
    if not (x.finite and w.finite):
        return (x[:, None, :] * w[None, :, :]).sum(axis=2)
    if np.all(x.constant):
        plus, minus = np.maximum(x.lo, 0.0), np.minimum(x.lo, 0.0)
        lo, hi = plus @ w.lo.T + minus @ w.hi.T, plus @ w.hi.T + minus @ w.lo.T
        size_lo = plus @ np.abs(w.lo).T - minus @ np.abs(w.hi).T
        size_hi = plus @ np.abs(w.hi).T - minus @ np.abs(w.lo).T
    elif np.all(w.constant):
        plus, minus = np.maximum(w.lo, 0.0), np.minimum(w.lo, 0.0)
        lo, hi = x.lo @ plus.T + x.hi @ minus.T, x.hi @ plus.T + x.lo @ minus.T
        size_lo = np.abs(x.lo) @ plus.T - np.abs(x.hi) @ minus.T
        size_hi = np.abs(x.hi) @ plus.T - np.abs(x.lo) @ minus.T
    else:
        return (x[:, None, :] * w[None, :, :]).sum(axis=2)
    return _widened(lo, hi, size_lo, size_hi, 2 * n)
