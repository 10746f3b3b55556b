"""Russian dolls (T15) around the tree search: subsets of the samples are solved to proof, each one inside the next.

The loss is a sum over samples, so the optimum on a subset bounds that part of any larger problem from below. Subsets
grow by the sample that the last optimal network gets most wrong. The doll's optimum then rises as fast as it can, so
its
bound is nearly the incumbent when the easy samples come, and their subtrees are cut at once. A doll needs no more than
a lower bound: it is proven to DOLL_GAP only, and only at sizes that grow geometrically (`stride`).

Work inside a doll is split deterministically: the tree is explored with budgets of nodes, what is left open comes back
as subtrees, and these are worked on in rounds. Incumbents are exchanged between rounds only, so the result does not
depend on the number of threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from nnspec.engines.cells.instance import Instance, Subtree, build, cone_coordinates, whole_tree
from nnspec.engines.cells.kernels import kernel_for
from nnspec.engines.cells.normal import Normal
from nnspec.engines.cells.work import Effort, explore_subtree

DOLL_GAP = 1e-3
SLACK = 1.0
"""Part of the distance from the ceiling to the own incumbent that the bounds of subsets may miss."""
LEVELS = 0.5
"""Largest ratio of a used subset's size to that of the next one."""
ROUND = 16
"""Subtrees per round. Fixed, so that a run is the same with any number of threads."""
FIRST_BUDGET = 20_000
BUDGET_NODES = 400_000


def polytope_room(r: int) -> int:
    """Vertices that a polytope of cones in dimension r may have: more than nearly all cells of arrangements need, but
    from r = 9 on those of a simplex: there, looking for patterns that do not exist costs more than they do, see
    docs/cells.md."""
    return {1: 4, 2: 4, 3: 64, 4: 160, 5: 400, 6: 1500, 7: 400, 8: 400}.get(r, r + 1)


class Stopped(Exception):
    """A limit or the user ended the search."""


@dataclass
class State:
    """Everything that a later run needs to go on: see `checkpoint`."""

    order: list[int] = field(default_factory=list)  # newest first
    proven: list[float] = field(default_factory=lambda: [0.0])  # proven[m] bounds the optimum on the last m of order
    theta: np.ndarray | None = None  # incumbent on `order`
    signs: int = 0
    open: list[Subtree] | None = None  # of the doll `order`, if it was begun
    floor: float = np.inf  # least bound of a part of that doll that could not be resolved
    best: np.ndarray | None = None  # incumbent on all samples
    best_signs: int = 0
    best_loss: float = np.inf
    nodes: int = 0
    proofs: list[tuple[int, float]] = field(default_factory=list)  # (m, bound): the dolls that were proven


