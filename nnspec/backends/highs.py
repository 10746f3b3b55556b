"""HiGHS through highspy: LP, MILP and convex QP without integers.

Indicators, special ordered sets, absolute values and products with a discrete factor are bridged to linear rows. The
whole model is passed as one set of arrays. HiGHS runs in a thread of its own, so that Ctrl-C reaches Python.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix

from nnspec import tolerances
from nnspec.backends.bridges import bridge
from nnspec.backends.common import (
    announce,
    feasible_starts,
    in_thread,
    missing_package,
    result_of,
    setting_refused,
)
from nnspec.backends.interface import Availability, BackendProgress, BackendResult, OnProgress, Takes
from nnspec.program import Program
from nnspec.program.rows import LinearRows
from nnspec.status import Limits, Status

SETTINGS: dict[str, Any] = {"mip_abs_gap": tolerances.GAP_ABSOLUTE, "mip_feasibility_tolerance": tolerances.FEASIBILITY}

_scheduler = {"threads": 0}  # HiGHS has one pool of threads a process, of a size chosen at its first use


class HighsBackend:
    """HiGHS: linear rows, integers, convex quadratic objectives over continuous variables."""

    name = "highs"
    takes = Takes(rows=frozenset({"linear"}), objective="convex", integer_quadratic=False)

    def available(self) -> Availability:
        try:
            import highspy
        except ImportError as e:
            return Availability(None, f"highspy cannot be imported: {e}", "pip install highspy")
        return Availability(f"HiGHS {highspy.Highs().version()}")

    def solve(self, program: Program, limits: Limits, starts: Sequence[np.ndarray] = (),
              on_progress: OnProgress | None = None, stop: threading.Event | None = None,
              options: Mapping[str, Any] | None = None) -> BackendResult:  # fmt: skip
        began = time.monotonic()
        bridged = bridge(program, self.takes, self.name)
        settings = {**SETTINGS, **(options or {})}
        best, messages = feasible_starts(program, starts)
        if limits.memory is not None:
            messages.append("highs was not told the limit on memory: it has none")
        announce(program, best, on_progress, began)
        highs = build(bridged.program)
        _configure(highs, limits, settings, time.monotonic() - began)
        if best:
            _set_start(highs, bridged.lift(best[0]))
        session = _Session(highs, program, on_progress, began)
        status = session.run(stop)
        info = highs.getInfo()
        x = session.x
        if info.primal_solution_status == 2:  # kSolutionStatusFeasible
            x = np.array(highs.getSolution().col_value)[: program.columns]
        if x is None and status is Status.INTERRUPTED and best and not np.isnan(best[0]).any():
            x = best[0]
        bound = None
        if status is not Status.INFEASIBLE:
            integer = bool(bridged.program.discrete.any())
            if integer and np.isfinite(info.mip_dual_bound):
                bound = float(info.mip_dual_bound)
            elif not integer and status is Status.OPTIMAL:
                bound = float(info.objective_function_value)  # LP and QP: primal and dual meet
        else:
            x = None
        nodes, version = max(0, int(info.mip_node_count)), f"HiGHS {highs.version()}"
        return result_of(program, status, x, bound, began, nodes, version, settings, messages)


def build(program: Program) -> Any:
    """A highspy model of a program with linear rows."""
    try:
        import highspy
    except ImportError as e:
        raise missing_package("highs", "highspy", "pip install highspy", e) from e
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    n = program.columns
    blocks = [rows for rows in program.rows if isinstance(rows, LinearRows) and rows.count]
    counts = [rows.count for rows in blocks]
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = n, sum(counts)
    lp.col_lower_, lp.col_upper_ = program.lo, program.hi
    objective = program.objective
    cost = np.zeros(n)
    np.add.at(cost, objective.affine.columns, objective.affine.values)
    lp.col_cost_, lp.offset_ = cost, float(objective.affine.constant[0])
    lp.sense_ = highspy.ObjSense.kMinimize if program.sense == "minimize" else highspy.ObjSense.kMaximize
    starts = np.cumsum([0, *counts])
    triplets = [(r.affine.rows + s, r.affine.columns, r.affine.values) for r, s in zip(blocks, starts)]
    i, j, v = (np.concatenate([t[k] for t in triplets]) if triplets else np.zeros(0) for k in range(3))
    matrix = coo_matrix((v, (i.astype(int), j.astype(int))), shape=(lp.num_row_, n)).tocsr()  # adds repetitions up
    lp.row_lower_ = np.concatenate([r.lo - r.affine.constant for r in blocks]) if blocks else np.zeros(0)
    lp.row_upper_ = np.concatenate([r.hi - r.affine.constant for r in blocks]) if blocks else np.zeros(0)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
    if program.discrete.any():
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[int(d)] for d in program.discrete]
    highs.passModel(lp)
    if len(objective.values):
        _pass_hessian(highs, program)
    return highs


def _pass_hessian(highs: Any, program: Program) -> None:
    """HiGHS minimises c'x + x'Qx/2 and wants the lower triangle of Q by columns."""
    import highspy

    q, n = program.objective, program.columns
    values = np.where(q.left == q.right, 2.0 * q.values, q.values)
    lower = coo_matrix((values, (q.right, q.left)), shape=(n, n)).tocsc()
    lower.sort_indices()
    hessian = highspy.HighsHessian()
    hessian.dim_ = n
    hessian.format_ = highspy.HessianFormat.kTriangular
    hessian.start_, hessian.index_, hessian.value_ = lower.indptr, lower.indices, lower.data
    highs.passHessian(hessian)


def _configure(highs: Any, limits: Limits, settings: Mapping[str, Any], spent: float) -> None:
    import highspy

    wanted: dict[str, Any] = {"mip_rel_gap": limits.gap, "random_seed": limits.seed % (2**31 - 1)}
    if limits.time is not None:
        wanted["time_limit"] = max(0.0, limits.time - spent)
    if limits.nodes is not None:
        wanted["mip_max_nodes"] = limits.nodes
    if limits.threads != _scheduler["threads"]:
        highspy.Highs.resetGlobalScheduler(True)
        _scheduler["threads"] = limits.threads
    wanted["threads"] = limits.threads
    for name, value in {**wanted, **settings}.items():
        if highs.setOptionValue(name, value) == highspy.HighsStatus.kError:
            raise setting_refused("highs", name, value, "no such option, or a value outside its range")


def _set_start(highs: Any, x: np.ndarray) -> None:
    known = np.flatnonzero(~np.isnan(x))
    highs.setSolution(len(known), known.astype(np.int32), x[known])


class _Session:
    """One run in a thread of its own, with callbacks that report progress and honour stop requests."""

    def __init__(self, highs: Any, program: Program, on_progress: OnProgress | None, began: float):
        self.highs, self.program, self.on_progress, self.began = highs, program, on_progress, began
        self.error: BaseException | None = None
        self.stopped = threading.Event()
        self.last = 0.0
        self.x: np.ndarray | None = None  # the last improving solution of a MIP

    def run(self, stop: threading.Event | None) -> Status:
        from highspy import cb

        Kind = cb.HighsCallbackType

        self.kinds = Kind
        self.highs.setCallback(self._callback, None)
        for kind in (Kind.kCallbackMipInterrupt, Kind.kCallbackSimplexInterrupt, Kind.kCallbackIpmInterrupt,
                     Kind.kCallbackMipImprovingSolution):  # fmt: skip
            self.highs.startCallback(kind)
        in_thread(self.highs.run, stop, self.stopped)
        if self.error is not None:
            raise self.error
        return self._status()

    def _status(self) -> Status:
        from highspy import HighsModelStatus as S

        status = self.highs.getModelStatus()
        if status == S.kUnboundedOrInfeasible:  # presolving saw one of the two
            self.highs.setOptionValue("presolve", "off")
            self.highs.run()
            status = self.highs.getModelStatus()
        if self.stopped.is_set() and status not in (S.kOptimal, S.kInfeasible, S.kUnbounded):
            return Status.INTERRUPTED
        return {
            S.kOptimal: Status.OPTIMAL, S.kModelEmpty: Status.OPTIMAL, S.kInfeasible: Status.INFEASIBLE,
            S.kUnbounded: Status.UNBOUNDED, S.kTimeLimit: Status.LIMIT, S.kIterationLimit: Status.LIMIT,
            S.kSolutionLimit: Status.LIMIT, S.kMemoryLimit: Status.LIMIT, S.kObjectiveBound: Status.LIMIT,
            S.kObjectiveTarget: Status.LIMIT, S.kInterrupt: Status.INTERRUPTED,
        }.get(status, Status.ERROR)  # fmt: skip

    def _callback(self, kind: Any, message: str, out: Any, data_in: Any, user: Any) -> None:
        if data_in is not None and (self.stopped.is_set() or self.error is not None):
            data_in.user_interrupt = True
        if self.error is not None:
            return
        try:
            now = time.monotonic()
            if kind == self.kinds.kCallbackMipImprovingSolution:
                self.x = np.array(out.mip_solution)[: self.program.columns]
                self._report(out, self.program.objective_value(self.x), self.x)
            elif kind == self.kinds.kCallbackMipInterrupt and now - self.last > 0.2:
                self._report(out, None if self.x is None else self.program.objective_value(self.x), None)
        except BaseException as e:
            self.error = e

    def _report(self, out: Any, objective: float | None, x: np.ndarray | None) -> None:
        if self.on_progress is None:
            return
        self.last = time.monotonic()
        bound = float(out.mip_dual_bound)
        self.on_progress(BackendProgress(
            self.last - self.began, objective, bound if np.isfinite(bound) else None, max(0, int(out.mip_node_count)), x
        ))  # fmt: skip
