"""Products of two expressions, exact and linear wherever one factor is discrete.

With x in [l, u]:
- b binary:   z = b x is McCormick's hull, l b <= z <= u b and x - u (1 - b) <= z <= x - l (1 - b), exact at b in {0, 1}
              (McCormick 1976); with an infinite l or u the indicator rows b = 1 => z = x, b = 0 => z = 0.
- w in {v_1 .. v_K}, w = sum v_j b_j with exactly one b_j = 1:  w x = sum v_j x_j with sum x_j = x and
              l b_j <= x_j <= u b_j: the disaggregated form, whose relaxation is the convex hull (Balas 1985).
- w integer of wide range, w = w_0 + s sum 2^j b_j:  w x = w_0 x + s sum 2^j (b_j x), each term as above.
- otherwise   a product row z = w x, bounded by interval arithmetic; the solver branches on it.

Factors are taken apart first: the product of a + b x and c + d y needs one z = x y only.
"""

from __future__ import annotations

import numpy as np

from nnspec.encodings.context import Context, assemble
from nnspec.program import Affine, concatenate

UNARY_VALUES = 5
"""Integers with at most this many values get one binary a value, others a binary expansion: the unary form has the
tighter relaxation, the expansion fewer variables."""


def multiply(context: Context, a: Affine, b: Affine, name: str) -> Affine:
    """Elementwise product (broadcast) as affine expressions over old and new columns."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    a, b = a.broadcast_to(shape).reshape(-1), b.broadcast_to(shape).reshape(-1)
    if a.is_constant:
        return (b * a.constant).reshape(shape)
    if b.is_constant:
        return (a * b.constant).reshape(shape)
    both = (a.lengths > 0) & (b.lengths > 0)
    a0, a1, ca = _taken_apart(context, a, both, f"{name}.left")
    b0, b1, cb = _taken_apart(context, b, both, f"{name}.right")
    k = np.flatnonzero(both)
    # entries where at least one side is a constant: scale the other
    result = a * np.where(b.lengths == 0, b.constant, 0.0) + b * np.where(
        (a.lengths == 0) & (b.lengths > 0), a.constant, 0.0
    )
    if len(k) == 0:
        return result.reshape(shape)
    pairs, inverse = np.unique(
        np.stack([np.minimum(ca[k], cb[k]), np.maximum(ca[k], cb[k])], 1), axis=0, return_inverse=True
    )
    z = _columns(context, pairs[:, 0], pairs[:, 1], name)[inverse.reshape(-1)]
    x, y = Affine.variables(ca[k]), Affine.variables(cb[k])
    terms = z * (a1[k] * b1[k]) + x * (a1[k] * b0[k]) + y * (a0[k] * b1[k]) + a0[k] * b0[k]
    position = np.zeros(len(both), dtype=np.int64)
    position[k] = np.arange(len(k))
    return (result + terms[position] * both.astype(float)).reshape(shape)


def _taken_apart(
    context: Context, e: Affine, wanted: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(constant, factor, column) of each wanted entry; expressions of several columns get one of their own."""
    constant, factor = np.zeros(e.size), np.zeros(e.size)
    column = np.full(e.size, -1, dtype=np.int64)
    single = np.flatnonzero(wanted & (e.lengths == 1))
    position = e.indptr[single]
    constant[single], factor[single], column[single] = e.constant[single], e.values[position], e.columns[position]
    several = np.flatnonzero(wanted & (e.lengths > 1))
    if len(several):
        keys = [(e.columns[s:t].tobytes(), e.values[s:t].tobytes(), e.constant[j])
                for j, s, t in zip(several, e.indptr[several], e.indptr[several + 1])]  # fmt: skip
        first: dict[object, int] = {}
        order = [first.setdefault(key, len(first)) for key in keys]
        representatives = several[[order.index(j) for j in range(len(first))]]
        new = context.program.as_variables(e[representatives], name)
        factor[several], column[several] = 1.0, new.single_columns()[order]
    return constant, factor, column


