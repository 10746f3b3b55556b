"""Multipliers that prove a bound of a piecewise-linear loss under linear inequalities, to full accuracy.

    sum max(lo r, hi r) >= sum u r,  lo <= u <= hi      (largest: max |r| >= sum u r,  sum |u| <= 1),   r = y - A theta,
    g.theta >= h, mu >= 0,

so A'u + G'mu = 0 makes y'u + mu'h a lower bound. A linear program (HiGHS) finds the best (u, mu); since its A'u + G'mu
is zero only up to the solver's tolerance, the multipliers between their bounds are solved for again as a linear system.
"""

from __future__ import annotations

import numpy as np


def multipliers(a: np.ndarray, y: np.ndarray, lo: np.ndarray, hi: np.ndarray, largest: bool, g: np.ndarray,
                h: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:  # fmt: skip
    """(u, mu) for rows a (n, P), y (n,), slopes lo, hi (n,) and inequalities g (m, P), h (m,); None if HiGHS fails."""
    from scipy.optimize import linprog

    n, m = len(y), len(h)
    # largest: u = p - q with p, q >= 0 and their sum at most 1
    parts = np.vstack([a, -a]) if largest else a
    gain = np.concatenate([y, -y]) if largest else y
    bounds = [(0.0, 1.0)] * (2 * n) if largest else list(zip(lo, hi, strict=True))
    matrix = np.vstack([parts, g]).T
    k = len(gain)
    total = np.concatenate([np.ones(k), np.zeros(m)])[None] if largest else None
    result = linprog(-np.concatenate([gain, h]), A_eq=matrix, b_eq=np.zeros(a.shape[1]), A_ub=total,
                     b_ub=None if total is None else np.ones(1), bounds=[*bounds, *[(0.0, None)] * m],
                     method="highs-ds")  # fmt: skip
    if result.status != 0:
        return None
    x = np.asarray(result.x)
    low = np.array([b[0] for b in bounds] + [0.0] * m)
    high = np.array([np.inf if b[1] is None else b[1] for b in bounds] + [np.inf] * m)
    x = np.clip(x, low, high)
    size = 1e-7 * np.maximum(1.0, np.abs(x))
    x = np.where(x - low < size, low, np.where(high - x < size, high, x))
    free = (x > low) & (x < high)
    rows = matrix if total is None or x[:k].sum() < 1 - 1e-6 else np.vstack([matrix, total])
    goal = np.zeros(len(rows))
    goal[a.shape[1] :] = 1.0
    for _ in range(2):
        x[free] += np.linalg.lstsq(rows[:, free], goal - rows @ x, rcond=None)[0]
    x = np.clip(x, low, high)
    u, mu = (x[:n] - x[n:k], x[k:]) if largest else (x[:n], x[n:])
    if largest and np.abs(u).sum() > 1 - 1e-12:  # the exact sum of the float64 values must not exceed 1
        shrink = (1 - 1e-13) / float(np.abs(u).sum())
        u, mu = u * shrink, mu * shrink
    return u, mu
