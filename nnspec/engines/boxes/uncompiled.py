"""The engine as plain Python, for the first solve of a tiny problem: a few hundred boxes of one neuron and a dozen
samples take two seconds, compiling takes fifteen."""

from __future__ import annotations

import importlib
import sys
import threading
from dataclasses import replace

import numpy as np

from nnspec.engines.boxes.model import Model
from nnspec.engines.compiled import Mode
from nnspec.engines.interface import Limits, OnProgress, Outcome, Status
from nnspec.problem.problem import Point, Problem

BOXES = 400
"""After so many boxes the problem is not tiny, and compiling is worth its time."""
MOST = 16
"""Most samples (times outputs and copies that a neuron sees) of a tiny problem."""
_KERNELS = ("activations", "arrays", "coupling", "enclosure", "losses", "network", "outputs", "search", "local",
            "driver")  # fmt: skip
_lock = threading.Lock()
_tried = threading.Event()  # a process that solves a second problem had better compile


def worthwhile(model: Model, limits: Limits) -> bool:
    """Whether the problem is so small that Python may be faster than compiling; asked once in a process."""
    small = len(model.lo) == 1 and model.copies.shape[1] * model.vlo.shape[1] <= MOST
    if not small or limits.nodes is not None or _tried.is_set() or "nnspec.engines.boxes.driver" in sys.modules:
        return False
    _tried.set()
    return True


def solve(problem: Problem, model: Model, limits: Limits, on_progress: OnProgress | None,
          stop: threading.Event | None, start: tuple[Point, ...]) -> Outcome | None:  # fmt: skip
    """Solve for a few boxes with the same functions uncompiled; None where Python's arithmetic raises what compiled
    code answers with infinity."""
    with _lock:
        _forget()
        Mode.interpreted = True
        try:
            driver = importlib.import_module(f"{__package__}.driver")
        finally:
            Mode.interpreted = False
            _forget()
    try:
        with np.errstate(all="ignore"):
            few = replace(limits, nodes=BOXES, threads=1)
            outcome: Outcome = driver.Driver(problem, model, few, on_progress, stop, None, None).solve(start)
        return outcome
    except (ArithmeticError, ValueError):
        return None


def _forget() -> None:
    """Let the next import of the kernels run their decorators again."""
    for name in _KERNELS:
        sys.modules.pop(f"{__package__}.{name}", None)


def used_up(first: Outcome, limits: Limits) -> bool:
    """Whether the time of all is over."""
    return first.status is Status.LIMIT and limits.time is not None and first.seconds >= limits.time


def rest(first: Outcome, limits: Limits) -> Limits:
    """What is left of the limits."""
    return limits if limits.time is None else replace(limits, time=max(0.0, limits.time - first.seconds))
