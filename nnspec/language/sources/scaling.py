"""Scaling of columns: none, minmax (to 0..1) or standard (mean 0, population standard deviation 1)."""

from __future__ import annotations

import numpy as np

from nnspec.problem.network import Scaling

KINDS = ("none", "minmax", "standard")


def fit(kind: str, values: np.ndarray) -> tuple[Scaling | None, tuple[int, ...]]:
    """The scaling of the columns of `values` (N, d), and the constant columns. They are only shifted (to 0)."""
    if kind == "none":
        return None, ()
    lo, hi = values.min(axis=0), values.max(axis=0)
    # equal values need not have a standard deviation of exactly 0
    constant = lo == hi
    if kind == "minmax":
        with np.errstate(over="ignore"):
            shift, factor = lo, hi - lo
    else:
        largest = np.maximum(np.abs(values).max(axis=0), 1e-300)  # keeps the sum of squares from overflowing
        shift = np.where(constant, lo, (values / largest).mean(axis=0) * largest)
        factor = (values / largest).std(axis=0) * largest
    usable = ~constant & np.isfinite(factor) & (factor > 0)
    return Scaling(shift, np.where(usable, factor, 1.0)), tuple(int(i) for i in np.flatnonzero(constant))
