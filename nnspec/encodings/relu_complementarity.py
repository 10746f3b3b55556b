"""ReLU by complementarity: h - s = z, h >= 0, s >= 0, h s = 0 (a nonconvex quadratic row; no binaries)."""

from __future__ import annotations

import numpy as np

from nnspec.encodings.context import Block
from nnspec.encodings.registry import encoding
from nnspec.program import Affine, product


@encoding("relu", "complementarity", needs={"quadratic"})
def relu_complementarity(block: Block) -> Affine:
    """h - s = z, h >= 0, s >= 0, h s <= 0."""
    z, program = block.z, block.program
    h = block.variables("", 0.0, np.maximum(block.hi, 0.0), complete=lambda x: np.maximum(z.value(x), 0.0))
    s = block.variables("slack", 0.0, np.maximum(-block.lo, 0.0), complete=lambda x: np.maximum(-z.value(x), 0.0))
    program.add_linear(h - s - z, 0.0, 0.0, f"{block.path} - slack = z", block.span, block.words)
    program.add_quadratic(product(h, s), -np.inf, 0.0, f"{block.path} slack", block.span, block.words)
    return h
