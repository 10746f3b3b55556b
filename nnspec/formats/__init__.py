"""Networks to and from files. The ending of the name says the format: .onnx."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nnspec.formats.errors import unwritable
from nnspec.problem.network import Network


def read_network(path: Path | str, name: str, fold_affine: bool = True) -> Network:
    """Read a network with fixed weights from a file; see `nnspec.formats.onnx.read.read`."""
    if Path(path).suffix.lower() != ".onnx":
        raise unwritable(f"networks are read from .onnx files, not {str(path)!r}")
    from nnspec.formats.onnx.read import read

    return read(path, name, fold_affine)


def write_network(network: Network, path: Path | str, dtype: str = "float64",
                  metadata: Mapping[str, str] | None = None) -> None:  # fmt: skip
    """Write a network whose tensors all have values; see `nnspec.formats.onnx.write.write`."""
    if Path(path).suffix.lower() != ".onnx":
        raise unwritable(f"networks are written to .onnx files, not {str(path)!r}")
    from nnspec.formats.onnx.write import write

    write(network, path, dtype, metadata)
