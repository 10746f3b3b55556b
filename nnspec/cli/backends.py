"""nnspec backends: which solvers can be used here."""

from __future__ import annotations

import click

from nnspec.cli import options


@click.command("backends")
@options.json_flag
def command(as_json: bool) -> None:
    """List the solvers, their versions and licence limits, and how to get those that are missing."""
    from nnspec.backends import installed

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
