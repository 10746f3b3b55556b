"""The Program: names, bounds, recipes, and its verdicts on points."""

from fractions import Fraction

import numpy as np
import pytest

from nnspec.errors import Source, Span
from nnspec.program import Affine, Program, product, square
from nnspec.program.classify import classify, is_convex
from nnspec.program.functions import FUNCTIONS, apply, domain, image
from tests.backends.programs import PROGRAMS


def test_names():
    p = Program()
    p.add_variables("w", (2, 2), labels=(None, ("age", "bmi")))
    p.add_variables("empty", (0,))
    p.add_variables("b")
    p.add_variables("w", (2,))
    p.add_variables("w")
    names = ["w[0,age]", "w[0,bmi]", "w[1,age]", "w[1,bmi]", "b", "w~2[0]", "w~2[1]", "w~3"]
    assert list(p.column_names()) == names
    assert [p.column_name(j) for j in range(p.columns)] == names
    p.add_linear(Affine.variables([0, 1]), name="r")
    p.add_linear(Affine.variables([0, 1]), name="s", labels=("x", "y"))
    p.add_linear(Affine.variables(0), name="t")
    assert [n for rows in p.rows for n in rows.row_names()] == ["r[0]", "r[1]", "s[x]", "s[y]", "t"]
    assert [rows.row_name(k) for rows in p.rows for k in range(rows.count)] == ["r[0]", "r[1]", "s[x]", "s[y]", "t"]


def test_bounds_and_kinds():
    p = Program()
    x = p.add_variables("x", (70,), 0, np.arange(70.0))
    b = p.add_variables("b", (3,), -5, 5, kind="binary")
    n = p.add_variables("n", (), -5, 5, kind="int")
    assert (p.lo[70], p.hi[70]) == (0, 1)
    assert p.discrete.sum() == 4
    p.tighten(x[10:], lo=2, hi=30)
    assert (p.lo[9], p.lo[10], p.hi[11], p.hi[69]) == (0, 2, 11, 30)
    p.tighten(n, hi=2.5)
    low, high = p.bounds(x[20:22] * np.array([1.0, -2.0]) + n + 1)
    assert low == pytest.approx([-2, -46])
    assert high == pytest.approx([23.5, -0.5])
    assert (low < [-2, -46]).all()  # rounded outwards
    assert (high > [23.5, -0.5]).all()
    assert [v.tolist() for v in p.bounds(b)] == [[0, 0, 0], [1, 1, 1]]  # plain variables keep theirs
    with pytest.raises(ValueError, match="not a number"):
        p.add_variables("bad", (), np.nan)
    with pytest.raises(ValueError, match="plain variables"):
        p.tighten(x + 1, 0)
    with pytest.raises(ValueError, match="not binary"):
        p.add_indicators(n, 1, x[0])
    with pytest.raises(ValueError, match="unknown function"):
        p.add_univariate("tanhh", x[0], x[1])
    with pytest.raises(ValueError, match="unknown kind"):
        p.add_variables("y", kind="float")


def test_bounds_hold_exactly():
    """Against rational arithmetic, with large terms that cancel."""
    rng = np.random.default_rng(2)
    for _ in range(200):
        p = Program()
        big = rng.normal(size=6) * 10.0 ** rng.integers(-3, 9, 6)
        x = p.add_variables("x", (6,), big, big + rng.random(6))
        coefficients = rng.normal(size=6)
        coefficients[0] = -(coefficients[1:] @ big[1:]) / big[0]  # cancels up to rounding
        low, high = p.bounds(x @ coefficients + 0.1)
        ends = [
            sum(
                (Fraction(c) * Fraction((b if (c > 0) == lower else t)) for c, b, t in zip(coefficients, p.lo, p.hi)),
                Fraction(0.1),
            )
            for lower in (True, False)
        ]
        assert Fraction(float(low)) <= ends[0]
        assert Fraction(float(high)) >= ends[1]


