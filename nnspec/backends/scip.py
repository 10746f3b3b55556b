"""SCIP through PySCIPOpt.

Settings that differ from SCIP's defaults, and why: symmetry handling is off (misc/usesymmetry = 0), because a wrong
optimum was seen with it on a nonlinear model and our own orderings do its work; the absolute gap of tolerances is set,
since losses that reach zero have no relative gap. The LP solver gets no cut-off (lp/disablecutoff = 1): told to stop at
it, SoPlex stopped in LPs whose optimum, by HiGHS, was far below, and SCIP pruned known solutions. With SCIP 10.0.2 and
a cut-off 5 to 80 % above a known value that happened in 18 of 240 runs on small smooth networks (tanh, gelu), in none
of 240 with this setting. SCIP still prunes by the LP's value. Programs that are linear but for integers, indicators and
sets keep the cut-off: nothing of the kind was seen there, and without it a trained 10-30-30-1 network took five times
the nodes.
SCIP's general cutting planes are off for linear programs whose only binaries choose the pieces of activations: in big-M
rows they cost more than half of the time and save less; the cuts of the neurons' hulls, which know what the rows mean,
take their place (scip_hull.py; figures in docs/benchmarks.md).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nnspec import tolerances
from nnspec.backends import scip_hull
from nnspec.backends.bridges import bridge
from nnspec.backends.common import announce, feasible_starts, in_thread, result_of, setting_refused
from nnspec.backends.interface import Availability, BackendProgress, BackendResult, NodeBound, OnProgress, Takes
from nnspec.backends.scip_model import build
from nnspec.backends.scip_plugins import AFTER_NODES, include_node_bound
from nnspec.program import Program
from nnspec.program.rows import IndicatorRows, LinearRows, SosRows, UnivariateRows
from nnspec.status import Limits, Status

SETTINGS: dict[str, Any] = {"misc/usesymmetry": 0, "limits/absgap": tolerances.GAP_ABSOLUTE, "lp/disablecutoff": 1}
GENERAL_CUTS = ("aggregation", "clique", "gomory", "impliedbounds", "mcf", "zerohalf")
WITHOUT_CUTS: dict[str, Any] = {
    **{f"separating/{name}/freq": -1 for name in GENERAL_CUTS},
    "separating/maxlocalbounddist": 1.0,  # at all nodes, not only at those with the least bound
}

OTHER_LPS: dict[str, Any] = {"lp/scaling": 2, "lp/presolving": False}
"""For a second try after "error in LP solver", numerical trouble that SCIP could not resolve."""

_STATUS = {
    "optimal": Status.OPTIMAL, "gaplimit": Status.OPTIMAL, "infeasible": Status.INFEASIBLE,
    "unbounded": Status.UNBOUNDED, "userinterrupt": Status.INTERRUPTED, "terminate": Status.INTERRUPTED,
    "timelimit": Status.LIMIT, "nodelimit": Status.LIMIT, "totalnodelimit": Status.LIMIT, "memlimit": Status.LIMIT,
    "stallnodelimit": Status.LIMIT, "sollimit": Status.LIMIT, "bestsollimit": Status.LIMIT,
    "restartlimit": Status.LIMIT, "primallimit": Status.LIMIT, "duallimit": Status.LIMIT,
}  # fmt: skip


TRANSFORMED = 3  # SCIP_STAGE_TRANSFORMED


class ScipBackend:
    """SCIP: everything but gelu (it has no erf). Global optimality for all of it."""

    name = "scip"
    takes = Takes(
        rows=frozenset({"linear", "quadratic", "product", "univariate", "indicator", "sos1", "sos2"}),
        functions=frozenset(
            {"exp", "log", "sqrt", "sin", "cos", "abs", "power", "tanh", "sigmoid", "softplus", "silu"}
        ),
    )

    def available(self) -> Availability:
        try:
            import pyscipopt
        except ImportError as e:
            return Availability(None, f"PySCIPOpt cannot be imported: {e}", "pip install pyscipopt")
        return Availability(f"SCIP {_version(pyscipopt.Model())} (PySCIPOpt {pyscipopt.__version__})")

    def solve(self, program: Program, limits: Limits, starts: Sequence[np.ndarray] = (),
              on_progress: OnProgress | None = None, stop: threading.Event | None = None,
              options: Mapping[str, Any] | None = None, node_bound: NodeBound | None = None,
              ) -> BackendResult:  # fmt: skip
        """See Backend; `node_bound` joins SCIP's own propagation."""
        began = time.monotonic()
        bridged = bridge(program, self.takes, self.name)
        settings = {**_settings(program), **(options or {})}
        best, messages = feasible_starts(program, starts)
        try:
            announce(program, best, on_progress, began)
            model, variables = build(bridged.program)
            _configure(model, limits, settings, time.monotonic() - began)
            if node_bound is not None:
                include_node_bound(model, variables, node_bound)
            if program.neurons and pieces_only(program):
                scip_hull.include(model, program, variables)
            for start in best:
                add_start(model, variables, bridged.lift(start), messages)
            watch = Watch(model, variables[: program.columns], on_progress, began)
            status = watch.run(stop)
            if watch.failure:  # the model's state is not to be trusted any more, what was reported before is
                left = None if limits.time is None else limits.time - (time.monotonic() - began)
                if OTHER_LPS.items() <= settings.items() or (left is not None and left <= 0):
                    messages.append(watch.failure)
                    return result_of(program, status, next(iter(best), None), None, began, messages=messages)
                again = self.solve(program, replace(limits, time=left), starts, on_progress, stop,
                                   {**(options or {}), **OTHER_LPS}, node_bound)  # fmt: skip
                note = f"{watch.failure}; it was asked again, with its LPs scaled in another way"
                return replace(again, seconds=time.monotonic() - began, messages=(*messages, note, *again.messages))
        except KeyboardInterrupt:  # while building; once SCIP runs the watch deals with it
            return result_of(program, Status.INTERRUPTED, next(iter(best), None), None, began, messages=messages)
        found = model.getNSols() > 0  # values can be read, wrongly, even without a solution
        x = _values(model.getBestSol(), variables[: program.columns]) if found else None
        if limits.cutoff is not None and not found and status is Status.OPTIMAL:
            status = Status.INFEASIBLE  # SCIP calls it optimal that nothing beats the cut-off
        solved = model.getStage() >= TRANSFORMED and status is not Status.INFEASIBLE
        bound = _finite(model, model.getDualbound()) if solved else None  # crashes in earlier stages
        nodes = int(model.getNTotalNodes()) if solved else 0
        if node_bound is not None and nodes >= AFTER_NODES:
            settings["node bound"] = f"nnspec's dual bound from node {AFTER_NODES} on"
        return result_of(
            program, status, x, bound, began, nodes=nodes, version=f"SCIP {_version(model)}", settings=settings,
            messages=messages,
        )  # fmt: skip

    def excludes(self, program: Program, value: float, seconds: float, nodes: int | None = None) -> bool:
        """Whether SCIP proves, without heuristics and start points, that nothing as good as `value` exists.

        If that value is known to be attained with room to spare, its proofs of this program cannot be trusted: the same
        propagation that cuts off a known solution here closes the gap elsewhere.
        """
        from pyscipopt import SCIP_PARAMSETTING

        model, _ = build(bridge(program, self.takes, self.name).program)
        model.setHeuristics(SCIP_PARAMSETTING.OFF)
        _configure(model, Limits(time=seconds, nodes=nodes, cutoff=value), _settings(program), 0.0)
        status = Watch(model, [], None, time.monotonic()).run(None)
        return status in (Status.INFEASIBLE, Status.OPTIMAL) and model.getNSols() == 0


