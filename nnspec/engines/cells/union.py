"""The best of several restricted problems, each searched for networks below the incumbent of all: supports under limits
on numbers of weights (see `supports`), and the signs of the output weights (see `form`).

The bound of the whole is the least of the restrictions' bounds. Each begins with a local search; then the one with the
least bound goes on, a subset of the samples at a time, so that the bound of the whole grows and most of them are cut by
the incumbent of another one.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nnspec.engines.cells.checkpoint import Saved, save, values_of
from nnspec.engines.cells.claims import PartProof, raw_proofs
from nnspec.engines.cells.dolls import ConvexSearch
from nnspec.engines.cells.driver import Search, State, Stopped
from nnspec.engines.cells.duplicates import Merged, merge
from nnspec.engines.cells.form import REACH, Form, make, sign_vectors
from nnspec.engines.cells.model import CellProblem
from nnspec.engines.cells.supports import Support, restrict
from nnspec.engines.interface import Limits, OnProgress, Outcome, Progress, Status
from nnspec.problem.evaluate import objective
from nnspec.problem.problem import Point, Problem
from nnspec.tolerances import GAP_ABSOLUTE, proven

ABSOLUTE = 0.99 * GAP_ABSOLUTE
"""With room for the rounding between the problem's units and those of the search."""


class Part(Protocol):
    """One restricted problem: its search, a proven bound on its objective, and the way between the two."""

    search: Search
    bound: float

    def value(self, loss: float) -> float:
        """The objective of a value of the search, prices included."""

    def loss(self, value: float) -> float:
        """The inverse of `value`."""

    def point(self, state: State) -> Point | None:
        """The search's incumbent as a network of the whole problem."""

    def take(self, point: Point, value: float) -> None:
        """Begin with a known network of this value where it belongs to this part."""

    def proof(self) -> PartProof:
        """What was proven, for an evidence file."""


@dataclass(eq=False)
class SignPart:
    """The networks with fixed signs of the output weights."""

    form: Form
    search: Search
    merged: Merged
    support: Support | None = None
    bound: float = -np.inf

    def value(self, loss: float) -> float:
        return self.form.offset + self.form.unit * loss

    def loss(self, value: float) -> float:
        return (value - self.form.offset) / self.form.unit

    def point(self, state: State) -> Point | None:
        return None if state.best is None else self.form.point(state.best)

    def take(self, point: Point, value: float) -> None:
        z = None if self.form.problem.rows is not None else self.form.unknowns(point)
        if z is not None and isinstance(self.search, ConvexSearch):
            self.search.begin(z, self.loss(value))

    def proof(self) -> PartProof:
        state, unit = self.search.state, self.form.unit / self.form.problem.scale
        signs = self.form.signs if self.support is None or self.support.used.any() else ()
        return PartProof([signs], *raw_proofs(state, self.merged.groups, self.merged.constants, unit), self.support)


def parts_of(cells: CellProblem, limits: Limits, began: float, stop: threading.Event | None) -> list[Part]:
    """A part for each support and choice of signs; for the fewest errors see `fewest`.

    Duplicates are merged first where that is possible.
    """
    options: dict[str, Any] = {"deadline": began + limits.time if limits.time is not None else None,
                               "node_limit": limits.nodes, "stop": stop,
                               "memory": None if limits.memory is None else 1e6 * limits.memory}  # fmt: skip
    threads, parts = limits.threads or os.cpu_count() or 1, list[Part]()
    for support in cells.supports or (None,):
        problem = cells if support is None else restrict(cells, support)
        if cells.kind == "errors":
            from nnspec.engines.cells.fewest import parts as errors_parts  # compiled code that others need not load

            found = errors_parts(cells, problem, 0.99 * limits.gap, GAP_ABSOLUTE, threads, limits.seed, options)
            parts += [replace(part, support=support) for part in found]
        else:
            merged = merge(problem)
            for signs in sign_vectors(problem):
                form = make(merged.problem, signs)
                parts.append(SignPart(form, ConvexSearch(form, 0.99 * limits.gap, ABSOLUTE / form.unit, threads,
                                                         limits.seed, **options), merged, support))  # fmt: skip
    return parts


_RELAXATION = "the boxes keep weights from the scale that the weight decay asks for, which its bound does not know of"


