"""One layer: its arguments, its shape, its parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nnspec.errors import Label, Span
from nnspec.language import syntax as sx
from nnspec.language.check.context import Context, fail
from nnspec.language.check.evaluate import evaluate, integer, number
from nnspec.language.check.ranges import Bounds, bounds
from nnspec.language.check.values import Vector, as_integer, describe, plural, show
from nnspec.language.sources.errors import did_you_mean
from nnspec.problem.network import ACTIVATIONS, Activation, Layer, Parameter

KINDS = ("input", "dense", "conv", "avgpool", "maxpool", "flatten", "activation", "add", "concat")
OPTIONS: dict[str, tuple[str, ...]] = {
    "conv": ("stride", "padding", "dilation", "groups"),
    "avgpool": ("stride", "padding"),
    "maxpool": ("stride", "padding"),
}  # fmt: skip
WEIGHTED = ("dense", "conv")
FORMS = {
    "dense": "dense(units, activation)",
    "conv": "conv(filters, kernel, activation)",
    "avgpool": "avgpool(kernel, stride = kernel)",
    "maxpool": "maxpool(kernel, stride = kernel)",
}
POSITIONAL = ("units", "activation", "filters", "kernel", "size", "kernel_size", "out_features")
MAX_UNITS = 1_000_000
MAX_WEIGHTS = 10_000_000
REAL = Bounds(-math.inf, math.inf)
LINEAR = Activation()
NONE: Mapping[str, object] = {}


@dataclass
class Settings:
    """What `with` and the settings inside a layer say; the layer's own take precedence."""

    weights: Bounds = REAL
    biases: Bounds = REAL
    bias: bool = True
    l0: int | None = None
    places: dict[str, Span] = field(default_factory=dict)


def read_settings(ctx: Context, settings: tuple[sx.Setting, ...], base: Settings | None, layer: str | None) -> Settings:
    """Settings of a network (`layer` is None) or of a layer of the kind `layer`."""
    result = Settings() if base is None else Settings(base.weights, base.biases, base.bias, None, {})
    own: dict[str, Span] = {}
    options = OPTIONS.get(layer or "", ())
    for s in settings:
        name = {"bias": "bias", "biases": "biases"}.get(s.name.name, s.name.name)
        if name in options and s.operator == "=":
            continue
        if name in ("bias", "biases") and s.operator == "=":
            if not (isinstance(s.value, sx.Name) and s.value.name == "none"):
                fail(
                    "NNS045",
                    "the only value of bias is none",
                    s.value.span,
                    help="a range is given by: biases in -4..4",
                )
            result.bias, name = False, "bias"
        elif name in ("weights", "biases", "bias") and s.operator == "in":
            name = "weights" if name == "weights" else "biases"
            if name == "weights":
                result.weights = bounds(ctx, s.value, {})
            else:
                result.biases = bounds(ctx, s.value, {})
        elif name == "l0" and s.operator == "<=":
            result.l0 = integer(ctx, s.value, {}, "a number of nonzeros", 0)
        elif name in ("weights", "biases", "bias"):
            fail("NNS045", f"`{s.name.name} {s.operator}` is no setting", s.span, help=f"write {s.name.name} in -4..4")
        elif name == "l0":
            fail("NNS045", "a budget is an upper limit", s.span, help=f"write l0 <= {s.value.span.text}")
        else:
            known = ("weights", "biases", "bias", "l0", *options)
            fail(
                "NNS044",
                f"unknown setting {s.name.name}",
                s.name.span,
                help=f"write {FORMS[layer]}"
                if layer in FORMS and s.name.name in POSITIONAL
                else did_you_mean(s.name.name, known, f"the settings are {', '.join(known)}"),
            )
        if name in own:
            fail("NNS045", f"{s.name.name} is set twice", s.span, "again here", Label(own[name], "first here"))
        own[name] = s.span
        if layer is not None and layer not in WEIGHTED:
            fail("NNS045", f"{layer} has no weights, so {s.name.name} means nothing here", s.span)
    if "bias" in own and "biases" in own:
        fail(
            "NNS045", "a layer without biases has no range for them", own["biases"], "", Label(own["bias"], "no biases")
        )
    if "biases" in own:
        result.bias = True
    result.places = own
    return result


