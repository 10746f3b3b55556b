"""The engine: Problem -> integer program -> CP-SAT, and back to points that are evaluated as the spec defines them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from nnspec.backends.cpsat import IntegerProgress, IntegerResult, Overflow, available
from nnspec.encodings.symmetry import Ordering
from nnspec.engines.cpsat.exact import Builder, NotExact
from nnspec.engines.cpsat.expressions import Expressions
from nnspec.engines.cpsat.symmetry import order, representative
from nnspec.engines.interface import Limits, OnProgress, Outcome, Progress, Status
from nnspec.engines.solver.judge import Judge
from nnspec.errors import Diagnostic, UnsupportedError
from nnspec.problem.problem import Point, Problem
from nnspec.reductions.chain import compose
from nnspec.reductions.finite import FINITE
from nnspec.reductions.interface import Case, identity
from nnspec.tolerances import LOSS_MISMATCH, proven


class Compiled:
    """The integer program of a problem. The objective in integers is `scale` times that of the spec, signed to be
    minimised, less a constant. Raises NotExact and Overflow."""

    def __init__(self, original: Problem):
        self.finite = Case(original, identity, identity)
        self.notes: list[str] = []
        for reduction in FINITE:
            if reduction.applies(self.finite.problem, math.inf) is None:
                reduced = reduction.apply(self.finite.problem, math.inf)
                self.finite = compose(self.finite, reduced.cases[0])
                self.notes.append(reduced.summary)
        self.problem = problem = self.finite.problem
        self.builder = Builder()
        self.expressions = Expressions(problem, self.builder)
        self._budgets()
        for tie in problem.ties:
            (a, i), (b, j) = tie.target, tie.source
            forms = self.expressions.weights.forms
            self.builder.equal(forms[a].reshape(-1)[i] - forms[b].reshape(-1)[j].times(int(tie.sign)))
        for constraint in problem.constraints:
            self.expressions.require(constraint.expression)
        self.orderings: list[Ordering] = order(problem, self.builder, self.expressions.weights)
        self.sign = 1 if problem.minimize else -1
        self.objective = None
        self.scale, self.offset = 1, 0
        if problem.objective.expression is not None:
            self.objective = self.expressions.value(problem.objective.expression)
            terms, self.offset, self.scale = self.builder.integers(self.objective.times(self.sign))
            if terms:
                self.builder.program.minimize(terms)

    def _budgets(self) -> None:
        for network in self.problem.networks.values():
            for name, budget in [(None, network.l0), *((x.name, x.l0) for x in network.layers)]:
                if budget is not None:
                    self.builder.require(-(self.expressions.nonzeros(network, name) - budget))

    def value(self, integer: int) -> Fraction:
        """The objective that the integer program's objective stands for."""
        return self.sign * Fraction(integer + self.offset, self.scale)

    def cut_off(self, cutoff: float) -> None:
        """Only points at least as good as this."""
        if self.objective is not None:
            limit = Fraction(cutoff)
            self.builder.require((self.objective - limit).times(-self.sign))

    def point(self, x: Any) -> Point:
        names = self.expressions.variables
        return Point(
            self.expressions.weights.point(x), {n: float(self.builder.evaluate(f)(x)) for n, f in names.items()}
        )

    def start(self, point: Point) -> list[int | None]:
        """A point's variables, with all that follows from them."""
        moved = self.finite.forward(point)
        point = point if moved is None else moved
        x: list[int | None] = [None] * self.builder.program.size
        self.expressions.weights.start(representative(self.orderings, point), x)
        for name, form in self.expressions.variables.items():
            for j, c in form.terms.items():
                x[j] = round((point.variables[name] - float(form.constant)) / float(c))
        return self.builder.program.complete(x)


