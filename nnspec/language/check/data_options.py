"""The options of data sources: columns, classes, scaling, file names."""

from __future__ import annotations

from nnspec.errors import Label
from nnspec.language import syntax as sx
from nnspec.language.check.context import Context, fail
from nnspec.language.check.evaluate import evaluate
from nnspec.language.check.values import describe, is_number, show
from nnspec.language.sources.build import Target
from nnspec.language.sources.errors import did_you_mean
from nnspec.language.sources.scaling import KINDS


def columns_below(node: sx.Expr) -> list[sx.Name | sx.String]:
    if isinstance(node, sx.Name | sx.String):
        return [node]
    if isinstance(node, sx.Array):
        return [c for item in node.items for c in columns_below(item)]
    if isinstance(node, sx.Call):
        return [c for item in node.args for c in columns_below(item)]
    return []


def read_options(
    node: sx.Call, positional: int, names: tuple[str, ...], required: tuple[str, ...], form: str
) -> dict[str, sx.Expr]:
    kind = node.function.span.text
    if len(node.args) != positional:
        place = node.args[positional].span if len(node.args) > positional else node.span
        fail("NNS025", f"{kind} cannot be read this way", place, help=f"write {form}")
    for k in node.keywords:
        if k.name.name not in names:
            fail(
                "NNS025",
                f"{kind} has no option {k.name.name}",
                k.name.span,
                help=did_you_mean(k.name.name, names, f"its options are {', '.join(names)}"),
            )
    given = {k.name.name: k.value for k in node.keywords}
    for name in required:
        if name not in given:
            what = {"x": "the inputs", "y": "the target", "seed": "a seed", "fraction": "a fraction"}.get(name, name)
            fail("NNS025", f"{kind} needs {what}", node.span, help=f"write {form}")
    return given


def scale_kind(ctx: Context, options: dict[str, sx.Expr], name: str) -> str:
    node = options.get(name)
    if node is None:
        return "none"
    kind = node.name if isinstance(node, sx.Name) and node.name not in ctx.definitions else None
    if kind is None:
        value = evaluate(ctx, node, {})
        kind = value if isinstance(value, str) else describe(value)
    if kind not in KINDS:
        fail(
            "NNS069",
            f"unknown scaling {kind}",
            node.span,
            help=did_you_mean(kind, KINDS, "write none, minmax or standard"),
        )
    return kind


def column(node: sx.Expr) -> str:
    if isinstance(node, sx.Name):
        return node.name
    if isinstance(node, sx.String):
        return node.value
    if isinstance(node, sx.Call) and node.function.span.text == "label":
        fail("NNS025", "classes are read alone, and only as the target", node.span, help=f"write y = {node.span.text}")
    fail(
        "NNS025", "the name of a column was expected here", node.span, help='columns are named, as area or "floor area"'
    )


def columns(node: sx.Expr) -> tuple[str, ...]:
    if isinstance(node, sx.Array):
        if not node.items:
            fail("NNS065", "no columns are named here", node.span)
        names = tuple(column(item) for item in node.items)
        for k, name in enumerate(names):
            if name in names[:k]:
                fail(
                    "NNS021",
                    f"the column {name} is named twice",
                    node.items[k].span,
                    "again here",
                    Label(node.items[names.index(name)].span, "first here"),
                )
        return names
    return (column(node),)


def target(ctx: Context, node: sx.Expr) -> Target:
    if isinstance(node, sx.Call) and node.function.span.text == "label":
        if len(node.args) != 1 or any(k.name.name != "classes" for k in node.keywords):
            fail("NNS025", "label takes one column", node.span, help="write label(species)")
        classes: tuple[str, ...] = ()
        for k in node.keywords:
            classes = class_names(ctx, k.value)
        return Target((column(node.args[0]),), True, classes)
    return Target(columns(node))


def class_names(ctx: Context, node: sx.Expr) -> tuple[str, ...]:
    items = node.items if isinstance(node, sx.Array) else ()
    names: list[str] = []
    for item in items:
        if isinstance(item, sx.Name) and item.name not in ctx.definitions:
            names.append(item.name)
        else:
            value = evaluate(ctx, item, {})
            names.append(show(value) if is_number(value) else str(value) if isinstance(value, str) else "")
    if not names or not all(names) or len(set(names)) != len(names):
        fail("NNS025", "classes are a list of different names", node.span, help='write classes = [setosa, "other one"]')
    return tuple(names)


def file_name(ctx: Context, node: sx.Expr) -> str:
    """A text that names a file; without quotation marks it looks like a name with a part."""
    text = node.span.text
    first = node
    while isinstance(first, sx.Attribute):
        first = first.value
    if isinstance(first, sx.Name) and first.name not in ctx.definitions:
        fail("NNS034", "the name of a file stands in quotation marks", node.span, help=f'write "{text}"')
    file = evaluate(ctx, node, {})
    if not isinstance(file, str):
        fail("NNS034", f"the name of a file was expected here, but this is {describe(file)}", node.span)
    return file


def check_scale_y(label: bool, scale_y: str, options: dict[str, sx.Expr]) -> None:
    if label and scale_y != "none":
        fail(
            "NNS069",
            "classes are not scaled",
            options["scale_y"].span,
            "",
            Label(options["y"].span, "classes"),
            help="leave scale_y out",
        )
