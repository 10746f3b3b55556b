"""Interval bounds on every layer of a network, over boxes of weights and of inputs.

The same pass serves training (inputs are data, weights are boxes), embedding (inputs are boxes, weights constant) and
anything between. Each layer gets the bounds before and after its activation, with the origin of each end: what a bound
rests on can be told to the user, and a tighter method only replaces the ends that it improves.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from nnspec.bounds.interval import Interval, matmul, maximum
from nnspec.problem.forward import _windows, activate
from nnspec.problem.network import Activation, Layer, Network, Parameter


class Origin(enum.IntEnum):
    """What an end of a bound rests on."""

    DECLARED = 0  # stated in the spec, or data
    INTERVAL = 1  # interval arithmetic through the layers
    SYMBOLIC = 2  # linear bounds carried back to the inputs (CROWN)
    LINEAR = 3  # a linear relaxation, with a certificate from its duals
    OBBT = 4  # optimisation-based tightening with the side constraints of the spec

    def __str__(self) -> str:
        return ("declared", "interval", "symbolic", "linear program", "optimisation-based tightening")[self]


@dataclass(frozen=True, eq=False)
class Bounds:
    """An interval for each entry, and the origin of each end."""

    interval: Interval
    lo_origin: np.ndarray
    hi_origin: np.ndarray

    @staticmethod
    def of(interval: Interval, origin: Origin = Origin.INTERVAL) -> Bounds:
        shape = interval.shape
        return Bounds(interval, np.full(shape, origin, np.uint8), np.full(shape, origin, np.uint8))

    @property
    def lo(self) -> np.ndarray:
        return self.interval.lo

    @property
    def hi(self) -> np.ndarray:
        return self.interval.hi

    @property
    def shape(self) -> tuple[int, ...]:
        return self.interval.shape

    def tighten(self, interval: Interval, origin: Origin) -> Bounds:
        """Take over every end that is better."""
        lo_origin = np.where(interval.lo > self.lo, np.uint8(origin), self.lo_origin)
        hi_origin = np.where(interval.hi < self.hi, np.uint8(origin), self.hi_origin)
        return Bounds(self.interval.intersect(interval), lo_origin, hi_origin)

    def meet(self, other: Bounds) -> Bounds:
        """The better of both ends, each with its origin."""
        lo_origin = np.where(other.lo > self.lo, other.lo_origin, self.lo_origin)
        hi_origin = np.where(other.hi < self.hi, other.hi_origin, self.hi_origin)
        return Bounds(self.interval.intersect(other.interval), lo_origin, hi_origin)

    def origins(self) -> str:
        """A word or two for messages: where these bounds come from."""
        found = sorted({int(o) for o in np.unique(self.lo_origin)} | {int(o) for o in np.unique(self.hi_origin)})
        return ", ".join(str(Origin(o)) for o in found)


@dataclass(frozen=True, eq=False)
class LayerBounds:
    """Bounds on a layer's results before (`pre`) and after (`post`) its activation, shapes (N, *layer.shape)."""

    pre: Bounds
    post: Bounds


# The minimum of gelu and of silu: argument, and a value safely below (both minima are known to 1e-15).
_DIPS = {"gelu": (-0.7517915246935645, -0.16997120747990370), "silu": (-1.2784645427610738, -0.27846454276107381)}


