"""argmax: which entry is the largest, in decisions around networks and in training, against enumeration."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

import nnspec
from nnspec import backends
from nnspec.backends.scip import ScipBackend
from nnspec.encodings.compile import compile_problem
from nnspec.encodings.context import Context
from nnspec.encodings.maximum import top_class
from nnspec.engines.solver import SolverEngine
from nnspec.formats import write_network
from nnspec.incumbents.merit import Merit
from nnspec.problem import Activation, Layer, Network, Objective, Parameter, Point, Problem, evaluate
from nnspec.problem.forward import predict
from nnspec.program import Program
from nnspec.program.rows import UnivariateRows
from nnspec.status import Limits, Status
from nnspec.tolerances import STRICT_MARGIN
from tests.language.checking import error

NAMES = ("scip", "highs", "gurobi")
GRID = np.array(list(itertools.product(range(-3, 4), repeat=2)), dtype=float)


def classifier(seed, output="linear", classes=3):
    r = np.random.default_rng(seed)

    def layer(name, source, n, m, activation):
        return Layer(name, "dense", (source,), (m,), Activation(activation),
                     Parameter.constant(f"f.{name}.weights", np.round(r.normal(size=(m, n)), 3)),
                     Parameter.constant(f"f.{name}.bias", np.round(r.normal(size=m), 3)))  # fmt: skip

    layers = (Layer("x", "input", (), (2,)), layer("h", "x", 2, 4, "relu"), layer("o", "h", 4, classes, "linear"))
    network = Network("f", layers, ("o",))
    # biases that give each class its share of the grid
    bias = np.round(layers[2].bias.value - np.median(predict(network, {}, GRID), axis=0), 3)
    last = replace(layers[2], bias=Parameter.constant("f.o.bias", bias), activation=Activation(output))
    network = replace(network, layers=(*layers[:2], last))
    assert set(predict(network, {}, GRID).argmax(axis=1)) == set(range(classes))
    return network


def spec(tmp_path, network, statements):
    write_network(network, tmp_path / "f.onnx")
    path = tmp_path / "spec.nns"
    path.write_text(f'net f = onnx("f.onnx")\nvar a: int in -3..3\nvar b: int in -3..3\n{statements}\n')
    return nnspec.load(path)


def best(network, value, holds):
    """The largest value on the grid among points whose class is allowed."""
    classes = predict(network, {}, GRID).argmax(axis=1)
    values = [value(x, c) for x, c in zip(GRID, classes) if holds(x, c)]
    return max(values) if values else None


CASES = {
    "one class": ("maximize a + 2 * b\nconstraint argmax(f(a, b)) == 1",
                  lambda x, c: x[0] + 2 * x[1], lambda x, c: c == 1),
    "the other way round": ("maximize a - b\nconstraint 2 == argmax(f(a, b))",
                            lambda x, c: x[0] - x[1], lambda x, c: c == 2),
    "not that one": ("maximize a + b\nconstraint not (argmax(f(a, b)) == 0)",
                     lambda x, c: x[0] + x[1], lambda x, c: c != 0),
    "some": ("maximize b - a\nconstraint argmax(f(a, b)) in {0, 2}",
             lambda x, c: x[1] - x[0], lambda x, c: c in (0, 2)),
    "implied": ("maximize a + b\nconstraint a >= 1 ==> argmax(f(a, b)) == 2",
                lambda x, c: x[0] + x[1], lambda x, c: x[0] < 1 or c == 2),
    "premise": ("maximize a - 2 * b\nconstraint argmax(f(a, b)) == 0 ==> a <= -1",
                lambda x, c: x[0] - 2 * x[1], lambda x, c: c != 0 or x[0] <= -1),
    "value": ("maximize 5 * argmax(f(a, b)) - a + 0.5 * b", lambda x, c: 5 * c - x[0] + 0.5 * x[1], lambda x, c: True),
    "bounded": ("maximize a + b\nconstraint argmax(f(a, b)) <= 1", lambda x, c: x[0] + x[1], lambda x, c: c <= 1),
}  # fmt: skip


def solved(problem, name):
    backend = backends.get(name)
    if not backend.available().ok:
        pytest.skip(backend.available().reason)
    return SolverEngine(name).solve(problem, Limits(time=30))


@pytest.mark.parametrize("backend", [*NAMES, pytest.param("pyomo:highs", marks=pytest.mark.long)])
@pytest.mark.parametrize("case", CASES)
def test_against_enumeration(case, backend, tmp_path):
    statements, value, holds = CASES[case]
    for seed in range(2):
        network = classifier(seed)
        expected = best(network, value, holds)
        problem = spec(tmp_path, network, statements)
        outcome = solved(problem, backend)
        if expected is None:
            assert outcome.status is Status.INFEASIBLE
            continue
        assert outcome.status is Status.OPTIMAL, outcome
        assert outcome.objective == pytest.approx(expected, abs=1e-6)
        assert evaluate.violations(problem, outcome.point) == []


def test_one_class_needs_no_binaries_of_its_own(tmp_path):
    network = classifier(0)
    statements = "maximize a\nconstraint argmax(f(a, b)) == 1"
    program = compile_problem(spec(tmp_path, network, statements)).program
    assert not [n for n in program.column_names() if "largest" in n]
    program = compile_problem(spec(tmp_path, network, "maximize argmax(f(a, b))")).program
    assert "argmax(f(a, b)).largest[0]" in list(program.column_names())


def test_softmax_needs_no_exponentials(tmp_path):
    """It keeps the order of its inputs. Where its values are asked for as well they are there."""
    network = classifier(0, "softmax")
    statements, value, holds = CASES["one class"]
    problem = spec(tmp_path, network, statements)
    program = compile_problem(problem).program
    assert not [rows for rows in program.rows if isinstance(rows, UnivariateRows)]
    assert solved(problem, "highs").objective == pytest.approx(best(network, value, holds))
    sure = spec(tmp_path, network, f"{statements}\nconstraint f(a, b)[1] >= 0.6")
    assert [rows for rows in compile_problem(sure).program.rows if isinstance(rows, UnivariateRows)]
    outcome = solved(sure, "scip")
    shares = predict(network, {}, GRID)
    expected = max(value(x, 1) for x, s in zip(GRID, shares) if s.argmax() == 1 and s[1] >= 0.6)
    assert outcome.objective == pytest.approx(expected, abs=1e-6)


def test_real_inputs_lead_by_a_margin(tmp_path):
    """The nearest point of another class lies on the border; the solution is a little beyond it."""
    network = classifier(2)
    write_network(network, tmp_path / "f.onnx")
    path = tmp_path / "near.nns"
    start = np.array([0.5, 0.5])
    own = int(predict(network, {}, start[None]).argmax())
    path.write_text(f"""net f = onnx("f.onnx")
