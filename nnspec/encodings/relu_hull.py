"""ReLU by big-M rows and cutting planes of its convex hull (Anderson, Huchette, Ma, Tjandraatmadja and Vielma 2020,
"Strong mixed-integer programming formulations for trained neural networks").

The LP relaxation is solved and the violated cuts added, for a few rounds at the root; nnspec.program.hull has the cuts
and their mathematics. The terms are neurons times trained weights, or, in the first layer of a network in training,
weights times data. For solvers that take no cuts while they run: SCIP separates the same cuts for `bigm`, at its nodes.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from nnspec.encodings.context import Block, Context
from nnspec.encodings.registry import encoding
from nnspec.encodings.tighten import relaxation
from nnspec.program import Affine
from nnspec.program.hull import Neurons, violated_cuts

ROUNDS = 5
"""Rounds of separation; the bound hardly moves after the first few."""

VIOLATION = 1e-4
"""A cut is added if the LP's point violates it by more than this, relative to 1 + h."""


@encoding("relu", "hull", needs={"bounds"})
def relu_hull(block: Block) -> Affine:
    """Big-M rows, and h <= sum_I a_i (x_i - lo_i (1-b)) + (c + sum_not I a_i hi_i) b for violated sets I."""
    z, lo, hi, program = block.z, block.lo, block.hi, block.program
    h = block.variables("", 0.0, hi, complete=lambda x: np.maximum(z.value(x), 0.0))
    b = block.variables("active", kind="binary", complete=lambda x: z.value(x) > 0)
    program.add_linear(h - z, 0.0, np.inf, f"{block.path} >= z", block.span, block.words)
    program.add_linear(h - b * hi, -np.inf, 0.0, f"{block.path} <= hi b", block.span, block.words)
    program.add_linear(h - z - b * lo, -np.inf, -lo, f"{block.path} <= z - lo (1-b)", block.span, block.words)
    program.neurons.append(Neurons(z, h.columns, b.columns, block.path))
    context = block.context
    context.hulls.append(program.neurons[-1])
    if len(context.hulls) == 1:
        context.finishers.append(partial(separate, context))
    return h


def separate(context: Context) -> int:
    """Rounds of cuts on the LP relaxation under the program's objective; returns the number of cuts."""
    from scipy.optimize import linprog

    program, total = context.program, 0
    c = np.zeros(program.columns)
    np.add.at(c, program.objective.affine.columns, program.objective.affine.values)
    c = c if program.sense == "minimize" else -c
    if not c.any():  # nothing to push against: make the neurons as large as they can be
        for neurons in context.hulls:
            c[neurons.h] = -1.0
    for _ in range(ROUNDS):
        r = relaxation(program)
        found = linprog(c, A_ub=r.A, b_ub=r.b, bounds=np.stack([r.lo, r.hi], axis=1), method="highs")
        if found.x is None:
            break
        added = 0
        for neurons in context.hulls:
            cuts = violated_cuts(neurons, program.lo, program.hi, found.x, VIOLATION)
            if cuts.size:
                program.add_linear(cuts, -np.inf, 0.0, f"{neurons.name} hull")
                added += cuts.size
        total += added
        if not added:
            break
    return total
