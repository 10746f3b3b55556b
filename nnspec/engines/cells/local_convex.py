"""First networks: from pattern to pattern by the convex problem of each, or damped least squares (numba).

The pattern of a network, without its inequalities, gives a convex problem whose solution usually has another pattern; a
step towards it goes as far as the true loss falls.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
# ruff: noqa: NPY002 (compiled code knows the legacy generator only; it is seeded at every call)
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnspec.engines.cells.arrays import Price, Rows
from nnspec.engines.cells.interior import factorise, minimise, row_value, substitute
from nnspec.engines.cells.network import network_loss, penalty, piece_of, snap, tidy, within
from nnspec.engines.cells.node import put_largest, put_sample
from nnspec.engines.compiled import bare, compiled

PROGRESS = 1e-9
"""Relative decrease in one step below which a descent ends."""

SAME = 1e-6
"""Relative difference of two descents' losses that are taken for the same."""

HITS = 4
"""Descents from random starts that ended with the same least loss: more starts would hardly find a lower one."""

CLOSE = 1e-4
"""Residual of a piecewise-linear loss, in normalised data, below which its weight grows no further."""

GOAL = 1e-7
"""Relative gap to which the problem of each step is solved."""


class Descent(NamedTuple):
    """Room for `descend`."""

    a: np.ndarray
    residuals: np.ndarray
    matrix: np.ndarray
    gradient: np.ndarray
    new_matrix: np.ndarray
    new_gradient: np.ndarray
    factor: np.ndarray
    step: np.ndarray
    trial: np.ndarray


def descent(rows: Rows) -> Descent:
    """Room for these samples."""
    n, size, z = len(rows.y), rows.features.shape[3], np.zeros
    return Descent(z((n, size)), z(n), z((size, size)), z(size), z((size, size)), z(size), z((size, size)), z(size),
                   z(rows.cuts.shape[3]))  # fmt: skip


@compiled
def descend_convex(z: np.ndarray, rows: Rows, price: Price, steps: int) -> float:
    """Descend from z, in place; the loss plus penalty reached, infinite if no network within the boxes was."""
    neurons, n, size = rows.features.shape[0], rows.y.shape[0], rows.features.shape[3]
    count_b, count_p = price.boxes.shape[0], price.p_rows.shape[0]
    first = 2 * n + 1 if rows.largest else n  # rows of the samples
    total = first + count_b + count_p
    a_rows = np.zeros((total, size))
    row_y = np.zeros(total)
    row_lo = np.zeros(total)
    row_hi = np.full(total, np.inf)
    row_kappa = np.zeros(total)
    for i in range(count_b):
        for j in range(size):
            a_rows[first + i, j] = price.boxes[i, j]
        row_y[first + i] = price.box_rhs[i]
        row_lo[first + i] = -np.inf if price.box_kappa[i] > 0.0 else 0.0
        row_hi[first + i] = price.box_hi[i]
        row_kappa[first + i] = price.box_kappa[i]
    for i in range(count_p):
        for j in range(size):
            a_rows[first + count_b + i, j] = price.p_rows[i, j]
        row_y[first + count_b + i] = price.p_y[i]
        row_lo[first + count_b + i] = -np.inf
        row_kappa[first + count_b + i] = price.p_kappa[i]
    if rows.largest:
        put_largest(a_rows, row_lo, row_hi, first - 1)
    lower = np.zeros((size, size))
    q = np.zeros(size)
    row = np.zeros(size)
    for j in range(size):  # where the samples leave something open, close to 0
        lower[j, j] = 1e-5
    losses = np.zeros(n)
    target = np.zeros(size)
    trial = z.copy()
    spare = np.zeros(size)
    u = np.zeros(total)
    g = np.zeros((price.blocks.shape[0], price.blocks.shape[1]))
    loss = np.inf
    for _ in range(steps):
        m = 0
        for i in range(n):
            for j in range(size):
                row[j] = rows.base[i, j]
            for k in range(neurons):
                piece = piece_of(rows.cuts[k, i], z)
                for j in range(size):
                    row[j] += rows.features[k, piece, i, j]
            m = put_sample(a_rows, row_y, row_lo, row_hi, row_kappa, m, row, rows, i)
        minimise(size, lower, q, 0.0, a_rows, row_y, row_lo, row_hi, row_kappa, total, price.blocks,
                 price.nu, price.reach, np.inf, GOAL, target, u, g, spare)  # fmt: skip
        length = 1.0
        found = False
        for _ in range(6):
            for j in range(size):
                trial[j] = z[j] + length * (target[j] - z[j])
            snap(price, trial)
            if within(price, trial, 1e-9):
                value = network_loss(rows, trial, losses)
                value += penalty(price, trial)
                if value < loss * (1.0 - 1e-7) - 1e-13:
                    found = True
                    loss = value
                    for j in range(size):
                        z[j] = trial[j]
                    break
            length *= 0.35
        if not found:
            break
    return tidy(rows, price, z, loss, losses, trial)


