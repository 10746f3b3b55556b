"""Cutting planes of a ReLU neuron's convex hull (Anderson, Huchette, Ma, Tjandraatmadja and Vielma 2020).

Let h = max(0, z), z = c + sum_i a_i x_i over a box, with a binary b that is 1 if h = z and 0 if h = 0 >= z. The hull of
{(x, h, b)} needs, besides the big-M rows, a row for each set I of terms:
    h <= sum_{i in I} a_i (x_i - lo_i (1 - b)) + (c + sum_{i not in I} a_i hi_i) b,
where lo_i and hi_i are the ends of x_i at which a_i x_i is least and greatest. (b = 1: z with the terms outside I at
their greatest. b = 0: the terms in I are no less than at their least.) The most violated one at a point takes i into I
exactly if a_i (x_i - lo_i (1 - b)) < a_i hi_i b: separation is a pass over the terms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnspec.program.affine import Affine, concatenate

ROUNDING = 1e-12
"""Cuts are moved outwards by this much of the size of their terms: hundreds of times the rounding of their sums."""


@dataclass(frozen=True, eq=False)
class Neurons:
    """ReLU neurons of a program: pre-activations z (n,), columns of h and of the binaries "active", a name."""

    z: Affine
    h: np.ndarray
    active: np.ndarray
    name: str


def violated_cuts(neurons: Neurons, lo: np.ndarray, hi: np.ndarray, x: np.ndarray, violation: float) -> Affine:
    """Hull cuts that x violates by more than `violation` * (1 + |h|), as expressions that must be <= 0; at most one a
    neuron. `lo` and `hi` are bounds of all columns."""
    z, rows = neurons.z, neurons.z.rows
    columns, a, n = z.columns, z.values, z.size
    least = np.where(a > 0, lo[columns], hi[columns])
    most = np.where(a > 0, hi[columns], lo[columns])
    finite = np.isfinite(least) & np.isfinite(most)
    least, most = np.where(finite, least, 0.0), np.where(finite, most, 0.0)
    bounded = np.bincount(rows, weights=~finite, minlength=n) == 0
    h, bit = x[neurons.h], x[neurons.active]
    inside_value, outside_value = a * (x[columns] - least * (1 - bit[rows])), a * most * bit[rows]
    inside = inside_value < outside_value
    limit = np.bincount(rows, weights=np.minimum(inside_value, outside_value), minlength=n) + z.constant * bit
    found = []
    for k in np.flatnonzero(bounded & (h - limit > violation * (1 + np.abs(h)))):
        terms = slice(z.indptr[k], z.indptr[k + 1])
        chosen = inside[terms]
        ends = a[terms] * np.where(chosen, least[terms], most[terms])
        shift = float((a[terms] * least[terms])[chosen].sum())
        c = float(z.constant[k])
        x_part = Affine.csr(np.array([0, chosen.sum()]), columns[terms][chosen], a[terms][chosen])
        outward = ROUNDING * (abs(c) + float(np.abs(a[terms] * least[terms]).sum() + np.abs(ends).sum()))
        found.append(Affine.variables([neurons.h[k]]) - x_part
                     - Affine.variables([neurons.active[k]]) * (c + float(ends.sum())) + (shift - outward))  # fmt: skip
    return concatenate(found) if found else Affine.of(np.zeros(0))