@dataclass
class Search:
    """One run. `report(state, bound)` is called from time to time; `deadline` in time.monotonic seconds."""

    normal: Normal
    neurons: int
    gap: float
    gap_absolute: float
    threads: int
    seed: int
    deadline: float | None = None
    node_limit: int | None = None
    stop: threading.Event | None = None
    report: Callable[[State, float], None] | None = None
    memory: float | None = None  # bytes for the polytopes of all threads
    ceiling: float = np.inf  # a loss that is had elsewhere: only networks below it matter
    pause: float = np.inf  # `run` may come back once its bound is above this; the next call goes on
    finished: bool = False
    step: int = 0
    strong: int = 2
    state: State = field(default_factory=State)

    def __post_init__(self) -> None:
        self.control = np.zeros(1, dtype=np.int64)
        self.cone = cone_coordinates(self.normal.z)
        self.size = self.neurons * self.normal.box.shape[3] + 1
        r = self.cone.shape[1]
        self.room = polytope_room(r)
        self.kernel = kernel_for(self.normal, self.neurons, self.control)
        self.pool = ThreadPoolExecutor(max_workers=self.threads)
        if self.memory is not None:
            # a polytope that outgrows its room is kept unclipped, which is valid; it needs room for a simplex
            pieces = self.normal.features.shape[0]
            vertex = self.neurons * (self.normal.samples + 2) * pieces * (8 * r + 4 * (r - 1))
            self.room = min(self.room, int(self.memory / self.threads / vertex))
        self.enough = self.room >= r

    def check(self) -> None:
        if self.stop is not None and self.stop.is_set():
            raise Stopped("stop")
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise Stopped("time")
        if self.node_limit is not None and self.state.nodes >= self.node_limit:
            raise Stopped("nodes")

    # -- the whole problem -----------------------------------------------------------------------------------------
    def run(self) -> float:
        """Solve, or go on until the bound is above `pause`; the proven lower bound (of the normalised loss).

        Raises Stopped with the state kept.
        """
        self.finished = True
        over = threading.Event()
        watcher = threading.Thread(target=self.watch, args=(over,), daemon=True)
        watcher.start()
        try:
            return self.grow_dolls()
        finally:
            over.set()
            watcher.join()

    def watch(self, over: threading.Event) -> None:
        """Tell compiled code, which no other thread could interrupt, that a limit is reached."""
        while not over.wait(0.1):
            late = self.deadline is not None and time.monotonic() > self.deadline
            if late or (self.stop is not None and self.stop.is_set()):
                self.control[0] = 1
                return

    def first(self) -> None:
        """A first incumbent."""
        s = self.state
        starts = 200 if self.normal.samples < 300 else 60
        s.best_loss, s.best, s.best_signs = self.kernel.improve(
            np.arange(self.normal.samples), None, 0, starts, self.seed
        )

    def grow_dolls(self) -> float:
        s = self.state
        if s.best is None:
            self.first()
            self.tell(0.0)
        if not self.enough:
            raise Stopped("memory")
        if not s.order:
            s.order = self.seed_order()
            s.proven = [0.0] * (len(s.order) + 1)
        last_proven = s.proofs[-1][0] if s.proofs else 0
        while True:
            n = len(s.order)
            whole = n == self.normal.samples
            top = min(s.best_loss, self.ceiling)
            if top <= self.gap_absolute:
                return 0.0
            if s.open is None:
                instance = self.instance()
                loss, s.theta, s.signs = (
                    (s.best_loss, s.best.copy(), s.best_signs) if whole and s.best is not None else
                    self.kernel.improve(np.array(s.order), s.theta, s.signs, 40, self.seed)
                )  # fmt: skip
                due = whole or (instance is not None and loss > 1e-7 and n - last_proven >= self.stride(n))
                if due:
                    assert instance is not None
                    s.open, s.floor = [whole_tree(self.neurons)], np.inf
                else:
                    s.proven[n:] = [s.proven[-1]] if len(s.proven) == n else s.proven[n:]
            else:
                instance, due = self.instance(), True
            if due:
                assert instance is not None
                bound = self.prove(instance, whole)
                last_proven = n
                s.proofs.append((n, bound))
                self.try_everywhere()
                s.open = None
                bound = max(bound, s.proven[min(n, len(s.proven)) - 1])
                s.proven[n:] = [bound]
                if whole:
                    return bound
                self.tell(bound)
                top = min(s.best_loss, self.ceiling)
                if bound >= top - max(self.gap * top, self.gap_absolute):
                    return bound
                if bound > self.pause:
                    self.finished = False
                    self.grow()
                    return bound
            self.check()
            self.grow()

    def instance(self) -> Instance | None:
        """The doll of the samples `order`; None if they do not span."""
        return build(self.normal, self.cone, self.state.order, self.state.proven, self.levels())

    def try_everywhere(self) -> None:
        """A doll's network, moved downhill on all samples, may be a new incumbent."""
        s, everything = self.state, np.arange(self.normal.samples)
        loss, theta, signs = self.kernel.improve(everything, s.theta, s.signs, 0, self.seed)
        if loss < s.best_loss:
            s.best_loss, s.best, s.best_signs = loss, theta, signs

    def levels(self) -> list[int]:
        """Sizes of the subsets whose bounds are used: each at most half of the one before it.

        Between two of them the search chooses the order of the samples, which is worth more than more bounds.
        """
        levels: list[int] = []
        for m, _ in reversed(self.state.proofs):
            if not levels or m <= LEVELS * levels[-1]:
                levels.append(m)
        return levels

    def stride(self, n: int) -> int:
        if self.step:
            return self.step
        return 1 if n < 2 * self.size else n // 2 if self.neurons == 1 else max(4, n // 5)

    def seed_order(self) -> list[int]:
        """Samples that span, far from each other; newest first."""
        z = self.cone
        order = [self.farthest()]
        q = z[order[0]][:, None]
        while len(order) < z.shape[1]:
            left = np.linalg.norm(z - (z @ q) @ q.T, axis=1)
            i = int(np.argmax(left))
            v = z[i] - q @ (q.T @ z[i])
            q = np.hstack([q, (v / np.linalg.norm(v))[:, None]])
            order.insert(0, i)
        return order

    def farthest(self) -> int:
        """The sample that the first doll begins with."""
        return int(np.argmax(np.linalg.norm(self.normal.z, axis=1)))

    def grow(self) -> None:
        """Put the sample that the current network gets most wrong in front."""
        s = self.state
        assert s.theta is not None
        losses = self.kernel.sample_losses(s.theta, s.signs)
        losses[s.order] = -1.0
        s.order = [int(np.argmax(losses)), *s.order]

    # -- one doll --------------------------------------------------------------------------------------------------
    def prove(self, instance: Instance, whole: bool) -> float:
        """A lower bound of the optimum on the instance's samples, within the gap of the incumbent.

        Some samples' optimum is at most that of all. Where theirs is expected above what all may cost, that is to be
        proven, and ends the search; else the gap of a subset is a part of what all may miss.
        """
        s = self.state
        assert s.open is not None
        assert s.theta is not None
        top = min(s.best_loss, self.ceiling)
        incumbent = self.kernel.loss(s.theta, s.signs, instance.index)
        gap = self.gap
        if not whole and incumbent < top:
            gap = max(DOLL_GAP, self.gap, SLACK * (1.0 - top / s.best_loss))
        incumbent = min(incumbent, top)
        budget = FIRST_BUDGET
        while s.open:
            self.check()
            batch = s.open[:ROUND]
            results = self.round(instance, batch, incumbent, gap, budget)
            rest = s.open[ROUND:]
            opened: list[Subtree] = []
            for loss, theta, signs, subtrees, floor, nodes in results:
                opened += subtrees
                s.nodes += nodes
                s.floor = min(s.floor, floor)
                if loss < incumbent:
                    incumbent, s.theta, s.signs = loss, theta, signs
                    if whole:
                        s.best_loss, s.best, s.best_signs = loss, theta, signs
            s.open = opened + rest
            budget = BUDGET_NODES
            if whole and self.report is not None:
                cut = incumbent - max(gap * incumbent, self.gap_absolute)
                low = min([x.bound for x in s.open] + [s.floor, cut])
                self.tell(max(low, s.proven[-1]))
            elif self.report is not None:
                self.tell(s.proven[-1])
        return max(0.0, min(s.floor, incumbent - max(gap * incumbent, self.gap_absolute)))

    def round(self, instance: Instance, batch: list[Subtree], incumbent: float, gap: float, budget: int) -> list:  # type: ignore[type-arg]
        futures = [self.pool.submit(self.work, instance, subtree, incumbent, gap, budget) for subtree in batch]
        return [f.result() for f in futures]

    def work(self, instance: Instance, subtree: Subtree, loss: float, gap: float, budget: int) -> tuple:  # type: ignore[type-arg]
        """Explore a subtree: (loss, theta, signs, open subtrees, floor, nodes)."""
        effort = Effort(gap, self.gap_absolute, budget, self.room, self.strong)
        v = explore_subtree(instance, self.neurons, subtree, loss, effort, self.control)
        return v.loss, v.theta, v.signs, list(v.open), v.floor, v.nodes

    def tell(self, bound: float) -> None:
        if self.report is not None:
            self.report(self.state, bound)
