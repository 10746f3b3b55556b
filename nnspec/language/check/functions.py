"""Calls: built-in functions, losses, sizes, and networks used as functions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from nnspec.errors import Label, Span
from nnspec.language import syntax as sx
from nnspec.language.check import arithmetic
from nnspec.language.check.comprehension import elements
from nnspec.language.check.context import Context, Poisoned, Use, fail
from nnspec.language.check.evaluate import Env, evaluate, number
from nnspec.language.check.logic import conjunction, disjunction, expected_logical
from nnspec.language.check.losses import LOSSES, check_use, loss_call
from nnspec.language.check.patterns import as_loss
from nnspec.language.check.sizes import SIZES, size_call
from nnspec.language.check.values import (
    DataRef,
    Family,
    FiniteSet,
    IntegerInterval,
    Interval,
    NetworkRef,
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
)
from nnspec.language.sources.errors import did_you_mean
from nnspec.problem import expression as ex
from nnspec.problem.forward import predict

ELSEWHERE = {
    **dict.fromkeys(("table", "csv", "npz", "parquet", "split", "label"), "belongs in a data statement"),
    **dict.fromkeys(("input", "dense", "conv", "avgpool", "maxpool", "flatten", "activation", "add", "concat"),
                    "is a layer and belongs in a net statement"),
    **dict.fromkeys(("swap", "cyclic", "permutations", "signflip", "d4", "translations", "group"),
                    "is a group and belongs after `under` in assume and enforce"),
    "onnx": "belongs in a net statement: net f = onnx(...)",
}  # fmt: skip


def call(ctx: Context, node: sx.Call, env: Env) -> Value:
    """The value of `function(arguments)`."""
    function = node.function
    if isinstance(function, sx.Name) and function.name not in env:
        definition = ctx.definitions.get(function.name)
        if definition is None or (definition.kind != "network" and function.name in FUNCTIONS):
            if function.name not in FUNCTIONS:
                if function.name in ELSEWHERE:
                    fail("NNS024", f"{function.name} {ELSEWHERE[function.name]}", function.span)
                if ctx.broken:
                    raise Poisoned
                known = [*FUNCTIONS, *(d.name for d in ctx.definitions.values() if d.kind == "network")]
                fail(
                    "NNS024",
                    f"unknown function {function.name}",
                    function.span,
                    help=did_you_mean(function.name, known, f"the functions are {', '.join(FUNCTIONS)}"),
                )
            return FUNCTIONS[function.name](ctx, node, env)
    value = evaluate(ctx, function, env)
    if isinstance(value, NetworkRef):
        return _network_call(ctx, value.name, node, env)
    help = f"elements are chosen by brackets: {value.name}[...]" if isinstance(value, Family) else None
    fail(
        "NNS024", f"only functions and networks can be called, but this is {describe(value)}", function.span, help=help
    )


def arguments(node: sx.Call, least: int, most: int, keywords: tuple[str, ...] = ()) -> dict[str, sx.Expr]:
    """Check the number of arguments and the names of options; the options by name."""
    name = node.function.span.text
    if not least <= len(node.args) <= most:
        wanted = plural(least, "argument") if least == most else f"{least} to {most} arguments"
        options = [a.name for a in node.args[most:] if isinstance(a, sx.Name) and a.name in keywords]
        help = f"options are named: {options[0]} = ..." if options else None
        fail("NNS025", f"{name} takes {wanted}, {given(len(node.args))}", node.span, help=help)
    for keyword in node.keywords:
        if keyword.name.name not in keywords:
            listed = f"its options are {', '.join(keywords)}" if keywords else "it has no options"
            close = did_you_mean(keyword.name.name, keywords)
            fail(
                "NNS025",
                f"{name} has no option {keyword.name.name}",
                keyword.name.span,
                help=close or listed,
            )
    return {k.name.name: k.value for k in node.keywords}


# --- collections -----------------------------------------------------------------------------------------------------


def _collected(ctx: Context, node: sx.Call, env: Env) -> tuple[list[Value], list[Span]]:
    """The values that a function such as sum or max runs over, and their places."""
    if not node.args:
        fail("NNS025", f"{node.function.span.text} needs something to run over", node.span)
    if len(node.args) == 1:
        (argument,) = node.args
        if isinstance(argument, sx.Comprehension):
            values = [value for value, _ in elements(ctx, argument, env)]
            return values, [argument.element.span] * len(values)
        value = evaluate(ctx, argument, env)
        items: tuple[Value, ...] = (value,)
        if isinstance(value, Vector | FiniteSet):
            items = value.items
        elif isinstance(value, Family):
            items = tuple(value.members.values())
        elif isinstance(value, Interval | IntegerInterval):
            fail(
                "NNS034",
                f"{node.function.span.text} of {describe(value)} is not defined",
                argument.span,
                help="write (i for i in low..high)",
            )
        ctx.count(len(items), node.span)
        return list(items), [argument.span] * len(items)
    return [evaluate(ctx, a, env) for a in node.args], [a.span for a in node.args]


def _sum(ctx: Context, node: sx.Call, env: Env) -> Value:
    arguments(node, 1, 1)
    values, spans = _collected(ctx, node, env)
    loss = as_loss(ctx, values, node.span)
    if loss is not None:
        return loss
    if not values:
        return 0
    return arithmetic.add(ctx, values, ["+"] * (len(values) - 1), spans, node.span)


def _prod(ctx: Context, node: sx.Call, env: Env) -> Value:
    arguments(node, 1, 1)
    values, spans = _collected(ctx, node, env)
    return arithmetic.multiply(ctx, values, ["*"] * (len(values) - 1), spans, node.span) if values else 1


def _extreme(ctx: Context, node: sx.Call, env: Env) -> Value:
    arguments(node, 1, 1000)
    values, spans = _collected(ctx, node, env)
    for value, place in zip(values, spans):
        if not is_numeric(value):
            arithmetic.expected_number(value, place)
    name = node.function.span.text
    loss = as_loss(ctx, values, node.span, largest=True) if name == "max" else None
    return loss if loss is not None else arithmetic.extreme(ctx, name, values, spans, node.span)


def _argmax(ctx: Context, node: sx.Call, env: Env) -> Value:
    arguments(node, 1, 1000)
    values, spans = _collected(ctx, node, env)
    if not values:
        fail("NNS038", "argmax of nothing is not defined", node.span)
    parts = tuple(arithmetic.lift(ctx, value, place) for value, place in zip(values, spans))
    constants = [v for v in values if is_number(v)]
    if len(constants) == len(values):
        return int(np.argmax(constants))
    return 0 if len(parts) == 1 else ctx.made(ex.Function("argmax", parts, span=node.span), parts, node.span)


def _quantifier(ctx: Context, node: sx.Call, env: Env) -> Value:
    arguments(node, 1, 1)
    values, spans = _collected(ctx, node, env)
    for value, place in zip(values, spans):
        if not is_logical(value):
            expected_logical(value, place)
    join = conjunction if node.function.span.text == "forall" else disjunction
    return join(ctx, values, node.span)


def _one(ctx: Context, node: sx.Call, env: Env) -> Value:
    arguments(node, 1, 1)
    (argument,) = node.args
    if isinstance(argument, sx.Comprehension):
        fail(
            "NNS025",
            f"{node.function.span.text} takes one number, not many",
            argument.span,
            help=f"write [{node.function.span.text}(...) for ...]",
        )
    return arithmetic.apply(ctx, node.function.span.text, evaluate(ctx, argument, env), argument.span, node.span)


def _rounding(ctx: Context, node: sx.Call, env: Env) -> Value:
    arguments(node, 1, 1)
    rules: dict[str, Callable[[float], int]] = {
        "floor": math.floor,
        "ceil": math.ceil,
        "round": lambda v: math.floor(v + 0.5),
    }
    value = number(ctx, node.args[0], env)
    return rules[node.function.span.text](arithmetic.guarded(value, node.args[0].span))


def _len(ctx: Context, node: sx.Call, env: Env) -> Value:
    arguments(node, 1, 1)
    value = evaluate(ctx, node.args[0], env)
    match value:
        case Vector(items) | FiniteSet(items):
            return len(items)
        case DataRef(name):
            return ctx.data[name].data.samples
        case Family(_, members):
            return len(members)
        case Interval(low, high) | IntegerInterval(low, high):
            first, last = as_integer(low), as_integer(high)
            if first is not None and last is not None:
                return max(0, last - first + 1)
    fail("NNS034", f"{describe(value)} has no length", node.args[0].span)


def _int(ctx: Context, node: sx.Call, env: Env) -> Value:
    arguments(node, 1, 1)
    value = evaluate(ctx, node.args[0], env)
    if isinstance(value, Interval):
        return IntegerInterval(value.low, value.high)
    fail("NNS034", f"int takes a range, but this is {describe(value)}", node.args[0].span, help="write int(-8..8)")


# --- networks --------------------------------------------------------------------------------------------------------


def _network_call(ctx: Context, name: str, node: sx.Call, env: Env) -> Value:
    network = ctx.networks[name]
    if len(node.args) == 1 and isinstance(node.args[0], sx.Name) and not node.keywords:
        row = env.get(node.args[0].name)
        if isinstance(row, Row):
            return _on_sample(ctx, name, row, node)
    if node.keywords:
        fail("NNS025", "the inputs of a network are given by position", node.keywords[0].span)
    ctx.inside_call += 1
    try:
        values = [evaluate(ctx, a, env) for a in node.args]
    finally:
        ctx.inside_call -= 1
    spans = [a.span for a in node.args]
    if len(values) == 1 and isinstance(values[0], Vector):
        items = values[0].items
        values, spans = list(items), spans * len(items)
    if len(values) != network.input_size:
        place = network.span or node.span
        fail(
            "NNS054",
            f"{name} takes {plural(network.input_size, 'input')}, {given(len(values))}",
            node.span,
            "",
            Label(place, plural(network.input_size, "input")),
        )
    parts = tuple(arithmetic.lift(ctx, v, s) for v, s in zip(values, spans))
    if not network.free and all(is_number(v) for v in values):
        results = predict(network, {}, np.array([[float(v) for v in values]]))[0]  # type: ignore[arg-type]
        return _outputs([float(r) for r in results])
    outputs: list[Value] = []
    for k in range(network.output_size):
        outputs.append(ctx.made(ex.NetworkOutput(name, parts, k, span=node.span), parts, node.span))
    return _outputs(outputs)


def _outputs(values: list[Value] | list[float]) -> Value:
    return values[0] if len(values) == 1 else Vector(tuple(values))


def _on_sample(ctx: Context, name: str, row: Row, node: sx.Call) -> Value:
    """The outputs on a sample in scaled units, as y is: losses written out are the same as the named ones."""
    network, info = ctx.networks[name], ctx.data[row.data]
    if not any(u.network == name and u.data == row.data for u in ctx.uses):
        check_use(ctx, name, row.data, node.span)
        ctx.uses.append(Use(name, row.data, node.span))
    data = info.data
    x = np.asarray(row.items, dtype=float)
    raw = x if data.x_scaling is None else data.x_scaling.invert(x)
    if not network.free:
        return _outputs([float(v) for v in predict(network, {}, raw[None, :])[0]])
    ctx.count(1 + len(raw) // 8, node.span)
    parts = tuple(ex.Constant(float(v), span=node.span) for v in raw)
    outputs: list[Value] = []
    for k in range(network.output_size):
        e: ex.Expression = ex.NetworkOutput(name, parts, k, span=node.span)
        if data.y_scaling is not None and data.y.shape[1] == network.output_size:
            factor, shift = float(data.y_scaling.factor[k]), float(data.y_scaling.shift[k])
            e = ex.Sum((ex.Product((ex.Constant(1 / factor), e)), ex.Constant(-shift / factor)), span=node.span)
        ctx.extents[id(e)] = (e, len(parts) + 1, 4)
        ctx.sample_outputs[id(e)] = (e, name, row.data, row.index, k)
        outputs.append(e)
    return _outputs(outputs)


FUNCTIONS: dict[str, Callable[[Context, sx.Call, Env], Value]] = {
    "sum": _sum, "prod": _prod, "min": _extreme, "max": _extreme, "argmax": _argmax,
    "forall": _quantifier, "exists": _quantifier,
    **dict.fromkeys(arithmetic.ONE_ARGUMENT, _one), **dict.fromkeys(("floor", "ceil", "round"), _rounding),
    "len": _len, "int": _int, **dict.fromkeys(LOSSES, loss_call), **dict.fromkeys(SIZES, size_call),
}  # fmt: skip
