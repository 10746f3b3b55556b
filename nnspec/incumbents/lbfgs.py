"""L-BFGS in a box for many starts at once.

A two-metric projection method (Bertsekas 1982; Nocedal 1980 for the limited memory): coordinates at a bound whose
gradient points outwards are held, the others move along the L-BFGS direction, steps are projected into the box and
shortened until the value falls enough (Armijo). Each start has its own box, which also serves to hold coordinates
fixed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

MEMORY = 8
STEP_SIZES = 12  # 1, 0.35, 0.35^2 ...
_ARMIJO = 1e-4


ValueAndGradient = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def minimise(f: ValueAndGradient, z: np.ndarray, lo: np.ndarray, hi: np.ndarray, steps: int = 200,
             tolerance: float = 1e-9, deadline: float | None = None) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Minimise f from starts z (S, P) inside lo..hi (S, P); returns the points (S, P) and values (S,).

    A start is finished when a step improves it by less than `tolerance` relatively, twice in a row.
    """
    z = np.clip(np.array(z, dtype=float), lo, hi)
    lo, hi = np.broadcast_to(lo, z.shape), np.broadcast_to(hi, z.shape)
    best_z, best_f = z.copy(), np.full(len(z), np.inf)
    alive = np.arange(len(z))
    value, g = f(z)
    best_f[:] = np.where(np.isfinite(value), value, np.inf)
    s_memory: list[np.ndarray] = []
    y_memory: list[np.ndarray] = []
    stalled = np.zeros(len(z), dtype=int)
    for _ in range(steps):
        if deadline is not None and time.monotonic() > deadline:
            break
        held = ((z <= lo) & (g > 0)) | ((z >= hi) & (g < 0)) | (lo == hi)
        free = np.where(held, 0.0, 1.0)
        d = -_direction(g * free, s_memory, y_memory, free)
        slope = (d * g).sum(axis=1)
        bad = ~(slope < 0)
        d[bad] = -(g * free)[bad]
        slope[bad] = (d[bad] * g[bad]).sum(axis=1)
        if not s_memory:
            d /= np.maximum(1.0, np.linalg.norm(d, axis=1, keepdims=True))
        new_z, new_f, new_g = z.copy(), value.copy(), g.copy()
        todo = np.flatnonzero(slope < 0)
        tried = 0
        while len(todo) and tried < STEP_SIZES:
            # one step size at a time for all; the few that need short steps try all that are left at once
            few = len(todo) * (STEP_SIZES - tried) <= max(len(z), 100)
            sizes = np.repeat(0.35 ** np.arange(tried, STEP_SIZES if few else tried + 1), len(todo))
            rows = np.tile(todo, len(sizes) // len(todo))
            trial = np.clip(z[rows] + sizes[:, None] * d[rows], lo[rows], hi[rows])
            tf, tg = f(trial)
            moved = ((trial - z[rows]) * g[rows]).sum(axis=1)
            good = np.isfinite(tf) & (tf <= value[rows] + _ARMIJO * np.minimum(moved, 0.0)) & (tf < value[rows])
            done, first = np.unique(rows[good], return_index=True)  # the longest step comes first
            taken = np.flatnonzero(good)[first]
            new_z[done], new_f[done], new_g[done] = trial[taken], tf[taken], tg[taken]
            todo = np.setdiff1d(todo, done, assume_unique=True)
            tried = STEP_SIZES if few else tried + 1
        gain = value - new_f
        small = ~(gain > tolerance * np.maximum(1e-12, np.abs(value)))
        stalled = np.where(small, stalled + 1, 0)
        s_memory.append(new_z - z)
        y_memory.append(new_g - g)
        s_memory, y_memory = s_memory[-MEMORY:], y_memory[-MEMORY:]
        z, value, g = new_z, new_f, new_g
        keep = stalled < 2
        best_z[alive], best_f[alive] = z, np.where(np.isfinite(value), value, np.inf)
        if not keep.any():
            break
        if keep.mean() < 0.8:
            alive, z, value, g, lo, hi = alive[keep], z[keep], value[keep], g[keep], lo[keep], hi[keep]
            stalled = stalled[keep]
            s_memory, y_memory = [s[keep] for s in s_memory], [y[keep] for y in y_memory]
    return best_z, best_f


def _direction(g: np.ndarray, s_memory: list[np.ndarray], y_memory: list[np.ndarray], free: np.ndarray) -> np.ndarray:
    """The two-loop recursion on the free coordinates; pairs without positive curvature are left out, per start."""
    q = g.copy()
    rhos, alphas, pairs = [], [], []
    for s, y in zip(reversed(s_memory), reversed(y_memory)):
        s, y = s * free, y * free
        sy = (s * y).sum(axis=1)
        ok = sy > 1e-10 * (y * y).sum(axis=1)
        rho = np.where(ok, 1.0 / np.where(ok, sy, 1.0), 0.0)
        alpha = rho * (s * q).sum(axis=1)
        q -= alpha[:, None] * y
        rhos.append(rho)
        alphas.append(alpha)
        pairs.append((s, y))
    if pairs:
        gamma = np.ones(len(g))
        unset = np.ones(len(g), dtype=bool)
        for (s, y), rho in zip(pairs, rhos):
            use = unset & (rho > 0)
            gamma[use] = ((s * y).sum(axis=1) / np.maximum((y * y).sum(axis=1), 1e-300))[use]
            unset &= ~use
        q *= gamma[:, None]
    for (s, y), rho, alpha in zip(reversed(pairs), reversed(rhos), reversed(alphas)):
        beta = rho * (y * q).sum(axis=1)
        q += (alpha - beta)[:, None] * s
    return q
