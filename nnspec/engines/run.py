"""The whole way of a solve: incumbents -> reductions -> engine -> back -> evaluated again.

`solve_problem` is what the command line and the Python interface call. The engines `cells` and `boxes` know the
structure themselves and get the problem as it stands; the solver engine gets the cases that the reductions leave, one
after the other, with the best objective so far as a common cut-off. Nothing an engine says is taken on trust: points
are mapped back and evaluated on the problem as the user stated it, and a bound above a known point is an error.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from nnspec.engines.attend import solve_attended
from nnspec.engines.choose import choose, engine_named
from nnspec.engines.interface import Engine, Limits, OnProgress, Outcome, Progress, Status
from nnspec.errors import UsageError, diagnostic
from nnspec.problem.evaluate import objective, violations
from nnspec.problem.problem import Point, Problem
from nnspec.reductions import CHAIN, Case, Chain, reduce
from nnspec.symmetry import Expanded, enforced, expand
from nnspec.tolerances import FEASIBILITY, LOSS_MISMATCH, proven

PATIENCE_A_WEIGHT = 150
"""The first local search ends when so many starts for each weight brought nothing better."""
BEFORE_CONVEX = ("duplicate samples", "constant inputs", "weight decay")
"""Reductions that come before the convex program over all activation patterns: quick, and without an incumbent."""
Explain = Callable[[str], None]
NEVER_NEGATIVE = "losses, sizes and squares are never negative"


def solve_problem(problem: Problem, limits: Limits = Limits(), engine: str = "auto",  # noqa: B008
                  backend: str | None = None, encodings: Mapping[str, str] | None = None,
                  start: tuple[Point, ...] = (), on_progress: OnProgress | None = None,
                  stop: threading.Event | None = None, explain: Explain | None = None, reductions: bool = True,
                  incumbents: bool = True, files: Mapping[str, Path] | None = None) -> Outcome:  # fmt: skip
    """Solve a problem to the limits with the engine and backend asked for, or the ones that suit it.

    `explain` gets a line for each reduction and engine, used or not, with the reason. `reductions` and `incumbents`
    switch those stages off; `files` are the "certificate" and "checkpoint" of engines that write them.

    The Outcome is in the problem's own weights, sense and units. Raises UnsupportedError if no
    engine takes the problem, UsageError for unknown names.
    """
    say = explain or (lambda line: None)
    choice = choose(problem, engine, backend, encodings, files)
    run = _Run(problem, limits, on_progress, stop, say, expand(problem) if enforced(problem) else None)
    for point in start:
        run.consider(point)
    if reductions and engine in ("auto", "solver") and backend is None and not encodings and not files:
        outcome = run.convex()
        if outcome is not None:
            return outcome
    if incumbents and not (run.symmetric is None and choice.engine.begins(problem)):
        run.search(start)
    for line in choice.reasons:
        say(line)
    if choice.engine.name != "solver" and run.symmetric:
        return run.tied(choice.engine, files)
    if choice.engine.name != "solver" or not (reductions or run.symmetric):
        outcome = run.direct(choice.engine)
        if not (engine == "auto" and outcome.status is Status.LIMIT and "relaxation" in outcome.evidence):
            return outcome
        say(f"engine {choice.engine.name}: {outcome.evidence['relaxation']}; on to the solver")
        run.messages.clear()
        return run.reduced(engine_named("solver"), reductions)
    return run.reduced(choice.engine, reductions, trivial=backend is None and not encodings)


@dataclass
class _Run:
    problem: Problem
    limits: Limits
    on_progress: OnProgress | None
    stop: threading.Event | None
    say: Explain
    symmetric: tuple[Expanded, ...] | None = None  # the cases of an enforced symmetry
    began: float = field(default_factory=time.monotonic)
    points: list[tuple[float, Point]] = field(default_factory=list)  # best first, values in the minimising sense
    nodes: int = 0
    messages: list[str] = field(default_factory=list)

    @property
    def sign(self) -> float:
        return 1.0 if self.problem.minimize else -1.0

    @property
    def upper(self) -> float:
        return self.points[0][0] if self.points else math.inf

    @property
    def best(self) -> Point | None:
        return self.points[0][1] if self.points else None

    def value(self) -> float | None:
        """The best objective in the problem's own sense."""
        return self.sign * self.upper if self.points else None

    def left(self) -> float | None:
        if self.limits.time is None:
            return None
        return max(0.0, self.limits.time - (time.monotonic() - self.began))

    def stopped(self) -> bool:
        return (self.stop is not None and self.stop.is_set()) or self.left() == 0.0

    def consider(self, point: Point) -> bool:
        """Keep a point if it holds; says whether it is the best so far."""
        if violations(self.problem, point):
            return False
        if self.symmetric is not None and all(case.forward(point) is None for case in self.symmetric):
            return False  # symmetric by rounding or on its data only
        value = self.sign * objective(self.problem, point)
        if math.isnan(value):
            return False
        better = value < self.upper
        self.points.append((value, point))
        self.points.sort(key=lambda item: item[0])
        del self.points[20:]
        return better

    def report(self, bound: float | None, nodes: int, new: bool) -> None:
        if self.on_progress is not None:
            seconds = time.monotonic() - self.began
            self.on_progress(Progress(seconds, self.value(), bound, nodes, self.best if new else None))

    # -- first solutions ---------------------------------------------------------------------------------------

    def search(self, start: tuple[Point, ...]) -> None:
        if not self.problem.networks:
            return
        from nnspec.incumbents import local_search

        left = self.left()
        began = time.monotonic()
        held = tuple(p for _, p in self.points)
        new = []
        for case in self.symmetric or (None,):
            problem, first = self.problem, held
            weights = sum(p.size for p in problem.free_parameters()) + len(problem.variables)
            if case is not None:
                problem, first = case.plain, tuple(p for p in held if case.forward(p) is not None)
                weights = case.tied.decisions
            share = None if left is None else 0.3 * left / len(self.symmetric or (None,))
            found = local_search(problem, self.limits.seed, None, share, first=first, stop=self.stop,
                                 patience=PATIENCE_A_WEIGHT * weights)  # fmt: skip
            new += [self.consider(p if case is None else case.inverse(p)) for p in found]
        if self.points:
            self.say(f"first incumbent {self.value():.6g} by local search in {time.monotonic() - began:.1f} s")
            self.report(None, 0, any(new))
        else:
            self.say("local search found no feasible point")

    def convex(self) -> Outcome | None:
        """The outcome if the convex program over all activation patterns settles every case of weight decay; else its
        networks are first points."""
        if self.symmetric is not None:
            return None
        chain = reduce(self.problem, reductions=tuple(r for r in CHAIN if r.name in BEFORE_CONVEX))
        if not all(math.isfinite(c.lower) for c in chain.cases):
            return None
        new = [self.consider(c.inverse(p)) for c in chain.cases for p in c.points]
        if not all(self._settles(c.lower) for c in chain.cases):
            return None
        bound = self._checked(self.sign * min(self.upper, *(c.lower for c in chain.cases)))
        if bound is None:
            return None
        for step in chain.steps:
            self.say(str(step))
        self.say(f"proven by {chain.cases[0].lower_source}, whose solution has few enough neurons")
        self.report(bound, 0, any(new))
        return self._outcome(Status.OPTIMAL, bound, None, chain.cases[0].lower_source)

    # -- engines that take the problem as it is ------------------------------------------------------------------

    def direct(self, engine: Engine) -> Outcome:
        r = solve_attended(engine, self.problem, replace(self.limits, time=self.left()),
                           tuple(p for _, p in self.points), self.on_progress, self.stop)  # fmt: skip
        if r.point is not None:
            self.consider(r.point)
        self.messages += r.messages
        self.nodes += r.nodes
        status, value = r.status, self.value()
        if value is not None and status is Status.INFEASIBLE:
            self.messages.append(f"{engine.name} claims infeasibility, but a point with value {value:.9g} is feasible")
            status = Status.ERROR
        stopped = status in (Status.LIMIT, Status.INTERRUPTED)
        bound = self._checked(self._least() if r.bound is None and stopped else r.bound)
        if r.bound is not None and bound is None:
            status = Status.ERROR
        return self._outcome(status, bound, r)

    # -- the solver engine on reduced problems -------------------------------------------------------------------

    def trivial(self) -> Outcome | None:
        """The outcome if the incumbent has the least value that the objective's form allows."""
        least, value = self._least(), self.value()
        if least is None or value is None or not proven(value, least):
            return None
        self.say(f"proven by the form of the objective: nothing is below {least:g}")
        return self._outcome(Status.OPTIMAL, self._checked(least), None)

    def tied(self, engine: Engine, files: Mapping[str, Path] | None) -> Outcome:
        """The cases of an enforced symmetry, without orders of orbits: the engine has its own."""
        assert self.symmetric is not None
        joined = None
        if files and len(self.symmetric) > 1:
            if engine.name != "cells" or "checkpoint" in files:
                raise UsageError(diagnostic(
                    "NNS172", f"an enforced symmetry stands for {len(self.symmetric)} problems, and a "
                    f"{' and a '.join(files)} belong to one", help="leave them out",
                ))  # fmt: skip
            from nnspec.engines.cells.cases import Cases

            engine = joined = Cases()
        cases = tuple(Case(e.plain, e.inverse, lambda p, e=e: p if e.tied.holds(p) else None, e.label)  # type: ignore[misc]
                      for e in self.symmetric)  # fmt: skip
        outcome = self.of_chain(engine, Chain(cases, reduce(self.problem, self.upper, ()).steps))
        if joined is not None and files is not None:
            outcome = joined.join(files["certificate"], len(cases), outcome)
        return outcome

    def reduced(self, engine: Engine, reductions: bool = True, trivial: bool = False) -> Outcome:
        return self.of_chain(engine, reduce(self.problem, self.upper, CHAIN if reductions else ()), trivial)

    def of_chain(self, engine: Engine, chain: Chain, trivial: bool = False) -> Outcome:
        for step in chain.steps:
            self.say(str(step))
        if trivial and (outcome := self.trivial()) is not None:
            return outcome
        if not any(step.applied for step in chain.steps):
            _describe(engine, self.problem, self.say, "")
            return self.direct(engine)
        bound, last, complete, failed = self._cases(_sparing(engine) if self.points else engine, chain)
        value = self.value()
        if failed:
            return self._outcome(Status.ERROR, None, last)
        if complete and value is None:
            return self._outcome(Status.INFEASIBLE, None, last)
        if complete and not chain.exact and not self._closed(bound):
            self.say("the relaxed problem's optimum is not attained within the boxes: solving the problem as it stands")
            r = self.direct(engine)
            known = [b for b in (r.bound, bound) if b is not None]
            best = (max if self.problem.minimize else min)(known) if known else None
            status = Status.OPTIMAL if r.status is Status.LIMIT and self._closed(best) else r.status
            return replace(r, bound=best, status=status)
        if self._closed(bound) and (complete or proven(value, bound, self.limits.gap)):
            if value is not None and bound is not None and not proven(value, bound, self.limits.gap):
                self.messages.append(f"the bound {bound:.9g} is {abs(value - bound):.2g} off the recomputed objective: "
                                     "the solver's tolerances allow no more")  # fmt: skip
            source = next((c.lower_source for c in chain.cases if c.lower_source), NEVER_NEGATIVE)
            return self._outcome(Status.OPTIMAL, bound, last, source)
        interrupted = self.stop is not None and self.stop.is_set()
        return self._outcome(Status.INTERRUPTED if interrupted else Status.LIMIT, bound, last)

    def _cases(self, engine: Engine, chain: Chain) -> tuple[float | None, Outcome | None, bool, bool]:
        """Solve the cases: (bound, last outcome, whether all are finished, whether one failed)."""
        for c in chain.cases:
            for point in c.points:
                if self.consider(c.inverse(point)):
                    self.say(f"incumbent {self.value():.6g} from {c.lower_source}")
        cases = sorted(chain.cases, key=lambda c: self._rank(c))
        least = self._least()
        bounds = [max(c.lower, -math.inf if least is None else least) for c in cases]
        last, failed = None, False
        pending = []
        for number, c in enumerate(cases):
            if self._contradicted(c, c.lower):
                return None, None, False, True
            if self._settles(c.lower):
                self.say(f"case {number + 1} of {len(cases)}, {c.label}: nothing below {self.sign * c.lower:.9g}, by "
                         f"{c.lower_source}")  # fmt: skip
            else:
                pending.append(number)
        for again in (False, True):  # what easy cases leave of their share of the time goes to the hard ones
            unfinished = []
            for position, number in enumerate(pending):
                case = cases[number]
                if self.stopped():
                    unfinished += pending[position:]
                    break
                if not again:
                    label = f"case {number + 1} of {len(cases)}, {case.label}: " if case.label else ""
                    _describe(engine, case.problem, self.say, label)
                others = min([b for k, b in enumerate(bounds) if k != number], default=math.inf)
                last, bound, done = self._case(engine, case, len(pending) - position, others)
                failed |= last.status is Status.ERROR
                bounds[number] = max(bound, bounds[number])
                if not done:
                    unfinished.append(number)
            pending = unfinished
            if self.limits.time is None or self.limits.nodes is not None or failed:
                break
        finished, bound = not pending, min(bounds)
        checked = self._checked(self.sign * min(bound, self.upper)) if math.isfinite(min(bound, self.upper)) else None
        return checked, last, finished, failed

    def _least(self) -> float | None:
        """What a minimised objective cannot go below by its form: losses and sizes are never negative."""
        from nnspec.engines.solver.judge import floor

        least = floor(self.problem.objective.expression) if self.problem.minimize else -math.inf
        return least if math.isfinite(least) else None

    def _settles(self, lower: float) -> bool:
        """Whether nothing above a bound is worth finding: half the gap, since solvers round too."""
        return bool(self.points) and lower >= self._target()

    def _target(self) -> float:
        """What a better network must be below, in the minimising sense."""
        return self.upper - 0.5 * self.limits.gap * max(1e-9, abs(self.upper))

    def _images(self, case: Case) -> list[tuple[float, Point]]:
        """Known points as points of a case, with their objective there; best first."""
        images = [q for _, p in self.points if (q := case.forward(p)) is not None and not violations(case.problem, q)]
        return sorted(((self.sign * objective(case.problem, q), q) for q in images), key=lambda item: item[0])

    def _rank(self, case: Case) -> float:
        """The best known point of a case: good ones come first, their solutions cut off the others."""
        return min((value for value, _ in self._images(case)), default=math.inf)

    def _case(self, engine: Engine, case: Case, rest: int, others: float) -> tuple[Outcome, float, bool]:
        """The outcome of a case, its bound in the minimising sense, and whether it is finished."""
        starts = self._images(case)
        cutoff = None
        if self.points and (not starts or starts[0][0] > self.upper):
            cutoff = self.sign * self._target()
        left = self.left()
        limits = replace(self.limits, time=None if left is None else left / rest, cutoff=cutoff)

        def listen(p: Progress) -> None:
            new = p.point is not None and self.consider(case.inverse(p.point))
            bound = None if p.bound is None else min(self.sign * p.bound, others, self.upper)
            known = None if bound is None or not math.isfinite(bound) else self.sign * bound
            self.report(known, self.nodes + p.nodes, new)

        points = tuple(q for _, q in starts)
        r = solve_attended(engine, case.problem, limits, points, listen, self.stop)
        if r.status is Status.LIMIT and (tight := _tightened(engine)) is not None and not self._ran_out(r, limits):
            # finished by the solver's tolerances, but its numbers do not hold when recomputed
            self.nodes += r.nodes
            r = tight.solve(case.problem, replace(limits, time=self.left()), points, listen, self.stop)
        self.nodes += r.nodes
        self.messages += [f"{case.label}: {m}" if case.label else m for m in r.messages]
        if r.point is not None:
            self.consider(case.inverse(r.point))
        if r.status is Status.INFEASIBLE:
            return r, (self.sign * cutoff if cutoff is not None else math.inf), True
        bound = -math.inf if r.bound is None else self.sign * r.bound
        if self._contradicted(case, bound):
            return replace(r, status=Status.ERROR), bound, True
        return r, bound, r.status is Status.OPTIMAL

    def _contradicted(self, case: Case, bound: float) -> bool:
        """Whether a known point of a case is below its bound by more than tolerances explain; says so."""
        for value, _ in self._images(case):
            if bound > value + LOSS_MISMATCH * max(1.0, abs(value)) + FEASIBILITY:
                what = case.label or "the reduced problem"
                self.messages.append(f"the bound {bound:.9g} of {what} contradicts a point with value {value:.9g}")
                return True
        return False

    def _ran_out(self, r: Outcome, limits: Limits) -> bool:
        """Whether a limit ended a solve."""
        time_up = limits.time is not None and r.seconds >= 0.95 * limits.time
        return time_up or self.stopped() or (limits.nodes is not None and r.nodes >= limits.nodes)

    # -- conclusions ---------------------------------------------------------------------------------------------

    def _closed(self, bound: float | None) -> bool:
        """Whether bound and incumbent agree up to what the tolerances of a solver allow."""
        value = self.value()
        if value is None or bound is None:
            return False
        return proven(value, bound, self.limits.gap) or abs(value - bound) <= LOSS_MISMATCH * max(1.0, abs(value))

    def _checked(self, bound: float | None) -> float | None:
        """The bound, moved to the incumbent where rounding put it a hair above; None where it contradicts it."""
        if bound is None or not self.points or not math.isfinite(bound):
            return bound if bound is not None and math.isfinite(bound) else None
        excess = self.sign * bound - self.upper
        if excess > LOSS_MISMATCH * max(1.0, abs(self.upper)) + FEASIBILITY:
            self.messages.append(f"the bound {bound:.9g} contradicts a point with value {self.value():.9g} and is "
                                 "not reported")  # fmt: skip
            return None
        return self.value() if excess > 0 else bound

    def _outcome(self, status: Status, bound: float | None, last: Outcome | None, source: str = NEVER_NEGATIVE
                 ) -> Outcome:  # fmt: skip
        seconds = time.monotonic() - self.began
        point, value = self.best, self.value()
        if status is Status.OPTIMAL and point is None:
            status = Status.ERROR
        if last is None:
            evidence = {"bound": source} if bound is not None else {}
            return Outcome(status, point, value, bound, seconds, self.nodes, "solver", "", evidence,
                           tuple(self.messages))  # fmt: skip
        messages = tuple(dict.fromkeys(self.messages))
        return replace(last, status=status, point=point, objective=value, bound=bound, seconds=seconds,
                       nodes=self.nodes, messages=messages)  # fmt: skip


