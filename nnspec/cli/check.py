"""nnspec check: everything that is wrong with a spec and its data, in one pass."""

from __future__ import annotations

import sys
from typing import Any

import click

from nnspec.cli import options
from nnspec.errors import Diagnostic


@click.command("check")
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
@options.parameters
@options.json_flag
def command(specs: tuple[str, ...], definitions: tuple[str, ...], params: str | None, as_json: bool) -> int:
    """Check specs and their data ('-' reads stdin). Exit status 0 if all are right, else 1."""
    from nnspec.language.load import check
    from nnspec.language.render import render, wants_color

    values = options.arguments(definitions, params)
    failed = False
    for spec in specs:
        result = check(options.text_of(spec), values)
        failed = failed or result.problem is None
        if as_json:
            found = [plain(d) for d in result.diagnostics]
            options.echo_json({"spec": spec, "ok": result.problem is not None, "diagnostics": found})
            continue
        if result.diagnostics:
            click.echo(render(result.diagnostics, wants_color(sys.stderr)), err=True, color=True)
        if result.problem is None:
            errors = len(result.errors)
            click.echo(f"\n{spec}: {errors} error{'s' if errors != 1 else ''}", err=True)
        else:
            click.echo(f"{spec}: ok")
    return 1 if failed else 0


def plain(d: Diagnostic) -> dict[str, Any]:
    """A diagnostic as JSON; lines and columns start at 1, ends are exclusive."""
    places = []
    for label in d.labels:
        line, column = label.span.source.position(label.span.start)
        end_line, end_column = label.span.source.position(label.span.end)
        places.append({"file": label.span.source.name, "line": line, "column": column, "end_line": end_line,
                       "end_column": end_column, "text": label.text})  # fmt: skip
    return {"code": d.code, "severity": d.severity, "message": d.message, "help": d.help, "places": places}
