"""Bounds from linear relaxations of the program itself: the LP bound of an expression, and OBBT.

The relaxation keeps all linear rows, replaces products by McCormick's inequalities, univariate rows by enclosing lines,
indicator rows by their big-M rows where bounds allow, and drops integrality and the rest. An expression's bound is the
optimum of an LP, but what the LP solver says is not trusted: from its dual values y a bound is rebuilt,
    min c'x >= y'b + sum_j min over [l_j, u_j] of (c - A'y)_j x_j,   A x <= b, y <= 0,
which holds for every y of the right sign, evaluated with outward rounding (Neumaier and Shcherbina 2004).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnspec.bounds.interval import Interval, down, up
from nnspec.bounds.relaxation import lines
from nnspec.problem.network import Activation
from nnspec.program import Affine, Program
from nnspec.program.rows import IndicatorRows, LinearRows, ProductRows, UnivariateRows

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_UNIT = 2.0**-53
_ACTIVATIONS = ("tanh", "sigmoid", "softplus", "gelu", "silu", "abs")


@dataclass(frozen=True, eq=False)
class Relaxation:
    """A x <= b over the box [lo, hi]; equations are two rows."""

    A: csr_matrix
    b: np.ndarray
    lo: np.ndarray
    hi: np.ndarray


def relaxation(program: Program) -> Relaxation:
    """The linear relaxation of a program."""
    from scipy.sparse import csr_matrix, vstack

    parts: list[tuple[csr_matrix, np.ndarray]] = []
    n = program.columns

    def add(e: Affine, hi: np.ndarray) -> None:
        """e <= hi, rows with a finite right side only; the constant moves over, rounded outwards."""
        keep = np.flatnonzero(np.isfinite(hi))
        e = e.reshape(-1)[keep]
        matrix = csr_matrix((e.values, e.columns, e.indptr), shape=(len(keep), n))
        b = hi[keep] - e.constant
        parts.append((matrix, np.where(e.constant == 0, b, up(b))))

    for rows in program.rows:
        if isinstance(rows, LinearRows):
            add(rows.affine, rows.hi)
            add(-rows.affine, -rows.lo)
        elif isinstance(rows, ProductRows):
            _products(program, rows, add)
        elif isinstance(rows, UnivariateRows) and rows.function in _ACTIVATIONS:
            e = lines(Activation(rows.function), Interval(program.lo[rows.x], program.hi[rows.x]))
            x, y = Affine.variables(rows.x), Affine.variables(rows.y)
            add(y - x * e.high_slope, e.high)
            add(x * e.low_slope - y, -e.low)
        elif isinstance(rows, IndicatorRows):
            _indicators(program, rows, add)
    if not parts:
        return Relaxation(csr_matrix((0, n)), np.zeros(0), program.lo.copy(), program.hi.copy())
    return Relaxation(csr_matrix(vstack([p for p, _ in parts])), np.concatenate([b for _, b in parts]),
                      program.lo.copy(), program.hi.copy())  # fmt: skip


def _products(program: Program, rows: ProductRows, add) -> None:  # type: ignore[no-untyped-def]
    """McCormick: z >= a y + c x - a c for both pairs of like ends, z <= for the unlike ones."""
    x, y, z = (Affine.variables(c) for c in (rows.x, rows.y, rows.z))
    (xl, xu), (yl, yu) = ((program.lo[c], program.hi[c]) for c in (rows.x, rows.y))
    for a, c, above in ((xl, yl, False), (xu, yu, False), (xl, yu, True), (xu, yl, True)):
        k = np.flatnonzero(np.isfinite(a) & np.isfinite(c))
        if len(k):
            e = (y[k] * a[k] + x[k] * c[k] - z[k]) * (-1.0 if above else 1.0)
            side = a[k] * c[k] * (-1.0 if above else 1.0)
            add(e, up(side))


def _indicators(program: Program, rows: IndicatorRows, add) -> None:  # type: ignore[no-untyped-def]
    """row <= hi + (U - hi) * [binary differs from active], with U the row's upper bound."""
    low, high = (b.reshape(-1) for b in program.bounds(rows.affine))
    b = Affine.variables(rows.binary)
    sign = np.where(rows.active == 1, 1.0, -1.0)
    on = b * sign + (rows.active != 1).astype(float)  # 1 where the row must hold
    for e, hi, top in ((rows.affine, rows.hi, high), (-rows.affine, -rows.lo, -low)):
        k = np.flatnonzero(np.isfinite(hi) & np.isfinite(top))
        if len(k):
            m = np.maximum(top[k] - hi[k], 0.0)
            add(e.reshape(-1)[k] + on[k] * m, hi[k] + up(m))


def lp_bounds(r: Relaxation, e: Affine, entries: np.ndarray | None = None) -> Interval:
    """Certified bounds on a vector of expressions; -inf and inf for entries not asked for or where the LP fails."""
    lo, hi = np.full(e.size, -np.inf), np.full(e.size, np.inf)
    for k in np.arange(e.size) if entries is None else entries:
        part = slice(e.indptr[k], e.indptr[k + 1])
        c = np.zeros(len(r.lo))
        np.add.at(c, e.columns[part], e.values[part])
        lo[k] = down(_minimum(r, c) + e.constant[k], 2)
        hi[k] = up(-_minimum(r, -c) + e.constant[k], 2)
    return Interval(lo, hi)


def _minimum(r: Relaxation, c: np.ndarray) -> float:
    """A certified lower bound on min c'x over the relaxation."""
    from scipy.optimize import linprog

    if not r.A.shape[0]:
        return float(_box_part(c, np.zeros_like(c), r))
    found = linprog(c, A_ub=r.A, b_ub=r.b, bounds=np.stack([r.lo, r.hi], axis=1), method="highs")
    if found.ineqlin is None or found.ineqlin.marginals is None or found.status != 0:
        return float(_box_part(c, np.zeros_like(c), r))
    y = np.minimum(np.asarray(found.ineqlin.marginals), 0.0)
    reduced = c - r.A.T @ y
    terms = np.diff(r.A.tocsc().indptr) + 3
    error = terms * _UNIT * 1.01 * (np.abs(c) + abs(r.A).T @ np.abs(y))
    products = y * r.b
    rest = float(products.sum()) - (len(y) + 3) * _UNIT * 1.01 * float(np.abs(products).sum())
    return float(np.nextafter(rest + _box_part(reduced, error, r), -np.inf))


def _box_part(reduced: np.ndarray, error: np.ndarray, r: Relaxation) -> float:
    """A lower bound on sum_j (reduced_j +- error_j) x_j over the box."""
    tiny = np.abs(reduced) + error == 0
    d = Interval(np.where(tiny, 0.0, reduced - error), np.where(tiny, 0.0, reduced + error))
    return float((d * Interval(r.lo, r.hi)).sum().lo)
