"""Listening to the solvers that Pyomo runs inside the process, and handing them whole start points.

Pyomo passes on neither progress nor the values of continuous variables. Its interfaces to SCIP, HiGHS and Gurobi keep
the solver's own model, though, and that model knows both: once Pyomo has built it, events are caught there and the
start point is set. Solvers that run as programs of their own (glpk, cbc, ipopt ...) offer nothing of the kind.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnspec.backends.interface import BackendProgress
from nnspec.program import Program

PERIOD = 0.2  # seconds between signs of life

Report = Callable[[BackendProgress], None]


@dataclass(frozen=True, eq=False)
class Task:
    """What the solver's model is joined with: the program's columns as Pyomo variables, the start, who listens."""

    program: Program
    variables: list[Any]
    start: np.ndarray | None  # nan where unknown
    report: Report
    began: float  # time.monotonic()
    messages: list[str] = field(default_factory=list)  # what went wrong in joining

    def join(self, how: Callable[[Any, Task], None], solver: Any) -> None:
        """Join with a solver that Pyomo has just filled. Where it keeps things is Pyomo's own affair: another version
        may do otherwise, and then the solve goes on unobserved."""
        try:
            how(solver, self)
        except (AttributeError, KeyError) as e:
            import pyomo

            which = f"Pyomo {pyomo.__version__}"
            self.messages.append(f"{which} reports no progress and takes only a part of the start: {e}")

    def point(self, columns: list[int], values: Any) -> np.ndarray:
        """A point of the program; variables that the solver never saw occur in no row, any value will do."""
        x = np.clip(0.0, self.program.lo, self.program.hi)
        x[columns] = values
        return x

    def known(self, columns: list[int]) -> np.ndarray:
        """The start's values of these columns."""
        return np.full(len(columns), np.nan) if self.start is None else self.start[columns]


def attach(solver: Any, task: Task) -> None:
    """Arrange that a Pyomo solver reports progress and gets the whole start, where it can."""
    module = " ".join(f"{cls.__module__}." for cls in type(solver).__mro__)
    if hasattr(solver, "_create_solver_model"):
        join = _scip if ".scip." in module else _gurobi if ".gurobi." in module else None
        if join is None:
            return
        create = solver._create_solver_model

        def created(*arguments: Any) -> Any:
            result = create(*arguments)
            task.join(join, solver)
            return result

        solver._create_solver_model = created
    elif "highs" in module and hasattr(solver, "_solve"):
        solve = solver._solve

        def solved(*arguments: Any) -> Any:
            task.join(_highs, solver)
            return solve(*arguments)

        solver._solve = solved


def _scip(solver: Any, task: Task) -> None:
    from nnspec.backends.scip import Watch, add_start

    model = solver._solver_model
    number = {id(v): j for j, v in enumerate(task.variables)}
    pairs = [(number[id(v)], variable) for v, variable in solver._pyomo_var_to_solver_var_map.items()]
    columns, variables = [j for j, _ in pairs], [variable for _, variable in pairs]

    def report(p: BackendProgress) -> None:
        x = None if p.x is None else task.point(columns, p.x)
        task.report(BackendProgress(p.seconds, p.objective, p.bound, p.nodes, x))

    Watch(model, variables, report, task.began).listen()
    if task.start is None:
        return
    values = task.known(columns)
    if not np.isnan(task.start).any() and solver._obj_var is not None:  # Pyomo's epigraph variable
        variables, values = [*variables, solver._obj_var], np.append(values, task.program.objective_value(task.start))
    add_start(model, variables, values, [])


def _gurobi(solver: Any, task: Task) -> None:
    from gurobipy import GRB

    number = {id(v): j for j, v in enumerate(task.variables)}
    pairs = [(number[id(v)], variable) for v, variable in solver._pyomo_gurobi_var_iter()]
    columns, variables = [j for j, _ in pairs], [variable for _, variable in pairs]
    for variable, value in zip(variables, task.known(columns).tolist()):
        if not np.isnan(value):
            variable.Start = value
    last, best = 0.0, None

    def listen(model: Any, where: int) -> None:
        nonlocal last, best
        now = time.monotonic()
        if where == GRB.Callback.MIPSOL:
            x = task.point(columns, model.cbGetSolution(variables))
            best = float(model.cbGet(GRB.Callback.MIPSOL_OBJ))
            bound, nodes = model.cbGet(GRB.Callback.MIPSOL_OBJBND), model.cbGet(GRB.Callback.MIPSOL_NODCNT)
        elif where == GRB.Callback.MIP and now - last > PERIOD:
            x = None
            bound, nodes = model.cbGet(GRB.Callback.MIP_OBJBND), model.cbGet(GRB.Callback.MIP_NODCNT)
        else:
            return
        last = now
        task.report(BackendProgress(now - task.began, best, bound if abs(bound) < 1e100 else None, int(nodes), x))

    solver._callback = listen


def _highs(solver: Any, task: Task) -> None:
    highs = solver._solver_model
    columns: list[int] = []
    places: list[int] = []
    for j, v in enumerate(task.variables):
        place = solver._pyomo_var_to_solver_var_map.get(id(v))
        if place is not None:
            columns.append(j)
            places.append(place)
    values = task.known(columns)
    given = np.flatnonzero(~np.isnan(values))
    if len(given):
        highs.setSolution(len(given), np.array(places, dtype=np.int32)[given], values[given])
    last, best = 0.0, None

    def listen(event: Any) -> None:
        nonlocal last, best
        now, out = time.monotonic(), event.data_out
        x = None
        if event.callback_type == highs.cbMipImprovingSolution.callback_type:
            x = task.point(columns, np.array(out.mip_solution)[places])
            best = task.program.objective_value(x)
        elif now - last <= PERIOD:
            return
        last = now
        bound = float(out.mip_dual_bound)
        task.report(BackendProgress(
            now - task.began, best, bound if np.isfinite(bound) else None, max(0, int(out.mip_node_count)), x
        ))  # fmt: skip

    highs.cbMipImprovingSolution += listen
    highs.cbMipInterrupt += listen
