"""nnspec backends: which solvers can be used here; and compiling the engines ahead of a first solve."""

from __future__ import annotations

import click

from nnspec.cli import options
from nnspec.cli.main import EXIT_INTERNAL


@click.command("backends")
@click.option("--compile", "compiling", is_flag=True,
              help="Instead, compile the engines cells and boxes now, so that no solve has to wait for it.")
@options.json_flag
def command(compiling: bool, as_json: bool) -> None:  # fmt: skip
    """List the solvers, their versions and licence limits, and how to get those that are missing."""
    from nnspec.backends import installed

    if compiling:
        _compile(as_json)
        return
    found = installed()
    if as_json:
        options.echo_json([
            {"name": b.name, "version": b.availability.version, "licence": b.availability.licence, "takes": b.takes,
             "reason": b.availability.reason, "install": b.availability.command}
            for b in found
        ])  # fmt: skip
        return
    width = max(len(b.name) for b in found)
    for b in found:
        if b.availability.ok:
            click.echo(f"{b.name:{width}}  {b.availability.version}")
            if b.availability.licence:
                click.echo(f"{'':{width}}  licence: {b.availability.licence}")
            click.echo(f"{'':{width}}  takes {b.takes}")
        else:
            how = f": {b.availability.command}" if b.availability.command else ""
            click.echo(f"{b.name:{width}}  not available ({b.availability.reason}){how}")


def _compile(as_json: bool) -> None:
    """Compile all parts of the engines that have compiled code."""
    import time

    from nnspec.engines.ahead import compile_parts, parts

    began = time.monotonic()
    wanted = [(engine, part) for engine in ("boxes", "cells") for part in parts(engine)]
    failed = compile_parts(wanted)
    if as_json:
        options.echo_json({"compiled": [":".join(p) for p in wanted if p not in failed],
                           "failed": [":".join(p) for p in failed]})  # fmt: skip
    else:
        for engine, part in failed:
            click.echo(f"part {part} of {engine} could not be compiled ahead; solves compile it when they need it")
        click.echo(f"compiled {len(wanted) - len(failed)} of {len(wanted)} parts in {time.monotonic() - began:.0f} s")
    if failed:
        raise click.exceptions.Exit(EXIT_INTERNAL)
