"""Arrays of affine and quadratic expressions over the columns (variables) of a Program.

An Affine is a sparse matrix in compressed row form plus a vector of constants and a shape: entry k (in C order) is
    constant[k] + sum_t values[t] * x[columns[t]],  t in indptr[k] .. indptr[k+1].
All operations work on whole arrays and cost O(nonzeros), never O(columns of the program): a network with a thousand
samples builds its rows in a handful of numpy calls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The concatenation of start, start+1, ..., start+length-1 for every pair."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - ends + lengths, lengths) + np.arange(total)


def _merged(rows: np.ndarray, keys: np.ndarray, values: np.ndarray, count: int
            ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """CSR arrays (indptr, keys, values) of triplets, equal (row, key) pairs added up and exact zeros dropped."""
    order = np.lexsort((keys, rows))
    rows, keys, values = rows[order], keys[order], values[order]
    if len(rows):
        first = np.empty(len(rows), dtype=bool)
        first[0] = True
        np.not_equal(rows[1:], rows[:-1], out=first[1:])
        first[1:] |= keys[1:] != keys[:-1]
        if not first.all():
            values = np.add.reduceat(values, np.flatnonzero(first))
            rows, keys = rows[first], keys[first]
        keep = values != 0
        if not keep.all():
            rows, keys, values = rows[keep], keys[keep], values[keep]
    indptr = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=count), out=indptr[1:])
    return indptr, keys, values


@dataclass(frozen=True, eq=False)
class Affine:
    """An array of affine expressions. Behaves like a float array of its shape under +, -, scaling by constants, `@`
    with constant matrices, indexing, reshape, transpose and sum; operands broadcast as in numpy.
    """

    indptr: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    constant: np.ndarray  # flat, (size,)
    shape: tuple[int, ...]

    __array_ufunc__ = None  # numpy arrays leave binary operations to this class
    __hash__ = object.__hash__

    @staticmethod
    def of(value: Affine | np.ndarray | float | Sequence[Any]) -> Affine:
        """An Affine as it is; numbers and arrays as constants."""
        if isinstance(value, Affine):
            return value
        array = np.asarray(value, dtype=float)
        empty = np.zeros(array.size + 1, dtype=np.int64)
        return Affine(empty, empty[:0], np.zeros(0), array.reshape(-1), array.shape)

    @staticmethod
    def variables(columns: np.ndarray | Sequence[int]) -> Affine:
        """The variables with the given column numbers, an int array of any shape."""
        c = np.asarray(columns, dtype=np.int64)
        return Affine(np.arange(c.size + 1), c.reshape(-1), np.ones(c.size), np.zeros(c.size), c.shape)

    @staticmethod
    def csr(indptr: np.ndarray, columns: np.ndarray, values: np.ndarray, constant: np.ndarray | float = 0.0) -> Affine:
        """A vector of expressions from the arrays of a sparse matrix in compressed row form (no checks, no copies)."""
        n = len(indptr) - 1
        return Affine(indptr, columns, values, np.broadcast_to(np.asarray(constant, dtype=float), (n,)), (n,))

    # -- shape ------------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def T(self) -> Affine:
        return self._gather(np.arange(self.size).reshape(self.shape).T)

    @property
    def is_constant(self) -> bool:
        """Whether no variable occurs at all."""
        return len(self.columns) == 0

    @property
    def lengths(self) -> np.ndarray:
        """Number of variables in each entry, flat."""
        return np.diff(self.indptr)

    @property
    def rows(self) -> np.ndarray:
        """Flat entry number of each stored coefficient."""
        return np.repeat(np.arange(self.size), self.lengths)

    def __len__(self) -> int:
        return self.shape[0]

    def reshape(self, *shape: int | tuple[int, ...]) -> Affine:
        target: Any = shape[0] if len(shape) == 1 else shape
        new = np.empty(self.shape, dtype=bool).reshape(target).shape  # numpy resolves -1 and checks the size
        return Affine(self.indptr, self.columns, self.values, self.constant, new)

    def broadcast_to(self, shape: tuple[int, ...]) -> Affine:
        if shape == self.shape:
            return self
        return self._gather(np.broadcast_to(np.arange(self.size).reshape(self.shape), shape))

    def __getitem__(self, index: Any) -> Affine:
        return self._gather(np.arange(self.size).reshape(self.shape)[index])

    def _gather(self, entries: np.ndarray) -> Affine:
        """The expressions with the given flat numbers, in the shape of `entries`."""
        entries = np.asarray(entries)
        flat = entries.reshape(-1)
        lengths = self.lengths[flat]
        positions = _ranges(self.indptr[flat], lengths)
        indptr = np.concatenate(([0], np.cumsum(lengths)))
        return Affine(indptr, self.columns[positions], self.values[positions], self.constant[flat], entries.shape)

    # -- arithmetic -------------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Affine:
        if isinstance(other, Quadratic):
            return NotImplemented
        other = Affine.of(other)
        shape = np.broadcast_shapes(self.shape, other.shape)
        a, b = self.broadcast_to(shape), other.broadcast_to(shape)
        constant = a.constant + b.constant
        if b.is_constant or a.is_constant:
            c = a if b.is_constant else b
            return Affine(c.indptr, c.columns, c.values, constant, shape)
        arrays = _merged(
            np.concatenate((a.rows, b.rows)), np.concatenate((a.columns, b.columns)),
            np.concatenate((a.values, b.values)), a.size,
        )  # fmt: skip
        return Affine(*arrays, constant, shape)

    __radd__ = __add__

    def __neg__(self) -> Affine:
        return Affine(self.indptr, self.columns, -self.values, -self.constant, self.shape)

    def __sub__(self, other: Any) -> Affine:
        return self + (-other if isinstance(other, Affine | Quadratic) else -np.asarray(other, dtype=float))

    def __rsub__(self, other: Any) -> Affine:
        return -self + other

    def __mul__(self, factor: np.ndarray | float) -> Affine:
        """Entries times constants; the product of two expressions is `product(a, b)`."""
        if isinstance(factor, Affine | Quadratic):
            raise TypeError("the product of two expressions is not affine; use product(a, b) or Program.add_products")
        f = np.asarray(factor, dtype=float)
        shape = np.broadcast_shapes(self.shape, f.shape)
        a, f = self.broadcast_to(shape), np.broadcast_to(f, shape).reshape(-1)
        values = a.values * np.repeat(f, a.lengths)
        if (f == 0).any():  # what is multiplied by 0 is gone
            return Affine(*_merged(a.rows, a.columns, values, a.size), a.constant * f, shape)
        return Affine(a.indptr, a.columns, values, a.constant * f, shape)

    __rmul__ = __mul__

    def __truediv__(self, divisor: np.ndarray | float) -> Affine:
        return self * (1.0 / np.asarray(divisor, dtype=float))

    def sum(self, axis: int | tuple[int, ...] | None = None) -> Affine:
        """Sum over all entries (shape ()) or along axes."""
        axes = tuple(range(self.ndim)) if axis is None else (axis,) if isinstance(axis, int) else axis
        kept = [a for a in range(self.ndim) if a not in {b % self.ndim for b in axes}]
        shape = tuple(self.shape[a] for a in kept)
        strides = np.zeros(self.ndim, dtype=np.int64)
        strides[kept] = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
        target = np.zeros(self.shape, dtype=np.int64)
        for a in kept:
            steps = np.arange(self.shape[a]) * strides[a]
            target += steps.reshape([-1 if i == a else 1 for i in range(self.ndim)])
        target, count = target.reshape(-1), math.prod(shape)
        constant = np.bincount(target, weights=self.constant, minlength=count)
        return Affine(*_merged(target[self.rows], self.columns, self.values, count), constant, shape)

    def __matmul__(self, matrix: np.ndarray) -> Affine:
        """(..., n) @ (n, m) -> (..., m), (..., n) @ (n,) -> (...,)."""
        m = np.asarray(matrix, dtype=float)
        if m.ndim not in (1, 2) or not self.ndim or self.shape[-1] != m.shape[0]:
            raise ValueError(f"shapes {self.shape} and {m.shape} do not match")
        flat = self.reshape(-1, m.shape[0])
        if m.ndim == 1:
            return flat._combined(m[None, :]).reshape(self.shape[:-1])
        return flat._combined(m.T).reshape(*self.shape[:-1], m.shape[1])

    def _combined(self, matrix: np.ndarray) -> Affine:
        """Of shape (b, n): out[b, k] = sum_j matrix[k, j] * self[b, j]."""
        batches, n = self.shape
        k, j = np.nonzero(matrix)
        picked = self._gather(np.arange(batches)[:, None] * n + j[None, :])  # (b, nonzeros of the matrix)
        target = (np.arange(batches)[:, None] * len(matrix) + k[None, :]).reshape(-1)
        values = picked.values * np.repeat(np.tile(matrix[k, j], batches), picked.lengths)
        count = batches * len(matrix)
        constant = (self.constant.reshape(batches, n) @ matrix.T).reshape(-1)
        arrays = _merged(np.repeat(target, picked.lengths), picked.columns, values, count)
        return Affine(*arrays, constant, (batches, len(matrix)))

    def __rmatmul__(self, matrix: np.ndarray) -> Affine:
        """(m, n) @ (n, ...) -> (m, ...), (n,) @ (n, ...) -> (...,)."""
        m = np.asarray(matrix, dtype=float)
        if m.ndim not in (1, 2) or not self.ndim or self.shape[0] != m.shape[-1]:
            raise ValueError(f"shapes {m.shape} and {self.shape} do not match")
        rest = self.shape[1:]
        result = self.reshape(self.shape[0], -1).T @ m.T
        return result.reshape(rest) if m.ndim == 1 else result.T.reshape(m.shape[0], *rest)

    # -- values -----------------------------------------------------------------------------------------------------

    def value(self, x: np.ndarray) -> np.ndarray:
        """The numbers at a point x (one number a column); array of this shape."""
        terms = self.values * np.asarray(x)[self.columns]
        total = np.bincount(self.rows, weights=terms, minlength=self.size) if len(terms) else 0.0
        return np.asarray(self.constant + total).reshape(self.shape)

    def range(self, lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interval bounds of each entry when the columns lie in [lo, hi] (not rounded outwards); flat arrays."""
        c, v = self.columns, self.values
        low = np.where(v > 0, v * lo[c], v * hi[c])
        high = np.where(v > 0, v * hi[c], v * lo[c])
        rows = self.rows
        sums = [np.bincount(rows, weights=w, minlength=self.size) if len(c) else 0.0 for w in (low, high)]
        return self.constant + sums[0], self.constant + sums[1]

    def single_columns(self) -> np.ndarray:
        """Flat; the column number of entries that are one variable with factor 1 and constant 0, else -1."""
        result = np.full(self.size, -1, dtype=np.int64)
        k = np.flatnonzero((self.lengths == 1) & (self.constant == 0))
        position = self.indptr[k]
        plain = self.values[position] == 1
        result[k[plain]] = self.columns[position[plain]]
        return result

    def __repr__(self) -> str:
        return f"Affine(shape={self.shape}, nonzeros={len(self.columns)})"


