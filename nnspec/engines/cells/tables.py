"""Step and sign neurons under the 0-1 loss: which sets of neurons may be on where a sample is right, and the options
of `options` that follow.

The output takes one value for each set of neurons that are on. Exchange on and off of the neurons with negative output
weights (directions (w, b) are free, so nothing is lost but at jumps): then o = c + sum of a_k >= 0 over the set, so the
sets with o >= M are closed upwards, those with o <= -M downwards. Such a pair of families is a *table*; it is a
monotone threshold function of the neurons, but where boxes leave o between -M and M for some sets. A sample of label
+1 is right if and only if the neurons of some minimal set of the first family are on, one of label -1 if those outside
of some maximal set of the second are off. Both are inequalities of the neurons' own (w, b): output weights are gone.

For n neurons there are few tables that matter: not those inside another one up to a permutation of neurons, nor those
that another one becomes when a neuron is always on or off (2 for two neurons with room in their boxes, 5 for three).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from nnspec.engines.cells.form import REACH, Form
from nnspec.engines.cells.model import CellProblem
from nnspec.engines.cells.options import Options, Rows, assemble
from nnspec.engines.cells.separation import EMPTY, FOUND, approach, begin

DISTANCE = 1e-3
"""Right-hand side of the rows of directions of size up to REACH = 10^4: samples are 10^-7 of the data's size on their
side, see `neurons.STRICT`."""


@dataclass(frozen=True)
class Table:
    """up, down: the sets (bits) of on-neurons with o >= M and o <= -M; v, c: an output layer that has it."""

    neurons: int
    up: frozenset[int]
    down: frozenset[int]
    v: tuple[float, ...] = ()
    c: float = 0.0

    def permuted(self, order: tuple[int, ...]) -> Table:
        """Neuron k takes the place order[k]."""
        def image(s: int) -> int:
            return sum(1 << order[k] for k in range(self.neurons) if s >> k & 1)

        return Table(self.neurons, frozenset(map(image, self.up)), frozenset(map(image, self.down)))

    def fixed(self, k: int, on: bool) -> Table:
        """With neuron k always on or off, as a table that does not depend on it."""
        def read(s: int) -> int:
            return s | 1 << k if on else s & ~(1 << k)

        sets = range(2**self.neurons)
        return Table(self.neurons, frozenset(s for s in sets if read(s) in self.up),
                     frozenset(s for s in sets if read(s) in self.down))  # fmt: skip

    def inside(self, other: Table) -> bool:
        return self.up <= other.up and self.down <= other.down

    def needs(self, positive: bool) -> list[int]:
        """The minimal sets of neurons that must be on (label +1) or off (label -1)."""
        full = 2**self.neurons - 1
        sets = self.up if positive else {full & ~s for s in self.down}
        return sorted(s for s in sets if not any(t != s and t & s == t for t in sets))

    def alike(self) -> np.ndarray:
        """Which neurons may change places with the one before."""
        result = [False]
        for k in range(1, self.neurons):
            order = list(range(self.neurons))
            order[k - 1], order[k] = k, k - 1
            other = self.permuted(tuple(order))
            result.append(other.up == self.up and other.down == self.down)
        return np.array(result)


def realised(problem: CellProblem, signs: tuple[int, ...], constraints: list[tuple[int, int]], factor: float = 1.0
             ) -> tuple[int, np.ndarray, float]:  # fmt: skip
    """(status, v, c) in the boxes with o >= factor M on the sets marked 1 and <= -factor M on those marked -1.

    Signs: of v; a set of on-neurons is meant after the exchange of the module's docstring.
    """
    count, m = problem.neurons, problem.margin
    low = -1.0 if problem.activation.kind == "sign" else 0.0
    rows: Rows = []
    for s, side in constraints:
        on = [(s >> k & 1) == (signs[k] > 0) for k in range(count)]
        rows.append((side * np.append(np.where(on, 1.0, low), 1.0), factor * m))
    boxes = [*zip(problem.out_lo, problem.out_hi, strict=True), (problem.c_lo, problem.c_hi)]
    for k, (lo, hi) in enumerate(boxes):
        lo, hi = (max(lo, 0.0), hi) if k < count and signs[k] > 0 else (lo, min(hi, 0.0)) if k < count else (lo, hi)
        form = np.eye(count + 1)[k]
        rows += [(side * form, side * b) for side, b in ((1.0, lo), (-1.0, hi)) if np.isfinite(b)]
    matrix = np.array([a for a, _ in rows])
    rhs = np.array([b for _, b in rows]) / m
    point = begin(count + 1)
    status = approach(matrix, rhs, rhs, np.full(count + 1, 1e6), np.arange(len(rows)), len(rows), point,
                      np.zeros(4 * count + 8))  # fmt: skip
    z = np.clip(np.round(point.z, 12) * m, *np.array(boxes).T)  # simple fractions of the margin exactly
    return status, z[:-1], float(z[-1])


def tables(problem: CellProblem) -> list[Table]:
    """Those that matter, see the module's docstring."""
    count = problem.neurons
    order = sorted(range(2**count), key=lambda s: (bin(s).count("1"), s))
    found: list[Table] = []

    def grow(signs: tuple[int, ...], chosen: list[tuple[int, int]]) -> None:
        if len(chosen) == len(order):
            marked = [(s, side) for s, side in chosen if side != 0]
            for factor in (2.0, 1.1, 1.001, 1.0):  # with room for rounding, where the boxes have it
                status, v, c = realised(problem, signs, marked, factor)
                if status == FOUND:
                    break
            table = Table(count, frozenset(s for s, side in chosen if side > 0),
                          frozenset(s for s, side in chosen if side < 0), tuple(v), c)  # fmt: skip
            if not any(table.inside(f) for f in found):
                found[:] = [f for f in found if not f.inside(table)] + [table]
            return
        s = order[len(chosen)]
        least = max((side for t, side in chosen if t & s == t), default=-1)
        for side in range(1, least - 1, -1):
            trial = [*chosen, (s, side)]
            if side == 0 or realised(problem, signs, [(t, b) for t, b in trial if b != 0])[0] != EMPTY:
                grow(signs, trial)

    for signs in itertools.product((1, -1), repeat=count):
        if all((problem.out_hi[k] if s > 0 else -problem.out_lo[k]) > 0 or s > 0 for k, s in enumerate(signs)):
            grow(signs, [])
    permutations = list(itertools.permutations(range(count)))
    kept: list[Table] = []
    for table in sorted(found, key=lambda t: -len(t.up) - len(t.down)):
        if not any(table.permuted(p).inside(f) for f in kept for p in permutations):
            kept.append(table)
    fixed = {id(t): [t.fixed(k, on) for k in range(count) for on in (False, True)] for t in kept}

    def covered(table: Table, other: Table) -> bool:
        return any(table.permuted(p).inside(f) for f in fixed[id(other)] for p in permutations)

    for table in list(kept):  # a table that depends on all neurons is no fixed one of another, so the order is free
        if any(other is not table and covered(table, other) for other in kept):
            kept.remove(table)
    return kept


def of_table(table: Table, form: Form, problem: CellProblem) -> Options:
    """The options of the neurons' directions in the coordinates of the form's cones, side by side."""
    r, count = form.cone.shape[3], table.neurons
    options = []
    for i in range(form.samples):
        own = []
        positive = problem.y[i] > 0
        for need in table.needs(positive):
            rows: Rows = []
            for k in range(count):
                if need >> k & 1:
                    row = np.zeros(count * r)
                    row[k * r : (k + 1) * r] = form.cone[k, i, 0] if positive else -form.cone[k, i, 0]
                    rows.append((row, DISTANCE))
            own.append((tuple(need >> k & 1 for k in range(count)), rows, list[tuple[np.ndarray, float]]()))
        options.append(own)
    return assemble(options, [], count * r, np.full(count * r, REACH), table.alike(), False, problem.weights)