def smooth(program: Program) -> bool:
    """Whether there are rows with exp, log, tanh and the like."""
    return any(isinstance(rows, UnivariateRows) and rows.function not in ("abs", "power") for rows in program.rows)


def mixed_integer_linear(program: Program) -> bool:
    """Whether a program is linear but for integers, indicators and special ordered sets."""
    linear = all(isinstance(rows, LinearRows | IndicatorRows | SosRows) for rows in program.rows)
    return linear and not len(program.objective.values)


def pieces_only(program: Program) -> bool:
    """Whether a program is linear but for binaries that choose the pieces of activations."""
    if not mixed_integer_linear(program) or not all(isinstance(rows, LinearRows) for rows in program.rows):
        return False
    return bool(program.pieces) and int(program.discrete.sum()) == sum(p.size for p in program.pieces)


def _settings(program: Program) -> dict[str, Any]:
    """Our settings for a program."""
    linear = {"lp/disablecutoff": 2} if mixed_integer_linear(program) else {}
    return {**SETTINGS, **linear, **(WITHOUT_CUTS if pieces_only(program) else {})}


def _configure(model: Any, limits: Limits, settings: Mapping[str, Any], spent: float) -> None:
    model.setParam("limits/gap", limits.gap)
    if limits.time is not None:
        model.setParam("limits/time", max(0.0, limits.time - spent))
    if limits.nodes is not None:
        model.setParam("limits/totalnodes", limits.nodes)
    if limits.memory is not None:
        model.setParam("limits/memory", limits.memory)
    if limits.cutoff is not None:
        model.setObjlimit(limits.cutoff)
    model.setParam("randomization/randomseedshift", limits.seed % (2**31 - 1))
    model.setParam("misc/catchctrlc", False)  # Python handles Ctrl-C; SCIP would print to stdout
    for name, value in settings.items():
        try:
            model.setParam(name, value)
        except (KeyError, ValueError, TypeError) as e:
            raise setting_refused("scip", name, value, e) from e


