"""Gurobi through gurobipy (an optional package): everything but gelu, cones as quadratic rows.

The licence that comes with pip is limited to 2000 variables, 2000 rows and 200 variables where products occur; larger
programs are refused with an error that says so. IntFeasTol is tightened to our own tolerance: at Gurobi's default of
1e-5 a big-M of 100 leaks a thousandth.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from nnspec import tolerances
from nnspec.backends.bridges import bridge
from nnspec.backends.common import announce, feasible_starts, in_thread, missing_package, result_of, setting_refused
from nnspec.backends.gurobi_model import build
from nnspec.backends.interface import Availability, BackendProgress, BackendResult, OnProgress, Takes
from nnspec.errors import UnsupportedError, diagnostic
from nnspec.program import Program
from nnspec.status import Limits, Status

SETTINGS: dict[str, Any] = {"IntFeasTol": tolerances.INTEGRALITY, "MIPGapAbs": tolerances.GAP_ABSOLUTE}
COMMAND = "pip install nnspec[gurobi]"
FREE_LIMITS = "2000 variables, 2000 rows, 200 variables where products occur"
SIZE_LIMIT_EXCEEDED = 10010


@cache
def _functions() -> frozenset[str]:
    always = {"exp", "log", "sqrt", "sin", "cos", "abs", "power", "sigmoid", "softplus", "silu"}
    try:
        from gurobipy import nlfunc
    except ImportError:
        return frozenset(always)
    return frozenset(always | ({"tanh"} if hasattr(nlfunc, "tanh") else set()))  # Gurobi 13 brought tanh


class GurobiBackend:
    """Gurobi: nonconvex quadratic and univariate nonlinear rows to global optimality (from version 12)."""

    name = "gurobi"

    @property
    def takes(self) -> Takes:
        rows = frozenset({"linear", "quadratic", "univariate", "indicator", "sos1", "sos2"})
        return Takes(rows, _functions(), objective="quadratic")

    def available(self) -> Availability:
        try:
            import gurobipy as gp
        except ImportError as e:
            return Availability(None, f"gurobipy cannot be imported: {e}", COMMAND)
        version = "Gurobi " + ".".join(map(str, gp.gurobi.version()))
        try:
            with gp.Env(params={"OutputFlag": 0}) as env, gp.Model(env=env) as model:
                model.addMVar(2001)
                model.optimize()
        except gp.GurobiError as e:
            if e.errno == SIZE_LIMIT_EXCEEDED:
                return Availability(version, licence=f"the free licence: at most {FREE_LIMITS}")
            return Availability(None, f"{version}: {e}", "see https://www.gurobi.com/downloads for a licence")
        return Availability(version, licence="a full licence")

    def solve(self, program: Program, limits: Limits, starts: Sequence[np.ndarray] = (),
              on_progress: OnProgress | None = None, stop: threading.Event | None = None,
              options: Mapping[str, Any] | None = None) -> BackendResult:  # fmt: skip
        began = time.monotonic()
        try:
            import gurobipy as gp
        except ImportError as e:
            raise missing_package("gurobi", "gurobipy", COMMAND, e) from e
        bridged = bridge(program, self.takes, self.name)
        settings = {**SETTINGS, **(options or {})}
        best, messages = feasible_starts(program, starts)
        announce(program, best, on_progress, began)
        with gp.Env(params={"OutputFlag": 0}) as env, gp.Model(program.name, env=env) as model:
            x = build(model, bridged.program)
            _configure(model, limits, settings, time.monotonic() - began)
            for number, start in enumerate(best):
                lifted = bridged.lift(start)
                model.NumStart = len(best)
                model.Params.StartNumber = number
                x.Start = np.where(np.isnan(lifted), gp.GRB.UNDEFINED, lifted)
            session = _Session(model, x, program, on_progress, began)
            try:
                status = session.run(stop)
            except gp.GurobiError as e:
                raise _translated(e, bridged.program) from e
            values = np.array(x.X)[: program.columns] if model.SolCount > 0 else None
            if values is None and status in (Status.LIMIT, Status.INTERRUPTED) and best:
                values = best[0]
            bound = _bound(model, status)
            nodes = int(model.NodeCount)
        version = "Gurobi " + ".".join(map(str, gp.gurobi.version()))
        return result_of(program, status, values, bound, began, nodes, version, settings, messages)


def _bound(model: Any, status: Status) -> float | None:
    if status in (Status.INFEASIBLE, Status.UNBOUNDED):
        return None
    try:
        bound = float(model.ObjBound)
    except AttributeError:  # continuous programs have none until they are solved
        return float(model.ObjVal) if status is Status.OPTIMAL else None
    return bound if abs(bound) < 1e100 else None


def _translated(error: Any, program: Program) -> Exception:
    if error.errno != SIZE_LIMIT_EXCEEDED:
        return UnsupportedError(diagnostic("NNS161", f"gurobi cannot take this program: {error}"))
    return UnsupportedError(diagnostic(
        "NNS166",
        f"the program has {program.columns} variables and {program.row_count} rows, and the licence that comes with "
        f"gurobipy allows at most {FREE_LIMITS}",
        help="get a licence (free for universities) at https://www.gurobi.com, or use --backend scip",
    ))  # fmt: skip


def _configure(model: Any, limits: Limits, settings: Mapping[str, Any], spent: float) -> None:
    wanted: dict[str, Any] = {"MIPGap": limits.gap, "Seed": limits.seed % 2_000_000_000, "Threads": limits.threads}
    if limits.time is not None:
        wanted["TimeLimit"] = max(0.0, limits.time - spent)
    if limits.cutoff is not None:
        wanted["Cutoff"] = limits.cutoff
    if limits.nodes is not None:
        wanted["NodeLimit"] = limits.nodes
    if limits.memory is not None:
        wanted["SoftMemLimit"] = limits.memory / 1000.0  # gigabytes
    for name, value in {**wanted, **settings}.items():
        try:
            model.setParam(name, value)
        except Exception as e:  # gurobipy raises its own error, AttributeError or TypeError here
            raise setting_refused("gurobi", name, value, e) from e


class _Session:
    """One run in a thread of its own, with a callback that reports progress and honours stop requests."""

    def __init__(self, model: Any, x: Any, program: Program, on_progress: OnProgress | None, began: float):
        self.model, self.x, self.program, self.on_progress, self.began = model, x, program, on_progress, began
        self.error: BaseException | None = None
        self.stopped = threading.Event()
        self.last = 0.0
        self.best: float | None = None

    def run(self, stop: threading.Event | None) -> Status:
        from gurobipy import GRB

        in_thread(lambda: self.model.optimize(self._callback), stop, self.stopped)
        if self.error is not None:
            raise self.error
        if self.model.Status == GRB.INF_OR_UNBD:  # presolving saw one of the two
            self.model.Params.DualReductions = 0
            self.model.optimize()
        return {
            GRB.OPTIMAL: Status.OPTIMAL, GRB.INFEASIBLE: Status.INFEASIBLE, GRB.UNBOUNDED: Status.UNBOUNDED,
            GRB.CUTOFF: Status.INFEASIBLE,
            GRB.INTERRUPTED: Status.INTERRUPTED, GRB.TIME_LIMIT: Status.LIMIT, GRB.NODE_LIMIT: Status.LIMIT,
            GRB.ITERATION_LIMIT: Status.LIMIT, GRB.SOLUTION_LIMIT: Status.LIMIT, GRB.MEM_LIMIT: Status.LIMIT,
            GRB.WORK_LIMIT: Status.LIMIT, GRB.USER_OBJ_LIMIT: Status.LIMIT,
        }.get(self.model.Status, Status.ERROR)  # fmt: skip

    def _callback(self, model: Any, where: int) -> None:
        from gurobipy import GRB

        if self.stopped.is_set() or self.error is not None:
            model.terminate()
        if self.on_progress is None or self.error is not None:
            return
        try:
            if where == GRB.Callback.MIPSOL:
                x = np.array(model.cbGetSolution(self.x))[: self.program.columns]
                self.best = self.program.objective_value(x)
                self._report(model.cbGet(GRB.Callback.MIPSOL_OBJBND), model.cbGet(GRB.Callback.MIPSOL_NODCNT), x)
            elif where == GRB.Callback.MIP and time.monotonic() - self.last > 0.2:
                self._report(model.cbGet(GRB.Callback.MIP_OBJBND), model.cbGet(GRB.Callback.MIP_NODCNT), None)
        except BaseException as e:
            self.error = e
            model.terminate()

    def _report(self, bound: float, nodes: float, x: np.ndarray | None) -> None:
        assert self.on_progress is not None
        self.last = time.monotonic()
        finite = float(bound) if abs(bound) < 1e100 else None
        self.on_progress(BackendProgress(self.last - self.began, self.best, finite, int(nodes), x))
