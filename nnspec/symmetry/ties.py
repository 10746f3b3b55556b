"""The ties of a chain of dense layers on which a group acts, and what they leave of the domains.

A layer with weights W and bias b takes an action R on its inputs to an action S on its units if
    W R = S W,   b = S b        for every generator,
since then W (R x) + b = S (W x + b). With R = (images, signs), (R x)[i] = signs[i] x[images[i]], this is
    signs_in[i] W[k, i] = signs_out[k] W[images_out[k], images_in[i]],   b[k] = signs_out[k] b[images_out[k]].
The activation turns S into an action on its results: S itself if S has no signs or the activation is odd, S without its
signs if it is even (abs).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nnspec.problem.groups import Generator
from nnspec.problem.network import Activation, Layer, Parameter
from nnspec.problem.problem import Point, Tie

Action = tuple[Generator, ...]


def after(activation: Activation, action: Action) -> Action | None:
    """The action on the results of an activation; None if signs do not pass through it.

    `sign` counts as not odd: sign(-0) = sign(0) = 1, and an enforced symmetry holds for every input.
    """
    if all(s > 0 for _, signs in action for s in signs):
        return action
    if activation.kind == "abs":
        return tuple((images, (1,) * len(signs)) for images, signs in action)
    return action if activation.odd and activation.kind != "sign" else None


def layer_ties(layer: Layer, before: Action, own: Action) -> Iterator[Tie]:
    """The ties of a dense layer between two actions."""
    w, b = layer.weights, layer.bias
    assert w is not None
    columns = w.shape[1]
    for (images_in, signs_in), (images_out, signs_out) in zip(before, own):
        for k, (image, sign) in enumerate(zip(images_out, signs_out)):
            for i in range(columns):
                target, source = k * columns + i, image * columns + images_in[i]
                factor = float(sign * signs_in[i])
                if target != source or factor < 0:
                    yield Tie((w.name, target), (w.name, source), factor)
            if b is not None and (k != image or sign < 0):
                yield Tie((b.name, k), (b.name, image), float(sign))


@dataclass(frozen=True, eq=False)
class Tied:
    """Tensors under ties: entry e of all tensors in a row equals signs[e] times entry roots[e] (signs 0: it is 0)."""

    tensors: tuple[Parameter, ...]
    roots: np.ndarray
    signs: np.ndarray

    @staticmethod
    def of(tensors: Sequence[Parameter], ties: Sequence[Tie]) -> Tied:
        first = dict(zip((p.name for p in tensors), np.cumsum([0, *(p.size for p in tensors)]).tolist()))
        total = sum(p.size for p in tensors)
        edges: dict[int, list[tuple[int, float]]] = {}
        for tie in ties:
            a, b = first[tie.target[0]] + tie.target[1], first[tie.source[0]] + tie.source[1]
            edges.setdefault(a, []).append((b, tie.sign))
            edges.setdefault(b, []).append((a, tie.sign))
        roots, signs = np.full(total, -1), np.ones(total)
        for start in range(total):
            if roots[start] >= 0:
                continue
            roots[start] = start
            members, zero = [start], False
            for a in members:
                for b, sign in edges.get(a, ()):
                    if roots[b] < 0:
                        roots[b], signs[b] = start, signs[a] * sign
                        members.append(b)
                    zero |= signs[b] != signs[a] * sign
            if zero:
                signs[members] = 0.0
        return Tied(tuple(tensors), roots, signs)

    @property
    def decisions(self) -> int:
        """How many entries can still be chosen."""
        return int(np.sum((self.roots == np.arange(len(self.roots))) & (self.signs != 0)))

    def _part(self, array: np.ndarray, p: Parameter) -> np.ndarray:
        start = sum(q.size for q in self.tensors[: self.tensors.index(p)])
        return array[start : start + p.size].reshape(p.shape)

    def forced_zero(self, p: Parameter) -> np.ndarray:
        """Which entries of a tensor must be 0, in its shape."""
        return np.asarray(self._part(self.signs, p) == 0)

    def roots_of(self, p: Parameter) -> np.ndarray:
        """The classes of a tensor's entries, in its shape."""
        return self._part(self.roots, p)

    def possible(self) -> bool:
        """Whether each entry has a value that the domains of all entries tied to it allow."""
        lo, hi = np.full(len(self.roots), -math.inf), np.full(len(self.roots), math.inf)
        whole: set[int] = set()
        sets: dict[int, set[float]] = {}
        e = 0
        for p in self.tensors:
            for low, high in zip(p.lo.reshape(-1), p.hi.reshape(-1)):
                r, s = int(self.roots[e]), self.signs[e]
                a, b = (-high, -low) if s < 0 else (low, high)
                lo[r], hi[r] = max(lo[r], a), min(hi[r], b)
                if p.kind == "int":
                    whole.add(r)
                elif p.kind == "set":
                    own = {-v if s < 0 else v for v in p.values}
                    sets[r] = sets[r] & own if r in sets else own
                if s == 0:
                    lo[r], hi[r] = max(lo[r], 0.0), min(hi[r], 0.0)
                e += 1
        for r in np.unique(self.roots):
            if lo[r] > hi[r] or (r in whole and math.ceil(lo[r]) > math.floor(hi[r])):
                return False
            inside = [v for v in sets.get(int(r), {lo[r]}) if lo[r] <= v <= hi[r] and (r not in whole or v == round(v))]
            if int(r) in sets and not inside:
                return False
        return True

    def _vector(self, point: Point) -> np.ndarray:
        return np.concatenate([np.asarray(point.parameters[p.name], dtype=float).reshape(-1) for p in self.tensors])

    def holds(self, point: Point) -> bool:
        """Whether a point satisfies the ties exactly."""
        values = self._vector(point)
        return bool(np.array_equal(values, self.signs * values[self.roots]))

    def project(self, point: Point) -> Point:
        """The point with one value of each class of tied entries copied to all; 0 if one of them is 0."""
        values = self._vector(point)
        values[np.isin(self.roots, self.roots[values == 0])] = 0.0
        values = self.signs * values[self.roots] + 0.0
        parts = np.split(values, np.cumsum([p.size for p in self.tensors])[:-1])
        new = {p.name: part.reshape(p.shape) for p, part in zip(self.tensors, parts)}
        return Point({**point.parameters, **new}, dict(point.variables))
