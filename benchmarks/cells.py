"""The instances of the cells engine: seconds of a whole process; SCIP and Gurobi on the reduced model in the same run.

    python benchmarks/cells.py [--solvers] [--limit 600] [instance ...]

Each measurement is a process of its own with warm compiled kernels (the first run after an installation compiles them).
`--solvers` gives SCIP and Gurobi the problem with its scale removed (output weights are signs): a convex mixed-integer
program with big-M activations and boxes of 30 on weights and biases, which the engine does without.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nnspec.problem.problem import Problem

INSTANCES = {
    "n30": ("N=30, d=2, H=2, sse", 5), "n100": ("N=100, d=2, H=2, sse", 30), "n30d4": ("N=30, d=4, H=2, sse", 60),
    "n12h3": ("N=12, d=2, H=3, sse", 10), "n30l1": ("N=30, d=2, H=2, sae", 60),
    "errors": ("N=700, d=2, H=2 step, errors, two clouds", 60), "petal": ("Iris petals, H=2, sse", 30),
    "decay12": ("N=12, d=2, H=2, sse, decay .02", 5), "decay12h3": ("N=12, d=2, H=3, sse, decay .02", 30),
    "decayxor": ("XOR -1/1, H=2, sse, decay .05", 5), "decay30": ("N=30, d=2, H=2, sse, decay .02", 60),
    "huber30": ("N=30, d=2, H=2, huber", 60), "squared30": ("N=30, d=2, H=2, squared hinge", 60),
    "iris1": ("Iris, four features, H=1, sse", 20), "iris2": ("Iris, four features, H=2, sse", 600),
}  # fmt: skip
GENERAL = {"decay12": (12, 2), "decay12h3": (12, 3), "decayxor": (4, 2), "decay30": (30, 2), "huber30": (30, 2),
           "squared30": (30, 2)}  # fmt: skip
"""Samples and neurons of the instances of the general search."""


def instance(name: str) -> tuple[np.ndarray, np.ndarray, int, str, str]:
    """x, y, neurons, activation, loss."""
    if name == "errors":
        r = np.random.RandomState(0)
        x = np.vstack([r.randn(350, 2), r.randn(350, 2) + np.array([[1.5, 0.0]])])
        return x, np.repeat([0.0, 1.0], 350), 2, "step", "errors"
    if name in ("petal", "iris1", "iris2"):
        from sklearn.datasets import load_iris

        x, label = load_iris(return_X_y=True)
        x = x[:, 2:] if name == "petal" else x
        return (x - x.mean(0)) / x.std(0), (label == 1) * 1.0, 1 if name == "iris1" else 2, "relu", "sse"
    if name == "decayxor":
        corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], dtype=float)
        return corners, -corners[:, 0] * corners[:, 1], 2, "relu", "sse"
    sizes = {name: (n, 2, h) for name, (n, h) in GENERAL.items()}
    n, d, neurons = {**sizes, "n30": (30, 2, 2), "n100": (100, 2, 2), "n30d4": (30, 4, 2), "n12h3": (12, 2, 3),
                     "n30l1": (30, 2, 2)}[name]  # fmt: skip
    r = np.random.RandomState(1)
    x = r.uniform(-1, 1, (n, d))

    def relu(a: np.ndarray) -> np.ndarray:
        return np.maximum(a, 0)

    y = relu(1.5 * x[:, 0] - x[:, 1] + 0.2) - 1.2 * relu(0.5 * x[:, 0] + 1.3 * x[:, 1] - 0.1)
    y = y + 0.3 * relu(-x[:, 0] + 0.4 * x[:, 1]) + 0.1 * r.randn(n)
    if name == "squared30":
        return x, (y > np.median(y)) * 1.0, neurons, "relu", "squared_hinge"
    return x, y, neurons, "relu", {"n30l1": "sae", "huber30": "huber"}.get(name, "sse")


def problem_of(name: str) -> Problem:
    from nnspec.problem import expression as ex
    from nnspec.problem.data import DataSet
    from nnspec.problem.network import Activation, Layer, Network, Parameter
    from nnspec.problem.problem import Objective, Problem

    x, y, h, activation, kind = instance(name)
    d = x.shape[1]
    hidden = Layer("h", "dense", ("in",), (h,), Activation(activation), Parameter.box("f.h.weights", (h, d)),
                   Parameter.box("f.h.bias", (h,)))  # fmt: skip
    out = Layer("out", "dense", ("h",), (1,), Activation(), Parameter.box("f.out.weights", (1, h)),
                Parameter.box("f.out.bias", (1,)))  # fmt: skip
    network = Network("f", (Layer("in", "input", (), (d,)), hidden, out), ("out",))
    goal: ex.Expression = ex.Loss(kind, "f", "D")
    if name.startswith("decay"):
        factor = 0.05 if name == "decayxor" else 0.02
        goal = ex.Sum((goal, ex.Product((ex.Constant(factor), ex.Size("l2", "f")))))
    return Problem(name, {"f": network}, {"D": DataSet("D", x, y[:, None])}, {}, Objective("minimize", goal))


def run_cells(name: str, limit: float) -> dict[str, object]:
    from nnspec.engines.cells import CellsEngine
    from nnspec.engines.interface import Limits

    o = CellsEngine().solve(problem_of(name), Limits(time=limit))
    return {"status": o.status.value, "value": o.objective, "bound": o.bound, "nodes": o.nodes}


def run_solver(name: str, limit: float, solver: str) -> dict[str, object]:
    if name in GENERAL:
        return run_reductions(name, limit, solver)
    x, y, neurons, _, kind = instance(name)
    box = 30.0  # the largest reduced weight of the known optima is 28.5 (N=12, H=3)
    big = box * (np.abs(x).sum(1).max() + 1)
    results = []
    began = time.monotonic()
    for negative in range(neurons + 1):  # neurons are interchangeable: only the number of signs matters
        left = max(1.0, limit - (time.monotonic() - began))
        signs = [-1.0] * negative + [1.0] * (neurons - negative)
        results.append((_scip if solver == "scip" else _gurobi)(x, y, signs, kind, box, big, left))
    return {"value": min(r[0] for r in results), "bound": min(r[1] for r in results), "status": "optimal" if all(
        r[0] - r[1] <= 1e-6 * abs(r[0]) + 1e-9 or r[1] >= min(q[0] for q in results) * (1 - 1e-6) for r in results
    ) else "limit"}  # fmt: skip


def run_reductions(name: str, limit: float, solver: str) -> dict[str, object]:
    """The same on nnspec's own reduced program, boxes of 30 on all weights."""
    from dataclasses import replace

    from nnspec.engines.interface import Limits
    from nnspec.engines.run import solve_problem

    problem = problem_of(name)
    network = problem.networks["f"]
    layers = tuple(replace(
        x, **{k: replace(p, lo=np.full(p.shape, -30.0), hi=np.full(p.shape, 30.0))
              for k, p in (("weights", x.weights), ("bias", x.bias)) if p is not None}
    ) for x in network.layers)  # fmt: skip
    boxed = replace(problem, networks={"f": replace(network, layers=layers)})
    o = solve_problem(boxed, Limits(time=limit), engine="solver", backend=solver)
    return {"status": o.status.value, "value": o.objective, "bound": o.bound, "nodes": o.nodes}


