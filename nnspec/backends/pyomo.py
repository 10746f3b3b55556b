"""Any solver that Pyomo has: pyomo:scip_direct, pyomo:highs, pyomo:gurobi_direct_minlp, pyomo:ipopt, pyomo:baron ...

The solve runs in a process of its own (see pyomo_process), so that it can be stopped. Incumbents, bounds and nodes are
reported by SCIP, HiGHS and Gurobi, which run inside that process (see pyomo_watch); of solvers that are programs of
their own (glpk, cbc, ipopt ...) only the start point and the end are known. Pyomo's word "optimal" is not taken for a
proof: OPTIMAL needs a bound that meets the incumbent, or a convex continuous program, where a local optimum is global.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nnspec.backends.bridges import bridge
from nnspec.backends.common import announce, feasible_starts, missing_package, result_of
from nnspec.backends.interface import Availability, BackendProgress, BackendResult, OnProgress, Takes
from nnspec.backends.pyomo_process import solve as solve_in_process
from nnspec.backends.scip import SETTINGS as SCIP_SETTINGS
from nnspec.errors import MissingPackageError, UnsupportedError, UsageError, diagnostic
from nnspec.program import Program
from nnspec.program.classify import classify
from nnspec.status import Limits, Status
from nnspec.tolerances import proven

_NONLINEAR = frozenset({"exp", "log", "sqrt", "sin", "cos", "abs", "power", "tanh", "sigmoid", "softplus", "silu"})
EVERYTHING = Takes(frozenset({"linear", "quadratic", "product", "univariate"}), _NONLINEAR, "quadratic")
LINEAR = Takes(frozenset({"linear"}))
WITHOUT_ABS = replace(EVERYTHING, functions=_NONLINEAR - {"abs"})
TAKES = {
    "scip_direct": WITHOUT_ABS, "scip_persistent": WITHOUT_ABS,
    "highs": LINEAR,
    "gurobi_direct": LINEAR,
    "gurobi_persistent": Takes(frozenset({"linear", "quadratic"}), objective="quadratic"),
    "glpk": LINEAR, "cbc": LINEAR, "appsi_highs": LINEAR, "appsi_cbc": LINEAR,
}  # fmt: skip

COMMANDS = {"scip": "pip install pyscipopt", "highs": "pip install highspy", "gurobi": "pip install nnspec[gurobi]"}
"""What installs the solvers that come as Python packages."""

LIMITS: dict[str, dict[str, str]] = {
    "scip": {"nodes": "limits/totalnodes", "memory": "limits/memory", "seed": "randomization/randomseedshift"},
    "highs": {"nodes": "mip_max_nodes", "seed": "random_seed"},
    "gurobi": {"nodes": "NodeLimit", "seed": "Seed"},
}
"""What solvers call the limits for which Pyomo has no word."""


class PyomoBackend:
    """A solver behind Pyomo; `solver` is the name that Pyomo's SolverFactory knows."""

    def __init__(self, solver: str):
        self.solver = solver
        self.name = f"pyomo:{solver}"

    @property
    def takes(self) -> Takes:
        return TAKES.get(self.solver, EVERYTHING)

    def available(self) -> Availability:
        try:
            import pyomo
        except ImportError as e:
            return Availability(None, f"Pyomo cannot be imported: {e}", "pip install pyomo")
        if self._interface() is None:
            return Availability(None, f"Pyomo {pyomo.__version__} has no usable solver {self.solver}", self._command())
        return Availability(f"Pyomo {pyomo.__version__}")

    def _command(self) -> str:
        """What installs the solver, in words where it is no Python package."""
        known = (command for name, command in COMMANDS.items() if self.solver.startswith((name, f"appsi_{name}")))
        return next(known, "its executable has to be on the PATH, see Pyomo's documentation")

    def _interface(self) -> str | None:
        """Which of Pyomo's two solver interfaces has the solver and finds it: "new", "old" or None."""
        import logging

        import pyomo.environ as pyo
        from pyomo.contrib.solver.common.factory import SolverFactory

        logging.getLogger("pyomo").setLevel(logging.ERROR)
        if self.solver in SolverFactory:
            return "new" if SolverFactory(self.solver).available() else None
        try:
            return "old" if pyo.SolverFactory(self.solver).available(exception_flag=False) else None
        except Exception:  # names that Pyomo does not know raise errors of many kinds
            return None

    def solve(self, program: Program, limits: Limits, starts: Sequence[np.ndarray] = (),
              on_progress: OnProgress | None = None, stop: threading.Event | None = None,
              options: Mapping[str, Any] | None = None) -> BackendResult:  # fmt: skip
        began = time.monotonic()
        interface = self._checked_interface()
        bridged = bridge(program, self.takes, self.name)
        best, messages = feasible_starts(program, starts)
        ours = SCIP_SETTINGS if self.solver in ("scip_direct", "scip_persistent") else {}
        settings = {**ours, **_limits(self.solver, limits, messages), **(options or {})}
        announce(program, best, on_progress, began)
        # wall-clock time: the worker has another monotonic clock
        deadline = None if limits.time is None else time.time() + limits.time - (time.monotonic() - began)
        task = {
            "program": bridged.program.without_recipes(), "start": bridged.lift(best[0]) if best else None,
            "solver": self.solver, "new": interface == "new", "options": settings, "limits": limits,
            "deadline": deadline,
        }  # fmt: skip
        seen = program.objective_value(best[0]) if best and not np.isnan(best[0]).any() else None
        better = min if program.sense == "minimize" else max

        def heard(p: BackendProgress) -> None:
            nonlocal seen
            x = None if p.x is None else p.x[: program.columns]
            if x is not None:
                value = program.objective_value(x)
                seen = value if seen is None else better(seen, value)
            if on_progress is not None:
                on_progress(BackendProgress(time.monotonic() - began, seen, _finite(p.bound), p.nodes, x))

        answer = solve_in_process(task, heard, stop, began)
        values = answer.values
        if "failure" in values:
            raise UnsupportedError(diagnostic("NNS161", f"{self.name} cannot take this program: {values['failure']}"))
        x = values.get("x")
        x = answer.x if x is None else x
        x = None if x is None else x[: program.columns]
        status, bound = values["status"], _finite(values["bound"])
        messages += values["messages"]
        if answer.stopped and status is not Status.OPTIMAL:
            status = Status.INTERRUPTED
        elif answer.overdue and status is not Status.OPTIMAL:
            status = Status.LIMIT
        if bound is None and status in (Status.LIMIT, Status.INTERRUPTED):
            bound = _finite(answer.bound)
        if x is None and status in (Status.LIMIT, Status.INTERRUPTED) and best and not np.isnan(best[0]).any():
            x = best[0]
        if status is Status.INFEASIBLE:
            x = bound = None
        if status is Status.OPTIMAL and x is not None:
            status, bound = _proof(program, status, x, bound, limits)
        version = f"{self.name} {values['version']}".strip()
        nodes = max(answer.nodes, values["nodes"])
        return result_of(program, status, x, bound, began, nodes, version, settings, messages)

    def _checked_interface(self) -> str:
        try:
            interface = self._interface()
        except ImportError as e:
            raise missing_package(self.name, "Pyomo", "pip install pyomo", e) from e
        if interface is not None:
            return interface
        import pyomo.environ as pyo
        from pyomo.contrib.solver.common.factory import SolverFactory

        if self.solver in SolverFactory or self.solver in pyo.SolverFactory:
            raise MissingPackageError(diagnostic(
                "NNS160", f"Pyomo finds no installed solver {self.solver}",
                help=f"install it: {self._command()}; nnspec backends lists what is there",
            ))  # fmt: skip
        raise UsageError(diagnostic(
            "NNS164", f"Pyomo does not know a solver {self.solver}",
            help="for example pyomo:scip_direct, pyomo:highs, pyomo:gurobi_direct_minlp",
        ))  # fmt: skip


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) or abs(value) >= 1e20 else float(value)


def _proof(program: Program, status: Status, x: np.ndarray, bound: float | None, limits: Limits
           ) -> tuple[Status, float | None]:  # fmt: skip
    """What the solver's "optimal" amounts to."""
    objective = program.objective_value(x)
    if bound is None:
        kind = classify(program)
        if kind.convex and not kind.discrete:
            return Status.OPTIMAL, objective
        return Status.FEASIBLE, None
    near = abs(objective - bound) <= 1e-6 * max(1.0, abs(objective))
    return (Status.OPTIMAL if near or proven(objective, bound, limits.gap) else Status.FEASIBLE), bound


def _limits(solver: str, limits: Limits, messages: list[str]) -> dict[str, Any]:
    """Limits under the solver's own names; says which are set and cannot be handed over."""
    names = next((table for name, table in LIMITS.items() if name in solver), {})
    found: dict[str, Any] = {}
    for what, value in (("nodes", limits.nodes), ("memory", limits.memory), ("seed", limits.seed or None)):
        if value is not None and what in names:
            found[names[what]] = value % 2_000_000_000 if what == "seed" else value
        elif value is not None:
            messages.append(f"pyomo:{solver} was not told the {'seed' if what == 'seed' else f'limit on {what}'}")
    return found
