"""The instances of the cells engine: seconds of whole processes; SCIP and Gurobi on the reduced model in the same run.

    python benchmarks/cells.py --table [--cold] [--limit 600] [instance ...]
    python benchmarks/cells.py --compare [--limit 600] [instance ...]

`--table`: each instance as `nnspec solve` on a spec with its data, from start to exit, with warm compiled kernels;
`--cold` measures a first run with an empty cache too. `--compare` adds SCIP and Gurobi, each in a process of its own,
on the problem with its scale removed (output weights are signs: a convex mixed-integer program with big-M activations
and boxes of 30 on weights and biases, which the engine does without), and gives geometric means of the ratios over the
instances that a solver finishes: of whole processes, and of the solves alone (without start and imports; nnspec's is
the second one in a process, since the first one loads compiled code). Seconds on the clock; those of the processor in
brackets.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

INSTANCES = {
    "n30": ("N=30, d=2, H=2, sse", 5), "n100": ("N=100, d=2, H=2, sse", 30), "n30d4": ("N=30, d=4, H=2, sse", 60),
    "n12h3": ("N=12, d=2, H=3, sse", 10), "n30l1": ("N=30, d=2, H=2, sae", 60),
    "errors": ("N=700, d=2, H=2 step, errors, two clouds", 60), "petal": ("Iris petals, H=2, sse", 30),
    "decay12": ("N=12, d=2, H=2, sse, decay .02", 5), "decay12h3": ("N=12, d=2, H=3, sse, decay .02", 30),
    "decayxor": ("XOR -1/1, H=2, sse, decay .05", 5), "decay30": ("N=30, d=2, H=2, sse, decay .02", 60),
    "huber30": ("N=30, d=2, H=2, huber", 60), "squared30": ("N=30, d=2, H=2, squared hinge", 60),
    "iris1": ("Iris, four features, H=1, sse", 20), "iris2": ("Iris, four features, H=2, sse", 600),
}  # fmt: skip
STRETCH = {
    "n1000": ("N=1000, d=2, H=2, sse", 600), "noisy": ("283 noisy 0/1 targets, d=3, H=2, sse", 600),
    "iris3": ("Iris, four features, H=3, sse", 600),
}  # fmt: skip
"""As far as it goes; only when named."""
GENERAL = {"decay12": (12, 2), "decay12h3": (12, 3), "decayxor": (4, 2), "decay30": (30, 2), "huber30": (30, 2),
           "squared30": (30, 2)}  # fmt: skip
"""Samples and neurons of further instances."""
TEACHER = re.compile(r"n(\d+)(?:d(\d+))?(?:h(\d+))?(l1)?")
"""The kinds of the table in all sizes: samples, inputs (2), neurons (2), absolute loss (squares)."""
COMPARED = ("n20", "n30", "n40", "n20d4", "n30d4", "n36d4", "n12h3", "n15h3", "n20h3", "n20l1", "n30l1", "n40l1",
            "n50l1")  # fmt: skip
BEYOND = {"scip": ("n50l1", "n60", "n100", "petal", "iris1")}
"""From sizes that any solver manages to those that they do not finish in ten minutes (BEYOND, left out) or that
Gurobi's licence at hand does not allow.

Both solvers have their own tolerances, with which they claim values that no network has: a binary that is off by 1e-5
moves an activation by 1e-5 times the big-M (Gurobi n40l1: 2e-4 too low; SCIP n15h3: 1e-4). With 1e-9 they agree with
nnspec and are slower, SCIP much so.
"""


def instance(name: str) -> tuple[np.ndarray, np.ndarray, int, str, str]:
    """x, y, neurons, activation, loss."""
    if name == "errors":
        r = np.random.RandomState(0)
        x = np.vstack([r.randn(350, 2), r.randn(350, 2) + np.array([[1.5, 0.0]])])
        return x, np.repeat([0.0, 1.0], 350), 2, "step", "errors"
    if name == "noisy":  # like a survival study: age, year, findings
        r = np.random.RandomState(3)
        x = np.column_stack([r.uniform(30, 80, 283), r.uniform(58, 69, 283), r.poisson(3.0, 283)]).astype(float)
        chance = 1.0 / (1.0 + np.exp(1.5 - 0.02 * (x[:, 0] - 50) - 0.25 * x[:, 2]))
        return (x - x.mean(0)) / x.std(0), (r.uniform(size=283) < chance) * 1.0, 2, "relu", "sse"
    if name in ("petal", "iris1", "iris2", "iris3"):
        from sklearn.datasets import load_iris

        x, label = load_iris(return_X_y=True)
        x = x[:, 2:] if name == "petal" else x
        return (x - x.mean(0)) / x.std(0), (label == 1) * 1.0, {"iris1": 1, "iris3": 3}.get(name, 2), "relu", "sse"
    if name == "decayxor":
        corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], dtype=float)
        return corners, -corners[:, 0] * corners[:, 1], 2, "relu", "sse"
    teacher = TEACHER.fullmatch(name)
    n, d, neurons = (int(teacher[1]), int(teacher[2] or 2), int(teacher[3] or 2)) if teacher else (
        GENERAL[name][0], 2, GENERAL[name][1])  # fmt: skip
    kind = "sae" if teacher and teacher[4] else "sse"
    r = np.random.RandomState(1)
    x = r.uniform(-1, 1, (n, d))

    def relu(a: np.ndarray) -> np.ndarray:
        return np.maximum(a, 0)

    y = relu(1.5 * x[:, 0] - x[:, 1] + 0.2) - 1.2 * relu(0.5 * x[:, 0] + 1.3 * x[:, 1] - 0.1)
    y = y + 0.3 * relu(-x[:, 0] + 0.4 * x[:, 1]) + 0.1 * r.randn(n)
    if name == "squared30":
        return x, (y > np.median(y)) * 1.0, neurons, "relu", "squared_hinge"
    return x, y, neurons, "relu", "huber" if name == "huber30" else kind


def spec(name: str) -> str:
    """The instance as a spec."""
    x, y, neurons, activation, kind = instance(name)
    decay = " + 0.05 * l2(f)" if name == "decayxor" else " + 0.02 * l2(f)" if name.startswith("decay") else ""
    return (f"data D = table(x = {x.tolist()}, y = {y.tolist()})\nnet f = input({x.shape[1]}) -> "
            f"h: dense({neurons}, {activation}) -> dense(1)\nminimize {kind}(f, D){decay}\n")  # fmt: skip


def timed(command: list[str], environment: dict[str, str] | None = None) -> dict[str, object]:
    """Run a command that prints JSON: its fields, the process's wall and processor seconds."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    try:
        fields = json.loads(done.stdout.strip().splitlines()[-1] if "\n{" in done.stdout else done.stdout)
    except (ValueError, IndexError):
        fields = {"status": f"failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}", "seconds": wall}
    return {**fields, "wall": wall, "cpu": cpu}


