"""The branch-and-bound kernel: boxes of hidden weights, best bound first.

A node is a row of floats: [bound, coordinate to split, root, lo, hi, point (H*D each), output weights, their lower and
upper bounds (K*m each)]. Its bound holds for the whole box; the point with its output weights is a good (locally
optimal) one of the box and gives u. The root is one of the boxes that the search began with (one for each set of
weights that may be nonzero, see supports.py); its price is part of the bound.

Coordinates are numbered 0..H*D-1 (hidden weights, neuron by neuron) and on from there for output weights, which are
split only where they are restricted to levels (integers or finite sets). `tighten` moves a box inward to levels and by
linear constraints. Those in which output weights take part also enter the bound, with multipliers found with u
(coupling.py).

For a certificate the finished boxes are kept with their u in a log (boxes (L, 1 + 2*C): root, all lower, all upper
bounds; u and multipliers (L, N*m + rows) in single precision, to which both are rounded before they are used): then
each finished box has a u of its own that proves it, and boxes are only cut by halving, so that they tile the roots.
"""

# mypy: disallow-untyped-defs=False
# Compiled functions carry no hints: their types are numba's; docstrings give the shapes.
from __future__ import annotations

import math

import numpy as np

from nnspec.engines.boxes import activations as act
from nnspec.engines.boxes import coupling, network, outputs
from nnspec.engines.boxes import losses as ls
from nnspec.engines.boxes.arrays import copy, corner, cube, matrix
from nnspec.engines.boxes.enclosure import concave_part, neuron_bound, workspace
from nnspec.engines.boxes.types import (
    BOOL,
    DOMAIN,
    FLOAT,
    INT,
    LOG,
    MATRIX,
    MODEL,
    NETWORK,
    PARTS,
    TREATED,
    VECTOR,
    WORK,
)
from nnspec.engines.compiled import compiled, linked

HEADER = 3
CORRECTIONS = 3  # most dual steps at a box; each costs about as much as the bound itself
FEASIBLE = 1e-9  # violation of a linear constraint that a network may have: far below FEASIBILITY
ROUNDING = 1e-12  # times the magnitude of all terms: covers the rounding errors of a bound (docs/boxes.md)


@compiled
def row_size(n_hidden, d, m):
    return HEADER + 3 * n_hidden * d + 3 * (n_hidden + 1) * m


@compiled
def _scratch(n, d, hh, m, rows):
    big = hh * (CORRECTIONS + 1) + 1
    return (
        matrix(hh, d), np.zeros(hh), matrix(hh, d), np.zeros(hh), matrix(hh, d), matrix(n, m),
        matrix(n, big), matrix(big, m), cube(4, big, m), outputs.scratch(n, big, m, rows), matrix(n, m),
        matrix(hh, d), matrix(hh + 1, m), matrix(hh, d), matrix(hh, d), matrix(hh + 1, m), matrix(hh + 1, m),
        matrix(hh + 1, m),
    )  # fmt: skip


@compiled
def of_copies(model, k, u, ws):
    """The multipliers of what neuron k sees: u_io times the copy's sign, (N * G, m)."""
    signs, own = model.signs, ws[11]
    most = signs.shape[1]
    for i in range(u.shape[0]):
        for g in range(most):
            for o in range(u.shape[1]):
                own[i * most + g, o] = signs[k, g] * u[i, o]
    return own


