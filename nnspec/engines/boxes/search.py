"""The branch-and-bound kernel: boxes of hidden weights, best bound first.

A node is a row of floats: [bound, coordinate to split, lo, hi, point (H*D each), output weights (K*m)]. Its bound
holds for the whole box; the point with its output weights is a good (locally optimal) one of the box and gives u.

For a certificate the finished boxes are kept with their u in a log (boxes (L, 2*H*D), u (L, N*m) in single precision,
to which u is rounded before it is used): then each finished box has a u of its own that proves it, and boxes are only
cut by halving, so that they tile the domain.
"""

# mypy: disallow-untyped-defs=False
# Compiled functions carry no hints: their types are numba's; docstrings give the shapes.
from __future__ import annotations

import math

import numpy as np

from nnspec.engines.boxes import activations as act
from nnspec.engines.boxes import losses as ls
from nnspec.engines.boxes import network, outputs
from nnspec.engines.boxes.arrays import copy, corner, cube, matrix
from nnspec.engines.boxes.enclosure import concave_part, neuron_bound, workspace
from nnspec.engines.boxes.types import BOOL, FLOAT, INT, LOG, MATRIX, MODEL, NETWORK, PARTS, TREATED, VECTOR, WORK
from nnspec.engines.compiled import compiled, linked

HEADER = 2
CORRECTIONS = 3  # most dual steps at a box; each costs about as much as the bound itself
ROUNDING = 1e-12  # times the magnitude of all terms: covers the rounding errors of a bound (docs/boxes.md)


@compiled
def row_size(n_hidden, d, m):
    return HEADER + 3 * n_hidden * d + (n_hidden + 1) * m


@compiled
def _scratch(n, d, hh, m):
    big = hh * (CORRECTIONS + 1) + 1
    return (
        matrix(hh, d), np.zeros(hh), matrix(hh, d), np.zeros(hh), matrix(hh, d), matrix(n, m),
        matrix(n, big), matrix(big, m), cube(4, big, m), outputs.scratch(n, big, m), matrix(n, m),
        matrix(hh, d), matrix(hh + 1, m),
    )  # fmt: skip


@linked(FLOAT(MODEL, *(MATRIX,) * 6, VECTOR, MATRIX, WORK))
def dual_bound(model, u, lo, hi, w, vlo, vhi, term, argmin, ws):
    """The neuron-separable bound over a box for a given u; neurons' terms into `term`, their minimisers into
    `argmin`."""
    kind, alpha, x, loss, par, y = model.kind, model.alpha, model.x, model.loss, model.par, model.y
    cw, p2, p1, q2, q1 = model.cw, model.p2, model.p1, model.q2, model.q1
    hh = lo.shape[0]
    c, size = ls.conjugate(loss, par, u, y, cw)
    total = -c
    for o in range(u.shape[1]):
        s = 0.0
        for i in range(u.shape[0]):
            s += u[i, o]
        a, _ = concave_part(s, q2[hh, o], q1[hh, o], vlo[hh, o], vhi[hh, o])
        total += a
        size += abs(a)
    for k in range(hh):
        term[k] = neuron_bound(kind, alpha, x, u, p2[k], p1[k], q2[k], q1[k], vlo[k], vhi[k], lo[k], hi[k], w[k], ws)
        for j in range(lo.shape[1]):
            argmin[k, j] = ws[10][7, j]
        total += term[k]
        size += abs(term[k])
    return total - ROUNDING * (1.0 + size)


@compiled
def single(u):
    """Round u to single precision, as it is written in the log."""
    for i in range(u.shape[0]):
        for o in range(u.shape[1]):
            u[i, o] = np.float32(u[i, o])


