"""One search of a solve: its state, its limits, and how it stops.

Work is split deterministically: a tree is explored with budgets of nodes, what is left open comes back as subtrees, and
these are worked on in rounds. Incumbents are exchanged between rounds only, so the result does not depend on the number
of threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from nnspec.engines.cells.instance import Subtree

ROUND = 16
"""Subtrees per round. Fixed, so that a run is the same with any number of threads."""
FIRST_BUDGET = 20_000
BUDGET_NODES = 400_000


class Stopped(Exception):
    """A limit or the user ended the search."""


@dataclass
class State:
    """Everything that a later run needs to go on: see `checkpoint`."""

    order: list[int] = field(default_factory=list)  # newest first
    proven: list[float] = field(default_factory=lambda: [0.0])  # proven[m] bounds the optimum on the last m of order
    theta: np.ndarray | None = None  # incumbent on `order`
    open: list[Subtree] | None = None  # of the doll `order`, if it was begun
    floor: float = np.inf  # least bound of a part of that doll that could not be resolved
    best: np.ndarray | None = None  # incumbent on all samples
    best_loss: float = np.inf
    nodes: int = 0
    proofs: list[tuple[int, float]] = field(default_factory=list)  # (m, bound): the dolls that were proven


@dataclass
class Search:
    """One run. `report(state, bound)` is called from time to time; `deadline` in time.monotonic seconds."""

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
    state: State = field(default_factory=State)

    def __post_init__(self) -> None:
        self.control = np.zeros(1, dtype=np.int64)  # not 0 once compiled code is to stop
        self.pool = ThreadPoolExecutor(max_workers=self.threads)

    def first(self) -> None:
        """A first incumbent."""
        raise NotImplementedError

    def grow_dolls(self) -> float:
        """What `run` says, while a thread watches the limits."""
        raise NotImplementedError

    def check(self) -> None:
        if self.stop is not None and self.stop.is_set():
            raise Stopped("stop")
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise Stopped("time")
        if self.node_limit is not None and self.state.nodes >= self.node_limit:
            raise Stopped("nodes")

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

    def tell(self, bound: float) -> None:
        if self.report is not None:
            self.report(self.state, bound)
