"""Parts of a network by name: f.h1, f.h1.weights, f.h1[0], f.h1.weights[0, 2]."""

from __future__ import annotations

from nnspec.errors import Span
from nnspec.language import syntax as sx
from nnspec.language.check.context import Context, fail
from nnspec.language.check.values import NetworkRef, Part, Value, given
from nnspec.language.sources.errors import did_you_mean
from nnspec.problem import expression as ex
from nnspec.problem.network import Layer, Parameter

TENSORS = {"weights": "weights", "bias": "bias", "biases": "bias"}


def find_layer(ctx: Context, network: str, name: sx.Name) -> Layer:
    """The layer of a network that a name stands for."""
    layers = ctx.networks[network].layers
    for layer in layers:
        if layer.name == name.name:
            return layer
    names = [layer.name for layer in layers]
    listed = f"its layers are {', '.join(names[:12])}"
    close = did_you_mean(name.name, names)
    fail(
        "NNS049",
        f"the network {network} has no layer {name.name}",
        name.span,
        help=f"{close + ' ' if close else ''}{listed}",
    )


def tensor(ctx: Context, part: Part) -> Parameter | None:
    """The tensor that a part names, if the layer has it."""
    layer = ctx.networks[part.network][part.layer]
    return layer.weights if part.tensor == "weights" else layer.bias


def attribute(ctx: Context, value: NetworkRef | Part, name: sx.Name) -> Value:
    """`value.name`: a layer of a network, or a tensor of a layer or neuron."""
    if isinstance(value, NetworkRef):
        return Part(value.name, find_layer(ctx, value.name, name).name)
    where = f"{value.network}.{value.layer}"
    if value.tensor is not None:
        fail(
            "NNS049",
            f"{where}.{value.tensor} has no parts",
            name.span,
            help=f"its entries are {where}.{value.tensor}[0, 0]",
        )
    if name.name not in TENSORS:
        fail("NNS049", f"a layer has no part {name.name}", name.span, help="its parts are weights and bias")
    part = Part(value.network, value.layer, TENSORS[name.name], value.neuron)
    if tensor(ctx, part) is None:
        fail("NNS049", f"the layer {where} has no {name.name}", name.span)
    return part


def part_item(ctx: Context, part: Part, indices: list[int], spans: list[Span], span: Span) -> Value:
    """`part[i]` or `part[i, j]`: a neuron, a neuron's tensor, or one weight as an expression."""
    layer = ctx.networks[part.network][part.layer]
    where = f"{part.network}.{part.layer}"
    if part.tensor is None:
        if part.neuron is not None:
            fail(
                "NNS034",
                f"{where}[{part.neuron}] is one neuron and has no elements",
                span,
                help=f"its weights are {where}[{part.neuron}].weights[0]",
            )
        if not layer.parameters:
            fail("NNS049", f"the layer {where} has no neurons of its own", span)
        if len(indices) != 1:
            fail("NNS039", "a neuron has one index", span)
        _within(indices[0], layer.shape[0], f"the layer {where}", spans[0])
        return Part(part.network, part.layer, None, indices[0])
    parameter = tensor(ctx, part)
    assert parameter is not None
    full = ([] if part.neuron is None else [part.neuron]) + indices
    offset = len(full) - len(indices)
    if len(full) > len(parameter.shape):
        fail("NNS039", f"{where}.{part.tensor} has {len(parameter.shape)} indices", span)
    for k, i in enumerate(indices):
        _within(i, parameter.shape[k + offset], f"{where}.{part.tensor}", spans[k])
    if len(full) == len(parameter.shape):
        if parameter.value is not None:
            return float(parameter.value[tuple(full)])
        return ex.ParameterRef(parameter.name, tuple(full), span=span)
    if len(full) == 1:
        return Part(part.network, part.layer, part.tensor, full[0])
    fail("NNS039", f"{where}.{part.tensor} has {len(parameter.shape)} indices, {given(len(full))}", span)


def _within(i: int, n: int, what: str, span: Span) -> None:
    if not 0 <= i < n:
        fail("NNS039", f"there is no index {i}: {what} has 0..{n - 1}", span)
