"""One hidden layer on the data: hidden units, objective at given hidden weights, and Newton steps within a box.

The compiled functions share one tuple, `Model.arrays()` (see model.py): kind and alpha of the activation, inputs x
(N, D) with a column of ones if the layer has biases, loss number, its parameter and final smoothing, targets y,
sample weights cw (N,), penalties p2, p1 (H, D) of the hidden weights and q2, q1 (H + 1, m) of the output weights,
whose last row is the output bias.
"""

# mypy: disallow-untyped-defs=False
# Compiled functions carry no hints: their types are numba's; docstrings give the shapes.
from __future__ import annotations

import math

import numpy as np

from nnspec.engines.boxes import activations as act
from nnspec.engines.boxes import coupling, outputs
from nnspec.engines.boxes.arrays import copy, matrix
from nnspec.engines.boxes.types import FLOAT, INT, MATRIX, MODEL, NETWORK, VOID
from nnspec.engines.compiled import compiled, linked


@compiled
def scratch(n, r, d, hh, m, rows):
    """Scratch of the functions here, for n samples, r copies of them and so many rows in coupling's table: hidden
    units, their gradients in the weights, second derivatives by copy, output weights, u, curvature, then matrices for
    Newton."""
    kk, dim = hh + 1, hh * d
    features = matrix(n, kk)
    for i in range(n):
        features[i, hh] = 1.0
    return (
        features, matrix(n, dim), matrix(r, hh), matrix(kk, m), matrix(n, m), matrix(n, m),
        matrix(dim, dim), matrix(dim, 4), matrix(dim, kk), matrix(kk, kk), outputs.scratch(n, kk, m, rows),
    )  # fmt: skip


@linked(VOID(MODEL, *(MATRIX,) * 4))
def hidden(model, w, h, jac, d2):
    """h[i, k]: the unit of neuron k on sample i, sum_g signs_kg sigma(w_k . copy_ig); jac[i, k*D + j] its derivatives,
    d2[i*G + g, k] the sign times sigma''."""
    kind, alpha, copies, signs = model.kind, model.alpha, model.copies, model.signs
    d = copies.shape[2]
    most = signs.shape[1]
    for k in range(w.shape[0]):
        for i in range(h.shape[0]):
            h[i, k] = 0.0
            for j in range(d):
                jac[i, k * d + j] = 0.0
            for g in range(most):
                r = i * most + g
                a = 0.0
                for j in range(d):
                    a += copies[k, r, j] * w[k, j]
                f = act.value(kind, alpha, a)
                first, second = act.derivatives(kind, alpha, a, f)
                h[i, k] += signs[k, g] * f
                first *= signs[k, g]
                for j in range(d):
                    jac[i, k * d + j] += first * copies[k, r, j]
                d2[r, k] = signs[k, g] * second


@linked(FLOAT(MODEL, MATRIX, MATRIX, MATRIX, NETWORK))
def _coupled_outputs(model, w, vlo, vhi, sc):
    """outputs.solve with the rows of coupling.py; where no output weights satisfy them, a price for that is added."""
    table = sc[10][5]
    coupling.place(model, w, table, np.int64(1))
    t = outputs.solve(
        model.loss, model.par, model.tau, sc[0], model.y, model.cw, model.q2, model.q1, vlo, vhi, sc[3], sc[4], sc[5],
        sc[10],
    )  # fmt: skip
    return t + coupling.miss(table)


@linked(FLOAT(MODEL, MATRIX, MATRIX, MATRIX, NETWORK))
def objective(model, w, vlo, vhi, sc):
    """Objective at hidden weights w (H, D) with the best output weights found; they stay in sc[3], u in sc[4], the
    multipliers of rows, if there are any, in sc[10][5]."""
    loss, par, tau = model.loss, model.par, model.tau
    y, cw, p2, p1, q2, q1 = model.y, model.cw, model.p2, model.p1, model.q2, model.q1
    h, z, u, om = sc[0], sc[3], sc[4], sc[5]
    hidden(model, w, h, sc[1], sc[2])
    t = 0.0
    if model.sides.shape[0] > 0:
        t = _coupled_outputs(model, w, vlo, vhi, sc)
    else:
        t = outputs.solve(loss, par, tau, h, y, cw, q2, q1, vlo, vhi, z, u, om, sc[10])
    for k in range(w.shape[0]):
        for j in range(w.shape[1]):
            t += p2[k, j] * w[k, j] * w[k, j] + p1[k, j] * abs(w[k, j])
    return t


