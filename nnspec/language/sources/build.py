"""From the columns that a statement names to Samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from nnspec.language.sources.arrays import read_npz, read_parquet
from nnspec.language.sources.csvfile import read_csv
from nnspec.language.sources.errors import DataError, each
from nnspec.language.sources.samples import Samples
from nnspec.language.sources.tables import Table, class_numbers, numbers, quoted

Columns = tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]  # values (N, d), names of the columns, classes
READERS = {"csv": read_csv, "npz": read_npz, "parquet": read_parquet}


@dataclass(frozen=True)
class Target:
    """The target: plain columns, or one column of classes (`label(column)`), perhaps with their order given."""

    columns: tuple[str, ...]
    label: bool = False
    classes: tuple[str, ...] = ()


def from_file(kind: str, content: bytes, file: str, x: Sequence[str], y: Target, scale: str, scale_y: str) -> Samples:
    """The samples in a file. DataError if columns are missing, cells are not numbers, or lengths differ."""
    table = READERS[kind](content, file)
    (x_values, x_names, _), (y_values, y_names, classes) = each([lambda: _matrix(table, x), lambda: _target(table, y)])
    _same_length(len(x_values), len(y_values), file)
    rows = table.rows or tuple(range(1, len(x_values) + 1))
    return Samples(x_values, y_values, x_names, y_names, classes, rows, scale, scale_y)


def from_lists(x: np.ndarray, y: np.ndarray, classes: tuple[str, ...], scale: str, scale_y: str) -> Samples:
    """The samples of a literal table: x (N, d), y (N, m)."""
    _same_length(len(x), len(y), "the table")
    return Samples(x, y, (), (), classes, tuple(range(1, len(x) + 1)), scale, scale_y)


def _flat(table: Table, name: str) -> Table:
    """The table, after a check that this part of it is one column."""
    cells = table.require(name)
    if isinstance(cells, np.ndarray) and cells.ndim == 2:
        if cells.shape[1] != 1:
            raise DataError(
                "NNS066",
                f"{table.file}: array {quoted(name)} has {cells.shape[1]} columns; classes are one column",
                about=name,
            )
        return Table(table.file, table.columns, table.rows, lambda _: cells[:, 0], table.place, table.kind)
    return table


def _target(table: Table, y: Target) -> Columns:
    if not y.label:
        return _matrix(table, y.columns)
    column = y.columns[0]
    target, classes = class_numbers(_flat(table, column), column, y.classes)
    return target[:, None], y.columns, classes


def _matrix(table: Table, names: Sequence[str]) -> Columns:
    parts: list[np.ndarray] = []
    used: list[str] = []
    for name, part in zip(names, each(partial(numbers, table, name) for name in names)):
        if part.ndim == 2:
            used.extend([f"{name}[{j}]" for j in range(part.shape[1])] if part.shape[1] != 1 else [name])
        else:
            used.append(name)
        part = (
            part.reshape(len(part), -1)
            if part.size
            else part.reshape(len(part), part.shape[1] if part.ndim == 2 else 1)
        )
        if parts and len(part) != len(parts[0]):
            raise DataError(
                "NNS066",
                f"{table.file}: {quoted(names[0])} has {len(parts[0])} rows, but {quoted(name)} has {len(part)}",
                about=name,
            )
        parts.append(part)
    matrix = np.concatenate(parts, axis=1)
    if not matrix.size:
        raise DataError("NNS065", f"{table.file} has no samples in {', '.join(map(quoted, names))}", about=names[0])
    return matrix, tuple(used), ()


def _same_length(inputs: int, targets: int, file: str) -> None:
    if inputs == 0:
        raise DataError("NNS065", f"{file} has no samples", about="x")
    if inputs != targets:
        raise DataError("NNS066", f"{file}: {inputs} rows of inputs, but {targets} targets", about="y")
