"""gelu(z) = z Phi(z) for solvers without an error function: an elementary formula with a certified error.

Phi(z) is close to sigmoid(P(z)) with an odd polynomial P, fitted to the log odds of Phi by weighted least squares, the
weights iterated towards the smallest greatest error. With the coefficients below
    |z sigmoid(P(z)) - gelu(z)| <= ERROR  for every z.
For |z| <= 8 this is checked on a grid of step 1e-4 (tests/encodings/test_envelope.py), between whose points a function
with |second derivative| <= 20 exceeds the larger of its neighbours by at most 20 * 1e-8 / 8 = 2.5e-8; for |z| > 8 both
sides differ from max(0, z) by less than 1e-12, since P(z) > z^2 / 2 there. The row is
h = z sigmoid(P(z)) + s with |s| <= ERROR, so it contains the graph of gelu and bounds stay valid.
"""

from __future__ import annotations

import numpy as np

from nnspec.encodings.context import Block
from nnspec.encodings.registry import encoding
from nnspec.program import Affine
from nnspec.program.functions import apply

COEFFICIENTS = {1: 1.59565627, 3: 0.0729375790, 5: -2.49721295e-4, 7: -6.11624164e-5, 9: 2.23818821e-6}
ERROR = 4e-6


def polynomial(z: np.ndarray) -> np.ndarray:
    """P(z)."""
    return np.sum([c * np.asarray(z) ** k for k, c in COEFFICIENTS.items()], axis=0)


@encoding("gelu", "formula", needs={"univariate", "product"})
def gelu_formula(block: Block) -> Affine:
    """h = z sigmoid(P(z)) + s, |s| <= 4e-6."""
    program, path, span = block.program, block.path, block.span
    z = program.as_variables(block.z, f"{path}.z", span)
    program.tighten(z, block.lo, block.hi)
    odds = z * COEFFICIENTS[1]
    for k, c in COEFFICIENTS.items():
        if k > 1:
            odds = odds + program.apply("power", z, f"{path}.z^{k}", float(k), span, (block.words,)) * c
    share = program.apply("sigmoid", odds, f"{path}.share", span=span, labels=(block.words,))
    product = program.multiply(z, share, f"{path}.product", span, (block.words,))
    from nnspec.bounds.propagate import image

    bounds = image(block.activation, block.bounds)
    h = block.variables("", bounds.lo, bounds.hi, complete=lambda x: apply("gelu", z.value(x)))
    program.add_linear(h - product, -ERROR, ERROR, path, span, block.words)
    block.context.note_error(path, 2 * ERROR)
    return h
