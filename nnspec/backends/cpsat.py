"""CP-SAT through ortools: integer programs in exact arithmetic, for networks with finitely many weights.

CP-SAT takes no real variables, so it is no backend for a Program, whose auxiliary columns are real: `nnspec.engines.
cpsat` writes a problem as an `IntegerProgram` directly. Variables are numbered 0, 1, 2 ...; a literal is the number of
a 0/1 variable, or -number - 1 for its negation. All coefficients are Python integers; a row or product that could
leave 64 bits raises Overflow, before the solver sees it.

The solver runs in a process of its own: ortools brings a HiGHS library that highspy's cannot share a process with.
"""

from __future__ import annotations

import json
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from nnspec.backends.common import missing_package, setting_refused
from nnspec.backends.interface import Availability
from nnspec.errors import UnsupportedError, diagnostic
from nnspec.status import Limits, Status

PIP = 'pip install "nnspec[cpsat]"'
LARGEST = 2**60
"""Largest magnitude that a row's terms may add up to: CP-SAT computes in signed 64 bits and refuses models that could
overflow; a factor of 8 is left to what it derives itself."""
GRACE = 10.0
"""Seconds that the solver has to end after it was told to, or after its time limit: then its process is ended."""

Recipe = Callable[[Sequence[int]], int]


class Overflow(Exception):
    """An expression whose integers are too large for CP-SAT."""


@dataclass(frozen=True)
class IntegerProgress:
    """A sign of life, in the integers of the program; `x` is given when the incumbent is new."""

    seconds: float
    bound: int | None
    nodes: int
    x: Sequence[int] | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class IntegerResult:
    """`x` has one value a variable; `bound` is that of the integer objective, from below."""

    status: Status
    x: Sequence[int] | None
    bound: int | None
    nodes: int
    version: str
    settings: Mapping[str, Any]


def available() -> Availability:
    """Whether ortools is installed."""
    try:
        return Availability(f"CP-SAT {metadata.version('ortools')}")
    except metadata.PackageNotFoundError:
        return Availability(None, "ortools is not installed", PIP)


class IntegerProgram:
    """Minimise a linear function of integers. Each variable may carry a recipe that computes it from those before."""

    def __init__(self) -> None:
        self.lo: list[int] = []
        self.hi: list[int] = []
        self.values: dict[int, list[int]] = {}  # of variables with a finite set of values
        self.recipes: list[Recipe | None] = []
        self.linear: list[tuple[list[int], list[int], int, int, list[int]]] = []  # columns, factors, lo, hi, literals
        self.maxima: list[tuple[int, list[tuple[int, int, int]]]] = []
        self.products: list[tuple[int, int, int]] = []
        self.clauses: list[list[int]] = []
        self.tables: list[tuple[list[int], list[Sequence[int]]]] = []
        self.objective: dict[int, int] = {}

    @property
    def size(self) -> int:
        """The number of variables."""
        return len(self.lo)

    @property
    def rows(self) -> int:
        return len(self.linear) + len(self.maxima) + len(self.products) + len(self.clauses) + len(self.tables)

    def integer(self, lo: int, hi: int, recipe: Recipe | None = None, values: Sequence[int] | None = None) -> int:
        """The number of a new variable in lo..hi, or in a finite set."""
        if max(abs(lo), abs(hi)) > LARGEST:
            raise Overflow(f"a quantity of up to {float(max(abs(lo), abs(hi))):.2g}")
        self.lo.append(lo)
        self.hi.append(hi)
        self.recipes.append(recipe)
        if values is not None:
            self.values[self.size - 1] = list(values)
        return self.size - 1

    def _checked(self, terms: Mapping[int, int], constant: int = 0) -> None:
        reach = abs(constant) + sum(abs(c) * max(abs(self.lo[j]), abs(self.hi[j])) for j, c in terms.items())
        if reach > LARGEST:
            raise Overflow(f"a sum of up to {float(reach):.2g}")

    def row(self, terms: Mapping[int, int], lo: int | None, hi: int | None, when: Sequence[int] = ()) -> None:
        """lo <= sum of terms <= hi (None: no bound) if all literals `when` hold."""
        self._checked(terms, max(abs(lo or 0), abs(hi or 0)))
        low, high = (-LARGEST if lo is None else lo), (LARGEST if hi is None else hi)
        self.linear.append((list(terms), list(terms.values()), low, high, list(when)))

    def maximum(self, target: int, members: Sequence[tuple[int, int, int]]) -> None:
        """target = max over (factor, variable, constant) of factor * variable + constant."""
        for a, j, b in members:
            self._checked({j: a}, b)
        self.maxima.append((target, list(members)))

    def product(self, target: int, x: int, y: int) -> None:
        """target = x * y."""
        if max(abs(self.lo[x]), abs(self.hi[x])) * max(abs(self.lo[y]), abs(self.hi[y])) > LARGEST:
            raise Overflow("a product of two large quantities")
        self.products.append((target, x, y))

    def clause(self, literals: Sequence[int]) -> None:
        """At least one literal holds."""
        self.clauses.append(list(literals))

    def table(self, variables: Sequence[int], tuples: Sequence[Sequence[int]]) -> None:
        """The variables take one of the tuples of values."""
        self.tables.append((list(variables), list(tuples)))

    def minimize(self, terms: Mapping[int, int]) -> None:
        self._checked(terms)
        self.objective = dict(terms)

    def complete(self, x: Sequence[int | None]) -> list[int | None]:
        """A point with the values that recipes can compute; None where something they need is unknown."""
        full: list[Any] = list(x)
        for j, recipe in enumerate(self.recipes):
            if full[j] is None and recipe is not None:
                try:
                    full[j] = recipe(full)
                except TypeError:  # arithmetic with None: an argument is unknown
                    continue
        return full

    def solve(self, limits: Limits, start: Sequence[int | None] | None = None,
              on_progress: Callable[[IntegerProgress], None] | None = None, stop: threading.Event | None = None,
              options: Mapping[str, Any] | None = None) -> IntegerResult:  # fmt: skip
        """Minimise to the limits (`nodes`: conflicts). Ctrl-C and `stop` end it with the best so far. Raises
        MissingPackageError without ortools, UsageError for unknown options, and what `on_progress` raises."""
        version = available().version
        if version is None:
            raise missing_package("cpsat", "ortools", PIP, ImportError("it is not installed"))
        settings = _settings(limits, options)
        parts = ("lo", "hi", "values", "linear", "maxima", "products", "clauses", "tables", "objective")
        hint = [(j, v) for j, v in enumerate(start or ()) if v is not None]
        task = {**{name: getattr(self, name) for name in parts}, "hint": hint, "settings": settings}
        x, answer, stopped = _in_process(task, limits.time, on_progress, stop)
        match answer.get("failure"):
            case "package":
                raise missing_package("cpsat", "ortools", PIP, ImportError(answer["message"]))
            case "setting":
                raise setting_refused("cpsat", answer["name"], settings[answer["name"]], answer["message"])
            case "model" | "process":
                raise UnsupportedError(diagnostic("NNS161", f"CP-SAT cannot take this problem: {answer['message']}"))
        known = {"OPTIMAL": Status.OPTIMAL, "INFEASIBLE": Status.INFEASIBLE}
        status = known.get(answer.get("status", ""), Status.INTERRUPTED if stopped else Status.LIMIT)
        # before the first solution CP-SAT reports the bound 0, whether that is one or not
        bound = answer.get("bound") if self.objective and x is not None and status is not Status.INFEASIBLE else None
        return IntegerResult(status, x, bound, answer.get("nodes", 0), version, settings)


