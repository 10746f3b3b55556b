"""The rewrites behind the bridges: each adds rows to a program that say the same as the given ones.

Sources: big-M and binaries for special ordered sets, Williams, Model Building in Mathematical Programming (2013),
chapter 9; products with a binary, McCormick 1976 (exact at the ends of the binary's range); binary expansion of
integers, Glover 1975. Where a finite bound is needed and missing the rewrite refuses, naming the variable.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nnspec.program import Affine, Program, Quadratic, concatenate
from nnspec.program.rows import (
    ConeRows,
    IndicatorRows,
    LinearRows,
    ProductRows,
    QuadraticRows,
    SosRows,
    UnivariateRows,
)

MOST_BITS = 20
"""An integer variable in a product is expanded into at most this many binaries; wider ones are refused."""


class NotBridged(Exception):
    """A rewrite does not exist for these rows; says why, in the user's words."""

    def __init__(self, reason: str, help: str = ""):
        super().__init__(reason)
        self.help = help


def _finite_bounds(program: Program, columns: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    lo, hi = program.lo[columns], program.hi[columns]
    bad = np.flatnonzero(~np.isfinite(lo) | ~np.isfinite(hi))
    if len(bad):
        name = program.column_name(int(columns.reshape(-1)[bad[0]]))
        raise NotBridged(f"{what} with the unbounded {name}", f"give {name} finite bounds")
    return lo, hi


def _finite_range(program: Program, affine: Affine, what: str) -> tuple[np.ndarray, np.ndarray]:
    lo, hi = (b.reshape(-1) for b in program.bounds(affine))
    if not (np.isfinite(lo).all() and np.isfinite(hi).all()):
        columns = affine.columns
        free = columns[~np.isfinite(program.lo[columns]) | ~np.isfinite(program.hi[columns])]
        name = program.column_name(int(free[0]))
        raise NotBridged(f"{what} with the unbounded {name}", f"give {name} finite bounds")
    return lo, hi


def _where_known(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """1 or 0 as `truth` says, nan where the values it was read from are unknown."""
    return np.where(np.isnan(values), np.nan, truth.astype(float))


def indicator_to_big_m(program: Program, rows: IndicatorRows) -> None:
    """b = 1 ==> e <= hi  as  e <= hi + M (1 - b) with M = max e - hi over the bounds; likewise for lo and b = 0."""
    low, high = _finite_range(program, rows.affine.reshape(-1), "an indicator row")
    binary = Affine.variables(rows.binary)
    off = binary * np.where(rows.active == 1, -1.0, 1.0) + np.where(rows.active == 1, 1.0, 0.0)  # 1 where not active
    affine = rows.affine.reshape(-1)
    upper = np.flatnonzero(np.isfinite(rows.hi) & (high > rows.hi))
    lower = np.flatnonzero(np.isfinite(rows.lo) & (low < rows.lo))
    program.add_linear(affine[upper] - off[upper] * (high - rows.hi)[upper], hi=rows.hi[upper],
                       name=f"{rows.name}.upper", span=rows.span)  # fmt: skip
    program.add_linear(affine[lower] + off[lower] * (rows.lo - low)[lower], lo=rows.lo[lower],
                       name=f"{rows.name}.lower", span=rows.span)  # fmt: skip


def _switched(program: Program, x: Affine, used: Affine, lo: np.ndarray, hi: np.ndarray, rows: SosRows) -> None:
    """x may be nonzero only where `used` is positive: min(lo, 0) used <= x <= max(hi, 0) used."""
    program.add_linear(x - used * np.maximum(hi, 0.0), hi=0.0, name=f"{rows.name}.upper", span=rows.span)
    program.add_linear(x - used * np.minimum(lo, 0.0), lo=0.0, name=f"{rows.name}.lower", span=rows.span)


def sos1_to_binaries(program: Program, rows: SosRows) -> None:
    """One binary z a member, x = 0 where z = 0, sum z <= 1."""
    lo, hi = _finite_bounds(program, rows.columns, "a special ordered set")
    z = program.add_variables(f"{rows.name}.nonzero", rows.columns.shape, kind="binary", span=rows.span,
                              complete=lambda x: _where_known(x[rows.columns], x[rows.columns] != 0))  # fmt: skip
    _switched(program, Affine.variables(rows.columns), z, lo, hi, rows)
    program.add_linear(z.sum(axis=-1), hi=1.0, name=f"{rows.name}.one", span=rows.span)


def sos2_to_binaries(program: Program, rows: SosRows) -> None:
    """One binary s a pair of neighbours, sum s = 1; a member is 0 unless a pair it belongs to is chosen."""
    count, n = rows.columns.shape
    if n <= 2:
        return
    lo, hi = _finite_bounds(program, rows.columns, "a special ordered set")

    def chosen(x: np.ndarray) -> np.ndarray:
        values = np.abs(x[rows.columns])
        pairs = values[:, :-1] + values[:, 1:]
        return _where_known(pairs, np.arange(n - 1) == pairs.argmax(axis=1)[:, None])

    s = program.add_variables(f"{rows.name}.pair", (count, n - 1), kind="binary", span=rows.span, complete=chosen)
    edge = np.zeros((count, 1))
    used = concatenate([edge, s], axis=1) + concatenate([s, edge], axis=1)
    _switched(program, Affine.variables(rows.columns), used, lo, hi, rows)
    program.add_linear(s.sum(axis=-1), 1.0, 1.0, name=f"{rows.name}.one", span=rows.span)


def product_to_quadratic(program: Program, rows: ProductRows) -> None:
    """z = x y as the quadratic row x y - z = 0."""
    n = rows.count
    q = Quadratic.terms(-Affine.variables(rows.z), np.arange(n), rows.x, rows.y, np.ones(n))
    program.add_quadratic(q, 0.0, 0.0, rows.name, rows.span)


def product_to_linear(program: Program, rows: ProductRows) -> None:
    """Products with a binary by McCormick's rows, with a bounded integer by binary expansion."""
    for z, x, y in zip(rows.z, rows.x, rows.y):
        w = linear_product(program, int(x), int(y), rows.name, rows.span)
        program.add_linear(Affine.variables([z]) - w, 0.0, 0.0, rows.name, rows.span)


def linear_product(program: Program, x: int, y: int, name: str, span: Any) -> Affine:
    """An affine expression of shape (1,) equal to x * y in every feasible point, by rows added to the program."""
    lo, hi, kinds = program.lo, program.hi, program.kinds
    for a, b in ((x, y), (y, x)):
        if lo[a] == hi[a]:
            return Affine.variables([b]) * lo[a]
    if x == y and kinds[x] and lo[x] >= 0 and hi[x] <= 1:
        return Affine.variables([x])  # a binary's square is itself
    discrete = [a for a in (x, y) if kinds[a]]
    if not discrete:
        names = f"{program.column_name(x)} and {program.column_name(y)}"
        raise NotBridged(f"the product of the continuous variables {names}" if x != y
                         else f"the square of the continuous variable {program.column_name(x)}")  # fmt: skip
    a = min(discrete, key=lambda j: hi[j] - lo[j])  # the one with fewer values is expanded
    b = y if a == x else x
    _finite_bounds(program, np.array([a, b]), "a product")
    steps = math.floor(hi[a]) - math.ceil(lo[a])
    if steps >= 2**MOST_BITS:
        raise NotBridged(f"the product of {program.column_name(x)} and {program.column_name(y)}: too many values")
    base = math.ceil(lo[a])
    if steps <= 1:
        bits, weights = Affine.variables([a]) - base, np.ones(1)
        if base != 0 or hi[a] > 1:
            bits = program.add_variables(f"{name}.bit", (1,), kind="binary", complete=bits.value, span=span)
            program.add_linear(Affine.variables([a]) - bits, base, base, f"{name}.bit", span)
        else:
            bits = Affine.variables([a])
    else:
        count = steps.bit_length()
        weights = 2.0 ** np.arange(count)
        bits = program.add_variables(
            f"{name}.bit", (count,), kind="binary", span=span,
            complete=lambda v: np.floor(np.round(v[a] - base) / weights) % 2,
        )  # fmt: skip
        program.add_linear(Affine.variables([a]) - (bits @ weights).reshape(1), base, base, f"{name}.bit", span)
    low, high = program.lo[b], program.hi[b]
    factor = Affine.variables([b])
    w = program.add_variables(
        f"{name}.partial", bits.shape, min(low, 0.0), max(high, 0.0), span=span,
        complete=lambda v: bits.value(v) * v[b],
    )  # fmt: skip
    program.add_linear(w - bits * high, hi=0.0, name=f"{name}.mccormick", span=span)
    program.add_linear(w - bits * low, lo=0.0, name=f"{name}.mccormick", span=span)
    program.add_linear(w - factor - bits * low, hi=-low, name=f"{name}.mccormick", span=span)
    program.add_linear(w - factor - bits * high, lo=-high, name=f"{name}.mccormick", span=span)
    return (w @ weights).reshape(1) + factor * float(base)


def linearised(program: Program, q: Quadratic, name: str, span: Any = None) -> Affine:
    """The quadratic expression with every product replaced by a linear one."""
    parts = [linear_product(program, int(i), int(j), name, span) * c for i, j, c in zip(q.left, q.right, q.values)]
    if not parts:
        return q.affine
    target = np.zeros((q.size, len(parts)))
    target[q.rows, np.arange(len(parts))] = 1.0
    return q.affine + (target @ concatenate(parts)).reshape(q.shape)


def quadratic_to_linear(program: Program, rows: QuadraticRows) -> None:
    """Quadratic rows in which every product has a discrete factor."""
    affine = linearised(program, rows.quadratic.reshape(-1), rows.name, rows.span)
    program.rows.append(LinearRows(rows.name, affine, rows.lo, rows.hi, span=rows.span, labels=rows.labels))


def cone_to_quadratic(program: Program, rows: ConeRows) -> None:
    """|x| <= t as sum x^2 <= t^2 with t >= 0, the form in which solvers recognise a second-order cone."""
    program.tighten(Affine.variables(rows.t), lo=0.0)
    count, n = rows.x.shape
    k = np.arange(count)
    q = Quadratic.terms(
        Affine.of(np.zeros(count)), np.concatenate((np.repeat(k, n), k)), np.concatenate((rows.x.reshape(-1), rows.t)),
        np.concatenate((rows.x.reshape(-1), rows.t)), np.concatenate((np.ones(count * n), -np.ones(count))),
    )  # fmt: skip
    program.add_quadratic(q, hi=0.0, name=rows.name, span=rows.span)


def abs_to_binaries(program: Program, rows: UnivariateRows) -> None:
    """y >= x, y >= -x, y <= x + 2 max(-lo, 0) (1 - s), y <= -x + 2 max(hi, 0) s, with s = 1 where x >= 0."""
    lo, hi = _finite_bounds(program, rows.x, "an absolute value")
    x, y = Affine.variables(rows.x), Affine.variables(rows.y)
    s = program.add_variables(
        f"{rows.name}.positive", (rows.count,), np.where(lo >= 0, 1.0, 0.0), np.where(hi < 0, 0.0, 1.0), kind="binary",
        span=rows.span, complete=lambda v: _where_known(v[rows.x], v[rows.x] >= 0),
    )  # fmt: skip
    down, up = 2.0 * np.maximum(-lo, 0.0), 2.0 * np.maximum(hi, 0.0)
    for row, low, high in [(y - x, 0.0, np.inf), (y + x, 0.0, np.inf), (y - x + s * down, -np.inf, down),
                           (y + x - s * up, -np.inf, 0.0)]:  # fmt: skip
        program.add_linear(row, low, high, rows.name, rows.span)


def sqrt_to_product(program: Program, rows: UnivariateRows) -> None:
    """y = sqrt(x) as x = y y with y >= 0."""
    y = Affine.variables(rows.y)
    program.tighten(y, lo=0.0)
    program.add_products(Affine.variables(rows.x), y, y, rows.name, rows.span)


def power_to_products(program: Program, rows: UnivariateRows) -> None:
    """Integer powers by repeated multiplication; negative ones as y x^n = 1."""
    exponent = rows.exponent
    if exponent is None or exponent != round(exponent):
        raise NotBridged(f"the power {exponent:g}")
    x, y = Affine.variables(rows.x), Affine.variables(rows.y)
    if exponent == 0:
        program.add_linear(y, 1.0, 1.0, rows.name, rows.span)
        return
    result = x
    for _ in range(abs(int(exponent)) - 1):
        result = program.multiply(result, x, f"{rows.name}.power", rows.span)
    if exponent > 0:
        program.add_linear(y - result, 0.0, 0.0, rows.name, rows.span)
    else:
        program.add_products(Affine.of(np.ones(rows.count)), y, result, rows.name, rows.span)


def log_to_exp(program: Program, rows: UnivariateRows) -> None:
    """y = log(x) as x = exp(y)."""
    program.add_univariate("exp", Affine.variables(rows.x), Affine.variables(rows.y), rows.name, span=rows.span)


def cos_to_sin(program: Program, rows: UnivariateRows) -> None:
    """cos(x) = sin(x + pi/2)."""
    shifted = Affine.variables(rows.x) + math.pi / 2
    program.add_univariate("sin", Affine.variables(rows.y), shifted, rows.name, span=rows.span)


def tanh_to_sigmoid(program: Program, rows: UnivariateRows) -> None:
    """tanh(x) = 2 sigmoid(2 x) - 1."""
    s = program.apply("sigmoid", Affine.variables(rows.x) * 2.0, f"{rows.name}.sigmoid", span=rows.span)
    program.add_linear(Affine.variables(rows.y) - s * 2.0, -1.0, -1.0, rows.name, rows.span)


def tanh_to_exp(program: Program, rows: UnivariateRows) -> None:
    """tanh(x) = 1 - 2/(exp(2x) + 1), written as (1 - y)(exp(2x) + 1) = 2."""
    e = program.apply("exp", Affine.variables(rows.x) * 2.0, f"{rows.name}.exp", span=rows.span)
    program.add_products(Affine.of(np.full(rows.count, 2.0)), 1.0 - Affine.variables(rows.y), e + 1.0, rows.name,
                         rows.span)  # fmt: skip


def sigmoid_to_exp(program: Program, rows: UnivariateRows) -> None:
    """sigmoid(x) = 1/(1 + exp(-x)), written as y (1 + exp(-x)) = 1."""
    e = program.apply("exp", -Affine.variables(rows.x), f"{rows.name}.exp", span=rows.span)
    program.add_products(Affine.of(np.ones(rows.count)), Affine.variables(rows.y), e + 1.0, rows.name, rows.span)


def softplus_to_log(program: Program, rows: UnivariateRows) -> None:
    """softplus(x) = log(1 + exp(x))."""
    e = program.apply("exp", Affine.variables(rows.x), f"{rows.name}.exp", span=rows.span)
    program.add_univariate("log", Affine.variables(rows.y), e + 1.0, rows.name, span=rows.span)


def silu_to_sigmoid(program: Program, rows: UnivariateRows) -> None:
    """silu(x) = x sigmoid(x)."""
    x = Affine.variables(rows.x)
    s = program.apply("sigmoid", x, f"{rows.name}.sigmoid", span=rows.span)
    program.add_products(Affine.variables(rows.y), x, s, rows.name, rows.span)