@linked(FLOAT(MODEL, *(MATRIX,) * 5, FLOAT, FLOAT, NETWORK, PARTS, WORK, BOOL))
def _corrected(model, lo, hi, w, vlo, vhi, bound, cutoff, sc, so, ws, recording):
    """Better u for a box, in sc[4], and its bound: the relaxation lets each neuron be a mixture of points of its box,
    and its dual point is improved by Frank-Wolfe steps with equal weights on the minimisers that the bound returned."""
    kind, alpha, x, loss, par = model.kind, model.alpha, model.x, model.loss, model.par
    tau, y, cw, q2, q1 = model.tau, model.y, model.cw, model.q2, model.q1
    term, argmin, term2, arg2, u2 = so[1], so[2], so[3], so[4], so[5]
    g, z, q, scratch, om = so[6], so[7], so[8], so[9], so[10]
    hh, d = lo.shape
    n, m = u2.shape
    for k in range(hh):
        for i in range(n):
            g[i, k] = sc[0][i, k]
    copy(arg2, argmin)
    for count in range(2, CORRECTIONS + 2):
        kk = hh * count + 1
        for k in range(hh):
            column = hh * (count - 1) + k
            for i in range(n):
                a = 0.0
                for j in range(d):
                    a += x[i, j] * arg2[k, j]
                g[i, column] = act.value(kind, alpha, a)
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
        # copies of the parts in use: slices would make numba compile `solve` a second time for another memory layout
        outputs.solve(
            loss, par, tau, corner(g, n, kk), y, cw, corner(q[0], kk, m), corner(q[1], kk, m), corner(q[2], kk, m),
            corner(q[3], kk, m), corner(z, kk, m), u2, om, scratch,
        )  # fmt: skip
        if recording:
            single(u2)
        new = dual_bound(model, u2, lo, hi, w, vlo, vhi, term2, arg2, ws)
        gain = new - bound
        if gain > 0.0:
            bound = new
            copy(sc[4], u2)
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
def keep(log, lo, hi, u):
    """Append a finished box and its u to the log: (boxes, u, count (1,)), with empty arrays if nothing is recorded."""
    boxes, us, count = log
    if boxes.size == 0:
        return
    hh, d = lo.shape
    n, m = u.shape
    r = count[0]
    count[0] += 1
    for k in range(hh):
        for j in range(d):
            boxes[r, k * d + j] = lo[k, j]
            boxes[r, hh * d + k * d + j] = hi[k, j]
    for i in range(n):
        for o in range(m):
            us[r, i * m + o] = u[i, o]


@linked(TREATED(MODEL, INT, VECTOR, *(MATRIX,) * 5, FLOAT, FLOAT, NETWORK, PARTS, WORK, LOG))
def _treat(model, by, scale, lo, hi, w, vlo, vhi, bound, cutoff, sc, so, ws, log):
    """Bound a box and cut it: (bound, coordinate to split, best objective found). The box is done if bound >=
    cutoff; the point of that objective is in so[11] and so[12]."""
    kind, alpha, x = model.kind, model.alpha, model.x
    p2, p1, q2, q1 = model.p2, model.p1, model.q2, model.q1
    hh, d = lo.shape
    term, argmin = so[1], so[2]
    best = math.inf
    recording = log[0].size > 0
    for _ in range(6):
        if not order(lo, hi, by, not recording):
            keep(log, lo, hi, sc[4])
            return math.inf, -1, best
        for k in range(hh):
            for j in range(d):
                w[k, j] = min(hi[k, j], max(lo[k, j], w[k, j]))
        f = network.descend(model, w, vlo, vhi, lo, hi, np.int64(2), 0.02, sc, so[0])
        if f < best:
            best = f
            copy(so[11], w)
            copy(so[12], sc[3])
        u = sc[4]
        if recording:
            single(u)
        c = dual_bound(model, u, lo, hi, w, vlo, vhi, term, argmin, ws)
        if c < cutoff:
            c = _corrected(model, lo, hi, w, vlo, vhi, c, cutoff, sc, so, ws, recording)
        bound = max(bound, c)
        if c >= cutoff or (bound >= cutoff and not recording):
            keep(log, lo, hi, u)
            return bound, -1, best
        # with u kept, a half of the box on which the bound reaches the cutoff is cut off
        cuts = 0
        for k in range(hh):
            for j in range(d):
                a = lo[k, j]
                b = hi[k, j]
                if b - a < 1e-9:
                    continue
                middle = 0.5 * (a + b)
                z = w[k, j]
                hi[k, j] = middle
                w[k, j] = min(z, middle)
                left = neuron_bound(
                    kind, alpha, x, u, p2[k], p1[k], q2[k], q1[k], vlo[k], vhi[k], lo[k], hi[k], w[k], ws
                )
                hi[k, j] = b
                lo[k, j] = middle
                w[k, j] = max(z, middle)
                right = neuron_bound(
                    kind, alpha, x, u, p2[k], p1[k], q2[k], q1[k], vlo[k], vhi[k], lo[k], hi[k], w[k], ws
                )
                lo[k, j] = a
                w[k, j] = z
                left = c + left - term[k]
                right = c + right - term[k]
                if left >= cutoff and right >= cutoff:
                    keep(log, lo, hi, u)
                    return min(left, right), -1, best
                if left >= cutoff:
                    hi[k, j] = middle
                    keep(log, lo, hi, u)
                    hi[k, j] = b
                    lo[k, j] = middle
                    w[k, j] = max(z, middle)
                    cuts += 1
                    if right > c:
                        term[k] += right - c
                        c = right
                elif right >= cutoff:
                    lo[k, j] = middle
                    keep(log, lo, hi, u)
                    lo[k, j] = a
                    hi[k, j] = middle
                    w[k, j] = min(z, middle)
                    cuts += 1
                    if left > c:
                        term[k] += left - c
                        c = left
        if cuts == 0:
            break
    widest = -1.0
    at = 0
    for k in range(hh):
        for j in range(d):
            t = (hi[k, j] - lo[k, j]) * scale[j]
            if t > widest:
                widest = t
                at = k * d + j
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
def read(row, lo, hi, w, z):
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
            p += 1


