"""The solver-neutral program: blocks of variables, blocks of rows, an objective. Encodings write, backends read.

Everything is an array; 100,000 rows are one numpy call. Names are kept by block and made only when asked for. Each
block of auxiliary variables may carry a recipe that computes it from the variables before it, so that values for
weights and decision variables alone extend to a full point: `Program.complete`. `Program.violations` and
`Program.objective_value` judge any backend's answer in numpy.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nnspec.errors import Span
from nnspec.program.affine import Affine, Quadratic
from nnspec.program.functions import FUNCTIONS, apply, image
from nnspec.program.hull import Neurons
from nnspec.program.rows import (
    ConeRows,
    IndicatorRows,
    LinearRows,
    ProductRows,
    QuadraticRows,
    Rows,
    SosRows,
    UnivariateRows,
)
from nnspec.tolerances import FEASIBILITY, INTEGRALITY

Array = np.ndarray | float | Sequence[Any]
Recipe = Callable[[np.ndarray], np.ndarray]
VARIABLE_KINDS = ("real", "int", "binary")


@dataclass(frozen=True, eq=False)
class Block:
    """Variables created together. `labels` holds the words of each axis, by default 0, 1, 2 ..."""

    name: str
    start: int
    shape: tuple[int, ...]
    kind: str
    labels: tuple[Sequence[str] | None, ...] = ()
    span: Span | None = field(default=None, repr=False)
    complete: Recipe | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def columns(self) -> np.ndarray:
        """Column numbers in the block's shape."""
        return np.arange(self.start, self.start + self.size).reshape(self.shape)

    @property
    def words(self) -> list[Sequence[str]]:
        """What the positions on each axis are called."""
        labels = self.labels or (None,) * len(self.shape)
        return [w if w is not None else [str(i) for i in range(n)] for w, n in zip(labels, self.shape)]

    def column_name(self, offset: int) -> str:
        """Readable name of the variable with this flat number."""
        if not self.shape:
            return self.name
        index = np.unravel_index(offset, self.shape)
        return f"{self.name}[{','.join(w[int(i)] for i, w in zip(index, self.words))}]"

    def column_names(self) -> list[str]:
        """Readable names of all variables of the block, in order."""
        if not self.shape:
            return [self.name]
        return [f"{self.name}[{','.join(index)}]" for index in itertools.product(*self.words)]


@dataclass(frozen=True)
class ProgramViolation:
    """A row, bound or integrality that a point violates, by how much in the row's units, and where it comes from."""

    what: str
    amount: float
    span: Span | None = field(default=None, repr=False)


