"""The sum of the Euclidean norms of a layer's rows, sum_k |(w_k, b_k)|_2: one second-order cone a neuron.

    t_k >= |(w_k, b_k)|_2,   value sum_k t_k

which is exact where the sum is minimised or bounded from above. This is what weight decay becomes when the scale of a
positively homogeneous neuron is removed (`nnspec.reductions.decay`), and the penalty of the group lasso (Yuan and Lin,
Model selection and estimation in regression with grouped variables, 2006).
"""

from __future__ import annotations

import numpy as np

from nnspec.encodings.context import Context
from nnspec.errors import Span, UnsupportedError, diagnostic
from nnspec.program import Affine


def sum_of_norms(context: Context, rows: Affine, direction: int, path: str, span: Span | None = None) -> Affine:
    """The sum of the norms of rows (K, n)."""
    if direction <= 0:
        raise UnsupportedError(diagnostic(
            "NNS153", "norms of weights can only be minimised or bounded from above", span,
            help="reward or bound the sum of squares l2(...) instead",
        ))  # fmt: skip
    hi = np.sqrt(context.interval(rows).power(2).sum(axis=1).hi) * (1 + 1e-12)
    t = context.program.add_variables(f"{path}.norm", (rows.shape[0],), 0.0, hi, span=span,
                                      complete=lambda x: np.linalg.norm(rows.value(x), axis=1))  # fmt: skip
    context.program.add_cone(rows, t, f"{path}.norm", span)
    return t.sum()
