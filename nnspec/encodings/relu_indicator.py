"""ReLU by indicator rows: the implications themselves, no big-M in the model.

    h >= 0,  h >= z,  b = 1 => h <= z,  b = 0 => h <= 0.
The solver derives its own (locally valid) big-Ms or branches; infinite bounds of z are allowed.
"""

from __future__ import annotations

import numpy as np

from nnspec.encodings.context import Block
from nnspec.encodings.registry import encoding
from nnspec.program import Affine


@encoding("relu", "indicator", needs={"indicator"})
def relu_indicator(block: Block) -> Affine:
    """h >= max(0, z), b = 1 => h <= z, b = 0 => h <= 0 with b binary."""
    z, program = block.z, block.program
    h = block.variables("", 0.0, np.maximum(block.hi, 0.0), complete=lambda x: np.maximum(z.value(x), 0.0))
    b = block.variables("active", kind="binary", complete=lambda x: z.value(x) > 0)
    program.add_linear(h - z, 0.0, np.inf, f"{block.path} >= z", block.span, block.words)
    program.add_indicators(b, 1, h - z, -np.inf, 0.0, f"{block.path} <= z if active", block.span)
    program.add_indicators(b, 0, h, -np.inf, 0.0, f"{block.path} <= 0 unless active", block.span)
    return h