@linked(FLOAT(MODEL, *(MATRIX,) * 7, VECTOR, MATRIX, WORK))
def dual_bound(model, u, table, lo, hi, w, vlo, vhi, term, argmin, ws):
    """The neuron-separable bound over a box for a given u and multipliers (see coupling.py); neurons' terms into
    `term`, their minimisers into `argmin`."""
    kind, alpha, loss, par, y = model.kind, model.alpha, model.loss, model.par, model.y
    cw, p2, p1, q2, q1 = model.cw, model.p2, model.p1, model.q2, model.q1
    hh = lo.shape[0]
    c, size = ls.conjugate(loss, par, u, y, cw)
    total = -c
    coupled = model.sides.shape[0] > 0
    if coupled:
        a, s = coupling.prices(model, table, lo, hi, vlo, vhi)
        total -= a
        size += s
    for o in range(u.shape[1]):
        s = coupling.factor(model, table, hh * lo.shape[1] + hh * u.shape[1] + o) if coupled else 0.0
        for i in range(u.shape[0]):
            s += u[i, o]
        a, _ = concave_part(s, q2[hh, o], q1[hh, o], vlo[hh, o], vhi[hh, o])
        total += a
        size += abs(a)
    for k in range(hh):
        own = of_copies(model, k, u, ws)
        if coupled:
            coupling.impart(model, table, k, ws)
        term[k] = neuron_bound(
            kind, alpha, model.copies[k], own, p2[k], p1[k], q2[k], q1[k], vlo[k], vhi[k], lo[k], hi[k], w[k], ws
        )
        for j in range(lo.shape[1]):
            argmin[k, j] = ws[10][7, j]
        total += term[k]
        size += abs(term[k])
    return total - (ROUNDING + 4e-16 * u.shape[0]) * (1.0 + size)


@compiled
def single(u, table):
    """Round u and the multipliers to single precision, as they are written in the log."""
    for i in range(u.shape[0]):
        for o in range(u.shape[1]):
            u[i, o] = np.float32(u[i, o])
    for r in range(table.shape[0]):
        table[r, coupling.LAM] = np.float32(table[r, coupling.LAM])


@linked(FLOAT(MODEL, *(MATRIX,) * 5, FLOAT, FLOAT, NETWORK, PARTS, WORK, BOOL))
def _corrected(model, lo, hi, w, vlo, vhi, bound, cutoff, sc, so, ws, recording):
    """Better u and multipliers for a box, in sc[4] and sc[10][5], and its bound: the relaxation lets each neuron be a
    mixture of points of its box, and its dual point is improved by Frank-Wolfe steps with equal weights on the
    minimisers that the bound returned."""
    kind, alpha, loss, par = model.kind, model.alpha, model.loss, model.par
    copies, signs = model.copies, model.signs
    most = signs.shape[1]
    tau, y, cw, q2, q1 = model.tau, model.y, model.cw, model.q2, model.q1
    term, argmin, term2, arg2, u2 = so[1], so[2], so[3], so[4], so[5]
    g, z, q, scratch, om = so[6], so[7], so[8], so[9], so[10]
    hh, d = lo.shape
    n, m = u2.shape
    table = scratch[5]
    coupled = model.sides.shape[0] > 0
    mean = w
    if coupled:
        coupling.take(table, sc[10][5])
        mean = corner(w, hh, d)
    for k in range(hh):
        for i in range(n):
            g[i, k] = sc[0][i, k]
    copy(arg2, argmin)
    for count in range(2, CORRECTIONS + 2):
        kk = hh * count + 1
        for k in range(hh):
            column = hh * (count - 1) + k
            for i in range(n):
                g[i, column] = 0.0
                for r in range(most):
                    a = 0.0
                    for j in range(d):
                        a += copies[k, i * most + r, j] * arg2[k, j]
                    g[i, column] += signs[k, r] * act.value(kind, alpha, a)
        # a point with weight 1/count and output weight v enters as the weight v/count with count times the penalty
        for a in range(kk - 1):
            for o in range(m):
                k = a % hh
                q[0, a, o] = q2[k, o] * count
                q[1, a, o] = q1[k, o]
                q[2, a, o] = vlo[k, o] / count
                q[3, a, o] = vhi[k, o] / count
                z[a, o] = sc[3][k, o] / count
        for i in range(n):
            g[i, kk - 1] = 1.0
        for o in range(m):
            q[0, kk - 1, o] = q2[hh, o]
            q[1, kk - 1, o] = q1[hh, o]
            q[2, kk - 1, o] = vlo[hh, o]
            q[3, kk - 1, o] = vhi[hh, o]
            z[kk - 1, o] = sc[3][hh, o]
        if coupled:
            for k in range(hh):
                for j in range(d):
                    mean[k, j] += (arg2[k, j] - mean[k, j]) / count
            coupling.place(model, mean, table, np.int64(count))
        # copies of the parts in use: slices would make numba compile `solve` a second time for another memory layout
        outputs.solve(
            loss, par, tau, corner(g, n, kk), y, cw, corner(q[0], kk, m), corner(q[1], kk, m), corner(q[2], kk, m),
            corner(q[3], kk, m), corner(z, kk, m), u2, om, scratch,
        )  # fmt: skip
        if recording:
            single(u2, table)
        new = dual_bound(model, u2, table, lo, hi, w, vlo, vhi, term2, arg2, ws)
        gain = new - bound
        if gain > 0.0:
            bound = new
            copy(sc[4], u2)
            if coupled:
                coupling.take(sc[10][5], table)
            for k in range(hh):
                term[k] = term2[k]
            if bound >= cutoff or gain < 0.03 * (cutoff - bound):
                return bound
        elif count > 2:
            return bound
    return bound


