"""Static symmetry breaking: one representative of networks that differ by the order or the signs of hidden neurons.

Permuting the units of a hidden layer (rows of its weights and bias, columns of the weights that read it) leaves the
function unchanged; so does changing the signs of a unit's row, bias and outgoing weights when the activation is odd.
Units are interchangeable if all their entries have equal domains (equal values where they are fixed), and nothing in
the spec names one of them. For each class of interchangeable units one key a unit is put in descending order,
    key_1 >= key_2 >= ... >= key_n        (>= 0 with sign flips).
Any point can be brought to this form: treat the layers from the input on; a key stands in the unit's own row (bias or
a weight), which later layers do not touch, or in the weights of an output layer, whose rows are never permuted.
With sign flips and the outgoing weight as the key, v_1 >= ... >= v_n >= 0 is a fundamental domain of all 2^n n! images;
the biases must not be ordered on top of it.

Flips of `sign` units are used only where a spec asks for them: sign(0) = 1 makes them inexact on the boundary.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnspec.encodings.context import Context
from nnspec.encodings.parameters import Parameters
from nnspec.encodings.runs import every_expression
from nnspec.problem import expression as ex
from nnspec.problem.network import Layer, Network, Parameter
from nnspec.problem.problem import Point, Problem


@dataclass(frozen=True)
class Reader:
    """A dense layer that reads a hidden layer's units at columns offset .. offset + units - 1."""

    layer: Layer
    offset: int
    plain: bool  # no standalone activation in between


@dataclass(frozen=True, eq=False)
class Ordering:
    """One class of interchangeable units and the key that orders it: (tensor, flat index) for each unit."""

    network: Network
    layer: Layer
    readers: tuple[Reader, ...]
    units: tuple[int, ...]
    keys: tuple[tuple[str, int], ...]
    flips: bool

    def explain(self) -> str:
        last = " >= 0" if self.flips else ""
        return f"{self.network.name}.{self.layer.name}: {len(self.units)} units ordered by {self.keys[0][0]}{last}"

    def apply(self, values: dict[str, np.ndarray]) -> None:
        """Bring weights to the ordered form, in place; tensors that are missing count as fixed."""
        key = np.array([values[n].reshape(-1)[i] if n in values else np.nan for n, i in self.keys])
        if np.isnan(key).any():
            return
        if self.flips:
            for unit, k in zip(self.units, key):
                if k < 0:
                    for part in self._parts(values, unit):
                        part *= -1.0
            key = np.abs(key)
        order = np.argsort(-key, kind="stable")
        old = [[part.copy() for part in self._parts(values, u)] for u in self.units]
        for position, source in enumerate(order):
            for part, new in zip(self._parts(values, self.units[position]), old[source]):
                part[...] = new

    def _parts(self, values: dict[str, np.ndarray], unit: int) -> list[np.ndarray]:
        """Views of all entries that belong to a unit."""
        parts = []
        for p in self.layer.parameters:
            if p.name in values:
                parts.append(values[p.name][unit : unit + 1])
        for r in self.readers:
            assert r.layer.weights is not None
            if r.layer.weights.name in values:
                parts.append(values[r.layer.weights.name][:, r.offset + unit])
        return parts


def readers(network: Network, layer: Layer) -> tuple[Reader, ...] | None:
    """The dense layers that read a layer, directly or through activations, flatten and concat; None if anything else
    reads it or it is a result of the network."""
    found: list[Reader] = []
    open_ = [(layer, 0, True)]
    while open_:
        item, offset, plain = open_.pop()
        if item.name in network.outputs:
            return None
        for next_ in network.layers:
            for position, source in enumerate(next_.inputs):
                if source != item.name:
                    continue
                if next_.kind == "dense":
                    found.append(Reader(next_, offset, plain))
                elif next_.kind == "activation" and next_.activation.kind != "softmax":
                    open_.append((next_, offset, False))
                elif next_.kind == "flatten":
                    open_.append((next_, offset, plain))
                elif next_.kind == "concat" and len(item.shape) == 1:
                    before = sum(network[i].size for i in next_.inputs[:position])
                    open_.append((next_, offset + before, plain))
                else:
                    return None
    return tuple(found) if found else None


def _kinds(problem: Problem, network: Network, layer: Layer) -> frozenset[str]:
    """What the spec allows to use for this layer: the most specific statement wins."""
    chosen: tuple[str, ...] = ("auto",)
    for whole in (True, False):
        for s in problem.break_symmetry:
            if s.network == network.name and (s.layer is None if whole else s.layer == layer.name):
                chosen = s.kinds
    return frozenset(chosen)


def _named(problem: Problem) -> tuple[set[str], set[tuple[str, str]]]:
    """Tensors of which single entries are named or tied, and layers of which single neurons are."""
    tensors = {n for t in problem.ties for n, _ in (t.target, t.source)}
    layers = set()
    for e in every_expression(problem):
        if isinstance(e, ex.ParameterRef):
            tensors.add(e.parameter)
        elif isinstance(e, ex.Size) and e.neuron is not None and e.layer is not None:
            layers.add((e.network, e.layer))
    return tensors, layers


def _rows_alike(p: Parameter, axis: int, units: Sequence[int]) -> list[tuple[object, ...]]:
    """For each unit, what its entries along an axis may be."""
    lo, hi = (np.take(np.asarray(a, dtype=float), units, axis=axis) for a in (p.lo, p.hi))
    move = lambda a: np.moveaxis(a, axis, 0).reshape(len(units), -1) + 0.0  # noqa: E731
    lo, hi = move(lo), move(hi)
    return [(p.kind, p.values, p.free, lo[k].tobytes(), hi[k].tobytes()) for k in range(len(units))]


