"""net statements: chains, graphs and imported networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from nnspec.errors import Diagnostic, Label, NnspecError
from nnspec.language import syntax as sx
from nnspec.language.check import scope
from nnspec.language.check.context import Context, fail
from nnspec.language.check.data_options import file_name
from nnspec.language.check.evaluate import integer
from nnspec.language.check.layers import KINDS, MAX_UNITS, Settings, build, read_settings, tensor
from nnspec.language.check.values import NetworkRef
from nnspec.language.sources import DataError
from nnspec.language.sources.errors import did_you_mean
from nnspec.problem.network import ACTIVATIONS, Layer, Network, Parameter


def define_network(ctx: Context, statement: sx.Net) -> NetworkRef:
    """Build the network of a statement and enter it."""
    name = statement.name.name
    if statement.form == "import":
        network = _imported(ctx, statement)
        ctx.imported.add(name)
    else:
        network = _built(ctx, statement)
    ctx.networks[name] = network
    return NetworkRef(name)


def _built(ctx: Context, statement: sx.Net) -> Network:
    name, nodes = statement.name.name, statement.layers
    base = read_settings(ctx, statement.settings, None, None)
    taken = {n.name.name for n in nodes if n.name is not None}
    counts: dict[str, int] = {}
    layers: dict[str, Layer] = {}
    graph = statement.form == "graph"
    for k, node in enumerate(nodes):
        _check_kind(node)
        if node.name is not None and node.name.name in layers:
            fail(
                "NNS021",
                f"two layers are named {node.name.name}",
                node.name.span,
                "again here",
                Label(layers[node.name.name].span or node.span, "first here"),
            )
        own = node.name.name if node.name is not None else _automatic(node.kind.name, counts, taken)
        if node.kind.name == "input":
            if k > 0 and not graph:
                fail("NNS047", "input stands only at the beginning of a chain", node.span)
            layers[own] = _input(ctx, name, own, node)
            continue
        if k == 0 and not graph:
            fail(
                "NNS047",
                f"a chain begins with its inputs, but this begins with {node.kind.name}",
                node.span,
                help="begin with input(n) ->, or with input() -> to take n from the data",
            )
        if graph:
            inputs, args = _sources(ctx, node, layers)
        elif node.kind.name in ("add", "concat"):
            fail(
                "NNS047",
                f"{node.kind.name} joins several layers, which a chain cannot say",
                node.span,
                help=f"write a graph: net {name} {{ x: input(2)  a: dense(x, 2)  b: {node.kind.name}(x, a) }}",
            )
        else:
            inputs, args = [list(layers.values())[-1]], list(node.args)
        layers[own] = build(ctx, name, own, node, args, inputs, base)
    listed = list(layers.values())
    if not any(x.kind == "input" for x in listed):
        fail("NNS047", f"the network {name} has no input", statement.name.span, help="add x: input(n)")
    if listed[-1].kind == "input":
        fail("NNS047", f"the network {name} ends with its input", statement.name.span, help="add a layer: -> dense(1)")
    _check_softmax(listed)
    network = Network(name, tuple(listed), (listed[-1].name,), l0=base.l0, span=statement.name.span)
    return _connected(ctx, network) if graph else network


def _automatic(kind: str, counts: dict[str, int], taken: set[str]) -> str:
    """The name of an unnamed layer: input, dense1, dense2 ..."""
    if kind == "input" and "input" not in taken:
        return "input"
    while True:
        counts[kind] = counts.get(kind, 0) + 1
        name = f"{kind}{counts[kind]}"
        if name not in taken:
            return name


def _check_kind(node: sx.Layer) -> None:
    kind = node.kind.name
    if kind in KINDS:
        return
    if kind == "linear":
        fail("NNS041", "unknown layer linear", node.kind.span, help="a fully connected layer is called dense")
    if kind in ACTIVATIONS:
        fail(
            "NNS041",
            f"{kind} is an activation, not a layer",
            node.kind.span,
            help=f"write activation({kind}), or name it in the layer before: dense(3, {kind})",
        )
    if kind == "onnx":
        fail("NNS041", "an imported network stands alone", node.span, help='write net f = onnx("f.onnx")')
    fail(
        "NNS041",
        f"unknown layer {kind}",
        node.kind.span,
        help=did_you_mean(kind, KINDS, f"the layers are {', '.join(KINDS)}"),
    )


def _input(ctx: Context, network: str, own: str, node: sx.Layer) -> Layer:
    read_settings(ctx, node.settings, None, "input")
    sizes = [integer(ctx, a, {}, "a number of inputs", 1) for a in node.args]
    if not sizes:
        sizes = [_inferred(ctx, network, node)]
    if len(sizes) > 3:
        fail("NNS025", "an input has one size, or channels, rows and columns", node.span, help="write input(1, 8, 8)")
    shape = (1, *sizes) if len(sizes) == 2 else tuple(sizes)
    if np.prod([float(n) for n in shape]) > MAX_UNITS:
        fail("NNS043", f"more than {MAX_UNITS:,} inputs", node.span)
    return Layer(own, "input", (), shape, span=node.span)


def _inferred(ctx: Context, network: str, node: sx.Layer) -> int:
    """The number of columns of the data that the network is used with somewhere in the spec."""
    for name in ctx.likely_data.get(network, ()):
        definition = ctx.definitions.get(name)
        if definition is not None and definition.kind == "data set":
            scope.resolve(ctx, definition, sx.Name(node.span, name))
            return int(ctx.data[name].data.x.shape[1])
    fail(
        "NNS043",
        "the number of inputs is not known",
        node.span,
        f"no data set is used with {network}",
        help="write it out, as input(4)",
    )


def _sources(ctx: Context, node: sx.Layer, layers: dict[str, Layer]) -> tuple[list[Layer], list[sx.Expr]]:
    """The layers that a layer of a graph reads, and its other arguments."""
    kind = node.kind.name
    several = kind in ("add", "concat")
    if not node.args or (several and len(node.args) < 2):
        form = {"dense": "dense(x, 4, relu)", "add": "add(a, b)", "concat": "concat(a, b)"}.get(kind, f"{kind}(x)")
        fail(
            "NNS047",
            f"{kind} needs {'two layers or more' if several else 'the layer it reads'}",
            node.span,
            help=f"write {form}",
        )
    chosen = node.args if several else node.args[:1]
    inputs = []
    for arg in chosen:
        if not isinstance(arg, sx.Name):
            fail(
                "NNS047",
                "the name of a layer was expected here",
                arg.span,
                help="in a graph each layer names what it reads: dense(x, 4, relu)",
            )
        if arg.name not in layers:
            fail(
                "NNS047",
                f"there is no layer {arg.name} before this one",
                arg.span,
                help=did_you_mean(arg.name, layers, "layers are written before those that read them"),
            )
        inputs.append(layers[arg.name])
    return inputs, list(node.args[len(chosen) :])


def _check_softmax(layers: list[Layer]) -> None:
    for layer in layers:
        if layer.activation.kind == "softmax":
            assert layer.span is not None
            if layer is not layers[-1]:
                fail("NNS046", "softmax belongs to the last layer", layer.span)
            if len(layer.shape) != 1:
                fail("NNS046", "softmax takes a vector, but this is an image", layer.span, help="put flatten before it")
            if layer.size == 1:
                fail("NNS046", "softmax of one output is always 1", layer.span, help="use sigmoid, or two outputs")


def _connected(ctx: Context, network: Network) -> Network:
    """Warn about layers that do not lead to the output, and leave them out; inputs must all be used."""
    needed = set(network.outputs)
    for layer in reversed(network.layers):
        if layer.name in needed:
            needed.update(layer.inputs)
    for layer in network.layers:
        if layer.name not in needed:
            assert layer.span is not None
            if layer.kind == "input":
                fail("NNS047", f"the input {layer.name} is not read by any layer", layer.span, help="remove it")
            ctx.warn(
                "NNS022",
                f"the layer {layer.name} does not lead to the output",
                layer.span,
                f"the output is {network.outputs[0]}",
                "remove it, or add it to what the output reads",
            )
    inputs = [x for x in network.layers if x.kind == "input"]
    others = [x for x in network.layers if x.kind != "input" and x.name in needed]
    return replace(network, layers=(*inputs, *others))


# --- imported networks -----------------------------------------------------------------------------------------------


def _imported(ctx: Context, statement: sx.Net) -> Network:
    (source,) = statement.layers
    if source.kind.name != "onnx":
        fail("NNS041", f"networks are not read from {source.kind.name}", source.kind.span, help='write onnx("f.onnx")')
    if len(source.args) != 1 or source.settings:
        fail("NNS025", "onnx takes the name of a file", source.span, help='write onnx("f.onnx")')
    file = file_name(ctx, source.args[0])
    try:
        ctx.reader.read(file, ctx.folder(source.span))
        path = ctx.folder(source.span) / file
    except DataError as error:
        fail(error.code, error.message, source.args[0].span, help=error.help)
    network = _read(ctx, path, statement, source.args[0])
    settings = read_settings(ctx, statement.settings, None, None)
    if statement.settings and not statement.free:
        fail(
            "NNS045",
            "the weights of an imported network are constants, so settings mean nothing",
            statement.settings[0].span,
            help='name the layers to be trained again: free "layer"',
        )
    layers = list(network.layers)
    for name in statement.free:
        found = next((k for k, x in enumerate(layers) if x.name == name.value), None)
        names = [x.name for x in network.layers if x.parameters]
        if found is None:
            fail(
                "NNS049",
                f"the network {network.name} has no layer {name.value}",
                name.span,
                help=did_you_mean(name.value, names, f"its layers with weights are {', '.join(names)}"),
            )
        layers[found] = _freed(layers[found], settings, name)
    return replace(network, layers=tuple(layers), l0=settings.l0, span=statement.name.span)


def _freed(layer: Layer, settings: Settings, name: sx.String) -> Layer:
    if layer.weights is None:
        fail("NNS049", f"the layer {layer.name} has no weights to train", name.span)
    if not settings.bias:
        fail("NNS045", "the layer has biases in the file", settings.places["bias"], help="biases in 0..0 removes them")

    def box(p: Parameter | None, domain: object) -> Parameter | None:
        if p is None:
            return None
        return replace(tensor(p.name, p.shape, domain, name.span), start=p.value)  # type: ignore[arg-type]

    return replace(
        layer, weights=box(layer.weights, settings.weights), bias=box(layer.bias, settings.biases), span=name.span
    )


def _read(ctx: Context, path: Path, statement: sx.Net, place: sx.Expr) -> Network:
    from nnspec.formats.onnx import read_network

    try:
        network = read_network(path, statement.name.name, fold_affine=not statement.free)
    except NnspecError as error:
        for d in error.diagnostics[1:]:
            ctx.report(Diagnostic("NNS048", d.message, (Label(place.span),), d.help))
        first = error.diagnostics[0]
        fail("NNS048", first.message, place.span, help=first.help)
    except (
        Exception
    ) as error:  # a damaged file makes protobuf, numpy or the reader raise what they happen to meet first
        fail(
            "NNS048",
            f"{place.span.text} cannot be read as an ONNX network",
            place.span,
            help=str(error).split("\n")[0][:200] or None,
        )
    layers = tuple(replace(x, span=x.span or place.span) for x in network.layers)
    return replace(network, name=statement.name.name, layers=layers)
