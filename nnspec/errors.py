"""Diagnostics (values) and the public exceptions that carry them.

A diagnostic names a stable code, a message, the places in the spec it is about (the first is the primary one)
and, where it helps, the fix. Rendering lives in `nnspec.language.render`; nothing here knows about terminals.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class Source:
    """A text that diagnostics point into: a spec file, an included file, or a string given in Python."""

    name: str  # as the user wrote it: a path relative to the working directory, or "<string>"
    text: str = field(repr=False)

    @cached_property
    def line_starts(self) -> list[int]:
        return [0, *(i + 1 for i, c in enumerate(self.text) if c == "\n")]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of a character offset, both starting at 1."""
        line = bisect.bisect_right(self.line_starts, offset) - 1
        return line + 1, offset - self.line_starts[line] + 1

    def line(self, number: int) -> str:
        """The text of line `number` (from 1), without its end."""
        start = self.line_starts[number - 1]
        end = self.line_starts[number] - 1 if number < len(self.line_starts) else len(self.text)
        return self.text[start:end].rstrip("\r")


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` (exclusive) of a source."""

    source: Source = field(repr=False)
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def to(self, other: Span) -> Span:
        """From the start of this span to the end of `other`."""
        return Span(self.source, self.start, other.end)

    def __str__(self) -> str:
        line, column = self.source.position(self.start)
        return f"{self.source.name}:{line}:{column}"


@dataclass(frozen=True, slots=True)
class Label:
    """A place and what is to be said about it."""

    span: Span
    text: str = ""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One error or warning. `labels[0]` is the primary place; a diagnostic about flags or files may have none."""

    code: str
    message: str
    labels: tuple[Label, ...] = ()
    help: str | None = None
    severity: str = "error"  # "error" | "warning"

    def __str__(self) -> str:
        place = f"{self.labels[0].span}: " if self.labels else ""
        fix = f" ({self.help})" if self.help else ""
        return f"{place}{self.severity}[{self.code}]: {self.message}{fix}"


def diagnostic(
    code: str, message: str, span: Span | None = None, label: str = "", *more: Label, help: str | None = None
) -> Diagnostic:
    """Shorthand: a diagnostic with a primary place and perhaps others."""
    first = (Label(span, label),) if span is not None else ()
    return Diagnostic(code, message, (*first, *more), help)


class NnspecError(Exception):
    """Base of every error nnspec raises on purpose. `diagnostics` says what is wrong and where."""

    def __init__(self, diagnostics: Diagnostic | Iterable[Diagnostic]):
        if isinstance(diagnostics, Diagnostic):
            diagnostics = (diagnostics,)
        self.diagnostics: tuple[Diagnostic, ...] = tuple(diagnostics)
        super().__init__("\n".join(str(d) for d in self.diagnostics))


class SpecError(NnspecError):
    """The spec, its data or its parameters are wrong (exit status 1)."""


class UnsupportedError(NnspecError):
    """The spec is right, but the chosen engine, backend or format cannot take it (exit status 1)."""


class MissingPackageError(NnspecError):
    """An optional package is not installed; the help says the pip command that installs it (exit status 1)."""


class UsageError(NnspecError):
    """A flag or argument is wrong (exit status 2)."""
