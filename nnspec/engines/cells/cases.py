"""One evidence file for all cases of an enforced symmetry: each case writes its own, which are joined at the end."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import replace
from pathlib import Path

from nnspec.engines.cells import CellsEngine
from nnspec.engines.interface import Limits, OnProgress, Outcome, Status
from nnspec.problem.problem import Point, Problem, Tie


class Cases:
    """The engine for the cases of one problem, with a file for each; `join` makes them one."""

    name = CellsEngine.name

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.files: dict[tuple[Tie, ...], Path] = {}

    def accepts(self, problem: Problem) -> str | None:
        return CellsEngine().accepts(problem)

    def begins(self, problem: Problem) -> bool:
        return CellsEngine().begins(problem)

    def solve(self, problem: Problem, limits: Limits = Limits(), start: tuple[Point, ...] = (),  # noqa: B008
              on_progress: OnProgress | None = None, stop: threading.Event | None = None) -> Outcome:  # fmt: skip
        """Solve one case, as CellsEngine does."""
        path = Path(self.folder.name) / f"{len(self.files)}.gz"
        out = CellsEngine(path).solve(problem, limits, start, on_progress, stop)
        if path.exists():
            self.files[problem.ties] = path
        return out

    def join(self, path: Path, cases: int, outcome: Outcome) -> Outcome:
        """The outcome of all cases together, with their file at `path` if each has one."""
        from nnspec.engines.cells.evidence import join

        with self.folder:
            evidence = {k: v for k, v in outcome.evidence.items() if k not in ("file", "bound of the file")}
            outcome = replace(outcome, evidence=evidence)
            if outcome.status not in (Status.OPTIMAL, Status.INFEASIBLE):
                return outcome
            if len(self.files) < cases:
                missing = f"no evidence file: {cases - len(self.files)} of the {cases} cases have none"
                return replace(outcome, messages=(*outcome.messages, missing))
            bound = join(path, list(self.files.values()))
            return replace(outcome, evidence={**evidence, "file": str(path), "bound of the file": bound})


__all__ = ["Cases"]