class CpsatEngine:
    """Problems with finitely many weights on CP-SAT. `options` are CP-SAT's own parameters."""

    name = "solver"
    backend = "cpsat"

    def __init__(self, options: Mapping[str, Any] | None = None):
        self.options = dict(options or {})
        self._last: tuple[Problem, Compiled | str] | None = None

    def _compiled(self, problem: Problem) -> Compiled | str:
        """The integer program, or why there is none; the last one is kept until it is solved."""
        if self._last is None or self._last[0] is not problem:
            try:
                self._last = (problem, Compiled(problem))
            except NotExact as e:
                self._last = (problem, str(e))
            except Overflow as e:
                self._last = (problem, f"in exact integers {e} is above 2^60")
        return self._last[1]

    def describe(self, problem: Problem) -> list[str]:
        """Lines for --explain: what became finite, and the size of the integer program."""
        compiled = self._compiled(problem)
        if isinstance(compiled, str):
            return []
        program = compiled.builder.program
        size = f"integer program with {program.size} variables and {program.rows} rows"
        return [*compiled.notes, size, *(o.explain() for o in compiled.orderings)]

    def begins(self, problem: Problem) -> bool:
        return False

    def accepts(self, problem: Problem) -> str | None:
        """None if the problem has an exact integer form and ortools is installed, else the reason."""
        found = available()
        if not found.ok:
            return f"{found.reason} ({found.command})"
        compiled = self._compiled(problem)
        return compiled if isinstance(compiled, str) else None

    def solve(self, problem: Problem, limits: Limits, start: tuple[Point, ...] = (),
              on_progress: OnProgress | None = None, stop: threading.Event | None = None) -> Outcome:  # fmt: skip
        """Solve to the limits. Raises UnsupportedError for problems that are not exact, MissingPackageError without
        ortools."""
        began = time.monotonic()
        compiled = self._compiled(problem)
        self._last = None  # a cut-off and a start become part of it
        if isinstance(compiled, str):
            raise UnsupportedError(
                Diagnostic("NNS161", f"cpsat cannot take this problem: {compiled}",
                           help="cpsat takes integer and finite weights on data that are short fractions; "
                                "use the backend scip")
            )  # fmt: skip
        judge = Judge(problem)
        for point in start:
            judge.consider(point)

        def listen(p: IntegerProgress) -> None:
            point = None if p.x is None else judge.consider(compiled.point(p.x))
            if on_progress is not None:
                bound = None if p.bound is None else float(compiled.value(p.bound))
                on_progress(Progress(time.monotonic() - began, judge.objective, bound, p.nodes, point))

        hint = None
        if judge.point is not None:
            hint = compiled.start(judge.point)
            if on_progress is not None:
                on_progress(Progress(time.monotonic() - began, judge.objective, None, 0, judge.point))
        if limits.cutoff is not None:
            compiled.cut_off(limits.cutoff)
        left = None if limits.time is None else max(0.0, limits.time - (time.monotonic() - began))
        shares = Limits(left, limits.gap, limits.nodes, limits.threads, limits.memory, limits.seed)
        result = compiled.builder.program.solve(shares, hint, listen, stop, self.options)
        if result.x is not None:
            judge.consider(compiled.point(result.x))
        return self._conclude(compiled, judge, result, limits, began)

    def _conclude(self, compiled: Compiled, judge: Judge, result: IntegerResult, limits: Limits, began: float
                  ) -> Outcome:  # fmt: skip
        """The status that the recomputed numbers support."""
        status, messages = result.status, []
        program = compiled.builder.program
        bound: float | None = None
        if compiled.problem.objective.sense == "satisfy" or not program.objective:
            bound = float(compiled.value(0)) if status is Status.OPTIMAL else None
        elif result.bound is not None:
            bound = float(compiled.value(result.bound))
        beaten = judge.objective is not None and (
            limits.cutoff is None or compiled.sign * (judge.objective - limits.cutoff) < -_tolerance(limits.cutoff)
        )
        if status is Status.INFEASIBLE and beaten:
            messages.append(f"CP-SAT claims infeasibility, but a point with value {judge.objective:.9g} is feasible")
            status = Status.ERROR
        if status is Status.OPTIMAL:
            if judge.objective is None:
                messages.append(f"CP-SAT's solution does not hold when recomputed: {judge.last_violation}")
                status = Status.LIMIT
            elif not proven(judge.objective, bound, limits.gap):
                difference = abs(judge.objective - (bound or 0.0))
                if difference > _tolerance(judge.objective):
                    messages.append(
                        f"recomputed in floating point, the objective is {judge.objective:.9g}, in exact arithmetic "
                        f"{bound:.9g}: a quantity of the network lies exactly on a threshold"
                    )
                    status = Status.LIMIT
        if bound is not None and judge.objective is not None:
            excess = compiled.sign * (bound - judge.objective)
            if excess > _tolerance(judge.objective):
                messages.append(f"CP-SAT's bound {bound:.9g} contradicts the value {judge.objective:.9g} of a feasible "
                                "point; the bound is not reported")  # fmt: skip
                status, bound = Status.ERROR, None
            elif excess > 0:
                bound = judge.objective
        if status is Status.LIMIT and proven(judge.objective, bound, limits.gap):
            status = Status.OPTIMAL
        evidence = {
            "solver": result.version, "settings": dict(result.settings), "integer variables": program.size,
            "scale of the objective": compiled.scale, "bound": f"dual bound of {result.version}, exact integers",
        }  # fmt: skip
        return Outcome(status, judge.point, judge.objective, bound, time.monotonic() - began, result.nodes, self.name,
                       self.backend, evidence, tuple(messages))  # fmt: skip


def _tolerance(value: float) -> float:
    return LOSS_MISMATCH * max(1.0, abs(value))


__all__ = ["Compiled", "CpsatEngine"]