def activation(ctx: Context, node: sx.Expr) -> Activation:
    """relu, leaky_relu(0.1) ..."""
    name = node.function if isinstance(node, sx.Call) else node
    if not isinstance(name, sx.Name):
        help = f"the activations are {', '.join(ACTIVATIONS)}"
        if isinstance(name, sx.String):
            help = "activations are written without quotation marks"
        fail("NNS042", "an activation was expected here", node.span, help=help)
    if name.name not in ACTIVATIONS:
        fail(
            "NNS042",
            f"unknown activation {name.name}",
            name.span,
            help=did_you_mean(name.name, ACTIVATIONS, f"the activations are {', '.join(ACTIVATIONS)}"),
        )
    if isinstance(node, sx.Call):
        if name.name != "leaky_relu":
            fail("NNS042", f"{name.name} has no parameter", node.span, help=f"write {name.name}")
        if len(node.args) != 1 or node.keywords:
            fail(
                "NNS042",
                "leaky_relu has one parameter, its slope for negative numbers",
                node.span,
                help="leaky_relu(0.01)",
            )
        alpha = float(number(ctx, node.args[0], {}))
        if not 0 <= alpha < math.inf:
            fail("NNS042", f"the slope of leaky_relu is 0 or more, but this is {show(alpha)}", node.args[0].span)
        return Activation("leaky_relu", alpha)
    return Activation(name.name)


def pair(ctx: Context, node: sx.Expr, what: str, least: int) -> tuple[int, int]:
    """A whole number for rows and columns alike, or [rows, columns]."""
    value = evaluate(ctx, node, {})
    items = value.items if isinstance(value, Vector) else (value, value)
    numbers = [as_integer(v) for v in items]
    if len(numbers) != 2 or any(n is None or not least <= n <= 10_000 for n in numbers):
        fail(
            "NNS034",
            f"{what} is a whole number of at least {least}, or a list of two, but this is {describe(value)}",
            node.span,
        )
    return numbers[0], numbers[1]  # type: ignore[return-value]


