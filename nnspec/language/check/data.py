"""data statements: from the source in the text to samples, with the place of whatever is wrong."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from nnspec.errors import Diagnostic, Label, Span
from nnspec.language import syntax as sx
from nnspec.language.check.context import Context, DataInfo, fail
from nnspec.language.check.data_options import (
    check_scale_y,
    class_names,
    column,
    columns,
    columns_below,
    file_name,
    read_options,
    scale_kind,
    target,
)
from nnspec.language.check.evaluate import evaluate, integer, number
from nnspec.language.check.values import DataRef, Value, Vector, describe, is_number, show
from nnspec.language.sources import DataError, Samples
from nnspec.language.sources.build import READERS, from_file, from_lists
from nnspec.language.sources.errors import did_you_mean
from nnspec.language.sources.tables import Table, class_numbers

SOURCES = ("table", *READERS, "split")


def define_data(ctx: Context, statement: sx.Data) -> list[DataRef]:
    """Read the data set of a statement, or the two of a split, and enter them."""
    source = statement.source
    call = isinstance(source, sx.Call) and isinstance(source.function, sx.Name)
    if call and source.function.name == "split":  # type: ignore[attr-defined]
        if len(statement.names) != 2:
            fail(
                "NNS070",
                "a split gives two data sets",
                statement.names[0].span,
                help="write data train, test = split(...)",
            )
        infos = _split(ctx, source, statement)  # type: ignore[arg-type]
    elif len(statement.names) > 1:
        fail(
            "NNS070",
            f"{len(statement.names)} names need a split",
            source.span,
            help="write data train, test = split(..., 0.8, seed = 1)",
        )
    else:
        samples, x_span, y_span = _source(ctx, source)
        infos = [_info(ctx, statement.names[0], samples, x_span, y_span, source)]
    refs = []
    for name, info in zip(statement.names, infos):
        ctx.data[name.name] = info
        refs.append(DataRef(name.name))
    return refs


def _info(ctx: Context, name: sx.Name, samples: Samples, x_span: Span, y_span: Span, source: sx.Expr) -> DataInfo:
    samples_fitted = samples.fitted()
    try:
        data = samples_fitted.data_set(name.name, name.span)
    except DataError as error:
        _raise(ctx, error, source)
    if samples_fitted.constant and samples.scalings is None:
        columns = ", ".join(samples_fitted.constant)
        one = len(samples_fitted.constant) == 1
        ctx.warn(
            "NNS071",
            f"{columns} {'has' if one else 'have'} the same value in all samples and {'is' if one else 'are'} "
            "scaled to 0",
            name.span,
            help="leave constant columns out",
        )
    return DataInfo(samples, data, name.span, x_span, y_span)


def _raise(ctx: Context, error: DataError, source: sx.Expr) -> NoReturn:
    """Report a data error, and the others of the same source, at the parts of the statement that they are about."""
    for e in error.others:
        ctx.report(Diagnostic(e.code, e.message, (Label(_place(e, source)),), e.help))
    fail(error.code, error.message, _place(error, source), help=error.help)


def _place(error: DataError, source: sx.Expr) -> Span:
    """The file, an option, or a column's name."""
    place = source.span
    if isinstance(source, sx.Call):
        if error.about == "file" and source.args:
            place = source.args[0].span
        elif error.about is not None:
            for keyword in source.keywords:
                if keyword.name.name == error.about:
                    place = keyword.value.span
            for keyword in source.keywords:
                for node in columns_below(keyword.value):
                    if (node.name if isinstance(node, sx.Name) else node.value) == error.about:
                        place = node.span
    return place


def _source(ctx: Context, node: sx.Expr) -> tuple[Samples, Span, Span]:
    """The samples of a source, and the places of its inputs and targets."""
    if isinstance(node, sx.Name) and node.name in ctx.definitions:
        value = evaluate(ctx, node, {})
        if not isinstance(value, DataRef):
            fail("NNS025", f"a data source was expected here, but this is {describe(value)}", node.span, help=_forms())
        info = ctx.data[value.name]
        return info.samples, info.x_span, info.y_span
    if not isinstance(node, sx.Call) or not isinstance(node.function, sx.Name):
        fail("NNS025", "a data source was expected here", node.span, help=_forms())
    kind = node.function.name
    if kind not in SOURCES:
        fail("NNS024", f"unknown data source {kind}", node.function.span, help=did_you_mean(kind, SOURCES, _forms()))
    if kind == "split":
        fail("NNS070", "a split gives two data sets", node.span, help="write data train, test = split(...)")
    return _table(ctx, node) if kind == "table" else _file(ctx, kind, node)


def _forms() -> str:
    return 'sources are table(x = ..., y = ...), csv("f.csv", x = [...], y = ...), npz(...) and parquet(...)'


