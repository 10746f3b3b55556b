"""Dual bounds of the boxes engine and of general global solvers on the same tanh instances in one run.

    python benchmarks/boxes.py [--seconds 60] [--threads 2] [instance ...]

Prints a Markdown table: value and bound of each solver at the time limit, or the seconds it took to close the gap of
1e-3. SCIP and Gurobi get the activations as constraints with all weights as variables; MAiNGO the weights only (its
reduced space). All models are written here, from the data. Gurobi needs a licence beyond 2000 variables; MAiNGO is `pip
install maingopy`. A solver that is not installed is left out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engines" / "boxes"))
from boxes_problems import XOR_X, XOR_Y, teacher, training

from nnspec.engines.boxes import BoxesEngine
from nnspec.engines.interface import Limits

GAP = 1e-3
BOX = 3.0
Result = tuple[float, float, float]  # value, bound, seconds


def instances() -> dict[str, tuple[np.ndarray, np.ndarray, int, float]]:
    """name: inputs, targets (one column), hidden neurons, decay on all weights and biases, which lie in [-3, 3]."""
    return {
        "xor-1": (XOR_X, XOR_Y, 1, 0.1),
        "xor-2": (XOR_X, XOR_Y, 2, 0.1),
        "n12-1": (*teacher(12), 1, 0.05),
        "n12-2": (*teacher(12), 2, 0.05),
        "n60-1": (*teacher(60), 1, 0.05),
    }


def boxes(x: np.ndarray, y: np.ndarray, hidden: int, decay: float, seconds: float, threads: int) -> Result:
    o = BoxesEngine().solve(training(x, y, hidden, decay=decay, box=BOX), Limits(seconds, GAP, threads=threads))
    assert o.objective is not None
    assert o.bound is not None
    return o.objective, o.bound, o.seconds


def scip(x: np.ndarray, y: np.ndarray, hidden: int, decay: float, seconds: float, threads: int) -> Result:
    from pyscipopt import Model, exp, quicksum

    m = Model()
    m.hideOutput()
    m.setParam("limits/time", seconds)
    m.setParam("limits/gap", GAP)
    d = x.shape[1]
    w = [[m.addVar(lb=-BOX, ub=BOX) for _ in range(d + 1)] for _ in range(hidden)]
    v = [m.addVar(lb=-BOX, ub=BOX) for _ in range(hidden + 1)]
    residuals = []
    for row, target in zip(x, y[:, 0]):
        terms = []
        for k in range(hidden):
            h = m.addVar(lb=-1, ub=1)
            a = quicksum(float(t) * q for t, q in zip(row, w[k])) + w[k][d]
            m.addCons(h == 1 - 2 / (exp(2 * a) + 1))
            terms.append(v[k] * h)
        r = m.addVar(lb=-50, ub=50)
        m.addCons(r == quicksum(terms) + v[hidden] - float(target))
        residuals.append(r)
    t = m.addVar(lb=0)
    m.addCons(
        t >= quicksum(r * r for r in residuals) + decay * quicksum(q * q for q in (t for r in (*w, v) for t in r))
    )
    m.setObjective(t)
    began = time.monotonic()
    m.optimize()
    return (m.getObjVal() if m.getNSols() else np.inf), m.getDualbound(), time.monotonic() - began


def gurobi(x: np.ndarray, y: np.ndarray, hidden: int, decay: float, seconds: float, threads: int) -> Result:
    import gurobipy as gp
    from gurobipy import nlfunc

    with gp.Env(params={"OutputFlag": 0}) as env, gp.Model(env=env) as m:
        m.Params.TimeLimit, m.Params.MIPGap, m.Params.Threads = seconds, GAP, threads
        d = x.shape[1]
        w, v = m.addMVar((hidden, d + 1), lb=-BOX, ub=BOX), m.addMVar(hidden + 1, lb=-BOX, ub=BOX)
        total = decay * (sum(w[k] @ w[k] for k in range(hidden)) + v @ v)
        for row, target in zip(x, y[:, 0]):
            r = m.addVar(lb=-50, ub=50)
            f = v[hidden].item() - float(target)
            for k in range(hidden):
                a, h = m.addVar(lb=-50, ub=50), m.addVar(lb=-1, ub=1)
                m.addConstr(a == sum(float(t) * w[k, j].item() for j, t in enumerate(row)) + w[k, d].item())
                m.addGenConstrNL(h, nlfunc.tanh(a))
                f = f + v[k].item() * h
            m.addConstr(r == f)
            total = total + r * r
        m.setObjective(total)
        m.optimize()
        return (m.ObjVal if m.SolCount else np.inf), m.ObjBound, m.Runtime


def maingo(x: np.ndarray, y: np.ndarray, hidden: int, decay: float, seconds: float, threads: int) -> Result:
    import maingopy as mg

    d = x.shape[1]
    size = hidden * (d + 1) + hidden + 1

    class Training(mg.MAiNGOmodel):
        def __init__(self) -> None:
            mg.MAiNGOmodel.__init__(self)

        def get_variables(self) -> list:
            return [mg.OptimizationVariable(mg.Bounds(-BOX, BOX), mg.VT_CONTINUOUS, f"t{i}") for i in range(size)]

        def evaluate(self, p: list) -> object:
            total = sum(decay * mg.sqr(q) for q in p)
            for row, target in zip(x, y[:, 0]):
                f = p[size - 1] - float(target)
                for k in range(hidden):
                    w = p[k * (d + 1) : (k + 1) * (d + 1)]
                    a = sum(float(t) * q for t, q in zip(row, w)) + w[d]
                    f = f + p[hidden * (d + 1) + k] * mg.tanh(a)
                total = total + mg.sqr(f)
            result = mg.EvaluationContainer()
            result.objective = total
            return result

    model = Training()  # the solver keeps no reference of its own
    solver = mg.MAiNGO(model)
    solver.set_log_file_name("")
    for option, value in (("maxTime", seconds), ("epsilonR", GAP), ("epsilonA", 1e-9), ("loggingDestination", 0)):
        solver.set_option(option, value)
    began = time.monotonic()
    solver.solve()
    return solver.get_objective_value(), solver.get_final_LBD(), time.monotonic() - began


SOLVERS: dict[str, Callable[..., Result]] = {"boxes": boxes, "SCIP": scip, "Gurobi": gurobi, "MAiNGO": maingo}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("instances", nargs="*", help=f"of {', '.join(instances())}; default all")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    boxes(XOR_X, XOR_Y, 1, 0.5, 5.0, 1)  # compile
    print("| instance | " + " | ".join(SOLVERS) + " |\n|" + "---|" * (1 + len(SOLVERS)), flush=True)
    for name, (x, y, hidden, decay) in instances().items():
        if arguments.instances and name not in arguments.instances:
            continue
        cells = []
        for solver in SOLVERS.values():
            try:
                value, bound, seconds = solver(x, y, hidden, decay, arguments.seconds, arguments.threads)
            except ImportError:
                cells.append("not installed")
                continue
            closed = value - bound <= 1.01 * GAP * abs(value)
            cells.append(f"{value:.5f}, {seconds:.1f} s" if closed else f"{value:.5f} / {bound:.3f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
