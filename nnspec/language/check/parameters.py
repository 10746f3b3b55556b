"""param statements, and the values that -D, --params or Python give them."""

from __future__ import annotations

import math
import re

from nnspec.errors import Diagnostic, Label
from nnspec.language import syntax as sx
from nnspec.language.check.context import Context, fail
from nnspec.language.check.evaluate import evaluate
from nnspec.language.check.values import (
    Binary,
    FiniteSet,
    IntegerInterval,
    Interval,
    Value,
    Vector,
    as_integer,
    describe,
    is_number,
    show,
)
from nnspec.language.sources.errors import did_you_mean

TYPES = ("real", "int", "string")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def check_arguments(ctx: Context) -> None:
    """Report values for parameters that the spec does not have."""
    known = [d.name for d in ctx.definitions.values() if d.kind == "parameter"]
    for name in ctx.arguments:
        if name not in known:
            listed = f"the parameters are {', '.join(known)}" if known else "the spec has no parameters"
            ctx.report(Diagnostic("NNS032", f"there is no parameter {name}", (), did_you_mean(name, known, listed)))


def define_parameter(ctx: Context, statement: sx.Param) -> Value:
    """The value of a parameter: the one given from outside, or else its default."""
    name = statement.name.name
    kind = statement.type.name if statement.type is not None else None
    if kind is not None and kind not in TYPES:
        assert statement.type is not None
        fail(
            "NNS033",
            f"unknown type {kind} of a parameter",
            statement.type.span,
            help=did_you_mean(kind, TYPES, "the types are real, int and string"),
        )
    default = None if statement.default is None else evaluate(ctx, statement.default, {})
    if default is not None:
        assert statement.default is not None
        default = _typed(default, kind, f"the default of {name}", statement, statement.default)
    value: Value
    if name in ctx.arguments:
        value = _given(ctx.arguments[name], kind, default, name, statement)
    elif default is None:
        fail(
            "NNS030",
            f"the parameter {name} has no value",
            statement.name.span,
            help=f"give it one: -D {name}=..., or a default: param {name} = ...",
        )
    else:
        value = default
    if statement.domain is not None:
        _check_domain(ctx, value, name, statement.domain)
    ctx.parameters[name] = _plain(value)
    return value


def _plain(value: Value) -> object:
    return [_plain(v) for v in value.items] if isinstance(value, Vector) else value


def _typed(value: Value, kind: str | None, what: str, statement: sx.Param, place: sx.Node) -> Value:
    """The value as the type wants it."""
    label = () if statement.type is None or place is statement.type else (Label(statement.type.span, "the type"),)
    if kind == "int":
        whole = as_integer(value)
        if whole is not None:
            return whole
    elif kind == "real":
        if is_number(value) and math.isfinite(value):
            return float(value)
    elif kind == "string":
        if isinstance(value, str):
            return value
    elif isinstance(value, bool | str | Vector | FiniteSet | Interval) or (is_number(value) and math.isfinite(value)):
        return value
    wanted = {"int": "a whole number", "real": "a number", "string": "a text"}.get(kind or "", "a constant")
    shown = f'"{value}"' if isinstance(value, str) else describe(value)
    fail("NNS033", f"{what} must be {wanted}, but it is {shown}", place.span, "", *label)


def _given(raw: object, kind: str | None, default: Value | None, name: str, statement: sx.Param) -> Value:
    """A value from the command line (a text, read by the parameter's type), a JSON file or Python."""
    value = _from_python(raw, name, statement)
    wanted = kind
    if wanted is None and default is not None:
        wanted = (
            "string"
            if isinstance(default, str)
            else "bool"
            if isinstance(default, bool)
            else "real"
            if is_number(default)
            else None
        )
    if isinstance(value, str) and wanted != "string":
        text = value.strip()
        if wanted in (None, "bool") and text in ("true", "false"):
            return text == "true"
        if wanted != "bool" and _NUMBER.fullmatch(text):
            number: int | float = int(text) if re.fullmatch(r"[+-]?\d{1,300}", text) else float(text)
            return _typed(number, kind, f"the value given for {name}", statement, statement.name)
        if wanted is not None:
            what = {"int": "a whole number", "real": "a number", "bool": "true or false"}[wanted]
            fail(
                "NNS033",
                f'{what} is needed for {name}, but "{text[:60]}" is given',
                statement.name.span,
                "given from outside",
            )
        return value
    if kind is None and default is not None and isinstance(default, str) != isinstance(value, str):
        fail(
            "NNS033",
            f"the value given for {name} is {describe(value)}, but the default is {describe(default)}",
            statement.name.span,
        )
    return _typed(value, kind, f"the value given for {name}", statement, statement.name)


def _from_python(raw: object, name: str, statement: sx.Param) -> Value:
    if isinstance(raw, bool | str):
        return raw
    if isinstance(raw, int):
        return int(raw)
    if isinstance(raw, float):
        return float(raw)  # numpy's float64 is a float too
    if hasattr(raw, "item") and getattr(raw, "shape", None) == ():  # a numpy number
        return _from_python(raw.item(), name, statement)
    if isinstance(raw, list | tuple):
        return Vector(tuple(_from_python(v, name, statement) for v in raw))
    fail("NNS033", f"the value given for {name} is neither a number nor a text", statement.name.span)


def _check_domain(ctx: Context, value: Value, name: str, node: sx.Expr) -> None:
    domain = evaluate(ctx, node, {})
    match domain:
        case Interval(low, high):
            inside = is_number(value) and low <= value <= high
        case IntegerInterval(low, high):
            inside = as_integer(value) is not None and low <= value <= high  # type: ignore[operator]
        case FiniteSet(items):
            inside = value in items
        case Binary():
            inside = value in (0, 1)
        case _:
            fail("NNS040", f"a range or a set was expected here, but this is {describe(domain)}", node.span)
    if not inside:
        shown = show(value) if is_number(value) else f'"{value}"' if isinstance(value, str) else describe(value)
        fail("NNS033", f"{name} is {shown}, which is not allowed", node.span, "it must lie in here")
