"""ReLU by special ordered sets of type 1: h - s = z with h, s >= 0, of which at most one is nonzero.

No binaries and no big-M: the solver branches on the pair (h, s). Infinite bounds of z are allowed.
"""

from __future__ import annotations

import numpy as np

from nnspec.encodings.context import Block
from nnspec.encodings.registry import encoding
from nnspec.program import Affine, stack


@encoding("relu", "sos1", needs={"sos1"})
def relu_sos1(block: Block) -> Affine:
    """h - s = z, h >= 0, s >= 0, SOS1(h, s)."""
    z, program = block.z, block.program
    h = block.variables("", 0.0, np.maximum(block.hi, 0.0), complete=lambda x: np.maximum(z.value(x), 0.0))
    s = block.variables("slack", 0.0, np.maximum(-block.lo, 0.0), complete=lambda x: np.maximum(-z.value(x), 0.0))
    program.add_linear(h - s - z, 0.0, 0.0, f"{block.path} - slack = z", block.span, block.words)
    if np.all(np.isfinite(block.hi)) and np.all(np.isfinite(block.lo)):  # the triangle; SOS1 alone has no relaxation
        program.add_linear(h * (1 / block.hi) + s * (1 / -block.lo), -np.inf, 1.0, f"{block.path} triangle",
                           block.span, block.words)  # fmt: skip
    program.add_sos1(stack([h, s], axis=1), f"{block.path} or slack", block.span)
    return h
