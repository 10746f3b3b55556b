"""Keeps the best point seen so far, by the values that `nnspec.problem.evaluate` gives, not by the solver's."""

from __future__ import annotations

import math

from nnspec.problem import evaluate
from nnspec.problem import expression as ex
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
        self.last_violation = ""

    def consider(self, point: Point) -> Point | None:
        """The point if it is the best feasible one so far, else None."""
        objective = self._value(point)
        if objective is None or not self._better(objective):
            return None
        self.point, self.objective = point, objective
        return point

    def _value(self, point: Point) -> float | None:
        """The objective, None for points that violate something."""
        broken = evaluate.violations(self.problem, point, tolerance=ACCEPTED)
        if broken:
            worst = max(broken, key=lambda v: v.amount)
            self.last_violation = f"{worst.what} is violated by {worst.amount:.2g}"
            return None
        objective = evaluate.objective(self.problem, point)
        return None if math.isnan(objective) else objective

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


def floor(e: ex.Expression | None) -> float:
    """A lower bound that every value of an expression has by its form: losses and sizes are never negative."""
    match e:
        case ex.Constant(value=v):
            return v
        case ex.Loss() | ex.Size():
            return 0.0
        case ex.Sum(terms=terms):
            return math.fsum(floor(t) for t in terms) if all(floor(t) > -math.inf for t in terms) else -math.inf
        case ex.Product(factors=factors):
            return 0.0 if all(floor(f) >= 0 for f in factors) else -math.inf
        case ex.Power(exponent=k) if k % 2 == 0:
            return 0.0
        case ex.Function(name="abs" | "sqrt" | "exp"):
            return 0.0
    return -math.inf
