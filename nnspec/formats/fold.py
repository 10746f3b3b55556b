"""Merging what files keep apart: affine maps per channel and activations into the layers beside them.

An affine map is a layer of kind batchnorm, y = s * x + t per channel.

    s * (W x + b) + t = (s W) x + (s b + t)          dense or convolution, then affine
    W (s x + t) + b   = (W diag(s)) x + (W t + b)    affine, then dense
    s2 * (s1 x + t1) + t2                            two affine maps

Each step needs that nothing else reads the value in between.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from nnspec.problem.network import Layer, Parameter


def _value(p: Parameter | None) -> np.ndarray:
    assert p is not None
    assert p.value is not None
    return p.value


def fold(layers: list[Layer], outputs: tuple[str, ...], affine: bool = True) -> tuple[list[Layer], tuple[str, ...]]:
    """The same function with fewer layers. With `affine=False` weights keep their values: only biases that stand apart
    and activations are merged. Returns the layers and the (possibly renamed) outputs."""
    while (merged := _step(layers, outputs, affine)) is not None:
        layers, outputs = merged
    return layers, outputs


def _step(layers: list[Layer], outputs: tuple[str, ...], affine: bool) -> tuple[list[Layer], tuple[str, ...]] | None:
    readers = Counter(name for layer in layers for name in layer.inputs)
    readers.update(outputs)
    by_name = {layer.name: layer for layer in layers}
    for second in layers:
        if len(second.inputs) != 1 or second.inputs[0] not in by_name:
            continue
        first = by_name[second.inputs[0]]
        if readers[first.name] != 1 or first.kind == "input" or first.activation.kind != "linear":
            continue
        merged = _merge(first, second, affine)
        if merged is not None:
            kept = [merged if x is first else _renamed(x, second.name, merged.name) for x in layers if x is not second]
            return kept, tuple(merged.name if name == second.name else name for name in outputs)
    return None


def _renamed(layer: Layer, old: str, new: str) -> Layer:
    return replace(layer, inputs=tuple(new if i == old else i for i in layer.inputs)) if old in layer.inputs else layer


def _merge(first: Layer, second: Layer, affine: bool) -> Layer | None:
    if second.kind == "activation" and first.kind in ("dense", "conv"):
        return replace(first, activation=second.activation)
    if second.kind == "batchnorm" and first.kind in ("dense", "conv", "batchnorm"):
        s, t = _value(second.weights), _value(second.bias)
        if not affine and first.kind != "batchnorm" and (first.bias is not None or np.any(s != 1)):
            return None
        weights = _value(first.weights)
        bias = np.zeros(len(weights)) if first.bias is None else _value(first.bias)
        return _with(first, weights * s.reshape(-1, *[1] * (weights.ndim - 1)), s * bias + t, second)
    if affine and second.kind == "dense" and first.kind == "batchnorm" and len(first.shape) == 1:
        weights = _value(second.weights)
        bias = np.zeros(len(weights)) if second.bias is None else _value(second.bias)
        s, t = _value(first.weights), _value(first.bias)
        merged = _with(second, weights * s, weights @ t + bias, second)
        return replace(merged, inputs=first.inputs)
    return None


def _with(layer: Layer, weights: np.ndarray, bias: np.ndarray, last: Layer) -> Layer:
    assert layer.weights is not None
    stem = layer.weights.name.removesuffix(".weights")
    return replace(layer, weights=Parameter.constant(f"{stem}.weights", weights),
                   bias=Parameter.constant(f"{stem}.bias", bias), activation=last.activation)  # fmt: skip
