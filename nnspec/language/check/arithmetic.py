"""Arithmetic on constants and expressions: constants are folded under guards, sums and products stay flat."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NoReturn

from nnspec.errors import Span
from nnspec.language.check.context import Context, fail
from nnspec.language.check.values import Family, Value, Vector, describe, is_logical, is_number, is_numeric, show
from nnspec.problem import expression as ex

_LARGEST = 2**1023

ONE_ARGUMENT: dict[str, Callable[[float], float]] = {
    "exp": math.exp, "log": math.log, "sqrt": math.sqrt, "sin": math.sin, "cos": math.cos, "tanh": math.tanh,
    "abs": abs,
}  # fmt: skip


def guarded(value: int | float, span: Span) -> int | float:
    """The value, if it is a finite number of ordinary size."""
    if isinstance(value, int):
        if -_LARGEST < value < _LARGEST:
            return value
    elif math.isfinite(value):
        return value
    fail("NNS038", "this number is too large", span, help="numbers go up to about 1.8e308")


def lift(ctx: Context, value: Value, span: Span) -> ex.Expression:
    """A numeric value as an expression."""
    if is_number(value):
        if isinstance(value, float) and math.isinf(value):
            fail("NNS038", "an infinite number is only possible as the end of a range", span)
        return ex.Constant(float(guarded(value, span)), span=span)
    if is_numeric(value):
        assert isinstance(value, ex.Expression)
        return value
    expected_number(value, span)


def expected_number(value: object, span: Span) -> NoReturn:
    """Report that something is no number."""
    help = None
    if is_logical(value):
        help = "a comparison is true or false and no number; a binary variable can stand for it"
    elif isinstance(value, Vector):
        help = "take one of its elements, as [0], or sum over them"
    elif isinstance(value, Family):
        help = f"write {value.name}[i], and behind the constraint: for i in ..."
    fail("NNS034", f"a number was expected here, but this is {describe(value)}", span, help=help)


def add(ctx: Context, values: Sequence[Value], operators: Sequence[str], spans: Sequence[Span], span: Span) -> Value:
    """`a + b - c`; lists of equal length are added element by element."""
    if any(isinstance(v, Vector) for v in values):
        return _elementwise(ctx, values, operators, spans, span)
    constant: int | float = 0
    terms: list[ex.Expression] = []
    for k, value in enumerate(values):
        minus = k > 0 and operators[k - 1] == "-"
        if is_number(value):
            constant = guarded(constant - value if minus else constant + value, span)
        elif is_numeric(value):
            assert isinstance(value, ex.Expression)
            if minus:
                value = negate(ctx, value, spans[k])
                assert isinstance(value, ex.Expression)
            if isinstance(value, ex.Sum) and id(value) not in ctx.sample_outputs:
                for part in value.terms:
                    if isinstance(part, ex.Constant):
                        constant = guarded(constant + part.value, span)
                    else:
                        terms.append(part)
            else:
                terms.append(value)
        else:
            expected_number(value, spans[k])
    return total(ctx, terms, constant, span)


def total(ctx: Context, terms: Sequence[ex.Expression], constant: int | float, span: Span) -> Value:
    """The sum of terms and a constant."""
    if not terms:
        return constant
    if constant != 0:
        terms = [*terms, ex.Constant(float(constant), span=span)]
    if len(terms) == 1:
        return terms[0]
    return ctx.made(ex.Sum(tuple(terms), span=span), tuple(terms), span)


def _elementwise(
    ctx: Context, values: Sequence[Value], operators: Sequence[str], spans: Sequence[Span], span: Span
) -> Vector:
    first = next(v for v in values if isinstance(v, Vector))
    for value, place in zip(values, spans):
        if not isinstance(value, Vector):
            fail(
                "NNS034",
                f"a list and {describe(value)} cannot be added",
                place,
                help="take one element of the list: [0]",
            )
        if len(value.items) != len(first.items):
            fail("NNS031", f"lists of {len(first.items)} and {len(value.items)} cannot be added", place)
    lists = [v.items for v in values if isinstance(v, Vector)]
    ctx.count(len(lists) * len(first.items), span)
    return Vector(tuple(add(ctx, column, operators, spans, span) for column in zip(*lists)))


def negate(ctx: Context, value: Value, span: Span) -> Value:
    return multiply(ctx, [-1, value], ["*"], [span, span], span)


def multiply(
    ctx: Context, values: Sequence[Value], operators: Sequence[str], spans: Sequence[Span], span: Span
) -> Value:
    """`a * b / c`; a number times a list multiplies each element."""
    result = values[0]
    if not isinstance(result, Vector) and not is_numeric(result):
        expected_number(result, spans[0])
    for k, operator in enumerate(operators, 1):
        result = (
            _times(ctx, result, values[k], spans[k], span)
            if operator == "*"
            else _over(ctx, result, values[k], spans[k], span)
        )
    return result


def _times(ctx: Context, a: Value, b: Value, b_span: Span, span: Span) -> Value:
    if isinstance(a, Vector) and isinstance(b, Vector):
        fail("NNS034", "two lists cannot be multiplied", span, help="write sum(a[i] * b[i] for i in 0..n)")
    if isinstance(a, Vector):
        ctx.count(len(a.items), span)
        return Vector(tuple(_times(ctx, item, b, b_span, span) for item in a.items))
    if isinstance(b, Vector):
        ctx.count(len(b.items), span)
        return Vector(tuple(_times(ctx, a, item, b_span, span) for item in b.items))
    if not is_numeric(b):
        expected_number(b, b_span)
    if is_number(a) and is_number(b):
        return guarded(a * b, span)
    factors: list[ex.Expression] = []
    constant: int | float = 1
    for value in (a, b):
        if is_number(value):
            constant = guarded(constant * value, span)
        elif isinstance(value, ex.Product):
            for factor in value.factors:
                if isinstance(factor, ex.Constant):
                    constant = guarded(constant * factor.value, span)
                else:
                    factors.append(factor)
        else:
            assert isinstance(value, ex.Expression)
            factors.append(value)
    if constant == 0:
        return 0
    if constant != 1:
        factors.insert(0, ex.Constant(float(constant), span=span))
    if len(factors) == 1:
        return factors[0]
    return ctx.made(ex.Product(tuple(factors), span=span), tuple(factors), span)


def _over(ctx: Context, a: Value, b: Value, b_span: Span, span: Span) -> Value:
    if not is_numeric(b):
        expected_number(b, b_span)
    if isinstance(a, Vector):
        ctx.count(len(a.items), span)
        return Vector(tuple(_over(ctx, item, b, b_span, span) for item in a.items))
    if is_number(b):
        if b == 0:
            fail("NNS038", "division by zero", b_span, "this is 0")
        if is_number(a):
            try:
                return guarded(a // b if isinstance(a, int) and isinstance(b, int) and a % b == 0 else a / b, span)
            except OverflowError:
                return guarded(math.inf, span)
        return _times(ctx, guarded(1 / b, span), a, span, span)
    parts = (lift(ctx, a, span), lift(ctx, b, b_span))
    return ctx.made(ex.Quotient(*parts, span=span), parts, span)


def power(ctx: Context, base: Value, exponent: Value, base_span: Span, exponent_span: Span, span: Span) -> Value:
    """`base ^ exponent`; one of the two must be constant."""
    if isinstance(base, Vector):
        fail(
            "NNS034",
            f"the power of {describe(base)} is not defined",
            base_span,
            help="sum over the elements: sum(v[k]^2 for k in 0..n)",
        )
    for value, place in ((base, base_span), (exponent, exponent_span)):
        if not is_numeric(value):
            expected_number(value, place)
    if is_number(base) and is_number(exponent):
        return _constant_power(base, exponent, span)
    if is_number(exponent):
        if exponent == 0:
            return 1
        if exponent == 1:
            return base
        base = lift(ctx, base, base_span)
        if exponent < 0:
            inverse = power(ctx, base, -exponent, base_span, exponent_span, span)
            return _over(ctx, 1, inverse, span, span)
        return ctx.made(ex.Power(base, float(exponent), span=span), (base,), span)
    if is_number(base):
        if base <= 0:
            fail(
                "NNS038",
                "a power whose exponent is a decision needs a positive base",
                base_span,
                f"this is {show(base)}",
            )
        return apply(ctx, "exp", multiply(ctx, [math.log(base), exponent], ["*"], [span, span], span), span, span)
    fail("NNS034", "base and exponent both depend on decisions", span, help="one of them must be constant")


def _constant_power(base: int | float, exponent: int | float, span: Span) -> int | float:
    if base == 0 and exponent < 0:
        fail("NNS038", "division by zero", span, "0 to a negative power")
    if base < 0 and exponent != int(exponent):
        fail("NNS038", "the power of a negative number with a fractional exponent is no real number", span)
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
        if max(abs(base).bit_length() - 1, 0) * exponent > 1024:
            return guarded(math.inf, span)
        return guarded(base**exponent, span)
    try:
        return guarded(float(base) ** float(exponent), span)
    except OverflowError:
        return guarded(math.inf, span)


def apply(ctx: Context, name: str, value: Value, value_span: Span, span: Span) -> Value:
    """exp, log, sqrt, sin, cos, tanh or abs."""
    if is_number(value):
        try:
            return guarded(ONE_ARGUMENT[name](value), span)
        except ValueError:
            fail("NNS038", f"{name}({show(value)}) is no real number", span)
        except OverflowError:
            return guarded(math.inf, span)
    if not is_numeric(value):
        expected_number(value, value_span)
    part = lift(ctx, value, value_span)
    return ctx.made(ex.Function(name, (part,), span=span), (part,), span)


def extreme(ctx: Context, name: str, values: Sequence[Value], spans: Sequence[Span], span: Span) -> Value:
    """min or max of one value or more."""
    if not values:
        fail("NNS038", f"{name} of nothing is not defined", span)
    pick = min if name == "min" else max
    constants = [v for v in values if is_number(v)]
    others: list[ex.Expression] = []
    for value, place in zip(values, spans):
        if not is_number(value):
            others.append(lift(ctx, value, place))
    if constants:
        best = pick(constants)
        if not others:
            return best
        others.append(lift(ctx, best, span))
    if len(others) == 1:
        return others[0]
    return ctx.made(ex.Function(name, tuple(others), span=span), tuple(others), span)
