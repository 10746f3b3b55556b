"""What every backend is: it declares what it takes, and turns a Program into a BackendResult.

A backend never sees a row kind it does not take: `bridges.bridge` rewrites those or refuses with the place in the spec.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from nnspec.program import Program
from nnspec.status import Limits, Status


@dataclass(frozen=True)
class Takes:
    """What a solver or file format accepts as it is."""

    rows: frozenset[str]  # of nnspec.program.rows.ROW_KINDS
    functions: frozenset[str] = frozenset()  # of nnspec.program.functions.FUNCTIONS, for univariate rows
    objective: str = "linear"  # "linear" | "convex" | "quadratic"
    integer: bool = True
    integer_quadratic: bool = True  # whether integer columns and quadratic terms may occur together


@dataclass(frozen=True)
class Availability:
    """Whether a backend can be used here: its version, or why not and the command that helps."""

    version: str | None
    reason: str = ""
    command: str = ""  # pip command that installs it
    licence: str = ""  # limits of the licence that is in use, where it has any

    @property
    def ok(self) -> bool:
        return self.version is not None


@dataclass(frozen=True, eq=False)
class BackendProgress:
    """A sign of life; `x` is given when the incumbent is new."""

    seconds: float
    objective: float | None
    bound: float | None
    nodes: int = 0
    x: np.ndarray | None = field(default=None, repr=False)


OnProgress = Callable[[BackendProgress], None]


@dataclass(frozen=True, eq=False)
class BackendResult:
    """What a solver says. `x` has one value a column of the Program given, `objective` is recomputed from it in numpy;
    `bound` is the solver's. Both are in the program's own sense. `settings` are those that matter for the proof."""

    status: Status
    x: np.ndarray | None
    objective: float | None
    bound: float | None
    seconds: float
    nodes: int = 0
    version: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class NodeBound:
    """A bound of the objective that depends on ranges of some columns, for a solver's nodes.

    `evaluate(lower (K,), upper (K,), cutoff)` returns a bound in the program's sense (infinite on the far side if
    nothing in the box is better than the cut-off), and ranges, no wider, outside of which nothing is.
    """

    columns: np.ndarray  # (K,)
    evaluate: Callable[[np.ndarray, np.ndarray, float], tuple[float, np.ndarray, np.ndarray]]


class Backend(Protocol):
    """A solver. `name` is what users type after --backend."""

    name: str

    @property
    def takes(self) -> Takes: ...

    def available(self) -> Availability: ...

    def solve(self, program: Program, limits: Limits, starts: Sequence[np.ndarray] = (),
              on_progress: OnProgress | None = None, stop: threading.Event | None = None,
              options: Mapping[str, Any] | None = None) -> BackendResult:  # fmt: skip
        """Minimise or maximise to the limits; the time limit counts from the call, building included.

        `starts` are points (nan where unknown), each tried after `Program.complete`; infeasible ones are reported in
        the result's messages. `stop` and Ctrl-C end the solve with the best so far. `options` are the solver's own
        parameters by their own names. Raises UnsupportedError for rows it cannot take, MissingPackageError if the
        solver is not installed, and what `on_progress` raises.
        """
