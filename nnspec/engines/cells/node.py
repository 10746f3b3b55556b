"""The rows of a node's convex problem: samples, the largest error, the pattern's inequalities (numba)."""

# mypy: disable-error-code="arg-type,call-arg,assignment"
from __future__ import annotations

import numpy as np

from nnspec.engines.cells.arrays import Rows
from nnspec.engines.cells.traverse import Cones, locate
from nnspec.engines.compiled import bare


@bare
def put_sample(rows: np.ndarray, y: np.ndarray, lo: np.ndarray, hi: np.ndarray, kappa: np.ndarray, m: int,
               row: np.ndarray, samples: Rows, i: int) -> int:  # fmt: skip
    """Put sample i, with this row of its pieces, into the rows from m on; the number of rows then."""
    size = row.shape[0]
    for side in range(2 if samples.largest else 1):
        s = 1.0 if side == 0 else -1.0
        for j in range(size):
            rows[m, j] = s * row[j]
        y[m] = s * samples.y[i]
        lo[m] = samples.lo[i]
        hi[m] = samples.hi[i]
        kappa[m] = samples.kappa[i]
        if samples.largest:  # row z + e >= y, e - row z >= -y
            rows[m, size - 1] = 1.0
            lo[m] = 0.0
            hi[m] = np.inf
            kappa[m] = 0.0
        m += 1
    return m


@bare
def put_largest(rows: np.ndarray, lo: np.ndarray, hi: np.ndarray, m: int) -> None:
    """Row m minimises max(e, 0)."""
    rows[m, rows.shape[1] - 1] = -1.0
    lo[m] = 0.0
    hi[m] = 1.0


@bare
def put_facets(t: int, neurons: int, pieces: int, every: bool, cuts: np.ndarray, chosen: np.ndarray, cones: Cones,
               seen: np.ndarray, rows: np.ndarray, rhs: np.ndarray, lo: np.ndarray, hi: np.ndarray, kappa: np.ndarray,
               m: int) -> int:  # fmt: skip
    """Append the inequalities of the patterns on t samples to the rows from m on; the number of rows then.

    Those of the polytopes' facets, or all of them (`every`, and before there are polytopes).
    """
    size = rows.shape[1]
    each = pieces - 1
    r = cones.inverse.shape[1]
    whole = every or t < cones.basis
    for k in range(neurons):
        for i in range(t * each):
            seen[i] = whole
        if not whole:
            owner, depth, slot = locate(k, t, pieces, cones)
            for v in range(cones.counts[owner, depth, slot]):
                for a in range(r - 1):
                    f = cones.facets[owner, depth, slot, v, a]
                    if f >= r:
                        seen[f - r] = True
                    elif f >= cones.fixed[k]:
                        seen[(f - cones.fixed[k]) * each] = True
        for i in range(t):
            piece = chosen[i, k]
            for c in range(max(piece - 1, 0), min(piece + 1, each)):
                if not seen[i * each + c]:
                    continue
                s = 1.0 if piece > c else -1.0
                norm = 0.0
                for j in range(size):
                    rows[m, j] = s * cuts[k, i, c, j]
                    norm += rows[m, j] ** 2
                if norm == 0.0:  # a sample at the origin
                    continue
                rhs[m] = 0.0
                lo[m] = 0.0
                hi[m] = np.inf
                kappa[m] = 0.0
                m += 1
    return m
