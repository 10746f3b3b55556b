"""The forward pass in numpy, for any network of the language. Written files are checked against it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from nnspec.problem.network import Activation, Layer, Network, Parameter


def activate(activation: Activation, z: np.ndarray) -> np.ndarray:
    """The activation of pre-activations z (N, ...)."""
    match activation.kind:
        case "linear":
            return z
        case "relu":
            return np.maximum(z, 0.0)
        case "leaky_relu":
            return np.where(z >= 0, z, activation.alpha * z)
        case "abs":
            return np.abs(z)
        case "hardtanh":
            return np.clip(z, -1.0, 1.0)
        case "sign":
            return np.where(z >= 0, 1.0, -1.0)
        case "step":
            return np.where(z >= 0, 1.0, 0.0)
        case "tanh":
            return np.tanh(z)
        case "sigmoid":
            return 0.5 * (1.0 + np.tanh(0.5 * z))
        case "softplus":
            return np.logaddexp(0.0, z)
        case "gelu":
            return 0.5 * z * (1.0 + _erf(z / math.sqrt(2.0)))
        case "silu":
            return z * 0.5 * (1.0 + np.tanh(0.5 * z))
        case "softmax":
            e = np.exp(z - z.max(axis=1, keepdims=True))
            return e / e.sum(axis=1, keepdims=True)
    raise ValueError(f"unknown activation {activation.kind}")


def _erf(z: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[float])(z) if z.size else z


def _value(p: Parameter, values: Mapping[str, np.ndarray]) -> np.ndarray:
    v = p.value if p.value is not None else values[p.name]
    return np.asarray(v, dtype=float).reshape(p.shape)


def _windows(layer: Layer, x: np.ndarray, fill: float) -> np.ndarray:
    """All windows of a conv or pool layer: (N, C, rows, columns, kernel_rows, kernel_columns)."""
    (kr, kc), (sr, sc) = layer.attributes["kernel"], layer.attributes["stride"]
    pr, pc = layer.attributes.get("padding", (0, 0))
    dr, dc = layer.attributes.get("dilation", (1, 1))
    x = np.pad(x, ((0, 0), (0, 0), (pr, pr), (pc, pc)), constant_values=fill)
    w = np.lib.stride_tricks.sliding_window_view(x, (dr * (kr - 1) + 1, dc * (kc - 1) + 1), axis=(2, 3))
    return w[:, :, ::sr, ::sc, ::dr, ::dc]


def apply_layer(layer: Layer, inputs: list[np.ndarray], values: Mapping[str, np.ndarray]) -> np.ndarray:
    """One layer's result before its activation. Inputs have shapes (N, *shape)."""
    x = inputs[0]
    match layer.kind:
        case "dense":
            assert layer.weights is not None
            z = x.reshape(len(x), -1) @ _value(layer.weights, values).T
            return z if layer.bias is None else z + _value(layer.bias, values)
        case "conv":
            assert layer.weights is not None
            w = _value(layer.weights, values)
            groups = int(layer.attributes.get("groups", 1))
            windows = _windows(layer, x, 0.0)
            n, c, r, q = windows.shape[:4]
            windows = windows.reshape(n, groups, c // groups, r, q, *windows.shape[4:])
            w = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
            z = np.einsum("ngcrqab,gfcab->ngfrq", windows, w).reshape(n, -1, r, q)
            return z if layer.bias is None else z + _value(layer.bias, values)[:, None, None]
        case "batchnorm":
            assert layer.weights is not None
            assert layer.bias is not None
            shape = (-1, *([1] * (x.ndim - 2)))
            return x * _value(layer.weights, values).reshape(shape) + _value(layer.bias, values).reshape(shape)
        case "avgpool":
            return _windows(layer, x, 0.0).mean(axis=(4, 5))
        case "maxpool":
            return _windows(layer, x, -np.inf).max(axis=(4, 5))
        case "flatten":
            return x.reshape(len(x), -1)
        case "activation":
            return x
        case "add":
            return np.sum(inputs, axis=0)
        case "concat":
            return np.concatenate(inputs, axis=1)
    raise ValueError(f"unknown layer kind {layer.kind}")


def layer_values(network: Network, values: Mapping[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    """Results of all layers (after their activations) on scaled inputs x (N, d); several inputs are concatenated."""
    results: dict[str, np.ndarray] = {}
    x = np.asarray(x, dtype=float).reshape(len(x), -1)
    start = 0
    for layer in network.layers:
        if layer.kind == "input":
            results[layer.name] = x[:, start : start + layer.size].reshape(len(x), *layer.shape)
            start += layer.size
        else:
            z = apply_layer(layer, [results[i] for i in layer.inputs], values)
            results[layer.name] = activate(layer.activation, z)
    return results


def forward(network: Network, values: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The network's outputs (N, m) in scaled units, for scaled inputs x (N, d).

    Tensors that are not fixed come from `values`.
    """
    results = layer_values(network, values, x)
    return np.concatenate([results[name].reshape(len(x), -1) for name in network.outputs], axis=1)


def scores(network: Network, values: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Like `forward`, but before a softmax output layer: what cross_entropy is defined on."""
    results = layer_values(network, values, x)
    parts = []
    for name in network.outputs:
        layer = network[name]
        if layer.activation.kind == "softmax":
            parts.append(apply_layer(layer, [results[i] for i in layer.inputs], values).reshape(len(x), -1))
        else:
            parts.append(results[name].reshape(len(x), -1))
    return np.concatenate(parts, axis=1)


def predict(network: Network, values: Mapping[str, np.ndarray], raw: np.ndarray) -> np.ndarray:
    """Outputs in raw units for inputs in raw units."""
    raw = np.asarray(raw, dtype=float).reshape(len(raw), -1)
    x = network.input_scaling.apply(raw) if network.input_scaling is not None else raw
    y = forward(network, values, x)
    return network.output_scaling.invert(y) if network.output_scaling is not None else y
