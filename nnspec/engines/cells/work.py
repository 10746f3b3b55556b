"""One visit to a subtree as a function of picklable values, so that any process or machine can do it.

An Instance holds the data, a Subtree where to go, an Effort how far; what comes back is what was found and what is left
open. A search is a loop over such visits that hands the best loss on: see `driver` for threads, and the tests for
processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnspec.engines.cells.instance import Instance, Subtree
from nnspec.engines.cells.kernels import kernel_for
from nnspec.engines.cells.search import BUDGET, Found


@dataclass(frozen=True)
class Effort:
    """gap, gap_absolute: what need not be found; budget: nodes; room: vertices of a polytope; strong: see `search`."""

    gap: float
    gap_absolute: float
    budget: int
    room: int
    strong: int = 2


@dataclass(frozen=True, eq=False)
class Visit:
    """The best network below the given loss (inf, if there was none), and what was not explored.

    floor: least bound of a leaf that could not be resolved, inf without one.
    """

    loss: float
    theta: np.ndarray
    signs: int
    open: tuple[Subtree, ...]
    floor: float
    nodes: int


def explore_subtree(instance: Instance, neurons: int, subtree: Subtree, loss: float, effort: Effort,
                    control: np.ndarray | None = None) -> Visit:  # fmt: skip
    """Explore `subtree` for networks below `loss`. The same for the same arguments wherever it runs.

    `control` (1,): not 0 ends the visit.
    """
    control = np.zeros(1, dtype=np.int64) if control is None else control
    kernel = kernel_for(instance.normal, neurons, control)
    n, limit = instance.size, (instance.size + 1) * kernel.pieces**neurons
    found = Found(
        np.array([loss, -1.0]), np.zeros(kernel.size), np.zeros((limit, n, neurons), dtype=np.int8),
        np.zeros((limit, n), dtype=np.int64), np.zeros(limit, dtype=np.int64), np.zeros(limit),
        np.zeros(5, dtype=np.int64), np.array([np.inf]),
    )  # fmt: skip
    left: list[Subtree] = []
    if kernel.search(instance, subtree, effort.gap, effort.gap_absolute, effort.strong, effort.budget, effort.room,
                     found) == BUDGET:  # fmt: skip
        for i in range(int(found.counts[4])):
            depth = int(found.open_depth[i])
            left.append(Subtree(found.open_prefix[i, :depth].copy(), max(float(found.open_bound[i]), subtree.bound),
                                found.open_order[i, :depth].copy()))  # fmt: skip
    signs = int(found.incumbent[1])
    return Visit(float(found.incumbent[0]) if signs >= 0 else np.inf, found.theta, signs, tuple(left),
                 float(found.floor[0]), int(found.counts[0]))  # fmt: skip
