"""What kind of program it is: LP, MILP, convex QP, MISOCP, nonconvex MIQCP, MINLP, by a check of the numbers.

Convexity of a quadratic form is decided by its smallest eigenvalue, separately for each connected group of columns
(a sum of squares over samples falls into small groups). A group too large for that counts as nonconvex: the class is a
promise, so doubt goes to the harder side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnspec.program.affine import Quadratic
from nnspec.program.program import Program
from nnspec.program.rows import ConeRows, IndicatorRows, ProductRows, QuadraticRows, SosRows, UnivariateRows
from nnspec.tolerances import CONVEXITY

LARGEST_GROUP = 2000  # columns; eigenvalues of a dense matrix of this size take about a second


@dataclass(frozen=True)
class ProgramClass:
    """`name` is the field's abbreviation; `reasons` says what makes it more than an LP."""

    name: str
    discrete: bool
    convex: bool  # the continuous relaxation
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def is_convex(q: Quadratic, sense: str = "minimize") -> np.ndarray:
    """For each entry, whether it is a convex function (concave for "maximize") of the columns."""
    result = np.ones(q.size, dtype=bool)
    sign = 1.0 if sense == "minimize" else -1.0
    starts = np.searchsorted(q.rows, np.arange(q.size + 1))
    for k in range(q.size):
        part = slice(starts[k], starts[k + 1])
        result[k] = _positive_semidefinite(q.left[part], q.right[part], sign * q.values[part])
    return result


def _positive_semidefinite(left: np.ndarray, right: np.ndarray, values: np.ndarray) -> bool:
    diagonal = left == right
    if (values[diagonal] < 0).any():
        return False
    if diagonal.all():
        return True
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    columns, flat = np.unique(np.concatenate((left, right)), return_inverse=True)
    i, j = flat[: len(left)], flat[len(left) :]
    half = 0.5 * values  # on both sides of the diagonal, and twice on it
    matrix = coo_matrix((np.concatenate((half, half)), (np.concatenate((i, j)), np.concatenate((j, i)))),
                        shape=(len(columns), len(columns))).tocsr()  # fmt: skip
    groups, label = connected_components(matrix, directed=False)
    order = np.argsort(label, kind="stable")
    for members in np.split(order, np.cumsum(np.bincount(label, minlength=groups))[:-1]):
        if len(members) > LARGEST_GROUP:
            return False
        block = matrix[members][:, members].toarray()
        eigenvalues = np.linalg.eigvalsh(block)
        if eigenvalues[0] < -CONVEXITY * max(1.0, eigenvalues[-1]):
            return False
    return True


def classify(program: Program) -> ProgramClass:
    """The class of a program as it stands (special ordered sets, indicators and absolute values count as discrete)."""
    discrete = bool((program.discrete & (program.lo < program.hi)).any())
    convex, conic, quadratic, nonlinear = True, False, False, False
    reasons = ["integer variables"] if discrete else []
    if len(program.objective.values):
        quadratic = True
        if not is_convex(program.objective, program.sense)[0]:
            convex = False
            reasons.append("nonconvex quadratic objective")
    quadratic_rows = False
    for rows in program.rows:
        if rows.count == 0:
            continue
        if isinstance(rows, IndicatorRows | SosRows):
            discrete = True
            reasons.append(f"{rows.kind} rows ({rows.name})")
        elif isinstance(rows, UnivariateRows):
            if rows.function == "abs":
                discrete = True
            else:
                nonlinear, convex = True, False
            reasons.append(f"{rows.function} ({rows.name})")
        elif isinstance(rows, ProductRows):
            quadratic_rows, convex = True, False
            reasons.append(f"products ({rows.name})")
        elif isinstance(rows, ConeRows):
            conic = True
        elif isinstance(rows, QuadraticRows):
            quadratic_rows = True
            good = np.ones(rows.count, dtype=bool)
            upper, lower = np.isfinite(rows.hi), np.isfinite(rows.lo)
            q = rows.quadratic.reshape(-1)
            good[upper] &= is_convex(q[upper])
            good[lower] &= is_convex(q[lower], "maximize")
            if not good.all():
                convex = False
                reasons.append(f"nonconvex quadratic rows ({rows.name})")
    prefix = "MI" if discrete else ""
    if nonlinear:
        name = f"{prefix}NLP"
    elif quadratic_rows or conic:
        name = f"{prefix}SOCP" if convex else f"nonconvex {prefix}QCP"
    elif quadratic:
        name = f"{'convex' if convex else 'nonconvex'} {prefix}QP"
    else:
        name = "MILP" if discrete else "LP"
    return ProgramClass(name, discrete, convex, tuple(dict.fromkeys(reasons)))
