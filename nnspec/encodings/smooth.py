"""tanh, sigmoid, softplus, gelu and silu as the functions themselves: one univariate row a neuron.

Backends write them with the operators their solver has (tanh(z) = 1 - 2/(exp(2z)+1) on SCIP) or refuse. The new
variable is bounded by the function's image of z's bounds; infinite bounds of z are allowed, but leave the solver's
relaxation weak.
"""

from __future__ import annotations

from nnspec.encodings.context import Block
from nnspec.encodings.registry import encoding
from nnspec.program import Affine


@encoding(("tanh", "sigmoid", "softplus", "gelu", "silu"), "exact", needs={"univariate"})
def smooth_exact(block: Block) -> Affine:
    """h = f(z), a row of the function itself."""
    program = block.program
    z = program.as_variables(block.z, f"{block.path}.z", block.span)
    program.tighten(z, block.lo, block.hi)
    return program.apply(block.activation.kind, z, block.path, span=block.span, labels=(block.words,))
