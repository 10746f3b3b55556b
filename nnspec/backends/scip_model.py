"""A Program as a PySCIPOpt model.

Linear rows are filled with addCoefLinear, which takes less than half the time of building Python expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from nnspec.backends.common import missing_package
from nnspec.program import Program
from nnspec.program.rows import IndicatorRows, LinearRows, ProductRows, QuadraticRows, Rows, SosRows, UnivariateRows

Rename = Callable[[Iterable[str]], Iterable[str]]


def build(program: Program, rename: Rename = iter) -> tuple[Any, list[Any]]:
    """A PySCIPOpt model of a program with rows SCIP takes, and its variables in the order of the columns.

    `rename` turns the readable names of all variables, or of a block of rows, into the names in the model.
    """
    try:
        from pyscipopt import Model
    except ImportError as e:
        raise missing_package("scip", "PySCIPOpt", "pip install pyscipopt", e) from e
    model = Model(program.name)
    model.hideOutput()
    variables = extend(model, program, rename)
    objective = program.objective.affine
    expression = sum(
        (c * variables[j] for j, c in zip(objective.columns.tolist(), objective.values.tolist())), _constant(0.0)
    )
    model.setObjective(expression, "maximize" if program.sense == "maximize" else "minimize")
    if objective.constant[0]:
        model.addObjoffset(float(objective.constant[0]))
    return model, variables


def extend(model: Any, program: Program, rename: Rename = iter) -> list[Any]:
    """Add a program's variables and rows, not its objective, to a PySCIPOpt model; the variables in their order."""
    infinity = model.infinity()
    add = model.addVar
    lo = [None if v <= -infinity else v for v in program.lo.tolist()]
    hi = [None if v >= infinity else v for v in program.hi.tolist()]
    kinds = ["CIB"[k] for k in program.kinds.tolist()]
    variables = [add(n, k, a, b) for n, k, a, b in zip(rename(program.column_names()), kinds, lo, hi)]
    for rows in program.rows:
        _ADD[type(rows)](model, variables, rows, rename)
    return variables


def _constant(value: float) -> Any:
    from pyscipopt.scip import Expr, Term

    return Expr({Term(): value})


def _limits(rows: LinearRows | QuadraticRows | IndicatorRows, constant: np.ndarray, infinity: float
            ) -> Iterator[tuple[float | None, float | None]]:  # fmt: skip
    """Left and right sides with the constant moved over; None where infinite."""
    for a, b in zip((rows.lo - constant).tolist(), (rows.hi - constant).tolist()):
        yield (None if a <= -infinity else a), (None if b >= infinity else b)


def _add_linear(model: Any, variables: list[Any], rows: LinearRows, rename: Rename) -> None:
    from pyscipopt.scip import Expr, ExprCons

    empty, add, coefficient = Expr({}), model.addCons, model.addCoefLinear
    ends, columns, values = rows.affine.indptr.tolist(), rows.affine.columns.tolist(), rows.affine.values.tolist()
    sides = _limits(rows, rows.affine.constant, model.infinity())
    for k, (name, (lo, hi)) in enumerate(zip(rename(rows.row_names()), sides)):
        if lo is None and hi is None:
            continue
        row = add(ExprCons(empty, lo, hi), name)
        for t in range(ends[k], ends[k + 1]):
            coefficient(row, variables[columns[t]], values[t])


def _add_quadratic(model: Any, variables: list[Any], rows: QuadraticRows, rename: Rename) -> None:
    from pyscipopt.scip import Expr, ExprCons, Term

    q, affine = rows.quadratic, rows.quadratic.affine
    terms: list[dict[Any, float]] = [{} for _ in range(rows.count)]
    for k, i, j, c in zip(q.rows.tolist(), q.left.tolist(), q.right.tolist(), q.values.tolist()):
        terms[k][Term(variables[i], variables[j])] = c
    for k, j, c in zip(affine.rows.tolist(), affine.columns.tolist(), affine.values.tolist()):
        terms[k][Term(variables[j])] = c
    sides = _limits(rows, affine.constant, model.infinity())
    for name, term, (lo, hi) in zip(rename(rows.row_names()), terms, sides):
        if lo is not None or hi is not None:
            model.addCons(ExprCons(Expr(term), lo, hi), name)


def _add_products(model: Any, variables: list[Any], rows: ProductRows, rename: Rename) -> None:
    from pyscipopt.scip import Expr, ExprCons, Term

    for name, z, x, y in zip(rename(rows.row_names()), rows.z.tolist(), rows.x.tolist(), rows.y.tolist()):
        expression = Expr({Term(variables[x], variables[y]): 1.0, Term(variables[z]): -1.0})
        model.addCons(ExprCons(expression, 0.0, 0.0), name)


def _add_univariate(model: Any, variables: list[Any], rows: UnivariateRows, rename: Rename) -> None:
    for name, y, x in zip(rename(rows.row_names()), rows.y.tolist(), rows.x.tolist()):
        model.addCons(variables[y] == _function(rows, variables[x]), name)


def _function(rows: UnivariateRows, x: Any) -> Any:
    import pyscipopt as scip

    match rows.function:
        case "exp":
            return scip.exp(x)
        case "log":
            return scip.log(x)
        case "sqrt":
            return scip.sqrt(x)
        case "sin":
            return scip.sin(x)
        case "cos":
            return scip.cos(x)
        case "abs":
            return abs(x)
        case "power":
            return x**rows.exponent
        case "tanh":  # the only one of the equal forms of tanh for which SCIP finds good bounds: x occurs once
            return 1 - 2 / (1 + scip.exp(2 * x))
        case "sigmoid":
            return 1 / (1 + scip.exp(-x))
        case "softplus":
            return scip.log(1 + scip.exp(x))
        case "silu":
            return x / (1 + scip.exp(-x))
    raise AssertionError(f"bridges let {rows.function} through to SCIP")


def _add_indicators(model: Any, variables: list[Any], rows: IndicatorRows, rename: Rename) -> None:
    from pyscipopt.scip import Expr, ExprCons, Term

    affine = rows.affine
    ends, columns, values = affine.indptr.tolist(), affine.columns.tolist(), affine.values.tolist()
    sides = _limits(rows, affine.constant, model.infinity())
    for k, (name, (lo, hi)) in enumerate(zip(rename(rows.row_names()), sides)):
        binary, active = variables[rows.binary[k]], bool(rows.active[k])
        entries = [(Term(variables[columns[t]]), values[t]) for t in range(ends[k], ends[k + 1])]
        if hi is not None:  # SCIP's indicators are one-sided
            row = ExprCons(Expr(dict(entries)), rhs=hi)
            model.addConsIndicator(row, binary, active, name if lo is None else f"{name}.upper")
        if lo is not None:
            row = ExprCons(Expr({t: -c for t, c in entries}), rhs=-lo)
            model.addConsIndicator(row, binary, active, name if hi is None else f"{name}.lower")


def _add_sos(model: Any, variables: list[Any], rows: SosRows, rename: Rename) -> None:
    add = model.addConsSOS1 if rows.order == 1 else model.addConsSOS2
    weights = [float(k) for k in range(1, rows.columns.shape[1] + 1)]
    for name, columns in zip(rename(rows.row_names()), rows.columns.tolist()):
        add([variables[j] for j in columns], weights, name)


_ADD: dict[type[Rows], Any] = {
    LinearRows: _add_linear, QuadraticRows: _add_quadratic, ProductRows: _add_products,
    UnivariateRows: _add_univariate, IndicatorRows: _add_indicators, SosRows: _add_sos,
}  # fmt: skip
