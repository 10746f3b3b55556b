"""Engines whose code is compiled when it is first needed: limits and stops hold for them too.

numba cannot be interrupted while it compiles, which on a new installation takes half a minute. So these engines run in
a thread of their own, and when they are overdue the solve ends with what is known. Once compiled, code is kept on disk.
"""

from __future__ import annotations

import threading
import time

from nnspec.engines.interface import Engine, Limits, OnProgress, Outcome, Progress, Status
from nnspec.problem.problem import Point, Problem

GRACE = 1.5
"""Seconds that an engine has to come back after its limit or a stop."""
EVERY = 0.02


def solve_attended(engine: Engine, problem: Problem, limits: Limits, start: tuple[Point, ...],
                   on_progress: OnProgress | None, stop: threading.Event | None) -> Outcome:  # fmt: skip
    """`engine.solve`; what it reported last if it is overdue, while it ends by itself in the background.

    The general solver is called as it stands: it compiles nothing, and keeps to limits itself.
    """
    if engine.name == "solver":
        return engine.solve(problem, limits, start, on_progress, stop)
    halt, done, left = threading.Event(), threading.Event(), threading.Event()
    heard: list[Progress] = []
    point: list[Point] = []
    answer: list[Outcome] = []
    failure: list[BaseException] = []

    def listen(p: Progress) -> None:
        heard[:] = [p]
        if p.point is not None:
            point[:] = [p.point]
        if on_progress is not None and not left.is_set():
            on_progress(p)

    def work() -> None:
        try:
            answer.append(engine.solve(problem, limits, start, listen, halt))
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
            left.set()
            note = (f"the {engine.name} engine did not end in time, and this is what it reported last; where it is "
                    "used for the first time it needs a minute for compiling, once")  # fmt: skip
            last = heard[0] if heard else Progress(0.0, None, None)
            known = point[0] if point else None
            return Outcome(status, known, last.incumbent, last.bound, now - began, last.nodes, engine.name,
                           messages=(note,))  # fmt: skip
    if failure:
        raise failure[0]
    return answer[0]
