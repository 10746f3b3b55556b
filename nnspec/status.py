"""How a solve ends and when it has to: shared by engines and the solver backends below them."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from nnspec.tolerances import GAP


class Status(enum.StrEnum):
    """The one status of every engine and backend."""

    OPTIMAL = "optimal"  # incumbent and bound within the gap asked for
    FEASIBLE = "feasible"  # a solution, no proof attempted (local methods)
    INFEASIBLE = "infeasible"  # proven
    UNBOUNDED = "unbounded"
    LIMIT = "limit"  # a time, node or memory limit; with or without an incumbent
    INTERRUPTED = "interrupted"  # Ctrl-C or stop(); with or without an incumbent
    ERROR = "error"


@dataclass(frozen=True)
class Limits:
    """When to stop: seconds of wall time, relative gap, nodes; how many threads; the seed of everything random."""

    time: float | None = None
    gap: float = GAP
    nodes: int | None = None
    threads: int = 0  # 0: all cores
    memory: float | None = None  # megabytes
    seed: int = 0
    cutoff: float | None = None  # only better objectives matter: INFEASIBLE if there are none; may be ignored
