"""The solver engine: Problem -> Program -> a solver, and back to a judged Point.

Nothing the solver says is taken on trust. Every incumbent is turned into a Point and evaluated by
`nnspec.problem.evaluate`; the objective reported is that value. A solution that only holds within the solver's
tolerances is polished: its discrete decisions are fixed at integers and the continuous rest is solved again with tight
tolerances. A bound that contradicts a judged point makes the status ERROR.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nnspec import backends
from nnspec.backends import BackendProgress, BackendResult
from nnspec.backends.bridges import bridge
from nnspec.backends.scip import ScipBackend, smooth
from nnspec.encodings.compile import Compiled, compile_problem
from nnspec.engines.interface import Limits, OnProgress, Outcome, Progress, Status
from nnspec.engines.solver.judge import Judge, floor
from nnspec.engines.solver.node_bound import node_bound
from nnspec.engines.solver.polish import ROOM, polish
from nnspec.errors import UnsupportedError
from nnspec.problem.problem import Point, Problem
from nnspec.tolerances import FEASIBILITY, LOSS_MISMATCH, gap, proven

ROOM_TO_SPARE = 0.05
"""How much worse than a known point, relatively, the value is that a solver must not exclude: far more than tolerances
explain, and close enough to see most of what is wrong with a proof."""
CHECK_SECONDS = 5.0


class SolverEngine:
    """Any Problem that the encodings can write, on any backend that takes the rows.

    `encodings` maps layer or activation kinds to template names ({"relu": "sos1"}); `options` are the solver's own
    parameters. `node_bound` lets SCIP use the dual bound of node_bound.py where activations are smooth.
    """

    name = "solver"

    def __init__(self, backend: str = "scip", encodings: Mapping[str, str] | None = None,
                 options: Mapping[str, Any] | None = None, node_bound: bool = True):  # fmt: skip
        self.backend = backends.get(backend)
        self.encodings = dict(encodings or {})
        self.options = dict(options or {})
        self.node_bound = node_bound
        self._last: tuple[Problem, Compiled] | None = None

    def compile(self, problem: Problem) -> Compiled:
        """The program of a problem; the last one is kept, so that asking `accepts` first costs nothing twice."""
        if self._last is None or self._last[0] is not problem:
            self._last = (problem, compile_problem(problem, self.encodings, backend=self.backend.name))
        return self._last[1]

    def begins(self, problem: Problem) -> bool:
        return False

    def accepts(self, problem: Problem) -> str | None:
        """None, or the first thing in the problem that templates or backend cannot express."""
        try:
            bridge(self.compile(problem).program, self.backend.takes, self.backend.name)
        except UnsupportedError as e:
            return e.diagnostics[0].message
        return None

    def solve(self, problem: Problem, limits: Limits, start: tuple[Point, ...] = (),
              on_progress: OnProgress | None = None, stop: threading.Event | None = None) -> Outcome:  # fmt: skip
        """Solve to the limits. Raises UnsupportedError and MissingPackageError, never for a limit or an interrupt."""
        began = time.monotonic()
        judge = Judge(problem)
        try:
            compiled = self.compile(problem)
            starts = self._starts(problem, compiled, start, judge)

            def listen(p: BackendProgress) -> None:
                point = None if p.x is None else judge.consider(compiled.point(p.x))
                if on_progress is not None:
                    on_progress(Progress(time.monotonic() - began, judge.objective, p.bound, p.nodes, point))

            left = None if limits.time is None else max(0.0, limits.time - (time.monotonic() - began))
            asked = (compiled.program, replace(limits, time=left), starts, listen, stop, self.options)
            if isinstance(self.backend, ScipBackend) and self.node_bound and smooth(compiled.program):
                result = self.backend.solve(*asked, node_bound=node_bound(problem, compiled))
            else:
                result = self.backend.solve(*asked)
        except KeyboardInterrupt:
            return self._outcome(Status.INTERRUPTED, judge, None, began, None)
        messages = list(result.messages)
        if result.x is not None:
            judge.consider(compiled.point(result.x))
            if judge.falls_short(result.objective):
                messages += self._polished(compiled, result, limits, judge)
        return self._conclude(problem, judge, result, limits, began, messages)

    def _polished(self, compiled: Compiled, result: BackendResult, limits: Limits, judge: Judge) -> tuple[str, ...]:
        """Let the judge see polished forms of a solution until one holds; what hinders the last one."""
        assert result.x is not None
        note = ""
        for room in (*(ROOM if compiled.margins else ()), 0.0):
            program = compiled.firm(result.x, room) if room else compiled.program
            x, note = polish(self.backend, program, result.x, limits, self.options)
            if x is not None:
                judge.consider(compiled.point(x))
            if not judge.falls_short(result.objective):
                return ()
        return (note,) if note else ()

    def _starts(self, problem: Problem, compiled: Compiled, points: tuple[Point, ...], judge: Judge
                ) -> list[np.ndarray]:  # fmt: skip
        """Vectors of the start points; those that the program accepts count as known from the beginning."""
        starts = []
        for point in points:
            x = compiled.program.complete(compiled.start(point))
            starts.append(x)
            if not np.isnan(x).any() and not compiled.program.violations(x):
                judge.consider(point)
        return starts

    def _conclude(self, problem: Problem, judge: Judge, result: BackendResult, limits: Limits, began: float,
                  messages: list[str]) -> Outcome:  # fmt: skip
        """The status that the numbers support."""
        status, bound, objective = result.status, result.bound, judge.objective
        doubt = self._doubt(problem, result, objective, limits)
        if doubt:
            messages.append(f"{result.version} {doubt}: its proof is not trusted, and no bound is reported")
            return self._outcome(Status.ERROR, judge, None, began, result, messages)
        if bound is not None and problem.minimize:
            bound = max(bound, floor(problem.objective.expression))
        if result.x is not None and judge.point is None:
            messages.append(f"the solver's solution does not hold when recomputed: {judge.last_violation}")
        beaten = objective is not None and (limits.cutoff is None or self._better(problem, objective, limits.cutoff))
        if beaten and status is Status.INFEASIBLE:
            messages.append(f"the solver claims infeasibility, but a point with value {objective:.9g} is feasible")
            status = Status.ERROR
        elif objective is not None and bound is not None:
            excess = (bound - objective) if problem.minimize else (objective - bound)
            tolerance = LOSS_MISMATCH * max(1.0, abs(objective))
            if excess > tolerance:
                messages.append(
                    f"the solver's bound {bound:.9g} contradicts the value {objective:.9g} of a feasible point; "
                    "the bound is not reported"
                )
                status, bound = Status.ERROR, None
            elif excess > 0:
                bound = objective
        if status is Status.OPTIMAL:
            if objective is None:
                status = Status.ERROR
            elif problem.objective.sense == "satisfy":
                bound = 0.0
            elif not proven(objective, bound, limits.gap):
                status = self._nearly(objective, bound, limits, messages)
        elif status is Status.LIMIT and proven(objective, bound, limits.gap):
            status = Status.OPTIMAL
        return self._outcome(status, judge, bound, began, result, messages)

    def _doubt(self, problem: Problem, result: BackendResult, objective: float | None, limits: Limits) -> str:
        """Why a proof of SCIP for a program with smooth functions cannot be trusted; "" if nothing speaks against it.

        Wrong proofs were seen at the root of small tanh programs (backends/scip.py tells the cause and the cure). So no
        proof may exclude the known point when it is repeated without heuristics and start points.
        """
        expression = problem.objective.expression
        program = self.compile(problem).program
        if result.status not in (Status.OPTIMAL, Status.INFEASIBLE) or objective is None or expression is None:
            return ""
        through_pyomo = self.backend.name.startswith("pyomo:scip")
        scip = self.backend if isinstance(self.backend, ScipBackend) else ScipBackend() if through_pyomo else None
        if scip is None or not smooth(program):
            return ""
        if problem.minimize and proven(objective, floor(expression), limits.gap):
            return ""
        worse = 1.0 if problem.minimize else -1.0
        room = worse * ROOM_TO_SPARE * max(abs(objective), ROOM_TO_SPARE)
        if scip.excludes(program, objective + room, CHECK_SECONDS, nodes=1):
            return "also proves, without its heuristics, that nothing is as good as a known point with room to spare"
        return ""

    @staticmethod
    def _better(problem: Problem, objective: float, cutoff: float) -> bool:
        """Whether a value beats a cut-off by more than rounding."""
        tolerance = LOSS_MISMATCH * max(1.0, abs(cutoff))
        return objective < cutoff - tolerance if problem.minimize else objective > cutoff + tolerance

    def _nearly(self, objective: float, bound: float | None, limits: Limits, messages: list[str]) -> Status:
        """The solver met its gap, the recomputed objective does not: how far off is it?"""
        if bound is None:
            messages.append("the solver claims optimality without a bound")
            return Status.ERROR
        difference, scale = abs(objective - bound), max(1.0, abs(objective))
        if difference > FEASIBILITY * scale:
            messages.append(
                f"recomputed, the objective is {objective:.9g}, {difference:.2g} off the bound {bound:.9g} (gap "
                f"{gap(objective, bound):.2g}); the solver, with its tolerances, takes the gap for closed"
            )
        return Status.OPTIMAL if difference <= LOSS_MISMATCH * scale else Status.LIMIT

    def _outcome(self, status: Status, judge: Judge, bound: float | None, began: float, result: BackendResult | None,
                 messages: list[str] | None = None) -> Outcome:  # fmt: skip
        evidence: dict[str, object] = {"encodings": self.encodings}
        if result is not None:
            evidence |= {
                "solver": result.version, "settings": dict(result.settings), "solver_objective": result.objective,
                "bound": f"dual bound of {result.version}",
            }  # fmt: skip
        seconds = time.monotonic() - began
        nodes = 0 if result is None else result.nodes
        return Outcome(status, judge.point, judge.objective, bound, seconds, nodes, self.name, self.backend.name,
                       evidence, tuple(messages or ()))  # fmt: skip
