"""Keeps the best point seen so far, by the values that `nnspec.problem.evaluate` gives, not by the solver's."""

from __future__ import annotations

import math

from nnspec.problem import evaluate
from nnspec.problem.problem import Point, Problem
from nnspec.tolerances import FEASIBILITY, LOSS_MISMATCH

ACCEPTED = 10 * FEASIBILITY
"""A point that violates a constraint of the spec by more than this is not accepted. Solvers allow FEASIBILITY a row
relative to its size, and a user's constraint may need several rows."""


class Judge:
    """`consider` evaluates a point; `point` and `objective` are those of the best feasible one."""

    def __init__(self, problem: Problem):
        self.problem = problem
        self.point: Point | None = None
        self.objective: float | None = None
        self.amount = math.inf  # largest violation of the best point, all of them below ACCEPTED
        self.last_violation = ""

    def consider(self, point: Point) -> Point | None:
        """The point if it is the best feasible one so far, else None."""
        broken = evaluate.violations(self.problem, point, tolerance=ACCEPTED)
        if broken:
            worst = max(broken, key=lambda v: v.amount)
            self.last_violation = f"{worst.what} is violated by {worst.amount:.2g}"
            return None
        objective = evaluate.objective(self.problem, point)
        if math.isnan(objective) or not self._better(objective):
            return None
        self.point, self.objective = point, objective
        return point

    def _better(self, objective: float) -> bool:
        if self.objective is None:
            return True
        return objective < self.objective if self.problem.minimize else objective > self.objective

    def falls_short(self, claimed: float | None) -> bool:
        """Whether the best judged value is visibly worse than what the solver claims, or nothing was accepted."""
        if self.objective is None or claimed is None:
            return True
        worse = self.objective - claimed if self.problem.minimize else claimed - self.objective
        return worse > 0.1 * LOSS_MISMATCH * max(1.0, abs(claimed))
