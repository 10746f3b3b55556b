"""What embedding needs of each modelling library: ranges of inputs, adding a program, equations.

Inputs may be variables or expressions of the model; infinite ranges stay infinite, the caller decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Protocol

from nnspec.backends.bridges import bridge
from nnspec.backends.interface import Takes
from nnspec.embedding.limits import input_ranges
from nnspec.embedding.sources import GurobiModel, PyomoModel, ScipModel
from nnspec.errors import Diagnostic, UsageError
from nnspec.program import Program


class Library(Protocol):
    """One modelling library."""

    name: str  # the backend whose encodings suit it
    takes: Takes

    def ranges(self, model: Any, inputs: list[Any]) -> list[tuple[float, float]]:
        """What the model's variable bounds and linear constraints say about each input."""

    def add(self, model: Any, name: str, program: Program) -> tuple[Any, list[Any]]:
        """Add variables and rows; returns what holds them (or None) and the variables in order."""

    def equate(self, model: Any, holder: Any, name: str, pairs: list[tuple[Any, Any]]) -> None:
        """Equations between inputs of the network and what the user gave for them."""


class Scip:
    name = "scip"

    def __init__(self) -> None:
        from nnspec.backends.scip import ScipBackend

        self.takes = ScipBackend.takes

    def ranges(self, model: Any, inputs: list[Any]) -> list[tuple[float, float]]:
        return input_ranges(ScipModel(model), inputs)

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

    def ranges(self, model: Any, inputs: list[Any]) -> list[tuple[float, float]]:
        return input_ranges(GurobiModel(model), inputs)

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

    def ranges(self, model: Any, inputs: list[Any]) -> list[tuple[float, float]]:
        from pyomo.contrib.fbbt.fbbt import compute_bounds_on_expr

        found = []
        for x, (low, high) in zip(inputs, input_ranges(PyomoModel(model), inputs)):
            lo, hi = compute_bounds_on_expr(x, ignore_fixed=True)  # knows nonlinear expressions too
            found.append((low if lo is None else max(low, lo), high if hi is None else min(high, hi)))
        return found

    def add(self, model: Any, name: str, program: Program) -> tuple[Any, list[Any]]:
        import pyomo.environ as pyo

        from nnspec.backends.pyomo_model import build

        block = pyo.Block()
        model.add_component(name, block)
        _, variables = build(_without_prefix(program, f"{name}."), block)
        block.del_component(block.objective)  # the model has its own
        return block, variables

    def equate(self, model: Any, holder: Any, name: str, pairs: list[tuple[Any, Any]]) -> None:
        import pyomo.environ as pyo

        holder.inputs = pyo.Constraint(range(len(pairs)), rule=lambda _, k: pairs[k][0] == pairs[k][1])


def _without_prefix(program: Program, prefix: str) -> Program:
    """The same program with shorter names: the Block that it goes into has the prefix's name."""
    named = program.skeleton()
    named.blocks = [replace(block, name=block.name.removeprefix(prefix)) for block in program.blocks]
    named.rows = [replace(rows, name=rows.name.removeprefix(prefix)) for rows in program.rows]
    return named


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
