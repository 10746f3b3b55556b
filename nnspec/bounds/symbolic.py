"""Linear bounds carried back to the inputs: CROWN (Zhang et al. 2018), for networks with constant weights.

Every activation is enclosed by two lines (`relaxation`). A pre-activation is an affine function of the layer before; a
coefficient >= 0 takes the lower line of what it multiplies (for a lower bound), a negative one the upper line, and so
back to the input box, where the minimum of an affine function is read off. Layers are treated in order, each with the
bounds found for the ones before. Any acyclic graph of dense, conv, batch norm, average pool, flatten, add, concat and
activation layers is carried through; a max pool or a softmax ends the way back with its interval bounds.

Below an undecided ReLU any line a z with 0 <= a <= 1 will do, and each bound may choose its own a for each neuron on
its way (Xu et al. 2021, alpha-CROWN). They are chosen by projected gradient steps. Every step gives a valid bound, the
best one is kept; the best possible one is the optimum of the LP over the neurons' triangles (Salman et al. 2019). With
x* the end of the box where the bound is attained, the derivative by `a` is the neuron's coefficient times its z at x*.

Rounding: next to each sum its sum of absolute values is carried along, and the result is widened by
(number of operations) * 2^-53 times that (Higham 2002, section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from nnspec.bounds.interval import Interval
from nnspec.bounds.propagate import Bounds, LayerBounds, Origin, convolution_as_dense, layer_bounds, windows
from nnspec.bounds.relaxation import Lines, lines
from nnspec.problem.network import Layer, Network

_UNIT = 2.0**-53

STEPS = 40
"""Gradient steps for the slopes: on trained 10-30-30-1 networks the bounds are then within 1 % of the LP's."""

FIRST_STEP = 0.4
"""Length of the first step, in units of slopes, which lie in [0, 1]; later ones shrink to 0."""

STEPPED = 1_000_000
"""So many slopes (pre-activations to bound times neurons before them) are optimised at most: about a second."""


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


@dataclass(frozen=True, eq=False)
class _Graph:
    """The affine parts of a network: for each layer a matrix for each input (None: not linear) and an offset."""

    network: Network
    maps: Mapping[str, list[np.ndarray | None]]
    offsets: Mapping[str, np.ndarray]

    @staticmethod
    def of(network: Network) -> _Graph:
        layers = [layer for layer in network.layers if layer.kind != "input"]
        maps = {layer.name: [linear_map(network, layer, k) for k in range(len(layer.inputs))] for layer in layers}
        return _Graph(network, maps, {layer.name: offset(layer) for layer in layers})

    def ends(self, layer: Layer) -> bool:
        """Whether the way back ends at this layer's result, with its interval bounds."""
        return layer.kind == "input" or layer.activation.kind == "softmax" or any(m is None for m in
                                                                                  self.maps[layer.name])  # fmt: skip


Ranges = Mapping[str, tuple[Interval, Interval]]  # of flattened results, before and after the activation
Slopes = dict[str, np.ndarray]  # layer -> the lower lines' slopes, (targets, size); layers of ReLUs only


def symbolic_bounds(network: Network, inputs: Interval, steps: int = STEPS) -> dict[str, Bounds]:
    """Bounds before each activation for inputs (N, d); weights must be constant and inputs finite.

    `steps` gradient steps choose the slopes below ReLUs, in layers of which STEPPED allows it; 0: fixed slopes.
    """
    if network.free or not inputs.finite:
        return {}
    known: dict[str, Bounds] = {}
    graph = _Graph.of(network)
    for number, layer in enumerate(network.layers):
        if layer.kind in ("input", "maxpool") or graph.maps[layer.name][0] is None:
            continue
        so_far = layer_bounds(network, inputs, known=known)
        found = [_backward(graph, number, {k: _row(b, i) for k, b in so_far.items()}, steps)
                 for i in range(inputs.shape[0])]  # fmt: skip
        interval = Interval(
            *(np.stack([getattr(f, end) for f in found]).reshape(-1, *layer.shape) for end in ("lo", "hi"))
        )
        known[layer.name] = so_far[layer.name].pre.tighten(interval, Origin.SYMBOLIC)
    return known


def _row(b: LayerBounds, i: int) -> tuple[Interval, Interval]:
    return b.pre.interval[i].reshape(-1), b.post.interval[i].reshape(-1)


def _backward(graph: _Graph, target: int, ranges: Ranges, steps: int) -> Interval:
    """Bounds on the pre-activations of layer number `target` for one sample."""
    lo = -_Way(graph, target, ranges, -1.0).least(steps)
    hi = _Way(graph, target, ranges, 1.0).least(steps)
    return Interval(lo, hi)


