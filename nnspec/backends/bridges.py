"""Rewriting what a backend lacks into what it takes: one table, no search.

A bridge adds rows (and auxiliary variables with recipes, behind the old ones) that have the same solutions in the old
variables; rows it adds are bridged again where needed. The columns of the given program keep their numbers, so a point
of the new program starts with a point of the old one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nnspec.backends.common import unsupported
from nnspec.backends.interface import Takes
from nnspec.backends.rewrites import (
    NotBridged,
    abs_to_binaries,
    cone_to_quadratic,
    cos_to_sin,
    indicator_to_big_m,
    linearised,
    log_to_exp,
    power_to_products,
    product_to_linear,
    product_to_quadratic,
    quadratic_to_linear,
    sigmoid_to_exp,
    silu_to_sigmoid,
    softplus_to_log,
    sos1_to_binaries,
    sos2_to_binaries,
    sqrt_to_product,
    tanh_to_exp,
    tanh_to_sigmoid,
)
from nnspec.program import Affine, Program, Quadratic
from nnspec.program.classify import is_convex
from nnspec.program.program import kind_of
from nnspec.program.rows import Rows, UnivariateRows

Rewrite = Callable[[Program, Rows], None]

# what is lacking -> (what is needed instead, rewrite), the first whose needs the backend takes is used;
# "needs" are the words that Takes.rows and Takes.functions use; none: linear rows and binaries
BRIDGES: dict[str, list[tuple[tuple[str, ...], Callable[..., None]]]] = {
    "indicator": [((), indicator_to_big_m)],
    "sos1": [((), sos1_to_binaries)],
    "sos2": [((), sos2_to_binaries)],
    "product": [(("quadratic",), product_to_quadratic), ((), product_to_linear)],
    "quadratic": [((), quadratic_to_linear)],
    "cone": [(("quadratic",), cone_to_quadratic)],
    "abs": [((), abs_to_binaries)],
    "sqrt": [((), sqrt_to_product)],
    "power": [((), power_to_products)],
    "log": [(("exp",), log_to_exp)],
    "cos": [(("sin",), cos_to_sin)],
    "tanh": [(("sigmoid",), tanh_to_sigmoid), (("exp",), tanh_to_exp)],
    "sigmoid": [(("exp",), sigmoid_to_exp)],
    "softplus": [(("exp",), softplus_to_log)],
    "silu": [(("sigmoid",), silu_to_sigmoid), (("exp",), silu_to_sigmoid)],
}

_HELP = {
    "quadratic": "use the backend scip or gurobi, or a loss without squares (absolute, max_error)",
    "product": "use the backend scip or gurobi; or weights that are integers or fixed, whose products become linear",
    "cone": "use the backend scip or gurobi",
    "gelu": "choose a piecewise-linear envelope with certified error: --encoding gelu=envelope",
}


def _help(lack: str, backend: str) -> str:
    """What to do about a kind of rows that cannot be taken."""
    if backend.startswith("the format"):
        return "write .cip, which holds everything that SCIP can solve"
    return _HELP.get(lack, "use the backend scip")


@dataclass(frozen=True, eq=False)
class Bridged:
    """A program that a backend takes, and the way of points to and from it."""

    program: Program
    columns: int  # of the given program

    def lift(self, x: np.ndarray) -> np.ndarray:
        """A point of the given program as one of the new program."""
        extra = np.full(self.program.columns - self.columns, np.nan)
        return self.program.complete(np.concatenate((x, extra)))

    def restrict(self, x: np.ndarray) -> np.ndarray:
        """A point of the new program as one of the given program."""
        return x[: self.columns]


def lacking(rows: Rows, takes: Takes) -> str | None:
    """The row kind or function that the backend does not take, if there is one."""
    kind = kind_of(rows)
    if kind not in takes.rows:
        return rows.function if isinstance(rows, UnivariateRows) else kind
    if isinstance(rows, UnivariateRows) and rows.function not in takes.functions:
        return rows.function
    return None


def bridge(program: Program, takes: Takes, backend: str) -> Bridged:
    """The program in rows that `takes` allows. Raises UnsupportedError, at the row's place, where there is no way."""
    columns = program.columns
    program = _objective(program, takes, backend)
    if any(lacking(rows, takes) for rows in program.rows):
        new = program.skeleton()
        for rows in program.rows:
            _bridge_rows(new, rows, takes, backend)
        program = new
    quadratic = len(program.objective.values) > 0 or any(r.kind in ("quadratic", "product") for r in program.rows)
    if quadratic and not takes.integer_quadratic and program.discrete.any():
        raise unsupported(backend, None, "integer variables and quadratic terms in one program", _HELP["quadratic"])
    return Bridged(program, columns)


def _bridge_rows(target: Program, rows: Rows, takes: Takes, backend: str) -> None:
    lack = lacking(rows, takes)
    if lack is None:
        target.rows.append(rows)
        return
    for needs, rewrite in BRIDGES.get(lack, []):
        if all(n in takes.rows or n in takes.functions for n in needs):
            mark = len(target.rows)
            try:
                rewrite(target, rows)
            except NotBridged as e:
                raise unsupported(backend, rows, str(e), e.help or _help(lack, backend)) from None
            added = target.rows[mark:]
            del target.rows[mark:]
            for new in added:
                _bridge_rows(target, new, takes, backend)
            return
    raise unsupported(backend, rows, f"rows with {lack}", _help(lack, backend))


def _objective(program: Program, takes: Takes, backend: str) -> Program:
    """A quadratic objective becomes an epigraph row, or loses the products with binaries, as the backend needs."""
    if not len(program.objective.values) or takes.objective == "quadratic":
        return program
    minimizing = program.sense == "minimize"
    convex = takes.objective == "convex" and is_convex(program.objective, program.sense)[0]
    if convex and (takes.integer_quadratic or not program.discrete.any()):
        return program
    new = program.skeleton()
    new.rows = list(program.rows)
    objective = program.objective
    if "quadratic" in takes.rows:
        # min q  <=>  min t, t >= q: an inequality keeps convexity
        lo, hi = _quadratic_range(program, objective)
        t = new.add_variables("objective", (), lo, hi, complete=objective.value)
        sides = (-np.inf, 0.0) if minimizing else (0.0, np.inf)
        new.add_quadratic(objective - t, *sides, name="objective")
        expression: Affine | Quadratic = t
    else:
        try:
            expression = linearised(new, objective, "objective")
        except NotBridged as e:
            raise unsupported(backend, None, f"the quadratic objective: {e}", e.help or _HELP["quadratic"]) from None
    new.objective = Quadratic.of(expression).reshape(())
    return new


def _quadratic_range(program: Program, q: Quadratic) -> tuple[float, float]:
    """Interval bounds of a quadratic expression of one entry; squares are known to be nonnegative."""
    lo, hi = program.bounds(q.affine)
    a, b, c, d = program.lo[q.left], program.hi[q.left], program.lo[q.right], program.hi[q.right]
    with np.errstate(invalid="ignore"):
        corners = np.stack([a * c, a * d, b * c, b * d])
    corners[np.isnan(corners)] = 0.0
    low, high = corners.min(axis=0), corners.max(axis=0)
    low = np.where((q.left == q.right) & (low < 0), 0.0, low)
    low, high = np.where(q.values > 0, low, high) * q.values, np.where(q.values > 0, high, low) * q.values
    total = float(lo) + float(low.sum()), float(hi) + float(high.sum())
    slack = 1e-9 * (1.0 + np.abs(total))  # far above the rounding of the sum, far below FEASIBILITY
    return float(total[0] - slack[0]), float(total[1] + slack[1])
