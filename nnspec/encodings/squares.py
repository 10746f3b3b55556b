"""Weighted sums of squares, sum_i c_i e_i^2, the heart of squared losses and of weight decay.

`rows`: t_i >= e_i^2 for each i and the linear sum of t_i. One cone a sample gives outer-approximating solvers (SCIP)
tight separate cuts. `objective`: the quadratic expression itself, for solvers that take quadratic objectives.
"""

from __future__ import annotations

import numpy as np

from nnspec.encodings.context import Context
from nnspec.encodings.registry import encoding
from nnspec.errors import Span
from nnspec.program import Affine, Quadratic, square


def weighted_squares(context: Context, e: Affine, weights: np.ndarray, direction: int, path: str,
                     span: Span | None = None) -> Quadratic:  # fmt: skip
    """sum weights * e^2 over a vector of expressions; with direction +1 and weights >= 0 an overestimate that is tight
    at every optimum suffices."""
    fixed = e.lengths == 0
    constant: Affine | float = float(weights[fixed] @ e.constant[fixed] ** 2)
    used = np.flatnonzero(~fixed & (weights != 0))
    e, weights = e[used], weights[used]
    if not len(used):
        return Quadratic.of(constant)
    x = context.program.as_variables(e, f"{path}.residual", span)
    template = context.choose("squares", path)
    if direction > 0 and np.all(weights > 0):
        columns = x.single_columns()
        replaced = np.array([context.perspectives.get(int(c), -1) for c in columns])
        known, rest = np.flatnonzero(replaced >= 0), np.flatnonzero(replaced < 0)
        if len(known):  # w^2 <= t u stands already, and t is the tighter penalty
            constant = (Affine.variables(replaced[known]) * weights[known]).sum() + constant
        if not len(rest):
            return Quadratic.of(constant)
        return template.encode(context, x[rest], weights[rest], path, span) + constant
    return squares_objective(context, x, weights, path, span) + constant


@encoding("squares", "rows", needs={"quadratic"})
def squares_rows(context: Context, x: Affine, weights: np.ndarray, path: str, span: Span | None) -> Quadratic:
    """t_i >= x_i^2; sum weights t."""
    program = context.program
    hi = context.interval(x).power(2).hi
    t = program.add_variables(f"{path}.square", x.shape, 0.0, hi, span=span, complete=lambda v: x.value(v) ** 2)
    program.add_quadratic(square(x) - t, -np.inf, 0.0, f"{path}.square", span)
    return Quadratic.of((t * weights).sum())


@encoding("squares", "objective", needs={"quadratic"})
def squares_objective(context: Context, x: Affine, weights: np.ndarray, path: str, span: Span | None) -> Quadratic:
    """The quadratic expression sum weights x^2 itself."""
    return (square(x) * weights).sum()
