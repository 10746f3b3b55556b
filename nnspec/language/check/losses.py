"""loss(f, D): the network must fit the data set, and the kind of loss the kind of targets."""

from __future__ import annotations

import numpy as np

from nnspec.errors import Label, Span
from nnspec.language import syntax as sx
from nnspec.language.check.context import Context, Use, fail
from nnspec.language.check.evaluate import Env, evaluate, number
from nnspec.language.check.values import DataRef, NetworkRef, Value, describe, plural, show
from nnspec.problem import Objective, Point, Problem
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import loss
from nnspec.problem.losses import REGRESSION

OPTIONS: dict[str, tuple[str, ...]] = {
    "sse": (), "mse": (), "sae": (), "mae": (), "max_error": (), "huber": ("delta",), "pinball": ("q",),
    "hinge": ("margin",), "squared_hinge": ("margin",), "logistic": (), "cross_entropy": (), "errors": ("margin",),
}  # fmt: skip
LOSSES = tuple(OPTIONS)


def loss_call(ctx: Context, node: sx.Call, env: Env) -> Value:
    """The value of `loss(f, D, option = ...)`."""
    from nnspec.language.check.functions import arguments

    kind = node.function.span.text
    options = arguments(node, 2, 2, OPTIONS[kind])
    network, data = (evaluate(ctx, a, env) for a in node.args)
    if isinstance(network, DataRef) and isinstance(data, NetworkRef):
        fail("NNS025", f"{kind} takes the network first", node.span, help=f"write {kind}({data.name}, {network.name})")
    if not isinstance(network, NetworkRef):
        fail(
            "NNS025",
            f"{kind} takes a network here, but this is {describe(network)}",
            node.args[0].span,
            help=f"write {kind}(f, D)",
        )
    if not isinstance(data, DataRef):
        fail(
            "NNS025",
            f"{kind} takes a data set here, but this is {describe(data)}",
            node.args[1].span,
            help=f"write {kind}(f, D)",
        )
    values = {name: _option(ctx, kind, name, value, env) for name, value in options.items()}
    check_use(ctx, network.name, data.name, node.span)
    _check_targets(ctx, kind, network.name, data.name, node.span)
    ctx.uses.append(Use(network.name, data.name, node.span))
    result = ex.Loss(kind, network.name, data.name, **values, span=node.span)
    return result if ctx.networks[network.name].free else _constant(ctx, result)


def _constant(ctx: Context, e: ex.Loss) -> float:
    """The loss of a network whose weights are all constants."""
    shell = Problem("", ctx.networks, {e.data: ctx.data[e.data].data}, {}, Objective("satisfy", None))
    return loss(shell, Point(), e)


def _option(ctx: Context, kind: str, name: str, node: sx.Expr, env: Env) -> float:
    value = float(number(ctx, node, env))
    if name == "q" and not 0 < value < 1:
        fail("NNS051", f"the quantile q of {kind} lies between 0 and 1, but this is {show(value)}", node.span)
    if name != "q" and not 0 < value < np.inf:
        why = "with none, a network that is 0 everywhere would be right everywhere" if kind == "errors" else None
        fail("NNS051", f"{name} of {kind} must be positive, but this is {show(value)}", node.span, help=why)
    return value


def check_use(ctx: Context, network: str, data: str, span: Span) -> None:
    """A network and a data set that are used together must have the same number of inputs."""
    net, info = ctx.networks[network], ctx.data[data]
    columns = info.data.x.shape[1]
    if columns != net.input_size:
        layer = net.inputs[0]
        place = layer.span or net.span or span
        fail(
            "NNS031",
            "layer sizes do not match",
            place,
            plural(net.input_size, "input"),
            Label(info.x_span, plural(columns, "input")),
            Label(span, "used together here"),
            help=f"write input({columns}), or leave the size out: input()"
            if network not in ctx.imported
            else f"{network} was made for {plural(net.input_size, 'input')}: choose the columns it wants",
        )
    if network in ctx.imported and (info.data.x_scaling or info.data.y_scaling):
        fail(
            "NNS055",
            f"{network} is imported and takes raw numbers, but {data} is scaled",
            span,
            "used together here",
            Label(info.span, "scaled here"),
            help="read the data with scale = none",
        )


