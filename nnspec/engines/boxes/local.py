"""First incumbents: Newton descents of the reduced objective from random hidden weights."""

# mypy: disallow-untyped-defs=False
# Compiled functions carry no hints: their types are numba's; docstrings give the shapes.
from __future__ import annotations

import math

from nnspec.engines.boxes import network
from nnspec.engines.boxes.arrays import copy, corner, matrix
from nnspec.engines.boxes.search import candidate, tighten
from nnspec.engines.compiled import compiled


@compiled
def best_of(model, starts, vlo, vhi, lo, hi, steps, best_w, best_z):
    """Descend from each of starts (S, H, D) within [lo, hi]; best hidden and output weights into best_w, best_z."""
    n, r, d = model.cw.size, model.copies.shape[1], model.copies.shape[2]
    hh = starts.shape[1]
    m = best_z.shape[1]
    sc = network.scratch(n, r, d, hh, m, model.sides.shape[0])
    out = matrix(hh, d)
    w = matrix(hh, d)
    zero = matrix(hh + 1, m)
    best = math.inf
    for s in range(starts.shape[0]):
        for k in range(hh):
            for j in range(d):
                w[k, j] = min(hi[k, j], max(lo[k, j], starts[s, k, j]))
        copy(sc[3], zero)
        f = network.descend(model, w, vlo, vhi, lo, hi, steps, 1e-9, sc, out)
        if f < best:
            best = f
            copy(best_w, w)
            copy(best_z, sc[3])
    return best


@compiled
def in_domain(model, domain, w, z, lo, hi, vlo, vhi):
    """Move w and z to a point with levels and linear constraints near w; its objective, infinite if none is found."""
    n, r, d = model.cw.size, model.copies.shape[1], model.copies.shape[2]
    hh = w.shape[0]
    m = z.shape[1]
    sc = network.scratch(n, r, d, hh, m, model.sides.shape[0])
    copy(sc[3], z)
    lo, hi, vlo, vhi = corner(lo, hh, d), corner(hi, hh, d), corner(vlo, hh + 1, m), corner(vhi, hh + 1, m)
    if not tighten(domain, lo, hi, vlo, vhi):
        return math.inf
    return candidate(model, domain, w, z, lo, hi, vlo, vhi, matrix(hh + 1, m), sc)
