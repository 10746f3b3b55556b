"""Networks: an acyclic graph of layers over parameter tensors.

A parameter tensor is fixed (imported weights) or free (to be trained); trained and imported networks are the same
thing, so the same templates serve training and embedding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nnspec.errors import Span

ACTIVATIONS = (
    "linear", "relu", "leaky_relu", "abs", "hardtanh", "sign", "step",
    "tanh", "sigmoid", "softplus", "gelu", "silu", "softmax",
)  # fmt: skip
LAYER_KINDS = ("input", "dense", "conv", "avgpool", "maxpool", "flatten", "activation", "add", "concat", "batchnorm")


@dataclass(frozen=True)
class Activation:
    """An activation function; `alpha` is the slope of leaky_relu for negative arguments."""

    kind: str = "linear"
    alpha: float = 0.01

    @property
    def piecewise_linear(self) -> bool:
        return self.kind in ("linear", "relu", "leaky_relu", "abs", "hardtanh", "sign", "step")

    @property
    def homogeneous(self) -> bool:
        """sigma(s z) = s sigma(z) for every s >= 0."""
        return self.kind in ("linear", "relu", "leaky_relu", "abs")

    @property
    def odd(self) -> bool:
        """sigma(-z) = -sigma(z); sign counts although sign(0) = 1, since solutions keep off 0 (SIGN_MARGIN)."""
        return self.kind in ("linear", "tanh", "hardtanh", "sign")

    def __str__(self) -> str:
        return f"leaky_relu({self.alpha:g})" if self.kind == "leaky_relu" else self.kind


@dataclass(frozen=True, eq=False)
class Parameter:
    """A tensor of weights or biases.

    `lo` and `hi` have the tensor's shape (infinite where the spec gives no bound). `kind` is "real", "int", or "set"
    (then `values` lists the finitely many values, ascending). `value` is an array if the tensor is fixed, else None.
    `start` is a value that a free tensor had before, worth starting from; it need not lie in the domain.
    """

    name: str  # "f.h1.weights"
    shape: tuple[int, ...]
    lo: np.ndarray
    hi: np.ndarray
    kind: str = "real"
    values: tuple[float, ...] = ()
    value: np.ndarray | None = None
    span: Span | None = field(default=None, repr=False)
    start: np.ndarray | None = field(default=None, repr=False)

    @property
    def free(self) -> bool:
        return self.value is None

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @staticmethod
    def box(name: str, shape: tuple[int, ...], lo: float = -math.inf, hi: float = math.inf, kind: str = "real",
            values: tuple[float, ...] = (), span: Span | None = None) -> Parameter:  # fmt: skip
        """A free tensor with the same domain for each entry."""
        if kind == "set":
            lo, hi = min(values), max(values)
        return Parameter(name, shape, np.full(shape, float(lo)), np.full(shape, float(hi)), kind, tuple(sorted(values)),
                         None, span)  # fmt: skip

    @staticmethod
    def constant(name: str, value: np.ndarray, span: Span | None = None) -> Parameter:
        """A fixed tensor."""
        value = np.asarray(value, dtype=float)
        return Parameter(name, value.shape, value, value, "real", (), value, span)

    def fixed(self, value: np.ndarray) -> Parameter:
        return replace(self, value=np.asarray(value, dtype=float).reshape(self.shape))

    def __repr__(self) -> str:
        return f"Parameter({self.name}, shape={self.shape}, kind={self.kind}, {'free' if self.free else 'fixed'})"


@dataclass(frozen=True, eq=False)
class Layer:
    """One node of the network graph. The activation is applied to the layer's own result.

    Weights of a dense layer have shape (outputs, inputs), of a conv layer (filters, channels / groups, *kernel); biases
    (outputs,) or (filters,). `shape` is the output's shape without the batch: (n,) or (channels, rows, columns).
    `attributes` for conv and pools: kernel, stride, padding, dilation (tuples of 2), groups. For batchnorm: none; it is
    folded into scale and shift, kept as weights (channels,) and bias (channels,).
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    activation: Activation = Activation()
    weights: Parameter | None = None
    bias: Parameter | None = None
    l0: int | None = None  # at most this many nonzero weights and biases
    attributes: Mapping[str, Any] = field(default_factory=dict)
    span: Span | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(p for p in (self.weights, self.bias) if p is not None)


@dataclass(frozen=True)
class Scaling:
    """scaled = (raw - shift) / factor, per column; arrays of shape (d,)."""

    shift: np.ndarray
    factor: np.ndarray

    def apply(self, raw: np.ndarray) -> np.ndarray:
        return (raw - self.shift) / self.factor

    def invert(self, scaled: np.ndarray) -> np.ndarray:
        return scaled * self.factor + self.shift

    @property
    def trivial(self) -> bool:
        return bool(np.all(self.shift == 0) and np.all(self.factor == 1))


@dataclass(frozen=True, eq=False)
class Network:
    """Layers in topological order. `outputs` names the layers whose results are the network's results, in order.

    `input_scaling` and `output_scaling` are those of the data the network is trained on; the layers work in scaled
    units and the written file contains both maps.
    """

    name: str
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]
    input_names: tuple[str, ...] = ()  # user's names of the input features, where known
    output_names: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    input_scaling: Scaling | None = None
    output_scaling: Scaling | None = None
    l0: int | None = None  # at most this many nonzeros in the whole network
    span: Span | None = field(default=None, repr=False)

    def __getitem__(self, name: str) -> Layer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    @property
    def inputs(self) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.layers if layer.kind == "input")

    @property
    def input_size(self) -> int:
        return sum(layer.size for layer in self.inputs)

    @property
    def output_size(self) -> int:
        return sum(self[name].size for name in self.outputs)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(p for layer in self.layers for p in layer.parameters)

    @property
    def free(self) -> bool:
        """Whether anything is left to train."""
        return any(p.free for p in self.parameters)

    def trainable_layers(self) -> Iterator[Layer]:
        return (layer for layer in self.layers if layer.parameters)

    def chain(self) -> tuple[Layer, ...] | None:
        """The layers after the input if the network is a plain chain of dense and activation layers, else None."""
        if len(self.inputs) != 1 or len(self.outputs) != 1 or self.outputs[0] != self.layers[-1].name:
            return None
        previous = self.layers[0].name
        for layer in self.layers[1:]:
            if layer.kind not in ("dense", "activation") or layer.inputs != (previous,):
                return None
            previous = layer.name
        return self.layers[1:]

    def with_values(self, values: Mapping[str, np.ndarray]) -> Network:
        """The same network with the named tensors fixed."""

        def fix(p: Parameter | None) -> Parameter | None:
            return p.fixed(values[p.name]) if p is not None and p.name in values else p

        layers = tuple(replace(layer, weights=fix(layer.weights), bias=fix(layer.bias)) for layer in self.layers)
        return replace(self, layers=layers)