var a in -3..3
var b in -3..3
minimize max(abs(a - 0.5), abs(b - 0.5))
constraint not (argmax(f(a, b)) == {own})
""")
    solution = nnspec.solve(path, backend="scip", time_limit=30)
    assert solution.status is Status.OPTIMAL, solution
    x = np.array([solution.variables["a"], solution.variables["b"]])
    scores = predict(network, {}, x[None])[0]
    assert scores.argmax() != own
    assert np.sort(scores)[-1] - np.sort(scores)[-2] >= STRICT_MARGIN / 2
    side = np.linspace(-3, 3, 241)
    points = np.array(np.meshgrid(side, side)).reshape(2, -1).T
    others = points[predict(network, {}, points).argmax(axis=1) != own]
    nearest = np.abs(others - start).max(axis=1).min()
    assert nearest - 0.05 <= solution.objective <= nearest + 1e-6


def test_ties_of_integers_go_to_the_first():
    text = "var x: int in 0..3\nvar y: int in 0..3\nmaximize argmax(x, y, 2) - 0.1 * x - 0.1 * y\n"
    outcome = solved(nnspec.load(text), "highs")
    assert (outcome.status, outcome.objective) == (Status.OPTIMAL, pytest.approx(2.0))  # 2 leads (0, 0)
    tie = nnspec.load("var x: int in 2..3\nvar y: int in 2..2\nminimize argmax(y, x, 2) + 0.1 * x\n")
    assert solved(tie, "highs").objective == pytest.approx(0.2)
    never = nnspec.load("var x: int in 0..3\nmaximize x\nconstraint argmax(x, x) == 1\n")
    assert solved(never, "highs").status is Status.INFEASIBLE
    always = nnspec.load("var x: int in 0..3\nmaximize x\nconstraint argmax(x, x) == 0\n")
    assert solved(always, "highs").objective == pytest.approx(3)


def test_training_until_every_class_is_right():
    text = """data D = table(x = [[0, 0], [0, 1], [1, 0], [1, 1]], y = [0, 1, 1, 2])
