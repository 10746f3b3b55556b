"""Linear constraints in which output weights or biases take part, by Lagrangian duality.

The rows low <= a.w + b.v <= high of the problem, w all hidden and v all output weights, may be added to the objective
with multipliers: at every feasible point

    objective  >=  objective + sum_r lam_r (a_r.w + b_r.v) - sum_r max(lam_r low_r, lam_r high_r),

whatever the lam_r are, but lam_r <= 0 where there is no upper and lam_r >= 0 where there is no lower limit. The right
side is as separable as the objective: neuron k's psi(w_k) gets a linear term, and each s_ko the constant that stands
before v_ko. At a fixed w the best u and lam make the bound exact (strong duality of the convex problem in v, whose
constraints are linear). lam is found with u by the method of multipliers (Hestenes, 1969; Powell, 1969; Rockafellar,
Augmented Lagrangians and applications of the proximal point algorithm, 1976): outputs.solve minimises

    the convex objective in v + sum_r rho_r/2 dist( b_r.v + lam_r/rho_r, [low_r - a_r.w, high_r - a_r.w] )^2

again and again, and what rho_r times the signed distance is becomes the next lam_r. If no v is feasible, lam grows in
a direction that proves it: by Farkas, a box on which lam'(A x - limits) > 0 throughout has no feasible point
(`excluded`).

The compiled functions keep all this in a table (L, 5 + P), the last part of outputs.scratch: per row low - a.w,
high - a.w, rho, how far b.v was from its limit at last, lam, and the coefficients b. Without such rows it is empty.
"""

# mypy: disallow-untyped-defs=False
# Compiled functions carry no hints: their types are numba's; docstrings give the shapes.
from __future__ import annotations

import math

from nnspec.engines.boxes.types import BOOL, FLOAT, INT, MATRIX, MODEL, PAIR, VECTOR, VOID, WORK
from nnspec.engines.compiled import compiled, linked

LOW, HIGH, RHO, CHANGE, LAM, FIRST = range(6)  # columns of the table
STIFFNESS = 1000.0  # rho in units of the curvature along a row: the error of lam falls by this factor with each step
SETTLED = 1e-10  # violation at which lam is good enough: a tenth of what a network may have (search.FEASIBLE)
STEPS = 12  # most multipliers tried at a point; the error shrinks a thousandfold each time
EXCLUDED = 1e-9  # relative to all magnitudes: far more than the rounding errors of the sums


@compiled
def forget(table):
    """lam := 0."""
    for r in range(table.shape[0]):
        table[r, LAM] = 0.0


@compiled
def take(table, other):
    """The lam of another table."""
    for r in range(table.shape[0]):
        table[r, LAM] = other[r, LAM]


@compiled
def factor(model, table, c):
    """The factor of coordinate c in sum_r lam_r (a_r.w + b_r.v)."""
    t = 0.0
    for r in range(table.shape[0]):
        t += table[r, LAM] * model.sides[r, 3 + c]
    return t


@linked(VOID(MODEL, MATRIX, INT, WORK))
def impart(model, table, k, ws):
    """Tell enclosure.neuron_bound what the rows add for neuron k: see enclosure.workspace."""
    hh, d = model.p2.shape
    m = model.q2.shape[1]
    for j in range(d):
        ws[10][8, j] = factor(model, table, k * d + j)
    for o in range(m):
        ws[1][o, 12] = factor(model, table, hh * d + k * m + o)


