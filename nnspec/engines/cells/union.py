"""The best of several restricted problems (see `supports`), each searched for networks below the incumbent of all.

The bound of the whole is the least of the restrictions' bounds. Each begins with a local search; then they are proven
in the order of what it found, so that most of them are cut by the incumbent of another one while their subsets of the
samples grow.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass

from nnspec.engines.cells.driver import Search, State, Stopped
from nnspec.engines.cells.model import CellProblem
from nnspec.engines.cells.normal import REACH, Normal, denormalise, normalise
from nnspec.engines.cells.supports import restrict
from nnspec.engines.interface import Limits, OnProgress, Outcome, Progress, Status
from nnspec.problem.evaluate import objective
from nnspec.problem.problem import Point, Problem
from nnspec.tolerances import GAP_ABSOLUTE, proven


@dataclass(eq=False)
class _Part:
    cells: CellProblem
    normal: Normal
    search: Search
    bound: float

    @property
    def unit(self) -> float:
        return self.cells.scale * self.normal.unit_loss

    def value(self, loss: float) -> float:
        """A normalised loss as an objective, the price of the support included."""
        return self.cells.offset + self.unit * (loss + self.normal.merged)

    def loss(self, value: float) -> float:
        """The inverse of `value`."""
        return (value - self.cells.offset) / self.unit - self.normal.merged


class Union:
    """One solve over all supports; `run` returns its Outcome."""

    def __init__(self, problem: Problem, cells: CellProblem, limits: Limits, on_progress: OnProgress | None,
                 stop: threading.Event | None) -> None:  # fmt: skip
        self.problem, self.limits, self.on_progress = problem, limits, on_progress
        self.began = time.monotonic()
        self.point: Point | None = None
        self.best = float("inf")
        self.told = (-float("inf"), -float("inf"))  # bound, time
        self.nodes = 0
        self.parts = [self.part(restrict(cells, support), stop) for support in cells.supports]

    def part(self, cells: CellProblem, stop: threading.Event | None) -> _Part:
        normal, limits = normalise(cells), self.limits
        search = Search(
            normal, cells.neurons, 0.99 * limits.gap, GAP_ABSOLUTE / (cells.scale * normal.unit_loss),
            limits.threads or os.cpu_count() or 1, limits.seed,
            self.began + limits.time if limits.time is not None else None, limits.nodes, stop,
            memory=None if limits.memory is None else 1e6 * limits.memory,
        )  # fmt: skip
        part = _Part(cells, normal, search, 0.0)
        part.bound = part.value(0.0)
        search.report = lambda state, bound: self.report(part, state, bound)
        return part

    def consider(self, point: Point) -> bool:
        """Whether the point is the new incumbent."""
        value = objective(self.problem, point)
        if self.point is not None and value >= self.best:
            return False
        self.point, self.best = point, value
        return True

    def report(self, part: _Part, state: State, bound: float) -> None:
        part.bound = max(part.bound, part.value(bound))
        network = None if state.best is None else denormalise(part.normal, part.cells, state.best, state.best_signs)
        new = network is not None and self.consider(part.cells.point(*network))
        now = time.monotonic()
        if self.on_progress is not None and (new or now - self.told[1] > 0.2):
            self.told = (max(self.told[0], self.bound()), now)
            nodes = self.nodes + state.nodes
            self.on_progress(Progress(now - self.began, self.best, self.told[0], nodes, self.point if new else None))

    def bound(self) -> float:
        return min(self.best, *(part.bound for part in self.parts))

    def run(self, start: tuple[Point, ...]) -> Outcome:
        """Solve to the limits."""
        for point in start:
            self.consider(point)
        status = Status.OPTIMAL
        messages: tuple[str, ...] = ()
        try:
            for part in self.parts:
                part.search.first()
                self.report(part, part.search.state, 0.0)
                part.search.check()
            for part in sorted(self.parts, key=lambda p: p.value(p.search.state.best_loss)):
                self.prove(part)
        except Stopped as reason:
            status = Status.INTERRUPTED if str(reason) == "stop" else Status.LIMIT
            if str(reason) == "memory":
                messages = ("the memory limit leaves no room for the cells of the first samples",)
        finally:
            for part in self.parts:
                part.search.pool.shutdown()
        bound = self.bound()
        if status is Status.OPTIMAL and not proven(self.best, bound, self.limits.gap * (1 + 1e-9)):
            status = Status.LIMIT
        evidence: dict[str, object] = {"method": "branch-and-bound over activation patterns",
                                       "supports": len(self.parts), "reach": REACH}  # fmt: skip
        return Outcome(status, self.point, self.best, bound, time.monotonic() - self.began, self.nodes, "cells",
                       evidence=evidence, messages=messages)  # fmt: skip

    def prove(self, part: _Part) -> None:
        """Search one part for networks below the incumbent; raises Stopped with its bound kept."""
        search = part.search
        search.ceiling = part.loss(self.best)
        if search.ceiling <= 0.0:  # its price alone, or what its duplicates cost, is not below the incumbent
            return
        if search.node_limit is not None and self.limits.nodes is not None:
            search.node_limit = self.limits.nodes - self.nodes
        try:
            part.bound = max(part.bound, part.value(search.run()))
        finally:
            self.report(part, search.state, 0.0)
            self.nodes += search.state.nodes
