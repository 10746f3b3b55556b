"""Constraints: comparisons as rows, logic through binaries.

A logical expression is pushed to negation normal form, so that only comparisons and their negations remain under `and`
and `or`. Each alternative of an `or` gets a binary that implies it, and one of them must be 1; a comparison of a
single binary variable is its own binary. "Not a <= b" is a >= b + 1 where both sides are integers and otherwise
a >= b + STRICT_MARGIN. `indicator` writes the implications as indicator rows; `bigm` as linear rows with the bounds of
a - b.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nnspec.encodings.context import Context, culprit_of, missing_bounds
from nnspec.encodings.expressions import Expressions, quadratic_bounds
from nnspec.encodings.maximum import leads
from nnspec.encodings.registry import encoding
from nnspec.errors import Span
from nnspec.problem import expression as ex
from nnspec.program import Affine, Quadratic
from nnspec.tolerances import FEASIBILITY, STRICT_MARGIN


@dataclass(frozen=True)
class _Literal:
    """left - right <= 0, >= 0 or == 0 (op), or one of them strict ("<", ">")."""

    operator: str
    left: ex.Expression
    right: ex.Expression
    span: Span | None

    @property
    def comparison(self) -> ex.Comparison:
        return ex.Comparison(self.operator, self.left, self.right, span=self.span)


@dataclass(frozen=True)
class _Node:
    kind: str  # "and" | "or"
    parts: tuple[_Node | _Literal, ...]
    span: Span | None


def normal_form(e: ex.Expression, positive: bool = True) -> _Node | _Literal:
    """Negations pushed down to the comparisons."""
    match e:
        case ex.Comparison(operator=op, left=a, right=b):
            if positive:
                return _Literal(op, a, b, e.span)
            if op == "==":
                return _Node("or", (_Literal("<", a, b, e.span), _Literal(">", a, b, e.span)), e.span)
            return _Literal(">" if op == "<=" else "<", a, b, e.span)
        case ex.And(parts=parts) | ex.Or(parts=parts):
            kind = "and" if isinstance(e, ex.And) == positive else "or"
            return _Node(kind, tuple(normal_form(p, positive) for p in parts), e.span)
        case ex.Not(part=p):
            return normal_form(p, not positive)
        case ex.Implies(premise=a, conclusion=b):
            parts2 = (normal_form(a, not positive), normal_form(b, positive))
            return _Node("or" if positive else "and", parts2, e.span)
    raise TypeError(f"not a constraint: {type(e).__name__}")


class Constraints:
    """The encoder of constraints."""

    def __init__(self, context: Context, expressions: Expressions):
        self.context = context
        self.expressions = expressions
        self._rows: dict[int, tuple[_Literal, tuple[Quadratic, float, float]]] = {}

    def require(self, e: ex.Expression, name: str) -> None:
        """Rows that make the expression hold."""
        self._require(normal_form(e), name)

    def _require(self, node: _Node | _Literal, name: str) -> None:
        if isinstance(node, _Literal) and (wanted := ex.wanted_largest(node.comparison)) is not None:
            # needs no binaries, since one class is asked for
            difference, margin = leads(self.context.program, self.expressions.scores(wanted[0]), wanted[1])
            self.context.program.add_linear(difference, margin, np.inf, name, node.span)
        elif isinstance(node, _Literal):
            row, lo, hi = self._row(node)
            self._add_row(row, lo, hi, name, node.span)
        elif node.kind == "and":
            for part in node.parts:
                self._require(part, name)
        else:
            self._one_of(node, None, name)

    def _add_row(self, row: Quadratic, lo: float, hi: float, name: str, span: Span | None) -> None:
        if len(row.values):
            self.context.program.add_quadratic(row, lo, hi, name, span)
        else:
            self.context.program.add_linear(row.affine, lo, hi, name, span)

    def _row(self, literal: _Literal) -> tuple[Quadratic, float, float]:
        """The literal as lo <= row <= hi; encoded once."""
        if id(literal) not in self._rows:
            self._rows[id(literal)] = literal, self._new_row(literal)
        return self._rows[id(literal)][1]

    def _new_row(self, literal: _Literal) -> tuple[Quadratic, float, float]:
        sign = -1.0 if literal.operator in (">=", ">") else 1.0
        direction = 0 if literal.operator == "==" else 1
        parts = (ex.Product((ex.Constant(sign), literal.left)), ex.Product((ex.Constant(-sign), literal.right)))
        row = self.expressions.value(ex.Sum(parts, span=literal.span), direction)
        if literal.operator == "==":
            return row, 0.0, 0.0
        if literal.operator in ("<=", ">="):
            return row, -np.inf, 0.0
        return row, -np.inf, -1.0 if self._integral(row) else -STRICT_MARGIN

    def _integral(self, row: Quadratic) -> bool:
        a = row.affine
        if len(row.values) or a.constant[0] != round(float(a.constant[0])):
            return False
        return bool(np.all(self.context.program.discrete[a.columns]) and np.all(a.values == np.round(a.values)))

    def _one_of(self, node: _Node, under: Affine | None, name: str) -> None:
        """At least one part holds; only if the binary expression `under` is 1, where it is given."""
        choices = [self._binary(part, name) for part in node.parts]
        total = choices[0]
        for c in choices[1:]:
            total = total + c
        self.context.program.add_linear(
            total - (1.0 if under is None else under), 0.0, np.inf, f"{name}: one of", node.span
        )

    def _binary(self, node: _Node | _Literal, name: str) -> Affine:
        """A 0/1 expression, shape (), that can be 1 only where the node holds."""
        if isinstance(node, _Literal):
            decided = self._decides(node)
            if decided is not None:
                return decided
        holds = self._test(node)
        b = self.context.program.add_variables(f"{name}: holds", (), kind="binary", span=node.span, complete=holds)
        self._imply(b, node, name)
        return b

    def _decides(self, literal: _Literal) -> Affine | None:
        """The binary variable that a comparison of it alone amounts to."""
        row, lo, hi = self._row(literal)
        a = row.affine
        if len(row.values) or len(a.columns) != 1 or self.context.program.kinds[a.columns[0]] != 2:
            return None
        at = [lo <= float(a.constant[0]) + float(a.values[0]) * v <= hi for v in (0.0, 1.0)]
        b = Affine.variables([int(a.columns[0])]).reshape(())
        return Affine.of(1.0) if all(at) else Affine.of(0.0) if not any(at) else b if at[1] else 1.0 - b

    def _test(self, node: _Node | _Literal) -> Callable[[np.ndarray], np.ndarray]:
        """Whether the node holds at a point, as a recipe."""
        if isinstance(node, _Literal):
            row, lo, hi = self._row(node)
            return lambda x: (row.value(x) >= lo - FEASIBILITY / 2) & (row.value(x) <= hi + FEASIBILITY / 2)
        parts = [self._test(p) for p in node.parts]
        combine = np.logical_and.reduce if node.kind == "and" else np.logical_or.reduce
        return lambda x: combine([p(x) for p in parts])

    def _imply(self, b: Affine, node: _Node | _Literal, name: str) -> None:
        """b = 1 => node."""
        if isinstance(node, _Literal):
            row, lo, hi = self._row(node)
            affine = row.affine if not len(row.values) else self._named(row, node)
            self.context.choose("logic", name).encode(self.context, b, affine, lo, hi, name, node.span)
        elif node.kind == "and":
            for part in node.parts:
                self._imply(b, part, name)
        else:
            self._one_of(node, b, name)

    def _named(self, row: Quadratic, literal: _Literal) -> Affine:
        """A column that is at least the quadratic expression (equal to it for an equation)."""
        lo, hi = quadratic_bounds(self.context, row)
        t = self.context.program.add_variables("left - right", (), lo, hi, span=literal.span, complete=row.value)
        equal = literal.operator == "=="
        self.context.program.add_quadratic(row - t, 0.0 if equal else -np.inf, 0.0, "left - right", literal.span)
        return t


@encoding("logic", "indicator", needs={"indicator"})
def logic_indicator(
    context: Context, b: Affine, row: Affine, lo: float, hi: float, name: str, span: Span | None
) -> None:
    """b = 1 => lo <= row <= hi."""
    context.program.add_indicators(b, 1, row, lo, hi, name, span)


@encoding("logic", "bigm", needs={"bounds"})
def logic_bigm(context: Context, b: Affine, row: Affine, lo: float, hi: float, name: str, span: Span | None) -> None:
    """row <= hi + (U - hi) (1 - b), row >= lo - (lo - L) (1 - b) for L <= row <= U."""
    bounds = context.interval(row)
    low, high = float(bounds.lo), float(bounds.hi)
    if (np.isfinite(hi) and not np.isfinite(high)) or (np.isfinite(lo) and not np.isfinite(low)):
        culprit = culprit_of(context, list(context.problem.networks.values()))
        raise missing_bounds(name, culprit, "the bigm encoding of logic")
    if np.isfinite(hi) and high > hi:
        context.program.add_linear(row + b * (high - hi), -np.inf, high, name, span)
    if np.isfinite(lo) and low < lo:
        context.program.add_linear(row - b * (lo - low), low, np.inf, name, span)
