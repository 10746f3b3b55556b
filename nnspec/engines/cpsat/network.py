"""Networks in exact arithmetic: parameters as integer variables, layers and activations on arrays of forms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from nnspec.engines.cpsat.exact import Builder, Form, NotExact, rational, total
from nnspec.problem.network import Activation, Layer, Network, Parameter
from nnspec.problem.problem import Point, Problem

KINDS = {"dense", "activation", "flatten", "add", "concat"}
ACTIVATIONS = {"linear", "relu", "leaky_relu", "abs", "hardtanh", "sign", "step"}
MOST_VALUES = 10**9
"""An integer weight with a wider range than this counts as unbounded."""

Forms = np.ndarray  # of objects: Form


def values_of(p: Parameter, index: int) -> list[Fraction]:
    """All values that an entry of a tensor may take, ascending. Raises NotExact for real ranges."""
    name = f"an entry of {p.name}"
    if p.value is not None:
        return [rational(float(p.value.reshape(-1)[index]), name)]
    lo, hi = float(p.lo.reshape(-1)[index]), float(p.hi.reshape(-1)[index])
    if p.kind == "set":
        return sorted(rational(v, name) for v in p.values if lo <= v <= hi)
    if p.kind == "int":
        if not hi - lo <= MOST_VALUES:
            raise NotExact(f"{p.name} has no finite bounds")
        return [Fraction(k) for k in range(math.ceil(lo), math.floor(hi) + 1)]
    if lo == hi:
        return [rational(lo, name)]
    raise NotExact(f"{p.name} is real: only integers (int(-8..8)) and finite sets ({{-1, 0, 1}}) are exact")


class Weights:
    """The forms of all tensors of a problem, and the way from and to points."""

    def __init__(self, problem: Problem, builder: Builder):
        self.builder = builder
        self.free: list[Parameter] = []
        self.forms: dict[str, Forms] = {}
        for p in problem.parameters():
            if p.name in self.forms:
                continue
            self.forms[p.name] = self._tensor(p)
            if p.free:
                self.free.append(p)

    def _tensor(self, p: Parameter) -> Forms:
        forms = np.empty(p.size, dtype=object)
        for k in range(p.size):
            if p.free and p.kind == "int" and float(p.lo.reshape(-1)[k]) < float(p.hi.reshape(-1)[k]):
                lo, hi = float(p.lo.reshape(-1)[k]), float(p.hi.reshape(-1)[k])
                if not hi - lo <= MOST_VALUES:
                    raise NotExact(f"{p.name} has no finite bounds")
                if math.ceil(lo) > math.floor(hi):
                    raise NotExact(f"there is no integer in the range of {p.name}")
                forms[k] = self.builder.integer_range(math.ceil(lo), math.floor(hi))
            else:
                values = values_of(p, k)
                if not values:
                    raise NotExact(f"no value of {p.name} lies within its bounds")
                forms[k] = self.builder.variable(values)
        return forms.reshape(p.shape)

    def point(self, x: Sequence[int]) -> dict[str, np.ndarray]:
        """The tensors' values at a point of the integer program."""
        return {
            p.name: np.array([float(self.builder.evaluate(f)(x)) for f in self.forms[p.name].reshape(-1)]
                             ).reshape(p.shape)
            for p in self.free
        }  # fmt: skip

    def start(self, point: Point, x: list[int | None]) -> None:
        """Write a point's weights into the variables that stand for them."""
        for p in self.free:
            given = np.asarray(point.parameters[p.name], dtype=float).reshape(-1)
            for form, value in zip(self.forms[p.name].reshape(-1), given):
                for j, c in form.terms.items():
                    x[j] = round((float(value) - float(form.constant)) / float(c))


def constants(array: np.ndarray, what: str) -> Forms:
    """Forms of known numbers."""
    flat = [Form.of(rational(float(v), what)) for v in np.asarray(array, dtype=float).reshape(-1)]
    found = np.empty(len(flat), dtype=object)
    found[:] = flat
    return found.reshape(np.shape(array))


def activate(builder: Builder, activation: Activation, z: Form) -> Form:
    """sigma(z)."""
    match activation.kind:
        case "linear":
            return z
        case "relu":
            return builder.maximum([z, Form.of(0)])
        case "leaky_relu":
            slope = rational(activation.alpha, "the slope of leaky_relu")
            combine = builder.maximum if slope <= 1 else builder.minimum
            return combine([z, z.times(slope)])
        case "abs":
            return builder.magnitude(z)
        case "hardtanh":
            return builder.minimum([builder.maximum([z, Form.of(-1)]), Form.of(1)])
        case "sign":
            return builder.nonnegative(z).times(2) - 1
        case "step":
            return builder.nonnegative(z)
    raise NotExact(f"{activation.kind} has irrational values")


def forward(builder: Builder, weights: Weights, network: Network, inputs: Forms) -> Forms:
    """The outputs (N, m) of a network for inputs (N, d), in scaled units."""
    results: dict[str, Forms] = {}
    start = 0
    for layer in network.layers:
        if layer.kind == "input":
            results[layer.name] = inputs[:, start : start + layer.size].reshape(len(inputs), *layer.shape)
            start += layer.size
        else:
            z = _layer(builder, weights, layer, [results[i] for i in layer.inputs])
            found = np.empty(z.size, dtype=object)
            found[:] = [activate(builder, layer.activation, form) for form in z.reshape(-1)]
            results[layer.name] = found.reshape(z.shape)
    return np.concatenate([results[name].reshape(len(inputs), -1) for name in network.outputs], axis=1)


def _layer(builder: Builder, weights: Weights, layer: Layer, inputs: list[Forms]) -> Forms:
    x = inputs[0]
    match layer.kind:
        case "dense":
            assert layer.weights is not None
            w = weights.forms[layer.weights.name]
            bias = None if layer.bias is None else weights.forms[layer.bias.name]
            x = x.reshape(len(x), -1)
            z = np.empty((len(x), len(w)), dtype=object)
            for i, k in np.ndindex(z.shape):
                parts = [builder.product(a, b) for a, b in zip(w[k], x[i])]
                z[i, k] = total(parts) if bias is None else total(parts) + bias[k]
            return z
        case "activation":
            return x
        case "flatten":
            return x.reshape(len(x), -1)
        case "add":
            found = np.empty(x.size, dtype=object)
            found[:] = [total(forms) for forms in zip(*(part.reshape(-1) for part in inputs))]
            return found.reshape(x.shape)
        case "concat":
            return np.concatenate(inputs, axis=1)
    raise NotExact(f"layers of kind {layer.kind} are not set up for exact arithmetic")


def unsupported(network: Network) -> str | None:
    """The first layer that has no exact form, None if all have."""
    for layer in network.layers:
        if layer.kind != "input" and layer.kind not in KINDS:
            return f"{network.name}.{layer.name} is a {layer.kind} layer"
        if layer.activation.kind not in ACTIVATIONS:
            return f"{network.name}.{layer.name} is {layer.activation}, whose values are not rational"
    return None
