"""The networks that `encodings_relu.py` minimises: trained by scikit-learn on fixed data with fixed seeds.

Inputs lie in [-1, 1]^d, targets are standardised. `trained` networks fit a function; `random` ones keep the weights
that PyTorch would start with (uniform in +-1/sqrt(fan-in), biases alike), which no function explains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

Target = Callable[[np.ndarray], np.ndarray]


def friedman(x: np.ndarray) -> np.ndarray:
    """Friedman's first function, on [0, 1]^10 (Friedman 1991)."""
    u = (x + 1) / 2
    return 10 * np.sin(np.pi * u[:, 0] * u[:, 1]) + 20 * (u[:, 2] - 0.5) ** 2 + 10 * u[:, 3] + 5 * u[:, 4]


def rosenbrock(x: np.ndarray) -> np.ndarray:
    return (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(axis=1)


def rastrigin(x: np.ndarray) -> np.ndarray:
    return (x**2 - 0.3 * np.cos(2 * np.pi * x)).sum(axis=1)


def waves(x: np.ndarray) -> np.ndarray:
    """A product of a few oblique waves."""
    a = np.random.RandomState(7).normal(size=(3, x.shape[1]))
    return np.sin(x @ a[0]) * np.cos(x @ a[1]) + 0.5 * np.sin(x @ a[2])


def quadratic(x: np.ndarray) -> np.ndarray:
    """An indefinite quadratic form and a linear one."""
    r = np.random.RandomState(3)
    q, c = r.normal(size=(x.shape[1], x.shape[1])), r.normal(size=x.shape[1])
    return ((x @ q) * x).sum(axis=1) + x @ c


def blobs(x: np.ndarray) -> np.ndarray:
    """Wells of different depths."""
    r = np.random.RandomState(5)
    centres, depths = r.uniform(-0.8, 0.8, (6, x.shape[1])), r.uniform(0.5, 2, 6)
    return -(depths * np.exp(-((x[:, None] - centres) ** 2).sum(axis=2) / 2)).sum(axis=1)


def strokes(x: np.ndarray) -> np.ndarray:
    """A function of the mean brightness of patches of an image of 28 by 28."""
    patches = x.reshape(-1, 4, 7, 4, 7).mean(axis=(2, 4)).reshape(len(x), 16) * 7
    return np.tanh(patches[:, 0] * patches[:, 5]) + np.abs(patches[:, 10]) - patches[:, 15]


@dataclass(frozen=True)
class Instance:
    """A network to be minimised over [-1, 1]^d, from `seed`; `target` None: random weights."""

    name: str
    sizes: tuple[int, ...]
    target: Target | None
    seed: int = 0


INSTANCES = (
    *(Instance(f"10-30-30-1 {f.__name__}", (10, 30, 30, 1), f, s)
      for s, f in enumerate((friedman, rosenbrock, rastrigin, waves, quadratic, blobs))),
    Instance("10-20-20-20-1 waves", (10, 20, 20, 20, 1), waves, 6),
    Instance("10-20-20-20-1 quadratic", (10, 20, 20, 20, 1), quadratic, 7),
    Instance("784-20-20-1 strokes", (784, 20, 20, 1), strokes, 8),
    Instance("10-50-50-1 waves", (10, 50, 50, 1), waves, 9),
    Instance("10-50-50-1 quadratic", (10, 50, 50, 1), quadratic, 10),
    Instance("10-20-20-1 random", (10, 20, 20, 1), None, 11),
    Instance("10-30-30-1 random", (10, 30, 30, 1), None, 12),
)  # fmt: skip

SAMPLES = 2000


def weights(instance: Instance) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(weights of each layer (outputs, inputs), biases)."""
    r = np.random.RandomState(instance.seed)
    if instance.target is None:
        scales = [1 / np.sqrt(n) for n in instance.sizes[:-1]]
        shapes = list(pairwise(instance.sizes))
        return ([r.uniform(-s, s, (m, n)) for s, (n, m) in zip(scales, shapes)],
                [r.uniform(-s, s, m) for s, (_, m) in zip(scales, shapes)])  # fmt: skip
    import warnings

    from sklearn.neural_network import MLPRegressor

    x = r.uniform(-1, 1, (SAMPLES, instance.sizes[0]))
    y = instance.target(x)
    net = MLPRegressor(hidden_layer_sizes=instance.sizes[1:-1], random_state=instance.seed, max_iter=200, alpha=1e-4)
    with warnings.catch_warnings(action="ignore"):  # that 200 rounds are not enough
        net.fit(x, (y - y.mean()) / y.std())
    return [w.T for w in net.coefs_], list(net.intercepts_)


def prepare(instance: Instance, folder: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Write net.npz (w0, b0, w1 ...), net.pickle (scikit-learn), net.onnx and net.nns; the weights and biases."""
    import pickle
    import warnings

    from sklearn.neural_network import MLPRegressor

    from nnspec.formats import write_network
    from nnspec.problem import Activation, Layer, Network, Parameter

    ws, bs = weights(instance)
    arrays: dict[str, Any] = {f"w{k}": w for k, w in enumerate(ws)} | {f"b{k}": b for k, b in enumerate(bs)}
    np.savez(folder / "net.npz", **arrays)
    net = MLPRegressor(hidden_layer_sizes=instance.sizes[1:-1], max_iter=1, solver="lbfgs")
    with warnings.catch_warnings(action="ignore"):  # that one iteration is not enough
        net.fit(np.zeros((2, instance.sizes[0])), np.zeros(2))
    net.coefs_, net.intercepts_ = [w.T for w in ws], bs
    (folder / "net.pickle").write_bytes(pickle.dumps(net))
    layers = [Layer("x", "input", (), (instance.sizes[0],))]
    for k, (w, b) in enumerate(zip(ws, bs)):
        kind = "relu" if k < len(ws) - 1 else "linear"
        layers.append(Layer(f"h{k + 1}" if k < len(ws) - 1 else "y", "dense", (layers[-1].name,), (len(b),),
                            Activation(kind), Parameter.constant(f"f.{k}.weights", w),
                            Parameter.constant(f"f.{k}.bias", b)))  # fmt: skip
    write_network(Network("f", tuple(layers), ("y",)), folder / "net.onnx")
    n = instance.sizes[0]
    arguments = ", ".join(f"x[{i}]" for i in range(n))
    spec = f'net f = onnx("net.onnx")\nvar x[i in 0..{n - 1}] in -1..1\nminimize f({arguments})\n'
    (folder / "net.nns").write_text(spec)
    return ws, bs


def forward(ws: list[np.ndarray], bs: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """Outputs (N,) at x (N, d)."""
    for w, b in zip(ws[:-1], bs[:-1]):
        x = np.maximum(x @ w.T + b, 0.0)
    return (x @ ws[-1].T + bs[-1])[:, 0]
