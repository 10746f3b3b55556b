"""Which pieces a neuron can still take at the next sample, and the polytopes behind the answer (numba).

A neuron's activation has S pieces, separated by S - 1 cuts per sample: piece m lies where cuts 0..m-1 are >= 0 and cuts
m..S-2 are <= 0. The cuts are linear forms on the neuron's cone. The first `basis` samples of the order have independent
first cuts, so all of their pieces occur and the cone after them is a simplex; each later sample clips it.

`vertices` holds one polytope per neuron, depth and piece; `pointer[k, t]` tells which one is neuron k's cone after t
samples (samples that cut nothing off create none).
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnspec.engines.cells.polytope import clip, simplex
from nnspec.engines.compiled import bare


class Cones(NamedTuple):
    """Of n samples, S pieces and H neurons in r coordinates.

    cuts (n, S - 1, r) and their relaxations eps (n, S - 1); inverse (r, r) of the first `fixed` rows, on whose positive
    side every cone lies, and the first cuts of the first `basis` samples (fixed + basis = r).
    vertices (H, n + 2, S, room, r), facets (H, n + 2, S, room, r - 1) and counts (H, n + 2, S): the polytopes;
    pointer (H, n + 2): depth * S + piece of a neuron's own one. The others are room for one clip.
    """

    cuts: np.ndarray
    eps: np.ndarray
    inverse: np.ndarray
    fixed: int
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


def make_cones(cuts: np.ndarray, eps: np.ndarray, inverse: np.ndarray, fixed: int, basis: int, neurons: int, room: int
               ) -> Cones:  # fmt: skip
    """With room for that many vertices a polytope."""
    n, r, shape = len(cuts), inverse.shape[0], (neurons, len(cuts) + 2, cuts.shape[1] + 1)
    return Cones(
        cuts, eps, inverse, fixed, basis, np.empty((*shape, room, r)), np.empty((*shape, room, r - 1), dtype=np.int32),
        np.zeros(shape, dtype=np.int64), np.zeros((neurons, n + 2), dtype=np.int64), np.empty((room, r)),
        np.empty((room, r - 1), dtype=np.int32), np.empty(room), np.empty(room, dtype=np.uint64), np.empty(r),
    )  # fmt: skip


@bare
def pieces_allowed(t: int, i: int, k: int, pieces: int, strict: float, cones: Cones, allowed: np.ndarray) -> None:
    """Write into allowed[k] whether neuron k can have each piece at sample i, given t pieces before: up to the cut's
    relaxation or, if `strict` > 0, by as much."""
    for m in range(pieces):
        allowed[k, m] = True
    if t < cones.basis:
        return
    cuts, eps, vertices = cones.cuts, cones.eps, cones.vertices
    depth, slot = divmod(cones.pointer[k, t], pieces)
    for c in range(pieces - 1):
        need = strict if strict > 0.0 else -eps[i, c]
        below, above = False, False
        for v in range(cones.counts[k, depth, slot]):
            value = 0.0
            for j in range(cuts.shape[2]):
                value += cuts[i, c, j] * vertices[k, depth, slot, v, j]
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
def enter_piece(t: int, i: int, k: int, m: int, pieces: int, chosen: np.ndarray, cones: Cones) -> bool:
    """Give neuron k piece m at sample i, as step t: sets pointer[k, t + 1]; False if nothing is left of the cone.

    `chosen[s, k]` are the pieces at the steps before; chosen[t, k] = m must already be set. The basis comes first, so
    that i = t there.
    """
    cuts, eps, vertices, facets, counts, pointer = (
        cones.cuts, cones.eps, cones.vertices, cones.facets, cones.counts, cones.pointer)  # fmt: skip
    scratch_v, scratch_f, values, bits, signs = (
        cones.scratch_v, cones.scratch_f, cones.values, cones.bits, cones.signs)  # fmt: skip
    r = cones.inverse.shape[0]
    if t + 1 < cones.basis:
        return True
    if t + 1 == cones.basis:
        for s in range(cones.fixed):
            signs[s] = 1.0
        for s in range(cones.basis):
            signs[cones.fixed + s] = 1.0 if chosen[s, k] >= 1 else -1.0
        n = simplex(cones.inverse, signs, vertices[k, t + 1, 0], facets[k, t + 1, 0])
        if pieces == 3:  # the second cuts of the basis samples
            for s in range(cones.basis):
                if chosen[s, k] == 0:
                    continue  # implied by the first cut
                sign = 1.0 if chosen[s, k] == 2 else -1.0
                new = clip(cuts[s, 1], sign, eps[s, 1], r + 2 * s + 1, vertices[k, t + 1, 0], facets[k, t + 1, 0], n,
                           scratch_v, scratch_f, values, bits)  # fmt: skip
                if new == 0:
                    return False
                if new > 0:
                    n = new
                    copy_polytope(n, scratch_v, scratch_f, vertices[k, t + 1, 0], facets[k, t + 1, 0])
        counts[k, t + 1, 0] = n
        pointer[k, t + 1] = (t + 1) * pieces
        return True
    depth = pointer[k, t] // pieces
    slot = pointer[k, t] % pieces
    source_v = vertices[k, depth, slot]
    source_f = facets[k, depth, slot]
    n = counts[k, depth, slot]
    current = pointer[k, t]
    if m >= 1:
        new = clip(cuts[i, m - 1], 1.0, eps[i, m - 1], r + (pieces - 1) * i + m - 1, source_v, source_f, n,
                   vertices[k, t + 1, m], facets[k, t + 1, m], values, bits)  # fmt: skip
        if new == 0:
            return False
        if new > 0:
            counts[k, t + 1, m] = new
            current = (t + 1) * pieces + m
    if m < pieces - 1:
        if current != pointer[k, t]:  # both cuts of a middle piece
            n = counts[k, t + 1, m]
            copy_polytope(n, vertices[k, t + 1, m], facets[k, t + 1, m], scratch_v, scratch_f)
            new = clip(cuts[i, m], -1.0, eps[i, m], r + (pieces - 1) * i + m, scratch_v, scratch_f, n,
                       vertices[k, t + 1, m], facets[k, t + 1, m], values, bits)  # fmt: skip
            if new < 0:
                copy_polytope(n, scratch_v, scratch_f, vertices[k, t + 1, m], facets[k, t + 1, m])
                new = n
        else:
            new = clip(cuts[i, m], -1.0, eps[i, m], r + (pieces - 1) * i + m, source_v, source_f, n,
                       vertices[k, t + 1, m], facets[k, t + 1, m], values, bits)  # fmt: skip
        if new == 0:
            return False
        if new > 0:
            counts[k, t + 1, m] = new
            current = (t + 1) * pieces + m
    pointer[k, t + 1] = current
    return True