class Union:
    """One solve over all supports; `run` returns its Outcome."""

    def __init__(self, problem: Problem, cells: CellProblem, limits: Limits, on_progress: OnProgress | None,
                 stop: threading.Event | None) -> None:  # fmt: skip
        self.problem, self.limits, self.on_progress = problem, limits, on_progress
        self.began = time.monotonic()
        self.point: Point | None = None
        self.best = float("inf")
        self.told = (-float("inf"), -float("inf"))  # bound, time
        self.parts = parts_of(cells, limits, self.began, stop)
        self.cells = cells
        self.relaxed = cells.decay is not None
        for part in self.parts:
            part.bound = part.value(0.0)
            part.search.report = partial(self.report, part)

    def proofs(self) -> list[PartProof]:
        """What was proven of each part."""
        found = [part.proof() for part in self.parts]
        if len(found) > 1 and all(getattr(part, "table", None) is not None for part in self.parts):
            # tables are no parts of their own for the verifier, and each has its own subsets
            samples, whole = list(range(len(self.cells.y))), []
            for _, own in itertools.groupby(found, key=lambda p: id(p.support)):
                same = list(own)
                least = min(max((value for _, value in p.values), default=0.0) for p in same)
                whole.append(PartProof(same[0].signs, samples, [(len(samples), least)], same[0].support))
            return whole
        return found

    def consider(self, point: Point) -> bool:
        """Whether the point is the new incumbent."""
        value = objective(self.problem, point)
        if not value < self.best:
            return False
        self.point, self.best = point, value
        return True

    def report(self, part: Part, state: State, bound: float) -> None:
        part.bound = max(part.bound, part.value(bound))
        point = part.point(state)
        new = point is not None and self.consider(point)
        now = time.monotonic()
        if self.on_progress is not None and (new or now - self.told[1] > 0.2):
            self.told = (max(self.told[0], self.bound()), now)
            point = self.point if new else None
            self.on_progress(Progress(now - self.began, self.best, self.told[0], self.nodes, point))

    @property
    def nodes(self) -> int:
        return sum(part.search.state.nodes for part in self.parts)

    def resume(self, saved: Saved) -> None:
        """Go on from what `save` wrote."""
        point = saved.incumbent(self.problem)
        if point is not None:
            self.consider(point)
        for part, state, bound in zip(self.parts, saved.states, saved.bounds, strict=True):
            part.search.state, part.bound = state, bound
            point = part.point(state)
            if point is not None:
                self.consider(point)

    def save(self, path: str | Path, key: str) -> None:
        """Write what a later solve needs to go on."""
        states, bounds = [part.search.state for part in self.parts], [part.bound for part in self.parts]
        save(path, key, Saved(states, bounds, values_of(self.problem, self.point)))

    def bound(self) -> float:
        return min(self.best, *(part.bound for part in self.parts))

    def run(self, start: tuple[Point, ...]) -> Outcome:
        """Solve to the limits."""
        for point in start:
            self.consider(point)
            for part in self.parts:
                part.take(point, objective(self.problem, point))
        status = Status.OPTIMAL
        messages: tuple[str, ...] = ()
        try:
            for part in self.parts:
                if part.search.state.best is None:
                    part.search.first()
                self.report(part, part.search.state, 0.0)
                part.search.check()
            left = sorted(self.parts, key=lambda p: p.value(p.search.state.best_loss))
            while left:  # the one with the least bound goes on until another one has that
                part = min(left, key=lambda p: p.bound)
                part.search.pause = part.loss(min((p.bound for p in left if p is not part), default=np.inf))
                self.prove(part)
                if part.search.finished:
                    left.remove(part)
        except Stopped as reason:
            status = Status.INTERRUPTED if str(reason) == "stop" else Status.LIMIT
            if str(reason) == "memory":
                messages = ("the memory limit leaves no room for the cells of the first samples",)
        finally:
            for part in self.parts:
                part.search.pool.shutdown()
        bound = self.bound()
        evidence: dict[str, object] = {"method": "branch-and-bound over activation patterns",
                                       "parts": len(self.parts), "reach": REACH}  # fmt: skip
        if status is Status.OPTIMAL and not proven(self.best, bound, self.limits.gap * (1 + 1e-9)):
            status = Status.LIMIT
            if self.relaxed:
                evidence["relaxation"] = _RELAXATION
                messages = (f"{_RELAXATION}: another engine may close the gap",)
        return Outcome(status, self.point, self.best, bound, time.monotonic() - self.began, self.nodes, "cells",
                       evidence=evidence, messages=messages)  # fmt: skip

    def prove(self, part: Part) -> None:
        """Search one part for networks below the incumbent, at most until it pauses; raises Stopped with its bound
        kept."""
        search = part.search
        search.ceiling = part.loss(self.best)
        search.finished = True
        if search.ceiling <= 0.0:  # its price alone, or what its duplicates cost, is not below the incumbent
            return
        if proven(self.best, part.bound, self.limits.gap):  # before a checkpoint
            return
        if self.limits.nodes is not None:
            search.node_limit = self.limits.nodes - (self.nodes - search.state.nodes)
        try:
            part.bound = max(part.bound, part.value(search.run()))
        finally:
            self.report(part, search.state, 0.0)
