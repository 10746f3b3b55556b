"""The `cells` engine: branch-and-bound over activation patterns of one hidden layer of piecewise-linear neurons.

docs/cells.md derives the method. This module imports no compiled kernels; `solve` does.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnspec.engines.cells.model import CellProblem, recognise
from nnspec.engines.compiled import is_kept, refresh
from nnspec.engines.interface import Limits, OnProgress, Outcome, Progress, Status
from nnspec.errors import UnsupportedError
from nnspec.problem.evaluate import objective
from nnspec.problem.problem import Point, Problem
from nnspec.symmetry import enforced, expand
from nnspec.tolerances import proven

if TYPE_CHECKING:
    from nnspec.engines.cells.claims import PartProof
    from nnspec.engines.cells.least import Least


MEMORY = 4000.0
"""Megabytes for the half-planes of `errors` where the user gives no limit."""


class CellsEngine:
    """Exact training of one hidden layer by branch-and-bound over activation patterns."""

    name = "cells"

    def __init__(self, evidence: str | Path | None = None, checkpoint: str | Path | None = None) -> None:
        """`evidence`: where to write a proof that `nnspec.engines.cells.verify.verify` re-checks (small problems).

        `checkpoint`: a file that an unfinished search is written to, and that a search begins from if it exists;
        removed when the search is finished. One of another problem or gap raises CheckpointError.
        """
        self.evidence, self.checkpoint = evidence, checkpoint

    def accepts(self, problem: Problem) -> str | None:
        """None if the engine solves the problem to proof, else the reason in the user's words."""
        try:
            cases = [e.plain for e in expand(problem)] if enforced(problem) else [problem]
        except UnsupportedError as e:
            return str(e)
        return next((reason for p in cases if isinstance(reason := recognise(p), str)), None)

    def begins(self, problem: Problem) -> bool:
        """Its own local search is compiled, hence quicker than another one; until then that is all there is."""
        cells = recognise(problem)
        if isinstance(cells, str) or cells.planar:  # the half-planes come all at once, at the end
            return False
        refresh(Path(__file__).parent)
        kernel = "search_errors.search_errors" if cells.kind == "errors" else "search_convex.walk"
        return is_kept(f"{__name__}.polytope", kernel)

    def solve(self, problem: Problem, limits: Limits = Limits(), start: tuple[Point, ...] = (),  # noqa: B008
              on_progress: OnProgress | None = None, stop: threading.Event | None = None) -> Outcome:  # fmt: skip
        """Solve to the limits; nnspec.engines.run solves the cases of enforced symmetries one after the other.

        Raises ValueError if the problem is not accepted.
        """
        cells = recognise(problem)
        if isinstance(cells, str):
            raise ValueError(cells)
        refresh(Path(__file__).parent)
        if cells.least:
            return _solve_least(problem, cells, limits, start, on_progress, stop, self.evidence, self.checkpoint)
        if cells.planar:
            return _solve_errors(problem, cells, limits, on_progress, stop, self.evidence, self.checkpoint)
        return _solve_union(problem, cells, limits, start, on_progress, stop, self.evidence, self.checkpoint)


def _write(path: str | Path, problem: Problem, cells: CellProblem, parts: list[PartProof], point: Point, value: float,
           evidence: dict[str, object]) -> str | None:  # fmt: skip
    """Write the evidence file; the reason if there is none."""
    from nnspec.engines.cells.evidence import Unwritten, write_evidence

    network = (cells.untied or cells).values(point)
    try:
        bound = write_evidence(path, cells, parts, network, value, _about(problem))
    except Unwritten as e:
        return f"no evidence file: {e}"
    evidence["file"] = str(path)
    evidence["bound of the file"] = bound
    return None


def _about(problem: Problem) -> dict[str, object]:
    return {"name": problem.name, "hashes": dict(problem.hashes)}


def _write_least(path: str | Path, problem: Problem, cells: CellProblem, least: Least, out: Outcome) -> Outcome:
    from nnspec.engines.cells.evidence import Unwritten, write_least

    network = None if out.point is None else (cells.untied or cells).values(out.point)
    bound = None if out.point is None else out.bound
    try:
        parts = [part for own in least.proofs.values() for part in own]
        write_least(path, cells, parts, network, out.objective, bound, _about(problem))
    except Unwritten as e:
        return replace(out, messages=(*out.messages, f"no evidence file: {e}"))
    return replace(out, evidence={**out.evidence, "file": str(path), "bound of the file": bound})


