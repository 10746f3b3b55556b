"""Bounds by LP and OBBT: tighter, certified, and no feasible point is lost."""

from __future__ import annotations

import numpy as np
import pytest

from nnspec.backends.scip import ScipBackend
from nnspec.bounds.propagate import Origin
from nnspec.encodings.compile import BOUNDS, compile_problem
from nnspec.encodings.tighten import lp_bounds, relaxation
from nnspec.errors import UsageError
from nnspec.problem import Constraint, Objective, Problem, Variable
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import objective, violations
from nnspec.program import Affine, Program
from nnspec.status import Limits

from .problems import dense_network, random_point, training
from .test_complete import agrees
from .test_scip import check


def embedded(r, constraints=(), activation="relu"):
    f = dense_network((2, 5, 5, 1), activation)
    f = f.with_values({p.name: r.normal(size=p.shape) for p in f.parameters})
    out = ex.NetworkOutput("f", (ex.VariableRef("x"), ex.VariableRef("y")))
    variables = {"x": Variable("x", -2, 2), "y": Variable("y", -2, 2)}
    return Problem("p", {"f": f}, {}, variables, Objective("maximize", out), tuple(Constraint(c) for c in constraints))


def test_tighter_and_tighter():
    r = np.random.default_rng(0)
    row = ex.Comparison("<=", ex.Sum((ex.VariableRef("x"), ex.VariableRef("y"))), ex.Constant(-0.5))
    p = embedded(r, [row])
    widths, binaries = [], []
    for kind in BOUNDS:
        compiled = compile_problem(p, bounds=kind)
        b = compiled.runs.all[0].bounds["h2"].pre
        widths.append(float((b.hi - b.lo).sum()))
        binaries.append(int(compiled.program.discrete.sum()))
        for _ in range(200):
            point = random_point(p, r)
            if not violations(p, point):
                assert compiled.program.violations(compiled.start(point)) == []
        if kind in ("lp", "obbt"):
            assert (Origin.LINEAR if kind == "lp" else Origin.OBBT) in np.concatenate([b.lo_origin, b.hi_origin])
    assert widths[0] > widths[1] > widths[2] > widths[3]
    assert binaries[0] >= binaries[3]


@pytest.mark.parametrize("activation", ["relu", "tanh", "leaky_relu"])
def test_lp_bounds_with_free_weights(activation):
    """Products of two decisions: McCormick in the relaxation."""
    r = np.random.default_rng(1)
    agrees(training("sse", activation, r, sizes=(2, 2, 2, 1), samples=2, box=1.0), bounds="lp")


def test_same_optimum_with_every_kind_of_bounds():
    r = np.random.default_rng(2)
    p = embedded(r)
    values = [check(p, time=10.0, bounds=kind)[0].objective for kind in BOUNDS]
    assert max(values) - min(values) < 1e-5


def test_constraints_shrink_variables():
    x, y = ex.VariableRef("x"), ex.VariableRef("y")
    rows = [
        ex.Comparison("<=", ex.Sum((x, y)), ex.Constant(1.0)),
        ex.Comparison(">=", ex.Sum((x, ex.Product((ex.Constant(-1.0), y)))), ex.Constant(0.5)),
    ]
    p = Problem("p", {}, {}, {"x": Variable("x", 0, 10), "y": Variable("y", 0, 10)}, Objective("minimize", x),
                tuple(Constraint(c) for c in rows))  # fmt: skip
    compiled = compile_problem(p, bounds="obbt")
    assert abs(float(compiled.program.hi[compiled.variables["y"].columns[0]]) - 0.25) < 1e-6
    plain = compile_problem(p)
    assert float(plain.program.hi[plain.variables["x"].columns[0]]) <= 1 + 1e-9


def test_the_dual_bound_is_below_every_point():
    """Random LPs: the certificate lies below the value at random feasible points and close to the optimum."""
    r = np.random.default_rng(3)
    for _ in range(20):
        program = Program()
        x = program.add_variables("x", 4, -1.0, 1.0)
        a = r.normal(size=(5, 4))
        program.add_linear((x @ a.T), -np.inf, np.abs(a).sum(1) * 0.3)
        c = r.normal(size=4)
        e = (x @ c).reshape(1)
        found = lp_bounds(relaxation(program), e)
        points = r.uniform(-1, 1, (2000, 4))
        feasible = points[np.all(points @ a.T <= np.abs(a).sum(1) * 0.3, axis=1)]
        values = feasible @ c
        assert found.lo[0] <= values.min()
        assert found.hi[0] >= values.max()
        assert found.lo[0] > -np.abs(c).sum() - 1e-9
    assert isinstance(e, Affine)


@pytest.mark.parametrize("seed", range(3))
def test_a_cutoff_keeps_every_point_that_is_as_good(seed):
    """Thousands of random points and the cut-off's own: none that reaches it is cut off; some bounds get tighter."""
    r = np.random.default_rng(seed)
    p = embedded(r)
    points = [random_point(p, r) for _ in range(2000)]
    values = np.array([objective(p, point) for point in points])
    cutoff = float(np.sort(values)[-40])
    plain, cut = compile_problem(p, bounds="obbt"), compile_problem(p, bounds="obbt", cutoff=cutoff)
    kept = [point for point, value in zip(points, values) if value >= cutoff]
    assert len(kept) == 40
    for point in kept:
        assert cut.program.violations(cut.start(point), 1e-9) == []
    inputs = [c.variables[n].columns[0] for c in (plain, cut) for n in ("x", "y")]
    widths = [c.program.hi[j] - c.program.lo[j] for c, j in zip((plain, plain, cut, cut), inputs)]
    z = [c.runs.all[0].bounds["h2"].pre for c in (plain, cut)]
    assert sum(widths[2:]) < sum(widths[:2]) or (z[1].hi - z[1].lo).sum() < (z[0].hi - z[0].lo).sum()
    best = check(p, time=10.0)[0]
    result = ScipBackend().solve(cut.program, Limits(time=10.0))
    assert abs(result.objective - best.objective) < 1e-5


def test_cutoffs_that_bounds_cannot_use():
    r = np.random.default_rng(0)
    with pytest.raises(UsageError, match="without squares"):
        compile_problem(training("sse", "relu", r, sizes=(2, 2, 1), samples=2), bounds="obbt", cutoff=1.0)
    with pytest.raises(UsageError, match="a cut-off is for"):
        compile_problem(embedded(r), bounds="lp", cutoff=1.0)
