"""`element for i in S, (x, y) in D if condition`: bindings one after the other, under the budget of terms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nnspec.errors import Label
from nnspec.language import syntax as sx
from nnspec.language.check.context import MAX_TERMS, CheckError, Context, fail, too_many
from nnspec.language.check.evaluate import Env, condition, evaluate
from nnspec.language.check.trees import mentions
from nnspec.language.check.values import (
    Binary,
    DataRef,
    Family,
    FiniteSet,
    IntegerInterval,
    Interval,
    Row,
    Value,
    Vector,
    as_integer,
    describe,
    is_number,
    show,
)


def elements(ctx: Context, node: sx.Comprehension, env: Env) -> Iterator[tuple[Value, Env]]:
    """The values of the element, each with its binding."""
    for bound in bindings(ctx, node.generators, node.condition, env):
        try:
            value = evaluate(ctx, node.element, bound)
        except CheckError as error:
            raise annotated(ctx, error, node.generators, bound) from None
        yield value, bound


def annotated(ctx: Context, error: CheckError, generators: tuple[sx.Generator, ...], bound: Env) -> CheckError:
    """The error with a label that says for which binding it occurred."""
    d = error.diagnostic
    shown = []
    for generator in generators:
        for name in generator.names:
            value = bound.get(name.name)
            if is_number(value) or isinstance(value, str):
                shown.append(f"{name.name} = {show(value) if is_number(value) else value}")
            elif isinstance(value, Row):
                shown.append(f"{name.name} is row {ctx.data[value.data].data.rows[value.index]} of {value.data}")
    if not shown:
        return error
    span = generators[0].span.to(generators[-1].span)
    return CheckError(
        type(d)(d.code, d.message, (*d.labels, Label(span, "here " + ", ".join(shown))), d.help, d.severity)
    )


def bindings(ctx: Context, generators: tuple[sx.Generator, ...], filter: sx.Expr | None, env: Env) -> Iterator[Env]:
    """The environments in which the element is evaluated."""
    product = 1
    names: set[str] = set()
    for generator in generators:
        if not mentions(generator.domain, names):
            size = len(_members(ctx, generator, env))
            product *= size
            if product > MAX_TERMS:
                too_many(product, generators[0].span.to(generators[-1].span))
        for name in generator.names:
            if name.name in names:
                fail("NNS021", f"{name.name} is bound twice by the same `for`", name.span)
            names.add(name.name)
    return _nested(ctx, generators, filter, dict(env))


def _nested(
    ctx: Context, generators: tuple[sx.Generator, ...], filter: sx.Expr | None, env: dict[str, Value]
) -> Iterator[Env]:
    if not generators:
        if filter is None or condition(ctx, filter, env):
            yield env
        return
    first, rest = generators[0], generators[1:]
    for item in _members(ctx, first, env):
        ctx.count(1, first.span)
        bound = dict(env)
        if len(first.names) == 1:
            bound[first.names[0].name] = item
        else:
            if not isinstance(item, Vector) or len(item.items) != len(first.names):
                fail(
                    "NNS034", f"{len(first.names)} names are bound here, but an element is {describe(item)}", first.span
                )
            for name, part in zip(first.names, item.items):
                bound[name.name] = part
        yield from _nested(ctx, rest, filter, bound)


def samples(ctx: Context, name: str) -> list[Vector]:
    """The samples of a data set as pairs (x, y), made once."""
    found = ctx.rows.get(name)
    if found is None:
        data = ctx.data[name].data
        found = ctx.rows[name] = [
            Vector((Row(tuple(x), name, i), y[0] if len(y) == 1 else Vector(tuple(y))))
            for i, (x, y) in enumerate(zip(data.x.tolist(), data.y.tolist()))
        ]
    return found


def _members(ctx: Context, generator: sx.Generator, env: Env) -> Sequence[Value]:
    value = evaluate(ctx, generator.domain, env)
    span = generator.domain.span
    match value:
        case Interval(low, high) | IntegerInterval(low, high):
            first, last = as_integer(low), as_integer(high)
            if first is None or last is None:
                fail(
                    "NNS034",
                    f"the range {show(low)}..{show(high)} cannot be counted through",
                    span,
                    help="both ends must be whole numbers",
                )
            if last - first >= MAX_TERMS:
                too_many(last - first + 1, span)
            return range(first, last + 1)
        case FiniteSet(items) | Vector(items):
            return items
        case Binary():
            return range(2)
        case DataRef(name):
            if len(generator.names) != 2:
                fail(
                    "NNS034",
                    f"the samples of {name} are pairs",
                    generator.span,
                    help=f"write (x, y) in {generator.domain.span.text}",
                )
            return samples(ctx, name)
        case Family(name, _):
            fail(
                "NNS034", f"{name} is a family of variables, not a set", span, help="give its index set a name by `set`"
            )
    fail("NNS034", f"a set, a range, a list or a data set was expected here, but this is {describe(value)}", span)
