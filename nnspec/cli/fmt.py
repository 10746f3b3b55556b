"""nnspec fmt: one layout for all specs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nnspec.cli import options
from nnspec.errors import Source


@click.command("fmt")
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
@click.option("--check", is_flag=True, help="Write nothing; exit status 1 if something would change.")
@click.option("--diff", is_flag=True, help="Write nothing; print what would change.")
def command(specs: tuple[str, ...], check: bool, diff: bool) -> int:
    """Format specs in place ('-' formats stdin to stdout). Comments and meaning stay."""
    from nnspec.formats.files import write_bytes
    from nnspec.language.format import format_source
    from nnspec.language.includes import read_source, text_source

    changed = 0
    for spec in specs:
        source = text_source(str(options.text_of("-"))) if spec == "-" else read_source(spec)
        text = format_source(source)
        same = spec != "-" and Path(spec).read_bytes() == text.encode()
        changed += not same
        if diff:
            _print_diff(spec, source, text)
        elif spec == "-":
            sys.stdout.write(text)
        elif not same and check:
            click.echo(f"{spec}: would be formatted", err=True)
        elif not same:
            try:
                write_bytes(spec, text.encode())
            except OSError as error:
                raise options.usage(f"cannot write {spec!r}: {error.strerror}") from None
            click.echo(f"{spec}: formatted", err=True)
    return 1 if changed and (check or diff) else 0


def _print_diff(spec: str, source: Source, text: str) -> None:
    import difflib

    lines = difflib.unified_diff(
        source.text.splitlines(keepends=True), text.splitlines(keepends=True), spec, f"{spec} (formatted)"
    )
    for line in lines:
        click.echo(line, nl=not line.endswith("\n"))
