"""Small programs of every kind with optima known from hand calculation or enumeration, for all backends."""

import itertools
import math

import numpy as np

from nnspec.program import Program, product, square


def lp():
    p = Program("lp")
    x = p.add_variables("x", (2,), 0, 10, labels=[("bread", "wine")])
    p.add_linear(np.array([[1.0, 2.0], [3.0, 1.0]]) @ x, hi=[14, 18], name="stock", labels=("flour", "grape"))
    p.maximize(np.array([3.0, 4.0]) @ x + 1)
    return p, 33.4  # x = (4.4, 4.8)


def minimal_lp():
    """A free variable, a range row, an equality with a constant on the left."""
    p = Program("minimal")
    x, y = p.add_variables("x"), p.add_variables("y", (), -5, 5)
    p.add_linear(x - y + 1, 2, 4)
    p.add_linear(x + y + 0.5, 2.5, 2.5)
    p.minimize(x * 2 + 3)
    return p, 6.0  # x + y = 2, 1 <= x - y: x = 1.5


def milp():
    p = Program("knapsack")
    x = p.add_variables("x", (6,), kind="binary")
    n = p.add_variables("n", (), -2.5, 3.5, kind="int")
    weight, value = np.array([3.0, 4, 5, 7, 8, 9]), np.array([4.0, 5, 7, 10, 11, 13.5])
    p.add_linear(weight @ x + n, hi=16, name="weight")
    p.maximize(value @ x + n * 1.2)
    best = max(
        value @ b + 1.2 * k
        for b in np.array(list(itertools.product((0, 1), repeat=6)))
        for k in range(-2, 4)
        if weight @ b + k <= 16
    )
    return p, best


def convex_qp():
    p = Program("convex_qp")
    x = p.add_variables("x", (2,), -3, 3)
    p.add_linear(x.sum(), hi=1.0)
    p.minimize(square(x - np.array([1.0, 2.0])).sum() + 0.5)
    return p, 2.5  # the distance of (1, 2) to x + y <= 1 is sqrt(2)


def convex_miqp():
    p = Program("convex_miqp")
    x, n = p.add_variables("x", (), -3, 3), p.add_variables("n", (), -3, 3, kind="int")
    p.minimize(square(x + n - 0.3) + square(x - 1.4))
    return p, min((n + 1.1) ** 2 / 2 for n in range(-3, 4))


def concave_max():
    p = Program("concave_max")
    x = p.add_variables("x", (2,), -3, 3)
    p.maximize(4.0 - square(x - 1.0).sum() - product(x[0], x[1]))
    return p, 4.0 - (2 * (2 / 3 - 1) ** 2 + (2 / 3) ** 2)


def nonconvex_qp():
    p = Program("nonconvex_qp")
    x, y = p.add_variables("x", (), -1, 2), p.add_variables("y", (), -3, 1)
    p.add_linear(x + y, -2, 2)
    p.minimize(product(x, y) + x * 0.5)
    return p, -5.0  # at the corner (2, -3)


def products():
    p = Program("products")
    x = p.add_variables("x", (2,), -1, 2)
    y = p.add_variables("y", (2,), -2, 1)
    z = p.multiply(x, y, "z")
    p.add_linear(x.sum() + y.sum(), 0.5)
    p.minimize(z.sum() + x[0])
    return p, -5.0  # at x = (-1, 2), y = (1, -1.5)


def quadratic_rows():
    p = Program("disc")
    x = p.add_variables("x", (2,), -5, 5)
    p.add_quadratic(square(x).sum() - x[0] * 2, hi=3.0, name="disc")  # (x - 1)^2 + y^2 <= 4
    p.maximize(x.sum())
    return p, 1 + 2 * math.sqrt(2)


def cone():
    p = Program("cone")
    x = p.add_variables("x", (3,), -5, 5)
    t = p.add_variables("t", (), -5, 2)
    p.add_cone(x, t)
    p.maximize(x.sum())
    return p, 2 * math.sqrt(3)


def indicators():
    p = Program("indicators")
    b = p.add_variables("b", (2,), kind="binary")
    x = p.add_variables("x", (2,), -4, 6)
    p.add_indicators(b, 1, x, lo=1.0, hi=2.0)
    p.add_indicators(b, 0, x - 0.5, hi=-1.0)
    p.add_linear(b.sum(), hi=1)
    p.maximize(x.sum() - b.sum() * 0.25)
    return p, 2 - 0.25 - 0.5


def indicators_below():
    p = Program("indicators_below")
    b = p.add_variables("b", (2,), kind="binary")
    x = p.add_variables("x", (2,), -4, 6)
    p.add_indicators(b, 1, x + 1, lo=2.0, hi=3.0)
    p.add_indicators(b, 0, x * 2, lo=-5.0)
    p.add_linear(b.sum(), lo=1)
    p.minimize(x.sum() + b.sum() * 0.25)
    return p, 1 - 2.5 + 0.25