def test_as_variables_reuses_plain_ones():
    p = Program()
    x = p.add_variables("x", (3,), -1, 1)
    same = p.as_variables(x[::-1], "y")
    assert p.columns == 3
    assert list(same.columns) == [2, 1, 0]
    mixed = p.as_variables(Affine.of(x * np.array([1.0, 2.0, 0.0]) + np.array([0.0, 0.0, 4.0])), "y")
    assert p.columns == 5
    assert mixed.columns[0] == 0
    assert (p.lo[4], p.hi[4]) == (4, 4)  # a constant becomes a fixed variable, and needs no row
    assert p.row_count == 1
    point = p.complete(np.array([0.5, -0.25, 0.1, np.nan, np.nan]))
    assert point == pytest.approx([0.5, -0.25, 0.1, -0.5, 4.0])
    assert p.violations(point) == []


def test_complete():
    p = Program()
    x = p.add_variables("x", (2,), 0, 1)
    y = p.multiply(x[0], x[1], "y")
    z = p.apply("exp", y, "z")
    fixed = p.add_variables("fixed", (), 3, 3)
    free = p.add_variables("free")
    point = p.complete(np.array([0.5, 0.5, np.nan, np.nan, np.nan, np.nan]))
    assert point[:5] == pytest.approx([0.5, 0.5, 0.25, np.exp(0.25), 3.0])
    assert np.isnan(point[5])
    assert p.complete(np.array([0.5, 0.5, 7.0, np.nan, 3, 1]))[2:4] == pytest.approx([7.0, np.exp(7)])  # given stays
    assert np.isnan(p.complete(p.unknown_point())[:4]).all()
    with pytest.raises(ValueError, match="6 values"):
        p.complete(np.zeros(5))
    assert (z.shape, fixed.shape, free.shape) == ((), (), ())


@pytest.mark.parametrize("name", PROGRAMS)
def test_violations_notice_every_row(name):
    """A point that satisfies everything, then each column is moved: some row or bound has to notice, or nothing has
    changed that a row can see."""
    program, _ = PROGRAMS[name]()
    from nnspec.backends import get
    from nnspec.status import Limits

    x = get("scip").solve(program, Limits(time=20)).x
    assert program.violations(x, 1e-5) == []
    for j in range(program.columns):
        moved = x.copy()
        moved[j] = program.hi[j] + 1
        if np.isfinite(moved[j]):
            assert any(v.what == f"bounds of {program.column_name(j)}" for v in program.violations(moved))
        if program.discrete[j]:
            moved[j] = x[j] + 0.5
            assert any("integrality" in v.what for v in program.violations(moved))
    for block in program.blocks:
        if block.complete is not None:
            moved = x.copy()
            moved[block.start] += 0.01
            assert program.violations(moved, 1e-4) != []
    assert program.violations(np.full(program.columns, np.nan)) != []


def test_violations_by_hand():
    source = Source("s", "text")
    p = Program()
    x = p.add_variables("x", (3,), -10, 10)
    b = p.add_variables("b", (), kind="binary")
    p.add_linear(x.sum(), 0, 1, "lin", Span(source, 0, 4))
    p.add_quadratic(product(x[0], x[1]) + x[2], hi=2.0, name="quad")
    p.add_products(x[2], x[0], x[1], "prod")
    p.add_univariate("abs", x[0], x[1], "fun")
    p.add_indicators(b, 0, x[0], hi=1.0, name="ind")
    p.add_sos1(x, "one")
    p.add_sos2(x, "two")
    p.add_cone(x[:2], x[2], "cone")

    def broken(point):
        return {v.what: v.amount for v in p.violations(np.array(point, dtype=float))}

    assert broken([0, 0, 0, 1]) == {}
    assert broken([2, -2, 1, 0]) == pytest.approx(
        {"prod": 5, "ind": 1, "one": 2, "two": 1, "cone": np.sqrt(8) - 1}
    )  # fmt: skip
    assert broken([3, 3, 0, 1]) == pytest.approx(
        {"lin": 5, "quad": 7, "prod": 9, "one": 3, "cone": np.sqrt(18)}
    )  # fmt: skip
    assert broken([1, 0, 1, 1]) == pytest.approx({"lin": 1, "prod": 1, "fun": 1, "one": 1, "two": 1})
    assert p.violations(np.array([3.0, 3, 0, 1]))[0].span.text == "text"