def build(
    ctx: Context,
    network: str,
    name: str,
    node: sx.Layer,
    args: Sequence[sx.Expr],
    inputs: Sequence[Layer],
    base: Settings,
) -> Layer:
    """A layer with its shape and parameters. `args` are its arguments without the layers it reads."""
    kind = node.kind.name
    settings = read_settings(ctx, node.settings, base, kind)
    options = {
        s.name.name: s.value for s in node.settings if s.operator == "=" and s.name.name in OPTIONS.get(kind, ())
    }
    names = tuple(x.name for x in inputs)

    def layer(
        shape: tuple[int, ...],
        act: Activation = LINEAR,
        weights: tuple[int, ...] = (),
        attributes: Mapping[str, object] = NONE,
    ) -> Layer:
        _check_size(math.prod(shape), MAX_UNITS, "units", node.span)
        parameters: list[Parameter | None] = [None, None]
        if weights:
            _check_size(math.prod(weights), MAX_WEIGHTS, "weights", node.span)
            parameters[0] = tensor(f"{network}.{name}.weights", weights, settings.weights, node.span)
            if settings.bias:
                parameters[1] = tensor(f"{network}.{name}.bias", weights[:1], settings.biases, node.span)
        return Layer(name, kind, names, shape, act, parameters[0], parameters[1], settings.l0, attributes, node.span)

    match kind:
        case "dense":
            _count(node, args, 1, 2, FORMS[kind])
            units = integer(ctx, args[0], {}, "a number of units", 1)
            act = activation(ctx, args[1]) if len(args) > 1 else LINEAR
            shape = inputs[0].shape
            if len(shape) != 1:
                fail(
                    "NNS043",
                    "dense takes a vector, but its input is an image",
                    node.span,
                    _shape(shape),
                    Label(inputs[0].span or node.span, "made here"),
                    help="put flatten before it",
                )
            return layer((units,), act, (units, shape[0]))
        case "conv":
            _count(node, args, 2, 3, FORMS[kind])
            filters = integer(ctx, args[0], {}, "a number of filters", 1)
            window = _window(ctx, node, args[1], options, inputs[0], 1)
            groups = integer(ctx, options["groups"], {}, "a number of groups", 1) if "groups" in options else 1
            channels = inputs[0].shape[0]
            if channels % groups or filters % groups:
                fail(
                    "NNS043",
                    f"{channels} channels and {filters} filters cannot be divided into {groups} groups",
                    node.span,
                )
            act = activation(ctx, args[2]) if len(args) > 2 else LINEAR
            shape = (filters, *_positions(node, window, inputs[0]))
            return layer(shape, act, (filters, channels // groups, *window["kernel"]), {**window, "groups": groups})
        case "avgpool" | "maxpool":
            _count(node, args, 1, 1, FORMS[kind])
            window = _window(ctx, node, args[0], options, inputs[0], None)
            return layer((inputs[0].shape[0], *_positions(node, window, inputs[0])), attributes=window)
        case "flatten":
            _count(node, args, 0, 0, "flatten")
            return layer((inputs[0].size,))
        case "activation":
            _count(node, args, 1, 1, "activation(relu)")
            return layer(inputs[0].shape, activation(ctx, args[0]))
        case "add":
            for other in inputs[1:]:
                if other.shape != inputs[0].shape:
                    fail(
                        "NNS031",
                        "layer sizes do not match",
                        node.span,
                        "added here",
                        Label(inputs[0].span or node.span, _shape(inputs[0].shape)),
                        Label(other.span or node.span, _shape(other.shape)),
                    )
            return layer(inputs[0].shape)
    assert kind == "concat"
    for other in inputs[1:]:
        if other.shape[1:] != inputs[0].shape[1:]:
            fail(
                "NNS031",
                "layer sizes do not match",
                node.span,
                "joined here",
                Label(inputs[0].span or node.span, _shape(inputs[0].shape)),
                Label(other.span or node.span, _shape(other.shape)),
            )
    return layer((sum(x.shape[0] for x in inputs), *inputs[0].shape[1:]))


def tensor(name: str, shape: tuple[int, ...], domain: Bounds, span: Span) -> Parameter:
    return Parameter.box(name, shape, domain.lo, domain.hi, domain.kind, domain.values, domain.span or span)


def _check_size(n: int, most: int, what: str, span: Span) -> None:
    if n > most:
        fail("NNS043", f"this layer has {n:,} {what}; at most {most:,} are allowed", span)


def _count(node: sx.Layer, args: Sequence[sx.Expr], least: int, most: int, form: str) -> None:
    if not least <= len(args) <= most:
        fail(
            "NNS025",
            f"{node.kind.name} cannot be read with {len(args)} argument{'s' * (len(args) != 1)}",
            node.span,
            help=f"write {form}",
        )


def _shape(shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return plural(shape[0], "unit")
    return f"{plural(shape[0], 'channel')} of {shape[1]} x {shape[2]}"


def _window(
    ctx: Context, node: sx.Layer, kernel: sx.Expr, options: dict[str, sx.Expr], before: Layer, stride: int | None
) -> dict[str, tuple[int, int]]:
    if len(before.shape) != 3:
        fail(
            "NNS043",
            f"{node.kind.name} takes an image, but its input is a vector",
            node.span,
            "",
            Label(before.span or node.span, _shape(before.shape)),
            help="give the input a shape: input(channels, rows, columns)",
        )
    size = pair(ctx, kernel, "a kernel", 1)
    window = {
        "kernel": size,
        "stride": size if stride is None else (stride, stride),
        "padding": (0, 0),
        "dilation": (1, 1),
    }
    for name in ("stride", "padding", "dilation"):
        if name in options:
            window[name] = pair(ctx, options[name], name, 0 if name == "padding" else 1)
    if node.kind.name == "maxpool" and any(2 * p > k for p, k in zip(window["padding"], size)):
        fail("NNS043", "the padding of maxpool is at most half the kernel", options["padding"].span)
    return window


def _positions(node: sx.Layer, window: dict[str, tuple[int, int]], before: Layer) -> tuple[int, int]:
    result = []
    for k in range(2):
        extent = window["dilation"][k] * (window["kernel"][k] - 1) + 1
        room = before.shape[k + 1] + 2 * window["padding"][k] - extent
        if room < 0:
            fail(
                "NNS043",
                "the kernel is larger than the image",
                node.span,
                "",
                Label(before.span or node.span, _shape(before.shape)),
            )
        result.append(room // window["stride"][k] + 1)
    return result[0], result[1]
