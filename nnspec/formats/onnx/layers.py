"""Layers as ONNX nodes. onnxruntime has no double kernels for Conv and AveragePool: in float64 both become a Gather of
windows (a fixed table of indices, index C*R*Q standing for the zero padding) and a MatMul or a mean."""

from __future__ import annotations

import json
import math

import numpy as np

from nnspec.formats.onnx.graph import Graph
from nnspec.problem.network import Layer, Parameter


def write_layer(graph: Graph, layer: Layer, inputs: list[str], shapes: list[tuple[int, ...]], output: str) -> str:
    """Append a layer without its activation: values `inputs` of shapes (N, *shape) to value `output`."""
    x, shape = inputs[0], shapes[0]
    match layer.kind:
        case "dense":
            assert layer.weights is not None
            if len(shape) != 1:
                x = graph.add("Flatten", [x], f"{layer.name}.flat", axis=1)
            terms = [x, tensor(graph, layer.weights)]
            if layer.bias is not None:
                terms.append(tensor(graph, layer.bias))
            return graph.add("Gemm", terms, output, name=layer.name, transB=1)
        case "conv":
            return _conv(graph, layer, x, shape, output)
        case "batchnorm":
            assert layer.weights is not None
            assert layer.bias is not None
            ones = [1] * (len(shape) - 1)
            scaled = graph.add("Mul", [x, tensor(graph, layer.weights, (-1, *ones))], f"{output}.scaled")
            return graph.add("Add", [scaled, tensor(graph, layer.bias, (-1, *ones))], output, name=layer.name)
        case "avgpool":
            return _avgpool(graph, layer, x, shape, output)
        case "maxpool":
            return graph.add("MaxPool", [x], output, name=layer.name, **_geometry(layer))
        case "flatten":
            return graph.add("Flatten", [x], output, name=layer.name, axis=1)
        case "activation":
            return graph.add("Identity", [x], output, name=layer.name)
        case "add":
            return graph.add("Sum", inputs, output, name=layer.name)
        case "concat":
            return graph.add("Concat", inputs, output, name=layer.name, axis=1)
    raise ValueError(f"unknown layer kind {layer.kind}")


def tensor(graph: Graph, p: Parameter, shape: tuple[int, ...] | None = None) -> str:
    assert p.value is not None
    return graph.constant(p.name, np.asarray(p.value, dtype=float).reshape(p.shape if shape is None else shape))


def _geometry(layer: Layer) -> dict[str, list[int]]:
    pad = list(layer.attributes.get("padding", (0, 0)))
    return {
        "kernel_shape": list(layer.attributes["kernel"]),
        "strides": list(layer.attributes["stride"]),
        "pads": [*pad, *pad],
        "dilations": list(layer.attributes.get("dilation", (1, 1))),
    }


def window_indices(layer: Layer, shape: tuple[int, ...]) -> np.ndarray:
    """Flat input index of each window entry, (C, R', Q', kr, kc); C*R*Q where the window hangs over the edge."""
    c, r, q = shape
    (kr, kc), (sr, sc) = layer.attributes["kernel"], layer.attributes["stride"]
    pr, pc = layer.attributes.get("padding", (0, 0))
    dr, dc = layer.attributes.get("dilation", (1, 1))
    _, rows, columns = layer.shape
    i = (np.arange(rows) * sr - pr)[:, None] + np.arange(kr) * dr  # (R', kr)
    j = (np.arange(columns) * sc - pc)[:, None] + np.arange(kc) * dc  # (Q', kc)
    flat = i[:, None, :, None] * q + j[None, :, None, :]
    inside = ((i >= 0) & (i < r))[:, None, :, None] & ((j >= 0) & (j < q))[None, :, None, :]
    channels = np.arange(c)[:, None, None, None, None] * (r * q)
    return np.where(inside, flat + channels, c * r * q)