def _columns(context: Context, x: np.ndarray, y: np.ndarray, name: str) -> Affine:
    """The products of pairs of columns."""
    program = context.program
    parts: list[Affine] = []
    order: list[np.ndarray] = []
    kinds = program.kinds
    left = np.arange(len(x))

    def take(which: np.ndarray, result: Affine) -> None:
        order.append(which)
        parts.append(result)

    same = (x == y) & (kinds[x] == 2)
    take(left[same], Affine.variables(x[same]))
    left = left[~same]
    swap = (kinds[x[left]] != 2) & (kinds[y[left]] == 2)
    first, second = np.where(swap, y[left], x[left]), np.where(swap, x[left], y[left])
    binary = kinds[first] == 2
    take(left[binary], times_binary(context, first[binary], Affine.variables(second[binary]), name))
    rest, first, second = left[~binary], first[~binary], second[~binary]
    discrete = [_discrete_factor(context, int(a), int(b)) for a, b in zip(first, second)]
    plain = np.array([d is None for d in discrete], dtype=bool)
    if plain.any():
        a, b = Affine.variables(first[plain]), Affine.variables(second[plain])
        take(rest[plain], program.multiply(a, b, name))
    by_column: dict[int, list[tuple[int, int]]] = {}
    for j in np.flatnonzero(~plain):
        chosen = discrete[j]
        assert chosen is not None
        by_column.setdefault(chosen[0], []).append((int(rest[j]), chosen[1]))
    for column, partners in by_column.items():
        positions, others = (np.array(part) for part in zip(*partners))
        take(positions, times_discrete(context, column, Affine.variables(others), name))
    return assemble(len(x), [(o, p) for o, p in zip(order, parts) if len(o)])


def _discrete_factor(context: Context, a: int, b: int) -> tuple[int, int] | None:
    """(discrete column, other column) if one of them has finitely many values, the one with fewer first."""
    counts = {c: n for c in (a, b) if (n := _value_count(context, c))}
    if not counts or a == b:
        return None
    chosen = min(counts, key=lambda c: counts[c])
    return chosen, b if chosen == a else a


def _value_count(context: Context, column: int) -> int:
    if column in context.selectors:
        return len(context.selectors[column][0])
    program = context.program
    if program.kinds[column] == 1 and np.isfinite(program.lo[column]) and np.isfinite(program.hi[column]):
        return int(program.hi[column] - program.lo[column]) + 1
    return 0


def times_binary(context: Context, binary: np.ndarray, x: Affine, name: str) -> Affine:
    """New variables z = b x for binary columns b and expressions x."""
    program = context.program
    b = Affine.variables(binary)
    if not len(binary):
        return Affine.of(np.zeros(0))
    lo, hi = program.bounds(x)
    z = program.add_variables(name, (len(binary),), np.minimum(lo, 0.0), np.maximum(hi, 0.0),
                              complete=lambda v: b.value(v) * x.value(v))  # fmt: skip
    for finite in (True, False):
        k = np.flatnonzero((np.isfinite(lo) & np.isfinite(hi)) == finite)
        if not len(k):
            continue
        if finite:
            program.add_linear(z[k] - b[k] * hi[k], -np.inf, 0.0, f"{name} <= hi b")
            program.add_linear(z[k] - b[k] * lo[k], 0.0, np.inf, f"{name} >= lo b")
            program.add_linear(z[k] - x[k] - b[k] * lo[k], -np.inf, -lo[k], f"{name} <= x - lo (1-b)")
            program.add_linear(z[k] - x[k] - b[k] * hi[k], -hi[k], np.inf, f"{name} >= x - hi (1-b)")
        else:
            program.add_indicators(b[k], 1, z[k] - x[k], 0.0, 0.0, f"{name} = x if b")
            program.add_indicators(b[k], 0, z[k], 0.0, 0.0, f"{name} = 0 unless b")
    return z