def concatenate(parts: Sequence[Affine | np.ndarray], axis: int = 0) -> Affine:
    """Like numpy.concatenate, for expressions and constants."""
    items = [Affine.of(p) for p in parts]
    offsets = np.cumsum([0, *(p.size for p in items)])
    numbers = [o + np.arange(p.size).reshape(p.shape) for o, p in zip(offsets, items)]
    starts = np.cumsum([0, *(len(p.columns) for p in items)])
    flat = Affine(
        np.concatenate([np.zeros(1, dtype=np.int64), *(p.indptr[1:] + s for p, s in zip(items, starts))]),
        np.concatenate([p.columns for p in items]), np.concatenate([p.values for p in items]),
        np.concatenate([p.constant for p in items]), (int(offsets[-1]),),
    )  # fmt: skip
    order = np.concatenate(numbers, axis=axis)
    if np.array_equal(order.reshape(-1), np.arange(flat.size)):
        return flat.reshape(order.shape)
    return flat._gather(order)


def stack(parts: Sequence[Affine | np.ndarray], axis: int = 0) -> Affine:
    """Like numpy.stack."""
    items = [Affine.of(p) for p in parts]
    axis = axis % (items[0].ndim + 1)
    return concatenate([p.reshape(*p.shape[:axis], 1, *p.shape[axis:]) for p in items], axis)


