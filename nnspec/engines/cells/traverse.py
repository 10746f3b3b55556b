"""Which pieces a neuron can still take at the next sample, and the polytopes behind the answer (numba).

A neuron's activation has S pieces, separated by S - 1 cuts per sample: piece m lies where cuts 0..m-1 are >= 0 and cuts
m..S-2 are <= 0. The cuts are linear forms on the neuron's cone. The first `basis` samples of the order have independent
first cuts, so all of their pieces occur and the cone after them is a simplex; each later sample clips it.

`store` holds one polytope per neuron, depth and piece; `pointer[k, t]` tells which one is neuron k's cone after t
samples (samples that cut nothing off create none).
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
from __future__ import annotations

import numpy as np

from nnspec.engines.cells.polytope import clip, simplex, span
from nnspec.engines.compiled import compiled


@compiled
def pieces_allowed(t: int, k: int, basis: int, pieces: int, cuts: np.ndarray, eps: np.ndarray, vertices: np.ndarray,
                   counts: np.ndarray, pointer: np.ndarray, allowed: np.ndarray) -> None:  # fmt: skip
    """Write into allowed[k] whether neuron k can have each piece at sample t, given its pieces before."""
    for m in range(pieces):
        allowed[k, m] = True
    if t < basis:
        return
    depth = pointer[k, t] // pieces
    slot = pointer[k, t] % pieces
    for c in range(pieces - 1):
        low, high = span(cuts[t, c], vertices[k, depth, slot], counts[k, depth, slot])
        if high < -eps[t, c]:
            for m in range(c + 1, pieces):
                allowed[k, m] = False
        if low > eps[t, c]:
            for m in range(c + 1):
                allowed[k, m] = False


@compiled
def enter_piece(t: int, k: int, m: int, basis: int, fixed: int, pieces: int, cuts: np.ndarray, eps: np.ndarray,
                inverse: np.ndarray, chosen: np.ndarray, vertices: np.ndarray, facets: np.ndarray, counts: np.ndarray,
                pointer: np.ndarray, scratch_v: np.ndarray, scratch_f: np.ndarray, values: np.ndarray,
                signs: np.ndarray) -> bool:  # fmt: skip
    """Give neuron k piece m at sample t: sets pointer[k, t + 1]; False if nothing is left of the cone.

    `chosen[i, k]` are the pieces before; chosen[t, k] = m must already be set.
    """
    r = inverse.shape[0]
    if t + 1 < basis:
        return True
    if t + 1 == basis:
        for i in range(fixed):
            signs[i] = 1.0
        for i in range(basis):
            signs[fixed + i] = 1.0 if chosen[i, k] >= 1 else -1.0
        n = simplex(inverse, signs, vertices[k, t + 1, 0], facets[k, t + 1, 0])
        if pieces == 3:  # the second cuts of the basis samples
            for i in range(basis):
                if chosen[i, k] == 0:
                    continue  # implied by the first cut
                sign = 1.0 if chosen[i, k] == 2 else -1.0
                new = clip(cuts[i, 1], sign, eps[i, 1], r + 2 * i + 1, vertices[k, t + 1, 0], facets[k, t + 1, 0], n,
                           scratch_v, scratch_f, values)  # fmt: skip
                if new == 0:
                    return False
                if new > 0:
                    n = new
                    vertices[k, t + 1, 0, :n] = scratch_v[:n]
                    facets[k, t + 1, 0, :n] = scratch_f[:n]
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
        new = clip(cuts[t, m - 1], 1.0, eps[t, m - 1], r + (pieces - 1) * t + m - 1, source_v, source_f, n,
                   vertices[k, t + 1, m], facets[k, t + 1, m], values)  # fmt: skip
        if new == 0:
            return False
        if new > 0:
            counts[k, t + 1, m] = new
            current = (t + 1) * pieces + m
    if m < pieces - 1:
        if current != pointer[k, t]:  # both cuts of a middle piece
            n = counts[k, t + 1, m]
            scratch_v[:n] = vertices[k, t + 1, m, :n]
            scratch_f[:n] = facets[k, t + 1, m, :n]
            new = clip(cuts[t, m], -1.0, eps[t, m], r + (pieces - 1) * t + m, scratch_v, scratch_f, n,
                       vertices[k, t + 1, m], facets[k, t + 1, m], values)  # fmt: skip
            if new < 0:
                vertices[k, t + 1, m, :n] = scratch_v[:n]
                facets[k, t + 1, m, :n] = scratch_f[:n]
                new = n
        else:
            new = clip(cuts[t, m], -1.0, eps[t, m], r + (pieces - 1) * t + m, source_v, source_f, n,
                       vertices[k, t + 1, m], facets[k, t + 1, m], values)  # fmt: skip
        if new == 0:
            return False
        if new > 0:
            counts[k, t + 1, m] = new
            current = (t + 1) * pieces + m
    pointer[k, t + 1] = current
    return True