@compiled
def write(row, lo, hi, w, z):
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
            p += 1


@compiled
def cutoff_of(best, gap, constant):
    """Boxes whose bound reaches this cannot matter: gap relative to the objective best + constant, or 5e-10."""
    return best - max(gap * abs(best + constant), 5e-10)


@compiled
def run(model, by, scale, vlo, vhi, rows, heap, size, free, nfree, best, best_w, best_z, gap, count, worst_first, log):
    """Process up to `count` nodes of a pool: (size, nfree, best, least bound of finished boxes, nodes).

    rows (capacity, row_size), heap and free (capacity,) hold the open nodes and the unused slots. best_w, best_z
    receive the incumbent. worst_first takes nodes from the heap's end, which have high bounds and close soon: bounded
    memory.
    """
    x, p2, q2 = model.x, model.p2, model.q2
    n, d = x.shape
    hh = p2.shape[0]
    m = q2.shape[1]
    sc = network.scratch(n, d, hh, m)
    so = _scratch(n, d, hh, m)
    ws = workspace(n, d, m)
    lo, hi, w = matrix(hh, d), matrix(hh, d), matrix(hh, d)
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
        if row[0] >= cutoff_of(best, gap, model.constant) and not recording:
            finished = min(finished, row[0])
            free[nfree] = top
            nfree += 1
            continue
        done += 1
        split = int(row[1])
        for side in range(2 if split >= 0 else 1):
            read(row, lo, hi, w, sc[3])
            if split >= 0:
                k, j = split // d, split % d
                middle = 0.5 * (lo[k, j] + hi[k, j])
                if side == 0:
                    hi[k, j] = middle
                else:
                    lo[k, j] = middle
            bound, at, f = _treat(
                model, by, scale, lo, hi, w, vlo, vhi, row[0], cutoff_of(best, gap, model.constant), sc, so, ws, log
            )
            if f < best:
                best = f
                copy(best_w, so[11])
                copy(best_z, so[12])
            if at < 0:
                finished = min(finished, bound)
                continue
            nfree -= 1
            slot = free[nfree]
            rows[slot, 0] = bound
            rows[slot, 1] = at
            write(rows[slot], lo, hi, w, sc[3])
            size = push(heap, rows, size, slot)
        free[nfree] = top
        nfree += 1
    return size, nfree, best, finished, done