def image(activation: Activation, z: Interval) -> Interval:
    """The activation's range over z; softmax is taken along the last axis."""

    def f(x: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            return activate(activation, np.asarray(x, dtype=float))

    match activation.kind:
        case "linear":
            return z
        case "relu" | "hardtanh" | "sign" | "step":
            return z.increasing(f, exact=True)
        case "leaky_relu":
            scaled = z.scale(activation.alpha)
            if activation.alpha >= 0:
                parts = [Interval(np.where(e >= 0, e, s), np.where(e >= 0, e, t))
                         for e, s, t in ((z.lo, scaled.lo, scaled.lo), (z.hi, scaled.hi, scaled.hi))]  # fmt: skip
                return Interval(parts[0].lo, parts[1].hi)
            through = (z.lo <= 0) & (z.hi >= 0)
            ends = [np.where(z.lo >= 0, z.lo, scaled.hi), np.where(z.hi >= 0, z.hi, scaled.lo)]
            lo, hi = np.minimum(*ends), np.maximum(*ends)
            return Interval(np.where(through, np.minimum(lo, 0.0), lo), np.where(through, np.maximum(hi, 0.0), hi))
        case "abs":
            return z.abs()
        case "tanh":
            return z.increasing(f, -1.0, 1.0)
        case "sigmoid":
            return z.increasing(f, 0.0, 1.0)
        case "softplus":
            return z.increasing(f, 0.0)
        case "gelu" | "silu":
            at, least = _DIPS[activation.kind]
            tails = Interval(*(np.nan_to_num(f(e), nan=0.0, neginf=0.0, posinf=np.inf) for e in (z.lo, z.hi)))
            # 1 + erf and 1 + tanh cancel for z < 0: the error is absolute, a few units of 1 times |z|
            slack = 1e-15 * (1.0 + np.where(np.isfinite(z.magnitude), z.magnitude, 0.0))
            lo = np.maximum(np.minimum(tails.lo, tails.hi) - slack, least)
            return Interval(np.where((z.lo <= at) & (z.hi >= at), least, lo), np.maximum(tails.lo, tails.hi) + slack)
        case "softmax":
            return _softmax(z)
    raise ValueError(f"unknown activation {activation.kind}")


def _softmax(z: Interval) -> Interval:
    """o_k = 1 / sum_j exp(z_j - z_k), increasing in z_k and decreasing in the others."""
    n = z.shape[-1]
    lo, hi = np.zeros(z.shape), np.ones(z.shape)
    for k in range(n):
        others = [j for j in range(n) if j != k]
        with np.errstate(over="ignore", invalid="ignore"):
            low = 1.0 + np.exp(z.hi[..., others] - z.lo[..., [k]]).sum(axis=-1)
            high = 1.0 + np.exp(z.lo[..., others] - z.hi[..., [k]]).sum(axis=-1)
            lo[..., k], hi[..., k] = (1 - 1e-13) / low, (1 + 1e-13) / high
    return Interval(np.nan_to_num(lo, nan=0.0), np.minimum(np.nan_to_num(hi, nan=1.0), 1.0))


def parameter_box(p: Parameter) -> Interval:
    """The box of a tensor; a single point where it is fixed."""
    if p.value is not None:
        return Interval.point(np.asarray(p.value, dtype=float).reshape(p.shape))
    lo, hi = p.lo, p.hi
    if p.kind == "int":
        lo, hi = np.ceil(lo), np.floor(hi)
    return Interval.of(lo, hi)


def windows(layer: Layer, x: np.ndarray, fill: float) -> np.ndarray:
    """All windows of a conv or pool layer: (N, C, rows, columns, kernel rows, kernel columns)."""
    return _windows(layer, x, fill)


def convolution_as_dense(layer: Layer, in_shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The sparse matrix pattern of a convolution: for each output entry and tap, which input and which weight.

    Returns (taps, weights), both of shape (outputs, channels / groups * kernel): flat input index (-1: padding) and
    flat weight index. Output entries are in the order of the flattened (filters, rows, columns).
    """
    assert layer.weights is not None
    groups = int(layer.attributes.get("groups", 1))
    index = np.arange(math.prod(in_shape), dtype=float).reshape(1, *in_shape)
    w = windows(layer, index, -1.0)[0]  # (C, rows, columns, kernel rows, kernel columns)
    channels, rows, columns = w.shape[:3]
    filters = layer.weights.shape[0]
    per_group, filters_per_group = channels // groups, filters // groups
    taps = np.empty((filters, rows, columns, per_group * w.shape[3] * w.shape[4]), dtype=int)
    for f in range(filters):
        g = f // filters_per_group
        part = w[g * per_group : (g + 1) * per_group]
        taps[f] = np.moveaxis(part, 0, 2).reshape(rows, columns, -1)
    size = taps.shape[-1]
    weights = np.broadcast_to((np.arange(filters) * size)[:, None, None, None] + np.arange(size), taps.shape)
    return taps.reshape(-1, size), weights.reshape(-1, size)


def _conv(layer: Layer, x: Interval, box: Callable[[Parameter], Interval]) -> Interval:
    assert layer.weights is not None
    taps, index = convolution_as_dense(layer, x.shape[1:])
    w = box(layer.weights).reshape(-1)
    flat = x.reshape(x.shape[0], -1)
    padded = Interval(*(np.concatenate([a, np.zeros((len(a), 1))], axis=1) for a in (flat.lo, flat.hi)))
    z = (padded[:, taps] * w[index][None]).sum(axis=2)
    return z.reshape(x.shape[0], *layer.shape)


def _bias(z: Interval, bias: Parameter | None, box: Callable[[Parameter], Interval]) -> Interval:
    if bias is None:
        return z
    return z + box(bias).reshape(-1, *([1] * (len(z.shape) - 2)))


def apply_layer(layer: Layer, inputs: list[Interval], box: Callable[[Parameter], Interval]) -> Interval:
    """Bounds of a layer's result before its activation, from those of its inputs (N, *shape)."""
    x = inputs[0]
    match layer.kind:
        case "dense":
            assert layer.weights is not None
            return _bias(matmul(x.reshape(x.shape[0], -1), box(layer.weights)), layer.bias, box)
        case "conv":
            return _bias(_conv(layer, x, box), layer.bias, box)
        case "batchnorm":
            assert layer.weights is not None
            shape = (-1, *([1] * (len(x.shape) - 2)))
            return _bias(x * box(layer.weights).reshape(*shape), layer.bias, box)
        case "avgpool":
            lo, hi = windows(layer, x.lo, 0.0), windows(layer, x.hi, 0.0)
            return Interval(lo, hi).sum(axis=(4, 5)).scale(1.0 / (lo.shape[4] * lo.shape[5]))
        case "maxpool":
            ends = [windows(layer, a, -np.inf).max(axis=(4, 5)) for a in (x.lo, x.hi)]
            return Interval(*ends)
        case "flatten":
            return x.reshape(x.shape[0], -1)
        case "activation":
            return x
        case "add":
            total = inputs[0]
            for other in inputs[1:]:
                total = total + other
            return total
        case "concat":
            return Interval(np.concatenate([i.lo for i in inputs], 1), np.concatenate([i.hi for i in inputs], 1))
    raise ValueError(f"unknown layer kind {layer.kind}")


def layer_bounds(network: Network, inputs: Interval, boxes: Mapping[str, Interval] | None = None,
                 known: Mapping[str, Bounds] | None = None) -> dict[str, LayerBounds]:  # fmt: skip
    """Bounds for every layer. `inputs` (N, d) are scaled; several input layers are concatenated.

    `boxes` overrides the boxes of parameter tensors by name; `known` holds tighter bounds before the activation of
    some layers, by layer name, which are intersected with what interval arithmetic gives.
    """
    boxes, known = boxes or {}, known or {}

    def box(p: Parameter) -> Interval:
        return boxes[p.name] if p.name in boxes else parameter_box(p)

    n, start = inputs.shape[0], 0
    found: dict[str, LayerBounds] = {}
    for layer in network.layers:
        if layer.kind == "input":
            part = inputs[:, start : start + layer.size].reshape(n, *layer.shape)
            bounds = Bounds.of(part, Origin.DECLARED)
            found[layer.name] = LayerBounds(bounds, bounds)
            start += layer.size
            continue
        pre = Bounds.of(apply_layer(layer, [found[i].post.interval for i in layer.inputs], box))
        if layer.name in known:
            pre = pre.meet(known[layer.name])
        post = image(layer.activation, pre.interval)
        found[layer.name] = LayerBounds(pre, Bounds(post, pre.lo_origin, pre.hi_origin))
    return found


__all__ = ["Bounds", "LayerBounds", "Origin", "apply_layer", "convolution_as_dense", "image", "layer_bounds",
           "maximum", "parameter_box", "windows"]  # fmt: skip
