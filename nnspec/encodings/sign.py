"""sign and step: a binary b decides on which side of 0 the pre-activation lies.

    b = 1  =>  z >= 0,        b = 0  =>  z <= -m,        h = 2b - 1 (sign) or h = b (step).
"z < 0" is not closed, so a margin m > 0 stands in for it: SIGN_MARGIN, except where z can only take values on a grid
(integer weights on integer inputs): there z < 0 means z <= the largest grid value below 0, and nothing is lost.
Big-M form: z >= lo (1 - b), z <= -m + (hi + m) b (Icarte et al. 2019 and Thorbjarnarson and Yorke-Smith 2021 train
such networks by mixed-integer programming).
"""

from __future__ import annotations

import numpy as np

from nnspec.encodings.context import Block
from nnspec.encodings.registry import encoding
from nnspec.program import Affine, Program
from nnspec.tolerances import SIGN_MARGIN


def thresholds(program: Program, z: Affine) -> tuple[np.ndarray, np.ndarray]:
    """(smallest value that counts as >= 0, largest that counts as < 0) for each entry of z."""
    at, below = np.zeros(z.size), np.full(z.size, -SIGN_MARGIN)
    discrete, lengths = program.discrete, z.lengths
    ok = (
        np.bincount(z.rows, weights=discrete[z.columns] & (z.values == np.round(z.values)), minlength=z.size) == lengths
    )
    for k in np.flatnonzero(ok & (lengths > 0)):
        step = float(np.gcd.reduce(np.abs(z.values[z.indptr[k] : z.indptr[k + 1]]).astype(np.int64)))
        offset = float(z.constant[k])
        first = offset - step * np.floor(offset / step)  # in [0, step): the smallest value of the grid that is >= 0
        if first + SIGN_MARGIN < step:  # a grid value just below 0 would be lost to rounding: keep the margin
            at[k], below[k] = first, first - step
    return at, below


def _decision(block: Block) -> tuple[Affine, np.ndarray, np.ndarray]:
    z = block.z
    at, below = thresholds(block.program, z)
    b = block.variables("positive", kind="binary", complete=lambda x: z.value(x) >= 0)
    near = np.flatnonzero(below == -SIGN_MARGIN)  # polishing keeps active neurons off z = -1e-16; a grid needs no room
    block.context.margins.append((1.0 - b[near], z[near], 0.0))
    return b, at, below


def _value(block: Block, b: Affine) -> Affine:
    return b * 2.0 - 1.0 if block.activation.kind == "sign" else b


@encoding(("sign", "step"), "bigm", needs={"bounds"})
def sign_bigm(block: Block) -> Affine:
    """z >= lo (1 - b), z <= -m + (hi + m) b, h = 2b - 1 (sign) or b (step)."""
    b, at, below = _decision(block)
    z, program = block.z, block.program
    lo, hi = np.minimum(block.lo, below), np.maximum(block.hi, at)
    program.add_linear(z - b * (at - lo), lo, np.inf, f"{block.path} positive", block.span, block.words)
    program.add_linear(z - b * (hi - below), -np.inf, below, f"{block.path} negative", block.span, block.words)
    return _value(block, b)


@encoding(("sign", "step"), "indicator", needs={"indicator"})
def sign_indicator(block: Block) -> Affine:
    """b = 1 => z >= 0, b = 0 => z <= -m, h = 2b - 1 (sign) or b (step)."""
    b, at, below = _decision(block)
    block.program.add_indicators(b, 1, block.z, at, np.inf, f"{block.path} positive", block.span)
    block.program.add_indicators(b, 0, block.z, -np.inf, below, f"{block.path} negative", block.span)
    return _value(block, b)
