"""One representative of tied networks that differ by the order or signs of orbits, or by the order within an orbit.

A change of neurons that commutes with the group's action leaves function and ties as they are. With an entry of the
first neuron of each orbit as the key (its bias, or a weight if the bias must vanish), three kinds are used up:
- equal orbits trade places:                     key_1 >= key_2 >= ...
- an orbit changes its signs (odd and even activations, symmetric ranges):     key >= 0
- automorphisms of an orbit without signs keep its biases, which are all equal. If the bias is the key, the first neuron
  is the one with the largest weight in one column among those that can take its place.
As in `nnspec.encodings.symmetry` keys stand in the layer's own rows, which changes of later layers do not touch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nnspec.problem import expression as ex
from nnspec.problem.network import Layer, Parameter
from nnspec.problem.problem import Constraint, Point
from nnspec.symmetry.actions import OrbitType
from nnspec.symmetry.ties import Tied


@dataclass(frozen=True, eq=False)
class OrbitOrder:
    """Equal orbits of a layer, each at its first unit in `starts`, in the order of their keys."""

    layer: Layer
    reader: Layer
    orbit: OrbitType
    starts: tuple[int, ...]
    column: int | None  # of the key in the weights; None: the key is the bias
    inner: int | None  # the column that orders an orbit within
    exchange: bool
    flips: bool
    odd: bool  # whether a change of signs shows behind the activation

    def _key(self, start: int) -> ex.ParameterRef:
        assert self.layer.weights is not None
        if self.column is not None:
            return ex.ParameterRef(self.layer.weights.name, (start, self.column))
        assert self.layer.bias is not None
        return ex.ParameterRef(self.layer.bias.name, (start,))

    def constraints(self) -> Iterator[Constraint]:
        label = f"order of {self.layer.name}"
        keys = [self._key(s) for s in self.starts]
        if self.exchange:
            for a, b in itertools.pairwise(keys):
                yield Constraint(ex.Comparison(">=", a, b), label)
        if self.flips:
            for a in keys[-1:] if self.exchange else keys:
                yield Constraint(ex.Comparison(">=", a, ex.Constant(0.0)), label)
        if self.inner is not None:
            assert self.layer.weights is not None
            name = self.layer.weights.name
            for start in self.starts:
                for move in self.orbit.automorphisms:
                    first = ex.ParameterRef(name, (start, self.inner))
                    other = ex.ParameterRef(name, (start + move[0], self.inner))
                    yield Constraint(ex.Comparison(">=", first, other), label)

    def apply(self, values: dict[str, np.ndarray]) -> None:
        """Bring weights (arrays of their shape) to the ordered form, in place."""
        w, b, v = self.layer.weights, self.layer.bias, self.reader.weights
        assert w is not None
        assert v is not None
        rows = [values[p.name] for p in (w, b) if p is not None]
        outgoing = values[v.name].T
        for start in self.starts:
            units = slice(start, start + self.orbit.size)
            key = rows[0][start, self.column] if self.column is not None else rows[1][start]
            if self.flips and key < 0:
                for part in (*rows, outgoing) if self.odd else rows:
                    part[units] *= -1.0
            if self.inner is not None:
                moves = [tuple(range(self.orbit.size)), *self.orbit.automorphisms]
                best = max(moves, key=lambda m: rows[0][start + m[0], self.inner])
                for part in (*rows, outgoing):
                    part[units] = part[[start + i for i in best]]
        if self.exchange:
            keys = [rows[0][s, self.column] if self.column is not None else rows[1][s] for s in self.starts]
            order = np.argsort(-np.array(keys), kind="stable")
            for part in (*rows, outgoing):
                blocks = [part[s : s + self.orbit.size].copy() for s in self.starts]
                for start, source in zip(self.starts, order):
                    part[start : start + self.orbit.size] = blocks[source]


def orders(layer: Layer, reader: Layer, orbits: Sequence[OrbitType], tied: Tied, permute: bool, flips: bool, odd: bool
           ) -> list[OrbitOrder]:  # fmt: skip
    """What can be ordered in a layer whose units form these orbits, one after the other."""
    w, b = layer.weights, layer.bias
    assert w is not None
    starts: dict[OrbitType, list[int]] = {}
    position = 0
    for orbit in orbits:
        starts.setdefault(orbit, []).append(position)
        position += orbit.size
    zero_weights = tied.forced_zero(w)
    found = []
    for orbit, places in starts.items():
        first = places[0]
        biased = b is not None and not tied.forced_zero(b)[first]
        columns = [j for j in range(w.shape[1]) if not zero_weights[first, j]]
        if not biased and not columns:
            continue
        inner = _inner(w, orbit, first, columns, tied) if biased and permute else None
        exchange = permute and len(places) > 1
        if exchange or flips or inner is not None:
            column = None if biased else columns[0]
            found.append(OrbitOrder(layer, reader, orbit, tuple(places), column, inner, exchange, flips, odd))
    return found


def _inner(w: Parameter, orbit: OrbitType, first: int, columns: Sequence[int], tied: Tied) -> int | None:
    """A column in which the neurons that can take the first one's place differ."""
    roots = tied.roots_of(w)
    for j in columns:
        if any(roots[first, j] != roots[first + move[0], j] for move in orbit.automorphisms):
            return j
    return None


def ordered(all_orders: Sequence[OrbitOrder], point: Point) -> Point:
    """The equal network in ordered form."""
    values = {n: np.array(v, dtype=float) for n, v in point.parameters.items()}
    shapes = {p.name: p.shape for o in all_orders for layer in (o.layer, o.reader) for p in layer.parameters}
    values = {n: v.reshape(shapes.get(n, v.shape)) for n, v in values.items()}
    for o in all_orders:
        o.apply(values)
    return Point({n: v + 0.0 for n, v in values.items()}, dict(point.variables))