def _windows(graph: Graph, layer: Layer, x: str, shape: tuple[int, ...], indices: np.ndarray) -> str:
    """The value (N, *indices.shape) of gathered inputs, zero where the index is C*R*Q."""
    flat = graph.add("Flatten", [x], f"{layer.name}.flat", axis=1)
    if indices.max() == math.prod(shape):
        pads = graph.integers("const.one_column", [0, 0, 0, 1])
        flat = graph.add("Pad", [flat, pads, graph.scalar(0.0)], f"{layer.name}.padded")
    table = graph.integers(f"{layer.name}.indices", indices)
    geometry = {
        "kernel": layer.attributes["kernel"], "stride": layer.attributes["stride"],
        "padding": layer.attributes.get("padding", (0, 0)), "dilation": layer.attributes.get("dilation", (1, 1)),
        "groups": int(layer.attributes.get("groups", 1)),
    }  # fmt: skip
    return graph.add("Gather", [flat, table], f"{layer.name}.windows", axis=1, doc_string=json.dumps(geometry))


def conv_table(layer: Layer, shape: tuple[int, ...]) -> np.ndarray:
    """Index of each input that a filter sees at each place, (R' * Q', C * kr * kc)."""
    _, rows, columns = layer.shape
    return window_indices(layer, shape).transpose(1, 2, 0, 3, 4).reshape(rows * columns, -1)


def filters_to_matrix(layer: Layer, w: np.ndarray) -> np.ndarray:
    """Filters (F, C / groups, kr, kc) as one matrix (C*kr*kc, F), zero where a filter does not see a channel."""
    groups = int(layer.attributes.get("groups", 1))
    filters, seen, kernel = w.shape[0], w.shape[1], math.prod(w.shape[2:])
    matrix = np.zeros((filters, seen * groups, kernel))
    for f in range(filters):
        first = f // (filters // groups) * seen
        matrix[f, first : first + seen] = w[f].reshape(seen, kernel)
    return matrix.reshape(filters, -1).T


def matrix_to_filters(layer: Layer, matrix: np.ndarray) -> np.ndarray:
    """The way back from `filters_to_matrix`."""
    assert layer.weights is not None
    filters, seen, *kernel = layer.weights.shape
    groups = int(layer.attributes.get("groups", 1))
    table = matrix.T.reshape(filters, seen * groups, *kernel)
    first = np.arange(filters) // (filters // groups) * seen
    return np.stack([table[f, first[f] : first[f] + seen] for f in range(filters)])


def _conv(graph: Graph, layer: Layer, x: str, shape: tuple[int, ...], output: str) -> str:
    assert layer.weights is not None
    groups = int(layer.attributes.get("groups", 1))
    if not graph.double:
        terms = [x, tensor(graph, layer.weights)]
        if layer.bias is not None:
            terms.append(tensor(graph, layer.bias))
        return graph.add("Conv", terms, output, name=layer.name, group=groups, **_geometry(layer))
    table = conv_table(layer, shape)
    weights = graph.constant(layer.weights.name, filters_to_matrix(layer, np.asarray(layer.weights.value)))
    z = graph.add("MatMul", [_windows(graph, layer, x, shape, table), weights], f"{layer.name}.product")
    if layer.bias is not None:
        z = graph.add("Add", [z, tensor(graph, layer.bias)], f"{layer.name}.shifted")
    z = graph.add("Transpose", [z], f"{layer.name}.channels_first", perm=[0, 2, 1])
    return graph.add("Reshape", [z, graph.integers(f"{layer.name}.shape", [-1, *layer.shape])], output, name=layer.name)


def _avgpool(graph: Graph, layer: Layer, x: str, shape: tuple[int, ...], output: str) -> str:
    # AveragePool knows no dilation before opset 19.
    if not graph.double and tuple(layer.attributes.get("dilation", (1, 1))) == (1, 1):
        geometry = {k: v for k, v in _geometry(layer).items() if k != "dilations"}
        return graph.add("AveragePool", [x], output, name=layer.name, count_include_pad=1, **geometry)
    windows = _windows(graph, layer, x, shape, window_indices(layer, shape))
    axes = graph.integers("const.window_axes", [4, 5])
    return graph.add("ReduceMean", [windows, axes], output, name=layer.name, keepdims=0)
