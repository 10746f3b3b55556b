"""Engines whose code is compiled when it is first needed: limits and stops hold for them too.

numba cannot be interrupted while it compiles, which on a new installation takes half a minute. So these engines run in
a thread of their own, and when they are overdue the solve ends with what is known. Once compiled, code is kept on disk.
"""

from __future__ import annotations

import threading
import time

from nnspec.engines.interface import Engine, Limits, OnProgress, Outcome, Status
from nnspec.problem.problem import Point, Problem

GRACE = 1.5
"""Seconds that an engine has to come back after its limit or a stop."""
EVERY = 0.02


def solve_attended(engine: Engine, problem: Problem, limits: Limits, start: tuple[Point, ...],
                   on_progress: OnProgress | None, stop: threading.Event | None) -> Outcome:  # fmt: skip
    """`engine.solve`; an outcome without point and bound if it is overdue, while it ends by itself in the background.

    The general solver is called as it stands: it compiles nothing, and keeps to limits itself.
    """
    if engine.name == "solver":
        return engine.solve(problem, limits, start, on_progress, stop)
    halt, done = threading.Event(), threading.Event()
    answer: list[Outcome] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            answer.append(engine.solve(problem, limits, start, on_progress, halt))
        except BaseException as error:
            failure.append(error)
        finally:
            done.set()

    began = time.monotonic()
    threading.Thread(target=work, daemon=True).start()
    asked: float | None = None  # when it should have begun to end
    while True:
        try:
            if done.wait(EVERY):
                break
        except KeyboardInterrupt:
            if halt.is_set():
                raise
            halt.set()
        now = time.monotonic()
        if stop is not None and stop.is_set():
            halt.set()
        if asked is None and (halt.is_set() or (limits.time is not None and now - began > limits.time)):
            asked = now
        if asked is not None and now - asked > GRACE:
            status = Status.INTERRUPTED if halt.is_set() else Status.LIMIT
            halt.set()
            note = (f"the {engine.name} engine was still being compiled, as it is when it is used for the first time: "
                    "with a minute once, the compiled code is kept")  # fmt: skip
            return Outcome(status, None, None, None, now - began, 0, engine.name, messages=(note,))
    if failure:
        raise failure[0]
    return answer[0]
