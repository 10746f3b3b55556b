"""A trained network as a Program of its own: y = f(x) for x in a box, through the same templates as training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnspec.encodings.compile import compile_problem
from nnspec.problem import expression as ex
from nnspec.problem.network import Network
from nnspec.problem.problem import Constraint, Objective, Problem, Variable
from nnspec.program import Program


@dataclass(frozen=True, eq=False)
class Block:
    """The program, and which of its columns are the network's inputs and outputs (raw units)."""

    program: Program
    inputs: np.ndarray
    outputs: np.ndarray
    errors: Mapping[str, float]  # certified errors of envelopes, by layer


def network_block(network: Network, names: Sequence[str], lo: Sequence[float], hi: Sequence[float],
                  outputs: Sequence[str], encoding: Mapping[str, str] | None = None,
                  backend: str = "") -> Block:  # fmt: skip
    """The program of y = f(x), lo <= x <= hi, with the given names for x and y; y is bounded by what x allows.

    Raises UnsupportedError if a template needs a bound that is infinite.
    """
    x = tuple(ex.VariableRef(name) for name in names)
    variables = {name: Variable(name, float(a), float(b)) for name, a, b in zip(names, lo, hi)}
    variables |= {name: Variable(name) for name in outputs}
    constraints = tuple(
        Constraint(ex.Comparison("==", ex.VariableRef(y), ex.NetworkOutput(network.name, x, k)), f"{y} = f(x)")
        for k, y in enumerate(outputs)
    )
    problem = Problem(network.name, {network.name: network}, {}, variables, Objective("satisfy", None), constraints)
    compiled = compile_problem(problem, encoding, backend="pyscipopt" if backend == "scip" else backend)
    program = compiled.program
    assert compiled.runs is not None
    for k, y in enumerate(outputs):
        low, high = program.bounds(compiled.runs.output(network.name, x, k))
        program.tighten(compiled.variables[y], low, high)

    def columns(wanted: Sequence[str]) -> np.ndarray:
        return np.array([int(compiled.variables[name].columns[0]) for name in wanted])

    return Block(program, columns(names), columns(outputs), compiled.errors)
