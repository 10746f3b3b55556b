"""nnspec embed: a trained network as rows of an optimisation model, in a file for any solver."""

from __future__ import annotations

import re

import click

from nnspec.cli import options


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
    from nnspec.embedding.block import network_block
    from nnspec.formats import read_network

    path = Path(output)
    if path.exists() and not force:
        raise options.usage(f"{output!r} exists already", "choose another name, or allow it with --force")
    read = read_network(network, "f")
    inputs = _inputs(network, ranges, read.input_size)
    outputs = [f"y[{k}]" for k in range(read.output_size)]
    chosen = options.pairs(encoding, "--encoding", "WHAT=NAME, like relu=sos1")
    names, lo, hi = zip(*inputs)
    program = network_block(read, names, lo, hi, outputs, chosen).program
    try:
        write(program, path)
    except OSError as error:
        raise options.usage(f"cannot write {output!r}: {error.strerror}") from None
    click.echo(f"{output}: {program.columns} variables, {program.row_count} rows")


def _inputs(file: str, ranges: tuple[str, ...], size: int) -> list[tuple[str, float, float]]:
    """Name and range of each input; one range stands for all."""
    inputs = [_range(text, k) for k, text in enumerate(ranges)]
    if len(inputs) == 1:
        name, lo, hi = inputs[0]
        inputs = [(name if size == 1 else f"x[{k}]", lo, hi) for k in range(size)]
    if len(inputs) != size:
        raise options.usage(f"{file!r} takes {size} inputs, and {len(inputs)} ranges are given")
    if len({name for name, _, _ in inputs}) != size:
        raise options.usage("two inputs have the same name")
    return inputs


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
