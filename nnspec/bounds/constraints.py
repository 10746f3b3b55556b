"""Bounds on decision variables that linear constraints imply.

For a row sum a_j x_j <= c every variable obeys a_k x_k <= c - sum_{j != k} min(a_j x_j); repeated until nothing
improves (feasibility-based bound tightening, Davis 1987), rounded outwards. Only comparisons that are linear in
variables take part; integer variables round their bounds inwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from nnspec.problem import expression as ex
from nnspec.problem.problem import Problem

ROUNDS = 20
"""Passes over all rows; a cycle of rows can improve for ever by ever less."""

_SLACK = 1e-12  # relative outward rounding of a derived bound: hundreds of units in the last place


def variable_bounds(problem: Problem) -> dict[str, tuple[float, float]]:
    """Bounds of every variable, from its declaration and from the linear constraints."""
    lo = {v.name: 0.0 if v.kind == "binary" else v.lo for v in problem.variables.values()}
    hi = {v.name: 1.0 if v.kind == "binary" else v.hi for v in problem.variables.values()}
    rows = [row for c in problem.constraints for row in _linear_rows(c.expression)]
    for _ in range(ROUNDS):
        if not any([_tighten(problem, row, lo, hi) for row in rows]):
            break
    return {name: (lo[name], hi[name]) for name in lo}


def _linear_rows(e: ex.Expression) -> Iterator[tuple[float, dict[str, float]]]:
    """Every part of a conjunction that reads sum a_j x_j <= c, as (c, a)."""
    if isinstance(e, ex.And):
        for part in e.parts:
            yield from _linear_rows(part)
    if not isinstance(e, ex.Comparison):
        return
    difference = ex.Sum((e.left, ex.Product((ex.Constant(-1.0), e.right))))
    constant, terms = ex.linear_terms(difference)
    if not all(isinstance(t, ex.VariableRef) for _, t in terms):
        return
    a: dict[str, float] = {}
    for factor, t in terms:
        assert isinstance(t, ex.VariableRef)
        a[t.name] = a.get(t.name, 0.0) + factor
    if e.operator in ("<=", "=="):
        yield -constant, a
    if e.operator in (">=", "=="):
        yield constant, {name: -f for name, f in a.items()}


def _tighten(problem: Problem, row: tuple[float, dict[str, float]], lo: dict[str, float], hi: dict[str, float]) -> bool:
    c, a = row
    least = {n: f * (lo[n] if f > 0 else hi[n]) if f else 0.0 for n, f in a.items()}
    open_ = [n for n, v in least.items() if math.isinf(v)]
    changed = False
    for n, f in a.items():
        if not f or any(m != n for m in open_):
            continue
        rest = math.fsum(v for m, v in least.items() if m != n)
        magnitude = abs(c) + math.fsum(abs(v) for m, v in least.items() if m != n)
        limit = (c - rest + _SLACK * magnitude) / f
        if problem.variables[n].kind != "real":
            limit = math.floor(limit + 1e-9) if f > 0 else math.ceil(limit - 1e-9)
        else:
            limit = float(np.nextafter(limit, math.inf if f > 0 else -math.inf))
        worth = 1e-9 * max(1.0, abs(limit))
        if f > 0 and limit < hi[n] - worth:
            hi[n], changed = limit, True
        elif f < 0 and limit > lo[n] + worth:
            lo[n], changed = limit, True
    return changed
