"""Ranges of a network's inputs, from the bounds of a user's variables and from the linear constraints on them.

The inputs' variables are tightened by the rows that contain them, by the rows of those rows' variables, and so on
outwards, up to MOST_TERMS coefficients (feasibility-based bound tightening, as in `nnspec.bounds.constraints`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from nnspec.bounds.constraints import variable_bounds
from nnspec.problem import expression as ex
from nnspec.problem.problem import Constraint, Objective, Problem, Variable

MOST_TERMS = 20_000
"""Coefficients of rows that take part: a second of work. Rows further away from the inputs rarely bound them."""

Form = tuple[dict[Hashable, float], float]
"""A linear expression: coefficients by variable, and a constant."""


@dataclass(frozen=True)
class Domain:
    """The range of a variable of the user's model."""

    lo: float
    hi: float
    whole: bool = False  # integers only


@dataclass(frozen=True)
class Row:
    """lo <= sum of coefficients times variables <= hi."""

    terms: dict[Hashable, float]
    lo: float
    hi: float


class Source(Protocol):
    """A user's model, read."""

    def form(self, x: Any) -> Form | None:
        """An input as a linear expression; None if it is not one."""

    def rows(self) -> Iterable[Row]:
        """The linear rows of the model."""

    def domain(self, key: Hashable) -> Domain: ...


def input_ranges(source: Source, inputs: list[Any]) -> list[tuple[float, float]]:
    """The range of each input that is linear in the model's variables; infinite for the others and where nothing
    bounds it."""
    forms = [source.form(x) for x in inputs]
    wanted = {key for form in forms if form is not None for key in form[0]}
    domains: dict[Hashable, Domain] = {}
    rows = list(_near(source.rows(), wanted))
    for key in [*wanted, *(k for row in rows for k in row.terms)]:
        if key not in domains:
            domains[key] = source.domain(key)
    bounds = _tightened(domains, rows)
    return [(-math.inf, math.inf) if form is None else _range(form, bounds) for form in forms]


def _near(rows: Iterable[Row], wanted: set[Hashable]) -> Iterator[Row]:
    """The rows around the wanted variables, nearest first."""
    containing: dict[Hashable, list[Row]] = {}
    for row in rows:
        for key in row.terms:
            containing.setdefault(key, []).append(row)
    seen, taken, terms = set(wanted), set(), 0
    layer = list(wanted)
    while layer:
        following = []
        for key in layer:
            for row in containing.get(key, []):
                if id(row) in taken:
                    continue
                terms += len(row.terms)
                if terms > MOST_TERMS:
                    return
                taken.add(id(row))
                yield row
                following += [k for k in row.terms if k not in seen]
                seen.update(row.terms)
        layer = following


def _tightened(domains: dict[Hashable, Domain], rows: list[Row]) -> dict[Hashable, tuple[float, float]]:
    """What rows and domains together say; the domains alone where they contradict each other."""
    names = {key: str(k) for k, key in enumerate(domains)}
    variables = {
        names[key]: Variable(names[key], d.lo, d.hi, "int" if d.whole else "real") for key, d in domains.items()
    }
    constraints = []
    for row in rows:
        total = ex.Sum(tuple(ex.Product((ex.Constant(c), ex.VariableRef(names[k]))) for k, c in row.terms.items()))
        sides = [("==", row.lo)] if row.lo == row.hi else [(">=", row.lo), ("<=", row.hi)]
        constraints += [Constraint(ex.Comparison(o, total, ex.Constant(v))) for o, v in sides if math.isfinite(v)]
    found = variable_bounds(Problem("ranges", {}, {}, variables, Objective("satisfy", None), tuple(constraints)))
    if any(lo > hi for lo, hi in found.values()):  # the model is infeasible: its solver will say so
        return {key: (d.lo, d.hi) for key, d in domains.items()}
    return {key: found[name] for key, name in names.items()}


def _range(form: Form, bounds: dict[Hashable, tuple[float, float]]) -> tuple[float, float]:
    """Interval bounds of a linear expression."""
    terms, constant = form
    lo = hi = constant
    for key, c in terms.items():
        if c:
            a, b = bounds[key]
            lo, hi = lo + (c * a if c > 0 else c * b), hi + (c * b if c > 0 else c * a)
    if len(terms) == 1 and constant == 0 and next(iter(terms.values())) == 1:
        return lo, hi
    slack = 1e-12 * (abs(constant) + sum(abs(c) * max(map(abs, bounds[k])) for k, c in terms.items() if c))
    return (lo, hi) if math.isinf(slack) else (lo - slack, hi + slack)
