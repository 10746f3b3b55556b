"""The `cells` engine: branch-and-bound over activation patterns of one hidden layer of piecewise-linear neurons.

docs/cells.md derives the method. This module imports no compiled kernels; `solve` does.
"""

from __future__ import annotations

import os
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
from nnspec.tolerances import GAP_ABSOLUTE, proven

if TYPE_CHECKING:
    from nnspec.engines.cells.claims import PartProof
    from nnspec.engines.cells.driver import State
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
        kernel = "search_errors.search_errors" if cells.kind == "errors" else (
            "search_convex.search_convex" if cells.general else "search.explore")  # fmt: skip
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
        if cells.supports or cells.general or cells.kind == "errors":
            return _solve_union(problem, cells, limits, start, on_progress, stop, self.evidence, self.checkpoint)
        return _solve(problem, cells, limits, start, on_progress, stop, self.evidence, self.checkpoint)


def _solve(problem: Problem, cells: CellProblem, limits: Limits, start: tuple[Point, ...],
           on_progress: OnProgress | None, stop: threading.Event | None, path: str | Path | None,
           checkpoint: str | Path | None) -> Outcome:  # fmt: skip
    from nnspec.engines.cells.checkpoint import Saved, fingerprint, load, save, values_of
    from nnspec.engines.cells.claims import plain_proof
    from nnspec.engines.cells.driver import Search, Stopped
    from nnspec.engines.cells.normal import REACH, denormalise, normalise, renormalise

    began = time.monotonic()
    normal = normalise(cells)

    def units(value: float) -> float:
        return cells.offset + cells.scale * normal.unit_loss * value

    best: list[tuple[float, Point]] = []
    told = [-float("inf"), -float("inf")]

    def consider(point: Point) -> bool:
        value = objective(problem, point)
        if best and value >= best[0][0]:
            return False
        best[:] = [(value, point)]
        return True

    def report(state: State, bound: float) -> None:
        new = state.best is not None and consider(
            cells.point(*denormalise(normal, cells, state.best, state.best_signs))
        )
        value = units(bound)
        told[0] = max(told[0], value)
        now = time.monotonic()
        if on_progress is not None and (new or now - told[1] > 0.2):
            told[1] = now
            on_progress(Progress(now - began, best[0][0], told[0], state.nodes, best[0][1] if new else None))

    # loss <= gap * objective: an offset or merged duplicates make the objective larger or smaller than the loss
    search = Search(
        normal, cells.neurons, 0.99 * limits.gap, GAP_ABSOLUTE / (cells.scale * normal.unit_loss),
        limits.threads or os.cpu_count() or 1, limits.seed,
        began + limits.time if limits.time is not None else None, limits.nodes, stop, report,
        None if limits.memory is None else 1e6 * limits.memory,
    )  # fmt: skip
    for point in start:
        theta, signs = renormalise(normal, cells, *cells.reduced(point))
        consider(point)
        search.state.theta, search.state.signs = theta, signs
    key = fingerprint(cells, limits.gap)
    if checkpoint is not None and Path(checkpoint).exists():
        saved = load(checkpoint, key)
        search.state, told[0] = saved.states[0], max(saved.bounds[0], units(saved.states[0].proven[-1]))
        known = saved.incumbent(problem)
        if known is not None:
            consider(known)
    status = Status.OPTIMAL
    try:
        told[0] = max(told[0], units(search.run()))
    except Stopped as reason:
        status = Status.INTERRUPTED if str(reason) == "stop" else Status.LIMIT
        if checkpoint is not None:
            save(checkpoint, key, Saved([search.state], told[:1], values_of(problem, best[0][1] if best else None)))
    finally:
        search.pool.shutdown()
    report(search.state, 0.0)
    if checkpoint is not None and status is Status.OPTIMAL:
        Path(checkpoint).unlink(missing_ok=True)
    value, point = best[0]
    bound = min(told[0], value)
    if status is Status.OPTIMAL and not proven(value, bound, limits.gap * (1 + 1e-9)):
        status = Status.LIMIT
    evidence: dict[str, object] = {"method": "branch-and-bound over activation patterns",
                                   "subsets proven": len(search.state.proofs), "reach": REACH}  # fmt: skip
    messages: tuple[str, ...] = ()
    if not search.enough:
        messages = ("the memory limit leaves no room for the cells of the first samples",)
    if path is not None and status is Status.OPTIMAL:
        proof = plain_proof(search.state, cells.neurons, normal.unit_loss)
        message = _write(path, problem, cells, [proof], point, value, evidence)
        messages = () if message is None else (message,)
    return Outcome(status, point, value, bound, time.monotonic() - began, search.state.nodes, "cells",
                   evidence=evidence, messages=messages)  # fmt: skip


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

    network = None if out.point is None else cells.values(out.point)
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
