"""Problems for the tests and benchmarks of the boxes engine, built without the language."""

from __future__ import annotations

import numpy as np

from nnspec.problem import Activation, DataSet, Layer, Network, Objective, Parameter, Problem
from nnspec.problem import expression as ex

XOR_X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
XOR_Y = np.array([[0.0], [1.0], [1.0], [0.0]])


def teacher(n: int) -> tuple[np.ndarray, np.ndarray]:
    """n points of the plane with a noisy three-neuron ReLU target."""
    r = np.random.RandomState(1)
    x = r.uniform(-1, 1, (n, 2))

    def relu(z: np.ndarray) -> np.ndarray:
        return np.maximum(z, 0)

    a, b = x.T
    y = relu(1.5 * a - b + 0.2) - 1.2 * relu(0.5 * a + 1.3 * b - 0.1) + 0.3 * relu(-a + 0.4 * b) + 0.1 * r.randn(n)
    return x, y[:, None]


def training(x: np.ndarray, y: np.ndarray, hidden: int, activation: str = "tanh", *, loss: str = "sse",
             outputs: int | None = None, decay: float = 0.0, l1: float = 0.0, biases: bool = True,
             box: float | tuple[float, float] = 3.0, output_box: float | None = None, bias: bool = True,
             output_bias: bool = True, coefficient: float = 1.0, constant: float = 0.0,
             weights: np.ndarray | None = None,
             alpha: float = 0.1, maximize: bool = False, **options: float) -> Problem:  # fmt: skip
    """One hidden layer on x, y: minimise coefficient*loss + decay*l2 + l1*l1 + constant."""
    d = x.shape[1]
    m = outputs or y.shape[1]
    lo, hi = (-box, box) if isinstance(box, int | float) else box
    vlo, vhi = (lo, hi) if output_box is None else (-output_box, output_box)
    layers = (
        Layer("x", "input", (), (d,)),
        Layer("h", "dense", ("x",), (hidden,), Activation(activation, alpha),
              Parameter.box("f.h.weights", (hidden, d), lo, hi),
              Parameter.box("f.h.bias", (hidden,), lo, hi) if bias else None),
        Layer("out", "dense", ("h",), (m,), Activation("linear"), Parameter.box("f.out.weights", (m, hidden), vlo, vhi),
              Parameter.box("f.out.bias", (m,), vlo, vhi) if output_bias else None),
    )  # fmt: skip
    sign = -1.0 if maximize else 1.0
    terms: list[ex.Expression] = [ex.Product((ex.Constant(sign * coefficient), ex.Loss(loss, "f", "D", **options)))]
    if decay:
        terms.append(ex.Product((ex.Constant(sign * decay), ex.Size("l2", "f", biases=biases))))
    if l1:
        terms.append(ex.Product((ex.Constant(sign * l1), ex.Size("l1", "f", biases=biases))))
    if constant:
        terms.append(ex.Constant(sign * constant))
    data = DataSet("D", x, y, weights=weights)
    return Problem("test", {"f": Network("f", layers, ("out",))}, {"D": data}, {},
                   Objective("maximize" if maximize else "minimize", ex.Sum(tuple(terms))))  # fmt: skip