def _scip(x: np.ndarray, y: np.ndarray, signs: list[float], kind: str, box: float, big: float, limit: float
          ) -> tuple[float, float]:  # fmt: skip
    from pyscipopt import Model, quicksum

    m = Model()
    m.hideOutput()
    m.setParam("limits/time", limit)
    m.setParam("limits/gap", 1e-6)
    total = []
    w = [[m.addVar(lb=-box, ub=box) for _ in range(x.shape[1] + 1)] for _ in signs]
    c = m.addVar(lb=-box, ub=box)
    for i in range(len(x)):
        o = c
        for k, s in enumerate(signs):
            z = quicksum(w[k][j] * float(x[i, j]) for j in range(x.shape[1])) + w[k][-1]
            on, h = m.addVar(vtype="B"), m.addVar(ub=big)
            m.addCons(h >= z)
            m.addCons(h <= z + big * (1 - on))
            m.addCons(h <= big * on)
            o = o + s * h
        e = m.addVar()
        r = o - float(y[i])
        if kind == "sse":
            m.addCons(e >= r * r)
        else:
            m.addCons(e >= r)
            m.addCons(e >= -r)
        total.append(e)
    m.setObjective(quicksum(total))
    m.optimize()
    return (m.getObjVal() if m.getNSols() else np.inf), m.getDualbound()


def _gurobi(x: np.ndarray, y: np.ndarray, signs: list[float], kind: str, box: float, big: float, limit: float
            ) -> tuple[float, float]:  # fmt: skip
    import gurobipy as g

    m = g.Model()
    m.Params.OutputFlag = 0
    m.Params.TimeLimit = limit
    m.Params.MIPGap = 1e-6
    w = m.addVars(len(signs), x.shape[1] + 1, lb=-box, ub=box)
    c = m.addVar(lb=-box, ub=box)
    total = g.QuadExpr()
    for i in range(len(x)):
        o = g.LinExpr(c)
        for k, s in enumerate(signs):
            z = g.quicksum(w[k, j] * float(x[i, j]) for j in range(x.shape[1])) + w[k, x.shape[1]]
            on, h = m.addVar(vtype="B"), m.addVar(ub=big)
            m.addConstr(h >= z)
            m.addConstr(h <= z + big * (1 - on))
            m.addConstr(h <= big * on)
            o += s * h
        r = m.addVar(lb=-g.GRB.INFINITY)
        m.addConstr(r == o - float(y[i]))
        if kind == "sse":
            total += r * r
        else:
            e = m.addVar()
            m.addConstr(e >= r)
            m.addConstr(e >= -r)
            total += e
    m.setObjective(total)
    m.optimize()
    return (m.ObjVal if m.SolCount else np.inf), m.ObjBound


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[])
    parser.add_argument("--solvers", action="store_true")
    parser.add_argument("--limit", type=float, default=600.0)
    parser.add_argument("--one", choices=("cells", "scip", "gurobi"))
    options = parser.parse_args()
    if options.one:
        name = options.names[0]
        run = run_cells(name, options.limit) if options.one == "cells" else run_solver(name, options.limit, options.one)
        print(json.dumps(run))
        return
    for name in options.names or INSTANCES:
        title, target = INSTANCES[name]
        seconds: dict[str, float] = {}
        for engine in ("cells", "scip", "gurobi") if options.solvers and name != "errors" else ("cells",):
            began = time.monotonic()
            done = subprocess.run([sys.executable, __file__, name, "--one", engine, "--limit", str(options.limit)],
                                  capture_output=True, text=True)  # fmt: skip
            seconds[engine] = time.monotonic() - began
            text = done.stdout.strip() or f"failed: {done.stderr.strip().splitlines()[-1] if done.stderr else '?'}"
            print(f"{title:45s} {engine:7s} {seconds[engine]:8.2f} s (target {target} s)  "
                  f"x{seconds[engine] / seconds['cells']:.0f}  {text}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
