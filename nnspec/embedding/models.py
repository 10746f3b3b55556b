"""What embedding needs of each modelling library: bounds of an input, adding a program, an equation.

Inputs may be variables or linear expressions of the model; infinite bounds stay infinite, the caller decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Protocol

from nnspec.backends.bridges import bridge
from nnspec.backends.interface import Takes
from nnspec.errors import Diagnostic, UsageError
from nnspec.program import Program

INFINITE = 1e20  # SCIP's infinity; Gurobi's is 1e100


class Library(Protocol):
    """One modelling library."""

    name: str  # the backend whose encodings suit it
    takes: Takes

    def bounds(self, x: Any) -> tuple[float, float]: ...

    def add(self, model: Any, name: str, program: Program) -> tuple[Any, list[Any]]:
        """Add variables and rows; returns what holds them (or None) and the variables in order."""

    def equate(self, model: Any, holder: Any, name: str, pairs: list[tuple[Any, Any]]) -> None:
        """Equations between inputs of the network and what the user gave for them."""


class Scip:
    name = "scip"

    def __init__(self) -> None:
        from nnspec.backends.scip import ScipBackend

        self.takes = ScipBackend.takes

    def bounds(self, x: Any) -> tuple[float, float]:
        from pyscipopt.scip import Expr, Variable

        if isinstance(x, Variable):
            return _cut(x.getLbOriginal()), _cut(x.getUbOriginal())
        if isinstance(x, Expr):
            terms = []
            for term, factor in x.terms.items():
                if len(term.vartuple) > 1:
                    return -math.inf, math.inf
                terms.append((factor, self.bounds(term.vartuple[0]) if term.vartuple else (1.0, 1.0)))
            return _sum(terms)
        return _number(x)

    def add(self, model: Any, name: str, program: Program) -> tuple[Any, list[Any]]:
        from nnspec.backends.scip_model import extend

        return None, extend(model, program)

    def equate(self, model: Any, holder: Any, name: str, pairs: list[tuple[Any, Any]]) -> None:
        for k, (inner, outer) in enumerate(pairs):
            model.addCons(inner - outer == 0, f"{name}.input[{k}]")


class Gurobi:
    name = "gurobi"

    def __init__(self) -> None:
        from nnspec.backends.gurobi import GurobiBackend

        self.takes = GurobiBackend().takes

    def bounds(self, x: Any) -> tuple[float, float]:
        import gurobipy

        if isinstance(x, gurobipy.Var):
            return _cut(x.LB), _cut(x.UB)
        if isinstance(x, gurobipy.LinExpr):
            terms = [(x.getCoeff(k), self.bounds(x.getVar(k))) for k in range(x.size())]
            return _sum([*terms, (x.getConstant(), (1.0, 1.0))])
        return (-math.inf, math.inf) if isinstance(x, gurobipy.QuadExpr) else _number(x)

    def add(self, model: Any, name: str, program: Program) -> tuple[Any, list[Any]]:
        from nnspec.backends.gurobi_model import extend

        return None, list(extend(model, program).tolist())

    def equate(self, model: Any, holder: Any, name: str, pairs: list[tuple[Any, Any]]) -> None:
        for k, (inner, outer) in enumerate(pairs):
            model.addConstr(inner == outer, f"{name}.input[{k}]")
        model.update()


class Pyomo:
    name = "pyomo"

    def __init__(self) -> None:
        from nnspec.backends.pyomo import EVERYTHING

        # sets are declared too: most solvers behind Pyomo take them
        self.takes = replace(EVERYTHING, rows=EVERYTHING.rows | {"sos1", "sos2"})

    def bounds(self, x: Any) -> tuple[float, float]:
        from pyomo.contrib.fbbt.fbbt import compute_bounds_on_expr

        lo, hi = compute_bounds_on_expr(x)
        return (-math.inf if lo is None else lo), (math.inf if hi is None else hi)

    def add(self, model: Any, name: str, program: Program) -> tuple[Any, list[Any]]:
        import pyomo.environ as pyo

        from nnspec.backends.pyomo_model import build

        block = pyo.Block()
        model.add_component(name, block)
        _, variables = build(program, block)
        block.del_component(block.objective)  # the model has its own
        return block, variables

    def equate(self, model: Any, holder: Any, name: str, pairs: list[tuple[Any, Any]]) -> None:
        import pyomo.environ as pyo

        holder.inputs = pyo.Constraint(range(len(pairs)), rule=lambda _, k: pairs[k][0] == pairs[k][1])


def library_of(model: Any) -> Library:
    """The library that a model is of. Raises UsageError for anything else."""
    packages = {cls.__module__.partition(".")[0] for cls in type(model).__mro__}
    for package, library in (("pyscipopt", Scip), ("gurobipy", Gurobi), ("pyomo", Pyomo)):
        if package in packages:
            found: Library = library()
            if package == "gurobipy":
                model.update()  # before that, new variables have no bounds to read
            return found
    raise UsageError(Diagnostic(
        "NNS340", f"networks are embedded in models of Pyomo, PySCIPOpt and gurobipy, not in {type(model).__name__}"
    ))  # fmt: skip


def fit(program: Program, library: Library) -> Program:
    """The program with what the library lacks rewritten."""
    return bridge(program, library.takes, library.name).program


def entries(x: Any) -> list[Any]:
    """Inputs as a list: of a sequence, an array, a dictionary, an indexed Pyomo variable; one alone counts as one."""
    if hasattr(x, "is_indexed") and x.is_indexed():
        return list(x.values())
    if hasattr(x, "is_variable_type") or type(x).__module__.startswith("pyscipopt.scip"):
        # one Pyomo variable or expression, one SCIP variable or expression; arrays of them are numpy subclasses
        return list(x.flat) if hasattr(x, "flat") else [x]
    if hasattr(x, "values") and callable(x.values):
        return list(x.values())
    if hasattr(x, "tolist"):
        listed = x.tolist()
        return listed if isinstance(listed, list) else [listed]
    return list(x) if isinstance(x, Iterable) else [x]


def _cut(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) >= INFINITE else float(value)


def _sum(terms: list[tuple[float, tuple[float, float]]]) -> tuple[float, float]:
    ends = [(c * a, c * b) if c > 0 else (c * b, c * a) for c, (a, b) in terms if c != 0]
    return sum(a for a, _ in ends), sum(b for _, b in ends)


def _number(x: Any) -> tuple[float, float]:
    try:
        return float(x), float(x)
    except (TypeError, ValueError):
        return -math.inf, math.inf
