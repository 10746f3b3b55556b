"""The instances of the boxes engine's benchmark: one hidden layer, sums of squares, decay on all weights and biases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Instance:
    """Minimise |f(x) - y|^2 + decay * |all weights and biases|^2, each of them in [-box, box].

    `targets` are (gap, seconds that a whole process may take with compiled code on disk).
    """

    title: str
    x: np.ndarray  # (N, d)
    y: np.ndarray  # (N, m)
    hidden: int
    activation: str
    decay: float
    box: float
    targets: tuple[tuple[float, float], ...]

    def spec(self) -> str:
        y = self.y[:, 0] if self.y.shape[1] == 1 else self.y
        return (
            f"data D = table(x = {self.x.tolist()}, y = {y.tolist()})\n"
            f"net f = input({self.x.shape[1]}) -> h: dense({self.hidden}, {self.activation}) -> "
            f"out: dense({self.y.shape[1]})\n  with weights in -{self.box:g}..{self.box:g}, "
            f"biases in -{self.box:g}..{self.box:g}\n"
            f"minimize sse(f, D) + {self.decay} * l2(f, biases = true)\n"
        )


def teacher(n: int) -> tuple[np.ndarray, np.ndarray]:
    """n points of the plane with a noisy three-neuron ReLU target."""
    r = np.random.RandomState(1)
    x = r.uniform(-1, 1, (n, 2))

    def relu(z: np.ndarray) -> np.ndarray:
        return np.maximum(z, 0)

    a, b = x.T
    y = relu(1.5 * a - b + 0.2) - 1.2 * relu(0.5 * a + 1.3 * b - 0.1) + 0.3 * relu(-a + 0.4 * b) + 0.1 * r.randn(n)
    return x, y[:, None]


def _iris() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_iris

    x, label = load_iris(return_X_y=True)
    x = x[:, 2:]
    return (x - x.mean(0)) / x.std(0), np.eye(3)[label]


def instances() -> dict[str, Instance]:
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = np.array([[0.0], [1.0], [1.0], [0.0]])
    found = {
        f"xor-{activation}": Instance(f"XOR on 0/1, 2-2-1, {activation}, decay .1", x, y, 2, activation, 0.1, 3.0, t)
        for activation, t in (
            ("tanh", ((1e-3, 60.0), (1e-5, 180.0))), ("sigmoid", ((1e-3, 120.0),)),
            ("softplus", ((1e-3, 120.0),)), ("relu", ((1e-3, 120.0),)),
        )
    }  # fmt: skip
    for name, n, hidden, seconds in (("n12-1", 12, 1, 5.0), ("n12-2", 12, 2, 600.0), ("n60-1", 60, 1, 10.0)):
        title = f"plane, N={n}, tanh, H={hidden}, decay .05"
        found[name] = Instance(title, *teacher(n), hidden, "tanh", 0.05, 5.0, ((1e-3, seconds),))
    title = "Iris, two petal features, 3 outputs, tanh, H=1, decay .5"
    found["iris-1"] = Instance(title, *_iris(), 1, "tanh", 0.5, 5.0, ((1e-3, 120.0),))
    return found
