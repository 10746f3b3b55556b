"""ReLU by big-M rows and cutting planes of its convex hull (Anderson, Huchette, Ma, Tjandraatmadja and Vielma 2020,
"Strong mixed-integer programming formulations for trained neural networks").

Over a box the hull of {(x, h, b)} for z = c + sum_i a_i x_i needs exponentially many rows, one for each set I of terms:
    h <= sum_{i in I} a_i (x_i - lo_i (1 - b)) + (c + sum_{i not in I} a_i hi_i) b,
where lo_i and hi_i are the ends of x_i at which a_i x_i is least and greatest. The most violated one at a point takes
i into I exactly if a_i (x_i - lo_i (1 - b)) < a_i hi_i b: separation is a pass over the terms. The LP relaxation is
solved and the violated cuts added, for a few rounds at the root. The terms are neurons times trained weights, or, in
the first layer of a network in training, weights times data.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from nnspec.encodings.context import Block, Context
from nnspec.encodings.registry import encoding
from nnspec.encodings.tighten import relaxation
from nnspec.program import Affine, Program, concatenate

ROUNDS = 5
"""Rounds of separation; the bound hardly moves after the first few."""

VIOLATION = 1e-4
"""A cut is added if the LP's point violates it by more than this, in units of the neuron."""


@encoding("relu", "hull", needs={"bounds"})
def relu_hull(block: Block) -> Affine:
    """Big-M rows, and h <= sum_I a_i (x_i - lo_i (1-b)) + (c + sum_not I a_i hi_i) b for violated sets I."""
    z, lo, hi, program = block.z, block.lo, block.hi, block.program
    h = block.variables("", 0.0, hi, complete=lambda x: np.maximum(z.value(x), 0.0))
    b = block.variables("active", kind="binary", complete=lambda x: z.value(x) > 0)
    program.add_linear(h - z, 0.0, np.inf, f"{block.path} >= z", block.span, block.words)
    program.add_linear(h - b * hi, -np.inf, 0.0, f"{block.path} <= hi b", block.span, block.words)
    program.add_linear(h - z - b * lo, -np.inf, -lo, f"{block.path} <= z - lo (1-b)", block.span, block.words)
    block.context.hulls.append((z, h.columns, b.columns, block.path))
    if len(block.context.hulls) == 1:
        context = block.context
        context.finishers.append(partial(separate, context))
    return h


def cuts_at(program: Program, z: Affine, h: np.ndarray, b: np.ndarray, x: np.ndarray) -> Affine:
    """The violated hull cuts at x, as expressions that must be <= 0; at most one a neuron."""
    rows = []
    for k in range(z.size):
        part = slice(z.indptr[k], z.indptr[k + 1])
        columns, a, c = z.columns[part], z.values[part], float(z.constant[k])
        least = np.where(a > 0, program.lo[columns], program.hi[columns])
        most = np.where(a > 0, program.hi[columns], program.lo[columns])
        if not np.all(np.isfinite(least) & np.isfinite(most)):
            continue
        bit = x[b[k]]
        inside = a * (x[columns] - least * (1 - bit)) < a * most * bit
        on_b = c + float((a * np.where(inside, least, most)).sum())
        shift = float((a * least * inside).sum())
        e = (Affine.variables([h[k]]) - Affine.csr(np.array([0, inside.sum()]), columns[inside], a[inside])
             - Affine.variables([b[k]]) * on_b + shift)  # fmt: skip
        if e.value(x)[0] > VIOLATION:
            rows.append(e)
    return concatenate(rows) if rows else Affine.of(np.zeros(0))


def separate(context: Context) -> int:
    """Rounds of cuts on the LP relaxation under the program's objective; returns the number of cuts."""
    from scipy.optimize import linprog

    program, total = context.program, 0
    c = np.zeros(program.columns)
    np.add.at(c, program.objective.affine.columns, program.objective.affine.values)
    c = c if program.sense == "minimize" else -c
    if not c.any():  # nothing to push against: make the neurons as large as they can be
        for _, h, _, _ in context.hulls:
            c[h] = -1.0
    for _ in range(ROUNDS):
        r = relaxation(program)
        found = linprog(c, A_ub=r.A, b_ub=r.b, bounds=np.stack([r.lo, r.hi], axis=1), method="highs")
        if found.x is None:
            break
        added = 0
        for z, h, b, path in context.hulls:
            cuts = cuts_at(program, z, h, b, found.x)
            if cuts.size:
                # outward by the rounding of a sum of its terms, so that no feasible point is cut off
                slack = 1e-12 * (1 + np.abs(cuts.constant))
                program.add_linear(cuts, -np.inf, slack, f"{path} hull")
                added += cuts.size
        total += added
        if not added:
            break
    return total
