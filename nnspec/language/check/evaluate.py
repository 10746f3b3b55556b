"""The value of an expression of the syntax tree: constants are computed, names replaced, decisions kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NoReturn

from nnspec.errors import Label, Span
from nnspec.language import syntax as sx
from nnspec.language.check import arithmetic, scope
from nnspec.language.check.context import Context, fail
from nnspec.language.check.logic import compare, conjunction, disjunction, expected_logical, inverted, member
from nnspec.language.check.values import (
    DataRef,
    Family,
    FiniteSet,
    Interval,
    NetworkRef,
    Part,
    Row,
    Value,
    Vector,
    as_integer,
    describe,
    given,
    is_logical,
    is_number,
    is_numeric,
    plural,
    show,
)
from nnspec.language.sources.errors import did_you_mean
from nnspec.problem import expression as ex

Env = Mapping[str, Value]


def evaluate(ctx: Context, node: sx.Expr, env: Env) -> Value:
    """The value of an expression. CheckError if it has none; Poisoned if it rests on something already reported."""
    return _RULES[type(node)](ctx, node, env)


def number(ctx: Context, node: sx.Expr, env: Env) -> int | float:
    """A constant number."""
    value = evaluate(ctx, node, env)
    if not is_number(value):
        if is_numeric(value):
            fail("NNS035", "a constant is needed here, but this depends on decisions", node.span)
        arithmetic.expected_number(value, node.span)
    assert is_number(value)
    return value


def integer(ctx: Context, node: sx.Expr, env: Env, what: str = "a whole number", least: int | None = None) -> int:
    """A constant whole number, at least `least`."""
    value = number(ctx, node, env)
    whole = as_integer(value)
    if whole is None or (least is not None and whole < least):
        bound = "" if least is None else f" of at least {least}"
        fail("NNS034", f"{what}{bound} was expected here, but this is {show(value)}", node.span)
    return whole


def numeric(ctx: Context, node: sx.Expr, env: Env) -> ex.Expression:
    """A numeric value as an expression."""
    return arithmetic.lift(ctx, evaluate(ctx, node, env), node.span)


def condition(ctx: Context, node: sx.Expr, env: Env) -> bool:
    """A constant truth value."""
    value = evaluate(ctx, node, env)
    if isinstance(value, bool):
        return value
    if is_logical(value):
        fail(
            "NNS035",
            "this condition depends on decisions, but must be known when the spec is read",
            node.span,
            help="state it as a constraint: condition ==> ...",
        )
    fail("NNS034", f"a comparison was expected here, but this is {describe(value)}", node.span)


# --- atoms -----------------------------------------------------------------------------------------------------------


def _number(ctx: Context, node: sx.Number, env: Env) -> Value:
    return node.value


def _string(ctx: Context, node: sx.String, env: Env) -> Value:
    return node.value


def _name(ctx: Context, node: sx.Name, env: Env) -> Value:
    value = env.get(node.name)
    if value is None:
        value = scope.lookup(ctx, node, env)
        return replace(value, span=node.span) if isinstance(value, ex.VariableRef) else value
    if ctx.inside_call and isinstance(value, Row) and ctx.data[value.data].data.x_scaling is not None:
        fail(
            "NNS055",
            f"{node.name} is a row of {value.data} in scaled units, but networks take raw ones here",
            node.span,
            help=f"pass the whole row, as f({node.name}), or read {value.data} with scale = none",
        )
    return value


# --- arithmetic ------------------------------------------------------------------------------------------------------


def _negative(ctx: Context, node: sx.Negative, env: Env) -> Value:
    return arithmetic.negate(ctx, evaluate(ctx, node.operand, env), node.span)


def _sum(ctx: Context, node: sx.Sum, env: Env) -> Value:
    values = [evaluate(ctx, o, env) for o in node.operands]
    return arithmetic.add(ctx, values, node.operators, [o.span for o in node.operands], node.span)


def _product(ctx: Context, node: sx.Product, env: Env) -> Value:
    values = [evaluate(ctx, o, env) for o in node.operands]
    return arithmetic.multiply(ctx, values, node.operators, [o.span for o in node.operands], node.span)


def _power(ctx: Context, node: sx.Power, env: Env) -> Value:
    base, exponent = evaluate(ctx, node.base, env), evaluate(ctx, node.exponent, env)
    return arithmetic.power(ctx, base, exponent, node.base.span, node.exponent.span, node.span)


def _if(ctx: Context, node: sx.IfThenElse, env: Env) -> Value:
    return evaluate(ctx, node.value if condition(ctx, node.condition, env) else node.otherwise, env)


# --- comparisons and logic -------------------------------------------------------------------------------------------


def _comparison(ctx: Context, node: sx.Comparison, env: Env) -> Value:
    directions = {o[0] for o in node.operators if o not in ("==", "!=", "in")}
    if len(node.operators) > 1 and (len(directions) > 1 or any(o in ("!=", "in") for o in node.operators)):
        fail(
            "NNS037", "a chain of comparisons must go in one direction", node.span, help="join two comparisons by `and`"
        )
    values = [evaluate(ctx, o, env) for o in node.operands]
    parts = []
    for k, operator in enumerate(node.operators):
        a, b = node.operands[k], node.operands[k + 1]
        span = a.span.to(b.span)
        if operator == "in":
            parts.append(member(ctx, values[k], values[k + 1], a.span, b.span, span))
        else:
            parts.append(compare(ctx, operator, values[k], values[k + 1], a.span, b.span, span))
    return conjunction(ctx, parts, node.span)


def _logical(ctx: Context, node: sx.Expr, env: Env) -> Value:
    value = evaluate(ctx, node, env)
    if not is_logical(value):
        expected_logical(value, node.span)
    return value


def _and(ctx: Context, node: sx.And, env: Env) -> Value:
    return conjunction(ctx, [_logical(ctx, o, env) for o in node.operands], node.span)


def _or(ctx: Context, node: sx.Or, env: Env) -> Value:
    return disjunction(ctx, [_logical(ctx, o, env) for o in node.operands], node.span)


def _not(ctx: Context, node: sx.Not, env: Env) -> Value:
    return inverted(ctx, _logical(ctx, node.operand, env), node.span)


def _implies(ctx: Context, node: sx.Implies, env: Env) -> Value:
    premise, conclusion = _logical(ctx, node.premise, env), _logical(ctx, node.conclusion, env)
    if premise is False or conclusion is True:
        return True
    if premise is True:
        return conclusion
    if conclusion is False:
        return inverted(ctx, premise, node.span)
    assert isinstance(premise, ex.Expression)
    assert isinstance(conclusion, ex.Expression)
    return ctx.made(ex.Implies(premise, conclusion, span=node.span), (premise, conclusion), node.span)


# --- collections -----------------------------------------------------------------------------------------------------


def _range(ctx: Context, node: sx.Range, env: Env) -> Value:
    low, high = number(ctx, node.low, env), number(ctx, node.high, env)
    return Interval(low, high)


def _items(ctx: Context, node: sx.Array | sx.SetLiteral, env: Env) -> tuple[Value, ...]:
    if len(node.items) == 1 and isinstance(node.items[0], sx.Comprehension):
        from nnspec.language.check.comprehension import elements

        return tuple(value for value, _ in elements(ctx, node.items[0], env))
    return tuple(evaluate(ctx, item, env) for item in node.items)


def _array(ctx: Context, node: sx.Array, env: Env) -> Value:
    return Vector(_items(ctx, node, env))


def _set(ctx: Context, node: sx.SetLiteral, env: Env) -> Value:
    items = _items(ctx, node, env)
    for k, item in enumerate(items):
        if not (is_number(item) or isinstance(item, str)):
            place = node.items[k].span if k < len(node.items) else node.span
            fail("NNS034", f"sets hold constant numbers or texts, not {describe(item)}", place)
    return FiniteSet(tuple(dict.fromkeys(items)))


def _comprehension(ctx: Context, node: sx.Comprehension, env: Env) -> Value:
    fail("NNS025", "`for` belongs inside a function, a list or a set", node.span, help="write sum(... for ...)")


def _item(ctx: Context, node: sx.Item, env: Env) -> Value:
    value = evaluate(ctx, node.value, env)
    if isinstance(value, Family):
        key = tuple(_key(ctx, i, env) for i in node.indices)
        if key not in value.members:
            _no_member(value, key, node)
        return replace(value.members[key], span=node.span)
    for index in node.indices:
        if isinstance(value, Part):
            return _part_item(ctx, value, node, env)
        if isinstance(value, FiniteSet):
            fail("NNS034", "the elements of a set have no positions", node.span, help="use a list: [a, b, c]")
        if not isinstance(value, Vector):
            fail("NNS034", f"{describe(value)} has no elements to choose from", node.value.span)
        i = integer(ctx, index, env, "an index")
        if not 0 <= i < len(value.items):
            fail(
                "NNS039",
                f"there is no element {i}: {describe(value)} has the indices 0..{len(value.items) - 1}",
                index.span,
            )
        value = value.items[i]
    return value


def _key(ctx: Context, node: sx.Expr, env: Env) -> int | str:
    value = evaluate(ctx, node, env)
    if isinstance(value, str):
        return value
    whole = as_integer(value)
    if whole is None:
        if is_numeric(value) and not is_number(value):
            fail("NNS035", "an index must be constant, but this depends on decisions", node.span)
        fail("NNS034", f"an index is a whole number or a text, but this is {describe(value)}", node.span)
    return whole


def _no_member(family: Family, key: tuple[int | str, ...], node: sx.Item) -> NoReturn:
    keys = list(family.members)
    if keys and len(keys[0]) != len(key):
        fail(
            "NNS039",
            f"{family.name} has {plural(len(keys[0]), 'index')}".replace("indexs", "indices") + f", {given(len(key))}",
            node.span,
        )
    shown = ",".join(map(str, key))
    names = [",".join(map(str, k)) for k in keys]
    listed = ", ".join(names[:6]) + (f", ..., {names[-1]}" if len(names) > 6 else "")
    close = did_you_mean(shown, names) if any(isinstance(k, str) for k in key) else None
    fail(
        "NNS039",
        f"{family.name} has no element [{shown}]",
        node.span,
        help=close or (f"its indices are {listed}" if names else "its index set is empty"),
    )


def _part_item(ctx: Context, part: Part, node: sx.Item, env: Env) -> Value:
    from nnspec.language.check.paths import part_item

    indices = [integer(ctx, i, env, "an index") for i in node.indices]
    return part_item(ctx, part, indices, [i.span for i in node.indices], node.span)


def _attribute(ctx: Context, node: sx.Attribute, env: Env) -> Value:
    value = evaluate(ctx, node.value, env)
    from nnspec.language.check.paths import attribute

    match value:
        case NetworkRef() | Part():
            return attribute(ctx, value, node.name)
        case DataRef(name):
            info = ctx.data[name]
            if node.name.name in ("x", "y"):
                rows = info.data.x if node.name.name == "x" else info.data.y
                ctx.count(rows.size, node.span)
                return Vector(
                    tuple(Vector(tuple(map(float, row))) if rows.shape[1] > 1 else float(row[0]) for row in rows)
                )
            fail("NNS039", f"a data set has no part {node.name.name}", node.name.span, help="its parts are x and y")
    fail("NNS034", f"{describe(value)} has no parts", node.value.span)


def _call(ctx: Context, node: sx.Call, env: Env) -> Value:
    from nnspec.language.check.functions import call

    return call(ctx, node, env)


_RULES: dict[type, Callable[[Context, Any, Env], Value]] = {
    sx.Number: _number, sx.String: _string, sx.Name: _name, sx.Negative: _negative, sx.Not: _not, sx.Sum: _sum,
    sx.Product: _product, sx.Power: _power, sx.Comparison: _comparison, sx.And: _and, sx.Or: _or, sx.Implies: _implies,
    sx.IfThenElse: _if, sx.Range: _range, sx.Array: _array, sx.SetLiteral: _set, sx.Comprehension: _comprehension,
    sx.Call: _call, sx.Item: _item, sx.Attribute: _attribute,
}  # fmt: skip


def where(names: str, span: Span) -> Label:
    """A label that says for which element of a `for` something went wrong."""
    return Label(span, f"here {names}")
