"""nnspec embed: a trained network as rows of an optimisation model, in a file for any solver."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from nnspec.cli import options

if TYPE_CHECKING:
    from nnspec.problem.problem import Problem


@click.command("embed")
@click.argument("network", metavar="FILE")
@click.option("-x", "--input", "ranges", multiple=True, required=True, metavar="[NAME=]LO..HI",
              help="Range of an input, in order; one for all if given once.")  # fmt: skip
@click.option(
    "-o", "--output", required=True, type=click.Path(), metavar="FILE", help="File: .cip .lp .mps .nl .gms .py."
)
@click.option("--encoding", multiple=True, metavar="WHAT=NAME", help="Template: relu=sos1.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(network: str, ranges: tuple[str, ...], output: str, encoding: tuple[str, ...], force: bool) -> None:
    """Write y = f(x) for the network in FILE (.onnx) as an optimisation model without an objective.

    The inputs are variables with the given ranges, the outputs variables y[0], y[1] ...; add what you want of them.
    In Python, nnspec.embed puts a network inside a Pyomo, PySCIPOpt or gurobipy model.
    """
    from pathlib import Path

    from nnspec.backends.files import write
    from nnspec.encodings.compile import compile_problem

    path = Path(output)
    if path.exists() and not force:
        raise options.usage(f"{output!r} exists already", "choose another name, or allow it with --force")
    problem = block(network, ranges)
    program = compile_problem(problem, options.pairs(encoding, "--encoding", "WHAT=NAME, like relu=sos1")).program
    try:
        write(program, path)
    except OSError as error:
        raise options.usage(f"cannot write {output!r}: {error.strerror}") from None
    click.echo(f"{output}: {program.columns} variables, {program.row_count} rows")


def block(file: str, ranges: tuple[str, ...]) -> Problem:
    """The problem "find x in its box and y = f(x)"."""
    from nnspec.formats import read_network
    from nnspec.problem import expression as ex
    from nnspec.problem.problem import Constraint, Objective, Problem, Variable

    network = read_network(file, "f")
    inputs = [_range(text, k) for k, text in enumerate(ranges)]
    if len(inputs) == 1 and network.input_size > 1:
        inputs = [(f"x[{k}]", *inputs[0][1:]) for k in range(network.input_size)]
    if len(inputs) != network.input_size:
        raise options.usage(f"{file!r} takes {network.input_size} inputs, and {len(inputs)} ranges are given")
    variables = {name: Variable(name, lo, hi) for name, lo, hi in inputs}
    if len(variables) != len(inputs):
        raise options.usage("two inputs have the same name")
    x = tuple(ex.VariableRef(name) for name in variables)
    outputs = [f"y[{k}]" for k in range(network.output_size)]
    constraints = tuple(
        Constraint(ex.Comparison("==", ex.VariableRef(y), ex.NetworkOutput("f", x, k)), f"output {k}")
        for k, y in enumerate(outputs)
    )
    variables |= {y: Variable(y) for y in outputs}
    return Problem("f", {"f": network}, {}, variables, Objective("satisfy", None), constraints)


def _range(text: str, k: int) -> tuple[str, float, float]:
    """'age=0..100' or '0..100' as a name and two numbers."""
    name, separator, interval = text.rpartition("=")
    match = re.fullmatch(r"\s*(-?[\d.eE+-]+?)\s*\.\.\s*(-?[\d.eE+-]+)\s*", interval)
    try:
        lo, hi = (float(match[1]), float(match[2])) if match else (1.0, 0.0)
    except ValueError:
        lo, hi = 1.0, 0.0
    if not lo <= hi:
        raise options.usage(f"--input takes [NAME=]LO..HI, like 0..1 or age=0..100, not {text!r}")
    return (name.strip() if separator else f"x[{k}]"), lo, hi
