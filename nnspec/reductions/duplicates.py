"""Duplicate samples become one sample with a multiplicity (T12 in the literature: sufficient statistics).

Samples with equal inputs get the same outputs o from every network, so a loss on them depends on o alone:
- sum of squares: sum_m c_m (o - y_m)^2 = C (o - mean)^2 + sum_m c_m (y_m - mean)^2 with C = sum c_m, and the last term
  is added to the objective as a constant (divided likewise for mse);
- any other sum over samples: samples with equal inputs and equal targets merge, C = sum c_m;
- max_error: the multiplicity does not matter, equal samples merge.
The set of weights stays as it is, and so does every objective value: inverse and forward are identities.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nnspec.problem import expression as ex
from nnspec.problem.data import DataSet
from nnspec.problem.problem import Constraint, Problem
from nnspec.reductions.interface import Case, Reduced, identity
from nnspec.reductions.structure import expressions

_SQUARES = ("sse", "mse")


class Duplicates:
    name = "duplicate samples"

    def applies(self, problem: Problem, upper: float) -> str | None:
        if any(self._groups(problem, data) is not None for data in problem.data.values()):
            return None
        return "no sample occurs twice"

    def _groups(self, problem: Problem, data: DataSet) -> tuple[np.ndarray, bool] | None:
        """Group number of each sample and whether targets may differ within a group; None if nothing merges."""
        losses = [e for e in expressions(problem) if isinstance(e, ex.Loss) and e.data == data.name]
        if not losses or data.samples < 2:
            return None
        squares = all(e.kind in _SQUARES for e in losses)
        rows = data.x if squares else np.hstack([data.x, data.y.reshape(data.samples, -1)])
        _, groups = np.unique(rows + 0.0, axis=0, return_inverse=True)  # -0.0 is 0.0
        groups = groups.reshape(-1)
        return (groups, squares) if groups.max() + 1 < data.samples else None

    def apply(self, problem: Problem, upper: float) -> Reduced:
        merged, constants, before, after = {}, {}, 0, 0
        for data in problem.data.values():
            found = self._groups(problem, data)
            if found is None:
                merged[data.name] = data
                continue
            merged[data.name], constants[data.name] = _merge(data, found[0])
            before, after = before + data.samples, after + merged[data.name].samples
        objective = problem.objective
        if objective.expression is not None:
            objective = replace(objective, expression=_with_constants(objective.expression, problem, constants))
        constraints = tuple(
            replace(c, expression=_with_constants(c.expression, problem, constants)) if isinstance(c, Constraint) else c
            for c in problem.constraints
        )
        reduced = replace(problem, data=merged, objective=objective, constraints=constraints)
        return Reduced((Case(reduced, identity, identity),), f"{before} samples merged into {after}")


def _merge(data: DataSet, groups: np.ndarray) -> tuple[DataSet, float]:
    """One sample a group, in the order of first occurrence, and sum c (y - mean)^2."""
    c = np.ones(data.samples) if data.weights is None else data.weights
    y = data.y.reshape(data.samples, -1)
    total = np.bincount(groups, weights=c)
    mean = np.stack([np.bincount(groups, weights=c * column) for column in y.T], axis=1) / total[:, None]
    _, first = np.unique(groups, return_index=True)
    alike = np.array([bool(np.all(y[groups == g] == y[i])) for g, i in enumerate(first)])
    mean[alike] = y[first][alike]  # equal targets (class numbers too) stay exactly what they are
    spread = float(c @ ((y - mean[groups]) ** 2).sum(axis=1))
    order = np.argsort(first)
    rows = tuple(data.rows[i] for i in first[order]) if data.rows else ()
    merged = replace(data, x=data.x[first[order]], y=mean[order], weights=total[order], rows=rows)
    return merged, spread


def _with_constants(e: ex.Expression, problem: Problem, constants: dict[str, float]) -> ex.Expression:
    """Every squared loss with the constant of its data set added."""
    match e:
        case ex.Loss(kind="sse" | "mse" as kind, data=name) if constants.get(name, 0.0) > 0:
            data = problem.data[name]
            c = float(data.samples if data.weights is None else data.weights.sum())
            outputs = problem.networks[e.network].output_size
            constant = constants[name] / (c * outputs if kind == "mse" else 1.0)
            return ex.Sum((e, ex.Constant(constant)), span=e.span)
        case ex.Sum(terms=parts):
            return replace(e, terms=tuple(_with_constants(p, problem, constants) for p in parts))
        case ex.Product(factors=parts):
            return replace(e, factors=tuple(_with_constants(p, problem, constants) for p in parts))
        case ex.And(parts=parts) | ex.Or(parts=parts):
            return replace(e, parts=tuple(_with_constants(p, problem, constants) for p in parts))
        case ex.Function(arguments=parts):
            return replace(e, arguments=tuple(_with_constants(p, problem, constants) for p in parts))
        case ex.Quotient(numerator=a, denominator=b):
            a, b = (_with_constants(p, problem, constants) for p in (a, b))
            return replace(e, numerator=a, denominator=b)
        case ex.Comparison(left=a, right=b):
            a, b = (_with_constants(p, problem, constants) for p in (a, b))
            return replace(e, left=a, right=b)
        case ex.Implies(premise=a, conclusion=b):
            a, b = (_with_constants(p, problem, constants) for p in (a, b))
            return replace(e, premise=a, conclusion=b)
        case ex.Power(base=a):
            return replace(e, base=_with_constants(a, problem, constants))
        case ex.Not(part=a):
            return replace(e, part=_with_constants(a, problem, constants))
    return e
