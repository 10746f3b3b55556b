"""Diagnostics as text: the message, the lines it is about with the places underlined, and the fix.

    error[NNS031]: layer sizes do not match
      --> house.nns:3:9
       |
     2 | data train = csv("house.csv", x = [area, rooms, age, dist], y = price)
       |                                   ------------------------- 4 inputs
     3 | net f = input(3) -> h1: dense(3, relu) -> out: dense(1)
       |         ^^^^^^^^ 3 inputs
    help: write input(4), or leave the size out: input()

The primary place is underlined with `^`, others with `-`. Control characters of a file never reach the terminal.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TextIO

from nnspec.errors import Diagnostic, Label, Source

SHOWN = 50  # diagnostics
TAB = 4
WIDTH = 120  # longer lines are cut around the place
MARGIN = 20  # columns kept before the place in a cut line
ALL_LINES = 4  # a place of up to so many lines is shown wholly, a longer one by its first and last line

Style = str  # "", "error", "warning", "gutter", "primary", "secondary", "help", "message"


def wants_color(stream: TextIO) -> bool:
    """Whether diagnostics written to a stream should have colours: a capable terminal, and nobody said no."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def render(found: Diagnostic | Iterable[Diagnostic], color: bool = False) -> str:
    """The text of one diagnostic or of several, an empty line between them, without a newline at the end.

    Of very many only the first are shown. With `color` the text has ANSI colours; give it only for a terminal.
    """
    several = [found] if isinstance(found, Diagnostic) else list(found)
    texts = ["\n".join(_line(parts, color) for parts in _render(one)) for one in several[:SHOWN]]
    more = len(several) - SHOWN
    return "\n\n".join([*texts, f"... and {more:,} more"] if more > 0 else texts)


Parts = list[tuple[str, Style]]

COLORS = {
    "error": "bold red",
    "warning": "bold yellow",
    "gutter": "blue",
    "primary": "bold red",
    "secondary": "bold blue",
    "help": "bold green",
    "message": "bold",
}


def _line(parts: Parts, color: bool) -> str:
    if not color:
        return "".join(text for text, _ in parts).rstrip()
    from rich.style import Style as RichStyle

    return "".join(RichStyle.parse(COLORS[style]).render(text) if style else text for text, style in parts)


@dataclass(frozen=True, slots=True)
class _Mark:
    """Characters `start` to `end` of one line, to be underlined; `text` stands at its end."""

    line: int
    start: int
    end: int
    text: str
    primary: bool


def _render(one: Diagnostic) -> Iterator[Parts]:
    yield [(f"{one.severity}[{one.code}]", one.severity), (f": {_clean(one.message)}", "message")]
    by_source = _by_source(one.labels)
    width = max((len(str(mark.line)) for _, marks in by_source for mark in marks), default=1)
    for index, (source, marks) in enumerate(by_source):
        primary = next((mark for mark in marks if mark.primary), marks[0])
        arrow = "-->" if index == 0 else ":::"
        place = f" {_clean(source.name)}:{primary.line}:{primary.start + 1}"
        yield [(" " * (width + 1) + arrow, "gutter"), (place, "")]
        yield [(" " * (width + 2) + "|", "gutter")]
        yield from _snippet(source, marks, width)
    if one.help:
        yield [("help", "help"), (f": {_clean(one.help)}", "")]


def _by_source(labels: tuple[Label, ...]) -> list[tuple[Source, list[_Mark]]]:
    """The marks of each source, that of the primary place first."""
    grouped: dict[int, tuple[Source, list[_Mark]]] = {}
    for index, label in enumerate(labels):
        source = label.span.source
        grouped.setdefault(id(source), (source, []))[1].extend(_marks(label, index == 0))
    return list(grouped.values())


def _marks(label: Label, primary: bool) -> Iterator[_Mark]:
    """A label of several lines becomes a mark for each; the text goes to the last."""
    source, span = label.span.source, label.span
    last_offset = max(span.end - 1, span.start)
    (first, start), (last, _) = source.position(span.start), source.position(last_offset)
    for line in range(first, last + 1):
        if last - first >= ALL_LINES and first < line < last:
            continue
        text = source.line(line)
        left = start - 1 if line == first else len(text) - len(text.lstrip())
        right = source.position(last_offset)[1] if line == last else len(text)
        if span.end == span.start:
            right = left
        if first < line < last and not text.strip():
            continue
        yield _Mark(line, left, max(right, left), label.text if line == last else "", primary)


def _snippet(source: Source, marks: list[_Mark], width: int) -> Iterator[Parts]:
    before = None
    for line, on_line in groupby(sorted(marks, key=lambda mark: mark.line), key=lambda mark: mark.line):
        if before is not None and line > before + 1:
            yield [(" " * (width - 1) + "...", "gutter")]
        before = line
        here = list(on_line)
        text, columns = _shown(source.line(line), here)
        yield [(f" {line:>{width}} | ", "gutter"), (text, "")]
        for row in _rows(here):
            yield [(" " * (width + 2) + "| ", "gutter"), *_underlined(row, columns)]


def _rows(marks: list[_Mark]) -> list[list[_Mark]]:
    """Marks that share a line of underlining: they do not overlap, and only the rightmost has a text."""
    rows: list[list[_Mark]] = []
    for mark in sorted(marks, key=lambda mark: -mark.start):
        right = rows[-1][0] if rows else None
        if right is not None and max(mark.end, mark.start + 1) <= right.start and not mark.text:
            rows[-1].insert(0, mark)
        else:
            rows.append([mark])
    return rows


def _underlined(row: list[_Mark], columns: list[int]) -> Parts:
    parts: Parts = []
    at = 0
    for mark in row:
        start = columns[min(mark.start, len(columns) - 1)]
        length = max(columns[min(mark.end, len(columns) - 1)] - start, 1)
        style = "primary" if mark.primary else "secondary"
        parts += [(" " * (start - at), ""), (("^" if mark.primary else "-") * length, style)]
        at = start + length
        if mark.text:
            parts.append((" " + _clean(mark.text), style))
    return parts


def _shown(line: str, marks: list[_Mark]) -> tuple[str, list[int]]:
    """A line as it is printed, and the column at which each of its characters (and its end) is printed."""
    first = min(mark.start for mark in marks)
    last = max(mark.end for mark in marks)
    cut = max(0, first - MARGIN) if last > WIDTH else 0
    pieces = ["..."] if cut else []
    at = 3 if cut else 0
    columns = [0] * cut
    for index in range(cut, len(line)):
        piece = " " * (TAB - at % TAB) if line[index] == "\t" else _clean(line[index])
        if at + _width(piece) > WIDTH + (3 if cut else 0) and index > first:
            pieces.append("...")
            break
        columns.append(at)
        pieces.append(piece)
        at += _width(piece)
    return "".join(pieces), [*columns, at]


def _clean(text: str) -> str:
    """Text without characters that would move the cursor, colour the terminal or reverse the line."""
    return text if text.isprintable() else "".join(map(_shown_character, text))


def _shown_character(c: str) -> str:
    if c.isprintable():
        return c
    return " " if unicodedata.category(c) == "Zs" else "\ufffd"


def _width(text: str) -> int:
    """Columns on a terminal: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
