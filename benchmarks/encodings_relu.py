"""Which ReLU template for which solver: a trained-size network minimised over a box, every template, in one run.

    python benchmarks/encodings_relu.py [--backend scip] [--sizes 10,30,30,1] [--seconds 60] [--bounds symbolic]

Prints, for each template, the seconds to build and to solve, the incumbent and the bound. Weights are those of a random
network as PyTorch initialises it (uniform in +-1/sqrt(fan-in), biases alike) times `--gain`; inputs lie in [-1, 1].
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise

import numpy as np

from nnspec.backends import registry as backends
from nnspec.encodings.compile import compile_problem
from nnspec.encodings.registry import names
from nnspec.errors import UnsupportedError
from nnspec.problem import Activation, Layer, Network, Objective, Parameter, Problem, Variable
from nnspec.problem import expression as ex
from nnspec.status import Limits


def instance(sizes: list[int], seed: int, gain: float) -> Problem:
    """minimize the output of a random ReLU network over the box [-1, 1]^n."""
    r = np.random.default_rng(seed)
    layers = [Layer("x", "input", (), (sizes[0],))]
    for k, (n, m) in enumerate(pairwise(sizes)):
        scale = gain / np.sqrt(n)
        w = Parameter.constant(f"f.h{k}.weights", r.uniform(-scale, scale, (m, n)))
        b = Parameter.constant(f"f.h{k}.bias", r.uniform(-scale, scale, m))
        kind = "relu" if k < len(sizes) - 2 else "linear"
        layers.append(Layer(f"h{k}", "dense", (layers[-1].name,), (m,), Activation(kind), w, b))
    f = Network("f", tuple(layers), (layers[-1].name,))
    variables = {f"x[{i}]": Variable(f"x[{i}]", -1.0, 1.0) for i in range(sizes[0])}
    out = ex.NetworkOutput("f", tuple(ex.VariableRef(v) for v in variables))
    return Problem("embedded", {"f": f}, {}, variables, Objective("minimize", out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", default="scip")
    parser.add_argument("--sizes", default="10,30,30,1")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--bounds", default="symbolic")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gain", type=float, default=1.0)
    parser.add_argument("--templates", default=",".join(names("relu")))
    a = parser.parse_args()
    problem = instance([int(n) for n in a.sizes.split(",")], a.seed, a.gain)
    backend = backends.get(a.backend)
    print(f"{a.sizes} on {a.backend}, bounds {a.bounds}, seed {a.seed}")
    heads = ("binaries", "build s", "solve s")
    print(f"{'template':16} {' '.join(f'{h:>8}' for h in heads)} {'status':>10} {'incumbent':>12} {'bound':>12}")
    for template in a.templates.split(","):
        began = time.perf_counter()
        compiled = compile_problem(problem, {"relu": template}, backend=a.backend, bounds=a.bounds)
        built = time.perf_counter() - began
        try:
            result = backend.solve(compiled.program, Limits(time=a.seconds))
        except UnsupportedError as e:
            print(f"{template:16} {e.diagnostics[0].message}")
            continue
        value, bound = (f"{v:12.6f}" if v is not None else f"{'-':>12}" for v in (result.objective, result.bound))
        print(f"{template:16} {int(compiled.program.discrete.sum()):8} {built:8.2f} {result.seconds:8.2f} "
              f"{result.status:>10} {value} {bound}")  # fmt: skip


if __name__ == "__main__":
    main()
