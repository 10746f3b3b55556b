"""Ranges of inputs from the linear constraints of the model: sound, and as tight as propagation makes them."""

from __future__ import annotations

import math

import gurobipy
import highspy
import numpy as np
import pyomo.environ as pyo
import pyscipopt
import pytest

import nnspec
from nnspec.embedding.models import library_of
from nnspec.problem.forward import predict

from .test_embed import gurobi_model, network, scip_model

INF = math.inf


class Scip:
    def __init__(self):
        self.model = scip_model()

    def variable(self, lo, hi, whole=False):
        lb, ub = (None if math.isinf(b) else b for b in (lo, hi))
        return self.model.addVar("same name", vtype="I" if whole else "C", lb=lb, ub=ub)

    def row(self, lo, expression, hi):
        if lo > -INF and hi < INF:
            self.model.addCons(lo <= (expression <= hi))
        else:
            self.model.addCons(expression >= lo if lo > -INF else expression <= hi)


class Gurobi:
    def __init__(self):
        self.model = gurobi_model()

    def variable(self, lo, hi, whole=False):
        return self.model.addVar(lb=lo, ub=hi, vtype="I" if whole else "C")

    def row(self, lo, expression, hi):
        if lo > -INF:
            self.model.addConstr(expression >= lo)
        if hi < INF:
            self.model.addConstr(expression <= hi)


class Pyomo:
    def __init__(self):
        self.model = pyo.ConcreteModel()
        self.model.rows = pyo.ConstraintList()
        self.model.part = pyo.Block()
        self.count = 0

    def variable(self, lo, hi, whole=False):
        lb, ub = (None if math.isinf(b) else b for b in (lo, hi))
        self.count += 1
        v = pyo.Var(bounds=(lb, ub), domain=pyo.Integers if whole else pyo.Reals)
        (self.model.part if self.count % 2 else self.model).add_component(f"v{self.count}", v)
        return v

    def row(self, lo, expression, hi):
        self.model.rows.add(pyo.inequality(None if lo == -INF else lo, expression, None if hi == INF else hi))


@pytest.fixture(params=[Scip, Gurobi, Pyomo])
def host(request):
    return request.param()


def ranges(host, inputs):
    return library_of(host.model).ranges(host.model, inputs)


def test_rows_bound_variables(host):
    a, b, c, d = (host.variable(*r) for r in ((0, INF), (-INF, INF), (-INF, 9, True), (0, 10)))
    free = host.variable(-INF, INF)
    host.row(-INF, a + b, 4)
    host.row(-2, b - a, INF)
    host.row(-7.5, 2 * c, 7)
    host.row(1, 4 * b - 2 * d, 1)
    found = ranges(host, [a, b, c, 2 * a - c + 1, free])
    # b = d/2 + 1/4 is in [.25, 5.25]; a <= 4 - b <= 3.75, so b <= 4 and d <= 7.5
    assert found[0] == pytest.approx((0, 3.75), abs=1e-6)
    assert found[1] == pytest.approx((0.25, 4), abs=1e-6)
    assert found[2] == pytest.approx((-3, 3))
    assert found[3] == pytest.approx((-2, 11.5), abs=1e-6)
    assert found[4] == (-INF, INF)


def test_embedding_rests_on_them(host):
    """Variables without bounds of their own; the network's big-Ms come from the rows."""
    net = network(np.random.default_rng(3))
    x = [host.variable(-INF, INF), host.variable(-INF, INF)]
    host.row(-1, x[0] + x[1], 1)
    host.row(-1, x[0] - x[1], 1)
    with pytest.raises(nnspec.UsageError, match=r"NNS342.*input 0 of the network"):
        nnspec.embed(host.model, net, x, name="early", encoding={"relu": "bigm"})
    host.row(-2, x[0], 2)
    y, part = nnspec.embed(host.model, net, x)
    assert part.input_bounds[0] == pytest.approx((-2, 2))
    assert part.input_bounds[1] == pytest.approx((-3, 3))
    if isinstance(host, Scip):
        host.model.setObjective(y[0], "maximize")
        host.model.optimize()
        best = host.model.getObjVal()
    elif isinstance(host, Gurobi):
        host.model.setObjective(y[0], gurobipy.GRB.MAXIMIZE)
        host.model.optimize()
        best = host.model.ObjVal
    else:
        from pyomo.contrib.solver.common.factory import SolverFactory

        host.model.best = pyo.Objective(expr=y[0], sense=pyo.maximize)
        best = SolverFactory("highs").solve(host.model).incumbent_objective
    side = np.linspace(-1, 1, 401)
    p, q = (a.reshape(-1) for a in np.meshgrid(side, side))
    corners = np.stack([(p + q) / 2, (p - q) / 2], axis=1)
    on_grid = predict(net, {}, corners)[:, 0].max()
    assert on_grid - 1e-6 <= best <= on_grid + 0.05


@pytest.mark.parametrize("seed", range(5))
def test_ranges_contain_what_an_lp_finds(host, seed):
    r = np.random.default_rng(seed)
    n, m = 4, 5
    inner = r.uniform(-1, 1, n)
    matrix = np.round(r.normal(size=(m, n)), 1) * (r.random((m, n)) < 0.6)
    right = matrix @ inner + r.uniform(0, 1, m)
    lo, hi = np.full(n, -5.0), np.where(r.random(n) < 0.5, INF, 5.0)
    x = [host.variable(*b) for b in zip(lo, hi)]
    solver = highspy.Highs()
    solver.silent()
    columns = [solver.addVariable(lb=a, ub=min(b, solver.inf)) for a, b in zip(lo, hi)]
    for row, b in zip(matrix, right):
        if row.any():
            host.row(-INF, sum(c * v for c, v in zip(row.tolist(), x) if c), b)
            solver.addConstr(sum(c * v for c, v in zip(row.tolist(), columns) if c) <= b)
    for (low, high), v in zip(ranges(host, x), columns):
        assert low >= -5
        solver.minimize(v)
        assert low <= solver.getInfo().objective_function_value + 1e-7
        solver.maximize(v)
        if solver.getModelStatus() == highspy.HighsModelStatus.kOptimal:
            assert high >= solver.getInfo().objective_function_value - 1e-7
        else:
            assert high == INF


def test_contradictions_are_left_to_the_solver(host):
    x = host.variable(0, 1)
    host.row(2, 1 * x, 3)
    assert ranges(host, [x]) == [(0, 1)]


def test_templates_that_need_no_bounds():
    """With special ordered sets an input may be unbounded."""
    net = network(np.random.default_rng(8), (1, 3, 1), scaled=False)
    model = pyscipopt.Model()
    model.hideOutput()
    x = model.addVar("x", lb=None)
    y, part = nnspec.embed(model, net, [x], encoding={"relu": "sos1"})
    assert part.input_bounds == ((-INF, INF),)
    model.addCons(x == 3.7)
    model.optimize()
    assert model.getVal(y[0]) == pytest.approx(predict(net, {}, np.array([[3.7]]))[0, 0], abs=1e-5)


def test_pyomo_variables_that_are_fixed_now():
    model = pyo.ConcreteModel()
    model.x, model.z = pyo.Var(bounds=(0, 4)), pyo.Var()
    model.link = pyo.Constraint(expr=model.z == 2 * model.x)
    model.off = pyo.Constraint(expr=model.z <= 1)
    model.off.deactivate()
    model.x.fix(1.0)
    library = library_of(model)
    assert library.ranges(model, [model.x, model.z, model.x**2]) == [(0, 4), pytest.approx((0, 8)), (0, 16)]
    assert model.x.fixed
    assert model.x.value == 1.0
