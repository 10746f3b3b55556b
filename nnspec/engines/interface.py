"""What every engine is: `accepts(problem)` says yes or why not, `solve` turns a Problem into an Outcome.

All engines minimise or maximise as the problem says; `objective` and `bound` of an Outcome are in the problem's own
sense and units (for `minimize` the bound is from below).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from nnspec.problem.problem import Point, Problem
from nnspec.status import Limits, Status

__all__ = ["Engine", "Limits", "OnProgress", "Outcome", "Progress", "Status"]


@dataclass(frozen=True)
class Progress:
    """A sign of life. `point` is given when the incumbent is new."""

    seconds: float
    incumbent: float | None
    bound: float | None
    nodes: int = 0
    point: Point | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an engine found and what its claim rests on (`evidence`: solver, version, settings, or the own tree)."""

    status: Status
    point: Point | None
    objective: float | None
    bound: float | None
    seconds: float
    nodes: int
    engine: str
    backend: str = ""
    evidence: Mapping[str, object] = field(default_factory=dict)
    messages: tuple[str, ...] = ()


OnProgress = Callable[[Progress], None]


class Engine(Protocol):
    """An engine. `start` holds feasible points worth trying first; `stop` ends the solve with the best so far."""

    name: str

    def accepts(self, problem: Problem) -> str | None:
        """None if the engine can solve the problem to proof, else the reason in the user's words."""

    def begins(self, problem: Problem) -> bool:
        """Whether `solve` finds first solutions at once by itself, so that no local search has to come before it."""

    def solve(self, problem: Problem, limits: Limits, start: tuple[Point, ...] = (),
              on_progress: OnProgress | None = None, stop: threading.Event | None = None) -> Outcome:  # fmt: skip
        """Solve to the limits. Never raises for a limit or an interrupt."""
