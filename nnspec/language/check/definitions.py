"""What each kind of definition stands for: param, set, let, data, net, var."""

from __future__ import annotations

from typing import Any

from nnspec.errors import Label
from nnspec.language import syntax as sx
from nnspec.language.check.comprehension import annotated, bindings
from nnspec.language.check.context import CheckError, Context, Definition, fail
from nnspec.language.check.data import define_data
from nnspec.language.check.evaluate import evaluate
from nnspec.language.check.logic import disjunction
from nnspec.language.check.nets import define_network
from nnspec.language.check.parameters import define_parameter
from nnspec.language.check.ranges import Bounds, bounds
from nnspec.language.check.scope import finish
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
    show,
)
from nnspec.problem import expression as ex
from nnspec.problem.problem import Constraint, Variable

VARIABLE_TYPES = ("real", "int", "binary")


def define(ctx: Context, definition: Definition) -> None:
    """Find the value of a definition (of all names of a data statement) and enter it."""
    statement: Any = definition.statement
    match statement:
        case sx.Param():
            finish(definition, define_parameter(ctx, statement))
        case sx.SetDefinition(value=value):
            finish(definition, _set(ctx, value))
        case sx.Let(value=value):
            result = evaluate(ctx, value, {})
            finish(definition, result)
        case sx.Data(names=names):
            for name, ref in zip(names, define_data(ctx, statement)):
                found = ctx.definitions[name.name]
                if found.statement is statement:
                    finish(found, ref)
        case sx.Net():
            finish(definition, define_network(ctx, statement))
        case sx.Var():
            finish(definition, _variable(ctx, statement))


def _set(ctx: Context, node: sx.Expr) -> Value:
    value = evaluate(ctx, node, {})
    match value:
        case Interval(low, high):
            if as_integer(low) is None or as_integer(high) is None:
                help = "both ends must be whole numbers; a range of real numbers is named by let"
                fail("NNS034", f"a set is finite, but this is {describe(value)}", node.span, help=help)
            return IntegerInterval(low, high)
        case IntegerInterval() | FiniteSet() | Binary():
            return value
        case Vector(items):
            seen = []
            for item in items:
                if item not in seen:
                    seen.append(item)
            return Vector(tuple(seen)) if any(isinstance(i, Vector) for i in seen) else FiniteSet(tuple(seen))
        case Family(_, members):
            return FiniteSet(tuple(k[0] if len(k) == 1 else Vector(k) for k in members))
    fail("NNS034", f"a set was expected here, but this is {describe(value)}", node.span, help="write {1, 2, 3} or 0..9")


def _variable(ctx: Context, statement: sx.Var) -> Value:
    name = statement.name.name
    kind = statement.type.name if statement.type is not None else "real"
    if kind not in VARIABLE_TYPES:
        assert statement.type is not None
        fail(
            "NNS034",
            f"unknown type {kind} of a variable",
            statement.type.span,
            help="the types are real, int and binary",
        )
    if not statement.generators:
        return _one(ctx, statement, name, kind, {})
    members: dict[tuple[int | str, ...], ex.VariableRef] = {}
    for bound in bindings(ctx, statement.generators, statement.condition, {}):
        key: tuple[int | str, ...] = ()
        for generator in statement.generators:
            for part in generator.names:
                key += (_key(bound[part.name], generator),)
        if key in members:
            fail(
                "NNS021",
                f"{name}[{_shown(key)}] is declared twice",
                statement.span,
                help="an index set holds each element once",
            )
        try:
            members[key] = _one(ctx, statement, f"{name}[{_shown(key)}]", kind, bound)
        except CheckError as error:
            raise annotated(ctx, error, statement.generators, bound) from None
    return Family(name, members)


def _shown(key: tuple[int | str, ...]) -> str:
    return ",".join(map(str, key))


def _key(value: Value, generator: sx.Generator) -> int | str:
    whole = as_integer(value)
    if whole is not None:
        return whole
    if not isinstance(value, str):
        fail(
            "NNS034",
            f"an index is a whole number or a text, but this set contains {describe(value)}",
            generator.domain.span,
        )
    return value


def _one(ctx: Context, statement: sx.Var, name: str, kind: str, env: dict[str, Value] | Any) -> ex.VariableRef:
    """Enter one variable. A finite set that is no range becomes a range and a constraint."""
    domain = Bounds(float("-inf"), float("inf"), "int" if kind == "int" else "real")
    if statement.domain is not None:
        domain = bounds(ctx, statement.domain, env, whole=kind != "real")
    place = statement.span
    if kind == "binary":
        if statement.domain is None:
            domain = Bounds(0.0, 1.0, "int")
        elif not 0 <= domain.lo <= domain.hi <= 1:
            assert statement.type is not None
            fail(
                "NNS040",
                "a binary variable is 0 or 1",
                statement.domain.span,
                f"this is {show(domain.lo)}..{show(domain.hi)}",
                Label(statement.type.span, "binary"),
                help="leave the range out, or write int",
            )
    reference = ex.VariableRef(name, span=statement.name.span)
    values = domain.values
    if domain.kind == "set":
        whole = all(v == int(v) for v in values)
        if whole and len(values) == int(domain.hi - domain.lo) + 1:
            values = ()
        found = "int" if whole or kind == "int" else "real"
    else:
        found = domain.kind
    if found == "int" and (kind == "binary" or (domain.lo, domain.hi) == (0.0, 1.0)):
        found = "binary"
    ctx.variables[name] = Variable(name, domain.lo, domain.hi, found, place)
    if values:
        parts: list[Value] = [ex.Comparison("==", reference, ex.Constant(v, span=place), span=place) for v in values]
        choice = disjunction(ctx, parts, place)
        assert isinstance(choice, ex.Expression)
        ctx.constraints.append(Constraint(choice, f"{name} in its set", place))
    return reference
