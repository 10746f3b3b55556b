"""User expressions, logic, ties, decisions as inputs: SCIP against enumeration and local search."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from nnspec.backends.scip import ScipBackend
from nnspec.encodings import registry
from nnspec.encodings.compile import compile_problem
from nnspec.errors import SpecError, UnsupportedError, UsageError
from nnspec.problem import (
    Activation,
    BreakSymmetry,
    Constraint,
    DataSet,
    Group,
    Layer,
    Network,
    Objective,
    Parameter,
    Point,
    Problem,
    Scaling,
    SymmetryClaim,
    Tie,
    Variable,
)
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import objective, violations
from nnspec.status import Limits, Status

from .problems import dense_network, random_point, training
from .test_complete import agrees
from .test_scip import check

X, Y, N, B = (ex.VariableRef(n) for n in "xynb")
VARIABLES = {"x": Variable("x", -1.0, 2.0), "y": Variable("y", 0.5, 3.0), "n": Variable("n", -2, 3, "int"),
             "b": Variable("b", kind="binary")}  # fmt: skip


def c(v):
    return ex.Constant(float(v))


def plus(*terms):
    return ex.Sum(tuple(t if isinstance(t, ex.Expression) else c(t) for t in terms))


def times(*factors):
    return ex.Product(tuple(f if isinstance(f, ex.Expression) else c(f) for f in factors))


def power(a, k):
    return ex.Power(a, float(k))


def fn(name, *arguments):
    return ex.Function(name, tuple(a if isinstance(a, ex.Expression) else c(a) for a in arguments))


def decision(e, constraints=(), sense="minimize", networks=None, variables=None, **more):
    rows = tuple(Constraint(k, f"c{i}") for i, k in enumerate(constraints))
    return Problem(
        "p", networks or {}, {}, VARIABLES if variables is None else variables, Objective(sense, e), rows, **more
    )


EXPRESSIONS = {
    "linear": plus(times(2, X), times(-1, Y), N, 3),
    "polynomial": plus(power(X, 3), times(-2, X, Y), power(N, 2), times(X, Y, N)),
    "quotient": plus(ex.Quotient(X, Y), ex.Quotient(c(1), Y)),
    "exponential": plus(fn("exp", X), times(-1, fn("log", Y)), times(0.5, fn("sqrt", Y))),
    "trigonometric": plus(fn("sin", times(3, X)), fn("cos", times(2, Y)), fn("tanh", X)),
    "extremes": plus(fn("max", X, Y, N), times(-1, fn("min", X, N, 0.3)), fn("abs", plus(X, times(-1, N)))),
    "negated": plus(
        times(-1, fn("max", X, N)),
        times(-0.5, fn("abs", Y)),
        times(-1, fn("min", X, Y)),
        times(-0.3, fn("sqrt", plus(power(X, 2), power(N, 2)))),
        times(-1, power(X, 2)),
    ),
    "powers": plus(power(Y, 0.5), power(Y, -2), power(Y, 1.5), power(X, 4)),
    "binary products": plus(times(B, X), times(-2, B, N), times(B, B), times(N, X)),
    "norm": fn("sqrt", plus(power(X, 2), times(2, power(plus(Y, -1), 2)), 0.1)),
    "square of a sum": power(plus(X, Y, times(-1, N)), 2),
    "nested": fn("max", times(X, Y), fn("exp", times(-1, X)), 0.2),
}


@pytest.mark.parametrize("sense", ["minimize", "maximize"])
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expressions(name, sense):
    p = decision(EXPRESSIONS[name], sense=sense)
    agrees(p, points=20)
    result, _ = check(p, time=5.0)
    assert result.status is Status.OPTIMAL


CONSTRAINTS = {
    "implies": ex.Implies(ex.Comparison("==", B, c(0)), ex.Comparison("<=", X, c(-0.5))),
    "implies not": ex.Implies(ex.Comparison(">=", X, c(0)), ex.Not(ex.Comparison("==", N, c(1)))),
    "or": ex.Or((ex.Comparison("<=", X, c(-0.7)),
                 ex.And((ex.Comparison(">=", Y, c(2)), ex.Comparison("==", N, c(2)))))),
    "not and": ex.Not(ex.And((ex.Comparison(">=", X, c(0)), ex.Comparison("<=", Y, c(2))))),
    "not implies": ex.Not(ex.Implies(ex.Comparison("<=", N, c(1)), ex.Comparison("<=", times(X, Y), c(0.2)))),
    "nonlinear or": ex.Or((ex.Comparison("<=", plus(power(X, 2), power(Y, 2)), c(0.5)),
                           ex.Comparison(">=", times(X, Y), c(3)))),
    "nested": ex.Implies(ex.Or((ex.Comparison("==", B, c(1)), ex.Comparison(">=", N, c(2)))),
                         ex.And((ex.Comparison("<=", plus(X, Y), c(1)), ex.Not(ex.Comparison("<=", N, c(0)))))),
}  # fmt: skip


@pytest.mark.parametrize("template", registry.names("logic") or ("indicator", "bigm"))
@pytest.mark.parametrize("name", CONSTRAINTS)
def test_logic(name, template):
    r = np.random.default_rng(len(name))
    for k in range(3):
        objective_ = plus(times(float(r.normal()), X), times(float(r.normal()), Y), times(float(r.normal()), N),
                          times(float(r.normal()), B))  # fmt: skip
        p = decision(objective_, [CONSTRAINTS[name]])
        result, compiled = check(p, {"logic": template}, time=5.0, seed=k, tolerance=1e-4)
        assert result.status is Status.OPTIMAL
        # every point is feasible in the program if and only if it is in the problem (away from the boundary)
        for _ in range(30):
            point = random_point(p, r)
            x = compiled.start(point)
            assert bool(violations(p, point)) == bool(compiled.program.violations(x, 1e-6))


def test_logic_optimum_by_enumeration():
    """3 x + 2 n + b with integers only: all points are tried."""
    variables = {"x": Variable("x", -1, 2, "int"), "n": Variable("n", -2, 3, "int"), "b": Variable("b", kind="binary"),
                 "y": Variable("y", 1, 2, "int")}  # fmt: skip
    r = np.random.default_rng(0)
    for name in CONSTRAINTS:
        weights = r.integers(-3, 4, 4)
        e = plus(*(times(float(w), v) for w, v in zip(weights, (X, Y, N, B))))
        p = decision(e, [CONSTRAINTS[name]], variables=variables)
        best = math.inf
        for x in range(-1, 3):
            for n in range(-2, 4):
                for b in (0, 1):
                    for y in (1, 2):
                        point = Point({}, {"x": x, "n": n, "b": b, "y": y})
                        if not violations(p, point):
                            best = min(best, objective(p, point))
        compiled = compile_problem(p)
        result = ScipBackend().solve(compiled.program, Limits(time=10))
        if math.isinf(best):
            assert result.status is Status.INFEASIBLE
        else:
            assert abs(result.objective - best) < 1e-6


def scaled_network(r):
    f = dense_network((2, 3, 1), "relu")
    values = {p.name: r.normal(size=p.shape) for p in f.parameters}
    from dataclasses import replace

    f = f.with_values(values)
    return replace(f, input_scaling=Scaling(np.array([1.0, 0.5]), np.array([2.0, 0.25])),
                   output_scaling=Scaling(np.array([3.0]), np.array([10.0])))  # fmt: skip


def test_a_trained_network_in_a_decision_model():
    """Raw units at both ends, products with a decision, the same call twice."""
    r = np.random.default_rng(4)
    f = scaled_network(r)
    out = ex.NetworkOutput("f", (X, Y))
    p = decision(plus(times(Y, out), times(-2, N)), [ex.Comparison("<=", out, c(12)),
                 ex.Comparison("<=", plus(X, N), c(2))],
                 "maximize", {"f": f})  # fmt: skip
    agrees(decision(plus(times(Y, out), times(-2, N)), [], "maximize", {"f": f}), points=20)
    result, compiled = check(p, time=10.0)
    assert result.status is Status.OPTIMAL
    assert len(compiled.runs.all) == 1


def test_calls_on_numbers_and_decisions_and_data_share_one_network():
    r = np.random.default_rng(5)
    p = training("sse", "relu", r, sizes=(2, 2, 1), samples=3)
    at = p.data["D"].x[0]
    call = ex.NetworkOutput("f", tuple(c(v) for v in at))
    moving = ex.NetworkOutput("f", (X, X))
    q = Problem(
        "p",
        p.networks,
        p.data,
        {"x": VARIABLES["x"]},
        Objective("minimize", plus(p.objective.expression, call, moving)),
    )
    compiled = agrees(q)
    assert [run.outputs.shape[0] for run in compiled.runs.all] == [3, 1]


def test_written_out_loss_is_the_same_model():
    r = np.random.default_rng(6)
    p = training("sse", "relu", r, sizes=(2, 2, 1), samples=4)
    d = p.data["D"]
    terms = tuple(
        power(plus(ex.NetworkOutput("f", tuple(c(v) for v in x)), -float(y)), 2) for x, y in zip(d.x, d.y[:, 0])
    )
    q = Problem("p", p.networks, {}, {}, Objective("minimize", ex.Sum(terms)))
    a, b = compile_problem(p).program, compile_problem(q).program
    assert a.columns == b.columns
    assert a.row_kinds() == b.row_kinds()
    agrees(q)


def test_ties_are_substituted():
    r = np.random.default_rng(7)
    p = training("sse", "tanh", r, sizes=(2, 2, 1), samples=3)
    ties = (Tie(("f.h1.weights", 2), ("f.h1.weights", 1)), Tie(("f.h1.weights", 3), ("f.h1.weights", 0)),
            Tie(("f.out.weights", 1), ("f.out.weights", 0), -1.0),
            Tie(("f.h1.bias", 1), ("f.h1.bias", 1), -1.0))  # fmt: skip
    from dataclasses import replace

    q = replace(p, ties=ties)
    compiled = compile_problem(q)
    assert len(compiled.parameters.columns) == 9 - 4
    result = ScipBackend().solve(compiled.program, Limits(time=2))
    point = compiled.point(result.x)
    assert violations(q, point) == []
    w, v = point.parameters["f.h1.weights"], point.parameters["f.out.weights"]
    assert w[1, 0] == w[0, 1]
    assert w[1, 1] == w[0, 0]
    assert v[0, 1] == -v[0, 0]
    assert point.parameters["f.h1.bias"][1] == 0.0


def graph_network(r, free):
    """conv, pools, batch norm, add, concat, standalone activation and several outputs."""

    def p(name, shape):
        centre = np.round(r.normal(size=shape), 1)
        if not free:
            return Parameter.constant(f"g.{name}", centre)
        return Parameter(f"g.{name}", shape, centre - 0.5, centre + 0.5)

    conv = {"kernel": (2, 2), "stride": (1, 1), "padding": (1, 0), "dilation": (1, 1), "groups": 1}
    pool = {"kernel": (2, 1), "stride": (2, 1), "padding": (0, 0)}
    layers = (
        Layer("x", "input", (), (1, 3, 3)),
        Layer("c", "conv", ("x",), (2, 4, 2), Activation("relu"), p("c.weights", (2, 1, 2, 2)),
              p("c.bias", (2,)), attributes=conv),
        Layer("n", "batchnorm", ("c",), (2, 4, 2), Activation(), p("n.weights", (2,)), p("n.bias", (2,))),
        Layer("m", "maxpool", ("n",), (2, 2, 2), attributes=pool),
        Layer("a", "avgpool", ("n",), (2, 2, 2), Activation("hardtanh"), attributes=pool),
        Layer("s", "add", ("m", "a"), (2, 2, 2)),
        Layer("t", "activation", ("s",), (2, 2, 2), Activation("abs")),
        Layer("u", "concat", ("t", "a"), (4, 2, 2)),
        Layer("v", "flatten", ("u",), (16,)),
        Layer("y", "dense", ("v",), (2,), Activation(), p("y.weights", (2, 16)), p("y.bias", (2,))),
    )  # fmt: skip
    return Network("g", layers, ("y", "v"))


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("template", registry.names("maxpool") or ("bigm", "indicator"))
def test_every_layer_kind(free, template):
    r = np.random.default_rng(8)
    g = graph_network(r, free)
    data = DataSet("D", np.round(r.normal(size=(2, 9)), 1), np.zeros((2, 18)))
    p = Problem("p", {"g": g}, {"D": data}, {}, Objective("minimize", ex.Loss("sse", "g", "D")))
    agrees(p, {"maxpool": template})
    pixels = {f"p{i}": Variable(f"p{i}", -1, 1) for i in range(9)}
    out = ex.NetworkOutput("g", tuple(ex.VariableRef(n) for n in pixels), 1)
    q = Problem("q", {"g": g}, {}, pixels, Objective("maximize", out))
    agrees(q, {"maxpool": template})
    if not free:
        check(q, {"maxpool": template}, time=1.0)


def test_missing_bounds_point_at_the_declaration():
    from nnspec.errors import Source, Span

    source = Source("s.nns", "net f = input(2) -> dense(2, relu) -> dense(1)\nvar z")
    f = Network("f", tuple(
        Layer(o.name, o.kind, o.inputs, o.shape, o.activation,
              *(Parameter.box(q.name, q.shape, span=Span(source, 0, 5)) if q is not None else None
                for q in (o.weights, o.bias)))
        for o in dense_network((2, 2, 1)).layers), ("out",))  # fmt: skip
    data = DataSet("D", np.ones((2, 2)), np.ones((2, 1)))
    p = Problem("p", {"f": f}, {"D": data}, {}, Objective("minimize", ex.Loss("sse", "f", "D")))
    with pytest.raises(UnsupportedError) as e:
        compile_problem(p)
    assert str(e.value).startswith("s.nns:1:1: error[NNS150]")
    assert "weights in" in str(e.value)
    compile_problem(p, {"relu": "indicator"})  # needs none
    g = f.with_values({q.name: np.ones(q.shape) for q in f.parameters})
    z = Variable("z", span=Span(source, 48, 51))
    q = Problem("q", {"f": g}, {}, {"z": z}, Objective("minimize", ex.NetworkOutput("f", (ex.VariableRef("z"),) * 2)))
    with pytest.raises(UnsupportedError) as e:
        compile_problem(q)
    assert str(e.value).startswith("s.nns:2:")
    bounded = Constraint(
        ex.And((ex.Comparison("<=", ex.VariableRef("z"), c(3)), ex.Comparison("<=", c(-2), ex.VariableRef("z"))))
    )
    compiled = compile_problem(Problem("q", {"f": g}, {}, {"z": z}, q.objective, (bounded,)))
    low, high = compiled.program.bounds(compiled.variables["z"])
    assert abs(low + 2) < 1e-9
    assert abs(high - 3) < 1e-9


def test_refusals():
    r = np.random.default_rng(0)
    p = training("sse", "relu", r)
    from dataclasses import replace

    claim = SymmetryClaim("enforce", "f", Group("swap(0, 1)", (((1, 0), (1, 1)),)))
    with pytest.raises(UnsupportedError, match="symmetry"):
        compile_problem(replace(p, symmetry_claims=(claim,)))
    with pytest.raises(UsageError, match="bigm"):
        compile_problem(p, {"relu": "bigmm"})
    with pytest.raises(UnsupportedError, match="divisor"):
        compile_problem(decision(ex.Quotient(Y, X)))
    with pytest.raises(SpecError, match="no value"):
        compile_problem(replace(p, ties=(Tie(("f.h1.weights", 0), ("f.h1.weights", 1)),),
                                networks={"f": _apart(p.networks["f"])}))  # fmt: skip


def _apart(f):
    from dataclasses import replace

    h = f["h1"]
    lo, hi = h.weights.lo.copy(), h.weights.hi.copy()
    lo[0, 0], hi[0, 1] = 1.0, 0.5
    w = replace(h.weights, lo=lo, hi=hi)
    return replace(f, layers=tuple(replace(o, weights=w) if o.name == "h1" else o for o in f.layers))


def enumerated(problem):
    """The best objective over all values of weights from finite sets."""
    free = problem.free_parameters()
    sizes = [p.size for p in free]
    best = math.inf
    for choice in itertools.product(free[0].values, repeat=sum(sizes)):
        parts = np.split(np.array(choice), np.cumsum(sizes)[:-1])
        point = Point({p.name: v.reshape(p.shape) for p, v in zip(free, parts)})
        best = min(best, objective(problem, point))
    return best


@pytest.mark.parametrize("activation", ["relu", "tanh", "hardtanh", "step"])
@pytest.mark.parametrize("sizes", [(2, 2, 1), (1, 3, 1), (1, 2, 2, 1)])
def test_orderings_keep_the_optimum(activation, sizes):
    """All 2^9 to 2^13 networks are tried."""
    r = np.random.default_rng(9)
    p = training("sae", activation, r, sizes=sizes, samples=3, domain="two", bias_domain="two")
    compiled = compile_problem(p)
    assert compiled.orderings
    result = ScipBackend().solve(compiled.program, Limits(time=20))
    assert result.status is Status.OPTIMAL
    best = enumerated(p)
    assert abs(objective(p, compiled.point(result.x)) - best) < 1e-9
    assert abs(result.objective - best) < 2e-5  # each row of a network within SCIP's tolerance


def test_orderings_follow_the_spec():
    r = np.random.default_rng(10)
    p = training("sse", "tanh", r, sizes=(2, 3, 1))
    from dataclasses import replace

    found = compile_problem(p).orderings
    assert len(found) == 1
    assert found[0].flips
    assert found[0].keys[0][0] == "f.out.weights"
    assert not compile_problem(replace(p, break_symmetry=(BreakSymmetry("f", "h1", ("none",)),))).orderings
    named = Constraint(ex.Comparison("<=", ex.ParameterRef("f.h1.weights", (0, 1)), c(1)))
    assert not compile_problem(replace(p, constraints=(named,))).orderings
    neuron = Constraint(ex.Comparison("<=", ex.Size("l1", "f", "h1", neuron=0), c(1)))
    assert not compile_problem(replace(p, constraints=(neuron,))).orderings
    only = compile_problem(replace(p, break_symmetry=(BreakSymmetry("f", None, ("permutation",)),))).orderings
    assert not only[0].flips
