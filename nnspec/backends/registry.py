"""The backends by name, and what of them is installed."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from nnspec.backends.interface import Availability, Backend
from nnspec.errors import UsageError, diagnostic
from nnspec.program.rows import ROW_KINDS

PYOMO_SOLVERS = ("scip_direct", "highs", "gurobi_direct", "gurobi_persistent", "gurobi_direct_minlp", "ipopt")
"""Those behind Pyomo that `nnspec backends` looks for; any other that Pyomo knows can be named as well."""

NAMES = ("scip", "highs", "gurobi", "pyomo:NAME", "cpsat")


def get(name: str) -> Backend:
    """The backend that users call `name`: scip, highs, gurobi, or pyomo:SOLVER. Raises UsageError for other names.

    CP-SAT takes no Program: `nnspec.engines.cpsat` is the way to it.
    """
    head, _, solver = name.partition(":")
    if head == "scip" and not solver:
        from nnspec.backends.scip import ScipBackend

        return ScipBackend()
    if head == "highs" and not solver:
        from nnspec.backends.highs import HighsBackend

        return HighsBackend()
    if head == "gurobi" and not solver:
        from nnspec.backends.gurobi import GurobiBackend

        return GurobiBackend()
    if head == "pyomo" and solver:
        from nnspec.backends.pyomo import PyomoBackend

        return PyomoBackend(solver)
    close = difflib.get_close_matches(name, NAMES, n=1)
    raise UsageError(
        diagnostic("NNS164", f"unknown backend {name}",
                   help=f"did you mean {close[0]}?" if close else f"known backends: {', '.join(NAMES)}")
    )  # fmt: skip


@dataclass(frozen=True)
class Installed:
    """One line of `nnspec backends`."""

    name: str
    availability: Availability
    takes: str  # row kinds and functions that need no bridge, in words


def installed() -> list[Installed]:
    """Every backend with its version and licence limits, or why it cannot be used and the command that helps."""
    lines = []
    for name in ("scip", "highs", "gurobi", *(f"pyomo:{n}" for n in PYOMO_SOLVERS)):
        backend = get(name)
        takes = backend.takes
        rows = ", ".join(k for k in ROW_KINDS if k in takes.rows and k != "univariate")
        functions = f"; functions {', '.join(sorted(takes.functions))}" if takes.functions else ""
        objective = "; convex quadratic objectives of real variables" if takes.objective == "convex" else ""
        lines.append(Installed(name, backend.available(), f"{rows} rows{functions}{objective}"))
    from nnspec.backends import cpsat

    return [*lines, Installed("cpsat", cpsat.available(), "integer and finite weights, in exact integer arithmetic")]
