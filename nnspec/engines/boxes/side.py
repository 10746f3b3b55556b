"""Constraints of a problem as the boxes engine takes them: limits on counts, and linear constraints on weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from nnspec.engines.boxes.supports import COUNTS
from nnspec.problem import expression as ex
from nnspec.problem.network import Network
from nnspec.problem.problem import Problem


@dataclass
class Side:
    """Linear rows low <= a.w <= high by coordinates of the engine, and the limits on counts."""

    rows: list[dict[tuple[str, tuple[int, ...]], float]] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    limits: list[ex.Expression] = field(default_factory=list)


def _comparisons(e: ex.Expression) -> Iterator[ex.Expression]:
    if isinstance(e, ex.And):
        for part in e.parts:
            yield from _comparisons(part)
    else:
        yield e


def constraints(problem: Problem, network: Network) -> Side | str:
    """The constraints of a problem, or the reason why the engine has no place for one."""
    side = Side()
    values = {p.name: p.value for p in problem.parameters() if p.value is not None}
    for c in problem.constraints:
        name = f"the constraint {c.label}" if c.label else "a constraint"
        for e in _comparisons(c.expression):
            if not isinstance(e, ex.Comparison):
                return f"{name} is no comparison, and alternatives are not supported"
            reason = _add(side, e, network, values)
            if reason is not None:
                return f"{name} {reason}"
    return side


def _add(side: Side, e: ex.Comparison, network: Network, values: Mapping[str, np.ndarray]) -> str | None:
    difference = ex.Sum((e.left, ex.Product((ex.Constant(-1.0), e.right))))
    constant, terms = ex.linear_terms(difference)
    sign = -1.0 if e.operator == ">=" else 1.0
    if any(isinstance(a, ex.Size) for _, a in terms):
        if not all(isinstance(a, ex.Size) and a.kind in COUNTS and a.network == network.name for _, a in terms):
            return "mixes sizes with other things; only numbers of weights, neurons and inputs can be limited"
        if e.operator == "==" or any(sign * c < 0 for c, _ in terms):
            return "is no upper limit on numbers of weights, neurons or inputs"
        side.limits.append(e)
        return None
    row: dict[tuple[str, tuple[int, ...]], float] = {}
    for c, a in terms:
        if not isinstance(a, ex.ParameterRef):
            return "is not linear in the weights"
        if a.parameter in values:
            constant += c * float(values[a.parameter][a.index])
        else:
            row[a.parameter, a.index] = row.get((a.parameter, a.index), 0.0) + c
    side.rows.append(row)
    side.low.append(-constant if e.operator in (">=", "==") else -np.inf)
    side.high.append(-constant if e.operator in ("<=", "==") else np.inf)
    return None