@bare
def normal_equations(z: np.ndarray, rows: Rows, a: np.ndarray, residuals: np.ndarray, matrix: np.ndarray,
                     gradient: np.ndarray) -> float:  # fmt: skip
    """The loss of the network z; A'WA (lower triangle) and A'Wr of its samples' rows A and residuals r, weighted by
    rho'(r) / r, which makes least squares of the loss at r."""
    neurons, n, size = rows.features.shape[0], rows.y.shape[0], rows.features.shape[3]
    features, base, cuts = rows.features, rows.base, rows.cuts
    for j in range(size):
        gradient[j] = 0.0
        for k in range(j + 1):
            matrix[j, k] = 0.0
    loss, top = 0.0, 1e-12
    for i in range(n):
        residual = rows.y[i]
        for j in range(size):
            a[i, j] = base[i, j]
        for k in range(neurons):
            piece = piece_of(cuts[k, i], z)
            for j in range(size):
                a[i, j] += features[k, piece, i, j]
        for j in range(size):
            residual -= a[i, j] * z[j]
        residuals[i] = residual
        value = row_value(residual, rows.lo[i], rows.hi[i], rows.kappa[i])
        loss = max(loss, value) if rows.largest else loss + value
        top = max(top, abs(residual))
    for i in range(n):
        r = residuals[i]
        if rows.largest:
            weight = (abs(r) / top) ** 8
        elif rows.kappa[i] > 0.0:
            u = r / rows.kappa[i]
            weight = (min(max(u, rows.lo[i]), rows.hi[i]) / r) if r != 0.0 else 1.0 / rows.kappa[i]
        else:
            weight = (rows.hi[i] if r > 0.0 else -rows.lo[i]) / max(abs(r), CLOSE)
        if weight == 0.0:
            continue
        for j in range(size):
            part = weight * a[i, j]
            gradient[j] += part * r
            for k in range(j + 1):
                matrix[j, k] += part * a[i, k]
    return loss


@bare
def descend(z: np.ndarray, rows: Rows, price: Price, steps: int, room: Descent) -> float:
    """`descend_convex` without a penalty: damped reweighted least squares (Levenberg, Marquardt)."""
    size = rows.features.shape[3]
    matrix, gradient, new_matrix, new_gradient = room.matrix, room.gradient, room.new_matrix, room.new_gradient
    factor, step, trial = room.factor, room.step, room.trial
    for j in range(z.shape[0]):
        trial[j] = z[j]
    loss = normal_equations(z, rows, room.a, room.residuals, matrix, gradient)
    if not within(price, z, 1e-9):
        loss = np.inf
    damping = 1e-4
    for _ in range(steps):
        for j in range(size):
            step[j] = gradient[j]
            for k in range(j + 1):
                factor[j, k] = matrix[j, k]
            factor[j, j] += damping
        if not factorise(factor, size):
            break
        substitute(factor, size, step)
        for j in range(size):
            trial[j] = z[j] + step[j]
        snap(price, trial)
        value = normal_equations(trial, rows, room.a, room.residuals, new_matrix, new_gradient)
        if value < loss and within(price, trial, 1e-9):
            done = loss - value < PROGRESS * loss
            for j in range(size):
                z[j] = trial[j]
            loss = value
            if done:
                break
            matrix, new_matrix = new_matrix, matrix
            gradient, new_gradient = new_gradient, gradient
            damping = max(damping * 0.1, 1e-12)
        else:
            damping *= 16.0
            if damping > 1e8:
                break
    return loss


@compiled
def multistart_convex(starts: int, seed: int, plain: bool, best: np.ndarray, incumbent: np.ndarray, rows: Rows,
                      price: Price, control: np.ndarray, room: Descent) -> None:  # fmt: skip
    """Improve `best` and incumbent[0] by at most `starts` descents from random patterns.

    plain: the objective is one for `descend`.
    """
    np.random.seed(seed)
    neurons, n, size = rows.features.shape[0], rows.y.shape[0], best.shape[0]
    z = np.zeros(size)
    hits = 0
    for _ in range(starts):
        if control[0] != 0:
            return
        for j in range(size):
            z[j] = np.random.normal()
        for k in range(neurons):  # the first cut close to a random sample
            i = np.random.randint(0, n)
            value = 0.0
            last = -1
            for j in range(size):
                value += rows.cuts[k, i, 0, j] * z[j]
                if rows.cuts[k, i, 0, j] != 0.0:
                    last = j
            if last >= 0:
                z[last] -= (value + 0.01 * np.random.normal()) / rows.cuts[k, i, 0, last]
        loss = descend(z, rows, price, 100, room) if plain else descend_convex(z, rows, price, 30)
        if loss <= incumbent[0] * (1.0 + SAME):
            hits = hits + 1 if loss >= incumbent[0] * (1.0 - SAME) else 1
        if loss < incumbent[0]:
            incumbent[0] = loss
            for j in range(size):
                best[j] = z[j]
        if hits >= HITS:
            return