def _solve_union(problem: Problem, cells: CellProblem, limits: Limits, start: tuple[Point, ...],
                    on_progress: OnProgress | None, stop: threading.Event | None, path: str | Path | None,
                    checkpoint: str | Path | None) -> Outcome:  # fmt: skip
    from nnspec.engines.cells.checkpoint import fingerprint, load
    from nnspec.engines.cells.union import Union

    key = fingerprint(cells, limits.gap)
    saved = load(checkpoint, key) if checkpoint is not None and Path(checkpoint).exists() else None
    union = Union(problem, cells, limits, on_progress, stop)
    more = []
    if saved is not None:
        union.resume(saved)
    out = union.run(start)
    if checkpoint is not None and out.status is Status.OPTIMAL:
        Path(checkpoint).unlink(missing_ok=True)
    elif checkpoint is not None:
        union.save(checkpoint, key)
    if path is not None and out.status is Status.OPTIMAL:
        assert out.point is not None
        assert out.objective is not None
        evidence = dict(out.evidence)
        message = _write(path, problem, cells, union.proofs(), out.point, out.objective, evidence)
        more += [] if message is None else [message]
        out = replace(out, evidence=evidence)
    return replace(out, messages=(*out.messages, *more))


def _solve_least(problem: Problem, cells: CellProblem, limits: Limits, start: tuple[Point, ...],
                 on_progress: OnProgress | None, stop: threading.Event | None, path: str | Path | None,
                 checkpoint: str | Path | None) -> Outcome:  # fmt: skip
    from nnspec.engines.cells.checkpoint import fingerprint, load
    from nnspec.engines.cells.least import Least

    key = fingerprint(cells, limits.gap)
    saved = load(checkpoint, key) if checkpoint is not None and Path(checkpoint).exists() else None
    least = Least(problem, cells, limits, on_progress, stop)
    if saved is not None:
        least.resume(saved)
    out = least.run(start)
    finished = out.status in (Status.OPTIMAL, Status.INFEASIBLE)
    if checkpoint is not None and finished:
        Path(checkpoint).unlink(missing_ok=True)
    elif checkpoint is not None:
        least.save(checkpoint, key)
    return _write_least(path, problem, cells, least, out) if path is not None and finished else out


def _solve_errors(problem: Problem, cells: CellProblem, limits: Limits, on_progress: OnProgress | None,
                  stop: threading.Event | None, path: str | Path | None, checkpoint: str | Path | None
                  ) -> Outcome:  # fmt: skip
    from nnspec.engines.cells.errors import HalfPlanes

    began = time.monotonic()
    memory = 1e6 * (MEMORY if limits.memory is None else limits.memory)
    search = HalfPlanes(cells.x, cells.y, cells.weights, cells.neurons, memory, limits.nodes)
    if checkpoint is not None:
        from nnspec.engines.cells.checkpoint import fingerprint, load, save

        key = fingerprint(cells, limits.gap)
        if Path(checkpoint).exists():
            search.resume(load(checkpoint, key))
    done = threading.Event()
    reason = []

    def watch() -> None:
        while not done.wait(0.1):
            if stop is not None and stop.is_set():
                reason.append(Status.INTERRUPTED)
            elif limits.time is not None and time.monotonic() - began > limits.time:
                reason.append(Status.LIMIT)
            if reason:
                search.control[0] = 1
                return

    def network() -> Point:
        return cells.threshold_point(search.best.planes, search.best.negated)

    told = [-float("inf"), float("inf")]  # when, and what

    def report() -> None:
        new = search.best.errors < told[1]
        if on_progress is not None and (new or time.monotonic() - told[0] > 0.2):
            told[:] = [time.monotonic(), search.best.errors]
            point = network()
            value = objective(problem, point)
            low = min(value, cells.offset + cells.scale * search.bound)
            on_progress(Progress(told[0] - began, value, low, search.nodes, point if new else None))

    search.report = report
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        complete = search.run()
    finally:
        done.set()
        watcher.join()
    point = network()
    value = objective(problem, point)
    bound = cells.offset + cells.scale * search.bound
    status = Status.OPTIMAL if proven(value, bound, limits.gap) else reason[0] if reason else Status.LIMIT
    if checkpoint is not None and complete:
        Path(checkpoint).unlink(missing_ok=True)
    elif checkpoint is not None:
        save(checkpoint, key, search.state())
    seconds = time.monotonic() - began
    if on_progress is not None:
        on_progress(Progress(seconds, value, min(bound, value), search.nodes, point))
    messages: tuple[str, ...] = ("the half-planes do not fit into the memory limit",) if search.exhausted else ()
    evidence: dict[str, object] = {"method": "enumeration of maximal half-planes"}
    if path is not None and status is Status.OPTIMAL:
        message = _write(path, problem, cells, [], point, value, evidence)
        messages = messages if message is None else (*messages, message)
    return Outcome(status, point, value, min(bound, value), seconds, search.nodes, "cells", evidence=evidence,
                   messages=messages)  # fmt: skip


__all__ = ["CellProblem", "CellsEngine"]
