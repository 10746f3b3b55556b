"""nnspec export: a trained network in another precision or under another name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nnspec.cli import options
from nnspec.formats.onnx.graph import DTYPES

if TYPE_CHECKING:
    from pathlib import Path


@click.command("export")
@click.argument("source", metavar="FILE|DIR")
@click.option("-o", "--output", required=True, type=click.Path(), metavar="FILE", help="File to write (.onnx).")
@click.option("--network", metavar="NAME", help="Which network of the folder.")
@click.option("--dtype", type=click.Choice(DTYPES), default="float64", show_default=True, help="Precision.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(source: str, output: str, network: str | None, dtype: str, force: bool) -> None:
    """Write the network in FILE (.onnx), or of the solve in DIR, to another file.

    What is written computes the same function; its weights are those that nnspec reads, with scalings merged into the
    layers beside them.
    """
    from pathlib import Path

    from nnspec.formats import read_network, write_network

    path = Path(output)
    if path.exists() and not force:
        raise options.usage(f"{output!r} exists already", "choose another name, or allow it with --force")
    file = _network_file(Path(source), network)
    try:
        write_network(read_network(file, network or _name(file)), path, dtype)
    except OSError as error:
        raise options.usage(f"cannot write {output!r}: {error.strerror}") from None
    click.echo(f"{output}: {file.name} in {dtype}")


def _network_file(source: Path, network: str | None) -> Path:
    if not source.is_dir():
        return source
    files = sorted(f for f in source.glob("*.onnx") if not f.name.endswith(".float32.onnx"))
    names = [f.stem for f in files]
    if network is not None and network in names:
        return files[names.index(network)]
    if network is None and len(files) == 1:
        return files[0]
    what = f"no network {network!r}" if network is not None else f"{len(files)} networks"
    raise options.usage(f"{str(source)!r} holds {what}", f"name one with --network: {', '.join(names) or 'none found'}")


def _name(file: Path) -> str:
    """A name for tensors and layers, from the file's."""
    import re

    return re.sub(r"\W+", "_", file.name.split(".")[0]) or "f"
