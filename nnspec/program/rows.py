"""The kinds of rows a Program holds: plain arrays over column numbers, one object a block of rows.

Apart from linear, quadratic and indicator rows the operands are columns, never expressions, so that backends and
bridges stay short; `Program.as_variables` gives an expression a column of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nnspec.errors import Span
from nnspec.program.affine import Affine, Quadratic
from nnspec.program.functions import apply


@dataclass(frozen=True, eq=False)
class Rows:
    """A block of rows of one kind. `name` is the user's word for it; `labels` those of the rows, if any."""

    name: str
    span: Span | None = field(default=None, repr=False, kw_only=True)
    labels: tuple[str, ...] = field(default=(), repr=False, kw_only=True)
    kind = "rows"

    @property
    def count(self) -> int:
        raise NotImplementedError

    def row_name(self, k: int) -> str:
        """Readable name of row k of the block."""
        if self.labels:
            return f"{self.name}[{self.labels[k]}]"
        return self.name if self.count == 1 else f"{self.name}[{k}]"

    def row_names(self) -> list[str]:
        """Readable names of all rows of the block."""
        if self.labels:
            return [f"{self.name}[{label}]" for label in self.labels]
        return [self.name] if self.count == 1 else [f"{self.name}[{k}]" for k in range(self.count)]

    def violation(self, x: np.ndarray) -> np.ndarray:
        """By how much each row is violated at x, in the units of the row; flat array, 0 where it holds."""
        raise NotImplementedError


def _outside(value: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    return np.maximum(np.maximum(lo - value, value - hi), 0.0)


@dataclass(frozen=True, eq=False)
class LinearRows(Rows):
    """lo <= affine <= hi."""

    affine: Affine
    lo: np.ndarray
    hi: np.ndarray
    kind = "linear"

    @property
    def count(self) -> int:
        return self.affine.size

    def violation(self, x: np.ndarray) -> np.ndarray:
        return _outside(self.affine.value(x).reshape(-1), self.lo, self.hi)


@dataclass(frozen=True, eq=False)
class QuadraticRows(Rows):
    """lo <= quadratic <= hi."""

    quadratic: Quadratic
    lo: np.ndarray
    hi: np.ndarray
    kind = "quadratic"

    @property
    def count(self) -> int:
        return self.quadratic.size

    def violation(self, x: np.ndarray) -> np.ndarray:
        return _outside(self.quadratic.value(x).reshape(-1), self.lo, self.hi)


@dataclass(frozen=True, eq=False)
class ProductRows(Rows):
    """z = x * y, for column numbers z, x, y."""

    z: np.ndarray
    x: np.ndarray
    y: np.ndarray
    kind = "product"

    @property
    def count(self) -> int:
        return len(self.z)

    def violation(self, x: np.ndarray) -> np.ndarray:
        return np.abs(x[self.z] - x[self.x] * x[self.y])


@dataclass(frozen=True, eq=False)
class UnivariateRows(Rows):
    """y = function(x), for column numbers y, x. `exponent` is that of "power"."""

    function: str
    y: np.ndarray
    x: np.ndarray
    exponent: float | None = None
    kind = "univariate"

    @property
    def count(self) -> int:
        return len(self.y)

    def violation(self, x: np.ndarray) -> np.ndarray:
        value = np.abs(x[self.y] - apply(self.function, x[self.x], self.exponent))
        return np.where(np.isnan(value), np.inf, value)


@dataclass(frozen=True, eq=False)
class IndicatorRows(Rows):
    """binary = active ==> lo <= affine <= hi, for column numbers `binary` and bits `active`."""

    binary: np.ndarray
    active: np.ndarray
    affine: Affine
    lo: np.ndarray
    hi: np.ndarray
    kind = "indicator"

    @property
    def count(self) -> int:
        return len(self.binary)

    def violation(self, x: np.ndarray) -> np.ndarray:
        outside = _outside(self.affine.value(x).reshape(-1), self.lo, self.hi)
        return np.where(np.round(x[self.binary]) == self.active, outside, 0.0)


@dataclass(frozen=True, eq=False)
class SosRows(Rows):
    """Special ordered sets over the columns of each row of the (count, n) array `columns`, in that order.

    order 1: at most one is nonzero; order 2: at most two, and these are neighbours.
    """

    order: int
    columns: np.ndarray
    kind = "sos"

    @property
    def count(self) -> int:
        return len(self.columns)

    def violation(self, x: np.ndarray) -> np.ndarray:
        # the best window of `order` neighbours may be nonzero, the largest of the others is the violation
        values = np.abs(x[self.columns])
        n = values.shape[1]
        if n <= self.order:
            return np.zeros(self.count)
        best = np.full(self.count, np.inf)
        for start in range(n - self.order + 1):
            rest = np.delete(values, np.s_[start : start + self.order], axis=1)
            best = np.minimum(best, rest.max(axis=1))
        return best


@dataclass(frozen=True, eq=False)
class ConeRows(Rows):
    """Second-order cones sqrt(sum_j x[k, j]^2) <= t[k], for column numbers x (count, n) and t (count,)."""

    x: np.ndarray
    t: np.ndarray
    kind = "cone"

    @property
    def count(self) -> int:
        return len(self.t)

    def violation(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(np.linalg.norm(x[self.x], axis=1) - x[self.t], 0.0)


ROW_KINDS = ("linear", "quadratic", "product", "univariate", "indicator", "sos1", "sos2", "cone")
