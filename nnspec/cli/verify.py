"""nnspec verify: the files of a solve, or an engine's proof, checked again by separate and simpler code."""

from __future__ import annotations

import click

from nnspec.cli import options
from nnspec.cli.main import EXIT_SPEC


@click.command("verify")
@click.argument("path", metavar="FILE|DIR")
@click.option("--spec", type=click.Path(), metavar="SPEC", help="The spec of the solve in DIR.")
@options.json_flag
def command(path: str, spec: str | None, as_json: bool) -> int:
    """Check the folder of a solve (with --spec also its objective and constraints), or a proof that an engine wrote.

    Exit status 0 if everything holds, else 1.
    """
    from pathlib import Path

    from nnspec.solution.verify import verify_solution

    place = Path(path)
    folder = place if place.is_dir() else place.parent
    found = verify_solution(folder, None if spec is None else Path(spec))
    if as_json:
        options.echo_json({"ok": not found.fails, "holds": list(found.holds), "fails": list(found.fails)})
    else:
        for line in found.holds:
            click.echo(f"holds  {line}")
        for line in found.fails:
            click.echo(f"FAILS  {line}")
    return EXIT_SPEC if found.fails else 0