def times_discrete(context: Context, column: int, x: Affine, name: str) -> Affine:
    """w x for one discrete column w and a vector of expressions x (n,)."""
    program = context.program
    n = x.size
    lo, hi = (b.reshape(-1, 1) for b in program.bounds(x))
    if column not in context.selectors and _value_count(context, column) > UNARY_VALUES:
        offset, factors, bits = expansion(context, column)
        spread = x.reshape(n, 1).broadcast_to((n, len(bits))).reshape(-1)
        parts = times_binary(context, np.tile(bits, n), spread, name).reshape(n, len(bits))
        return x * offset + (parts * factors).sum(axis=1)
    values, columns = selector(context, column)
    if not (np.all(np.isfinite(lo)) and np.all(np.isfinite(hi))):
        spread = x.reshape(n, 1).broadcast_to((n, len(columns))).reshape(-1)
        parts = times_binary(context, np.tile(columns, n), spread, name).reshape(n, len(columns))
        return (parts * values).sum(axis=1)
    # disaggregated: the last part is what the others leave over
    m = len(values) - 1
    b = Affine.variables(np.tile(columns, (n, 1)))
    parts = program.add_variables(
        name, (n, m), np.minimum(lo, 0.0), np.maximum(hi, 0.0),
        complete=lambda v: b[:, :m].value(v) * x.value(v)[:, None],
    )  # fmt: skip
    last = (x - parts.sum(axis=1)).reshape(n, 1)
    every = concatenate([parts, last], axis=1)
    program.add_linear(every - b * hi, -np.inf, 0.0, f"{name} <= hi b")
    program.add_linear(every - b * lo, 0.0, np.inf, f"{name} >= lo b")
    return (every * values).sum(axis=1)


def selector(context: Context, column: int) -> tuple[np.ndarray, np.ndarray]:
    """(values, binary columns): the column is sum values * binaries, exactly one of which is 1."""
    if column not in context.selectors:
        program = context.program
        values = np.arange(program.lo[column], program.hi[column] + 1.0)
        context.selectors[column] = values, select(context, Affine.variables([column]), values)
    return context.selectors[column]


def select(context: Context, w: Affine, values: np.ndarray, span: object = None) -> np.ndarray:
    """Binaries b with w = sum values b and sum b = 1, for an expression w of shape (1,); their columns."""
    program = context.program
    name = program.column_name(int(w.columns[0]))

    def nearest(x: np.ndarray) -> np.ndarray:
        return np.arange(len(values)) == np.argmin(np.abs(values - w.value(x)[0]))

    b = program.add_variables(f"{name} is", (len(values),), kind="binary", complete=nearest,
                              labels=([f"{v:g}" for v in values],))  # fmt: skip
    program.add_linear(b.sum(), 1.0, 1.0, f"{name} has one value")
    program.add_linear((b * values).sum().reshape(1) - w, 0.0, 0.0, f"value of {name}")
    return b.columns


def expansion(context: Context, column: int) -> tuple[float, np.ndarray, np.ndarray]:
    """(offset, factors, binary columns) with w = offset + sum factors * binaries."""
    if column not in context.expansions:
        program = context.program
        lo, hi = program.lo[column], program.hi[column]
        count = int(hi - lo).bit_length()
        factors = 2.0 ** np.arange(count)
        name = program.column_name(column)

        def bits(x: np.ndarray) -> np.ndarray:
            return (round(x[column] - lo) >> np.arange(count)) & 1

        b = program.add_variables(f"{name} bit", (count,), kind="binary", complete=bits,
                                  labels=([f"{int(f)}" for f in factors],))  # fmt: skip
        w = Affine.variables([column])
        program.add_linear((b * factors).sum().reshape(1) - w, -lo, -lo, f"bits of {name}")
        context.expansions[column] = float(lo), factors, b.columns
    return context.expansions[column]
