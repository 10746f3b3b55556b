"""Comparisons and logic on values: constants are decided, the rest becomes logical expressions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn

from nnspec.errors import Span
from nnspec.language.check import arithmetic
from nnspec.language.check.context import Context, fail
from nnspec.language.check.values import (
    Binary,
    Family,
    FiniteSet,
    IntegerInterval,
    Interval,
    Value,
    Vector,
    as_integer,
    describe,
    is_logical,
    is_number,
    is_numeric,
)
from nnspec.problem import expression as ex

_CONSTANT: dict[str, Callable[[Any, Any], bool]] = {
    "<=": lambda a, b: a <= b, ">=": lambda a, b: a >= b, "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b, "<": lambda a, b: a < b, ">": lambda a, b: a > b,
}  # fmt: skip


def compare(ctx: Context, operator: str, a: Value, b: Value, a_span: Span, b_span: Span, span: Span) -> Value:
    """`a operator b`: a truth value if both are constant, else a Comparison."""
    if (is_number(a) and is_number(b)) or (isinstance(a, str) and isinstance(b, str)):
        return _CONSTANT[operator](a, b)
    if operator in ("==", "!=") and isinstance(a, bool) and isinstance(b, bool):
        return _CONSTANT[operator](a, b)
    if operator == "==" and is_logical(a) and is_logical(b):
        fail("NNS034", "comparisons are not compared with each other", span, help="write (p ==> q) and (q ==> p)")
    for value, place in ((a, a_span), (b, b_span)):
        if not is_numeric(value):
            if isinstance(a, str | bool) and isinstance(b, str | bool | int | float):
                fail("NNS034", f"{describe(a)} cannot be compared with {describe(b)}", span)
            arithmetic.expected_number(value, place)
    if operator in ("<", ">"):
        fail(
            "NNS036",
            f"`{operator}` between decisions cannot be guaranteed by any solver",
            span,
            help=f"write {operator}= and leave a margin, or for whole numbers {operator}= with 1 added or taken off",
        )
    if operator == "!=":
        fail(
            "NNS036",
            "`!=` between decisions is not supported",
            span,
            help="for whole numbers: a <= b - 1 or a >= b + 1",
        )
    parts = (arithmetic.lift(ctx, a, a_span), arithmetic.lift(ctx, b, b_span))
    return ctx.made(ex.Comparison(operator, *parts, span=span), parts, span)


def member(ctx: Context, value: Value, group: Value, a_span: Span, b_span: Span, span: Span) -> Value:
    if isinstance(group, Family):
        group = FiniteSet(tuple(k[0] if len(k) == 1 else Vector(k) for k in group.members))
    if is_number(value) or isinstance(value, str):
        match group:
            case Interval(low, high):
                return is_number(value) and low <= value <= high
            case IntegerInterval(low, high):
                return as_integer(value) is not None and low <= value <= high  # type: ignore[operator]
            case FiniteSet() | Vector():
                return value in group.members
            case Binary():
                return value in (0, 1)
        fail("NNS034", f"a set or a range was expected here, but this is {describe(group)}", b_span)
    if not is_numeric(value):
        fail("NNS034", f"{describe(value)} cannot be an element of a set", a_span)
    match group:
        case Interval(low, high):
            return conjunction(
                ctx,
                [
                    compare(ctx, o, value, v, a_span, b_span, span)
                    for o, v in ((">=", low), ("<=", high))
                    if math.isfinite(v)
                ],
                span,
            )
        case FiniteSet(items) if items:
            return disjunction(ctx, [compare(ctx, "==", value, v, a_span, b_span, span) for v in items], span)
        case Binary():
            return member(ctx, value, FiniteSet((0, 1)), a_span, b_span, span)
    fail("NNS034", f"a set of numbers or a range was expected here, but this is {describe(group)}", b_span)


def expected_logical(value: object, span: Span) -> NoReturn:
    help = "compare it with something; a binary variable as condition is written x == 1" if is_numeric(value) else None
    fail("NNS034", f"a comparison was expected here, but this is {describe(value)}", span, help=help)


def conjunction(ctx: Context, parts: list[Value], span: Span) -> Value:
    """The `and` of logical values."""
    if any(p is False for p in parts):
        return False
    rest = [p for p in parts if isinstance(p, ex.Expression)]
    if not rest:
        return True
    return rest[0] if len(rest) == 1 else ctx.made(ex.And(tuple(rest), span=span), tuple(rest), span)


def disjunction(ctx: Context, parts: list[Value], span: Span) -> Value:
    """The `or` of logical values."""
    if any(p is True for p in parts):
        return True
    rest = [p for p in parts if isinstance(p, ex.Expression)]
    if not rest:
        return False
    return rest[0] if len(rest) == 1 else ctx.made(ex.Or(tuple(rest), span=span), tuple(rest), span)


def inverted(ctx: Context, value: Value, span: Span) -> Value:
    """The `not` of a logical value."""
    if isinstance(value, bool):
        return not value
    assert isinstance(value, ex.Expression)
    return ctx.made(ex.Not(value, span=span), (value,), span)