CLASSES = {
    "lp": "LP", "minimal_lp": "LP", "milp": "MILP", "convex_qp": "convex QP", "convex_miqp": "convex MIQP",
    "concave_max": "convex QP", "nonconvex_qp": "nonconvex QP", "products": "nonconvex QCP", "quadratic_rows": "SOCP",
    "cone": "SOCP", "indicators": "MILP", "sos1": "MILP", "sos2": "MILP", "binary_products": "nonconvex MIQCP",
    "binary_quadratic": "nonconvex MIQCP", "abs": "MILP", "exp": "NLP", "tanh": "NLP",
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
def test_classes(name):
    assert str(classify(PROGRAMS[name]()[0])) == CLASSES[name]


def test_convexity_is_checked_by_the_numbers():
    x = Affine.variables(np.arange(6))
    rng = np.random.default_rng(0)
    for _ in range(50):
        m = rng.normal(size=(4, 6))
        squares = square(m @ x).sum()
        assert is_convex(squares.reshape(1))[0]
        assert not is_convex(squares.reshape(1), "maximize")[0]
        assert is_convex(-squares.reshape(1), "maximize")[0]
        eigenvalues = np.linalg.eigvalsh(m.T @ m)
        shift = rng.uniform(-0.2, 0.2)
        matrix = m.T @ m + shift * np.eye(6)
        shifted = (squares + square(x).sum() * shift).reshape(1)
        assert is_convex(shifted)[0] == (np.linalg.eigvalsh(matrix)[0] >= -1e-9 * eigenvalues[-1])
    assert not is_convex(product(x[0], x[1]).reshape(1))[0]
    assert list(is_convex(square(x) * np.array([1, -1, 0, 2, 1, 1]))) == [True, False, True, True, True, True]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_images_contain_and_are_tight(function):
    rng = np.random.default_rng(1)
    exponents = (2.0, 3.0, 4.0, -1.0, -2.0, 0.5, 1.5, -0.5) if function == "power" else (None,)
    for exponent in exponents:
        low, _ = domain(function, exponent)
        for _ in range(100):
            lo = max(low, rng.uniform(-6, 6))
            hi = lo + rng.choice([0.0, 0.1, 1.0, 5.0])
            grid = np.linspace(lo, hi, 801)
            values = apply(function, grid, exponent)
            values = values[np.isfinite(values)]
            (down,), (up,) = image(function, lo, hi, exponent)
            assert (down <= values).all(), (exponent, lo, hi)
            assert (values <= up).all(), (exponent, lo, hi)
            if np.isfinite(down) and np.isfinite(up):
                span = max(1.0, np.ptp(values))
                assert down >= values.min() - 0.01 * span
                assert up <= values.max() + 0.01 * span
            else:  # a pole
                assert lo <= 0 <= hi
    for lo, hi in ((-np.inf, 1.0), (0.5, np.inf), (-np.inf, np.inf)):
        for exponent in exponents:
            (down,), (up,) = image(function, lo, hi, exponent)
            assert not np.isnan(down)
            assert not np.isnan(up)
            left, right = domain(function, exponent)
            grid = np.clip(np.linspace(max(lo, -30), min(hi, 30), 500), left, right)
            values = apply(function, grid[grid != 0], exponent)
            assert ((down <= values) & (values <= up))[~np.isnan(values)].all()
