"""What a reduction is: a smaller or easier problem with the same optimum, and the way back.

`applies` is cheap and says None or, in the user's words, why the reduction steps aside; `apply` gives the cases whose
best optimum is that of the problem (mostly one case; scaling gives one for each choice of signs). `inverse` maps a
point of a case to a point of the problem with the same objective, `forward` the other way: start points survive.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from nnspec.problem.problem import Point, Problem

Forward = Callable[[Point], Point | None]
Inverse = Callable[[Point], Point]


@dataclass(frozen=True, eq=False)
class Case:
    """A reduced problem. `forward` gives None for points that belong to another case.

    `exact`: every point of the case maps back to a feasible point that is at least as good. Otherwise the case is a
    relaxation: its bounds hold for the problem, its points must be judged after `inverse`.
    `lower` is a bound in the minimising sense that came with the reduction, from `lower_source`: it holds for all
    points of the problem that belong to the case. `points` are points of the case worth trying.
    """

    problem: Problem
    inverse: Inverse
    forward: Forward
    label: str = ""
    exact: bool = True
    lower: float = -math.inf
    lower_source: str = ""
    points: tuple[Point, ...] = ()


@dataclass(frozen=True, eq=False)
class Reduced:
    """The cases of a reduction and what was done, in a phrase for `--explain`."""

    cases: tuple[Case, ...]
    summary: str


class Reduction(Protocol):
    """`upper` is the objective of a known point (minimising), infinite without one."""

    name: str

    def applies(self, problem: Problem, upper: float) -> str | None: ...

    def apply(self, problem: Problem, upper: float) -> Reduced: ...


def identity(point: Point) -> Point:
    return point


def compose(outer: Case, inner: Case) -> Case:
    """The case `inner` of the problem of `outer`, as a case of the problem that `outer` belongs to."""

    def forward(point: Point) -> Point | None:
        middle = outer.forward(point)
        return None if middle is None else inner.forward(middle)

    label = ", ".join(x for x in (outer.label, inner.label) if x)
    stronger = inner if inner.lower >= outer.lower else outer
    points = (*inner.points, *(q for p in outer.points if (q := inner.forward(p)) is not None))
    return Case(inner.problem, lambda p: outer.inverse(inner.inverse(p)), forward, label, outer.exact and inner.exact,
                stronger.lower, stronger.lower_source, points)  # fmt: skip