@dataclass(eq=False)
class _Way:
    """The way back from a layer's pre-activations, times `sign`, to the inputs: upper bounds on them."""

    graph: _Graph
    target: int
    ranges: Ranges
    sign: float
    passed: list[tuple[Layer, np.ndarray]] = field(default_factory=list)  # the last way: layers and coefficients

    @cached_property
    def lines(self) -> dict[str, Lines]:
        layers = self.graph.network.layers[: self.target]
        return {layer.name: lines(layer.activation, self.ranges[layer.name][0])
                for layer in layers if not self.graph.ends(layer)}  # fmt: skip

    def least(self, steps: int) -> np.ndarray:
        """The best upper bounds that some choices of slopes give, (size of the target,)."""
        best = self.upper({})
        slopes = self._first_slopes()
        entries = sum(a.size for a in slopes.values())
        if not slopes or entries > STEPPED:
            return best
        momentum = {name: np.zeros_like(a) for name, a in slopes.items()}
        for step in range(steps):
            best = np.minimum(best, self.upper(slopes))
            length = FIRST_STEP * (1 - step / steps)
            for name, g in self._gradient(slopes).items():
                norm = np.abs(g).max(axis=1, keepdims=True)
                momentum[name] = 0.5 * momentum[name] + g / np.where(norm > 0, norm, 1.0)
                slopes[name] = np.clip(slopes[name] - length * momentum[name], 0.0, 1.0)
        return np.minimum(best, self.upper(slopes))

    def _first_slopes(self) -> Slopes:
        """The fixed slopes, for layers on the way with undecided ReLUs."""
        found = {}
        for layer, c in self.passed:
            if layer.activation.kind == "relu" and not self.graph.ends(layer):
                pre = self.ranges[layer.name][0]
                if np.any((pre.lo < 0) & (pre.hi > 0)):
                    found[layer.name] = np.broadcast_to(self.lines[layer.name].low_slope, c.shape).copy()
        return found

    def _low(self, layer: Layer, slopes: Slopes) -> tuple[np.ndarray, np.ndarray]:
        """Slopes and intercepts of the lower lines; chosen slopes count for undecided ReLUs, whose lines have none."""
        e = self.lines[layer.name]
        if layer.name not in slopes:
            return e.low_slope, e.low
        pre = self.ranges[layer.name][0]
        open_ = (pre.lo < 0) & (pre.hi > 0)
        return np.where(open_, slopes[layer.name], e.low_slope), np.where(open_, 0.0, e.low)

    def upper(self, slopes: Slopes) -> np.ndarray:
        """Upper bounds for given slopes, rounded upwards."""
        graph, layers = self.graph, self.graph.network.layers
        layer = layers[self.target]
        total = self.sign * graph.offsets[layer.name]
        size = np.abs(total)
        operations = 8
        pending: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # coefficients on results, and their absolute sums
        self.passed = []

        def add(name: str, coefficients: np.ndarray, absolute: np.ndarray) -> None:
            a, b = pending.get(name, (0.0, 0.0))
            pending[name] = a + coefficients, b + absolute

        for name, m in zip(layer.inputs, graph.maps[layer.name]):
            assert m is not None
            add(name, self.sign * m, np.abs(m))
        for item in reversed(layers[: self.target]):
            if item.name not in pending:
                continue
            c, absolute = pending.pop(item.name)
            self.passed.append((item, c))
            operations += c.shape[1] + 4
            if graph.ends(item):
                post = self.ranges[item.name][1]
                total = total + np.maximum(c, 0.0) @ post.hi + np.minimum(c, 0.0) @ post.lo
                size = size + absolute @ post.magnitude
                continue
            e = self.lines[item.name]
            low_slope, low = self._low(item, slopes)
            total = total + np.maximum(c, 0.0) @ e.high + np.minimum(c, 0.0) @ low
            size = size + absolute @ np.maximum(np.abs(e.high), np.abs(low))
            before = np.maximum(c, 0.0) * e.high_slope + np.minimum(c, 0.0) * low_slope
            absolute = absolute * np.maximum(np.abs(e.high_slope), np.abs(low_slope))
            b = graph.offsets[item.name]
            total, size = total + before @ b, size + absolute @ np.abs(b)
            for name, m in zip(item.inputs, graph.maps[item.name]):
                assert m is not None
                add(name, before @ m, absolute @ np.abs(m))
        return np.nextafter(total + 4 * operations * _UNIT * size, np.inf)

    def _gradient(self, slopes: Slopes) -> Slopes:
        """Derivatives of the last way's bounds by the slopes: from the inputs at which they are attained, forwards
        through the lines that they took."""
        results: dict[str, np.ndarray] = {}
        found = {}
        for item, c in reversed(self.passed):
            if self.graph.ends(item):
                post = self.ranges[item.name][1]
                results[item.name] = np.where(c > 0, post.hi, post.lo)
                continue
            z = np.broadcast_to(self.graph.offsets[item.name], c.shape)
            for name, m in zip(item.inputs, self.graph.maps[item.name]):
                assert m is not None
                z = z + results[name] @ m.T
            e = self.lines[item.name]
            low_slope, low = self._low(item, slopes)
            results[item.name] = np.where(c > 0, e.high_slope * z + e.high, low_slope * z + low)
            if item.name in slopes:
                found[item.name] = np.minimum(c, 0.0) * z
        return found