def sos1():
    p = Program("sos1")
    x = p.add_variables("x", (2, 3), [0, -2, -1], [3, 2, 1])
    p.add_sos1(x)
    p.maximize((x * np.array([1.0, -2, 1])).sum() - x[0, 0] * 0.9)
    return p, 8.0


def sos2():
    p = Program("sos2")
    w = p.add_variables("w", (4,), 0, 1)
    p.add_linear(w.sum(), 1, 1)
    p.add_linear(w @ np.array([0.0, 1, 2, 3]), 1.5, 1.5)
    p.add_sos2(w)
    p.maximize(w @ np.array([5.0, 1, 2, 5]))
    return p, 1.5


def binary_products():
    p = Program("binary_products")
    b = p.add_variables("b", (2,), kind="binary")
    n = p.add_variables("n", (), -3, 4, kind="int")
    x = p.add_variables("x", (), -1.5, 2.5)
    z = p.multiply(b, x, "bx")
    w = p.multiply(n, x, "nx")
    v = p.multiply(b[0], b[1], "bb")
    s = p.multiply(n, n, "nn")
    p.minimize(z.sum() + w - s * 0.25 + v + x * 0.1)
    # linear in x for every choice of the integers: an end of its range is best
    best = min(
        (b0 + b1) * t + k * t - k * k / 4 + b0 * b1 + t / 10
        for b0 in (0, 1) for b1 in (0, 1) for k in range(-3, 5) for t in (-1.5, 2.5)
    )  # fmt: skip
    return p, best


def binary_quadratic():
    p = Program("binary_quadratic")
    b = p.add_variables("b", (4,), kind="binary")
    x = p.add_variables("x", (), 0, 2)
    q = np.array([[1.0, -3, 2, 0], [0, -1, 1, -2], [0, 0, 1.5, -1], [0, 0, 0, 0.5]])
    objective = product(b[:, None], b[None, :]) * q
    p.add_quadratic(product(b[0], x) + product(b[1], b[2]) + x, hi=2.5, name="coupling")
    p.minimize(objective.sum() - x)
    best = math.inf
    for bits in np.array(list(itertools.product((0.0, 1.0), repeat=4))):
        t = min(2.0, (2.5 - bits[1] * bits[2]) / (1 + bits[0]))
        best = min(best, bits @ q @ bits - t)
    return p, best


def _univariate(function, lo, hi, slope, exponent=None):
    """min f(x) - slope x on a grid that is refined around its best cell."""
    p = Program(function)
    x = p.add_variables("x", (), lo, hi)
    y = p.apply(function, x, "y", exponent)
    p.minimize(y - x * slope)
    from nnspec.program.functions import apply

    grid = np.linspace(lo, hi, 20001)
    for _ in range(3):
        values = apply(function, grid, exponent) - slope * grid
        k = int(values.argmin())
        grid = np.linspace(grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)], 2001)
    return p, float(values.min())


UNIVARIATE = {
    "exp": ("exp", -2, 2, 1.5), "log": ("log", 0.5, 3, 0.6), "sqrt": ("sqrt", 0, 4, 0.6), "sin": ("sin", -3, 5, 0.2),
    "cos": ("cos", -3, 5, -0.2), "abs": ("abs", -2, 3, 0.5), "tanh": ("tanh", -2, 3, 0.4),
    "sigmoid": ("sigmoid", -4, 5, 0.1), "softplus": ("softplus", -4, 5, 0.3), "silu": ("silu", -4, 5, -0.05),
    "square": ("power", -2, 3, 1.0, 2.0), "cube": ("power", -2, 3, 1.0, 3.0), "inverse": ("power", 0.5, 3, -1.0, -1.0),
    "root": ("power", 0.5, 3, 0.5, 1.5),
}  # fmt: skip

PROGRAMS = {
    f.__name__: f
    for f in (
        lp, minimal_lp, milp, convex_qp, convex_miqp, concave_max, nonconvex_qp, products, quadratic_rows, cone,
        indicators, indicators_below, sos1, sos2, binary_products, binary_quadratic,
    )
}  # fmt: skip
PROGRAMS |= {name: lambda a=arguments: _univariate(*a) for name, arguments in UNIVARIATE.items()}


def market_split(n=50):
    """Feasibility is trivial, the proof takes far longer than any test."""
    rng = np.random.default_rng(0)
    p = Program("market_split")
    b = p.add_variables("b", (n,), kind="binary")
    a = rng.integers(1, 1000, (7, n)).astype(float)
    s, t = p.add_variables("s", (7,), 0), p.add_variables("t", (7,), 0)
    p.add_linear(a @ b + s - t, a.sum(1) // 2, a.sum(1) // 2)
    p.minimize(s.sum() + t.sum())
    return p
