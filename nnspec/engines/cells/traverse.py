"""Which pieces a neuron can still take at the next sample, and the polytopes behind the answer (numba).

A neuron's activation has S pieces, separated by S - 1 cuts per sample: piece m lies where cuts 0..m-1 are >= 0 and cuts
m..S-2 are <= 0. The cuts are linear forms on the neuron's cone. The first `basis` samples of the order have independent
first cuts, so all of their pieces occur and the cone after them is a simplex; each later sample clips it.

`vertices` holds one polytope per neuron, depth and piece; `pointer[k, t]` tells which one is neuron k's cone after t
samples (samples that cut nothing off create none). Neurons whose weights are the same up to a linear map (ties of step
and sign neurons) share one, in the coordinates of these weights.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nnspec.engines.cells.polytope import clip, simplex
from nnspec.engines.compiled import bare


class Cones(NamedTuple):
    """Of n samples, S pieces and H neurons in r coordinates.

    cuts (H, n, S - 1, r) and their relaxations eps (n, S - 1). home (H,): the neuron whose polytope counts, as the
    first of several that share their weights; last (H,): the last one that shares it.
    Of each home: fixed (H,) rows, on whose positive side its cone lies, and first cuts of neurons member_k (H, r) at
    samples member_s (H, r), together r independent rows with the inverse (H, r, r); they are among the first start (H,)
    samples, start <= basis.
    vertices (H, n + 2, S, room, r), facets (H, n + 2, S, room, r - 1) and counts (H, n + 2, S): the polytopes;
    pointer (H, n + 2): (neuron * (n + 2) + depth) * S + piece of a home's own one. The others are room for one clip.
    """

    cuts: np.ndarray
    eps: np.ndarray
    home: np.ndarray
    last: np.ndarray
    fixed: np.ndarray
    member_k: np.ndarray
    member_s: np.ndarray
    inverse: np.ndarray
    start: np.ndarray
    basis: int
    vertices: np.ndarray
    facets: np.ndarray
    counts: np.ndarray
    pointer: np.ndarray
    scratch_v: np.ndarray
    scratch_f: np.ndarray
    values: np.ndarray
    bits: np.ndarray
    signs: np.ndarray


def make_cones(frame: Bases, cuts: np.ndarray, eps: np.ndarray, room: int) -> Cones:
    """cuts (H, n, S - 1, r), eps (n, S - 1); with room for that many vertices a polytope."""
    (neurons, n, _, r), shape = cuts.shape, (len(cuts), cuts.shape[1] + 2, cuts.shape[2] + 1)
    return Cones(
        cuts, eps, frame.home, frame.last, frame.fixed, frame.member_k, frame.member_s, frame.inverse, frame.start,
        int(frame.start.max()), np.empty((*shape, room, r)), np.empty((*shape, room, r - 1), dtype=np.int32),
        np.zeros(shape, dtype=np.int64), np.zeros((neurons, n + 2), dtype=np.int64), np.empty((room, r)),
        np.empty((room, r - 1), dtype=np.int32), np.empty(room), np.empty(room, dtype=np.uint64), np.empty(r),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Bases:
    """How the polytopes begin, see `Cones`."""

    home: np.ndarray
    last: np.ndarray
    fixed: np.ndarray
    member_k: np.ndarray
    member_s: np.ndarray
    inverse: np.ndarray
    start: np.ndarray

    @classmethod
    def common(cls, neurons: int, fixed: int, inverse: np.ndarray) -> Bases:
        """All neurons by themselves, with the first cuts of the first samples."""
        every, r = np.arange(neurons), len(inverse)
        samples = np.tile(np.maximum(np.arange(r) - fixed, 0), (neurons, 1))
        return cls(every, every, np.full(neurons, fixed), np.tile(every[:, None], (1, r)), samples,
                   np.tile(inverse, (neurons, 1, 1)), np.full(neurons, r - fixed))  # fmt: skip


@bare
def locate(k: int, t: int, pieces: int, cones: Cones) -> tuple[int, int, int]:
    """Where neuron k's polytope after t samples is: neuron, depth, piece."""
    code = cones.pointer[cones.home[k], t]
    depths = cones.pointer.shape[1]
    return code // pieces // depths, code // pieces % depths, code % pieces


@bare
def pieces_allowed(t: int, i: int, k: int, pieces: int, strict: float, cones: Cones, allowed: np.ndarray) -> None:
    """Write into allowed[k] whether neuron k can have each piece at sample i, given t pieces before: up to the cut's
    relaxation or, if `strict` > 0, by as much."""
    for m in range(pieces):
        allowed[k, m] = True
    if t < cones.start[cones.home[k]]:
        return
    cuts, eps, vertices = cones.cuts, cones.eps, cones.vertices
    owner, depth, slot = locate(k, t, pieces, cones)
    for c in range(pieces - 1):
        need = strict if strict > 0.0 else -eps[i, c]
        below, above = False, False
        for v in range(cones.counts[owner, depth, slot]):
            value = 0.0
            for j in range(cuts.shape[3]):
                value += cuts[k, i, c, j] * vertices[owner, depth, slot, v, j]
            above = above or value >= need
            below = below or value <= -need
            if above and below:
                break
        for m in range(pieces):
            if (m > c and not above) or (m <= c and not below):
                allowed[k, m] = False