def _symmetric(p: Parameter, axis: int, units: Sequence[int]) -> bool:
    """Whether the entries' domains are symmetric about 0."""
    lo, hi = (np.take(np.asarray(a, dtype=float), units, axis=axis) for a in (p.lo, p.hi))
    values = set(p.values)
    return bool(np.all(lo == -hi)) and (p.kind != "set" or values == {-v for v in values})


def orderings(problem: Problem) -> list[Ordering]:
    """Every class of interchangeable neurons, with its key, from the input on."""
    tensors, layers = _named(problem)
    found = []
    for network in problem.networks.values():
        for layer in network.layers:
            if layer.kind != "dense" or (network.name, layer.name) in layers or layer.weights is None:
                continue
            reading = readers(network, layer)
            if reading is None:
                continue
            involved = [*layer.parameters, *(r.layer.weights for r in reading if r.layer.weights is not None)]
            if any(p.name in tensors for p in involved) or not any(p.free for p in involved):
                continue
            found.extend(_classes(problem, network, layer, reading))
    return found


def _classes(problem: Problem, network: Network, layer: Layer, reading: tuple[Reader, ...]) -> list[Ordering]:
    kinds = _kinds(problem, network, layer)
    if "none" in kinds:
        return []
    units = range(layer.size)
    signatures: list[list[tuple[object, ...]]] = [_rows_alike(p, 0, units) for p in layer.parameters]
    for r in reading:
        assert r.layer.weights is not None
        signatures.append(_rows_alike(r.layer.weights, 1, [r.offset + u for u in units]))
    classes: dict[tuple[object, ...], list[int]] = {}
    for u in units:
        classes.setdefault(tuple(s[u] for s in signatures), []).append(u)
    result: list[Ordering] = []
    for members in classes.values():
        flips = _may_flip(kinds, layer, reading, members)
        permute = bool(kinds & {"auto", "permutation"})
        key = _key(network, layer, reading, members, flips)
        if key is None:
            continue
        if flips and not permute:
            result.extend(Ordering(network, layer, reading, (u,), (k,), True) for u, k in zip(members, key))
        elif flips or (permute and len(members) > 1):
            result.append(Ordering(network, layer, reading, tuple(members), tuple(key), flips))
    return result


def _may_flip(kinds: frozenset[str], layer: Layer, reading: tuple[Reader, ...], members: Sequence[int]) -> bool:
    asked = "signflip" in kinds or ("auto" in kinds and layer.activation.kind != "sign")
    if not asked or not layer.activation.odd or not all(r.plain for r in reading):
        return False
    own = all(_symmetric(p, 0, members) for p in layer.parameters)
    return own and all(
        r.layer.weights is not None and _symmetric(r.layer.weights, 1, [r.offset + u for u in members]) for r in reading
    )


def _key(network: Network, layer: Layer, reading: tuple[Reader, ...], members: Sequence[int], flips: bool
         ) -> list[tuple[str, int]] | None:  # fmt: skip
    """For each unit the entry that is ordered."""
    r = reading[0]
    v = r.layer.weights
    last = v is not None and v.free and r.layer.name in network.outputs
    outgoing = [int(np.ravel_multi_index((0, r.offset + u), v.shape)) for u in members] if v is not None else []
    if flips and last and v is not None and _varies(v, outgoing):
        return [(v.name, k) for k in outgoing]
    b, w = layer.bias, layer.weights
    if b is not None and b.free and _varies(b, list(members)):
        return [(b.name, u) for u in members]
    assert w is not None
    if w.free:
        for j in range(w.shape[1]):
            entries = [int(np.ravel_multi_index((u, j), w.shape)) for u in members]
            if _varies(w, entries):
                return [(w.name, k) for k in entries]
    if last and v is not None and _varies(v, outgoing):
        return [(v.name, k) for k in outgoing]
    return None


def _varies(p: Parameter, entries: Sequence[int]) -> bool:
    return all(p.lo.reshape(-1)[k] < p.hi.reshape(-1)[k] for k in entries)


def symmetry_rows(context: Context, parameters: Parameters) -> list[Ordering]:
    """Add the ordering rows for every class of interchangeable neurons of a problem; returns what was ordered."""
    done = orderings(context.problem)
    for o in done:
        values = [parameters.expressions[n].reshape(-1)[i] for n, i in o.keys]
        name = f"order of {o.network.name}.{o.layer.name}"
        for a, b in itertools.pairwise(values):
            context.program.add_linear(a - b, 0.0, np.inf, name, o.layer.span)
        if o.flips:
            context.program.add_linear(
                values[-1], 0.0, np.inf, f"sign of {o.network.name}.{o.layer.name}", o.layer.span
            )
    return done


def representative(done: Sequence[Ordering], point: Point) -> Point:
    """The equal network in ordered form: the same function, loss and sizes."""
    values = {n: np.array(v, dtype=float) for n, v in point.parameters.items()}
    shapes = {p.name: p.shape for o in done for layer in o.network.layers for p in layer.parameters}
    values = {n: v.reshape(shapes[n]) if n in shapes else v for n, v in values.items()}
    for o in done:
        o.apply(values)
    return Point(values, dict(point.variables))