def _settings(limits: Limits, options: Mapping[str, Any] | None) -> dict[str, Any]:
    # one worker by default: its search depends on the seed alone, those of several on the clock
    settings: dict[str, Any] = {"random_seed": limits.seed, "num_workers": max(1, limits.threads)}
    if limits.time is not None:
        settings["max_time_in_seconds"] = max(0.01, limits.time)
    if limits.nodes is not None:
        settings["max_number_of_conflicts"] = limits.nodes
    if limits.memory is not None:
        settings["max_memory_in_mb"] = int(limits.memory)
    return {**settings, **(options or {})}


def _in_process(task: Mapping[str, Any], seconds: float | None,
                on_progress: Callable[[IntegerProgress], None] | None, stop: threading.Event | None
                ) -> tuple[list[int] | None, dict[str, Any], bool]:  # fmt: skip
    """The last solution, the last message of the worker, and whether it was asked to stop."""
    began = time.monotonic()
    command = [sys.executable, "-m", "nnspec.backends.cpsat_worker"]
    # a session of its own: Ctrl-C at the terminal is for this process, which passes it on by closing the pipe
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              start_new_session=True)  # fmt: skip
    assert worker.stdin is not None
    assert worker.stdout is not None
    said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def read(pipe: Any) -> None:
        for line in pipe:
            said.put(line)
        said.put(None)

    x: list[int] | None = None
    last: dict[str, Any] = {"failure": "process", "message": "its process ended without an answer"}
    asked: float | None = None
    threading.Thread(target=read, args=(worker.stdout,), daemon=True).start()
    try:
        try:
            pickle.dump(task, worker.stdin)
            worker.stdin.flush()
        except BrokenPipeError:  # it has ended already, and said why
            pass
        while True:
            try:
                line = said.get(timeout=0.05)
            except queue.Empty:
                line = b""
            except KeyboardInterrupt:
                line, asked = b"", time.monotonic()
            if line is None:
                break
            if line:
                message = json.loads(line)
                last = message if "end" in message else last
                x = message.get("x", x)
                if on_progress is not None and "end" not in message:
                    on_progress(IntegerProgress(time.monotonic() - began, message["bound"], message["nodes"],
                                                message.get("x")))  # fmt: skip
            now = time.monotonic()
            if asked is None and stop is not None and stop.is_set():
                asked = now
            if asked is not None and not worker.stdin.closed:
                worker.stdin.close()
            late = seconds is not None and now - began > seconds + GRACE
            if late or (asked is not None and now - asked > GRACE):
                last = {"status": "UNKNOWN", "end": True}
                break
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()
        if not worker.stdin.closed:
            worker.stdin.close()
    return x, last, asked is not None