def _outputs_label(ctx: Context, network: str, span: Span) -> tuple[Span, str]:
    net = ctx.networks[network]
    layer = net[net.outputs[-1]]
    return layer.span or net.span or span, plural(net.output_size, "output")


def _check_targets(ctx: Context, kind: str, network: str, data: str, span: Span) -> None:
    info, outputs = ctx.data[data], ctx.networks[network].output_size
    d = info.data
    place, label = _outputs_label(ctx, network, span)
    targets = Label(info.y_span, plural(d.y.shape[1], "target"))
    if kind in REGRESSION:
        if len(d.classes) > 2:
            fail(
                "NNS050",
                f"{kind} is a loss for numbers, but the targets of {data} are {len(d.classes)} classes",
                span,
                "",
                Label(info.y_span, "classes"),
                help="use cross_entropy, hinge or errors, or read columns of 0 and 1",
            )
        if d.y.shape[1] != outputs:
            fail(
                "NNS031",
                "layer sizes do not match",
                place,
                label,
                targets,
                Label(span, "used together here"),
                help=f"the last layer needs {plural(d.y.shape[1], 'output')}, one for each target",
            )
        return
    if d.y.shape[1] != 1:
        fail(
            "NNS050",
            f"{kind} needs one column of classes, but {data} has {d.y.shape[1]} targets",
            span,
            "",
            targets,
            help="read the classes by y = label(column)",
        )
    if len(d.classes) == 1:
        fail(
            "NNS050",
            f"all samples of {data} are of the class {d.classes[0]}",
            info.y_span,
            help="a classifier needs two classes or more",
        )
    if outputs == 1:
        _check_binary(ctx, kind, network, data, span)
        return
    if kind == "logistic":
        fail(
            "NNS050",
            f"logistic is for networks with one output, but {network} has {outputs}",
            place,
            label,
            Label(span, "used here"),
            help="use cross_entropy for several classes",
        )
    if d.classes and len(d.classes) != outputs:
        fail(
            "NNS031",
            "layer sizes do not match",
            place,
            label,
            Label(info.y_span, f"{len(d.classes)} classes"),
            Label(span, "used together here"),
            help=f"the last layer needs {len(d.classes)} outputs, one for each class",
        )
    wrong = np.flatnonzero((d.y[:, 0] != np.floor(d.y[:, 0])) | (d.y[:, 0] < 0) | (d.y[:, 0] >= outputs))
    if len(wrong):
        i = int(wrong[0])
        fail(
            "NNS050",
            f"{kind} needs class numbers 0..{outputs - 1}",
            info.y_span,
            f"the target of row {d.rows[i]} is {show(float(d.y[i, 0]))}",
            Label(place, label),
            help="read classes by y = label(column)",
        )


def _check_binary(ctx: Context, kind: str, network: str, data: str, span: Span) -> None:
    info = ctx.data[data]
    values = set(np.unique(info.data.y).tolist())
    place, label = _outputs_label(ctx, network, span)
    net = ctx.networks[network]
    if net[net.outputs[-1]].activation.kind == "softmax":
        fail(
            "NNS046",
            "softmax of one output is always 1",
            place,
            help="leave softmax out, or give the layer two outputs",
        )
    if len(info.data.classes) > 2:
        n = len(info.data.classes)
        fail(
            "NNS031",
            "layer sizes do not match",
            place,
            label,
            Label(info.y_span, f"{n} classes"),
            Label(span, "used together here"),
            help=f"the last layer needs {n} outputs, one for each class",
        )
    if not (values <= {0.0, 1.0} or values <= {-1.0, 1.0}):
        d = info.data
        i = int(np.flatnonzero(~np.isin(d.y[:, 0], (-1.0, 0.0, 1.0)))[0]) if not values <= {-1.0, 0.0, 1.0} else -1
        what = f"the target of row {d.rows[i]} is {show(float(d.y[i, 0]))}" if i >= 0 else "the targets are -1, 0 and 1"
        fail(
            "NNS050",
            f"with one output, {kind} needs targets 0 and 1, or -1 and 1, but {what}",
            info.y_span,
            "",
            Label(place, label),
            Label(span, "used together here"),
            help="read classes by y = label(column)",
        )
