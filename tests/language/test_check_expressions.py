"""Expressions: against Python's own arithmetic, and every form of constant, set, comparison and comprehension."""

from __future__ import annotations

import math

import pytest
from checking import error, errors, problem, warnings
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nnspec.problem import Point
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import value, violation

POINT = Point({}, {"a": 1.25, "b": -0.75, "n": 3.0})
VARS = "var a in -2..2\nvar b in -2..2\nvar n: int in 0..5\n"


def number(text: str, definitions: str = "") -> float:
    """The value of an expression at POINT."""
    p = problem(VARS + definitions + f"minimize {text} + 0 * (a + b + n)")
    assert p.objective.expression is not None
    return value(p, POINT, p.objective.expression)


def constraint(text: str) -> ex.Expression:
    (c,) = problem(VARS + f"satisfy\nconstraint {text}").constraints
    return c.expression


leaves = st.one_of(
    st.integers(0, 9).map(str), st.sampled_from(["0.5", "1.25", "2.0"]), st.sampled_from(["a", "b", "n"])
)
expressions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" + ", " - ", " * "]), inner).map("".join),
        st.tuples(inner, st.sampled_from(["2", "4", "-2", "8"])).map(lambda t: f"({t[0]}) / {t[1]}"),
        inner.map(lambda e: f"-{e}"),
        inner.map(lambda e: f"({e})"),
        st.tuples(inner, st.integers(0, 3)).map(lambda t: f"({t[0]})^{t[1]}"),
        inner.map(lambda e: f"abs({e})"),
        st.tuples(inner, inner).map(lambda t: f"max({t[0]}, {t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"min({t[0]}, {t[1]}, 3)"),
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(expressions)
def test_arithmetic_agrees_with_python(text: str) -> None:
    expected = eval(text.replace("^", "**"), {"abs": abs, "max": max, "min": min, **POINT.variables})
    assume(abs(expected) < 1e9)
    assert number(text) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_precedence() -> None:
    assert number("-2^2") == -4
    assert number("2^3^2") == 512
    assert number("2 - 3 - 4") == -5
    assert number("12 / 2 / 3") == 2
    assert number("2 * -3") == -6
    assert number("2^-1") == 0.5


def test_constants_are_folded_and_sums_stay_flat() -> None:
    e = problem(VARS + "minimize 1 + a + 2 * 3 + (b - 4) + n - 2 * (3 * a)").objective.expression
    assert e == ex.Sum((
        ex.VariableRef("a"), ex.VariableRef("b"), ex.VariableRef("n"),
        ex.Product((ex.Constant(-6.0), ex.VariableRef("a"))), ex.Constant(3.0),
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sum(i^2 for i in 1..4)", 30),
        ("sum(i * j for i in 1..3, j in 1..3 if i < j)", 11),
        ("sum(j for i in 1..3, j in 1..i)", 10),
        ("prod(i for i in 1..5)", 120),
        ("max(i * (5 - i) for i in 0..5)", 6),
        ("min([3, 1, 2])", 1),
        ("sum({1, 2, 2, 3})", 6),
        ("sum(x * y for (x, y) in [[1, 2], [3, 4]])", 14),
        ("len({i - i^2 for i in 0..1})", 1),
        ("len([i for i in 0..9 if i in {1, 3, 11}])", 2),
        ("[[1, 2], [3, 4]][1][0]", 3),
        ("sum([1, 2] + 2 * [10, 20])", 63),
        ("floor(-0.5) + 10 * ceil(0.2) + 100 * round(2.5)", 309),
        ("if 2 > 1 and not 1 == 2 then 5 else 1 / 0", 5),
        ("if 3 in 1..2 or 2 in {1, 2} then 1 else 2", 1),
        ("if \"a\" in {\"a\", \"b\"} then 1 else 2", 1),
        ("if forall(i <= 3 for i in 1..3) and exists(i == 2 for i in 1..3) then 1 else 0", 1),
        ("if 0 < 1 <= 1 < 2 then 1 else 0", 1),
        ("sum(0 for i in 1..0)", 0),
        ("exp(log(2)) + sqrt(9) + tanh(0) + cos(0) + sin(0)", 6),
        ("2 * pi / 2 - pi", 0),
    ],
)  # fmt: skip
def test_constant_expressions(text: str, expected: float) -> None:
    p = problem(f"let k = {text}\nvar x in 0..1\nminimize x + k")
    assert p.objective.expression is not None
    assert value(p, Point({}, {"x": 0.0}), p.objective.expression) == pytest.approx(expected)


def test_functions_of_decisions() -> None:
    assert number("exp(a) + log(n) + sqrt(n) + sin(b) + cos(a) + tanh(b)") == pytest.approx(
        math.exp(1.25) + math.log(3) + math.sqrt(3) + math.sin(-0.75) + math.cos(1.25) + math.tanh(-0.75)
    )
    assert number("max(a, b, 0.5) - min(a, b) + abs(b)") == 1.25 + 0.75 + 0.75
    assert number("n^-2 + 2^n + a / n") == pytest.approx(1 / 9 + 8 + 1.25 / 3)


def test_names_may_be_used_before_they_are_defined() -> None:
    assert number("c", "let c = d + 1\nlet d = 2 * k\nlet k = 3\n") == 7


def test_sets_and_indexed_variables() -> None:
    p = problem("""
    set S = 1..3
    set T = {"north", "south"}
    param top = 4
    var x[i in S] in 0..i
    var y[i in S, t in T if i < 3]: int in 0..top
    var z[i in S]: binary
    minimize sum(x[i] for i in S) + sum(y[i, t] for i in S, t in T if i < 3) + sum(z)
    constraint cap: x[i] <= y[i, "north"] for i in S if i < 3
    constraint x[i] + x[j] >= 1 for i in S, j in S if i < j
    """)
    assert [(v.name, v.hi) for v in p.variables.values()][:4] == [
        ("x[1]", 1),
        ("x[2]", 2),
        ("x[3]", 3),
        ("y[1,north]", 4),
    ]
    assert [v.kind for v in p.variables.values()] == ["real"] * 3 + ["int"] * 4 + ["binary"] * 3
    assert [c.label for c in p.constraints] == ["cap[1]", "cap[2]", "", "", ""]
    assert p.constraints[1].expression == ex.Comparison("<=", ex.VariableRef("x[2]"), ex.VariableRef("y[2,north]"))


def test_domains_of_variables() -> None:
    p = problem("""
    var a
    var b in 0..inf
    var c: int in 0.5..3.5
    var d in int(0..9)
    var e in binary
    var f in {3, 4, 5}
    var g in {0.5, 2, 1}
    var h: int
    var k: int in 0..1
    minimize a + b + c + d + e + f + g + h + k
    """)
    found = {v.name: (v.lo, v.hi, v.kind) for v in p.variables.values()}
    inf = math.inf
    assert found == {
        "a": (-inf, inf, "real"), "b": (0, inf, "real"), "c": (1, 3, "int"), "d": (0, 9, "int"), "e": (0, 1, "binary"),
        "f": (3, 5, "int"), "g": (0.5, 2, "real"), "h": (-inf, inf, "int"), "k": (0, 1, "binary"),
    }  # fmt: skip
    (choice,) = p.constraints
    for v, allowed in ((0.5, True), (1.0, True), (2.0, True), (1.5, False)):
        assert (violation(p, Point({}, {"g": v}), choice.expression) == 0) == allowed


def test_comparisons_and_logic() -> None:
    a, b = ex.VariableRef("a"), ex.VariableRef("b")
    low, high = ex.Comparison(">=", a, ex.Constant(0.0)), ex.Comparison("<=", b, ex.Constant(1.0))
    assert constraint("a >= 0 or b <= 1") == ex.Or((low, high))
    assert constraint("not (a >= 0 and b <= 1)") == ex.Not(ex.And((low, high)))
    assert constraint("a >= 0 ==> b <= 1 ==> a >= 0") == ex.Implies(low, ex.Implies(high, low))
    assert constraint("1 < 2 and a >= 0") == low
    assert constraint("1 < 2 ==> a >= 0") == low
    assert constraint("a >= 0 ==> 2 < 1") == ex.Not(low)
    assert constraint("exists(a >= i for i in 1..2)") == ex.Or(
        tuple(ex.Comparison(">=", a, ex.Constant(i)) for i in (1.0, 2.0))
    )
    assert constraint("n in {1, 3}") == ex.Or(
        tuple(ex.Comparison("==", ex.VariableRef("n"), ex.Constant(i)) for i in (1.0, 3.0))
    )


def test_a_chain_is_two_constraints_of_one_label() -> None:
    p = problem(VARS + "satisfy\nconstraint c: 0 <= a + b <= n")
    assert [c.label for c in p.constraints] == ["c", "c"]
    assert [c.expression.operator for c in p.constraints if isinstance(c.expression, ex.Comparison)] == ["<=", "<="]


def test_what_always_holds_is_left_out_and_what_never_holds_is_kept_with_a_warning() -> None:
    assert problem(VARS + "minimize a\nconstraint 1 <= 2").constraints == ()
    text = "var a in 0..1\nminimize a\nconstraint 2 <= 1"
    (c,) = problem(text).constraints
    assert violation(problem(text), Point({}, {"a": 0.0}), c.expression) > 0
    assert [d.code for d in warnings(text)] == ["NNS056"]


def test_rows_of_data_in_comprehensions() -> None:
    p = problem("""
    data D = table(x = [[1, 2], [3, 4], [5, 6]], y = [1, 0, 1])
    var w[i in 0..1] in -1..1
    minimize sum((w[0] * x[0] + w[1] * x[1] - y)^2 for (x, y) in D) + sum(D.y) + D.x[2][1] + len(D)
    constraint sum(w[i] * x[i] for i in 0..1) >= y for (x, y) in D if y == 1
    """)
    w = {"w[0]": 0.3, "w[1]": -0.2}
    rows = [((1, 2), 1), ((3, 4), 0), ((5, 6), 1)]
    expected = sum((0.3 * x[0] - 0.2 * x[1] - y) ** 2 for x, y in rows) + 2 + 6 + 3
    assert p.objective.expression is not None
    assert value(p, Point({}, w), p.objective.expression) == pytest.approx(expected)
    assert len(p.constraints) == 2


# --- parameters ------------------------------------------------------------------------------------------------------

PARAMS = """
param n: int = 3
param tol: real in 0..1 = 0.5
param file: string = "d.csv"
param size = 2
param word = "x"
var x in 0..n + tol + size
minimize x + len({file, word})
"""


def test_parameters_take_defaults_texts_and_python_values() -> None:
    assert problem(PARAMS).arguments == {"n": 3, "tol": 0.5, "file": "d.csv", "size": 2, "word": "x"}
    given_texts = {"n": "4", "tol": "1e-1", "file": "7", "size": "2.5", "word": "3"}
    found = problem(PARAMS, given_texts).arguments
    assert found == {"n": 4, "tol": 0.1, "file": "7", "size": 2.5, "word": "3"}
    assert type(found["n"]) is int
    assert problem(PARAMS, {"n": 4.0, "tol": 1}).arguments["n"] == 4


@pytest.mark.parametrize(
    ("given_value", "code"),
    [
        ({"n": "4.5"}, "NNS033"), ({"n": "x"}, "NNS033"), ({"tol": "2"}, "NNS033"), ({"tol": "nan"}, "NNS033"),
        ({"file": 3}, "NNS033"), ({"n": True}, "NNS033"), ({"n": None}, "NNS033"), ({"size": "x"}, "NNS033"),
        ({"tol": float("inf")}, "NNS033"), ({"m": "1"}, "NNS032"), ({"n": "9" * 400}, "NNS033"),
    ],
)  # fmt: skip
def test_parameters_refuse_other_values(given_value: dict[str, object], code: str) -> None:
    assert error(PARAMS, given_value).code == code


def test_unknown_parameters_get_a_suggestion() -> None:
    assert error(PARAMS, {"tols": "1"}).help == "did you mean tol?"


# --- errors that rest on others --------------------------------------------------------------------------------------


def test_one_mistake_is_reported_once() -> None:
    found = errors("let a = 1 / 0\nlet b = a + 1\nvar x in 0..b\nminimize x\nconstraint x <= b")
    assert [d.code for d in found] == ["NNS038"]


def test_an_error_inside_a_loop_says_for_which_element() -> None:
    d = error("var x[i in 0..3] in 0..1\nminimize sum(x[i * i] for i in 0..3)")
    assert d.labels[-1].text == "here i = 2"


def test_unused_names_are_warned_about_once() -> None:
    found = warnings("param p = 1\nset S = 0..1\nlet l = 2\nvar v in 0..1\nvar w in 0..1\nminimize w")
    assert [d.code for d in found] == ["NNS022"] * 4


def test_every_constraint_and_variable_knows_its_place() -> None:
    p = problem(VARS + "maximize total: a + b\nconstraint a <= n for i in 0..1")
    assert all(c.span is not None and c.span.text.startswith("constraint a <= n") for c in p.constraints)
    assert {v.span.text for v in p.variables.values() if v.span} == set(VARS.strip().split("\n"))
    assert p.objective.span is not None
    assert p.objective.expression is not None
    assert p.objective.expression.span is not None
    assert p.objective.expression.span.text == "a + b"


def test_satisfy_has_no_expression() -> None:
    assert problem("var x in 0..1\nsatisfy\nconstraint x >= 0").objective.expression is None


def test_a_set_is_finite_and_its_elements_are_whole_numbers() -> None:
    p = problem("set S = 1..3\nvar x in S\nlet R = 1..3\nvar y in R\nminimize x + y + len(S)")
    assert [v.kind for v in p.variables.values()] == ["int", "real"]
    assert error("set S = 0.5..3\nvar x in S\nminimize x").code == "NNS034"
    assert error("set S = 0..inf\nvar x in S\nminimize x").code == "NNS034"


def test_lengths() -> None:
    p = problem("""
    set S = 2..5
    var x[i in S, j in {"a", "b"}] in 0..1
    minimize sum(x) + len(S) + 10 * len(2..5) + 100 * len(x) + 1000 * len({"a", "b"}) + 10000 * len(1..0)
    """)
    assert isinstance(p.objective.expression, ex.Sum)
    assert p.objective.expression.terms[-1] == ex.Constant(2844.0)


def test_suggestions_for_functions_know_the_networks() -> None:
    assert error("net demand = input(1) -> dense(1)\nvar x in 0..1\nminimize demnd(x)").help == "did you mean demand?"
