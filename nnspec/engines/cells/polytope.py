"""Cones of hidden weights as simple polytopes, clipped one sample at a time (numba).

A neuron's weights (w, b) that give the samples so far their pieces form a cone {omega : s_i z_i . omega >= 0}. Cut by
a hyperplane it is a polytope of dimension r - 1; its vertices are rays of the cone and are kept in R^r. We never form
the cutting hyperplane: a convex combination of two rays that lie on it lies on it too.

Every half-space is relaxed to s_i z_i . omega >= -eps_i with its own eps_i in [EPS, 2 EPS]. EPS is some 10^5 times the
rounding error of a vertex (vertices are convex combinations of vertices, so errors add up and are not amplified), hence
the computed polytope contains the true one and a realisable pattern is never lost; a pattern that is only nearly
realisable may be kept, which costs time, not correctness. Different eps_i also make the polytope simple: each vertex
is tight in exactly r - 1 half-spaces even when many samples lie on one hyperplane. Two vertices are neighbours exactly
if they share r - 2 of them. Should rounding break that count, or a polytope outgrow its memory, the clip is left out:
the larger polytope is valid too.

The average cell of an arrangement in dimension n has 2^n vertices (the arrangement's incidences are shared evenly),
which is why this beats one linear program per test for the few inputs this engine is for.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment,return-value"
from __future__ import annotations

import numpy as np

from nnspec.engines.compiled import bare

EPS = 1e-10


@bare
def simplex(inverse: np.ndarray, signs: np.ndarray, vertices: np.ndarray, facets: np.ndarray) -> int:
    """The cone {signs_i z_i . omega >= 0} of r independent rows z: its rays are the signed columns of the inverse."""
    r = inverse.shape[0]
    for i in range(r):
        norm = 0.0
        for j in range(r):
            norm += inverse[j, i] ** 2
        scale = signs[i] / np.sqrt(norm)
        for j in range(r):
            vertices[i, j] = scale * inverse[j, i]
        n = 0
        for j in range(r):
            if j != i:
                facets[i, n] = j
                n += 1
    return r


@bare
def ones(word: int) -> int:
    """Number of set bits of a 64-bit word."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@bare
def clip(z: np.ndarray, sign: float, eps: float, facet: int, vertices: np.ndarray, facets: np.ndarray, n: int,
         new_vertices: np.ndarray, new_facets: np.ndarray, values: np.ndarray, bits: np.ndarray) -> int:  # fmt: skip
    """Intersect with sign * z . omega >= -eps; the number of vertices of the result, 0 if it is empty.

    -1: the result is the polytope as it was (nothing is cut off, or the clip had to be left out). `values` and `bits`
    are room for a number per vertex.
    """
    r = z.shape[0]
    d = r - 1
    limit = new_vertices.shape[0]
    outside = 0
    for i in range(n):
        value = eps
        for j in range(r):
            value += sign * z[j] * vertices[i, j]
        values[i] = value
        if value < 0:
            outside += 1
    if outside == 0:
        return -1
    if outside == n:
        return 0
    m = 0
    for i in range(n):
        if values[i] >= 0:
            if m >= limit:
                return -1
            for j in range(r):
                new_vertices[m, j] = vertices[i, j]
            for j in range(d):
                new_facets[m, j] = facets[i, j]
            m += 1
    # a vertex's facets as bits (mod 64): neighbours share d - 1 facets, so most pairs are told apart by a count of bits
    for i in range(n):
        word = np.uint64(0)
        for a in range(d):
            word |= np.uint64(1) << np.uint64(facets[i, a] & 63)
        bits[i] = word
    few_outside = 2 * outside <= n
    # walk over the smaller side; each of its vertices must have d neighbours
    for i in range(n):
        if (values[i] < 0) != few_outside:
            continue
        own = ones(bits[i])
        neighbours = 0
        for k in range(n):
            if k == i or own - ones(bits[i] & bits[k]) > 1:
                continue
            shared = 0
            missed = 0
            for a in range(d):
                f = facets[i, a]
                found = False
                for b in range(d):
                    if facets[k, b] == f:
                        found = True
                        break
                if found:
                    shared += 1
                else:
                    missed += 1
                    if missed > 1:
                        break
            if shared != d - 1 or missed > 1:
                continue
            neighbours += 1
            if (values[k] < 0) == (values[i] < 0):
                continue
            if m >= limit:
                return -1
            inner, outer = (k, i) if few_outside else (i, k)
            t = values[inner] / (values[inner] - values[outer])
            for j in range(r):
                new_vertices[m, j] = vertices[inner, j] + t * (vertices[outer, j] - vertices[inner, j])
            p = 0
            for a in range(d):
                f = facets[i, a]
                for b in range(d):
                    if facets[k, b] == f:
                        new_facets[m, p] = f
                        p += 1
                        break
            new_facets[m, p] = facet
            m += 1
        if neighbours != d:
            return -1
    return m
