"""leaky_relu, abs and hardtanh, by their own big-M rows or through the ReLU templates.

leaky_relu(z) = a z + (1 - a) relu(z),  abs(z) = 2 relu(z) - z,  hardtanh(z) = relu(z + 1) - relu(z - 1) - 1,
so every ReLU template serves them too (`relu`); abs and hardtanh have direct forms with fewer rows.
"""

from __future__ import annotations

import numpy as np

from nnspec.encodings.context import Block
from nnspec.encodings.registry import encoding
from nnspec.problem.network import Activation
from nnspec.program import Affine


def _relu(block: Block, z: Affine, lo: np.ndarray, hi: np.ndarray, role: str) -> Affine:
    from nnspec.bounds.interval import Interval
    from nnspec.encodings.activations import activation

    path = f"{block.path}.{role}" if role else block.path
    return activation(block.context, Activation("relu"), z, Interval(lo, hi), path, block.span, None, block.words)


@encoding("leaky_relu", "relu")
def leaky_relu(block: Block) -> Affine:
    """a z + (1 - a) relu(z), with relu by whichever template is chosen for it."""
    a = block.activation.alpha
    return block.z * a + _relu(block, block.z, block.lo, block.hi, "positive") * (1 - a)


@encoding("abs", "relu")
def abs_relu(block: Block) -> Affine:
    """2 relu(z) - z, with relu by whichever template is chosen for it."""
    return _relu(block, block.z, block.lo, block.hi, "positive") * 2.0 - block.z


@encoding("abs", "bigm", needs={"bounds"})
def abs_bigm(block: Block) -> Affine:
    """h >= z, h >= -z, h <= z - 2 lo (1 - b), h <= -z + 2 hi b with b binary."""
    z, lo, hi, program = block.z, block.lo, block.hi, block.program
    h = block.variables("", 0.0, np.maximum(-lo, hi), complete=lambda x: np.abs(z.value(x)))
    b = block.variables("positive", kind="binary", complete=lambda x: z.value(x) > 0)
    program.add_linear(h - z, 0.0, np.inf, f"{block.path} >= z", block.span, block.words)
    program.add_linear(h + z, 0.0, np.inf, f"{block.path} >= -z", block.span, block.words)
    program.add_linear(
        h - z - b * (2 * lo), -np.inf, -2 * lo, f"{block.path} <= z - 2 lo (1-b)", block.span, block.words
    )
    program.add_linear(h + z - b * (2 * hi), -np.inf, 0.0, f"{block.path} <= -z + 2 hi b", block.span, block.words)
    return h


@encoding("abs", "exact", needs={"univariate"})
def abs_exact(block: Block) -> Affine:
    """h = abs(z) as the solver's own operator."""
    return block.program.apply("abs", block.z, block.path, span=block.span, labels=(block.words,))


@encoding("hardtanh", "relu")
def hardtanh_relu(block: Block) -> Affine:
    """relu(z + 1) - relu(z - 1) - 1, with relu by whichever template is chosen for it."""
    upper = _relu(block, block.z + 1.0, block.lo + 1, block.hi + 1, "above -1")
    return upper - _relu(block, block.z - 1.0, block.lo - 1, block.hi - 1, "above 1") - 1.0


@encoding("hardtanh", "bigm", needs={"bounds"})
def hardtanh_bigm(block: Block) -> Affine:
    """With binaries p (z >= 1) and q (z <= -1), p + q <= 1: 2p - 1 <= h <= 1 - 2q, z - (hi-1) p <= h <= z - (lo+1) q.

    p = 1 makes h = 1 and z >= 1, q = 1 makes h = -1 and z <= -1, otherwise h = z. A saturation that the bounds rule
    out gets no binary.
    """
    z, lo, hi, program = block.z, block.lo, block.hi, block.program
    h = block.variables(
        "", np.maximum(lo, -1.0), np.minimum(hi, 1.0), complete=lambda x: np.clip(z.value(x), -1.0, 1.0)
    )
    above, below = np.flatnonzero(hi > 1), np.flatnonzero(lo < -1)
    m, n = np.maximum(hi - 1, 0.0), np.maximum(-1 - lo, 0.0)
    p = block.part(above).variables("above 1", kind="binary", complete=lambda x: z[above].value(x) >= 1)
    q = block.part(below).variables("below -1", kind="binary", complete=lambda x: z[below].value(x) <= -1)
    P, Q = _spread(block.size, above, p), _spread(block.size, below, q)
    program.add_linear(h - z + P * m, 0.0, np.inf, f"{block.path} >= z - (hi-1) p", block.span, block.words)
    program.add_linear(h - z - Q * n, -np.inf, 0.0, f"{block.path} <= z - (lo+1) q", block.span, block.words)
    program.add_linear(h[above] - p * 2.0, -1.0, np.inf, f"{block.path} >= 2p - 1", block.span)
    program.add_linear(h[below] + q * 2.0, -np.inf, 1.0, f"{block.path} <= 1 - 2q", block.span)
    both = np.intersect1d(above, below)
    program.add_linear(P[both] + Q[both], -np.inf, 1.0, f"{block.path} one side", block.span)
    return h


def _spread(size: int, entries: np.ndarray, part: Affine) -> Affine:
    from nnspec.encodings.context import assemble

    others = np.setdiff1d(np.arange(size), entries)
    return assemble(size, [(entries, part), (others, np.zeros(len(others)))])