def run_nnspec(name: str, limit: float, cold: bool = False) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instance.nns"
        path.write_text(spec(name))
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(Path(folder) / "cache")} if cold else None
        return timed(["nnspec", "solve", str(path), "--engine", "cells", "--time-limit", str(limit), "--json"],
                     environment)  # fmt: skip


def run_again(name: str, limit: float) -> dict[str, object]:
    """The second solve of a process."""
    import nnspec
    from nnspec.engines.cells import CellsEngine
    from nnspec.engines.interface import Limits

    problem = nnspec.load(spec(name))
    for _ in range(2):
        began = time.monotonic()
        o = CellsEngine().solve(problem, Limits(time=limit))
        seconds = time.monotonic() - began
    return {"status": o.status.value, "value": o.objective, "bound": o.bound, "seconds": seconds}


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

    import nnspec
    from nnspec.engines.interface import Limits
    from nnspec.engines.run import solve_problem

    problem = nnspec.load(spec(name))
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


def told(name: str, what: str, run: dict[str, object], more: str = "") -> None:
    value = run.get("objective", run.get("value"))
    shown = f"{value:.6g}" if isinstance(value, float) else "-"
    print(f"{name:8s} {what:12s} {run['wall']:8.2f} s ({run['cpu']:.2f})  solve {run['seconds']:.2f}  "
          f"{run['status']}  {shown}{more}", flush=True)  # fmt: skip


def table(names: list[str], limit: float, cold: bool) -> None:
    for name in names or list(INSTANCES):
        title, target = (INSTANCES | STRETCH)[name]
        print(f"# {title}: at most {target} s")
        if cold:
            told(name, "first run", run_nnspec(name, limit, cold=True))
        run_nnspec(name, min(limit, 60.0))  # compiles what is missing
        told(name, "nnspec", run_nnspec(name, limit))


def compare(names: list[str], limit: float) -> None:
    ratios: dict[str, list[tuple[float, float]]] = {"scip": [], "gurobi": []}
    for name in names or list(COMPARED):
        run_nnspec(name, min(limit, 60.0))
        ours = run_nnspec(name, limit)
        told(name, "nnspec", ours)
        again = timed([sys.executable, __file__, "--one", "nnspec", "--limit", str(limit), name])
        told(name, "in a process", again)
        for solver, known in ratios.items():
            if name in BEYOND.get(solver, ()):
                continue
            run = timed([sys.executable, __file__, "--one", solver, "--limit", str(limit), name])
            ratio = (float(run["wall"]) / float(ours["wall"]),  # type: ignore[arg-type]
                     float(run["seconds"]) / max(1e-3, float(again["seconds"])))  # type: ignore[arg-type] # fmt: skip
            told(name, solver, run, f"  x{ratio[0]:.1f}, solve x{ratio[1]:.1f}")
            if run["status"] == "optimal" and ours["status"] == "optimal":
                known.append(ratio)
    for solver, known in ratios.items():
        if known:
            whole, alone = (math.exp(sum(math.log(r[i]) for r in known) / len(known)) for i in (0, 1))
            print(f"geometric mean against {solver} over {len(known)} instances that it finished: "
                  f"x{whole:.1f} as whole processes, x{alone:.1f} as solves")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[])
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--limit", type=float, default=600.0)
    parser.add_argument("--one", choices=("nnspec", "scip", "gurobi"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        began = time.monotonic()
        if options.one == "nnspec":
            run = run_again(options.names[0], options.limit)
        else:
            run = {**run_solver(options.names[0], options.limit, options.one), "seconds": time.monotonic() - began}
        print(json.dumps(run))
        return
    if options.table or not options.compare:
        table(options.names, options.limit, options.cold)
    if options.compare:
        compare(options.names, options.limit)


if __name__ == "__main__":
    main()
