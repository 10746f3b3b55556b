"""Runs one Pyomo solve in a process of its own: python -m nnspec.backends.pyomo_worker TASK PROGRESS RESULT.

Solvers behind Pyomo hold Python while they run, so only another process can stop them. TASK and RESULT are pickle
files, PROGRESS a file to which pickles are appended; `nnspec.backends.pyomo_process` is the other end. SIGINT ends the
solver with its best solution, where the solver handles it.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nnspec.backends.interface import BackendProgress
from nnspec.backends.pyomo_watch import Task as Watched
from nnspec.backends.pyomo_watch import attach
from nnspec.program import Program
from nnspec.status import Limits, Status
from nnspec.tolerances import GAP_ABSOLUTE

UNDECIDED: dict[str, dict[str, Any]] = {
    "scip": {"presolving/maxrounds": 0, "misc/allowstrongdualreds": False, "misc/allowweakdualreds": False},
    "highs": {"presolve": "off"},
    "gurobi": {"DualReductions": 0},
}
"""Settings with which a solver that said "infeasible or unbounded" says which."""


def run(task: Mapping[str, Any], report: Callable[[BackendProgress], None]) -> dict[str, Any]:
    """Build the model, solve it, and return plain values."""
    from nnspec.backends.pyomo_model import build

    began = time.monotonic()
    program: Program = task["program"]
    model, variables = build(program)
    start = task["start"]
    if start is not None:
        for v, value in zip(variables, start.tolist()):
            if not np.isnan(value):
                v.set_value(value, skip_validation=True)
    solve = _solve_new if task["new"] else _solve_old
    watched = Watched(program, variables, start, report, began)
    options = dict(task["options"])
    while True:
        limits = task["limits"]
        if task["deadline"] is not None:
            limits = replace(limits, time=max(0.01, task["deadline"] - time.time()))
        answer = solve(task["solver"], model, limits, options, watched)
        more = next((s for name, s in UNDECIDED.items() if name in task["solver"]), {})
        if not answer.pop("undecided") or not more or more.items() <= options.items():
            break
        options |= more
    answer["messages"] += watched.messages
    if answer.pop("load"):
        # variables that occur in no row stay without a value: any will do
        anything = np.clip(0.0, program.lo, program.hi)
        answer["x"] = np.array([a if v.value is None else float(v.value) for a, v in zip(anything, variables)])
    return answer


def _solve_new(name: str, model: Any, limits: Limits, options: Mapping[str, Any], watched: Watched) -> dict[str, Any]:
    """The interface of pyomo.contrib.solver, which knows bounds."""
    from pyomo.contrib.solver.common.factory import SolverFactory
    from pyomo.contrib.solver.common.results import SolutionStatus
    from pyomo.contrib.solver.common.results import TerminationCondition as T

    solver = SolverFactory(name)
    attach(solver, watched)
    wanted: dict[str, Any] = {"time_limit": limits.time, "rel_gap": limits.gap, "abs_gap": GAP_ABSOLUTE,
                              "threads": limits.threads or None, "solver_options": dict(options)}  # fmt: skip
    results = solver.solve(
        model, load_solutions=False, raise_exception_on_nonoptimal_result=False,
        **{k: v for k, v in wanted.items() if k in solver.config and v is not None},
    )  # fmt: skip
    condition = results.termination_condition
    status = {
        T.convergenceCriteriaSatisfied: Status.OPTIMAL, T.provenInfeasible: Status.INFEASIBLE,
        T.unbounded: Status.UNBOUNDED, T.maxTimeLimit: Status.LIMIT, T.iterationLimit: Status.LIMIT,
        T.objectiveLimit: Status.LIMIT, T.interrupted: Status.INTERRUPTED,
        T.locallyInfeasible: Status.LIMIT, T.infeasibleOrUnbounded: Status.ERROR,
    }.get(condition, Status.ERROR)  # fmt: skip
    found = results.solution_status in (SolutionStatus.optimal, SolutionStatus.feasible)
    if found:
        results.solution_loader.load_vars()
    version = ".".join(map(str, results.solver_version or ()))
    messages = [f"Pyomo says {condition}"] if status is Status.ERROR else []
    return {
        "status": status, "bound": results.objective_bound, "load": found, "version": version, "messages": messages,
        "undecided": condition == T.infeasibleOrUnbounded, "nodes": _nodes(results),
    }  # fmt: skip


def _nodes(results: Any) -> int:
    """The number of nodes, under whichever name the interface gives it."""
    for name in ("NNodes", "NodeCount", "mip_node_count"):
        count = getattr(results.extra_info, name, None)
        if count is not None and count > 0:
            return int(count)
    return 0


def _solve_old(name: str, model: Any, limits: Limits, options: Mapping[str, Any], watched: Watched) -> dict[str, Any]:
    """Pyomo's older SolverFactory: everything that the newer interface does not have yet."""
    import pyomo.environ as pyo
    from pyomo.opt import TerminationCondition as T

    solver = pyo.SolverFactory(name)
    attach(solver, watched)
    if "mip_gap" in getattr(solver, "config", ()):
        solver.config.mip_gap = limits.gap
    wanted: dict[str, Any] = {} if limits.time is None else {"timelimit": limits.time}
    if watched.start is not None and solver.warm_start_capable():
        wanted["warmstart"] = True
    results = solver.solve(model, load_solutions=False, options=dict(options), **wanted)
    condition = results.solver.termination_condition
    status = {
        T.optimal: Status.OPTIMAL, T.globallyOptimal: Status.OPTIMAL, T.locallyOptimal: Status.FEASIBLE,
        T.infeasible: Status.INFEASIBLE, T.unbounded: Status.UNBOUNDED, T.maxTimeLimit: Status.LIMIT,
        T.maxIterations: Status.LIMIT, T.maxEvaluations: Status.LIMIT, T.userInterrupt: Status.INTERRUPTED,
    }.get(condition, Status.ERROR)  # fmt: skip
    found = len(results.solution) > 0
    if found:
        model.solutions.load_from(results)
    objective = next(model.component_data_objects(pyo.Objective, active=True))
    bound = results.problem.lower_bound if objective.sense == pyo.minimize else results.problem.upper_bound
    bound = bound if isinstance(bound, float | int) else None
    messages = [f"Pyomo says {condition}"] if status is Status.ERROR else []
    return {
        "status": status, "bound": bound, "load": found, "version": "", "messages": messages, "nodes": 0,
        "undecided": condition == T.infeasibleOrUnbounded,
    }  # fmt: skip


class Reporter:
    """Appends progress to a file, each report in one write with its length before it."""

    def __init__(self, path: str):
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.parent = os.getppid()

    def __call__(self, progress: BackendProgress) -> None:
        if os.getppid() != self.parent:  # nobody is left who wants the result
            os._exit(1)
        content = pickle.dumps(progress)
        os.write(self.file, len(content).to_bytes(8, "little") + content)


def main(task: str, progress: str, result: str) -> None:
    try:
        answer = run(pickle.loads(Path(task).read_bytes()), Reporter(progress))
    except KeyboardInterrupt:
        answer = {"status": Status.INTERRUPTED, "bound": None, "version": "", "messages": [], "nodes": 0}
    except Exception as e:  # the parent turns it into an error with a code
        answer = {"failure": f"{type(e).__name__}: {e}"}
    temporary = Path(f"{result}.part")
    temporary.write_bytes(pickle.dumps(answer))
    temporary.replace(result)


if __name__ == "__main__":
    main(*sys.argv[1:])