def _file(ctx: Context, kind: str, node: sx.Call) -> tuple[Samples, Span, Span]:
    form = f'{kind}("file.{kind}", x = [a, b], y = c)'
    options = read_options(node, 1, ("x", "y", "scale", "scale_y"), ("x", "y"), form)
    file = file_name(ctx, node.args[0])
    x, y = columns(options["x"]), target(ctx, options["y"])
    scale, scale_y = scale_kind(ctx, options, "scale"), scale_kind(ctx, options, "scale_y")
    check_scale_y(y.label, scale_y, options)
    for name in y.columns:
        if name in x:
            place = next(c.span for c in columns_below(options["y"]) if column(c) == name)
            other = next(c.span for c in columns_below(options["x"]) if column(c) == name)
            fail("NNS021", f"the column {name} is both input and target", place, "target", Label(other, "input"))
    try:
        path, content = ctx.reader.read(file, ctx.folder(node.span))
        samples = from_file(kind, content, path.name, x, y, scale, scale_y)
    except DataError as error:
        _raise(ctx, error, node)
    return samples, options["x"].span, options["y"].span


def _table(ctx: Context, node: sx.Call) -> tuple[Samples, Span, Span]:
    form = "table(x = [[0, 0], [0, 1]], y = [0, 1])"
    options = read_options(node, 0, ("x", "y", "scale", "scale_y"), ("x", "y"), form)
    scale, scale_y = scale_kind(ctx, options, "scale"), scale_kind(ctx, options, "scale_y")
    x_node, y_node = options["x"], options["y"]
    x = _matrix(evaluate(ctx, x_node, {}), x_node)
    classes: tuple[str, ...] = ()
    label = isinstance(y_node, sx.Call) and y_node.function.span.text == "label"
    if label:
        assert isinstance(y_node, sx.Call)
        if len(y_node.args) != 1 or any(k.name.name != "classes" for k in y_node.keywords):
            fail("NNS025", "label takes one list", y_node.span, help='write label(["a", "b"])')
        names = evaluate(ctx, y_node.args[0], {})
        if not isinstance(names, Vector) or not all(isinstance(v, str) or is_number(v) for v in names.items):
            fail("NNS034", f"a list of classes was expected here, but this is {describe(names)}", y_node.args[0].span)
        cells = [v if isinstance(v, str) else show(v) for v in names.items]  # type: ignore[arg-type]
        table = Table("the table", ("y",), (), lambda _: cells, lambda i: f"row {i + 1}")
        given = next((class_names(ctx, k.value) for k in y_node.keywords), ())
        try:
            numbers, classes = class_numbers(table, "y", given)
        except DataError as error:
            fail(error.code, error.message, y_node.span, help=error.help)
        y = numbers[:, None]
    else:
        y = _matrix(evaluate(ctx, y_node, {}), y_node)
    check_scale_y(label, scale_y, options)
    try:
        return from_lists(x, y, classes, scale, scale_y), x_node.span, y_node.span
    except DataError as error:
        _raise(ctx, error, node)


def _matrix(value: Value, node: sx.Expr) -> np.ndarray:
    """A list of numbers (N, 1) or of lists of numbers (N, d)."""
    if not isinstance(value, Vector):
        fail("NNS034", f"a list was expected here, but this is {describe(value)}", node.span)
    literal = node.items if isinstance(node, sx.Array) and len(node.items) == len(value.items) else ()
    rows: list[list[float]] = []
    for i, item in enumerate(value.items):
        place = literal[i].span if literal else node.span
        cells = item.items if isinstance(item, Vector) else (item,)
        for cell in cells:
            if not is_number(cell):
                help = 'classes are read by label(["a", "b"])' if isinstance(cell, str) else None
                fail("NNS064", f"row {i + 1} contains {describe(cell)}, not a number", place, help=help)
            if not np.isfinite(float(cell)):
                fail("NNS064", f"row {i + 1} contains an infinite number", place)
        if rows and len(cells) != len(rows[0]):
            fail(
                "NNS066",
                f"row {i + 1} has {len(cells)} numbers, but row 1 has {len(rows[0])}",
                place,
                "",
                *([Label(literal[0].span, f"{len(rows[0])} numbers")] if literal else []),
            )
        rows.append([float(c) for c in cells])  # type: ignore[arg-type]
    if not rows or not rows[0]:
        fail("NNS065", "there are no samples", node.span)
    return np.array(rows)


def _split(ctx: Context, node: sx.Call, statement: sx.Data) -> list[DataInfo]:
    form = "split(D, 0.8, seed = 1)"
    if len(node.args) == 1 and any(k.name.name == "fraction" for k in node.keywords):
        options = read_options(node, 1, ("fraction", "seed"), ("fraction",), form)
    else:
        options = read_options(node, 2, ("seed",), (), form)
        options["fraction"] = node.args[1]
    samples, x_span, y_span = _source(ctx, node.args[0])
    fraction = number(ctx, options["fraction"], {})
    if not 0 < fraction < 1:
        fail("NNS070", f"a fraction lies between 0 and 1, but this is {show(fraction)}", options["fraction"].span)
    seed = integer(ctx, options["seed"], {}, "a seed", 0) if "seed" in options else 0
    try:
        parts = samples.split(float(fraction), seed)
    except DataError as error:
        fail(error.code, error.message, options["fraction"].span, help=error.help)
    infos = [_info(ctx, n, part, x_span, y_span, node) for n, part in zip(statement.names, parts)]
    if parts[0].constant and samples.scalings is None:
        ctx.warn(
            "NNS071",
            f"{', '.join(parts[0].constant)}: the same value in all samples of the training part, scaled to 0",
            statement.names[0].span,
            help="leave constant columns out",
        )
    return infos
