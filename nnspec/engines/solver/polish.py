"""Fix the discrete decisions of a solution at integers and solve the continuous rest again, with tight tolerances.

A solver accepts a binary of 1e-7, and with it big-M rows that are violated by M * 1e-7: the network read off such a
solution has another loss than the solver says. Likewise a sample that leads by the margin less 1e-12 is right in the
program and wrong when it is counted: there the polishing solve asks for a little more than the margin. With the
decisions fixed the program is an LP, a convex QP or a small nonlinear program, and its solution has exact zeros where
a budget's indicator is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nnspec.backends import Backend
from nnspec.program import Affine, Program
from nnspec.status import Limits
from nnspec.tolerances import FEASIBILITY

SECONDS = 10.0  # for the polishing solve; more is not worth a correction in the seventh digit

TIGHT: dict[str, dict[str, Any]] = {
    "scip": {"numerics/feastol": 1e-9},
    "highs": {"primal_feasibility_tolerance": 1e-9},
    "gurobi": {"FeasibilityTol": 1e-9},
}
"""By solver, which may be reached directly or through Pyomo (pyomo:scip_direct)."""


ROOM = (2 * FEASIBILITY, 2e-9)
"""Room beyond the margin that is tried for the samples which `errors` counts as right, in the units of the scores. The
first survives rounding in single precision too, the second is twice the tolerances above and costs the least where
weights are penalised. The bound of the first solve knows no room: it holds for every network."""


def polish(backend: Backend, program: Program, x: np.ndarray, limits: Limits, options: Mapping[str, Any]
           ) -> tuple[np.ndarray | None, str]:  # fmt: skip
    """A solution with the same discrete decisions, exactly integer; or None and why there is none."""
    fixed = program.skeleton()
    fixed.rows = program.rows
    columns = np.flatnonzero(program.discrete)
    values = np.round(x[columns])
    fixed.tighten(Affine.variables(columns), values, values)
    start = np.array(x)
    start[columns] = values
    tight = next((settings for solver, settings in TIGHT.items() if solver in backend.name), {})
    settings = {**options, **tight}
    seconds = SECONDS if limits.time is None else min(SECONDS, max(1.0, limits.time))
    result = backend.solve(fixed, replace(limits, time=seconds, nodes=None, cutoff=None), [start], options=settings)
    if result.x is None:
        return None, "with its discrete decisions rounded to integers the solver's solution is infeasible"
    return result.x, ""
