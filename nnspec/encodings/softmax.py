"""Softmax and the logarithm of a sum of exponentials, in the scaled form that never meets large exponentials.

With L = log sum_k exp(z_k):  o_k = exp(z_k - L) and sum_k o_k = 1. All exponents are <= 0, all o_k in (0, 1], and L is
the column that makes the sum one. For a loss that pushes L down (cross entropy) sum_k exp(z_k - L) <= 1 is enough: the
set is convex.
"""

from __future__ import annotations

import math

import numpy as np

from nnspec.bounds.interval import Interval
from nnspec.bounds.propagate import image
from nnspec.encodings.context import Context, words
from nnspec.encodings.registry import encoding
from nnspec.errors import Span
from nnspec.problem.network import Activation
from nnspec.program import Affine


def _logsumexp(z: np.ndarray) -> np.ndarray:
    top = z.max(axis=1, keepdims=True)
    return (top + np.log(np.exp(z - top).sum(axis=1, keepdims=True)))[:, 0]


def log_sum_exp(context: Context, z: Affine, path: str, span: Span | None, exact: bool) -> tuple[Affine, Affine]:
    """(L, o) for scores z (N, m): L (N,) the log-sum-exp (or more, unless `exact`) and o (N, m) = exp(z - L)."""
    program = context.program
    n, m = z.shape
    b = context.interval(z)
    lo, hi = b.lo.max(axis=1), b.hi.max(axis=1) + math.log(m) + 1e-9
    top = program.add_variables(f"{path}.logsumexp", (n,), lo, hi, labels=(words((n,)),), span=span,
                                complete=lambda x: _logsumexp(z.value(x)))  # fmt: skip
    o_bounds = image(Activation("softmax"), b)
    d = z - top.reshape(n, 1)
    # z_k - L = log o_k, and o_k is bounded by the scores' bounds
    with np.errstate(divide="ignore"):
        low = np.log(o_bounds.lo) - 1e-9 if exact else np.full((n, m), -np.inf)
        high = np.minimum(np.log(o_bounds.hi) + 1e-9, 0.0)
    low = np.maximum(low, Interval(b.lo - hi[:, None], b.hi).lo)
    exponent = program.add_variables(f"{path}.log", (n, m), low, high, labels=(words((n,)), words((m,))), span=span,
                                     complete=lambda x: z.value(x) - top.value(x)[:, None])  # fmt: skip
    program.add_linear(d - exponent, 0.0, 0.0, f"definition of {path}.log", span)
    o = program.apply("exp", exponent, f"{path}.share", span=span, labels=(words((n,)), words((m,))))
    program.add_linear(o.sum(axis=1), 1.0 if exact else -np.inf, 1.0, f"{path}: shares add up to 1", span)
    return top, o


@encoding("softmax", "exact", needs={"univariate"})
def softmax_exact(context: Context, z: Affine, path: str, span: Span | None) -> Affine:
    """o_k = exp(z_k - L), sum_k o_k = 1."""
    if z.is_constant:
        values = np.exp(z.constant.reshape(z.shape) - _logsumexp(z.constant.reshape(z.shape))[:, None])
        return Affine.of(values)
    if z.shape[1] == 1:
        return Affine.of(np.ones(z.shape))
    return log_sum_exp(context, z, path, span, exact=True)[1]
