"""Every l0 template: the same sparsest networks, budgets that hold exactly, the perspective of a penalty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nnspec.backends.scip import ScipBackend
from nnspec.encodings.compile import compile_problem
from nnspec.encodings.registry import names
from nnspec.problem import Objective, Problem
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import nonzeros, objective, violations
from nnspec.status import Limits, Status

from .problems import dense_network, training
from .test_complete import agrees
from .test_scip import check


def linear_regression(r, budget, penalty=0.0, domain="real"):
    """One linear layer with an l0 budget: best-subset selection."""
    p = training("sse", "relu", r, sizes=(4, 1), samples=6, domain=domain)
    f = p.networks["f"]
    layers = tuple(replace(o, l0=budget) if o.kind == "dense" else o for o in f.layers)
    e = p.objective.expression
    if penalty:
        e = ex.Sum((e, ex.Product((ex.Constant(penalty), ex.Size("l2", "f")))))
    return Problem("p", {"f": replace(f, layers=layers)}, p.data, {}, Objective("minimize", e))


def best_subset(p, budget, penalty):
    """All supports; the bias is a column of its own."""
    from itertools import combinations

    d = p.data["D"]
    a = np.column_stack([d.x, np.ones(d.samples)])
    best = np.inf
    for chosen in combinations(range(5), budget):
        weights = np.diag([penalty * (k < 4) for k in chosen])
        columns = a[:, chosen]
        w = np.linalg.solve(columns.T @ columns + weights + 1e-14 * np.eye(budget), columns.T @ d.y[:, 0])
        if np.all(np.abs(w) <= 2):
            residual = columns @ w - d.y[:, 0]
            best = min(best, float(residual @ residual + w @ weights @ w))
    return best


@pytest.mark.parametrize("penalty", [0.0, 0.1])
@pytest.mark.parametrize("template", names("l0") or ("bigm", "indicator", "sos1", "perspective"))
def test_best_subset(template, penalty):
    r = np.random.default_rng(0)
    for budget in (1, 2, 3):
        p = linear_regression(r, budget, penalty)
        result, compiled = check(p, {"l0": template}, time=10.0)
        assert result.status is Status.OPTIMAL
        point = compiled.point(result.x)
        assert nonzeros(p.networks["f"], point) <= budget
        assert violations(p, point) == []
        assert abs(objective(p, point) - best_subset(p, budget, penalty)) < 1e-5


def test_perspective_is_tighter():
    from nnspec.program.rows import QuadraticRows

    p = linear_regression(np.random.default_rng(1), 2, 0.1)
    compiled = agrees(replace_budget(p), {"l0": "perspective"})
    assert any(isinstance(rows, QuadraticRows) and "perspective" in rows.name for rows in compiled.program.rows)
    assert not compiled.program.objective.left.size or len(compiled.program.objective.left) == 6  # residuals alone


def replace_budget(p):
    """The same with a budget that no point violates, and an l0 term instead."""
    f = p.networks["f"]
    layers = tuple(replace(o, l0=None) for o in f.layers)
    e = ex.Sum((p.objective.expression, ex.Product((ex.Constant(0.01), ex.Size("l0", "f")))))
    return Problem("p", {"f": replace(f, layers=layers)}, p.data, {}, Objective("minimize", e))


@pytest.mark.parametrize("domain", ["two", "three", "spread", "int", "binary"])
def test_discrete_domains_need_few_binaries(domain):
    """Entries that select their value by binaries count with the same ones."""
    f = dense_network((2, 2, 1), domain=domain, bias_domain=domain)
    p = Problem("p", {"f": f}, {}, {}, Objective("minimize", ex.Size("l0", "f")))
    compiled = compile_problem(p)
    if domain != "int":
        assert not any(
            b.name.endswith("nonzero") for b in compiled.program.blocks if domain in ("two", "binary", "spread")
        )
    result = ScipBackend().solve(compiled.program, Limits(time=5))
    assert round(result.objective) == (9 if domain == "two" else 0)


def test_a_bias_that_does_not_count_stays_zero():
    """Centring sign neurons must not bring a bias back that the budget excludes."""
    r = np.random.default_rng(3)
    p = training("sse", "sign", r, sizes=(2, 2, 1), samples=3)
    f = p.networks["f"]
    layers = tuple(replace(o, l0=2) if o.name == "h1" else o for o in f.layers)
    q = Problem("p", {"f": replace(f, layers=layers)}, p.data, {}, p.objective)
    compiled = compile_problem(q)
    result = ScipBackend().solve(compiled.program, Limits(time=5))
    point = compiled.point(result.x)
    assert nonzeros(q.networks["f"], point, "h1") <= 2


def test_logarithm_of_an_overestimate():
    """minimize log(max(x, y) - 1): the argument must be exact, or its domain is lost."""
    from nnspec.problem import Variable

    x, y = ex.VariableRef("x"), ex.VariableRef("y")
    inner = ex.Sum((ex.Function("max", (x, y)), ex.Constant(-1.0)))
    variables = {"x": Variable("x", 0.0, 3.0), "y": Variable("y", 1.5, 2.0)}
    check(Problem("p", {}, {}, variables, Objective("minimize", ex.Function("log", (inner,)))), time=5.0)
