"""The fewest weights, neurons or inputs with which a loss keeps a limit: the least price of such a support.

The price depends on the support alone and grows with it, the least loss falls with it (see `supports`). So a support
whose least loss is above the limit excludes all that it contains, up to an exchange of neurons with equal boxes, and
the optimum is the least price of a support that is not excluded. With a network of price P known, the largest supports
that cost less are searched; each either has a network that keeps the limit, which lowers P, or is excluded with its
subsets.

*First network.* From the largest support weights are left out one by one, each time those whose loss after local search
is least, as long as the limit is kept.

*Tolerance.* A constraint counts as kept up to FEASIBILITY, so a network keeps the limit if loss <= limit + FEASIBILITY
(asked of its recomputed loss), and a support is excluded if its least loss is proven to be above that. A search for
networks below a ceiling C proves C - max(gap C, absolute) or more: the ceiling is above the limit by twice that, the
gap is small. What falls into the band between is neither kept nor excluded: the outcome is then `limit`, with a
message.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from dataclasses import replace
from functools import partial

import numpy as np

from nnspec.engines.cells.claims import PartProof
from nnspec.engines.cells.driver import State, Stopped
from nnspec.engines.cells.model import CellProblem
from nnspec.engines.cells.normal import REACH
from nnspec.engines.cells.union import Part, parts_of
from nnspec.engines.interface import Limits, OnProgress, Outcome, Progress, Status
from nnspec.problem.evaluate import objective, violations
from nnspec.problem.problem import Point, Problem
from nnspec.tolerances import FEASIBILITY, proven

NARROW = 1e-8
"""Relative gap of the searches: the band of losses that are neither kept nor excluded."""

STARTS = 40
"""Starts of local search for a support on the way to the first network."""

MOST_NEURONS = 5
"""More neurons than this are not exchanged: there are too many orders."""


class Kept(Exception):
    """A network that keeps the limit was found."""


class Least:
    """One solve; `run` returns its Outcome. open (T,): supports that may still have a network."""

    def __init__(self, problem: Problem, cells: CellProblem, limits: Limits, on_progress: OnProgress | None,
                 stop: threading.Event | None) -> None:  # fmt: skip
        self.problem, self.cells, self.limits, self.on_progress, self.stop = problem, cells, limits, on_progress, stop
        self.began = time.monotonic()
        self.point: Point | None = None
        self.best = math.inf
        self.nodes, self.searched, self.told = 0, 0, -math.inf
        self.prices = np.array([s.price for s in cells.supports])
        masks = np.array([s.mask for s in cells.supports])
        self.sizes = masks.sum(axis=1)
        self.open = np.ones(len(masks), dtype=bool)
        self.proofs: list[PartProof] = []  # of the supports that are excluded
        self.shown = np.zeros(len(masks), dtype=bool)  # which ones are, with these
        self.images = [masks]
        boxes = np.column_stack([cells.lo, cells.hi, cells.out_lo, cells.out_hi])
        if cells.ties is None and np.all(boxes == boxes[:1]) and cells.neurons <= MOST_NEURONS:
            columns, used = np.arange(cells.lo.size).reshape(cells.lo.shape), cells.lo.size + np.arange(cells.neurons)
            last = masks.shape[1] - 1
            self.images = [masks[:, [*columns[list(order)].reshape(-1), *used[list(order)], last]]
                           for order in itertools.permutations(range(cells.neurons))]  # fmt: skip

    def inside(self, s: int) -> np.ndarray:
        """Which supports are contained in support s, itself included, up to the order of neurons."""
        mask = self.images[0][s]
        return np.any([np.all(~image | mask, axis=1) for image in self.images], axis=0)

    def bound(self) -> float:
        return min(self.best, float(self.prices[self.open].min(initial=math.inf)))

    def unshown(self, bound: float | None) -> bool:
        """Whether a support that costs less than the bound was excluded by an earlier run, which leaves no proofs."""
        cheaper = self.prices < (math.inf if bound is None else bound)
        return bool(np.any(cheaper & ~self.open & ~self.shown))

    def consider(self, point: Point) -> bool:
        """Whether the point keeps all constraints; it is the incumbent if none costs less."""
        if violations(self.problem, point):
            return False
        value = objective(self.problem, point)
        if value < self.best:
            self.point, self.best = point, value
            self.tell(point)
        return True

    def tell(self, new: Point | None = None) -> None:
        now = time.monotonic()
        if self.on_progress is not None and (new is not None or now - self.told > 0.2):
            self.told = now
            incumbent = self.best if self.point is not None else None
            self.on_progress(Progress(now - self.began, incumbent, self.bound(), self.nodes, new))

    def check(self) -> None:
        if self.stop is not None and self.stop.is_set():
            raise Stopped("stop")
        if self.limits.time is not None and time.monotonic() - self.began > self.limits.time:
            raise Stopped("time")
        if self.limits.nodes is not None and self.nodes >= self.limits.nodes:
            raise Stopped("nodes")

    def parts(self, s: int) -> list[Part]:
        """The searches of one support, for the loss alone."""
        alone = replace(self.cells, supports=(replace(self.cells.supports[s], price=0.0),))
        return parts_of(alone, replace(self.limits, gap=NARROW), self.began, self.stop)

    def try_out(self, s: int) -> tuple[float, Point | None]:
        """The least value of the limited loss that local search finds with a support."""
        found: list[tuple[float, Point | None]] = []
        for part in self.parts(s):
            search = part.search
            everything = np.arange(search.normal.samples)
            best, z, signs = search.kernel.improve(everything, None, 0, STARTS, self.limits.seed)
            state = State(best=z, best_signs=signs, best_loss=best)
            found.append((part.value(best), part.point(state)))
            search.pool.shutdown()
        return min(found, key=lambda f: f[0])

    def descend(self) -> None:
        """The first network: see the module's docstring."""
        here = int(np.argmax(self.sizes))
        _, point = self.try_out(here)
        while point is not None and self.consider(point):
            below = self.inside(here) & (self.prices < self.best)
            tried: list[tuple[float, int, Point | None]] = []
            while np.any(below):  # those that no other one contains
                self.check()
                s = int(np.argmax(np.where(below, self.sizes, -1)))
                below &= ~self.inside(s)
                value, found = self.try_out(s)
                tried.append((value, s, found))
            if not tried:
                return
            _, here, point = min(tried, key=lambda t: t[0])

    def search(self, s: int) -> bool:
        """Search a support; whether it is settled: its networks are known to be above the limit, or one keeps it."""
        parts = self.parts(s)
        settled = True
        try:
            for part in parts:
                part.search.report = partial(self.report, part)
                part.search.first()
                self.report(part, part.search.state, 0.0)
                self.check()
            for part in sorted(parts, key=lambda p: p.search.state.best_loss):
                search, limit = part.search, part.loss(FEASIBILITY)
                if limit < 0.0:  # no loss is that small
                    continue
                search.ceiling = limit + 2.0 * max(NARROW * limit, search.gap_absolute)
                if search.node_limit is not None and self.limits.nodes is not None:
                    search.node_limit = self.limits.nodes - self.nodes
                try:
                    settled &= search.run() > limit
                finally:
                    self.nodes += search.state.nodes
        except Kept:
            return True
        finally:
            for part in parts:
                part.search.pool.shutdown()
        if settled:
            self.open &= ~self.inside(s)
            self.shown |= self.inside(s)
            self.proofs += [part.proof() for part in parts]
        return settled

    def report(self, part: Part, state: State, bound: float) -> None:
        self.tell()
        if state.best is not None and part.value(state.best_loss) <= FEASIBILITY:
            point = part.point(state)
            if point is not None and self.consider(point):
                raise Kept

    def run(self, start: tuple[Point, ...]) -> Outcome:
        """Solve to the limits."""
        status, message = Status.OPTIMAL, ""
        doubtful = np.zeros(len(self.open), dtype=bool)
        try:
            for point in start:
                self.consider(point)
            self.descend()
            while self.point is None or not proven(self.best, self.bound(), self.limits.gap):
                self.check()
                left = self.open & (self.prices < self.best) & ~doubtful
                if not np.any(left):
                    break
                s = int(np.argmax(np.where(left, self.sizes, -1)))
                self.searched += 1
                if not self.search(s):
                    doubtful[s] = True
        except Stopped as reason:
            status = Status.INTERRUPTED if str(reason) == "stop" else Status.LIMIT
            if str(reason) == "memory":
                message = "the memory limit leaves no room for the cells of the first samples"
        bound = self.bound()
        if status is Status.OPTIMAL and self.point is None and not np.any(self.open):
            status = Status.INFEASIBLE
        elif status is Status.OPTIMAL and (self.point is None or not proven(self.best, bound, self.limits.gap)):
            status = Status.LIMIT
            message = "the least loss of some sets of nonzero weights is too close to its limit to be told from it"
        evidence: dict[str, object] = {"method": "branch-and-bound over activation patterns", "reach": REACH,
                                       "supports": len(self.open), "supports searched": self.searched}  # fmt: skip
        value = None if self.point is None else self.best
        return Outcome(status, self.point, value, bound if math.isfinite(bound) else None,
                       time.monotonic() - self.began, self.nodes, "cells", evidence=evidence,
                       messages=(message,) if message else ())  # fmt: skip
