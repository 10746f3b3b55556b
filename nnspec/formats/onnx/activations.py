"""Activations as ONNX nodes, computing exactly what `nnspec.problem.forward.activate` computes.

onnxruntime's CPU kernels for double lack Erf and Gelu, overflow in Softplus above about 710, store the slope of
LeakyRelu in single precision, and it fails to load a double Clip behind a Relu (its fusion of the two knows only other
types), so that these are composed in float64 from operators that are right:

    hardtanh(z) = min(max(z, -1), 1)
    softplus(z) = relu(z) + log(1 + exp(-|z|))
    gelu(z)     = relu(z) - |z| Q(|z|),  Q(a) = erfc(a / sqrt 2) / 2 = exp(-a^2 / 2) erfcx(a / sqrt 2) / 2

erfcx(x) = exp(x^2) erfc(x) is smooth on x >= 0: (1 + 2x) erfcx(x) is interpolated by a Chebyshev polynomial in
t = (x - K)/(x + K) (the substitution of Shepherd and Laframboise, Math. Comp. 36, 1981), which is accurate to 4e-15 at
K = 3.75 and degree 20.
sign and step are written out because ONNX's Sign(0) is 0 and the language's is 1.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from nnspec.formats.onnx.graph import Graph
from nnspec.problem.network import Activation

ERFCX_CENTRE = 3.75
ERFCX_DEGREE = 20


def write_activation(graph: Graph, activation: Activation, z: str, output: str) -> str:
    """Append the nodes that map value `z` to value `output`; intermediate values are called '<output>.<what>'."""
    kind = activation.kind
    simple = {"relu": "Relu", "abs": "Abs", "tanh": "Tanh", "sigmoid": "Sigmoid", "linear": "Identity"}
    if kind in simple:
        return graph.add(simple[kind], [z], output)
    match kind:
        case "leaky_relu" if not graph.double:
            return graph.add("LeakyRelu", [z], output, alpha=float(activation.alpha))
        case "leaky_relu":
            scaled = graph.add("Mul", [z, graph.scalar(activation.alpha)], f"{output}.scaled")
            return _where_nonnegative(graph, z, z, scaled, output)
        case "hardtanh" if graph.double:
            above = graph.add("Max", [z, graph.scalar(-1.0)], f"{output}.above")
            return graph.add("Min", [above, graph.scalar(1.0)], output)
        case "hardtanh":
            return graph.add("Clip", [z, graph.scalar(-1.0), graph.scalar(1.0)], output)
        case "sign":
            return _where_nonnegative(graph, z, graph.scalar(1.0), graph.scalar(-1.0), output)
        case "step":
            return _where_nonnegative(graph, z, graph.scalar(1.0), graph.scalar(0.0), output)
        case "softplus" if not graph.double:
            return graph.add("Softplus", [z], output)
        case "softplus":
            return _softplus(graph, z, output)
        case "silu":
            return graph.add("Mul", [z, graph.add("Sigmoid", [z], f"{output}.sigmoid")], output)
        case "gelu":
            return _gelu_double(graph, z, output) if graph.double else _gelu_single(graph, z, output)
        case "softmax":
            return graph.add("Softmax", [z], output, axis=1)
    raise ValueError(f"unknown activation {kind}")


def _where_nonnegative(graph: Graph, z: str, yes: str, no: str, output: str) -> str:
    condition = graph.add("GreaterOrEqual", [z, graph.scalar(0.0)], f"{output}.nonnegative")
    return graph.add("Where", [condition, yes, no], output)


def _softplus(graph: Graph, z: str, output: str) -> str:
    size = graph.add("Abs", [z], f"{output}.abs")
    small = graph.add("Exp", [graph.add("Neg", [size], f"{output}.neg")], f"{output}.exp")
    log = graph.add("Log", [graph.add("Add", [small, graph.scalar(1.0)], f"{output}.plus")], f"{output}.log")
    return graph.add("Add", [graph.add("Relu", [z], f"{output}.relu"), log], output)


def _gelu_single(graph: Graph, z: str, output: str) -> str:
    ratio = graph.add("Div", [z, graph.scalar(math.sqrt(2.0))], f"{output}.ratio")
    plus = graph.add("Add", [graph.add("Erf", [ratio], f"{output}.erf"), graph.scalar(1.0)], f"{output}.plus")
    return graph.add("Mul", [graph.add("Mul", [z, plus], f"{output}.product"), graph.scalar(0.5)], output)


@cache
def erfcx_coefficients() -> np.ndarray:
    """The c_j of (1 + 2x) erfcx(x) = sum_j c_j t^j with t = (x - K)/(x + K), ascending, (ERFCX_DEGREE + 1,)."""
    from numpy.polynomial import chebyshev
    from scipy.special import erfcx

    def function(t: Any) -> Any:
        x = ERFCX_CENTRE * (1 + t) / (1 - t)
        return (1 + 2 * x) * erfcx(x)

    return np.asarray(chebyshev.cheb2poly(chebyshev.chebinterpolate(function, ERFCX_DEGREE)))


def _gelu_double(graph: Graph, z: str, output: str) -> str:
    def add(kind: str, inputs: list[str], name: str) -> str:
        return graph.add(kind, inputs, f"{output}.{name}")

    size = add("Abs", [z], "abs")
    x = add("Div", [size, graph.scalar(math.sqrt(2.0))], "x")
    centre = graph.scalar(ERFCX_CENTRE)
    t = add("Div", [add("Sub", [x, centre], "below"), add("Add", [x, centre], "above")], "t")
    last = graph.integers("const.last", [-1])
    powers = graph.constant("const.powers", np.arange(ERFCX_DEGREE + 1.0))
    polynomial = graph.constant("const.erfcx", erfcx_coefficients()[:, None])
    table = add("Pow", [add("Unsqueeze", [t, last], "column"), powers], "powers")
    numerator = add("Squeeze", [add("MatMul", [table, polynomial], "sum"), last], "numerator")
    denominator = add("Add", [add("Mul", [x, graph.scalar(2.0)], "double"), graph.scalar(1.0)], "denominator")
    erfcx = add("Div", [numerator, denominator], "erfcx")
    gauss = add("Exp", [add("Neg", [add("Mul", [x, x], "square")], "neg")], "gauss")
    half = add("Mul", [add("Mul", [gauss, erfcx], "erfc"), graph.scalar(0.5)], "tail")
    return graph.add("Sub", [add("Relu", [z], "relu"), add("Mul", [size, half], "correction")], output)
