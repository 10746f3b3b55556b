"""The directions (w, b) of step and sign neurons, which decide their patterns: a space for each set of tied neurons.

A set's weights t, those that are not fixed to 0, are taken in coordinates in which the rows of all its neurons at all
samples are orthonormal columns, as in `form`. Neuron k's row at sample i is that of (w, b) = M_k t on (x_i, 1).

Spaces of fewer dimensions than the largest one get further coordinates that are >= 0 and that no row depends on. A
sample whose row vanishes is on, as it is at the jump (without a bias the sample at the origin): its row is such a
coordinate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnspec.engines.cells.model import CellProblem
from nnspec.engines.cells.traverse import Bases

TINY = 1e-12
"""Entries of rows of size 1 that are rounding errors: far below the relaxations of polytopes (`polytope.EPS`)."""

CLEAR = 1e-9
"""A network of local search counts only if its directions have every sample on its side by this much of their size:
rounding must not tell sides apart."""


@dataclass(frozen=True, eq=False)
class Directions:
    """Of H neurons in K sets. home (H,): the first neuron of each one's set; cone (H, N, 1, r): their rows, of size 1;
    ranks (H,): dimensions of their spaces; lead (K,): a set's home; weights (K, D, r): t of a direction."""

    home: np.ndarray
    cone: np.ndarray
    ranks: np.ndarray
    lead: np.ndarray
    weights: np.ndarray

    def clear(self, own: np.ndarray) -> bool:
        """Whether all sides are clear for the neurons' directions own (H, r), those of homes."""
        for k, h in enumerate(self.home):
            rows, direction = self.cone[k, :, 0, : self.ranks[h]], own[h, : self.ranks[h]]
            values = np.abs(rows @ direction)[np.any(rows != 0.0, axis=1)]
            if np.any(direction != 0.0) and np.any(values < CLEAR * np.linalg.norm(direction)):
                return False
        return True

    def bases(self, index: np.ndarray) -> tuple[Bases, list[int]] | None:
        """For the samples `index`: how the polytopes begin if they come in another order, whose first positions are
        these. None if the samples do not span some space."""
        count, r = len(self.home), self.cone.shape[3]
        picked: dict[int, list[tuple[int, int]]] = {int(h): [] for h in self.lead}
        spanned = {h: np.zeros((0, r)) for h in picked}
        front: list[int] = []
        for position, i in enumerate(index):
            for k, h in enumerate(self.home.tolist()):
                if len(picked[h]) == self.ranks[h]:
                    continue
                v = np.where(np.arange(r) < self.ranks[h], self.cone[k, i, 0], 0.0)
                for _ in range(2):
                    v = v - spanned[h].T @ (spanned[h] @ v)
                norm = float(np.linalg.norm(v))
                if norm > 1e-3:
                    spanned[h] = np.vstack([spanned[h], v / norm])
                    picked[h].append((k, position))
                    if position not in front:
                        front.append(position)
        if any(len(own) < self.ranks[h] for h, own in picked.items()):
            return None
        front = front or [0]
        last = np.array([max(k for k in range(count) if self.home[k] == h) for h in self.home])
        fixed = r - self.ranks
        member_k, member_s = np.zeros((count, r), dtype=np.int64), np.zeros((count, r), dtype=np.int64)
        inverse, start = np.tile(np.eye(r), (count, 1, 1)), np.ones(count, dtype=np.int64)
        for h, own in picked.items():
            rows = [np.eye(r)[a] for a in range(self.ranks[h], r)]
            for a, (k, position) in enumerate(own, start=fixed[h]):
                member_k[h, a], member_s[h, a] = k, front.index(position)
                rows.append(self.cone[k, index[position], 0])
                start[h] = max(start[h], 1 + member_s[h, a])
            inverse[h] = np.linalg.inv(np.array(rows))
        return Bases(self.home, last, fixed, member_k, member_s, inverse, start), front


def directions(problem: CellProblem) -> Directions:
    """See the module's docstring."""
    copies = problem.copies()
    n = len(problem.x)
    inputs = np.hstack([problem.x, np.ones((n, 1))])
    sets = np.array([s for s, _, _ in copies])
    lead = np.array([int(np.flatnonzero(sets == s)[0]) for s in range(problem.neurons)])
    parts = []
    for s in range(problem.neurons):
        rows = np.vstack([inputs @ matrix for where, matrix, _ in copies if where == s])
        free = np.flatnonzero(problem.lo[s] < problem.hi[s])
        parts.append((free, *_coordinates(rows, free)))
    zero = [~np.any(rows, axis=1) for _, rows, _ in parts]
    ranks = np.array([back.shape[1] for _, _, back in parts])
    r = int(max(rank + bool(np.any(empty)) for rank, empty in zip(ranks, zero, strict=True)))
    cone, weights = np.zeros((len(copies), n, 1, r)), np.zeros((*problem.lo.shape, r))
    for s, (free, rows, back) in enumerate(parts):
        wide = np.zeros((len(rows), r))
        wide[:, : ranks[s]] = rows
        if np.any(zero[s]):
            wide[zero[s], ranks[s]] = 1.0
        cone[sets == s, :, 0] = wide.reshape(-1, n, r)
        weights[s, free, : ranks[s]] = back
    return Directions(lead[sets], cone, ranks[sets], lead, weights)


def _coordinates(rows: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows (m, D) of the free weights in orthonormal coordinates, each of size 1; what these coordinates are)."""
    own = rows[:, free]
    if not np.any(own):
        return np.zeros((len(rows), 0)), np.zeros((len(free), 0))
    biased = bool(np.all(own[:, -1] == 1.0)) and free[-1] == rows.shape[1] - 1
    shift = np.where(np.arange(len(free)) < len(free) - biased, own.mean(axis=0) if biased else 0.0, 0.0)
    empty = ~np.any(own, axis=1)
    own = own - shift
    width = np.abs(own).max(axis=0)
    width[width <= 1e-9 * np.maximum(1.0, np.abs(shift))] = 1.0
    u, size, vt = np.linalg.svd(own / width, full_matrices=False)
    rank = max(1, int(np.sum(size > 1e-9 * size[0])))
    u = u[:, :rank].copy()
    u[empty] = 0.0
    u[np.abs(u) < TINY] = 0.0
    norm = np.linalg.norm(u, axis=1, keepdims=True)
    back = vt[:rank].T / size[:rank] / width[:, None]
    if biased:  # w.(x - shift) + b'
        back[-1] -= shift[:-1] @ back[:-1]
    return u / np.where(norm > 0, norm, 1.0), back
