"""The `boxes` engine: spatial branch-and-bound on the hidden weights of one-hidden-layer networks (docs/boxes.md)."""

from __future__ import annotations

import threading
from pathlib import Path

from nnspec.engines.ahead import compile_parts
from nnspec.engines.boxes import model as form
from nnspec.engines.boxes import uncompiled
from nnspec.engines.boxes.ahead import FIRST
from nnspec.engines.compiled import is_kept, refresh
from nnspec.engines.interface import Limits, OnProgress, Outcome, Status
from nnspec.errors import UnsupportedError, UsageError, diagnostic
from nnspec.problem.problem import Point, Problem
from nnspec.symmetry import enforced, expand


class BoxesEngine:
    """Global optimality for any activation and convex loss with one hidden layer.

    `checkpoint` names a file that the open boxes are written to every minute and at a limit, and that a later solve of
    the same problem goes on from. `certificate` names a file for the finished boxes, which `verify` checks; recording
    costs memory. Only one of them can be given: a checkpoint does not keep finished boxes.
    """

    name = "boxes"

    def __init__(self, checkpoint: Path | str | None = None, certificate: Path | str | None = None) -> None:
        if checkpoint is not None and certificate is not None:
            raise UsageError(diagnostic("NNS172", "a solve with a checkpoint cannot write a certificate",
                                        help="give one of the two"))  # fmt: skip
        self.checkpoint = Path(checkpoint) if checkpoint is not None else None
        self.certificate = Path(certificate) if certificate is not None else None

    def begins(self, problem: Problem) -> bool:
        return False

    def accepts(self, problem: Problem) -> str | None:
        """None if the engine can solve the problem to proof, else the reason in the user's words."""
        try:
            cases = [e.plain for e in expand(problem)] if enforced(problem) else [problem]
        except UnsupportedError as e:
            return str(e)
        return next((m for p in cases if isinstance(m := form.read(p), str)), None)

    def solve(self, problem: Problem, limits: Limits, start: tuple[Point, ...] = (),
              on_progress: OnProgress | None = None, stop: threading.Event | None = None) -> Outcome:  # fmt: skip
        """Solve to the limits; see nnspec.engines.interface. nnspec.engines.run solves the cases of enforced symmetries
        one after the other."""
        model = form.read(problem)
        if isinstance(model, str):
            raise UnsupportedError(diagnostic("NNS170", f"the boxes engine cannot solve this problem: {model}"))
        refresh(Path(__file__).parent)
        if not is_kept(f"{__name__}.arrays", "search.run"):
            if self.checkpoint is None and self.certificate is None and uncompiled.worthwhile(model, limits):
                first = uncompiled.solve(problem, model, limits, on_progress, stop, start)
                if first is not None and (first.status is not Status.LIMIT or uncompiled.used_up(first, limits)):
                    return first
                if first is not None:
                    start, limits = (*start, *((first.point,) if first.point else ())), uncompiled.rest(first, limits)
            compile_parts(("boxes", part) for part in FIRST)
        from nnspec.engines.boxes.driver import Driver

        return Driver(problem, model, limits, on_progress, stop, self.checkpoint, self.certificate).solve(start)
