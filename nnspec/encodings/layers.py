"""Networks as rows: every layer of a graph, over a batch of inputs that are data or decisions, with any weights.

The batch is encoded at once: a layer's result is an array of expressions (N, *shape). Affine layers add no rows where
one side of each product is constant (data times weights in the first layer, decisions times trained weights in an
embedded network); products of two decisions are those of `products.multiply`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nnspec.bounds.interval import Interval
from nnspec.bounds.propagate import Bounds, LayerBounds, apply_layer, convolution_as_dense, image, windows
from nnspec.encodings.activations import activation
from nnspec.encodings.context import Context
from nnspec.encodings.maximum import maximum_of
from nnspec.encodings.parameters import Parameters
from nnspec.encodings.products import multiply
from nnspec.problem.network import Layer, Network, Parameter
from nnspec.program import Affine, concatenate


@dataclass(frozen=True, eq=False)
class Run:
    """A network on a batch: outputs and scores (before a softmax) as expressions (N, m), bounds, and all layers."""

    network: Network
    inputs: Affine  # (N, d), scaled
    outputs: Affine
    scores: Affine
    output_bounds: Interval
    score_bounds: Interval
    layers: Mapping[str, Affine]
    before: Mapping[str, Affine]
    bounds: Mapping[str, LayerBounds]


def encode_network(context: Context, parameters: Parameters, network: Network, inputs: Affine, name: str,
                   known: Mapping[str, Bounds] | None = None) -> Run:  # fmt: skip
    """Encode a network on scaled inputs (N, d), data or decisions. `known` holds tighter bounds by layer name."""
    n = inputs.shape[0]
    known = known or {}
    results: dict[str, Affine] = {}
    before: dict[str, Affine] = {}
    bounds: dict[str, LayerBounds] = {}
    start = 0

    def box(p: Parameter) -> Interval:
        return context.interval(parameters.expression(p))

    for layer in network.layers:
        if layer.kind == "input":
            part = inputs[:, start : start + layer.size].reshape(n, *layer.shape)
            start += layer.size
            results[layer.name] = before[layer.name] = part
            b = Bounds.of(context.interval(part))
            bounds[layer.name] = LayerBounds(b, b)
            continue
        path = f"{name}.{layer.name}"
        sources = [results[i] for i in layer.inputs]
        ranges = [bounds[i].post.interval for i in layer.inputs]
        z = _affine(context, parameters, layer, sources, ranges, path).reshape(n, *layer.shape)
        pre = Bounds.of(apply_layer(layer, ranges, box))
        pre = Bounds.of(pre.interval.intersect(context.interval(z)))
        if layer.name in known:
            pre = pre.meet(known[layer.name])
        h = activation(context, layer.activation, z, pre.interval, path, layer.span, network)
        post = image(layer.activation, pre.interval).intersect(context.interval(h))
        results[layer.name], before[layer.name] = h, z
        bounds[layer.name] = LayerBounds(pre, Bounds(post, pre.lo_origin, pre.hi_origin))

    def gather(softmax_before: bool) -> tuple[Affine, Interval]:
        parts, los, his = [], [], []
        for o in network.outputs:
            take_before = softmax_before and network[o].activation.kind == "softmax"
            b = bounds[o].pre if take_before else bounds[o].post
            parts.append((before if take_before else results)[o].reshape(n, -1))
            los.append(b.lo.reshape(n, -1))
            his.append(b.hi.reshape(n, -1))
        return concatenate(parts, axis=1), Interval(np.concatenate(los, 1), np.concatenate(his, 1))

    outputs, output_bounds = gather(False)
    scores, score_bounds = gather(True)
    return Run(network, inputs, outputs, scores, output_bounds, score_bounds, results, before, bounds)


def _affine(context: Context, parameters: Parameters, layer: Layer, sources: list[Affine], ranges: list[Interval],
            path: str) -> Affine:  # fmt: skip
    """The layer's result before its activation."""
    x = sources[0]
    n = x.shape[0]
    match layer.kind:
        case "dense":
            assert layer.weights is not None
            z = _dense(context, x.reshape(n, -1), parameters.expression(layer.weights), path)
            return z if layer.bias is None else z + parameters.expression(layer.bias)
        case "conv":
            assert layer.weights is not None
            z = _conv(context, layer, x, parameters.expression(layer.weights), path)
            return z if layer.bias is None else z + parameters.expression(layer.bias).reshape(-1, 1, 1)
        case "batchnorm":
            assert layer.weights is not None
            assert layer.bias is not None
            shape = (-1, *([1] * (x.ndim - 2)))
            z = multiply(context, x, parameters.expression(layer.weights).reshape(*shape), f"{path}.product")
            return z + parameters.expression(layer.bias).reshape(*shape)
        case "avgpool":
            index = _window_index(layer, x.shape[1:])
            taps = _padded(x)[:, index]
            return taps.sum(axis=2) / index.shape[1]
        case "maxpool":
            index = _window_index(layer, x.shape[1:])
            return maximum_of(context, x.reshape(n, -1), ranges[0].reshape(n, -1), index, path, layer.span)
        case "flatten":
            return x.reshape(n, -1)
        case "activation":
            return x
        case "add":
            total = sources[0]
            for other in sources[1:]:
                total = total + other
            return total
        case "concat":
            return concatenate(sources, axis=1)
    raise ValueError(f"unknown layer kind {layer.kind}")


def _dense(context: Context, x: Affine, w: Affine, path: str) -> Affine:
    """(N, inputs) times (outputs, inputs) transposed."""
    if w.is_constant:
        return x @ w.constant.reshape(w.shape).T
    if x.is_constant:
        return (w @ x.constant.reshape(x.shape).T).T
    n, d = x.shape
    return multiply(context, x.reshape(n, 1, d), w.reshape(1, *w.shape), f"{path}.product").sum(axis=2)


def _padded(x: Affine) -> Affine:
    """Flattened samples with one more entry, the constant 0 of the padding, at the end."""
    n = x.shape[0]
    return concatenate([x.reshape(n, -1), np.zeros((n, 1))], axis=1)


def _conv(context: Context, layer: Layer, x: Affine, w: Affine, path: str) -> Affine:
    taps, index = convolution_as_dense(layer, x.shape[1:])
    products = multiply(context, _padded(x)[:, taps], w.reshape(-1)[index].reshape(1, *index.shape), f"{path}.product")
    return products.sum(axis=2).reshape(x.shape[0], *layer.shape)


def _window_index(layer: Layer, shape: tuple[int, ...]) -> np.ndarray:
    """Flat input index of each tap of each pool window, (outputs, taps); -1 is padding."""
    index = np.arange(math.prod(shape), dtype=float).reshape(1, *shape)
    w = windows(layer, index, -1.0)[0]
    return w.reshape(w.shape[0] * w.shape[1] * w.shape[2], -1).astype(int)
