"""What all backends share: checking start points, results with recomputed objectives, and their errors."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from nnspec.backends.interface import BackendProgress, BackendResult, OnProgress
from nnspec.errors import MissingPackageError, UnsupportedError, UsageError, diagnostic
from nnspec.program import Program
from nnspec.program.rows import Rows
from nnspec.status import Status
from nnspec.tolerances import FEASIBILITY


def feasible_starts(program: Program, starts: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[str]]:
    """The starts, completed: feasible points first and the best of them first, then points that are partly unknown.

    Also messages about those left out because they violate the program.
    """
    full: list[tuple[float, int, np.ndarray]] = []
    partial: list[np.ndarray] = []
    messages: list[str] = []
    sign = 1.0 if program.sense == "minimize" else -1.0
    for number, start in enumerate(starts):
        x = program.complete(start)
        if np.isnan(x).any():
            partial.append(x)
            continue
        x[program.discrete] = np.round(x[program.discrete])
        broken = program.violations(x)
        if broken:
            worst = max(broken, key=lambda v: v.amount)
            messages.append(f"start point {number} was not used: it violates {worst.what} by {worst.amount:.2g}")
        else:
            full.append((sign * program.objective_value(x), number, x))
    return [x for _, _, x in sorted(full, key=lambda item: item[:2])] + partial, messages


def announce(program: Program, starts: Sequence[np.ndarray], on_progress: OnProgress | None, began: float) -> None:
    """The best complete start is the first incumbent: report it before the solver runs."""
    if on_progress is not None and starts and not np.isnan(starts[0]).any():
        seconds = time.monotonic() - began
        on_progress(BackendProgress(seconds, program.objective_value(starts[0]), None, 0, starts[0]))


def result_of(program: Program, status: Status, x: np.ndarray | None, bound: float | None, began: float,
              nodes: int = 0, version: str = "", settings: Mapping[str, Any] | None = None,
              messages: Sequence[str] = ()) -> BackendResult:  # fmt: skip
    """A result whose objective is recomputed from x; violations above ten tolerances are reported.

    Ten: solvers check rows relative to their size, and a presolved row stands for several of ours.
    """
    notes = list(messages)
    if status is Status.UNBOUNDED or (x is not None and np.isnan(x).any()):
        x = None
    objective = None if x is None else program.objective_value(x)
    if x is not None:
        broken = program.violations(x, 10 * FEASIBILITY)
        if broken:
            worst = max(broken, key=lambda v: v.amount)
            notes.append(f"the solver's solution violates {worst.what} by {worst.amount:.2g}")
    if status in (Status.OPTIMAL, Status.FEASIBLE) and x is None:
        status = Status.ERROR
        notes.append("the solver claims a solution but has none")
    seconds = time.monotonic() - began
    return BackendResult(status, x, objective, bound, seconds, nodes, version, settings or {}, tuple(notes))


class _Worker(threading.Thread):
    """A thread that does one piece of work after the other, for the life of the process.

    SCIP's automatic differentiation (CppAD) numbers the threads that it meets, never forgets one, and crashes at about
    the fiftieth: solvers therefore run in a few threads that are used again and again.
    """

    idle: ClassVar[list[_Worker]] = []  # append and pop are atomic

    def __init__(self) -> None:
        super().__init__(daemon=True, name="nnspec-solver")
        self.tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.start()

    def run(self) -> None:
        while True:
            self.tasks.get()()

    @classmethod
    def take(cls) -> _Worker:
        try:
            return cls.idle.pop()
        except IndexError:
            return cls()


def in_thread(work: Callable[[], Any], stop: threading.Event | None, stopped: threading.Event,
              interrupt: Callable[[], Any] | None = None) -> None:  # fmt: skip
    """Run a solver call in another thread and wait for its end.

    Ctrl-C, or `stop` once it is set, sets `stopped`; then `interrupt` is called until the work ends (again and again,
    since a request before a solver begins is lost). A third Ctrl-C gives up on a solver that does not react. The
    reason for the thread: Python handles Ctrl-C in the main thread between bytecodes, so a solver that occupies it
    would never notice, and SCIP's own handler prints to stdout.
    """
    errors: list[BaseException] = []
    done = threading.Event()
    presses = 0
    worker = _Worker.take()

    def call() -> None:
        try:
            work()
        except BaseException as e:
            errors.append(e)
        finally:
            _Worker.idle.append(worker)
            done.set()

    worker.tasks.put(call)
    while not done.is_set():
        try:
            done.wait(0.05)
            if stop is not None and stop.is_set():
                stopped.set()
            if stopped.is_set() and interrupt is not None and not done.is_set():
                interrupt()
        except KeyboardInterrupt:
            presses += 1
            stopped.set()
            if presses >= 3:
                raise
    if errors:
        raise errors[0]


def missing_package(backend: str, package: str, command: str, cause: Exception) -> MissingPackageError:
    """The error for a solver that is not installed."""
    return MissingPackageError(
        diagnostic("NNS160", f"the backend {backend} needs {package}: {cause}", help=f"install it with: {command}")
    )


def unsupported(backend: str, rows: Rows | None, what: str, help: str) -> UnsupportedError:
    """The error for something a backend cannot take; points at the rows' place in the spec."""
    where = f" ({rows.name})" if rows is not None else ""
    return UnsupportedError(
        diagnostic("NNS161", f"{backend} cannot take {what}{where}", rows.span if rows is not None else None, help=help)
    )


def setting_refused(backend: str, name: str, value: object, cause: Exception | str) -> UsageError:
    """The error for a solver setting with a wrong name or value."""
    return UsageError(
        diagnostic("NNS163", f"{backend} does not take the setting {name} = {value!r}: {cause}",
                   help=f"settings have the names that {backend}'s own manual gives them")
    )  # fmt: skip
