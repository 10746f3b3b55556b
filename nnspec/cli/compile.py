"""nnspec compile: the mathematical program of a spec, for any solver that reads files."""

from __future__ import annotations

from typing import Any

import click

from nnspec.cli import options


@click.command("compile")
@click.argument("spec", metavar="SPEC")
@click.option("-o", "--output", type=click.Path(), metavar="FILE", help="File to write: .cip .lp .mps .nl .gms or .py.")
@options.parameters
@click.option("--backend", metavar="NAME", help="Use the encodings that suit this solver best.")
@click.option("--encoding", multiple=True, metavar="WHAT=NAME", help="Template: relu=sos1, f.h=indicator.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--dump", type=click.Choice(["tree", "problem", "reduced", "program"]), help="Print a stage, then stop.")
@options.json_flag
def command(spec: str, output: str | None, definitions: tuple[str, ...], params: str | None, force: bool,
            dump: str | None, as_json: bool, **given: Any) -> None:  # fmt: skip
    """Compile SPEC ('-' reads stdin) into a mathematical program and write it to a file.

    Without -o the program is built and its size printed.
    """
    from pathlib import Path

    settings = options.settings(spec, given)
    if dump is not None:
        from nnspec.cli.dump import dump_stage

        dump_stage(dump, spec, definitions, params, settings)
        return
    path = None if output is None else Path(output)
    if path is not None and path.exists() and not force:
        raise options.usage(f"{output!r} exists already", "choose another name, or allow it with --force")
    problem = options.load(spec, definitions, params)

    from nnspec.encodings.compile import compile_problem

    program = compile_problem(problem, settings.encoding, backend=settings.backend or "").program
    if path is not None:
        from nnspec.backends.files import write

        try:
            write(program, path)
        except OSError as error:
            raise options.usage(f"cannot write {output!r}: {error.strerror}") from None
    size = {"variables": program.columns, "discrete": int(program.discrete.sum()), "rows": program.row_kinds()}
    if as_json:
        options.echo_json({"file": output, **size})
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in program.row_kinds().items())
    click.echo(f"{program.columns} variables ({size['discrete']} of them discrete), rows: {kinds or 'none'}")
    if output is not None:
        click.echo(f"written to {output}")