@dataclass(frozen=True, eq=False)
class Quadratic:
    """An array of quadratic expressions: affine[k] + sum of values[t] * x[left[t]] * x[right[t]] with rows[t] = k.

    left <= right in every term, and no pair occurs twice in an entry; terms are sorted by entry.
    """

    affine: Affine
    rows: np.ndarray
    left: np.ndarray
    right: np.ndarray
    values: np.ndarray

    __array_ufunc__ = None
    __hash__ = object.__hash__

    @staticmethod
    def of(value: Quadratic | Affine | np.ndarray | float) -> Quadratic:
        if isinstance(value, Quadratic):
            return value
        none = np.zeros(0, dtype=np.int64)
        return Quadratic(Affine.of(value), none, none, none, np.zeros(0))

    @staticmethod
    def terms(affine: Affine, rows: np.ndarray, left: np.ndarray, right: np.ndarray, values: np.ndarray) -> Quadratic:
        """From triplets in any order, with repetitions."""
        left, right = np.minimum(left, right), np.maximum(left, right)
        width = int(right.max(initial=0)) + 1
        indptr, keys, values = _merged(rows, left * width + right, values, affine.size)
        rows = np.repeat(np.arange(affine.size), np.diff(indptr))
        return Quadratic(affine, rows, keys // width, keys % width, values)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.affine.shape

    @property
    def size(self) -> int:
        return self.affine.size

    def __add__(self, other: Any) -> Quadratic:
        o = Quadratic.of(other)
        shape = np.broadcast_shapes(self.shape, o.shape)
        a, b = self.broadcast_to(shape), o.broadcast_to(shape)
        parts = [np.concatenate((getattr(a, n), getattr(b, n))) for n in ("rows", "left", "right", "values")]
        return Quadratic.terms(a.affine + b.affine, *parts)

    __radd__ = __add__

    def __neg__(self) -> Quadratic:
        return Quadratic(-self.affine, self.rows, self.left, self.right, -self.values)

    def __sub__(self, other: Any) -> Quadratic:
        return self + -Quadratic.of(other)

    def __rsub__(self, other: Any) -> Quadratic:
        return -self + other

    def __mul__(self, factor: np.ndarray | float) -> Quadratic:
        f = np.asarray(factor, dtype=float)
        a = self.broadcast_to(np.broadcast_shapes(self.shape, f.shape))
        flat = np.broadcast_to(f, a.shape).reshape(-1)
        return Quadratic.terms(a.affine * f, a.rows, a.left, a.right, a.values * flat[a.rows])

    __rmul__ = __mul__

    def __truediv__(self, divisor: np.ndarray | float) -> Quadratic:
        return self * (1.0 / np.asarray(divisor, dtype=float))

    def reshape(self, *shape: int | tuple[int, ...]) -> Quadratic:
        return Quadratic(self.affine.reshape(*shape), self.rows, self.left, self.right, self.values)

    def broadcast_to(self, shape: tuple[int, ...]) -> Quadratic:
        return self if shape == self.shape else self._gather(
            np.broadcast_to(np.arange(self.size).reshape(self.shape), shape)
        )  # fmt: skip

    def __getitem__(self, index: Any) -> Quadratic:
        return self._gather(np.arange(self.size).reshape(self.shape)[index])

    def _gather(self, entries: np.ndarray) -> Quadratic:
        entries = np.asarray(entries)
        flat = entries.reshape(-1)
        starts = np.searchsorted(self.rows, np.arange(self.size + 1))
        lengths = np.diff(starts)[flat]
        p = _ranges(starts[flat], lengths)
        rows = np.repeat(np.arange(flat.size), lengths)
        return Quadratic(self.affine._gather(entries), rows, self.left[p], self.right[p], self.values[p])

    def sum(self) -> Quadratic:
        """The sum of all entries, shape ()."""
        zeros = np.zeros(len(self.rows), dtype=np.int64)
        return Quadratic.terms(self.affine.sum(), zeros, self.left, self.right, self.values)

    def value(self, x: np.ndarray) -> np.ndarray:
        """The numbers at a point x; array of this shape."""
        x = np.asarray(x)
        terms = self.values * x[self.left] * x[self.right]
        total = np.bincount(self.rows, weights=terms, minlength=self.size) if len(terms) else np.zeros(self.size)
        return self.affine.value(x) + total.reshape(self.shape)

    def __repr__(self) -> str:
        return f"Quadratic(shape={self.shape}, terms={len(self.values)})"


def product(a: Affine | np.ndarray | float, b: Affine | np.ndarray | float) -> Quadratic:
    """Elementwise product of two affine arrays (broadcast), multiplied out: cost is the product of the lengths.

    For expressions with many terms give the operands variables of their own first (`Program.as_variables`).
    """
    a, b = Affine.of(a), Affine.of(b)
    shape = np.broadcast_shapes(a.shape, b.shape)
    a, b = a.broadcast_to(shape), b.broadcast_to(shape)
    affine = a * b.constant.reshape(shape) + b * a.constant.reshape(shape) - (a.constant * b.constant).reshape(shape)
    rows = a.rows  # every term of a meets every term of b's entry
    lengths = b.lengths[rows]
    left = np.repeat(np.arange(len(a.columns)), lengths)
    right = _ranges(b.indptr[rows], lengths)
    return Quadratic.terms(
        affine, np.repeat(rows, lengths), a.columns[left], b.columns[right], a.values[left] * b.values[right]
    )


def square(a: Affine) -> Quadratic:
    """Elementwise square, multiplied out."""
    return product(a, a)