@compiled
def order(lo, hi, by, shrink):
    """Keep one of all orders of equal neurons: w_1[by] >= w_2[by] >= ... (by < 0: nothing). False: no point is left."""
    if by < 0:
        return True
    hh = lo.shape[0]
    if not shrink:
        possible = True
        for k in range(hh - 1):
            possible = possible and hi[k, by] >= lo[k + 1, by]
        return possible
    for k in range(hh - 1):
        hi[k + 1, by] = min(hi[k + 1, by], hi[k, by])
    for k in range(hh - 2, -1, -1):
        lo[k, by] = max(lo[k, by], lo[k + 1, by])
    possible = True
    for k in range(hh):
        possible = possible and lo[k, by] <= hi[k, by]
    return possible


@compiled
def to_levels(levels, count, lo, hi):
    """The part of [lo, hi] between its least and greatest level; lo > hi: none. `levels` (L,) holds `count` of them."""
    first = math.inf
    last = -math.inf
    for r in range(count):
        if lo <= levels[r] <= hi:
            first = min(first, levels[r])
            last = max(last, levels[r])
    return first, last


@compiled
def nearest(levels, count, value, lo, hi):
    """The level in [lo, hi] that is nearest to a value; the value itself if there are no levels."""
    best = value
    distance = math.inf
    for r in range(count):
        if lo <= levels[r] <= hi and abs(levels[r] - value) < distance:
            best = levels[r]
            distance = abs(levels[r] - value)
    return best


