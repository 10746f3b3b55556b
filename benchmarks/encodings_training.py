"""Which templates for training: squared loss of a small ReLU network whose output weights are fixed to +1 and -1.

    python benchmarks/encodings_training.py [--backend scip] [--samples 12] [--seconds 20]

Seconds are those of the processor, the limit those of the clock. This is what remains of two hidden neurons when their
scale is removed: a convex MIQP. Every ReLU template meets both forms of the squares.
"""

from __future__ import annotations

import argparse
import itertools
import time

import numpy as np

from nnspec.backends import registry as backends
from nnspec.encodings.compile import compile_problem
from nnspec.encodings.registry import names
from nnspec.errors import UnsupportedError
from nnspec.problem import Activation, DataSet, Layer, Network, Objective, Parameter, Problem
from nnspec.problem import expression as ex
from nnspec.status import Limits


def instance(samples: int, box: float = 10.0) -> Problem:
    """Samples of a three-neuron teacher with noise, two students of opposite output signs."""
    r = np.random.RandomState(1)
    x = r.uniform(-1, 1, (samples, 2))
    y = np.maximum(1.5 * x[:, 0] - x[:, 1] + 0.2, 0) - 1.2 * np.maximum(0.5 * x[:, 0] + 1.3 * x[:, 1] - 0.1, 0)
    y = y + 0.3 * np.maximum(-x[:, 0] + 0.4 * x[:, 1], 0) + 0.1 * r.randn(samples)
    layers = (
        Layer("x", "input", (), (2,)),
        Layer("h", "dense", ("x",), (2,), Activation("relu"), Parameter.box("f.h.weights", (2, 2), -box, box),
              Parameter.box("f.h.bias", (2,), -box, box)),
        Layer("y", "dense", ("h",), (1,), Activation(), Parameter.constant("f.y.weights", np.array([[1.0, -1.0]])),
              Parameter.box("f.y.bias", (1,), -box, box)),
    )  # fmt: skip
    f, data = Network("f", layers, ("y",)), DataSet("D", x, y[:, None])
    return Problem("training", {"f": f}, {"D": data}, {}, Objective("minimize", ex.Loss("sse", "f", "D")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", default="scip")
    parser.add_argument("--samples", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--box", type=float, default=10.0)
    parser.add_argument("--templates", default=",".join(names("relu")))
    a = parser.parse_args()
    problem, backend = instance(a.samples, a.box), backends.get(a.backend)
    print(f"{a.samples} samples on {a.backend}")
    print(f"{'relu':16} {'squares':10} {'cpu s':>8} {'nodes':>8} {'status':>10} {'incumbent':>10} {'bound':>10}")
    for relu, squares in itertools.product(a.templates.split(","), names("squares")):
        compiled = compile_problem(problem, {"relu": relu, "squares": squares}, backend=a.backend)
        used = time.process_time()
        try:
            r = backend.solve(compiled.program, Limits(time=a.seconds))
        except UnsupportedError as e:
            print(f"{relu:16} {squares:10} {e.diagnostics[0].message}")
            continue
        value, bound = (f"{v:10.6f}" if v is not None else f"{'-':>10}" for v in (r.objective, r.bound))
        print(f"{relu:16} {squares:10} {time.process_time() - used:8.2f} {r.nodes:8} {r.status:>10} {value} {bound}")


if __name__ == "__main__":
    main()
