"""The instances of the suite, as specs, with their known optima.

The data of most are N points of a noisy three-neuron teacher in the plane; XOR is the classic four points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Instance:
    name: str
    spec: str
    optimum: float  # proven before, to the digits given
    digits: int = 4


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
        f"net f = input(2) -> h: dense({neurons}, {activation}{budget}) -> out: dense(1)\n"
        f"  with weights in {box}, biases in {box}\n"
        f"minimize {objective}\n"
    )


def _plane(samples: int, neurons: int, objective: str = "sse(f, D)", budget: str = "") -> str:
    x, y = teacher(samples)
    return _spec(x.tolist(), y.tolist(), neurons, objective, budget=budget)


_CORNERS = [[-1, -1], [-1, 1], [1, -1], [1, 1]]
_BITS = [[0, 0], [0, 1], [1, 0], [1, 1]]

INSTANCES = (
    Instance("plane N=12 H=1", _plane(12, 1), 0.11148),
    Instance("plane N=12 H=2", _plane(12, 2), 0.03816),
    Instance("plane N=12 H=3", _plane(12, 3), 0.00497),
    Instance("plane N=20 H=2", _plane(20, 2), 0.17014),
    Instance("plane N=30 H=2", _plane(30, 2), 0.28882),
    Instance("plane N=12 H=2 decay", _plane(12, 2, "sse(f, D) + 0.02 * l2(f)"), 0.12574),
    Instance("plane N=12 H=3 decay", _plane(12, 3, "sse(f, D) + 0.02 * l2(f)"), 0.11857),
    Instance("XOR +-1 decay", _spec(_CORNERS, [-1, 1, 1, -1], 2, "sse(f, D) + 0.05 * l2(f)"), 0.277843),
    Instance("XOR 0/1 decay, biases too",
             _spec(_BITS, [0, 1, 1, 0], 2, "sse(f, D) + 0.1 * l2(f, biases = true)", "-3..3"), 0.487590),
    Instance("plane N=12 H=2 l0 <= 2", _plane(12, 2, budget=", l0 <= 2"), 0.12378),
    Instance("plane N=12 H=2 l0 <= 3", _plane(12, 2, budget=", l0 <= 3"), 0.08013),
    Instance("plane N=12 H=2 l0 <= 4", _plane(12, 2, budget=", l0 <= 4"), 0.06759),
    Instance("plane N=12 H=2 l0 <= 5", _plane(12, 2, budget=", l0 <= 5"), 0.03854),
    Instance("plane N=12 H=2 sae", _plane(12, 2, "sae(f, D)"), 0.37349),
)  # fmt: skip
