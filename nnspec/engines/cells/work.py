"""One visit to a subtree as a function of picklable values, so that any process or machine can do it.

A Form and a Doll hold the data, a Subtree where to go, an Effort how far; what comes back is what was found and what is
left open (`convex.explore_form`). A search is a loop over such visits that hands the best loss on: see `dolls` for
threads, and the tests for processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnspec.engines.cells.instance import Subtree


@dataclass(frozen=True)
class Effort:
    """gap, gap_absolute: what need not be found; budget: nodes; room: vertices of a polytope."""

    gap: float
    gap_absolute: float
    budget: int
    room: int


@dataclass(frozen=True, eq=False)
class Visit:
    """The best network below the given loss (inf, if there was none), and what was not explored.

    floor: least bound of a leaf that could not be resolved, inf without one.
    """

    loss: float
    z: np.ndarray
    open: tuple[Subtree, ...]
    floor: float
    nodes: int
