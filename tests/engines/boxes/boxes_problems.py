"""Problems for the tests and benchmarks of the boxes engine, built without the language."""

from __future__ import annotations

import numpy as np

from nnspec.engines.boxes import kinds
from nnspec.problem import Activation, DataSet, Layer, Network, Objective, Parameter, Problem
from nnspec.problem import expression as ex

LOSSES = ("sse", "mse", "sae", "mae", "max_error", "huber", "pinball", "hinge", "squared_hinge", "logistic",
          "cross_entropy")  # fmt: skip
BINARY, SEVERAL = ("hinge", "squared_hinge", "logistic", "cross_entropy"), ("hinge", "squared_hinge", "cross_entropy")
COMBINATIONS = [(a, loss) for a in kinds.ACTIVATIONS for loss in LOSSES]
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


def random_problem(seed: int, activation: str, loss: str) -> Problem:
    """A small instance with random sizes, penalties, boxes, multiplicities, and options of the loss."""
    r = np.random.default_rng([seed, kinds.ACTIVATIONS.index(activation), LOSSES.index(loss)])
    n, d, hidden = r.integers(2, 7), r.integers(1, 3), r.integers(1, 3)
    outputs = int(r.integers(1, 4)) if loss != "logistic" else 1
    x = np.round(r.normal(size=(n, d)), int(r.integers(0, 4)))
    if loss in BINARY:
        classes = 2 if outputs == 1 else outputs
        y = r.integers(0, classes, size=(n, 1)).astype(float)
    else:
        y = r.normal(size=(n, outputs)) * r.choice([0.5, 1.0, 4.0])
    options = {}
    if loss == "huber":
        options["delta"] = float(r.choice([0.3, 1.0, 2.0]))
    elif loss == "pinball":
        options["q"] = float(r.choice([0.0, 0.1, 0.5, 0.8, 1.0]))
    elif loss in ("hinge", "squared_hinge"):
        options["margin"] = float(r.choice([0.5, 1.0, 2.0]))
    box = float(r.choice([0.5, 2.0, 5.0]))
    return training(
        x, y, int(hidden), activation, loss=loss, outputs=outputs, decay=float(r.choice([0.0, 0.02, 0.3])),
        l1=float(r.choice([0.0, 0.0, 0.1])), biases=bool(r.integers(2)),
        box=box if r.integers(3) else (-0.3 * box, box),
        output_box=float(r.choice([0.7, 3.0])), bias=bool(r.integers(4)), output_bias=bool(r.integers(4)),
        coefficient=float(r.choice([1.0, 0.2, 7.0])), constant=float(r.choice([0.0, -3.0])),
        weights=None if r.integers(2) else r.integers(1, 4, size=n).astype(float),
        alpha=float(r.choice([0.01, 0.5, 1.5, -0.5])), maximize=bool(r.integers(4) == 0), **options,
    )  # fmt: skip
