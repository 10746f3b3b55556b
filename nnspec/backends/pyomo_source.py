"""A Program as the text of a Python file that builds the same model with Pyomo, to be read and changed by people."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from nnspec.program import Affine, Program, Quadratic
from nnspec.program.rows import LinearRows, ProductRows, QuadraticRows, Rows, UnivariateRows

_HEAD = '''"""{name}: {columns} variables, {rows} rows. Written by nnspec."""

import pyomo.environ as pyo

inf = float("inf")
model = pyo.ConcreteModel({name!r})

# name: (kind, lower bound, upper bound)
VARIABLES = {{
{variables}
}}
x = model.x = pyo.Var(list(VARIABLES))
for name, (kind, lower, upper) in VARIABLES.items():
    x[name].domain = getattr(pyo, kind)
    x[name].setlb(None if lower == -inf else lower)
    x[name].setub(None if upper == inf else upper)


def tanh(z):
    """In the form for which global solvers find the best bounds."""
    return 1 - 2 / (pyo.exp(2 * z) + 1)


def sigmoid(z):
    return 1 / (1 + pyo.exp(-z))


def softplus(z):
    return pyo.log(1 + pyo.exp(z))


def silu(z):
    return z / (1 + pyo.exp(-z))


c = model.c = pyo.Constraint(pyo.Any)
'''

_TAIL = '''

if __name__ == "__main__":
    from pyomo.contrib.solver.common.factory import SolverFactory

    results = SolverFactory("scip_direct").solve(model)
    print(results.incumbent_objective)
    for name in VARIABLES:
        print(name, x[name].value)
'''

_DOMAINS = {0: "Reals", 1: "Integers", 2: "Binary"}


def source(program: Program) -> str:
    """The text of the file."""
    names = [repr(n) for n in program.column_names()]
    variables = "\n".join(
        f"    {n}: ({_DOMAINS[k]!r}, {_number(lo)}, {_number(hi)}),"
        for n, k, lo, hi in zip(names, program.kinds.tolist(), program.lo.tolist(), program.hi.tolist())
    )
    lines = [_HEAD.format(name=program.name, columns=program.columns, rows=program.row_count, variables=variables)]
    v = [f"x[{n}]" for n in names]
    taken: set[str] = set()
    for rows in program.rows:
        for k, text in enumerate(_rows(rows, v)):
            if text:
                lines.append(f"c[{_unused(rows.row_name(k), taken)!r}] = {text}\n")
    objective = _quadratic(program.objective, v)[0]
    sense = "pyo.minimize" if program.sense == "minimize" else "pyo.maximize"
    lines.append(f"\nmodel.objective = pyo.Objective(expr={objective}, sense={sense})\n")
    lines.append(_TAIL)
    return "".join(lines)


def _unused(name: str, taken: set[str]) -> str:
    first, number = name, 1
    while name in taken:
        number += 1
        name = f"{first}~{number}"
    taken.add(name)
    return name


def _number(value: float) -> str:
    """Exact: repr of a float reads back as the same float."""
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _term(coefficient: float, factor: str, first: bool) -> str:
    sign = "-" if coefficient < 0 else "" if first else "+"
    sign = sign if first else f" {sign} "
    size = abs(coefficient)
    return f"{sign}{factor}" if size == 1 else f"{sign}{_number(size)} * {factor}"


def _sum(terms: list[tuple[float, str]], constant: float) -> str:
    text = "".join(_term(c, factor, k == 0) for k, (c, factor) in enumerate(terms))
    if not text:
        return _number(constant)
    return f"{text} {'-' if constant < 0 else '+'} {_number(abs(constant))}" if constant else text


def _affine_terms(affine: Affine, v: list[str]) -> list[list[tuple[float, str]]]:
    ends, columns, values = affine.indptr.tolist(), affine.columns.tolist(), affine.values.tolist()
    return [[(values[t], v[columns[t]]) for t in range(a, b)] for a, b in itertools.pairwise(ends)]


def _quadratic_terms(q: Quadratic, v: list[str]) -> list[list[tuple[float, str]]]:
    terms = _affine_terms(q.affine, v)
    for k, i, j, c in zip(q.rows.tolist(), q.left.tolist(), q.right.tolist(), q.values.tolist()):
        terms[k].append((c, f"{v[i]} ** 2" if i == j else f"{v[i]} * {v[j]}"))
    return terms


def _quadratic(q: Quadratic, v: list[str]) -> list[str]:
    return [_sum(t, c) for t, c in zip(_quadratic_terms(q, v), q.affine.constant.tolist())]


def _rows(rows: Rows, v: list[str]) -> Iterator[str]:
    """One line a row; empty for rows that hold anyway."""
    if isinstance(rows, LinearRows | QuadraticRows):
        q = Quadratic.of(rows.affine) if isinstance(rows, LinearRows) else rows.quadratic
        terms, constant = _quadratic_terms(q, v), q.affine.constant
        for t, lo, hi in zip(terms, (rows.lo - constant).tolist(), (rows.hi - constant).tolist()):
            yield _bounded(_sum(t, 0.0) if t else "", lo, hi)
    elif isinstance(rows, ProductRows):
        for z, x, y in zip(rows.z.tolist(), rows.x.tolist(), rows.y.tolist()):
            yield f"{v[z]} == {v[x]} * {v[y]}"
    elif isinstance(rows, UnivariateRows):
        for y, x in zip(rows.y.tolist(), rows.x.tolist()):
            yield f"{v[y]} == {_function(rows, v[x])}"
    else:
        raise AssertionError(f"bridges let {rows.kind} rows through to Pyomo")


def _bounded(text: str, lo: float, hi: float) -> str:
    if not text:
        return "" if lo <= 0 <= hi else "pyo.Constraint.Infeasible"
    if lo == hi:
        return f"{text} == {_number(lo)}"
    if np.isinf(lo) and np.isinf(hi):
        return ""
    if np.isinf(lo):
        return f"{text} <= {_number(hi)}"
    if np.isinf(hi):
        return f"{text} >= {_number(lo)}"
    return f"pyo.inequality({_number(lo)}, {text}, {_number(hi)})"


def _function(rows: UnivariateRows, x: str) -> str:
    if rows.function == "power":
        assert rows.exponent is not None
        return f"{x} ** {_number(rows.exponent)}" if rows.exponent >= 0 else f"{x} ** ({_number(rows.exponent)})"
    if rows.function in ("tanh", "sigmoid", "softplus", "silu", "abs"):
        return f"{rows.function}({x})"
    return f"pyo.{rows.function}({x})"