@compiled
def _at(c, w, v):
    """Coordinate c of hidden (H, D) and output weights (K, m)."""
    first = w.size
    return w[c // w.shape[1], c % w.shape[1]] if c < first else v[(c - first) // v.shape[1], (c - first) % v.shape[1]]


@compiled
def _put(c, w, v, value):
    first = w.size
    if c < first:
        w[c // w.shape[1], c % w.shape[1]] = value
    else:
        v[(c - first) // v.shape[1], (c - first) % v.shape[1]] = value


@compiled
def _all_to_levels(domain, lo, hi, vlo, vhi):
    """Move all ends of a box inward to levels; False: there are none left."""
    for c in range(domain.counts.size):
        if domain.counts[c] > 0:
            a, b = to_levels(domain.levels[c], domain.counts[c], _at(c, lo, vlo), _at(c, hi, vhi))
            if a > b:
                return False
            _put(c, lo, vlo, a)
            _put(c, hi, vhi, b)
    return True


@linked(BOOL(DOMAIN, MATRIX, MATRIX, MATRIX, MATRIX))
def tighten(domain, lo, hi, vlo, vhi):
    """Move a box inward, in place, to levels and by linear constraints; False: no point is left.

    A constraint low <= a.x <= high on weights moves a bound of x_j to what the others leave of it at best (Hansen and
    Walster, Global Optimization Using Interval Analysis, 2004, chapter 10), loosened by 1e-9 of the magnitudes.
    """
    rows, low, high = domain.rows, domain.low, domain.high
    if not _all_to_levels(domain, lo, hi, vlo, vhi):
        return False
    for _ in range(3 if rows.shape[0] > 0 else 0):
        for r in range(rows.shape[0]):
            below, above, size = 0.0, 0.0, 0.0
            for c in range(rows.shape[1]):
                a = rows[r, c]
                if a != 0.0:
                    x, y = a * _at(c, lo, vlo), a * _at(c, hi, vhi)
                    below += min(x, y)
                    above += max(x, y)
                    size += max(abs(x), abs(y))
            slack = 1e-9 * (1.0 + size)
            if below > high[r] + slack or above < low[r] - slack:
                return False
            for c in range(rows.shape[1]):
                a = rows[r, c]
                if a == 0.0:
                    continue
                x, y = a * _at(c, lo, vlo), a * _at(c, hi, vhi)
                # a x_j <= high - (least of the others), a x_j >= low - (greatest of the others)
                most, least = high[r] - (below - min(x, y)) + slack, low[r] - (above - max(x, y)) - slack
                if a < 0.0:
                    most, least = least, most
                new_hi, new_lo = min(_at(c, hi, vhi), most / a), max(_at(c, lo, vlo), least / a)
                if new_lo > new_hi:
                    return False
                below += min(a * new_lo, a * new_hi) - min(x, y)
                above += max(a * new_lo, a * new_hi) - max(x, y)
                _put(c, lo, vlo, new_lo)
                _put(c, hi, vhi, new_hi)
    return rows.shape[0] == 0 or _all_to_levels(domain, lo, hi, vlo, vhi)


@compiled
def violation(domain, w, z):
    """The most by which w (H, D) and z (K, m) violate a linear constraint."""
    worst = 0.0
    for r in range(domain.rows.shape[0]):
        a = 0.0
        for c in range(domain.rows.shape[1]):
            if domain.rows[r, c] != 0.0:
                a += domain.rows[r, c] * _at(c, w, z)
        worst = max(worst, max(a - domain.high[r], domain.low[r] - a))
    return worst


@compiled
def repair(domain, w, z, lo, hi, vlo, vhi):
    """Move w (H, D) and z (K, m) to levels and towards linear constraints, within the box; whether they respect the
    constraints."""
    rows, low, high = domain.rows, domain.low, domain.high
    total = w.size + z.size
    for c in range(total):
        a, b = _at(c, lo, vlo), _at(c, hi, vhi)
        t = nearest(domain.levels[c], domain.counts[c], _at(c, w, z), a, b)
        _put(c, w, z, min(b, max(a, t)))
    good = False
    for _ in range(30 if rows.shape[0] > 0 else 0):
        good = True
        for r in range(rows.shape[0]):
            a, square = 0.0, 0.0
            for c in range(total):
                if rows[r, c] != 0.0:
                    a += rows[r, c] * _at(c, w, z)
                    if domain.counts[c] == 0 and _at(c, lo, vlo) < _at(c, hi, vhi):
                        square += rows[r, c] ** 2
            excess = a - high[r] if a > high[r] else a - low[r] if a < low[r] else 0.0
            if abs(excess) <= FEASIBLE:
                continue
            good = False
            if square == 0.0:
                return False
            for c in range(total):
                if domain.counts[c] == 0 and rows[r, c] != 0.0:
                    t = _at(c, w, z) - excess * rows[r, c] / square
                    _put(c, w, z, min(_at(c, hi, vhi), max(_at(c, lo, vlo), t)))
        if good:
            break
    return good or rows.shape[0] == 0


@compiled
def discrete(domain, first):
    """Whether a coordinate from `first` on has levels."""
    found = False
    for c in range(first, domain.counts.size):
        found = found or domain.counts[c] > 0
    return found


@linked(FLOAT(MODEL, DOMAIN, *(MATRIX,) * 7, NETWORK))
def candidate(model, domain, w, z, lo, hi, vlo, vhi, fixed, sc):
    """Objective at the point of the domain near w and the output weights in sc[3], with output weights at levels;
    infinite if there is none. w is moved there, z receives the output weights. fixed (K, m) is scratch."""
    coupled = model.sides.shape[0] > 0
    copy(z, sc[3])
    # with coupled rows only w need be right: output weights for it are found anew
    if not repair(domain, w, z, lo, hi, vlo, vhi) and not coupled:
        return math.inf
    f = network.objective(model, w, vlo, vhi, sc)
    copy(z, sc[3])
    kk, m = z.shape
    first = w.shape[0] * w.shape[1]
    if not discrete(domain, first):
        return f if not coupled or violation(domain, w, z) <= FEASIBLE else math.inf
    # the rest of the output weights is chosen anew once those with levels are at one
    low = corner(vlo, kk, m)
    copy(fixed, vhi)
    for a in range(kk * m):
        k, o = a // m, a % m
        c = first + a
        if domain.counts[c] > 0:
            low[k, o] = nearest(domain.levels[c], domain.counts[c], z[k, o], vlo[k, o], vhi[k, o])
            fixed[k, o] = low[k, o]
    if coupled:
        repair(domain, w, z, lo, hi, low, fixed)
    f = network.objective(model, w, low, fixed, sc)
    copy(z, sc[3])
    return f if not coupled or violation(domain, w, z) <= FEASIBLE else math.inf


@compiled
def keep(log, root, lo, hi, vlo, vhi, u, table):
    """Append a finished box, its u and lam to the log: (boxes, u and lam, count (1,)), with empty arrays if nothing is
    recorded."""
    boxes, us, count = log
    if boxes.size == 0:
        return
    hh, d = lo.shape
    kk = vlo.shape[0]
    n, m = u.shape
    width = hh * d + kk * m
    r = count[0]
    count[0] += 1
    boxes[r, 0] = root
    for k in range(hh):
        for j in range(d):
            boxes[r, 1 + k * d + j] = lo[k, j]
            boxes[r, 1 + width + k * d + j] = hi[k, j]
    for k in range(kk):
        for o in range(m):
            boxes[r, 1 + hh * d + k * m + o] = vlo[k, o]
            boxes[r, 1 + width + hh * d + k * m + o] = vhi[k, o]
    for i in range(n):
        for o in range(m):
            us[r, i * m + o] = u[i, o]
    for i in range(table.shape[0]):
        us[r, n * m + i] = table[i, coupling.LAM]


@compiled
def _half(model, k, j, a, b, u, lo, hi, w, vlo, vhi, ws):
    """The neuron's term where its weight j lies in [a, b]; infinite where that is empty. u is that of its copies."""
    if a > b:
        return math.inf
    x, y, z = lo[k, j], hi[k, j], w[k, j]
    lo[k, j], hi[k, j], w[k, j] = a, b, min(b, max(a, z))
    t = neuron_bound(
        model.kind, model.alpha, model.copies[k], u, model.p2[k], model.p1[k], model.q2[k], model.q1[k], vlo[k], vhi[k],
        lo[k], hi[k], w[k], ws,
    )  # fmt: skip
    lo[k, j], hi[k, j], w[k, j] = x, y, z
    return t


@linked(TREATED(MODEL, DOMAIN, INT, *(MATRIX,) * 5, FLOAT, FLOAT, NETWORK, PARTS, WORK, LOG))
def _treat(model, domain, root, raw_lo, raw_hi, w, raw_vlo, raw_vhi, bound, cutoff, sc, so, ws, log):
    """Bound a box and cut it: (bound, coordinate to split, best objective found), all without the root's price. The
    box is done if bound >= cutoff; the point of that objective is in so[11] and so[12].

    The raw box is cut by halves only while a certificate is recorded; all bounds are those of its tightened form.
    """
    hh, d = raw_lo.shape
    kk, m = raw_vlo.shape
    term, argmin = so[1], so[2]
    lo, hi, vlo, vhi = so[13], so[14], so[15], so[16]
    by = domain.by[root]
    best = math.inf
    recording = log[0].size > 0
    table = sc[10][5]
    coupled = model.sides.shape[0] > 0
    coupling.forget(table)
    for attempt in range(6):
        copy(lo, raw_lo)
        copy(hi, raw_hi)
        copy(vlo, raw_vlo)
        copy(vhi, raw_vhi)
        if not (order(lo, hi, by, not recording) and tighten(domain, lo, hi, vlo, vhi)):
            keep(log, root, raw_lo, raw_hi, raw_vlo, raw_vhi, sc[4], table)
            return math.inf, -1, best
        if not recording:
            copy(raw_lo, lo)
            copy(raw_hi, hi)
            copy(raw_vlo, vlo)
            copy(raw_vhi, vhi)
        for k in range(hh):
            for j in range(d):
                w[k, j] = min(hi[k, j], max(lo[k, j], w[k, j]))
        if attempt == 0 and not domain.plain:
            copy(so[0], w)
            best = candidate(model, domain, so[0], so[12], lo, hi, vlo, vhi, so[17], sc)
            copy(so[11], so[0])
            if coupled:  # u and multipliers are found where the constraints hold, if that is somewhere in the box
                copy(w, so[0])
        f = network.descend(model, w, vlo, vhi, lo, hi, np.int64(2), 0.02, sc, so[0])
        if f < best and (
            domain.plain or (coupled and not discrete(domain, 0) and violation(domain, w, sc[3]) <= FEASIBLE)
        ):
            best = f
            copy(so[11], w)
            copy(so[12], sc[3])
        u = sc[4]
        if recording:
            single(u, table)
        if coupled and coupling.excluded(model, table, lo, hi, vlo, vhi):
            keep(log, root, raw_lo, raw_hi, raw_vlo, raw_vhi, u, table)
            return math.inf, -1, best
        c = dual_bound(model, u, table, lo, hi, w, vlo, vhi, term, argmin, ws)
        if c < cutoff:
            c = _corrected(model, lo, hi, w, vlo, vhi, c, cutoff, sc, so, ws, recording)
        bound = max(bound, c)
        if c >= cutoff or (bound >= cutoff and not recording):
            keep(log, root, raw_lo, raw_hi, raw_vlo, raw_vhi, u, table)
            return bound, -1, best
        # with u kept, a half of the box on which the bound reaches the cutoff is cut off
        cuts = 0
        for k in range(hh):
            own = of_copies(model, k, u, ws)
            if coupled:
                coupling.impart(model, table, k, ws)
            for j in range(d):
                if hi[k, j] - lo[k, j] < 1e-9:
                    continue
                a, b = raw_lo[k, j], raw_hi[k, j]
                middle = 0.5 * (a + b)
                left = c - term[k] + _half(model, k, j, lo[k, j], min(middle, hi[k, j]), own, lo, hi, w, vlo, vhi, ws)
                right = c - term[k] + _half(model, k, j, max(middle, lo[k, j]), hi[k, j], own, lo, hi, w, vlo, vhi, ws)
                if left >= cutoff and right >= cutoff:
                    keep(log, root, raw_lo, raw_hi, raw_vlo, raw_vhi, u, table)
                    return min(left, right), -1, best
                if left >= cutoff:
                    raw_hi[k, j] = middle
                    keep(log, root, raw_lo, raw_hi, raw_vlo, raw_vhi, u, table)
                    raw_hi[k, j] = b
                    raw_lo[k, j] = middle
                    lo[k, j] = max(lo[k, j], middle)
                    w[k, j] = max(w[k, j], lo[k, j])
                    cuts += 1
                    if right > c:
                        term[k] += right - c
                        c = right
                elif right >= cutoff:
                    raw_lo[k, j] = middle
                    keep(log, root, raw_lo, raw_hi, raw_vlo, raw_vhi, u, table)
                    raw_lo[k, j] = a
                    raw_hi[k, j] = middle
                    hi[k, j] = min(hi[k, j], middle)
                    w[k, j] = min(w[k, j], hi[k, j])
                    cuts += 1
                    if left > c:
                        term[k] += left - c
                        c = left
        if cuts == 0:
            break
    widest = 0.0
    at = -1
    for k in range(hh):
        for j in range(d):
            t = (hi[k, j] - lo[k, j]) * domain.scale[k * d + j]
            if t > widest:
                widest = t
                at = k * d + j
    for a in range(kk * m):
        t = (vhi[a // m, a % m] - vlo[a // m, a % m]) * domain.scale[hh * d + a]
        if t > widest:
            widest = t
            at = hh * d + a
    if at < 0:  # a point: nothing is left to decide, and rounding alone keeps its bound below the cutoff
        keep(log, root, raw_lo, raw_hi, raw_vlo, raw_vhi, sc[4], table)
    return bound, at, best


@compiled
def push(heap, rows, size, slot):
    """Add a slot to the heap of `size` slots ordered by bound; returns the new size."""
    i = size
    while i > 0:
        p = (i - 1) // 2
        if rows[heap[p], 0] <= rows[slot, 0]:
            break
        heap[i] = heap[p]
        i = p
    heap[i] = slot
    return size + 1


@compiled
def pop(heap, rows, size):
    """Remove the slot with the least bound; returns (slot, new size)."""
    top = heap[0]
    size -= 1
    last = heap[size]
    i = 0
    while True:
        c = 2 * i + 1
        if c >= size:
            break
        if c + 1 < size and rows[heap[c + 1], 0] < rows[heap[c], 0]:
            c += 1
        if rows[heap[c], 0] >= rows[last, 0]:
            break
        heap[i] = heap[c]
        i = c
    if size > 0:
        heap[i] = last
    return top, size


@compiled
def read(row, lo, hi, w, z, vlo, vhi):
    """A node's row into arrays."""
    hh, d = lo.shape
    kk, m = z.shape
    p = HEADER
    dim = hh * d
    for k in range(hh):
        for j in range(d):
            lo[k, j] = row[p]
            hi[k, j] = row[p + dim]
            w[k, j] = row[p + 2 * dim]
            p += 1
    p = HEADER + 3 * dim
    for a in range(kk):
        for o in range(m):
            z[a, o] = row[p]
            vlo[a, o] = row[p + kk * m]
            vhi[a, o] = row[p + 2 * kk * m]
            p += 1


@compiled
def write(row, lo, hi, w, z, vlo, vhi):
    """The inverse of `read`."""
    hh, d = lo.shape
    kk, m = z.shape
    p = HEADER
    dim = hh * d
    for k in range(hh):
        for j in range(d):
            row[p] = lo[k, j]
            row[p + dim] = hi[k, j]
            row[p + 2 * dim] = w[k, j]
            p += 1
    p = HEADER + 3 * dim
    for a in range(kk):
        for o in range(m):
            row[p] = z[a, o]
            row[p + kk * m] = vlo[a, o]
            row[p + 2 * kk * m] = vhi[a, o]
            p += 1


@compiled
def cutoff_of(best, gap, constant):
    """Boxes whose bound reaches this cannot matter: gap relative to the objective best + constant, or 5e-10."""
    return best - max(gap * abs(best + constant), 5e-10) if best < math.inf else math.inf


@compiled
def run(model, domain, rows, heap, size, free, nfree, best, best_w, best_z, gap, count, worst_first, log):
    """Process up to `count` nodes of a pool: (size, nfree, best, least bound of finished boxes, nodes).

    rows (capacity, row_size), heap and free (capacity,) hold the open nodes and the unused slots. best_w, best_z
    receive the incumbent. worst_first takes nodes from the heap's end, which have high bounds and close soon: bounded
    memory.
    """
    n, r = model.cw.size, model.copies.shape[1]
    hh, d = model.p2.shape
    m = model.q2.shape[1]
    sc = network.scratch(n, r, d, hh, m, model.sides.shape[0])
    so = _scratch(n, d, hh, m, model.sides.shape[0])
    ws = workspace(r, d, m)
    lo, hi, w = matrix(hh, d), matrix(hh, d), matrix(hh, d)
    vlo, vhi = matrix(hh + 1, m), matrix(hh + 1, m)
    finished = math.inf
    done = 0
    recording = log[0].size > 0
    room = 2 * (1 + 6 * hh * d)  # most boxes that one node can add to the log
    idle = 0 if recording else room
    while size > 0 and done < count and nfree >= 2 and log[2][0] + room <= log[0].shape[0] + idle:
        if worst_first:
            size -= 1
            top = heap[size]
        else:
            top, size = pop(heap, rows, size)
        row = rows[top]
        if row[0] >= min(domain.ceiling, cutoff_of(best, gap, model.constant)) and not recording:
            finished = min(finished, row[0])
            free[nfree] = top
            nfree += 1
            continue
        done += 1
        split = int(row[1])
        root = int(row[2])
        price = domain.prices[root]
        for side in range(2 if split >= 0 else 1):
            read(row, lo, hi, w, sc[3], vlo, vhi)
            if split >= hh * d:
                k, j = (split - hh * d) // m, (split - hh * d) % m
                middle = 0.5 * (vlo[k, j] + vhi[k, j])
                if side == 0:
                    vhi[k, j] = middle
                else:
                    vlo[k, j] = middle
            elif split >= 0:
                k, j = split // d, split % d
                middle = 0.5 * (lo[k, j] + hi[k, j])
                if side == 0:
                    hi[k, j] = middle
                else:
                    lo[k, j] = middle
            cutoff = min(domain.ceiling, cutoff_of(best, gap, model.constant)) - price
            bound, at, f = _treat(
                model, domain, root, lo, hi, w, vlo, vhi, row[0] - price, cutoff, sc, so, ws, log
            )  # fmt: skip
            bound += price
            if f + price < best:
                best = f + price
                copy(best_w, so[11])
                copy(best_z, so[12])
            if at < 0:
                finished = min(finished, bound)
                continue
            nfree -= 1
            slot = free[nfree]
            rows[slot, 0] = bound
            rows[slot, 1] = at
            rows[slot, 2] = root
            write(rows[slot], lo, hi, w, sc[3], vlo, vhi)
            size = push(heap, rows, size, slot)
        free[nfree] = top
        nfree += 1
    return size, nfree, best, finished, done


@compiled
def node_scratch(n, r, d, hh, m):
    """The scratch that `node_bound` takes; r is the number of inputs that a neuron sees."""
    return network.scratch(n, r, d, hh, m, 0), _scratch(n, d, hh, m, 0), workspace(r, d, m)


@compiled
def node_bound(model, domain, lo, hi, w, z, vlo, vhi, cutoff, sc, so, ws, log):
    """The bound of one box, which is shrunk in place to what may hold values below the cutoff. w (H, D) and
    z (H + 1, m) are a point to start from, and are moved to a good one of the box."""
    copy(sc[3], z)
    bound, _, _ = _treat(model, domain, 0, lo, hi, w, vlo, vhi, -math.inf, cutoff, sc, so, ws, log)
    copy(z, sc[3])
    return bound


@compiled
def seal(model, domain, rows, heap, size, done, best, log):
    """Record the open boxes heap[done:size] as they stand, each with a u for it: (how many are done now, least bound
    that these u prove). Ends early when the log is full. u = 0 is tried too: it proves that losses are not negative."""
    n, r = model.cw.size, model.copies.shape[1]
    hh, d = model.p2.shape
    m = model.q2.shape[1]
    sc = network.scratch(n, r, d, hh, m, model.sides.shape[0])
    so = _scratch(n, d, hh, m, model.sides.shape[0])
    ws = workspace(r, d, m)
    lo, hi, w = matrix(hh, d), matrix(hh, d), matrix(hh, d)
    vlo, vhi = matrix(hh + 1, m), matrix(hh + 1, m)
    least = math.inf
    while done < size and log[2][0] < log[0].shape[0]:
        row = rows[heap[done]]
        done += 1
        root = int(row[2])
        read(row, lo, hi, w, sc[3], vlo, vhi)
        if order(lo, hi, domain.by[root], False) and tighten(domain, lo, hi, vlo, vhi):
            for k in range(hh):
                for j in range(d):
                    w[k, j] = min(hi[k, j], max(lo[k, j], w[k, j]))
            network.descend(model, w, vlo, vhi, lo, hi, np.int64(2), 0.02, sc, so[0])
            single(sc[4], sc[10][5])
            bound = dual_bound(model, sc[4], sc[10][5], lo, hi, w, vlo, vhi, so[1], so[2], ws)
            target = best - domain.prices[root]
            bound = _corrected(model, lo, hi, w, vlo, vhi, bound, target, sc, so, ws, True)
            for i in range(n):
                for o in range(m):
                    so[5][i, o] = 0.0
            coupling.forget(so[9][5])
            nothing = dual_bound(model, so[5], so[9][5], lo, hi, w, vlo, vhi, so[1], so[2], ws)
            if nothing > bound:
                bound = nothing
                copy(sc[4], so[5])
                coupling.take(sc[10][5], so[9][5])
            least = min(least, bound + domain.prices[root])
        read(row, lo, hi, w, sc[3], vlo, vhi)
        keep(log, root, lo, hi, vlo, vhi, sc[4], sc[10][5])
    return done, least
