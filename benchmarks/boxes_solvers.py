"""An instance of boxes_instances.py on SCIP, Gurobi and MAiNGO, and on nnspec's boxes engine: (value, bound, seconds).

SCIP and Gurobi get the activations as constraints with all weights as variables, the form in which such models are
usually written; MAiNGO gets the weights only, its reduced space. All models are written here, from the data.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from boxes_instances import Instance

GAP = 1e-3
Result = tuple[float, float, float]


def boxes(i: Instance, seconds: float, threads: int) -> Result:
    import tempfile
    from pathlib import Path

    from nnspec.engines.interface import Limits
    from nnspec.engines.run import solve_problem
    from nnspec.language.load import load_problem

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instance.nns"
        path.write_text(i.spec())
        began = time.monotonic()
        o = solve_problem(load_problem(path), Limits(time=seconds, gap=GAP, threads=threads), engine="boxes")
    assert o.objective is not None
    assert o.bound is not None
    return o.objective, o.bound, time.monotonic() - began


def _reach(i: Instance) -> np.ndarray:
    """(N,): the largest |w.x + b| of each sample over the box."""
    return i.box * (np.abs(i.x).sum(1) + 1.0)


def scip(i: Instance, seconds: float, threads: int) -> Result:
    from pyscipopt import Model, exp, log, quicksum

    m = Model()
    m.hideOutput()
    m.setParam("limits/time", seconds)
    m.setParam("limits/gap", GAP)
    d, outputs = i.x.shape[1], i.y.shape[1]

    def weights(rows: int, columns: int) -> list:
        return [[m.addVar(lb=-i.box, ub=i.box) for _ in range(columns)] for _ in range(rows)]

    def unit(a: object, reach: float) -> object:
        h = m.addVar(lb=None)
        if i.activation == "tanh":
            m.chgVarLb(h, -1)
            m.chgVarUb(h, 1)
            m.addCons(h == 1 - 2 / (exp(2 * a) + 1))
        elif i.activation == "sigmoid":
            m.chgVarLb(h, 0)
            m.chgVarUb(h, 1)
            m.addCons(h == 1 / (exp(-a) + 1))
        elif i.activation == "softplus":
            m.addCons(h == log(1 + exp(a)))
        else:
            z = m.addVar(vtype="B")
            m.chgVarLb(h, 0)
            m.addCons(h >= a)
            m.addCons(h <= a + reach * (1 - z))
            m.addCons(h <= reach * z)
        return h

    w, v = weights(i.hidden, d + 1), weights(outputs, i.hidden + 1)
    residuals = []
    for row, target, reach in zip(i.x, i.y, _reach(i)):
        hidden = [unit(quicksum(float(t) * q for t, q in zip(row, w[k])) + w[k][d], reach) for k in range(i.hidden)]
        for o in range(outputs):
            r = m.addVar(lb=None)
            m.addCons(r == quicksum(q * h for q, h in zip(v[o], hidden)) + v[o][-1] - float(target[o]))
            residuals.append(r)
    t = m.addVar(lb=0)
    weight_sum = quicksum(q * q for row in (*w, *v) for q in row)
    m.addCons(t >= quicksum(r * r for r in residuals) + i.decay * weight_sum)
    m.setObjective(t)
    began = time.monotonic()
    m.optimize()
    return (m.getObjVal() if m.getNSols() else np.inf), m.getDualbound(), time.monotonic() - began


def gurobi(i: Instance, seconds: float, threads: int) -> Result:
    import gurobipy as gp
    from gurobipy import nlfunc

    with gp.Env(params={"OutputFlag": 0}) as env, gp.Model(env=env) as m:
        m.Params.TimeLimit, m.Params.MIPGap, m.Params.Threads = seconds, GAP, threads
        d, outputs = i.x.shape[1], i.y.shape[1]
        w = m.addMVar((i.hidden, d + 1), lb=-i.box, ub=i.box)
        v = m.addMVar((outputs, i.hidden + 1), lb=-i.box, ub=i.box)
        total = i.decay * (sum(row @ row for row in w) + sum(row @ row for row in v))
        for row, target, reach in zip(i.x, i.y, _reach(i)):
            f = [v[o, i.hidden].item() - float(target[o]) for o in range(outputs)]
            for k in range(i.hidden):
                a, h = m.addVar(lb=-reach, ub=reach), m.addVar(lb=-1, ub=max(1.0, reach + 1))
                m.addConstr(a == sum(float(t) * w[k, j].item() for j, t in enumerate(row)) + w[k, d].item())
                if i.activation == "relu":
                    m.addConstr(h == gp.max_(a, constant=0.0))
                else:
                    functions = {"tanh": nlfunc.tanh, "sigmoid": nlfunc.logistic}
                    function = functions.get(i.activation, lambda t: nlfunc.log(1 + nlfunc.exp(t)))
                    m.addGenConstrNL(h, function(a))
                f = [f[o] + v[o, k].item() * h for o in range(outputs)]
            for o in range(outputs):
                r = m.addVar(lb=-gp.GRB.INFINITY)
                m.addConstr(r == f[o])
                total = total + r * r
        m.setObjective(total)
        m.optimize()
        return (m.ObjVal if m.SolCount else np.inf), m.ObjBound, m.Runtime


def maingo(i: Instance, seconds: float, threads: int) -> Result:
    import maingopy as mg

    d, outputs = i.x.shape[1], i.y.shape[1]
    inner = i.hidden * (d + 1)
    size = inner + outputs * (i.hidden + 1)

    def unit(a: object) -> object:
        if i.activation == "tanh":
            return mg.tanh(a)
        if i.activation == "sigmoid":
            return 0.5 + 0.5 * mg.tanh(0.5 * a)
        return mg.log(1 + mg.exp(a)) if i.activation == "softplus" else mg.max(a, 0)

    class Training(mg.MAiNGOmodel):
        def __init__(self) -> None:
            mg.MAiNGOmodel.__init__(self)

        def get_variables(self) -> list:
            return [mg.OptimizationVariable(mg.Bounds(-i.box, i.box), mg.VT_CONTINUOUS, f"t{j}") for j in range(size)]

        def evaluate(self, p: list) -> object:
            total = sum(i.decay * mg.sqr(q) for q in p)
            for row, target in zip(i.x, i.y):
                h = []
                for k in range(i.hidden):
                    w = p[k * (d + 1) : (k + 1) * (d + 1)]
                    h.append(unit(sum(float(t) * q for t, q in zip(row, w)) + w[d]))
                for o in range(outputs):
                    v = p[inner + o * (i.hidden + 1) : inner + (o + 1) * (i.hidden + 1)]
                    f = v[i.hidden] - float(target[o])
                    for k in range(i.hidden):
                        f = f + v[k] * h[k]
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


SOLVERS: dict[str, Callable[[Instance, float, int], Result]] = {
    "boxes": boxes, "SCIP": scip, "Gurobi": gurobi, "MAiNGO": maingo,
}  # fmt: skip