def add_start(model: Any, variables: list[Any], x: np.ndarray, messages: list[str]) -> None:
    """Hand a start point over, or a part of one where values are nan; says so if SCIP finds it infeasible.

    Where there are indicators it is a part, too: SCIP gives them slack variables of its own, and sets those itself.
    """
    if np.isnan(x).any() or any(c.getConshdlrName() == "indicator" for c in model.getConss()):
        start = model.createPartialSol()
        for j in np.flatnonzero(~np.isnan(x)).tolist():
            model.setSolVal(start, variables[j], float(x[j]))
        model.addSol(start)
        return
    start = model.createSol()
    for variable, value in zip(variables, x.tolist()):
        model.setSolVal(start, variable, value)
    if not model.checkSol(start, printreason=False, original=True):  # addSol says yes to anything
        messages.append("a start point was refused by SCIP's own check")
    model.addSol(start)


class Watch:
    """Runs a model and listens: progress from SCIP's events, stop requests from another thread.

    SCIP turns an exception in a callback into "unspecified error", so it is kept, the solve interrupted, and the
    exception raised afterwards.
    """

    PERIOD = 0.2  # seconds between signs of life

    def __init__(self, model: Any, variables: list[Any], on_progress: OnProgress | None, began: float):
        self.model, self.variables, self.on_progress, self.began = model, variables, on_progress, began
        self.last = -math.inf
        self.error: BaseException | None = None
        self.failure = ""

    def run(self, stop: threading.Event | None) -> Status:
        """Optimise; raises what `on_progress` raised. What SCIP itself fails on is kept in `failure`."""
        if self.on_progress is not None:
            self.listen()
        try:
            in_thread(self._optimize, stop, threading.Event(), self.model.interruptSolve)
        except Exception as e:
            if self.error is None and not str(e).startswith("SCIP:"):
                raise
            self.failure = f"SCIP gave up: {str(e).removeprefix('SCIP:').strip()}"
        if self.error is not None:
            raise self.error
        if self.failure:
            return Status.ERROR
        return _STATUS.get(self.model.getStatus(), Status.ERROR)

    def _optimize(self) -> None:
        model = self.model
        model.optimizeNogil()
        if model.getStatus() == "inforunbd":  # presolving saw one of the two; without dual reductions SCIP knows which
            model.freeTransform()
            model.setParam("presolving/maxrounds", 0)
            model.setParam("misc/allowstrongdualreds", False)
            model.setParam("misc/allowweakdualreds", False)
            model.optimizeNogil()

    def listen(self) -> None:
        """Report from SCIP's events on; before the solve begins."""
        from pyscipopt import SCIP_EVENTTYPE, Eventhdlr

        watch = self
        events = (SCIP_EVENTTYPE.BESTSOLFOUND, SCIP_EVENTTYPE.NODESOLVED, SCIP_EVENTTYPE.LPSOLVED)

        class Progress(Eventhdlr):  # type: ignore[misc]
            def eventinit(self) -> None:
                for event in events:
                    self.model.catchEvent(event, self)

            def eventexit(self) -> None:
                for event in events:
                    self.model.dropEvent(event, self)

            def eventexec(self, event: Any) -> None:
                try:
                    watch._report(event.getType() == SCIP_EVENTTYPE.BESTSOLFOUND)
                except BaseException as e:
                    watch.error = e
                    self.model.interruptSolve()

        self.model.includeEventhdlr(Progress(), "nnspec-progress", "reports progress")

    def _report(self, new: bool) -> None:
        now = time.monotonic()
        if self.error is not None or self.on_progress is None or (not new and now - self.last < self.PERIOD):
            return
        self.last = now
        model = self.model
        best = model.getBestSol() if model.getNSols() > 0 else None
        self.on_progress(BackendProgress(
            now - self.began,
            None if best is None else float(model.getSolObjVal(best)),  # getPrimalbound lags behind in this event
            _finite(model, model.getDualbound()), int(model.getNTotalNodes()),
            _values(best, self.variables) if new and best is not None else None,
        ))  # fmt: skip


def _values(solution: Any, variables: list[Any]) -> np.ndarray:
    return np.array([solution[v] for v in variables], dtype=float)


def _finite(model: Any, value: float) -> float | None:
    return float(value) if abs(value) < model.infinity() and math.isfinite(value) else None


def _version(model: Any) -> str:
    return ".".join(str(part()) for part in (model.getMajorVersion, model.getMinorVersion, model.getTechVersion))