net f = input(2) -> out: dense(3) with weights in int(-2..2), biases in int(-2..2)
minimize l0(f)
constraint argmax(f(x)) == y for (x, y) in D
"""
    problem = nnspec.load(text)
    outcome = solved(problem, "scip")
    assert outcome.status is Status.OPTIMAL
    assert evaluate.violations(problem, outcome.point) == []
    data = problem.data["D"]
    network = problem.networks["f"]
    assert predict(network, outcome.point.parameters, data.x).argmax(axis=1).tolist() == [0, 1, 1, 2]
    # the same with the named loss: no errors
    same = text.replace("constraint argmax(f(x)) == y for (x, y) in D", "constraint errors(f, D, margin = 1) == 0")
    assert solved(nnspec.load(same), "scip").objective >= outcome.objective


def test_constants_and_errors():
    problem = nnspec.load("var x in 0..argmax(3, 5, 1)\nmaximize x\n")
    assert problem.variables["x"].hi == 1
    assert "argmax of nothing" in error("var x in 0..1\nmaximize argmax(i for i in 1..0)").message
    assert error("var x in 0..1\nmaximize argmax(x <= 1, x)").code == "NNS034"
    unbounded = nnspec.load("var x in 0..inf\nvar y in 0..1\nmaximize argmax(x, y)\n")
    with pytest.raises(nnspec.UnsupportedError, match="the largest"):
        compile_problem(unbounded)


def test_local_search_knows_how_far_a_class_is(tmp_path):
    problem = spec(tmp_path, classifier(0), CASES["one class"][0])
    merit = Merit(problem)
    assert merit is not None
    point = Point({}, {"a": 1.0, "b": -1.0})
    scores = predict(problem.networks["f"], {}, np.array([[1.0, -1.0]]))[0]
    assert evaluate.violation(problem, point, problem.constraints[0].expression) == abs(scores.argmax() - 1)
    assert nnspec.solve(problem, time_limit=30).status is Status.OPTIMAL


def test_template():
    """Points complete exactly; with inputs fixed the class is the right one."""
    r = np.random.default_rng(0)
    for _ in range(5):
        program = Program()
        context = Context(program, Problem("p", {}, {}, {}, Objective("satisfy", None)))
        x = program.add_variables("x", (2,), -1.0, 1.0)
        w = r.normal(size=(4, 2))
        b = top_class(context, x @ w.T, "f")
        for at in r.uniform(-1, 1, (20, 2)):
            point = program.unknown_point()
            point[:2] = at
            point = program.complete(point)
            assert program.violations(point) == []
            assert np.argmax(b.value(point)) == np.argmax(w @ at)
        at = r.uniform(-1, 1, 2)
        program.add_linear(x - at, 0.0, 0.0)
        for c in range(4):
            program.minimize(-b[c])
            result = ScipBackend().solve(program, Limits(time=10))
            assert result.status is Status.OPTIMAL
            assert abs(-result.objective - (c == np.argmax(w @ at))) < 1e-6