@linked(PAIR(MODEL, MATRIX, MATRIX, MATRIX, MATRIX, MATRIX))
def prices(model, table, lo, hi, vlo, vhi):
    """(sum_r max(lam_r low_r, lam_r high_r), magnitude of all terms over a box, for rounding)."""
    d, m = lo.shape[1], vlo.shape[1]
    first = lo.size
    constant, size = 0.0, 0.0
    for r in range(table.shape[0]):
        t = table[r, LAM]
        if t == 0.0:
            continue
        e = t * model.sides[r, 1 if t > 0.0 else 0]
        constant += e
        size += abs(e)
        for c in range(first + vlo.size):
            a = abs(t * model.sides[r, 3 + c])
            if a > 0.0:
                k, j = (c // d, c % d) if c < first else ((c - first) // m, (c - first) % m)
                size += a * (max(abs(lo[k, j]), abs(hi[k, j])) if c < first else max(abs(vlo[k, j]), abs(vhi[k, j])))
    return constant, size


@linked(BOOL(MODEL, MATRIX, MATRIX, MATRIX, MATRIX, MATRIX))
def excluded(model, table, lo, hi, vlo, vhi):
    """Whether the sum of all rows with the factors lam holds nowhere in a box."""
    constant, size = prices(model, table, lo, hi, vlo, vhi)
    d, m = lo.shape[1], vlo.shape[1]
    first = lo.size
    least = -constant
    for c in range(first + vlo.size):
        t = factor(model, table, c)
        if t != 0.0:
            if c < first:
                least += min(t * lo[c // d, c % d], t * hi[c // d, c % d])
            else:
                k, o = (c - first) // m, (c - first) % m
                least += min(t * vlo[k, o], t * vhi[k, o])
    return least > EXCLUDED * size


@linked(VOID(MODEL, MATRIX, MATRIX, INT))
def place(model, w, table, count):
    """What the hidden weights w (H, D) leave of the limits, and the coefficients of `count` copies of each neuron's
    output weights followed by the output biases."""
    hh, d = w.shape
    m = model.q2.shape[1]
    for r in range(table.shape[0]):
        t = 0.0
        for c in range(hh * d):
            t += model.sides[r, 3 + c] * w[c // d, c % d]
        table[r, LOW] = model.sides[r, 0] - t
        table[r, HIGH] = model.sides[r, 1] - t
        for a in range(hh * count + 1):
            k = a % hh if a < hh * count else hh
            for o in range(m):
                table[r, FIRST + a * m + o] = model.sides[r, 3 + hh * d + k * m + o]


@linked(VOID(MATRIX, VECTOR, MATRIX, MATRIX))
def stiffen(g, cw, q2, table):
    """Set rho (see STIFFNESS) for features g (N, K), from the curvature that a squared loss has."""
    kk, m = q2.shape
    for r in range(table.shape[0]):
        curvature, square = 0.0, 0.0
        for a in range(kk):
            own = 0.0
            for o in range(m):
                t = table[r, FIRST + a * m + o] ** 2
                own += t
                curvature += 2.0 * q2[a, o] * t
            if own == 0.0:
                continue
            square += own
            for i in range(g.shape[0]):
                curvature += own * cw[i] * g[i, a] * g[i, a]
        table[r, RHO] = STIFFNESS * (curvature + 1e-6 * square) / (square * square) if square > 0.0 else 1.0
        table[r, CHANGE] = math.inf


@compiled
def excess(z, table, r):
    """The signed distance of b_r.z + lam_r/rho_r from its limits."""
    m = z.shape[1]
    t = table[r, LAM] / table[r, RHO]
    for a in range(z.shape[0]):
        for o in range(m):
            t += table[r, FIRST + a * m + o] * z[a, o]
    if t > table[r, HIGH]:
        return t - table[r, HIGH]
    if t < table[r, LOW]:
        return t - table[r, LOW]
    return 0.0


@linked(FLOAT(MATRIX, MATRIX))
def augmentation(z, table):
    """What the rows add to the objective of the method of multipliers."""
    t = 0.0
    for r in range(table.shape[0]):
        e = excess(z, table, r)
        t += 0.5 * table[r, RHO] * e * e
    return t


@linked(VOID(MATRIX, MATRIX, MATRIX, MATRIX))
def derivatives(z, table, hess, vec):
    """Add its gradient to vec[:, 0] and its (generalised) second derivative to hess, for the weights z (K, m)."""
    p = z.size
    for r in range(table.shape[0]):
        e = excess(z, table, r)
        if e == 0.0 and table[r, LOW] < table[r, HIGH]:
            continue
        for a in range(p):
            t = table[r, RHO] * table[r, FIRST + a]
            vec[a, 0] += t * e
            if t != 0.0:
                for b in range(p):
                    hess[a, b] += t * table[r, FIRST + b]


@linked(BOOL(MATRIX, MATRIX, BOOL))
def update(z, table, stiffer):
    """The next lam for a minimiser z; True if that changes nothing. Rows whose change was hardly less than the last one
    get a larger rho, if `stiffer`."""
    settled = True
    for r in range(table.shape[0]):
        e = excess(z, table, r)
        # with lam = 0 the row is slack and z the minimiser; else b.z misses the limit by this
        change = abs(e - table[r, LAM] / table[r, RHO]) if e != 0.0 else 0.0
        table[r, LAM] = table[r, RHO] * e
        if change > SETTLED:
            settled = False
            if stiffer and change > 0.1 * table[r, CHANGE]:
                table[r, RHO] *= 10.0
        table[r, CHANGE] = change
    return settled


@compiled
def miss(table):
    """A price of the violations that are left: descents leave points without feasible output weights."""
    t = 0.0
    for r in range(table.shape[0]):
        t += abs(table[r, LAM]) * table[r, CHANGE]
    return t
