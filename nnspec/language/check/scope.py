"""Names: what a spec defines, what is built in, and how a name is turned into a value.

Definitions may be used before they are written; one that needs itself is an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NoReturn

from nnspec.errors import Diagnostic, Label
from nnspec.language import syntax as sx
from nnspec.language.check.context import CheckError, Context, Definition, Poisoned, fail
from nnspec.language.check.trees import walk
from nnspec.language.check.values import Binary, Interval, Value
from nnspec.language.sources.errors import did_you_mean

CONSTANTS: dict[str, Value] = {
    "pi": math.pi, "inf": math.inf, "true": True, "false": False,
    "binary": Binary(), "real": Interval(-math.inf, math.inf),
}  # fmt: skip

MAX_NESTED_DEFINITIONS = 25
"""Definitions that may be under way at once. In the order of the text they never are; only forward references nest."""


def declare(ctx: Context, statements: tuple[sx.Statement, ...]) -> None:
    """Enter the names that the statements define; a name defined twice is reported with both places."""
    for statement in statements:
        for name, kind in _names(statement):
            earlier = ctx.definitions.get(name.name)
            if earlier is not None:
                earlier.state = "failed"  # which of the two is meant is not known
                ctx.report(
                    Diagnostic(
                        "NNS021",
                        f"{name.name} is defined twice",
                        (
                            Label(name.span, f"here as a {kind}"),
                            Label(earlier.span, f"first here, as a {earlier.kind}"),
                        ),
                        "give one of them another name",
                    )
                )
            elif name.name in CONSTANTS:
                ctx.report(
                    Diagnostic(
                        "NNS026",
                        f"{name.name} is built in and cannot be defined again",
                        (Label(name.span),),
                        "choose another name",
                    )
                )
            else:
                ctx.definitions[name.name] = Definition(name.name, kind, statement, name.span)


def _names(statement: sx.Statement) -> Iterator[tuple[sx.Name, str]]:
    match statement:
        case sx.Param(name=name):
            yield name, "parameter"
        case sx.SetDefinition(name=name):
            yield name, "set"
        case sx.Let(name=name):
            yield name, "named expression"
        case sx.Data(names=names):
            for name in names:
                yield name, "data set"
        case sx.Net(name=name):
            yield name, "network"
        case sx.Var(name=name):
            yield name, "variable"


def in_order(ctx: Context) -> list[Definition]:
    """The definitions, each after those whose names it mentions, so that `resolve` need not nest.

    Mentioned names may be bound by a `for` or be columns of a file; the order is then only different, not wrong.
    """
    ordered: dict[str, None] = {}
    begun: set[str] = set()
    for name in ctx.definitions:
        stack = [(name, False)]
        while stack:
            top, finished = stack.pop()
            if finished:
                ordered[top] = None
            elif top not in begun:
                begun.add(top)
                stack.append((top, True))
                for node in walk(ctx.definitions[top].statement):
                    if isinstance(node, sx.Name) and node.name in ctx.definitions and node.name not in begun:
                        stack.append((node.name, False))
    return [ctx.definitions[name] for name in ordered]


def lookup(ctx: Context, node: sx.Name, env: Mapping[str, Value]) -> Value:
    """The value of a name that no `for` binds."""
    definition = ctx.definitions.get(node.name)
    if definition is None:
        if node.name in CONSTANTS:
            return CONSTANTS[node.name]
        unknown(ctx, node, env)
    definition.used = True
    return resolve(ctx, definition, node)


def unknown(ctx: Context, node: sx.Name, env: Mapping[str, Value]) -> NoReturn:
    """Report a name that nothing defines."""
    from nnspec.language.check.functions import FUNCTIONS

    if node.name in FUNCTIONS:
        fail("NNS020", f"{node.name} is a function and needs arguments", node.span, help=f"write {node.name}(...)")
    if ctx.broken:
        raise Poisoned
    known = [*env, *ctx.definitions, *CONSTANTS]
    fail("NNS020", f"unknown name {node.name}", node.span, help=did_you_mean(node.name, known))


def resolve(ctx: Context, definition: Definition, at: sx.Name | None = None) -> Value:
    """What a definition stands for; it is checked when it is first needed."""
    if definition.state == "done":
        assert definition.value is not None
        return definition.value
    if definition.state == "failed":
        raise Poisoned
    if definition.state == "busy":
        names = [d.name for d in ctx.busy]
        circle = " -> ".join(
            [*names[names.index(definition.name) :], definition.name] if definition.name in names else []
        )
        fail(
            "NNS027",
            f"{definition.name} is needed for its own definition",
            definition.span if at is None else at.span,
            "needed here",
            Label(definition.span, "defined here"),
            help=f"the circle is {circle}" if circle else None,
        )
    if len(ctx.busy) >= MAX_NESTED_DEFINITIONS:
        fail(
            "NNS028",
            "these definitions build on each other too deeply",
            definition.span,
            help="write definitions before their use",
        )
    from nnspec.language.check.definitions import define

    siblings = (
        [d for d in ctx.definitions.values() if d.statement is definition.statement]
        if isinstance(definition.statement, sx.Data)
        else [definition]
    )
    for d in siblings:
        d.state = "busy"
    ctx.busy.append(definition)
    try:
        define(ctx, definition)
    except (CheckError, Poisoned) as error:
        for d in siblings:
            d.state = "failed"
        if isinstance(error, CheckError):
            ctx.report(error.diagnostic)
        raise Poisoned from None
    finally:
        ctx.busy.pop()
    assert definition.state == "done"
    assert definition.value is not None
    return definition.value


def finish(definition: Definition, value: Value) -> None:
    definition.value, definition.state = value, "done"
