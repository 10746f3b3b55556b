"""Any solver that Pyomo has: pyomo:scip_direct, pyomo:highs, pyomo:gurobi_direct_minlp, pyomo:ipopt, pyomo:baron ...

The solve runs in a process of its own (see pyomo_worker), so that it can be stopped. Pyomo passes no progress on:
what is reported is the start point and that time goes by. Pyomo's word "optimal" is not taken for a proof: OPTIMAL
needs a bound that meets the incumbent, or a convex continuous program, where a local optimum is global.
"""

from __future__ import annotations

import math
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nnspec.backends.bridges import bridge
from nnspec.backends.common import announce, feasible_starts, missing_package, result_of
from nnspec.backends.interface import Availability, BackendProgress, BackendResult, OnProgress, Takes
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

_SCIP = {"misc/usesymmetry": 0}  # as in nnspec.backends.scip
SETTINGS: dict[str, dict[str, Any]] = {"scip_direct": _SCIP, "scip_persistent": _SCIP}

GRACE = 5.0  # seconds that a solver gets to come back with its best solution after SIGINT, before it is killed
PERIOD = 0.2


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
            return Availability(None, f"Pyomo {pyomo.__version__} has no usable solver {self.solver}",
                                "see Pyomo's documentation on how to install it")  # fmt: skip
        return Availability(f"Pyomo {pyomo.__version__}")

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
        settings = {**SETTINGS.get(self.solver, {}), **(options or {})}
        best, messages = feasible_starts(program, starts)
        announce(program, best, on_progress, began)
        # wall-clock time: the worker has another monotonic clock
        deadline = None if limits.time is None else time.time() + limits.time - (time.monotonic() - began)
        task = {
            "program": bridged.program.without_recipes(), "start": bridged.lift(best[0]) if best else None,
            "solver": self.solver, "new": interface == "new", "options": settings, "limits": limits,
            "deadline": deadline,
        }  # fmt: skip
        answer, stopped = _in_process(task, on_progress, stop, began)
        if "failure" in answer:
            raise UnsupportedError(diagnostic("NNS161", f"{self.name} cannot take this program: {answer['failure']}"))
        x = answer.get("x")
        x = None if x is None else x[: program.columns]
        status, bound = answer["status"], _finite(answer["bound"])
        messages += answer["messages"]
        if stopped and status is not Status.OPTIMAL:
            status = Status.INTERRUPTED
        if x is None and status in (Status.LIMIT, Status.INTERRUPTED) and best and not np.isnan(best[0]).any():
            x = best[0]
        if status is Status.INFEASIBLE:
            x = bound = None
        if status is Status.OPTIMAL and x is not None:
            status, bound = _proof(program, status, x, bound, limits)
        version = f"{self.name} {answer['version']}".strip()
        return result_of(program, status, x, bound, began, 0, version, settings, messages)

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
                help="install its package or executable; nnspec backends lists what is there",
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


def _in_process(task: Mapping[str, Any], on_progress: OnProgress | None, stop: threading.Event | None, began: float
                ) -> tuple[dict[str, Any], bool]:  # fmt: skip
    """The worker's answer, and whether it was asked to stop."""
    with tempfile.TemporaryDirectory(prefix="nnspec-") as folder:
        task_file, result_file, output = Path(folder, "task"), Path(folder, "result"), Path(folder, "output")
        task_file.write_bytes(pickle.dumps(task))
        command = [sys.executable, "-m", "nnspec.backends.pyomo_worker", str(task_file), str(result_file)]
        with output.open("wb") as out:
            worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            try:
                asked = _wait(worker, on_progress, stop, began)
            finally:
                worker.kill()
                worker.wait()
        if result_file.exists():
            return pickle.loads(result_file.read_bytes()), asked
        if asked:
            return {"status": Status.INTERRUPTED, "bound": None, "version": "", "messages": []}, True
        said = output.read_text(errors="replace").strip()
        last = said.splitlines()[-1] if said else f"exit status {worker.returncode}"
        return {"failure": f"the solver's process ended: {last}"}, False


def _wait(worker: subprocess.Popen[bytes], on_progress: OnProgress | None, stop: threading.Event | None, began: float
          ) -> bool:  # fmt: skip
    """Until the worker ends; True if it was asked to."""
    asked: float | None = None
    while worker.poll() is None:
        interrupted = stop is not None and stop.is_set()
        try:
            worker.wait(PERIOD)
        except subprocess.TimeoutExpired:
            if on_progress is not None and asked is None:
                on_progress(BackendProgress(time.monotonic() - began, None, None))
        except KeyboardInterrupt:
            interrupted = True
        if interrupted and asked is None:
            asked = time.monotonic()
            if sys.platform == "win32":
                worker.terminate()
            else:
                worker.send_signal(signal.SIGINT)
        if asked is not None and time.monotonic() - asked > GRACE:
            worker.kill()
    return asked is not None