def _sparing(engine: Engine) -> Engine:
    """The solver engine without SCIP's MPEC heuristic, whose nonlinear programs take a third of a small solve and, next
    to networks from local search, change neither nodes nor bounds."""
    from nnspec.engines.solver.engine import SolverEngine

    if not isinstance(engine, SolverEngine) or engine.backend.name != "scip":
        return engine
    return SolverEngine("scip", engine.encodings, {"heuristics/mpec/freq": -1, **engine.options})


def _tightened(engine: Engine) -> Engine | None:
    """The solver engine with feasibility tolerances of 1e-9 in place of the solver's own."""
    from nnspec.engines.solver.engine import SolverEngine
    from nnspec.engines.solver.polish import TIGHT

    if not isinstance(engine, SolverEngine) or engine.backend.name not in TIGHT:
        return None
    return SolverEngine(engine.backend.name, engine.encodings, {**TIGHT[engine.backend.name], **engine.options})


def _describe(engine: Engine, problem: Problem, say: Explain, label: str) -> None:
    """Size and class of the program that an engine builds, if it builds one."""
    for line in getattr(engine, "describe", lambda problem: ())(problem):
        say(f"{label}{line}")
    compile_ = getattr(engine, "compile", None)
    if compile_ is None:
        return
    from nnspec.program.classify import classify

    compiled = compile_(problem)
    program = compiled.program
    say(f"{label}{classify(program)} with {program.columns} variables and {program.row_count} rows")
    for ordering in getattr(compiled, "orderings", ()):
        say(f"  {ordering.explain()}")
