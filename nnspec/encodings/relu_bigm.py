"""ReLU by big-M rows (Fischetti and Jo 2018; Tjeng, Xiao and Tedrake 2019).

h = max(0, z) with lo < 0 < hi and a binary b ("active"):
    h >= 0,  h >= z,  h <= hi b,  h <= z - lo (1 - b).
b = 1 gives 0 <= h = z, b = 0 gives h = 0 >= z. The M are the bounds of z and nothing else. Projected onto (z, h) the
relaxation is the triangle, the convex hull for one scalar z. On SCIP cuts of the hull over the inputs of z are
separated at nodes (nnspec.program.hull).
"""

from __future__ import annotations

import numpy as np

from nnspec.encodings.context import Block
from nnspec.encodings.registry import encoding
from nnspec.program import Affine
from nnspec.program.hull import Neurons


@encoding("relu", "bigm", needs={"bounds"})
def relu_bigm(block: Block) -> Affine:
    """h >= max(0, z), h <= hi b, h <= z - lo (1 - b) with b binary."""
    z, lo, hi, program = block.z, block.lo, block.hi, block.program
    h = block.variables("", 0.0, hi, complete=lambda x: np.maximum(z.value(x), 0.0))
    b = block.variables("active", kind="binary", complete=lambda x: z.value(x) > 0)
    program.add_linear(h - z, 0.0, np.inf, f"{block.path} >= z", block.span, block.words)
    program.add_linear(h - b * hi, -np.inf, 0.0, f"{block.path} <= hi b", block.span, block.words)
    program.add_linear(h - z - b * lo, -np.inf, -lo, f"{block.path} <= z - lo (1-b)", block.span, block.words)
    program.neurons.append(Neurons(z, h.columns, b.columns, block.path))
    return h
