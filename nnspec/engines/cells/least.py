"""The fewest weights, neurons or inputs with which a loss keeps a limit: the least price of such a support.

The price depends on the support alone and grows with it, the least loss falls with it (see `supports`). So a support
whose least loss is above the limit excludes all that it contains, up to an exchange of neurons with equal boxes, and
the optimum is the least price of a support that is not excluded.

*First network.* From the largest support weights are left out one by one, each time those whose loss after local search
is least, as long as the limit is kept.

*Which support is searched.* The bound is the price of the cheapest support that is not excluded, so that one has to be
settled. It is excluded with any support around it, and larger ones exclude more at once, whatever they cost themselves
(as implicit hitting sets do: Moreno-Centeno, Karp, Operations Research 61, 2013). So it grows by weights as long as
local search finds no network within GROWTH times the limit, each time to the support whose least loss is largest, which
is proven most easily; and the last one is searched. It has a network that keeps the limit, or is excluded with its
subsets.

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
from pathlib import Path

import numpy as np

from nnspec.engines.cells.checkpoint import Saved, save, values_of
from nnspec.engines.cells.claims import PartProof, pack, unpack
from nnspec.engines.cells.dolls import ConvexSearch
from nnspec.engines.cells.driver import Search, State, Stopped
from nnspec.engines.cells.form import REACH
from nnspec.engines.cells.model import CellProblem
from nnspec.engines.cells.union import Part, parts_of
from nnspec.engines.interface import Limits, OnProgress, Outcome, Progress, Status
from nnspec.problem.evaluate import objective, violations
from nnspec.problem.problem import Point, Problem
from nnspec.tolerances import FEASIBILITY, proven

NARROW = 1e-8
"""Relative gap of the searches: the band of losses that are neither kept nor excluded."""

STARTS = 40
"""Starts of local search for a support on the way to the first network."""

FEW_STARTS = 4
"""The same where a support may grow: a network that is missed costs time only."""

MOST_NEURONS = 5
"""More neurons than this are not exchanged: there are too many orders."""

GROWTH = 1.5
"""Supports grow while local search finds a loss of so many times the limit: closer to it proofs take longer."""


class Kept(Exception):
    """A network that keeps the limit was found."""


class Least:
    """One solve; `run` returns its Outcome.

    Of each support (T,): open, whether it may still have a network; doubtful, whether its search could not tell;
    feasible, whether it is known to have one; values, the least limited loss that local search found (nan: not tried).
    """

    def __init__(self, problem: Problem, cells: CellProblem, limits: Limits, on_progress: OnProgress | None,
                 stop: threading.Event | None) -> None:  # fmt: skip
        self.problem, self.cells, self.limits, self.on_progress, self.stop = problem, cells, limits, on_progress, stop
        self.began = time.monotonic()
        self.point: Point | None = None
        self.best = math.inf
        self.finished_nodes, self.searched, self.told = 0, 0, -math.inf
        self.prices = np.array([s.price for s in cells.supports])
        masks = np.array([s.mask for s in cells.supports])
        self.sizes = masks.sum(axis=1)
        self.open = np.ones(len(masks), dtype=bool)
        self.proofs: dict[int, list[PartProof]] = {}  # of the supports that are excluded, not inside of each other
        self.doubtful, self.feasible = np.zeros((2, len(masks)), dtype=bool)
        self.values = np.full(len(masks), np.nan)
        self.here = int(np.argmax(self.sizes))  # of the first network; -1 once it is as small as it gets
        self.at = -1  # the support that is searched, with its parts' states, and those that are excluded
        self.states: list[State] = []
        self.excluded: list[int] = []
        self.images = [masks]
        boxes = np.column_stack([cells.lo, cells.hi, cells.out_lo, cells.out_hi])
        if cells.ties is None and np.all(boxes == boxes[:1]) and cells.neurons <= MOST_NEURONS:
            columns, used = np.arange(cells.lo.size).reshape(cells.lo.shape), cells.lo.size + np.arange(cells.neurons)
            last = masks.shape[1] - 1
            self.images = [masks[:, [*columns[list(order)].reshape(-1), *used[list(order)],
                                     *(cells.neurons + used[list(order)]), last]]
                           for order in itertools.permutations(range(cells.neurons))]  # fmt: skip

    def inside(self, s: int) -> np.ndarray:
        """Which supports are contained in support s, itself included, up to the order of neurons."""
        mask = self.images[0][s]
        return np.any([np.all(~image | mask, axis=1) for image in self.images], axis=0)

    def around(self, s: int) -> np.ndarray:
        """Which supports contain support s."""
        masks = self.images[0]
        return np.any([np.all(~image[s] | masks, axis=1) for image in self.images], axis=0)

    @property
    def nodes(self) -> int:
        return self.finished_nodes + sum(state.nodes for state in self.states)

    def save(self, path: str | Path, key: str) -> None:
        """Write what a later solve needs to go on."""
        more = {"open": self.open, "doubtful": self.doubtful, "feasible": self.feasible, "values": self.values,
                "numbers": np.array([self.finished_nodes, self.searched, self.here, self.at]),
                "excluded": np.array(self.excluded, dtype=np.int64),
                "proven": np.array([(s, len(own)) for s, own in self.proofs.items()], dtype=np.int64).reshape(-1, 2),
                **pack([p for own in self.proofs.values() for p in own])}  # fmt: skip
        point = values_of(self.problem, self.point)
        save(path, key, Saved(self.states, [0.0] * len(self.states), point, more))

    def resume(self, saved: Saved) -> None:
        """Go on from what `save` wrote."""
        more = saved.more
        self.open, self.doubtful, self.feasible, self.values = (
            more[name].copy() for name in ("open", "doubtful", "feasible", "values")
        )  # fmt: skip
        self.finished_nodes, self.searched, self.here, self.at = (int(n) for n in more["numbers"])
        self.excluded, self.states = [int(i) for i in more["excluded"]], list(saved.states)
        proofs = iter(unpack(more))
        self.proofs = {int(s): list(itertools.islice(proofs, int(count))) for s, count in more["proven"]}
        point = saved.incumbent(self.problem)
        if point is not None:
            self.consider(point)

    def bound(self) -> float:
        return min(self.best, float(self.prices[self.open].min(initial=math.inf)))

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

    def try_out(self, s: int, starts: int = STARTS) -> tuple[float, Point | None]:
        """The least value of the limited loss that local search finds with a support."""
        found: list[tuple[float, Point | None]] = []
        for part in self.parts(s):
            search = part.search
            assert isinstance(search, ConvexSearch)
            everything = np.arange(search.form.samples)
            best, z = search.convex.improve(everything, None, starts, self.limits.seed)
            state = State(best=z, best_loss=best)
            found.append((part.value(best), part.point(state)))
            search.pool.shutdown()
        value, point = min(found, key=lambda f: f[0])
        self.values[s] = value
        return value, point

    def value(self, s: int) -> float:
        """The same, at most once."""
        self.check()
        if np.isnan(self.values[s]):
            self.try_out(s, STARTS if self.here >= 0 else FEW_STARTS)
        return float(self.values[s])

    def largest(self, some: np.ndarray) -> list[int]:
        """Those of some supports that no other one of them contains."""
        some, found = some.copy(), list[int]()
        while np.any(some):
            found.append(int(np.argmax(np.where(some, self.sizes, -1))))
            some &= ~self.inside(found[-1])
        return found

    def smallest(self, some: np.ndarray) -> list[int]:
        """Those of some supports that contain no other one of them."""
        some, found = some.copy(), list[int]()
        while np.any(some):
            found.append(int(np.argmin(np.where(some, self.sizes, np.iinfo(np.int64).max))))
            some &= ~self.around(found[-1])
        return found

    def descend(self) -> None:
        """The first network: see the module's docstring."""
        while self.here >= 0:
            self.check()
            _, point = self.try_out(self.here)
            below = np.zeros(len(self.open), dtype=bool)
            if point is not None and self.consider(point):
                self.feasible |= self.around(self.here)
                below = self.inside(self.here) & (self.prices < self.best)
            self.here = min(self.largest(below), key=self.value, default=-1)

    def choose(self) -> int | None:
        """The support to be searched next, see the module's docstring; None if there is none."""
        left = self.open & (self.prices < self.best) & ~self.doubtful
        if not np.any(left):
            return None
        if self.point is None:  # whether there is any network
            return int(np.argmax(np.where(left, self.sizes, -1)))
        s = int(np.argmin(np.where(left, self.prices, np.inf)))
        tolerance = max(0.0, -self.cells.offset)
        while True:
            more = self.around(s) & self.open & ~self.doubtful & ~self.feasible
            more[s] = False
            more &= ~self.inside(s)  # the same one in another order
            grown = max(self.smallest(more), key=self.value, default=None)
            if grown is None or self.value(grown) <= max(2.0 * FEASIBILITY, (GROWTH - 1.0) * tolerance):
                return s
            s = grown

    def search(self, s: int) -> bool:
        """Search a support, or go on; whether it is settled: its networks are known to be above the limit, or one keeps
        it."""
        parts = self.parts(s)
        if self.at != s:
            self.at, self.excluded, self.states = s, [], [part.search.state for part in parts]
        for part, state in zip(parts, self.states, strict=True):
            part.search.state = state
        try:
            for part in parts:
                part.search.report = partial(self.report, part)
                if part.search.state.best is None:
                    part.search.first()
                self.report(part, part.search.state, 0.0)
                self.check()
            for i in sorted(range(len(parts)), key=lambda i: self.states[i].best_loss):
                search, limit = parts[i].search, parts[i].loss(FEASIBILITY)
                if i not in self.excluded and self.above(search, limit):
                    self.excluded.append(i)
            settled = len(self.excluded) == len(parts)
            if settled:
                inside = self.inside(s)
                self.open &= ~inside
                self.proofs = {k: own for k, own in self.proofs.items() if not inside[k]}
                self.proofs[s] = [part.proof() for part in parts]
        except Kept:
            self.feasible |= self.around(s)
            settled = True
        finally:
            for part in parts:
                part.search.pool.shutdown()
        self.finished_nodes, self.at, self.states = self.nodes, -1, []
        return settled

    def above(self, search: Search, limit: float) -> bool:
        """Whether all networks of a part are proven to be above its limit."""
        if limit < 0.0:  # no loss is that small
            return True
        search.ceiling = limit + 2.0 * max(NARROW * limit, search.gap_absolute)
        if self.limits.nodes is not None:
            search.node_limit = self.limits.nodes - (self.nodes - search.state.nodes)
        return search.run() > limit

    def report(self, part: Part, state: State, bound: float) -> None:
        self.tell()
        if state.best is not None and part.value(state.best_loss) <= FEASIBILITY:
            point = part.point(state)
            if point is not None and self.consider(point):
                raise Kept

    def run(self, start: tuple[Point, ...]) -> Outcome:
        """Solve to the limits."""
        status, message = Status.OPTIMAL, ""
        try:
            for point in start:
                self.consider(point)
            self.descend()
            while self.point is None or not proven(self.best, self.bound(), self.limits.gap):
                self.check()
                s = self.choose() if self.at < 0 else self.at
                if s is None:
                    break
                self.searched += self.at < 0
                if not self.search(s):
                    self.doubtful[s] = True
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
