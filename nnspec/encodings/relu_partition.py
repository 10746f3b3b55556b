"""ReLU by partitioning its inputs (Tsay, Kronqvist, Thebelt and Misener 2021, "Partition-based formulations for
mixed-integer optimization of trained ReLU neural networks").

The terms of z = c + sum_i a_i x_i are split into groups with partial sums z_g in [l_g, u_g]. With b = 1 for an active
neuron and p_g the part of z_g that belongs to the active case,
    h = sum_g p_g + c b >= 0,    sum_g (z_g - p_g) + c (1 - b) <= 0,
    l_g b <= p_g <= u_g b,       l_g (1 - b) <= z_g - p_g <= u_g (1 - b).
One group is the big-M form, one group a term the convex hull of the neuron over its box; between them size is traded
for tightness. It serves trained weights (terms are neurons times weights) and the first layer of a network in training
(terms are weights times data) alike. Groups are of terms with similar |a_i| (u_i - l_i), as the paper advises.
"""

from __future__ import annotations

import numpy as np

from nnspec.bounds.interval import Interval, down, up
from nnspec.encodings.context import Block, words
from nnspec.encodings.registry import encoding
from nnspec.program import Affine, concatenate

GROUPS = 2
"""Groups a neuron: two is the best choice in the paper for most of its networks."""


@encoding("relu", "partition", needs={"bounds"})
def relu_partition(block: Block) -> Affine:
    """h = sum p_g + c b, l_g b <= p_g <= u_g b, l_g (1-b) <= z_g - p_g <= u_g (1-b) over groups g of terms."""
    z, program = block.z, block.program
    h = block.variables("", 0.0, np.maximum(block.hi, 0.0), complete=lambda x: np.maximum(z.value(x), 0.0))
    b = block.variables("active", kind="binary", complete=lambda x: z.value(x) > 0)
    groups = [_group(program.lo, program.hi, z, k, g) for k in range(z.size) for g in range(GROUPS)]
    parts = concatenate(groups).reshape(z.size, GROUPS)
    bounds = Interval(*program.bounds(parts))
    lo, hi = down(bounds.lo), up(bounds.hi)
    p = program.add_variables(
        f"{block.path}.active part", (z.size, GROUPS), np.minimum(lo, 0.0), np.maximum(hi, 0.0),
        labels=(block.words, words((GROUPS,))), span=block.span,
        complete=lambda x: parts.value(x) * (z.value(x) > 0)[:, None],
    )  # fmt: skip
    B = b.reshape(-1, 1).broadcast_to(p.shape)
    c = z.constant
    name, span = block.path, block.span
    program.add_linear(h - p.sum(axis=1) - b * c, 0.0, 0.0, f"{name} = active parts", span, block.words)
    program.add_linear((parts - p).sum(axis=1) - b * c, -np.inf, -c, f"{name} inactive", span, block.words)
    program.add_linear(p - B * hi, -np.inf, 0.0, f"{name} part <= u b", span)
    program.add_linear(p - B * lo, 0.0, np.inf, f"{name} part >= l b", span)
    program.add_linear(parts - p + B * hi, -np.inf, hi, f"{name} rest <= u (1-b)", span)
    program.add_linear(parts - p + B * lo, lo, np.inf, f"{name} rest >= l (1-b)", span)
    # the bounds of z itself may be tighter than the sum of those of its parts
    program.add_linear(h - b * block.hi, -np.inf, 0.0, f"{name} <= hi b", span, block.words)
    program.add_linear(h - z - b * block.lo, -np.inf, -block.lo, f"{name} <= z - lo (1-b)", span, block.words)
    return h


def _group(lo: np.ndarray, hi: np.ndarray, z: Affine, k: int, g: int) -> Affine:
    """Group g of the terms of entry k, without the constant."""
    part = slice(z.indptr[k], z.indptr[k + 1])
    columns, values = z.columns[part], z.values[part]
    width = np.abs(values) * (hi[columns] - lo[columns])
    chosen = np.sort(np.array_split(np.argsort(width, kind="stable"), GROUPS)[g])
    return Affine.csr(np.array([0, len(chosen)]), columns[chosen], values[chosen])
