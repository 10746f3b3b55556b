"""Runs one Pyomo solve in a process of its own: python -m nnspec.backends.pyomo_worker TASK RESULT.

Solvers behind Pyomo hold Python while they run, so only another process can stop them. TASK and RESULT are pickle files
written by `nnspec.backends.pyomo`. SIGINT ends the solver with its best solution, where the solver handles it.
"""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nnspec.program import Program
from nnspec.status import Limits, Status


def run(task: Mapping[str, Any]) -> dict[str, Any]:
    """Build the model, solve it, and return plain values."""
    from nnspec.backends.pyomo_model import build

    program: Program = task["program"]
    model, variables = build(program)
    if task["start"] is not None:
        for v, value in zip(variables, task["start"].tolist()):
            if not np.isnan(value):
                v.set_value(value, skip_validation=True)
    solve = _solve_new if task["new"] else _solve_old
    limits = task["limits"]
    if task["deadline"] is not None:
        limits = replace(limits, time=max(0.01, task["deadline"] - time.time()))
    answer = solve(task["solver"], model, limits, task["options"])
    if answer.pop("load"):
        # variables that occur in no row stay without a value: any will do
        anything = np.clip(0.0, program.lo, program.hi)
        answer["x"] = np.array([a if v.value is None else float(v.value) for a, v in zip(anything, variables)])
    return answer


def _solve_new(name: str, model: Any, limits: Limits, options: Mapping[str, Any]) -> dict[str, Any]:
    """The interface of pyomo.contrib.solver, which knows bounds."""
    from pyomo.contrib.solver.common.factory import SolverFactory
    from pyomo.contrib.solver.common.results import SolutionStatus
    from pyomo.contrib.solver.common.results import TerminationCondition as T

    solver = SolverFactory(name)
    wanted: dict[str, Any] = {"time_limit": limits.time, "rel_gap": limits.gap, "threads": limits.threads or None,
                              "solver_options": dict(options)}  # fmt: skip
    results = solver.solve(
        model, load_solutions=False, raise_exception_on_nonoptimal_result=False,
        **{k: v for k, v in wanted.items() if k in solver.config and v is not None},
    )  # fmt: skip
    status = {
        T.convergenceCriteriaSatisfied: Status.OPTIMAL, T.provenInfeasible: Status.INFEASIBLE,
        T.unbounded: Status.UNBOUNDED, T.maxTimeLimit: Status.LIMIT, T.iterationLimit: Status.LIMIT,
        T.objectiveLimit: Status.LIMIT, T.interrupted: Status.INTERRUPTED,
        T.locallyInfeasible: Status.LIMIT, T.infeasibleOrUnbounded: Status.ERROR,
    }.get(results.termination_condition, Status.ERROR)  # fmt: skip
    found = results.solution_status in (SolutionStatus.optimal, SolutionStatus.feasible)
    if found:
        results.solution_loader.load_vars()
    version = ".".join(map(str, results.solver_version or ()))
    messages = [f"Pyomo says {results.termination_condition}"] if status is Status.ERROR else []
    return {
        "status": status, "bound": results.objective_bound, "load": found, "version": version, "messages": messages,
    }  # fmt: skip


def _solve_old(name: str, model: Any, limits: Limits, options: Mapping[str, Any]) -> dict[str, Any]:
    """Pyomo's older SolverFactory: everything that the newer interface does not have yet."""
    import pyomo.environ as pyo
    from pyomo.opt import TerminationCondition as T

    solver = pyo.SolverFactory(name)
    wanted = {} if limits.time is None else {"timelimit": limits.time}
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
    return {"status": status, "bound": bound, "load": found, "version": "", "messages": messages}


def main(task: str, result: str) -> None:
    try:
        answer = run(pickle.loads(Path(task).read_bytes()))
    except KeyboardInterrupt:
        answer = {"status": Status.INTERRUPTED, "bound": None, "version": "", "messages": []}
    except Exception as e:  # the parent turns it into an error with a code
        answer = {"failure": f"{type(e).__name__}: {e}"}
    Path(result).write_bytes(pickle.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
