"""Whether open cells are enough for step and sign neurons without a bias.

Such a neuron is on where w.x >= 0, so also at the samples B of its jump, w.x = 0. If some u has u.x > 0 on B, the
weights w + u / n have the same sides for large n, and no sample but those at 0, which are on anyway, lies on the jump.
By Gordan's theorem there is no such u only if some samples of B depend on each other with positive coefficients; the
fewest ones that do are at most as many as their inputs, as they lie in the plane w.x = 0. Samples in general position
have no such dependences.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

MOST_SUBSETS = 100_000
"""Sets of samples that are looked at one by one."""


def opposite(rows: np.ndarray) -> bool:
    """Whether at most p rows (m, p) depend on each other with positive coefficients, or there are too many to tell."""
    rows = rows[np.any(rows != 0.0, axis=1)]
    p = rows.shape[1]
    if p < 2 or np.all((rows >= 0.0).all(axis=0) | (rows <= 0.0).all(axis=0)):  # all on one side of a plane
        return False
    rows = np.unique(np.round(rows / np.linalg.norm(rows, axis=1, keepdims=True), 12), axis=0)
    if sum(math.comb(len(rows), size) for size in range(2, p + 1)) > MOST_SUBSETS:
        return True
    for size in range(2, min(p, len(rows)) + 1):
        chosen = np.array(list(itertools.combinations(range(len(rows)), size)))
        u, s, _ = np.linalg.svd(rows[chosen])
        weights = u[:, :, -1]
        if np.any((s[:, -1] < 1e-9) & (np.all(weights > 1e-9, axis=1) | np.all(weights < -1e-9, axis=1))):
            return True
    return False
