"""Named columns of raw cells, whatever file they came from, and their conversion to numbers and classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nnspec.language.sources.errors import DataError, did_you_mean

Cells = np.ndarray | list[str]


@dataclass(frozen=True)
class Table:
    """What a file holds: `column(name)` gives its cells, text or numbers, one for each sample.

    `place(i)` says where sample i stands ("row 3, line 4"), `rows` its numbers from 1.
    """

    file: str  # as it is named in messages
    columns: tuple[str, ...]
    rows: tuple[int, ...]
    column: Callable[[str], Cells]
    place: Callable[[int], str]
    kind: str = "column"  # what the parts are called: "column" or "array"

    def require(self, name: str) -> Cells:
        """The cells of a column, or an error with a suggestion."""
        found = self.columns.count(name)
        if found == 0:
            raise DataError("NNS063", f"{self.file} has no {self.kind} {quoted(name)}", self._suggest(name), name)
        if found > 1:
            raise DataError(
                "NNS067",
                f"{self.file} has {found} columns named {quoted(name)}",
                "rename one of them in the file",
                name,
            )
        return self.column(name)

    def _suggest(self, name: str) -> str:
        if self.kind == "column" and self.columns and all(_is_number(c) for c in self.columns):
            return "the first line must hold the column names; here it holds numbers"
        shown = ", ".join(self.columns[:12]) + (", ..." if len(self.columns) > 12 else "")
        close = did_you_mean(name, self.columns)
        return f"{close + ' ' if close else ''}its {self.kind}s are {shown}" if shown else f"it has no {self.kind}s"


def quoted(text: object, limit: int = 40) -> str:
    shown = str(text)
    shown = shown if len(shown) <= limit else shown[:limit] + "..."
    return '"' + "".join(c if c.isprintable() else "?" for c in shown) + '"'


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def numbers(table: Table, name: str) -> np.ndarray:
    """A column as finite float64 (N,). The first cell that is no finite number is named with its row."""
    cells = table.require(name)
    try:
        values = np.asarray(list(map(_number, cells)) if isinstance(cells, list) else cells, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        values = None
    if values is None:
        for i, cell in enumerate(cells):
            _check_cell(table, name, i, cell)
        raise DataError("NNS064", f"{table.file}: {table.kind} {quoted(name)} does not hold numbers", about=name)
    if not np.all(np.isfinite(values)):
        i = int(np.argmin(np.isfinite(values.reshape(len(values), -1)).all(axis=1)))
        what = "NaN" if np.any(np.isnan(values[i])) else "an infinite value"
        raise DataError(
            "NNS064",
            f"{table.file}: {what} in {table.kind} {quoted(name)}, {table.place(i)}",
            "drop the row or fill the value in",
            name,
        )
    return values


def _number(cell: str) -> float:
    if "_" in cell:  # float() reads 1_000; a data file means something else by it
        raise ValueError
    return float(cell)


def _check_cell(table: Table, name: str, i: int, cell: object) -> None:
    text = "" if cell is None else str(cell).strip()
    where = f"{table.kind} {quoted(name)}, {table.place(i)}"
    if not text:
        raise DataError("NNS064", f"{table.file}: empty cell in {where}", "drop the row or fill the value in", name)
    try:
        _number(text)
    except ValueError:
        fix = f"a column of classes is read by label({name})"
        if text.lower() in ("na", "n/a", "null", "none", "-", "?"):
            fix = "drop the row or fill the value in"
        elif _is_number(text.replace(",", ".")) or _is_number(text.replace(",", "")):
            fix = "write numbers with a decimal point and without separators, as 1234.5"
        raise DataError("NNS064", f"{table.file}: {quoted(text)} is not a number in {where}", fix, name) from None


def class_numbers(table: Table, name: str, classes: Sequence[str] = ()) -> tuple[np.ndarray, tuple[str, ...]]:
    """A column of classes as numbers 0..C-1 (N,), and the classes' names.

    Without `classes` they are the different cells, in numerical order if all are numbers, else in alphabetical order.
    """
    cells = [_class_name(c) for c in table.require(name)]
    for i, cell in enumerate(cells):
        if not cell:
            raise DataError(
                "NNS064",
                f"{table.file}: empty cell in {table.kind} {quoted(name)}, {table.place(i)}",
                "drop the row or fill the class in",
                name,
            )
    known = tuple(classes)
    if not known:
        different = set(cells)
        numeric = all(_is_number(c) and math.isfinite(float(c)) for c in different)
        known = tuple(sorted(different, key=(lambda c: (float(c), c)) if numeric else None))
    number = {c: k for k, c in enumerate(known)}
    for i, cell in enumerate(cells):
        if cell not in number:
            fix = did_you_mean(cell, known) or ""
            raise DataError(
                "NNS068",
                f"{table.file}: unknown class {quoted(cell)} in {table.kind} {quoted(name)}, {table.place(i)}",
                f"{fix + ' ' if fix else ''}the classes are {', '.join(known[:12])}",
                name,
            )
    return np.array([number[c] for c in cells], dtype=np.float64), known


def _class_name(cell: object) -> str:
    if cell is None or (isinstance(cell, float | np.floating) and math.isnan(cell)):
        return ""
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace").strip()
    if isinstance(cell, float | np.floating) and float(cell).is_integer():
        return str(int(cell))
    return str(cell).strip()
