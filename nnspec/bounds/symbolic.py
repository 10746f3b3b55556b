"""Linear bounds carried back to the inputs: CROWN (Zhang et al. 2018), for networks with constant weights.

Every activation is enclosed by two lines (`relaxation`). A pre-activation is an affine function of the layer before; a
coefficient >= 0 takes the lower line of what it multiplies (for a lower bound), a negative one the upper line, and so
back to the input box, where the minimum of an affine function is read off. Layers are treated in order, each with the
bounds found for the ones before. Any acyclic graph of dense, conv, batch norm, average pool, flatten, add, concat and
activation layers is carried through; a max pool or a softmax ends the way back with its interval bounds.

Rounding: next to each sum its sum of absolute values is carried along, and the result is widened by
(number of operations) * 2^-53 times that (Higham 2002, section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnspec.bounds.interval import Interval
from nnspec.bounds.propagate import Bounds, LayerBounds, Origin, convolution_as_dense, layer_bounds, windows
from nnspec.bounds.relaxation import Lines, lines
from nnspec.problem.network import Layer, Network

_UNIT = 2.0**-53


def linear_map(network: Network, layer: Layer, which: int) -> np.ndarray | None:
    """The matrix (outputs, inputs) by which input `which` enters a layer's pre-activation, both flattened; None if it
    does not enter linearly. Weights are constants."""
    source = network[layer.inputs[which]]
    n = source.size
    weights = None if layer.weights is None else np.asarray(layer.weights.value, dtype=float)
    match layer.kind:
        case "dense":
            return weights
        case "conv":
            assert weights is not None
            taps, index = convolution_as_dense(layer, source.shape)
            matrix = np.zeros((len(taps), n + 1))
            np.add.at(matrix, (np.arange(len(taps))[:, None], taps), weights.reshape(-1)[index])
            return matrix[:, :n]
        case "batchnorm":
            assert weights is not None
            return np.diag(np.repeat(weights, n // len(weights)))
        case "avgpool":
            index = windows(layer, np.arange(n, dtype=float).reshape(1, *source.shape), -1.0)[0]
            index = index.reshape(layer.size, -1).astype(int)
            matrix = np.zeros((layer.size, n + 1))
            np.add.at(matrix, (np.arange(layer.size)[:, None], index), 1.0 / index.shape[1])
            return matrix[:, :n]
        case "flatten" | "activation" | "add":
            return np.eye(n)
        case "concat":
            before = sum(network[i].size for i in layer.inputs[:which])
            matrix = np.zeros((layer.size, n))
            matrix[before : before + n] = np.eye(n)
            return matrix
    return None


def offset(layer: Layer) -> np.ndarray:
    """The constant part of a layer's pre-activation, flattened."""
    if layer.bias is None:
        return np.zeros(layer.size)
    b = np.asarray(layer.bias.value, dtype=float)
    return np.repeat(b, layer.size // len(b))


def symbolic_bounds(network: Network, inputs: Interval) -> dict[str, Bounds]:
    """Bounds before each activation for inputs (N, d); weights must be constant and inputs finite."""
    if network.free or not inputs.finite:
        return {}
    known: dict[str, Bounds] = {}
    for number, layer in enumerate(network.layers):
        if layer.kind in ("input", "maxpool") or linear_map(network, layer, 0) is None:
            continue
        so_far = layer_bounds(network, inputs, known=known)
        found = [_backward(network, number, {k: _row(b, i) for k, b in so_far.items()}) for i in range(inputs.shape[0])]
        interval = Interval(
            *(np.stack([getattr(f, end) for f in found]).reshape(-1, *layer.shape) for end in ("lo", "hi"))
        )
        known[layer.name] = so_far[layer.name].pre.tighten(interval, Origin.SYMBOLIC)
    return known


def _row(b: LayerBounds, i: int) -> tuple[Interval, Interval]:
    return b.pre.interval[i].reshape(-1), b.post.interval[i].reshape(-1)


def _backward(network: Network, target: int, bounds: Mapping[str, tuple[Interval, Interval]]) -> Interval:
    """Bounds on the pre-activation of layer number `target` for one sample."""
    lo = -_upper(network, target, bounds, -1.0)
    hi = _upper(network, target, bounds, 1.0)
    return Interval(lo, hi)


def _upper(network: Network, target: int, bounds: Mapping[str, tuple[Interval, Interval]], sign: float) -> np.ndarray:
    """Upper bounds on sign times the pre-activations."""
    layer = network.layers[target]
    total = sign * offset(layer)
    size = np.abs(total)
    operations = 8
    pending: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # coefficients on results, and their absolute sums

    def add(name: str, coefficients: np.ndarray, absolute: np.ndarray) -> None:
        a, b = pending.get(name, (0.0, 0.0))
        pending[name] = a + coefficients, b + absolute

    for which, name in enumerate(layer.inputs):
        m = linear_map(network, layer, which)
        assert m is not None
        add(name, sign * m, np.abs(m))
    for item in reversed(network.layers[:target]):
        if item.name not in pending:
            continue
        c, absolute = pending.pop(item.name)
        pre, post = bounds[item.name]
        operations += c.shape[1] + 4
        maps = [] if item.kind == "input" else [linear_map(network, item, k) for k in range(len(item.inputs))]
        if item.kind == "input" or item.activation.kind == "softmax" or any(m is None for m in maps):
            total = total + np.maximum(c, 0.0) @ post.hi + np.minimum(c, 0.0) @ post.lo
            size = size + absolute @ post.magnitude
            continue
        e: Lines = lines(item.activation, pre)
        total = total + np.maximum(c, 0.0) @ e.high + np.minimum(c, 0.0) @ e.low
        size = size + absolute @ np.maximum(np.abs(e.high), np.abs(e.low))
        before = np.maximum(c, 0.0) * e.high_slope + np.minimum(c, 0.0) * e.low_slope
        absolute = absolute * np.maximum(np.abs(e.high_slope), np.abs(e.low_slope))
        b = offset(item)
        total, size = total + before @ b, size + absolute @ np.abs(b)
        for name, m in zip(item.inputs, maps):
            assert m is not None
            add(name, before @ m, absolute @ np.abs(m))
    return np.nextafter(total + 4 * operations * _UNIT * size, np.inf)
