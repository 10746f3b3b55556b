"""CSV files: UTF-8, a header line, separated by commas, semicolons or tabs, quoted as RFC 4180 says."""

from __future__ import annotations

import csv
import io
from operator import itemgetter

from nnspec.language.sources.errors import DataError
from nnspec.language.sources.tables import Table, quoted

MAX_CELL = 10_000
"""Characters of one cell. A longer one is a quotation mark that was not closed."""


def read_csv(content: bytes, file: str) -> Table:
    """The table in a CSV file. Blank lines are skipped; a byte order mark and all line ends are read."""
    text = _decode(content, file)
    lines: list[int] = []
    rows: list[list[str]] = []
    limit = csv.field_size_limit(MAX_CELL)  # the limit is that of the whole process: put back below
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True, skipinitialspace=True)
    try:
        for row in reader:
            if row and (len(row) > 1 or row[0].strip()):
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error:
        raise DataError(
            "NNS062",
            f"{file} cannot be read as CSV from line {lines[-1] + 1 if lines else 1} on",
            "perhaps a quotation mark is not closed, or text follows it",
            "file",
        ) from None
    finally:
        csv.field_size_limit(limit)
    if not rows:
        raise DataError("NNS065", f"{file} is empty", "its first line must hold the column names", "file")
    header = tuple(name.strip() for name in rows[0])
    width = len(header)
    for i, row in enumerate(rows):
        if len(row) != width:
            raise DataError(
                "NNS066",
                f"{file}: row {i} (line {lines[i]}) has {_cells(len(row))}, but the header has {width}",
                "quote cells that contain the separator" if len(row) > width else "fill in the missing cells",
                "file",
            )
    if len(rows) == 1:
        raise DataError("NNS065", f"{file} has a header line but no rows", about="file")
    del rows[0], lines[0]

    def column(name: str) -> list[str]:
        return list(map(itemgetter(header.index(name)), rows))

    return Table(file, header, tuple(range(1, len(rows) + 1)), column, lambda i: f"row {i + 1} (line {lines[i]})")


def _cells(n: int) -> str:
    return "1 cell" if n == 1 else f"{n} cells"


def _decode(content: bytes, file: str) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError("NNS062", f"{file} is UTF-16 text", "save it as UTF-8", "file")
    if b"\0" in content:
        raise DataError("NNS062", f"{file} is not a text file", _other_reader(content), "file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        bad = quoted(content[max(0, error.start - 10) : error.start + 1].decode("latin-1").splitlines()[-1])
        raise DataError(
            "NNS062", f"{file} is not UTF-8 text: line {line}, near {bad}", "save it as UTF-8", "file"
        ) from None


def _other_reader(content: bytes) -> str | None:
    if content[:4] == b"PAR1":
        return 'this is a Parquet file: parquet("...")'
    if content[:2] == b"PK":
        return "this is a zip archive: .npz files are read by npz(...), spreadsheets must be saved as CSV"
    return None


def _delimiter(text: str) -> str:
    """The one of , ; and tab that occurs most often outside quotation marks in the header; comma if none does."""
    counts = {",": 0, ";": 0, "\t": 0}
    inside = False
    for c in text.lstrip("\r\n"):
        if c == '"':
            inside = not inside
        elif c in "\r\n" and not inside:
            break
        elif c in counts and not inside:
            counts[c] += 1
    return max(counts, key=lambda c: counts[c])
