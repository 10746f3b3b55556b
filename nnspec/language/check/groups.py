"""Groups as the spec writes them: swap(0, 1), cyclic(4), permutations(u, v, w), group([1, 2, 0]) ..."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnspec.language import syntax as sx
from nnspec.language.check.context import Context, fail
from nnspec.language.check.evaluate import evaluate, integer
from nnspec.language.check.values import (
    FiniteSet,
    IntegerInterval,
    Interval,
    Vector,
    as_integer,
    describe,
    given,
    plural,
)
from nnspec.language.sources.errors import did_you_mean
from nnspec.problem import groups
from nnspec.problem.groups import Generator
from nnspec.problem.problem import Group

FORMS = {
    "swap": "swap(0, 1)",
    "cyclic": "cyclic(4)",
    "permutations": "permutations(0..3)",
    "signflip": "signflip(0)",
    "d4": "d4(8, 8)",
    "translations": "translations(8, 8)",
    "group": "group([1, 2, 0])",
}
MAX_POSITIONS = 10_000


@dataclass(frozen=True)
class Ground:
    """What a group acts on: `n` positions, perhaps with names; `what` they are for messages; channels of an image."""

    n: int
    names: tuple[str, ...]
    what: str  # "inputs of f"
    channels: int = 1


def read_group(ctx: Context, node: sx.Expr, ground: Ground) -> Group:
    """The group that an expression states."""
    generators = _generators(ctx, node, ground)
    return Group(" ".join(node.span.text.split()), generators)


def _generators(ctx: Context, node: sx.Expr, on: Ground) -> tuple[Generator, ...]:
    if not isinstance(node, sx.Call) or not isinstance(node.function, sx.Name):
        fail("NNS082", "a group was expected here", node.span, help=f"groups are {', '.join(FORMS.values())}")
    kind = node.function.name
    if kind not in FORMS:
        fail(
            "NNS082",
            f"unknown group {kind}",
            node.function.span,
            help=did_you_mean(kind, FORMS, f"groups are {', '.join(FORMS.values())}"),
        )
    if node.keywords:
        fail("NNS082", f"{kind} has no options", node.keywords[0].span, help=f"write {FORMS[kind]}")
    n = on.n
    if n > MAX_POSITIONS:
        fail("NNS083", f"groups act on at most {MAX_POSITIONS:,} positions, but there are {n:,} {on.what}", node.span)
    match kind:
        case "swap":
            i, j = _positions(ctx, node, on, 2)
            return groups.swap(n, i, j)
        case "signflip":
            (i,) = _positions(ctx, node, on, 1)
            return groups.signflip(n, i)
        case "cyclic":
            return groups.cyclic(n, _cycle(ctx, node, on))
        case "permutations":
            return groups.permutations(n, _positions(ctx, node, on, None))
        case "d4" | "translations":
            rows, columns, channels = _grid(ctx, node, on)
            if kind == "translations":
                return groups.translations(rows, columns, channels)
            if rows != columns:
                fail("NNS082", f"d4 turns a square, but this is {rows} x {columns}", node.span)
            return groups.d4(rows, channels)
    return _listed(ctx, node, on)


def _cycle(ctx: Context, node: sx.Call, on: Ground) -> list[int]:
    """cyclic(4) shifts 0..3; cyclic(0..3) and cyclic(u, v, w) name the positions."""
    if len(node.args) == 1 and not (isinstance(node.args[0], sx.Name) and node.args[0].name in on.names):
        whole = as_integer(evaluate(ctx, node.args[0], {}))
        if whole is not None:
            if not 1 <= whole <= on.n:
                fail("NNS083", f"cyclic({whole}) does not fit: there are {on.n} {on.what}", node.args[0].span)
            return list(range(whole))
    return _positions(ctx, node, on, None)


def _positions(ctx: Context, node: sx.Call, on: Ground, wanted: int | None) -> list[int]:
    """Positions by number, by name, or as a range or list of them."""
    found: list[int] = []
    for argument in node.args:
        for position in _position(ctx, argument, on):
            if position in found:
                fail("NNS082", f"position {position} is named twice", argument.span)
            found.append(position)
    if wanted is not None and len(found) != wanted:
        fail(
            "NNS082",
            f"{node.function.span.text} takes {plural(wanted, 'position')}, {given(len(found))}",
            node.span,
            help=f"write {FORMS[node.function.span.text]}",
        )
    if not found:
        fail("NNS082", "no positions are given", node.span, help=f"write {FORMS[node.function.span.text]}")
    return found


def _position(ctx: Context, node: sx.Expr, on: Ground) -> list[int]:
    text = node.name if isinstance(node, sx.Name) else node.value if isinstance(node, sx.String) else None
    if text is not None and text in on.names:
        return [on.names.index(text)]
    if text is not None and text not in ctx.definitions:
        listed = f"the names are {', '.join(on.names[:12])}" if on.names else f"positions are numbers 0..{on.n - 1}"
        fail("NNS083", f"{text} is not one of the {on.what}", node.span, help=did_you_mean(text, on.names, listed))
    value = evaluate(ctx, node, {})
    items: Sequence[object]
    match value:
        case Interval(low, high) | IntegerInterval(low, high):
            first, last = as_integer(low), as_integer(high)
            if first is None or last is None or last < first:
                fail("NNS082", f"{describe(value)} names no positions", node.span)
            if first < 0 or last >= on.n:
                fail("NNS083", f"there are {on.n} {on.what}: positions are 0..{on.n - 1}", node.span)
            return list(range(first, last + 1))
        case FiniteSet(items) | Vector(items):
            pass
        case _:
            items = (value,)
    found = []
    for item in items:
        whole = as_integer(item)
        if whole is None:
            fail("NNS082", f"a position was expected here, but this is {describe(item)}", node.span)
        if not 0 <= whole < on.n:
            fail("NNS083", f"there is no position {whole}: there are {on.n} {on.what}, 0..{on.n - 1}", node.span)
        found.append(whole)
    return found


def _grid(ctx: Context, node: sx.Call, on: Ground) -> tuple[int, int, int]:
    if len(node.args) != 2:
        fail("NNS082", "a grid has rows and columns", node.span, help=f"write {FORMS[node.function.span.text]}")
    rows, columns = (integer(ctx, a, {}, "a number of rows or columns", 1) for a in node.args)
    if on.n != rows * columns * on.channels:
        fail(
            "NNS083",
            f"a grid of {rows} x {columns} does not fit: there are {on.n} {on.what}",
            node.span,
        )
    return rows, columns, on.channels


def _listed(ctx: Context, node: sx.Call, on: Ground) -> tuple[Generator, ...]:
    """group([1, 2, 0], [1, 0, 2]): x'[i] = x[list[i]]; other groups among the arguments add their generators."""
    generators: list[Generator] = []
    for argument in node.args:
        if isinstance(argument, sx.Call):
            generators += _generators(ctx, argument, on)
            continue
        value = evaluate(ctx, argument, {})
        images = [as_integer(v) for v in value.items] if isinstance(value, Vector) else []
        if sorted(i for i in images if i is not None) != list(range(len(images))) or not images:
            fail(
                "NNS082",
                "a generator is a list of the positions 0, 1, 2 ... in another order",
                argument.span,
                help="x'[i] = x[list[i]], as in group([1, 2, 0])",
            )
        if len(images) != on.n:
            fail("NNS083", f"this acts on {len(images)} positions, but there are {on.n} {on.what}", argument.span)
        generators.append((tuple(i for i in images if i is not None), (1,) * on.n))
    if not generators:
        fail("NNS082", "a group needs a generator", node.span, help="write group([1, 2, 0])")
    return tuple(generators)