@linked(VOID(MODEL, *(MATRIX,) * 5, NETWORK, MATRIX))
def newton_step(model, w, vlo, vhi, lo, hi, sc, out):
    """out := w + a Newton step of the reduced objective F(w) = min over the output weights, kept in the box [lo, hi].

    Second order about `objective(model, w, ...)`, whose scratch it reads; output weights are eliminated by a Schur
    complement, coupled losses are treated as separable (a heuristic: only the quality of points depends on it).
    """
    copies, p2, p1, q2 = model.copies, model.p2, model.p1, model.q2
    h, jac, d2, z, u, om, s, vec, cross, fac = sc[0], sc[1], sc[2], sc[3], sc[4], sc[5], sc[6], sc[7], sc[8], sc[9]
    n, m = u.shape
    hh, d = w.shape
    most = model.signs.shape[1]
    kk = hh + 1
    dim = hh * d
    for a in range(dim):
        k, j = a // d, a % d
        t = w[k, j]
        vec[a, 0] = 2.0 * p2[k, j] * t + (p1[k, j] if t > 0.0 else (-p1[k, j] if t < 0.0 else 0.0))
        vec[a, 1] = 0.0
        for b in range(a + 1):
            s[a, b] = 0.0
        s[a, a] = 2.0 * p2[k, j]
    # rows that act on one output bring the curvature of the method of multipliers, the others their gradient only
    sides, table = model.sides, sc[10][5]
    coupled = table.shape[0] > 0
    for r in range(table.shape[0]):
        lam = table[r, coupling.LAM]
        for a in range(dim):
            vec[a, 0] += lam * sides[r, 3 + a]
            if lam != 0.0 and sides[r, 2] >= 0.0:
                for b in range(a + 1):
                    s[a, b] += table[r, coupling.RHO] * sides[r, 3 + a] * sides[r, 3 + b]
    for k in range(hh):
        for i in range(n):
            t = 0.0
            for o in range(m):
                t += u[i, o] * z[k, o]
            for j in range(d):
                vec[k * d + j, 0] += t * jac[i, k * d + j]
            for r in range(i * most, (i + 1) * most):
                for j in range(d):
                    q = t * d2[r, k] * copies[k, r, j]
                    for b in range(j + 1):
                        s[k * d + j, k * d + b] += q * copies[k, r, b]
            for other in range(k + 1):
                c = 0.0
                for o in range(m):
                    c += om[i, o] * z[k, o] * z[other, o]
                for j in range(d):
                    q = c * jac[i, k * d + j]
                    for b in range(d if other < k else j + 1):
                        s[k * d + j, other * d + b] += q * jac[i, other * d + b]
    for o in range(m):
        for a in range(kk):
            for b in range(a + 1):
                t = 0.0
                for i in range(n):
                    t += om[i, o] * h[i, a] * h[i, b]
                fac[a, b] = t
            fac[a, a] += 2.0 * q2[a, o] + (1e12 if vlo[a, o] == vhi[a, o] else 0.0)
        for r in range(table.shape[0]):
            if table[r, coupling.LAM] != 0.0 and sides[r, 2] == o:
                for a in range(kk):
                    t = table[r, coupling.RHO] * table[r, coupling.FIRST + a * m + o]
                    for b in range(a + 1):
                        fac[a, b] += t * table[r, coupling.FIRST + b * m + o]
        outputs.factorise(fac, kk)
        for k in range(hh):
            for j in range(d):
                a = k * d + j
                for b in range(kk):
                    t = 0.0
                    for i in range(n):
                        c = om[i, o] * z[k, o] * h[i, b]
                        if b == k:
                            c += u[i, o]
                        t += c * jac[i, a]
                    if coupled:
                        for r in range(table.shape[0]):
                            if table[r, coupling.LAM] != 0.0 and sides[r, 2] == o:
                                t += table[r, coupling.RHO] * sides[r, 3 + a] * table[r, coupling.FIRST + b * m + o]
                    for r in range(b):
                        t -= fac[b, r] * cross[a, r]
                    cross[a, b] = t / fac[b, b]
        for a in range(dim):
            for b in range(a + 1):
                t = 0.0
                for r in range(kk):
                    t += cross[a, r] * cross[b, r]
                s[a, b] -= t
    for a in range(dim):
        for b in range(a):
            s[b, a] = s[a, b]
    for _ in range(10):
        moved = 0.0
        for a in range(dim):
            k, j = a // d, a % d
            t = vec[a, 0]
            for b in range(dim):
                t += s[a, b] * vec[b, 1]
            old = vec[a, 1]
            new = old - t / s[a, a] if s[a, a] > 1e-9 else old - math.copysign(1e9, t)
            new = min(hi[k, j] - w[k, j], max(lo[k, j] - w[k, j], new))
            moved = max(moved, abs(new - old))
            vec[a, 1] = new
        if moved < 1e-5:
            break
    for a in range(dim):
        k, j = a // d, a % d
        out[k, j] = min(hi[k, j], max(lo[k, j], w[k, j] + vec[a, 1]))


@linked(FLOAT(MODEL, *(MATRIX,) * 5, INT, FLOAT, NETWORK, MATRIX))
def descend(model, w, vlo, vhi, lo, hi, steps, stop, sc, out):
    """Lower the objective from w within the box by damped Newton steps; returns the value at the w left, whose output
    weights and u are in the scratch. Ends after `steps`, or when a step is shorter than `stop` times the box."""
    f = objective(model, w, vlo, vhi, sc)
    hh, d = w.shape
    for _ in range(steps):
        newton_step(model, w, vlo, vhi, lo, hi, sc, out)
        moved = 0.0
        for k in range(hh):
            for j in range(d):
                t = out[k, j]
                moved = max(moved, abs(t - w[k, j]) / (hi[k, j] - lo[k, j] + 1e-300))
                out[k, j] = w[k, j]
                w[k, j] = t
        new = objective(model, w, vlo, vhi, sc)
        for _ in range(2):
            if new < f:
                break
            for k in range(hh):
                for j in range(d):
                    w[k, j] += 0.7 * (out[k, j] - w[k, j])
            new = objective(model, w, vlo, vhi, sc)
        if not new < f:
            copy(w, out)
            return objective(model, w, vlo, vhi, sc)
        f = new
        if moved < stop:
            break
    return f