@bare
def copy_polytope(n: int, vertices: np.ndarray, facets: np.ndarray, new_vertices: np.ndarray, new_facets: np.ndarray
                  ) -> None:  # fmt: skip
    """Copy its n vertices."""
    for v in range(n):
        for j in range(vertices.shape[1]):
            new_vertices[v, j] = vertices[v, j]
        for j in range(facets.shape[1]):
            new_facets[v, j] = facets[v, j]


@bare
def begin_polytope(t: int, k: int, pieces: int, chosen: np.ndarray, cones: Cones) -> bool:
    """The polytope of home k after step t, the last one of its start; False if nothing is left of the cone."""
    r = cones.inverse.shape[1]
    vertices, facets = cones.vertices[k, t + 1, 0], cones.facets[k, t + 1, 0]
    for a in range(r):
        cones.signs[a] = 1.0
        if a >= cones.fixed[k]:
            cones.signs[a] = 1.0 if chosen[cones.member_s[k, a], cones.member_k[k, a]] >= 1 else -1.0
    n = simplex(cones.inverse[k], cones.signs, vertices, facets)
    for other in range(k, cones.last[k] + 1):
        if cones.home[other] != k:
            continue
        for s in range(t + 1):
            piece = chosen[s, other]
            for c in range(max(piece - 1, 0), min(piece + 1, pieces - 1)):
                inside = False  # the simplex has it
                for a in range(cones.fixed[k], r):
                    inside = inside or (c == 0 and cones.member_s[k, a] == s and cones.member_k[k, a] == other)
                if inside:
                    continue
                new = clip(cones.cuts[other, s, c], 1.0 if piece > c else -1.0, cones.eps[s, c],
                           facet_of(s, other, c, pieces, cones), vertices, facets, n, cones.scratch_v, cones.scratch_f,
                           cones.values, cones.bits)  # fmt: skip
                if new == 0:
                    return False
                if new > 0:
                    n = new
                    copy_polytope(n, cones.scratch_v, cones.scratch_f, vertices, facets)
    cones.counts[k, t + 1, 0] = n
    cones.pointer[k, t + 1] = (k * cones.pointer.shape[1] + t + 1) * pieces
    return True


@bare
def facet_of(i: int, k: int, c: int, pieces: int, cones: Cones) -> int:
    """The name of a cut among the facets: r + (S - 1) i + c where neuron k has a polytope of its own."""
    n = cones.cuts.shape[1]
    return cones.inverse.shape[1] + (pieces - 1) * (i + n * (k - cones.home[k])) + c


@bare
def enter_piece(t: int, i: int, k: int, m: int, pieces: int, chosen: np.ndarray, cones: Cones) -> bool:
    """Give neuron k piece m at sample i, as step t: sets pointer[home, t + 1]; False if nothing is left of the cone.

    `chosen[s, k]` are the pieces at the steps before; chosen[t, k] = m must already be set, and neurons that share a
    polytope come one after the other. The basis comes first, so that i = t there.
    """
    home = cones.home[k]
    if t + 1 < cones.start[home]:
        return True
    if t + 1 == cones.start[home]:
        return k < cones.last[home] or begin_polytope(t, home, pieces, chosen, cones)
    cuts, eps, vertices, facets, counts, pointer = (
        cones.cuts, cones.eps, cones.vertices, cones.facets, cones.counts, cones.pointer)  # fmt: skip
    scratch_v, scratch_f, values, bits = cones.scratch_v, cones.scratch_f, cones.values, cones.bits
    owner, depth, slot = locate(k, t if k == home else t + 1, pieces, cones)
    source_v = vertices[owner, depth, slot]
    source_f = facets[owner, depth, slot]
    n = counts[owner, depth, slot]
    before = pointer[home, t if k == home else t + 1]
    here = (k * pointer.shape[1] + t + 1) * pieces + m
    current = before
    if m >= 1:
        new = clip(cuts[k, i, m - 1], 1.0, eps[i, m - 1], facet_of(i, k, m - 1, pieces, cones), source_v, source_f, n,
                   vertices[k, t + 1, m], facets[k, t + 1, m], values, bits)  # fmt: skip
        if new == 0:
            return False
        if new > 0:
            counts[k, t + 1, m] = new
            current = here
    if m < pieces - 1:
        facet = facet_of(i, k, m, pieces, cones)
        if current != before:  # both cuts of a middle piece
            n = counts[k, t + 1, m]
            copy_polytope(n, vertices[k, t + 1, m], facets[k, t + 1, m], scratch_v, scratch_f)
            new = clip(cuts[k, i, m], -1.0, eps[i, m], facet, scratch_v, scratch_f, n, vertices[k, t + 1, m],
                       facets[k, t + 1, m], values, bits)  # fmt: skip
            if new < 0:
                copy_polytope(n, scratch_v, scratch_f, vertices[k, t + 1, m], facets[k, t + 1, m])
                new = n
        else:
            new = clip(cuts[k, i, m], -1.0, eps[i, m], facet, source_v, source_f, n, vertices[k, t + 1, m],
                       facets[k, t + 1, m], values, bits)  # fmt: skip
        if new == 0:
            return False
        if new > 0:
            counts[k, t + 1, m] = new
            current = here
    pointer[home, t + 1] = current
    return True
