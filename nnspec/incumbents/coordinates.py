"""The decisions of a problem as one vector: free parameters and variables, with ties resolved.

Coordinate j stands for one or several tied entries: entry = sign * coordinate. The box of a coordinate is the
intersection of the boxes of its entries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nnspec.problem.problem import Point, Problem

UNBOUNDED_START = 3.0
"""Starts are drawn from [-3, 3] where a weight has no bound: data are mostly scaled to order one."""


@dataclass(frozen=True, eq=False)
class Coordinates:
    """`entries` (E,) maps each entry to its coordinate, `signs` (E,) gives the factor (0 for x = -x)."""

    slices: dict[str, tuple[int, int, tuple[int, ...]]]  # parameter -> first entry, end, shape
    variables: tuple[str, ...]
    entries: np.ndarray
    signs: np.ndarray
    lo: np.ndarray
    hi: np.ndarray
    integer: np.ndarray  # (P,) bool
    sets: dict[int, np.ndarray]  # coordinate -> its finitely many values
    known: np.ndarray  # (P,) values that the tensors had before, moved into the domains; nan where there is none

    @property
    def size(self) -> int:
        return len(self.lo)

    @property
    def discrete(self) -> np.ndarray:
        chosen = self.integer.copy()
        chosen[list(self.sets)] = True
        return chosen

    def expand(self, z: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Parameter tensors (S, *shape) and variables (S, V) of coordinates z (S, P)."""
        full = z[:, self.entries] * self.signs
        tensors = {n: full[:, a:b].reshape(len(z), *shape) for n, (a, b, shape) in self.slices.items()}
        first = len(self.entries) - len(self.variables)
        return tensors, full[:, first:]

    def collect(self, grads: dict[str, np.ndarray], variables: np.ndarray) -> np.ndarray:
        """The gradient (S, P) from those of the tensors and variables."""
        parts = [grads[n].reshape(len(variables), -1) for n in self.slices]
        full = np.concatenate([*parts, variables], axis=1) * self.signs
        if self.size == full.shape[1]:
            return full
        g = np.zeros((len(full), self.size))
        np.add.at(g.T, self.entries, full.T)
        return g

    def point(self, z: np.ndarray) -> Point:
        """The point at one vector of coordinates (P,); exact zeros stay exact."""
        full = z[self.entries] * self.signs + 0.0
        tensors = {n: full[a:b].reshape(shape).copy() for n, (a, b, shape) in self.slices.items()}
        first = len(self.entries) - len(self.variables)
        return Point(tensors, {name: float(full[first + i]) for i, name in enumerate(self.variables)})

    def vector(self, point: Point) -> np.ndarray:
        """The coordinates of a point; of tied entries the first counts."""
        full = np.concatenate(
            [np.asarray(point.parameters[n], dtype=float).reshape(-1) for n in self.slices]
            + [np.array([point.variables[v] for v in self.variables])]
        )
        z = np.zeros(self.size)
        for entry in reversed(range(len(full))):
            if self.signs[entry] != 0:
                z[self.entries[entry]] = full[entry] * self.signs[entry]
        return z

    def round(self, z: np.ndarray) -> np.ndarray:
        """The nearest values of the domains, for integer and finite coordinates, inside the box."""
        z = np.array(z, dtype=float)
        z[:, self.integer] = np.round(z[:, self.integer])
        for j, values in self.sets.items():
            z[:, j] = values[np.abs(z[:, j, None] - values).argmin(axis=1)]
        return np.clip(z, self.lo, self.hi)

    def starts(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Random coordinates (count, P) in the box, at several scales: wide boxes must not drown small weights."""
        lo = np.where(np.isfinite(self.lo), self.lo, np.minimum(self.hi, 0) - UNBOUNDED_START)
        hi = np.where(np.isfinite(self.hi), self.hi, np.maximum(self.lo, 0) + UNBOUNDED_START)
        lo, hi = np.maximum(lo, self.lo), np.minimum(hi, self.hi)
        middle = np.clip(0.0, lo, hi)
        scale = rng.choice([1.0, 0.5, 0.25, 0.1], size=(count, 1))
        z = middle + scale * (lo + (hi - lo) * rng.random((count, self.size)) - middle)
        return self.round(z)


def coordinates(problem: Problem) -> Coordinates:
    """The coordinates of a problem's decisions."""
    slices: dict[str, tuple[int, int, tuple[int, ...]]] = {}
    lo, hi, kinds, values, start = [], [], [], [], []
    count = 0
    for p in problem.free_parameters():
        slices[p.name] = (count, count + p.size, p.shape)
        count += p.size
        lo.append(p.lo.reshape(-1))
        hi.append(p.hi.reshape(-1))
        kinds += [p.kind] * p.size
        values += [p.values] * p.size
        start.append(np.full(p.size, np.nan) if p.start is None else np.asarray(p.start, dtype=float).reshape(-1))
    for v in problem.variables.values():
        lo.append(np.array([v.lo if v.kind != "binary" else max(0.0, v.lo)]))
        hi.append(np.array([v.hi if v.kind != "binary" else min(1.0, v.hi)]))
        kinds.append("real" if v.kind == "real" else "int")
        values.append(())
        start.append(np.array([np.nan]))
    low = np.concatenate(lo) if lo else np.zeros(0)
    high = np.concatenate(hi) if hi else np.zeros(0)
    total = len(kinds)
    parent, sign = list(range(total)), [1.0] * total

    def root(e: int) -> tuple[int, float]:
        factor = 1.0
        while parent[e] != e:
            factor *= sign[e]
            e = parent[e]
        return e, factor

    zero: set[int] = set()
    for tie in problem.ties:
        a, b = (slices[name][0] + index for name, index in (tie.target, tie.source))
        (ra, fa), (rb, fb) = root(a), root(b)
        if ra == rb:
            if fa != tie.sign * fb:
                zero.add(ra)
            continue
        parent[ra], sign[ra] = rb, fa * tie.sign * fb
    roots = [root(e) for e in range(total)]
    zero = {root(r)[0] for r in zero}
    names = {r: j for j, r in enumerate(sorted({r for r, _ in roots}))}
    entries = np.array([names[r] for r, _ in roots], dtype=int)
    signs = np.array([0.0 if r in zero else f for r, f in roots])
    box_lo, box_hi = np.full(len(names), -math.inf), np.full(len(names), math.inf)
    integer = np.zeros(len(names), dtype=bool)
    sets: dict[int, np.ndarray] = {}
    for e in range(total):
        j, s = entries[e], signs[e]
        if s == 0:
            continue
        a, b = (low[e], high[e]) if s > 0 else (-high[e], -low[e])
        box_lo[j], box_hi[j] = max(box_lo[j], a), min(box_hi[j], b)
        if kinds[e] == "int":
            integer[j] = True
        elif kinds[e] == "set":
            own = np.sort(np.asarray(values[e]) * s)
            sets[j] = np.intersect1d(sets[j], own) if j in sets else own
    for j, own in list(sets.items()):
        inside = own[(own >= box_lo[j]) & (own <= box_hi[j])]
        if len(inside):
            sets[j] = inside
    box_lo[integer], box_hi[integer] = np.ceil(box_lo[integer]), np.floor(box_hi[integer])
    for r in zero:
        box_lo[names[r]], box_hi[names[r]] = 0.0, 0.0
    box_hi = np.maximum(box_hi, box_lo)
    known = np.full(len(names), np.nan)
    for e, value in enumerate(np.concatenate(start) if start else ()):
        if signs[e] != 0 and not np.isnan(value):
            known[entries[e]] = np.clip(signs[e] * value, box_lo[entries[e]], box_hi[entries[e]])
    return Coordinates(slices, tuple(problem.variables), entries, signs, box_lo, box_hi, integer, sets, known)
