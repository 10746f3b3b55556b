"""The instances of the suite, as specs, with their known optima.

`plane` is N points of a noisy three-neuron ReLU teacher in the plane, XOR the classic four points, Iris versicolor
against the rest on standardised features (with their population's standard deviation).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

IRIS = Path(__file__).parent.parent / "examples" / "data" / "iris.csv"


@dataclass(frozen=True)
class Instance:
    """`optimum` is proven to the digits given; `seconds` is what nnspec itself gets at least, whatever the limit of a
    run; `long` leaves the instance to `--long`."""

    name: str
    spec: str
    optimum: float
    seconds: float = 0.0
    long: bool = False

    def reproduced(self, value: float | None, relative: float = 0.0) -> bool:
        """Whether a value is the optimum: to its digits, or within a relative gap where that is wider."""
        digits = len(repr(self.optimum).partition(".")[2])
        tolerance = max(0.51 * 10.0**-digits, relative * abs(self.optimum)) + 5e-5 * abs(self.optimum)
        return value is not None and abs(value - self.optimum) <= tolerance


def teacher(samples: int) -> tuple[np.ndarray, np.ndarray]:
    r = np.random.RandomState(1)
    x = r.uniform(-1, 1, (samples, 2))

    def relu(z: np.ndarray) -> np.ndarray:
        return np.maximum(z, 0.0)

    y = relu(1.5 * x[:, 0] - x[:, 1] + 0.2) - 1.2 * relu(0.5 * x[:, 0] + 1.3 * x[:, 1] - 0.1)
    y = y + 0.3 * relu(-x[:, 0] + 0.4 * x[:, 1]) + 0.1 * r.randn(samples)
    return x, y


def _spec(x: list, y: list, neurons: int, objective: str, box: str = "-5..5", activation: str = "relu",
          budget: str = "") -> str:  # fmt: skip
    return (
        f"data D = table(x = {x}, y = {y})\n"
        f"net f = input({len(x[0])}) -> h: dense({neurons}, {activation}{budget}) -> out: dense(1)\n"
        f"  with weights in {box}, biases in {box}\n"
        f"minimize {objective}\n"
    )


def _plane(samples: int, neurons: int, objective: str = "sse(f, D)", budget: str = "", activation: str = "relu") -> str:
    x, y = teacher(samples)
    return _spec(x.tolist(), y.tolist(), neurons, objective, budget=budget, activation=activation)


def _iris(columns: slice, neurons: int) -> str:
    with IRIS.open() as file:
        rows = list(csv.reader(file))[1:]
    x = np.array([[float(v) for v in row[:4]] for row in rows])[:, columns]
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return _spec(x.tolist(), [int(row[4] == "versicolor") for row in rows], neurons, "sse(f, D)", "-30..30")


_CORNERS = [[-1, -1], [-1, 1], [1, -1], [1, 1]]
_BITS = [[0, 0], [0, 1], [1, 0], [1, 1]]
_ALL = "sse(f, D) + 0.1 * l2(f, biases = true)"
_TANH = "sse(f, D) + 0.05 * l2(f, biases = true)"

INSTANCES = (
    Instance("plane N=12 H=1", _plane(12, 1), 0.11148),
    Instance("plane N=12 H=2", _plane(12, 2), 0.03816),
    Instance("plane N=12 H=3", _plane(12, 3), 0.00497),
    Instance("plane N=20 H=2", _plane(20, 2), 0.17014),
    Instance("plane N=30 H=2", _plane(30, 2), 0.28882),
    Instance("plane N=12 H=2 decay", _plane(12, 2, "sse(f, D) + 0.02 * l2(f)"), 0.12574, 30),
    Instance("plane N=12 H=3 decay", _plane(12, 3, "sse(f, D) + 0.02 * l2(f)"), 0.11857, 60),
    Instance("XOR +-1 decay", _spec(_CORNERS, [-1, 1, 1, -1], 2, "sse(f, D) + 0.05 * l2(f)"), 0.277843),
    Instance("XOR 0/1 decay, biases too", _spec(_BITS, [0, 1, 1, 0], 2, _ALL, "-3..3"), 0.48759),
    Instance("plane N=12 H=2 l0 <= 2", _plane(12, 2, budget=", l0 <= 2"), 0.12378),
    Instance("plane N=12 H=2 l0 <= 3", _plane(12, 2, budget=", l0 <= 3"), 0.08013),
    Instance("plane N=12 H=2 l0 <= 4", _plane(12, 2, budget=", l0 <= 4"), 0.06759, 30),
    Instance("plane N=12 H=2 l0 <= 5", _plane(12, 2, budget=", l0 <= 5"), 0.03854, 30),
    Instance("plane N=12 H=2 sae", _plane(12, 2, "sae(f, D)"), 0.37349),
    Instance("tanh XOR 0/1 H=1 decay", _spec(_BITS, [0, 1, 1, 0], 1, _ALL, "-3..3", "tanh"), 1.02439),
    Instance("tanh XOR 0/1 H=2 decay", _spec(_BITS, [0, 1, 1, 0], 2, _ALL, "-3..3", "tanh"), 0.960488, 60),
    Instance("tanh plane N=12 H=1 decay", _plane(12, 1, _TANH, activation="tanh"), 0.41228, 30),
    Instance("tanh plane N=60 H=1 decay", _plane(60, 1, _TANH, activation="tanh"), 12.12288, 30),
    Instance("tanh plane N=12 H=2 decay", _plane(12, 2, _TANH, activation="tanh"), 0.38241, 120),
    Instance("Iris petals H=2", _iris(slice(2, 4), 2), 4.01099, 60),
    Instance("Iris H=1", _iris(slice(0, 4), 1), 22.8129, 120),
    Instance("Iris H=2", _iris(slice(0, 4), 2), 2.56553, 900, long=True),
)  # fmt: skip
