"""Every bridge, solved on both sides: SCIP takes the row as it is, and the rewritten program has the same optimum."""

import numpy as np
import pytest

from nnspec.backends.bridges import BRIDGES, bridge, lacking
from nnspec.backends.interface import Takes
from nnspec.backends.scip import ScipBackend
from nnspec.errors import Source, Span, UnsupportedError
from nnspec.program import Program, product, square
from nnspec.program.functions import FUNCTIONS
from nnspec.status import Limits, Status

from .programs import PROGRAMS

SCIP = ScipBackend()
LINEAR = frozenset({"linear"})
CORE = frozenset({"exp", "sin"})

# what a bridge replaces -> what the backend takes instead
LESS = {
    "indicators": Takes(LINEAR), "indicators_below": Takes(LINEAR), "sos1": Takes(LINEAR), "sos2": Takes(LINEAR),
    "binary_products": Takes(LINEAR),
    "binary_quadratic": Takes(LINEAR), "abs": Takes(LINEAR),
    "products": Takes(LINEAR | {"quadratic"}), "cone": Takes(LINEAR | {"quadratic"}),
    "convex_miqp": Takes(LINEAR | {"quadratic"}), "concave_max": Takes(LINEAR | {"quadratic"}),
    "nonconvex_qp": Takes(LINEAR | {"quadratic"}, objective="convex"),
    "sqrt": Takes(LINEAR | {"product"}), "square": Takes(LINEAR | {"product"}), "cube": Takes(LINEAR | {"product"}),
    "inverse": Takes(LINEAR | {"product"}),
    **{
        function: Takes(LINEAR | {"product", "univariate"}, CORE)
        for function in ("log", "cos", "tanh", "sigmoid", "softplus", "silu")
    },
    "tanh by sigmoid": Takes(LINEAR | {"univariate"}, frozenset({"sigmoid"})),
    "silu by sigmoid": Takes(LINEAR | {"univariate", "product"}, frozenset({"sigmoid"})),
}  # fmt: skip


@pytest.mark.parametrize("name", LESS)
def test_same_optimum_on_both_sides(name):
    program, optimum = PROGRAMS[name.split()[0]]()
    bridged = bridge(program, LESS[name], "this backend")
    assert bridged.program is not program
    assert all(lacking(rows, LESS[name]) is None for rows in bridged.program.rows)
    direct, rewritten = SCIP.solve(program, Limits(time=20)), SCIP.solve(bridged.program, Limits(time=20))
    assert rewritten.status is Status.OPTIMAL, rewritten
    assert rewritten.objective == pytest.approx(direct.objective, abs=2e-5)
    if optimum is not None:
        assert rewritten.objective == pytest.approx(optimum, abs=2e-5)
    x = bridged.restrict(rewritten.x)
    assert program.violations(x, 2e-5) == []
    assert program.objective_value(x) == pytest.approx(rewritten.objective, abs=2e-5)
    lifted = bridged.lift(np.where(program.discrete, np.round(direct.x), direct.x))
    assert bridged.program.violations(lifted, 2e-5) == []


@pytest.mark.parametrize("name", ["indicators", "indicators_below", "sos1", "sos2", "binary_products", "abs"])
def test_rewrites_keep_every_point(name):
    """Random points: the rewritten program accepts exactly those that the given one accepts."""
    program, _ = PROGRAMS[name]()
    bridged = bridge(program, Takes(LINEAR), "this backend")
    rng = np.random.default_rng(3)
    verdicts = set()
    for _ in range(300):
        x = rng.uniform(program.lo, program.hi)
        x = np.where(program.discrete, np.round(x), np.where(rng.random(len(x)) < 0.5, x, np.round(x)))
        x[rng.random(len(x)) < 0.4] = 0
        x = np.clip(x, program.lo, program.hi)
        for block in program.blocks:
            if block.complete is not None and rng.random() < 0.7:
                x[block.columns] = block.complete(x)
        feasible = program.violations(x) == []
        # with the old columns fixed a completion by recipes is feasible if there is one at all
        assert (bridged.program.violations(bridged.lift(x)) == []) == feasible
        verdicts.add(feasible)
    if name not in ("sos2",):
        assert verdicts == {True, False}


def test_every_bridge_is_tested():
    tested = {
        "indicator": "indicators", "product": "products", "quadratic": "binary_quadratic", "power": "square",
    }  # fmt: skip
    for lack in BRIDGES:
        assert tested.get(lack, lack) in LESS
    assert set(FUNCTIONS) - set(BRIDGES) == {"exp", "sin", "gelu"}


def span():
    source = Source("model.nns", "minimize bad(x)")
    return Span(source, 9, 15)


def test_refusals_name_the_row_and_its_place():
    def refused(build, takes, match):
        p = Program()
        build(p)
        with pytest.raises(UnsupportedError, match=match) as info:
            bridge(p, takes, "this backend")
        return info.value.diagnostics[0]

    def unbounded_indicator(p):
        b, x = p.add_variables("b", (), kind="binary"), p.add_variables("x", (), 0)
        p.add_indicators(b, 1, x * 2, hi=3.0, name="switch", span=span())

    d = refused(unbounded_indicator, Takes(LINEAR), "unbounded x.*give x finite bounds")
    assert d.labels[0].span.text == "bad(x)"

    def continuous_product(p):
        x = p.add_variables("x", (2,), 0, 1)
        p.multiply(x[0], x[1], "z", span())

    d = refused(continuous_product, Takes(LINEAR), r"continuous variables x\[0\] and x\[1\].*\(z\)")
    assert d.labels[0].span.text == "bad(x)"

    def objective(p):
        p.minimize(square(p.add_variables("x", (), 0, 1)))

    refused(objective, Takes(LINEAR), "quadratic objective: the square of the continuous variable x")
    refused(lambda p: p.apply("tanh", p.add_variables("x", (), 0, 1), "h"), Takes(LINEAR), r"rows with tanh \(h\)")
    refused(lambda p: p.apply("power", p.add_variables("x", (), 0, 1), "h", 0.3), Takes(LINEAR), r"power 0.3 \(h\)")
    refused(lambda p: p.add_sos1(p.add_variables("x", (2,), 0)), Takes(LINEAR), r"special ordered set.*x\[0\]")

    def mixed(p):
        x, n = p.add_variables("x", (), 0, 1), p.add_variables("n", (), 0, 3, kind="int")
        p.minimize(square(x + n))

    refused(mixed, Takes(LINEAR, objective="convex", integer_quadratic=False), "quadratic objective")


def test_convex_objective_stays_where_it_is_taken():
    p = Program()
    x = p.add_variables("x", (2,), 0, 1)
    p.minimize(square(x).sum() + product(x[0], x[1]))
    assert bridge(p, Takes(LINEAR, objective="convex"), "this backend").program is p
    p.minimize(square(x).sum() + product(x[0], x[1]) * 3)
    with pytest.raises(UnsupportedError):
        bridge(p, Takes(LINEAR, objective="convex"), "this backend")
