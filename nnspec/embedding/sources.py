"""Linear rows, linear expressions and domains of variables, read from models of Pyomo, PySCIPOpt and gurobipy."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from typing import Any

from nnspec.embedding.limits import Domain, Form, Row

INFINITE = 1e20  # SCIP's infinity; Gurobi's is 1e100


def _cut(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) >= INFINITE else float(value)


def _number(x: Any) -> Form | None:
    """A constant in the place of an input."""
    try:
        return {}, float(x)
    except (TypeError, ValueError):
        return None


class ScipModel:
    """A PySCIPOpt model. Variables are known by their index, since their names need not be unique."""

    def __init__(self, model: Any):
        self.model = model
        self.variables: dict[Hashable, Any] = {v.getIndex(): v for v in model.getVars()}

    def form(self, x: Any) -> Form | None:
        from pyscipopt.scip import Expr

        if not isinstance(x, Expr):
            return _number(x)
        terms: dict[Hashable, float] = {}
        constant = 0.0
        for term, factor in x.terms.items():
            if len(term.vartuple) > 1:
                return None
            if term.vartuple:
                terms[term.vartuple[0].getIndex()] = float(factor)
            else:
                constant = float(factor)
        return terms, constant

    def rows(self) -> Iterator[Row]:
        for row in self.model.getConss():
            if row.isLinear():
                variables, values = self.model.getConsVars(row), self.model.getConsVals(row)
                terms: dict[Hashable, float] = {v.getIndex(): float(c) for v, c in zip(variables, values)}
                yield Row(terms, _cut(self.model.getLhs(row)), _cut(self.model.getRhs(row)))

    def domain(self, key: Hashable) -> Domain:
        v = self.variables[key]
        return Domain(_cut(v.getLbOriginal()), _cut(v.getUbOriginal()), v.vtype() in ("BINARY", "INTEGER"))


class GurobiModel:
    """A gurobipy model. Variables are known by their column."""

    def __init__(self, model: Any):
        self.model = model
        self.variables = model.getVars()

    def form(self, x: Any) -> Form | None:
        import gurobipy

        if isinstance(x, gurobipy.Var):
            return {x.index: 1.0}, 0.0
        if not isinstance(x, gurobipy.LinExpr):
            return _number(x)
        terms: dict[Hashable, float] = {}
        for k in range(x.size()):
            column = x.getVar(k).index
            terms[column] = terms.get(column, 0.0) + x.getCoeff(k)
        return terms, x.getConstant()

    def rows(self) -> Iterator[Row]:
        matrix = self.model.getA()
        ends, columns, values = matrix.indptr.tolist(), matrix.indices.tolist(), matrix.data.tolist()
        rows = self.model.getConstrs()
        for k, (sense, right) in enumerate(zip(self.model.getAttr("Sense", rows), self.model.getAttr("RHS", rows))):
            part = slice(ends[k], ends[k + 1])
            lo, hi = -math.inf if sense == "<" else right, math.inf if sense == ">" else right
            yield Row(dict(zip(columns[part], values[part])), _cut(lo), _cut(hi))

    def domain(self, key: Hashable) -> Domain:
        v = self.variables[key]
        return Domain(_cut(v.LB), _cut(v.UB), v.VType in ("B", "I"))


class PyomoModel:
    """A Pyomo model, or a Block of one: the active constraints of the whole model count.

    Fixed variables count as free within their bounds, since they may be freed later.
    """

    def __init__(self, model: Any):
        self.model = model.model()
        self.variables: dict[Hashable, Any] = {}

    def form(self, x: Any) -> Form | None:
        from pyomo.core.expr.visitor import identify_variables
        from pyomo.repn import generate_standard_repn

        fixed = [v for v in identify_variables(x) if v.fixed]
        for v in fixed:
            v.unfix()
        found = generate_standard_repn(x, quadratic=False)
        for v in fixed:
            v.fixed = True
        if not found.is_linear():
            return None
        self.variables.update((id(v), v) for v in found.linear_vars)
        terms: dict[Hashable, float] = {}
        for v, c in zip(found.linear_vars, found.linear_coefs):
            terms[id(v)] = terms.get(id(v), 0.0) + float(c)
        return terms, float(found.constant)

    def rows(self) -> Iterator[Row]:
        import pyomo.environ as pyo

        for row in self.model.component_data_objects(pyo.Constraint, active=True, descend_into=True):
            form = self.form(row.body)
            if form is not None:
                terms, constant = form
                lo, hi = row.lb, row.ub
                yield Row(terms, -math.inf if lo is None else lo - constant, math.inf if hi is None else hi - constant)

    def domain(self, key: Hashable) -> Domain:
        v = self.variables[key]
        lo, hi = v.bounds
        return Domain(-math.inf if lo is None else lo, math.inf if hi is None else hi, v.is_integer())
