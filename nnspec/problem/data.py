"""Data sets as the solver sees them: numeric, scaled, with the user's names."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nnspec.errors import Span
from nnspec.problem.network import Scaling


@dataclass(frozen=True, eq=False)
class DataSet:
    """Inputs `x` (N, d) and targets `y` (N, m), both float64, finite and already scaled.

    A target read by `label(column)` holds class numbers 0..C-1 in one column, and `classes` their names.
    `weights` (N,) are multiplicities (1 unless a reduction merged duplicate samples).
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    x_names: tuple[str, ...] = ()
    y_names: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    x_scaling: Scaling | None = None
    y_scaling: Scaling | None = None
    weights: np.ndarray | None = None
    rows: tuple[int, ...] = ()  # row of each sample in its file, from 1 after the header, for messages
    span: Span | None = field(default=None, repr=False)

    @property
    def samples(self) -> int:
        return int(self.x.shape[0])