class Program:
    """A mathematical program under construction. Not thread-safe; encodings add to it, nothing is ever removed."""

    def __init__(self, name: str = "program"):
        self.name = name
        self.blocks: list[Block] = []
        self.rows: list[Rows] = []
        self.sense = "minimize"  # "minimize" | "maximize"
        self.objective: Quadratic = Quadratic.of(0.0)
        self.pieces: list[np.ndarray] = []
        """Columns of binaries that say on which piece of its continuous activation a neuron is."""
        self.neurons: list[Neurons] = []
        """ReLU neurons with big-M rows, for solvers that separate the cuts of their hulls."""
        self._starts: list[int] = []
        self._names: set[str] = set()
        self._size = 0
        self._lo = np.empty(64)
        self._hi = np.empty(64)
        self._kind = np.empty(64, dtype=np.int8)

    # -- variables --------------------------------------------------------------------------------------------------

    @property
    def columns(self) -> int:
        """Number of variables."""
        return self._size

    @property
    def lo(self) -> np.ndarray:
        """Lower bounds of all columns (a view)."""
        return self._lo[: self._size]

    @property
    def hi(self) -> np.ndarray:
        """Upper bounds of all columns (a view)."""
        return self._hi[: self._size]

    @property
    def kinds(self) -> np.ndarray:
        """0, 1, 2 for real, int, binary columns (a view)."""
        return self._kind[: self._size]

    @property
    def discrete(self) -> np.ndarray:
        """Boolean: which columns are int or binary."""
        return self.kinds > 0

    def add_variables(self, name: str, shape: tuple[int, ...] | int = (), lo: Array = -math.inf, hi: Array = math.inf,
                      kind: str = "real", labels: Sequence[Sequence[str] | None] | None = None,
                      span: Span | None = None, complete: Recipe | None = None) -> Affine:  # fmt: skip
        """New variables of a shape; bounds broadcast to it; binaries lie in {0, 1}.

        `labels` gives the words of each axis (None: 0, 1, 2 ...): shape (N, 2) with labels (None, ("age", "bmi"))
        makes names like "h1[3,age]". `complete(x)` computes the values (any array of `shape`'s size) from the vector x
        of all columns, of which those created earlier are known.
        """
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if kind not in VARIABLE_KINDS:
            raise ValueError(f"unknown kind of variable {kind!r}")
        if kind == "binary":
            lo, hi = np.maximum(lo, 0.0), np.minimum(hi, 1.0)
        unique = name
        while unique in self._names:
            number = int(unique[len(name) + 1 :]) + 1 if unique != name else 2
            unique = f"{name}~{number}"
        self._names.add(unique)
        block = Block(unique, self._size, shape, kind, tuple(labels or ()), span, complete)
        self._reserve(self._size + block.size)
        new = slice(self._size, self._size + block.size)
        self._lo[new] = np.broadcast_to(np.asarray(lo, dtype=float), shape).reshape(-1)
        self._hi[new] = np.broadcast_to(np.asarray(hi, dtype=float), shape).reshape(-1)
        self._kind[new] = VARIABLE_KINDS.index(kind)
        if np.isnan(self._lo[new]).any() or np.isnan(self._hi[new]).any():
            raise ValueError(f"a bound of {name} is not a number")
        self.blocks.append(block)
        self._starts.append(block.start)
        self._size += block.size
        return Affine.variables(block.columns)

    def _reserve(self, size: int) -> None:
        if size > len(self._lo):
            capacity = max(size, 2 * len(self._lo))
            self._lo, self._hi = np.resize(self._lo, capacity), np.resize(self._hi, capacity)
            self._kind = np.resize(self._kind, capacity)

    def tighten(self, variables: Affine, lo: Array = -math.inf, hi: Array = math.inf) -> None:
        """Intersect the bounds of plain variables with [lo, hi]."""
        c = self._plain(variables)
        np.maximum.at(self._lo, c, np.broadcast_to(np.asarray(lo, dtype=float), variables.shape).reshape(-1))
        np.minimum.at(self._hi, c, np.broadcast_to(np.asarray(hi, dtype=float), variables.shape).reshape(-1))

    def bounds(self, expression: Affine) -> tuple[np.ndarray, np.ndarray]:
        """Interval bounds of an expression over the columns' bounds, rounded outwards, in its shape."""
        lo, hi = expression.range(self.lo, self.hi)
        # summation error of n terms is below n * eps times the sum of their magnitudes (Higham 2002, section 4.2)
        size = np.maximum(*(np.where(np.isfinite(b), np.abs(b), 0.0)[expression.columns] for b in (self.lo, self.hi)))
        terms = np.abs(expression.values) * size
        magnitude = np.bincount(expression.rows, weights=terms, minlength=expression.size) if len(terms) else 0.0
        slack = (expression.lengths + 2) * np.finfo(float).eps * (magnitude + np.abs(expression.constant))
        plus_minus = np.ones(expression.size, dtype=bool)
        plus_minus[expression.rows[np.abs(expression.values) != 1]] = False
        exact = (expression.lengths == 0) | ((expression.lengths == 1) & (expression.constant == 0) & plus_minus)
        slack = np.where(exact, 0.0, slack)
        return (lo - slack).reshape(expression.shape), (hi + slack).reshape(expression.shape)

    def as_variables(self, expression: Affine | Array, name: str, span: Span | None = None) -> Affine:
        """The expression itself where an entry is a plain variable, a new variable equal to it elsewhere."""
        e = Affine.of(expression)
        single = e.single_columns()
        missing = np.flatnonzero(single < 0)
        if len(missing):
            part = e.reshape(-1)[missing]
            lo, hi = self.bounds(part)
            new = self.add_variables(name, (len(missing),), lo, hi, span=span, complete=part.value)
            fixed = part.lengths > 0  # an entry without variables is fixed by its bounds
            if fixed.any():
                keep = np.flatnonzero(fixed)
                self.add_linear(new[keep] - part[keep], 0.0, 0.0, f"definition of {name}", span)
            single[missing] = new.columns
        return Affine.variables(single.reshape(e.shape))

    def apply(self, function: str, x: Affine, name: str, exponent: float | None = None, span: Span | None = None,
              labels: Sequence[Sequence[str] | None] | None = None) -> Affine:  # fmt: skip
        """New variables y = function(x), bounded by the image of x's bounds."""
        x = self.as_variables(x, f"{name}.argument", span)
        lo, hi = self.bounds(x)
        lo, hi = image(function, lo.reshape(-1), hi.reshape(-1), exponent)
        y = self.add_variables(
            name, x.shape, lo.reshape(x.shape), hi.reshape(x.shape), labels=labels, span=span,
            complete=lambda v: apply(function, x.value(v), exponent),
        )  # fmt: skip
        self.add_univariate(function, y, x, name, exponent, span)
        return y

    def multiply(self, x: Affine, y: Affine, name: str, span: Span | None = None,
                 labels: Sequence[Sequence[str] | None] | None = None) -> Affine:  # fmt: skip
        """New variables z = x * y (elementwise, broadcast), bounded by interval arithmetic."""
        shape = np.broadcast_shapes(x.shape, y.shape)
        x = self.as_variables(x, f"{name}.left", span).broadcast_to(shape)
        y = self.as_variables(y, f"{name}.right", span).broadcast_to(shape)
        (a, b), (c, d) = self.bounds(x), self.bounds(y)
        with np.errstate(invalid="ignore"):
            corners = np.stack([a * c, a * d, b * c, b * d])
        corners[np.isnan(corners)] = 0.0  # 0 * inf: the factor 0 makes the product 0
        lo, hi = corners.min(axis=0), corners.max(axis=0)
        if x is y or np.array_equal(x.columns, y.columns):
            lo = np.maximum(lo, 0.0)
        z = self.add_variables(
            name, shape, lo, hi, labels=labels, span=span, complete=lambda v: x.value(v) * y.value(v)
        )
        self.add_products(z, x, y, name, span)
        return z

    def _plain(self, variables: Affine) -> np.ndarray:
        columns = variables.single_columns()
        if (columns < 0).any():
            raise ValueError("expected plain variables, got expressions; see Program.as_variables")
        return columns

    # -- rows -------------------------------------------------------------------------------------------------------

    def add_linear(self, affine: Affine, lo: Array = -math.inf, hi: Array = math.inf, name: str = "row",
                   span: Span | None = None, labels: Sequence[str] = ()) -> None:  # fmt: skip
        """lo <= affine <= hi, entry by entry; bounds broadcast."""
        self.rows.append(
            LinearRows(name, affine, *_row_bounds(affine.shape, lo, hi), span=span, labels=tuple(labels))
        )

    def add_equal(
        self, left: Affine | Array, right: Affine | Array, name: str = "row", span: Span | None = None
    ) -> None:
        """left = right, entry by entry."""
        self.add_linear(Affine.of(left) - right, 0.0, 0.0, name, span)

    def add_quadratic(self, quadratic: Quadratic, lo: Array = -math.inf, hi: Array = math.inf, name: str = "row",
                      span: Span | None = None, labels: Sequence[str] = ()) -> None:  # fmt: skip
        """lo <= quadratic <= hi, entry by entry; bounds broadcast."""
        self.rows.append(
            QuadraticRows(name, quadratic, *_row_bounds(quadratic.shape, lo, hi), span=span, labels=tuple(labels))
        )

    def add_products(self, z: Affine, x: Affine, y: Affine, name: str = "product", span: Span | None = None) -> None:
        """z = x * y, elementwise; operands of the same shape. Expressions get variables of their own."""
        x = self.as_variables(x, f"{name}.left", span)
        y = self.as_variables(y, f"{name}.right", span)
        z = self.as_variables(z, f"{name}.value", span)
        self.rows.append(ProductRows(name, z.columns, x.columns, y.columns, span=span))

    def add_univariate(self, function: str, y: Affine, x: Affine, name: str = "", exponent: float | None = None,
                       span: Span | None = None) -> None:  # fmt: skip
        """y = function(x), elementwise; `function` is one of FUNCTIONS, "power" needs an exponent."""
        if function not in FUNCTIONS or (function == "power") != (exponent is not None):
            raise ValueError(f"unknown function {function!r} (exponent {exponent})")
        name = name or function
        value = self.as_variables(y, f"{name}.value", span).columns
        argument = self.as_variables(x, f"{name}.argument", span).columns
        self.rows.append(UnivariateRows(name, function, value, argument, exponent, span=span))

    def add_indicators(self, binary: Affine, value: Array, affine: Affine, lo: Array = -math.inf, hi: Array = math.inf,
                       name: str = "indicator", span: Span | None = None) -> None:  # fmt: skip
        """binary = value ==> lo <= affine <= hi; `binary` are plain binary variables, broadcast to affine's shape."""
        columns = self._plain(binary.broadcast_to(affine.shape))
        if (self.kinds[columns] != VARIABLE_KINDS.index("binary")).any():
            raise ValueError(f"the indicators of {name} are not binary variables")
        active = np.broadcast_to(np.asarray(value, dtype=np.int64), affine.shape).reshape(-1)
        self.rows.append(IndicatorRows(name, columns, active, affine, *_row_bounds(affine.shape, lo, hi), span=span))

    def add_sos1(self, variables: Affine, name: str = "sos1", span: Span | None = None) -> None:
        """At most one variable of each row (last axis) is nonzero."""
        self._add_sos(1, variables, name, span)

    def add_sos2(self, variables: Affine, name: str = "sos2", span: Span | None = None) -> None:
        """At most two variables of each row (last axis) are nonzero, and they are neighbours."""
        self._add_sos(2, variables, name, span)

    def _add_sos(self, order: int, variables: Affine, name: str, span: Span | None) -> None:
        columns = self.as_variables(variables, f"{name}.member", span).columns
        self.rows.append(SosRows(name, order, columns.reshape(-1, variables.shape[-1]), span=span))

    def add_cone(self, x: Affine, t: Affine, name: str = "cone", span: Span | None = None) -> None:
        """Euclidean norm of x along its last axis <= t; x of shape (..., n), t of shape (...)."""
        members = self.as_variables(x, f"{name}.member", span).columns.reshape(t.size, -1)
        self.rows.append(ConeRows(name, members, self.as_variables(t, f"{name}.radius", span).columns, span=span))

    # -- objective --------------------------------------------------------------------------------------------------

    def minimize(self, expression: Affine | Quadratic) -> None:
        """Set the objective, an expression of one entry; quadratic parts may be convex or not."""
        self.sense, self.objective = "minimize", Quadratic.of(expression).reshape(())

    def maximize(self, expression: Affine | Quadratic) -> None:
        self.sense, self.objective = "maximize", Quadratic.of(expression).reshape(())

    def skeleton(self) -> Program:
        """A new program with the same variables, bounds and objective, and no rows."""
        new = Program(self.name)
        new.blocks, new._starts, new._names = list(self.blocks), list(self._starts), set(self._names)
        new._size, new._lo, new._hi, new._kind = self._size, self._lo.copy(), self._hi.copy(), self._kind.copy()
        new.sense, new.objective = self.sense, self.objective
        new.pieces, new.neurons = list(self.pieces), list(self.neurons)
        return new

    def without_recipes(self) -> Program:
        """A copy that can be pickled: the same variables and rows, no recipes."""
        new = self.skeleton()
        new.blocks = [replace(block, complete=None) for block in self.blocks]
        new.rows = list(self.rows)
        return new

    # -- points -----------------------------------------------------------------------------------------------------

    def complete(self, x: np.ndarray) -> np.ndarray:
        """A copy of x in which unknown values (nan) are computed by the recipes of their blocks, in order of creation.

        Values that are given stay. Where no recipe knows better a fixed column gets its value; others remain nan.
        """
        x = np.array(x, dtype=float)
        if x.shape != (self.columns,):
            raise ValueError(f"a point of this program has {self.columns} values, got an array of shape {x.shape}")
        for block in self.blocks:
            part = slice(block.start, block.start + block.size)
            unknown = np.isnan(x[part])
            if not unknown.any():
                continue
            if block.complete is not None:
                values = np.broadcast_to(np.asarray(block.complete(x), dtype=float), block.shape).reshape(-1)
            else:
                values = np.where(self.lo[part] == self.hi[part], self.lo[part], np.nan)
            x[part][unknown] = values[unknown]
        return x

    def unknown_point(self) -> np.ndarray:
        """A point of which nothing is known: nan everywhere."""
        return np.full(self.columns, np.nan)

    def objective_value(self, x: np.ndarray) -> float:
        """The objective at x, in the program's own sense."""
        return float(self.objective.value(x))

    def violations(self, x: np.ndarray, tolerance: float = FEASIBILITY) -> list[ProgramViolation]:
        """Every bound, integrality and row that x violates by more than the tolerance, in the row's units."""
        x = np.asarray(x, dtype=float)
        found = []
        outside = np.maximum(np.maximum(self.lo - x, x - self.hi), 0.0)
        for j in map(int, np.flatnonzero(~(outside <= tolerance))):
            found.append(ProgramViolation(f"bounds of {self.column_name(j)}", float(outside[j]), self.block_of(j).span))
        fraction = np.where(self.discrete, np.abs(x - np.round(x)), 0.0)
        for j in map(int, np.flatnonzero(fraction > max(tolerance, INTEGRALITY))):
            name = self.column_name(j)
            found.append(ProgramViolation(f"integrality of {name}", float(fraction[j]), self.block_of(j).span))
        for rows in self.rows:
            amount = rows.violation(x)
            for k in np.flatnonzero(~(amount <= tolerance)):
                found.append(ProgramViolation(rows.row_name(int(k)), float(amount[k]), rows.span))
        return found

    # -- names and counts -------------------------------------------------------------------------------------------

    def block_of(self, column: int) -> Block:
        return self.blocks[self.block_number(column)]

    def block_number(self, column: int) -> int:
        number = bisect.bisect_right(self._starts, column) - 1
        while self.blocks[number].size == 0:  # empty blocks share their start with the next one
            number -= 1
        return number

    def column_name(self, column: int) -> str:
        """The variable's name in the user's terms."""
        block = self.block_of(column)
        return block.column_name(column - block.start)

    def column_names(self) -> Iterator[str]:
        for block in self.blocks:
            yield from block.column_names()

    def row_kinds(self) -> dict[str, int]:
        """Number of rows of each kind; the words are those of `rows.ROW_KINDS`."""
        counts: dict[str, int] = {}
        for rows in self.rows:
            kind = kind_of(rows)
            counts[kind] = counts.get(kind, 0) + rows.count
        return counts

    @property
    def row_count(self) -> int:
        return sum(rows.count for rows in self.rows)

    def __repr__(self) -> str:
        kinds = ", ".join(f"{n} {k}" for k, n in self.row_kinds().items())
        discrete = int(self.discrete.sum())
        return f"Program({self.name}: {self.columns} columns, {discrete} of them discrete; rows: {kinds})"


def kind_of(rows: Rows) -> str:
    """The row kind as backends declare it: SOS rows are told apart by their order."""
    return f"sos{rows.order}" if isinstance(rows, SosRows) else rows.kind


def _row_bounds(shape: tuple[int, ...], lo: Array, hi: Array) -> tuple[np.ndarray, np.ndarray]:
    low, high = (np.broadcast_to(np.asarray(b, dtype=float), shape).reshape(-1) for b in (lo, hi))
    if np.isnan(low).any() or np.isnan(high).any():
        raise ValueError("a bound of a row is not a number")
    return low, high
