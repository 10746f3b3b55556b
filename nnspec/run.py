"""The way of a problem, top to bottom: spec -> Problem -> engine -> Outcome -> files -> Solution."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnspec.engines.interface import OnProgress, Outcome
from nnspec.engines.run import solve_problem
from nnspec.problem.problem import Problem
from nnspec.settings import Settings
from nnspec.solution.conclude import check_writable, conclude
from nnspec.solution.output import OutputFolder
from nnspec.solution.solution import Solution


def run(problem: Problem, settings: Settings, output: OutputFolder | None = None,
        on_progress: OnProgress | None = None, explain: Callable[[str], None] | None = None,
        files: Mapping[str, Path] | None = None) -> Solution:  # fmt: skip
    """Solve a problem and prove it from the written files.

    `output` is the folder for the networks and solution.json (None: nothing is written); `explain` gets the reasons
    for the choice of engine and reductions, a line each; `files` are the "certificate" (the engine's proof, for `nnspec
    verify`) and the "checkpoint" (to go on from later) of engines that write them.

    Ctrl-C ends the solve with the best network so far. Raises UnsupportedError if no engine takes the problem.
    """
    if output is not None:
        check_writable(problem, output)
    with interruptible() as stop:
        outcome = in_thread(
            lambda: solve_problem(
                problem, settings.limits, settings.engine, settings.backend, settings.encoding,
                on_progress=on_progress, stop=stop, explain=explain, files=files,
            ),
            stop,
        )  # fmt: skip
    return conclude(problem, outcome, settings.plain(), output)


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one raises KeyboardInterrupt. Outside the main thread, where no
    signal arrives, nobody sets it."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def in_thread(work: Callable[[], Outcome], stop: threading.Event) -> Outcome:
    """Run `work` in a thread of its own while this one waits: Python handles signals only in the main thread, and only
    between its own instructions, not while a solver runs."""
    result: list[Outcome] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            result.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=target, name="nnspec-solve", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.05)
    except BaseException:
        stop.set()
        raise
    if failure:
        raise failure[0]
    return result[0]


def problem_of(spec: str | os.PathLike[str] | Problem, params: Mapping[str, object] | None = None) -> Problem:
    """The problem itself, or the one that a path or text states."""
    if isinstance(spec, Problem):
        return spec
    from nnspec.language.load import load_problem

    return load_problem(spec, params)
