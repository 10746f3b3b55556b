"""A Program as a gurobipy model: linear rows as sparse matrices, the others one by one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix

from nnspec.program import Affine, Program, Quadratic
from nnspec.program.rows import IndicatorRows, LinearRows, QuadraticRows, Rows, SosRows, UnivariateRows


def build(model: Any, program: Program) -> Any:
    """Adds variables, rows and objective to a gurobipy Model; the MVar of all columns, in order."""
    from gurobipy import GRB

    x = extend(model, program)
    objective = _quadratic_expression(program.objective, x.tolist())[0]
    model.setObjective(objective, GRB.MINIMIZE if program.sense == "minimize" else GRB.MAXIMIZE)
    model.update()
    return x


def extend(model: Any, program: Program) -> Any:
    """Adds variables and rows, not the objective, to a gurobipy Model; the MVar of all columns, in order."""
    from gurobipy import GRB

    kinds = np.array([GRB.CONTINUOUS, GRB.INTEGER, GRB.BINARY])[program.kinds]
    x = model.addMVar(program.columns, program.lo, program.hi, vtype=kinds, name=list(program.column_names()))
    variables = x.tolist()
    for rows in program.rows:
        _ADD[type(rows)](model, x, variables, rows)
    model.update()
    return x


def _sides(rows: LinearRows | QuadraticRows | IndicatorRows, constant: np.ndarray) -> Iterator[tuple[int, str, float]]:
    """(row, sense, right side) of the one or two one-sided rows that a row stands for."""
    for k, (lo, hi) in enumerate(zip((rows.lo - constant).tolist(), (rows.hi - constant).tolist())):
        if lo == hi:
            yield k, "=", hi
        else:
            if hi < np.inf:
                yield k, "<", hi
            if lo > -np.inf:
                yield k, ">", lo


def _add_linear(model: Any, x: Any, variables: list[Any], rows: LinearRows) -> None:
    affine = rows.affine
    matrix = coo_matrix((affine.values, (affine.rows, affine.columns)), shape=(rows.count, x.size)).tocsr()
    sides = list(_sides(rows, affine.constant))
    if not sides:
        return
    numbers = [k for k, _, _ in sides]
    names = rows.row_names()
    senses, right = np.array([s for _, s, _ in sides]), np.array([r for _, _, r in sides])
    model.addMConstr(matrix[numbers], x, senses, right, name=[names[k] for k in numbers])


def _linear_expressions(affine: Affine, variables: list[Any], constant: bool = False) -> list[Any]:
    from gurobipy import LinExpr

    ends, values = affine.indptr.tolist(), affine.values.tolist()
    entries = [variables[j] for j in affine.columns.tolist()]
    result = [LinExpr(values[a:b], entries[a:b]) for a, b in itertools.pairwise(ends)]
    if constant:
        for e, c in zip(result, affine.constant.tolist()):
            e.addConstant(c)
    return result


def _quadratic_expression(q: Quadratic, variables: list[Any]) -> list[Any]:
    from gurobipy import QuadExpr

    result = [QuadExpr(e) for e in _linear_expressions(q.affine, variables, constant=True)]
    starts = np.searchsorted(q.rows, np.arange(q.size + 1)).tolist()
    left, right = ([variables[j] for j in c.tolist()] for c in (q.left, q.right))
    values = q.values.tolist()
    for k, (a, b) in enumerate(itertools.pairwise(starts)):
        result[k].addTerms(values[a:b], left[a:b], right[a:b])
    return result


def _add_quadratic(model: Any, x: Any, variables: list[Any], rows: QuadraticRows) -> None:
    expressions, names = _quadratic_expression(rows.quadratic, variables), rows.row_names()
    for k, sense, right in _sides(rows, np.zeros(rows.count)):
        model.addQConstr(expressions[k], sense, right, names[k])


def _add_univariate(model: Any, x: Any, variables: list[Any], rows: UnivariateRows) -> None:
    for name, i, j in zip(rows.row_names(), rows.y.tolist(), rows.x.tolist()):
        if rows.function == "abs":
            model.addGenConstrAbs(variables[i], variables[j], name)
        else:
            model.addConstr(variables[i] == _function(rows, variables[j]), name)


def _function(rows: UnivariateRows, x: Any) -> Any:
    from gurobipy import nlfunc

    match rows.function:
        case "exp" | "log" | "sqrt" | "sin" | "cos" | "tanh":
            return getattr(nlfunc, rows.function)(x)
        case "power":
            return x**rows.exponent
        case "sigmoid":
            return nlfunc.logistic(x)
        case "softplus":
            return nlfunc.log(1.0 + nlfunc.exp(x))
        case "silu":
            return x * nlfunc.logistic(x)
    raise AssertionError(f"bridges let {rows.function} through to Gurobi")


def _add_indicators(model: Any, x: Any, variables: list[Any], rows: IndicatorRows) -> None:
    expressions, names = _linear_expressions(rows.affine, variables), rows.row_names()
    for k, sense, right in _sides(rows, rows.affine.constant):
        binary = variables[rows.binary[k]]
        model.addGenConstrIndicator(binary, bool(rows.active[k]), expressions[k], sense, right, names[k])


def _add_sos(model: Any, x: Any, variables: list[Any], rows: SosRows) -> None:
    weights = list(range(1, rows.columns.shape[1] + 1))
    for columns in rows.columns.tolist():
        model.addSOS(rows.order, [variables[j] for j in columns], weights)


_ADD: dict[type[Rows], Any] = {
    LinearRows: _add_linear, QuadraticRows: _add_quadratic, UnivariateRows: _add_univariate,
    IndicatorRows: _add_indicators, SosRows: _add_sos,
}  # fmt: skip
