"""The state of one check: definitions, what they stand for, diagnostics, and the budget of terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from nnspec.errors import Diagnostic, Label, Span
from nnspec.language import syntax as sx
from nnspec.language.check.values import Value, Vector
from nnspec.language.sources import FileReader, Samples
from nnspec.problem import expression as ex
from nnspec.problem.data import DataSet
from nnspec.problem.network import Network
from nnspec.problem.problem import Constraint, Variable

MAX_TERMS = 1_000_000
"""Terms that one spec may write out. More would fill the memory before any engine sees them."""

MAX_EXPRESSION_DEPTH = 150
"""Levels of an expression after names have been replaced by what they stand for; recursive functions rely on it."""


class CheckError(Exception):
    """A diagnostic on its way to the statement that it ends."""

    def __init__(self, diagnostic: Diagnostic):
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


class Poisoned(Exception):
    """A name stands for nothing because its definition has an error that is already reported."""


def fail(code: str, message: str, span: Span, label: str = "", *more: Label, help: str | None = None) -> NoReturn:
    raise CheckError(Diagnostic(code, message, (Label(span, label), *more), help))


@dataclass
class Definition:
    """A name of the spec and the statement that defines it."""

    name: str
    kind: str  # "parameter" | "set" | "expression" | "data set" | "network" | "variable"
    statement: sx.Statement
    span: Span
    state: str = "waiting"  # "waiting" | "busy" | "done" | "failed"
    value: Value | None = None
    used: bool = False


@dataclass
class DataInfo:
    """A data set while the spec is checked, and the places of its parts in the spec."""

    samples: Samples
    data: DataSet
    span: Span
    x_span: Span
    y_span: Span


@dataclass
class Use:
    """A network is trained or judged on a data set at this place."""

    network: str
    data: str
    span: Span


@dataclass
class Context:
    """Everything the parts of the checker share."""

    reader: FileReader
    base: Path  # folder of specs given as text
    arguments: Mapping[str, object]
    broken: bool = False  # some statements could not be read: names may only seem to be missing
    definitions: dict[str, Definition] = field(default_factory=dict)
    busy: list[Definition] = field(default_factory=list)  # definitions under way, each for the one before it
    diagnostics: dict[Diagnostic, None] = field(default_factory=dict)  # in order, each once
    parameters: dict[str, object] = field(default_factory=dict)
    data: dict[str, DataInfo] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)
    imported: set[str] = field(default_factory=set)  # networks read from files
    variables: dict[str, Variable] = field(default_factory=dict)
    constraints: list[Constraint] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    likely_data: dict[str, list[str]] = field(default_factory=dict)  # network -> data sets the spec uses it with
    terms: int = 0
    rows: dict[str, list[Vector]] = field(default_factory=dict)  # data set -> its samples as pairs (x, y)
    inside_call: int = 0  # > 0 while the arguments of a network are evaluated
    # composite expressions: identity -> (the expression, terms when written out, depth)
    extents: dict[int, tuple[ex.Expression, int, int]] = field(default_factory=dict)
    # a network's output on a sample: identity -> (the expression, network, data, row, output)
    sample_outputs: dict[int, tuple[ex.Expression, str, str, int, int]] = field(default_factory=dict)

    def report(self, diagnostic: Diagnostic) -> None:
        self.diagnostics.setdefault(diagnostic)

    def warn(self, code: str, message: str, span: Span, label: str = "", help: str | None = None) -> None:
        self.report(Diagnostic(code, message, (Label(span, label),), help, "warning"))

    def count(self, terms: int, span: Span) -> None:
        """Take `terms` from the budget."""
        self.terms += terms
        if self.terms > MAX_TERMS:
            too_many(self.terms, span)

    def extent(self, e: ex.Expression) -> tuple[int, int]:
        """Terms and depth of an expression."""
        known = self.extents.get(id(e))
        return (1, 1) if known is None else known[1:]

    def made(self, e: ex.Expression, parts: tuple[ex.Expression, ...], span: Span) -> ex.Expression:
        """Remember the extent of a new expression; an error if it is too large to be handled."""
        terms, depth = 1, 0
        extents = self.extents
        for part in parts:
            known = extents.get(id(part))
            if known is None:
                terms += 1
                depth = max(depth, 1)
            else:
                terms += known[1]
                depth = max(depth, known[2])
        if terms > MAX_TERMS:
            too_many(terms, span)
        if depth >= MAX_EXPRESSION_DEPTH:
            too_deep(span)
        extents[id(e)] = (e, terms, depth + 1)
        return e

    def folder(self, span: Span) -> Path:
        """The folder that file names in this place are relative to."""
        name = span.source.name
        return self.base if name.startswith("<") else Path(name).parent


def too_many(terms: int, span: Span) -> NoReturn:
    fail(
        "NNS029",
        f"this has {terms:,} terms when written out; at most {MAX_TERMS:,} are allowed",
        span,
        help="sums over data have short forms, as sse(f, D)",
    )


def too_deep(span: Span) -> NoReturn:
    fail(
        "NNS028",
        "this is nested too deeply when definitions are put in",
        span,
        help="a sum of many terms stays flat if it is written as one: sum(x[i] for i in 0..99)",
    )
