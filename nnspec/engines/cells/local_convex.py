"""First networks for the general search: from pattern to pattern by the convex problem of each (numba).

The pattern of a network, without its inequalities, gives a convex problem whose solution usually has another pattern; a
step towards it goes as far as the true loss falls.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
# ruff: noqa: NPY002 (compiled code knows the legacy generator only; it is seeded at every call)
from __future__ import annotations

import numpy as np

from nnspec.engines.cells.interior import minimise
from nnspec.engines.cells.quadratic import absorb, back_substitute
from nnspec.engines.cells.search_convex import (
    Price,
    Rows,
    network_loss,
    penalty,
    piece_of,
    put_largest,
    put_sample,
    snap,
    tidy,
    within,
)
from nnspec.engines.compiled import compiled

GOAL = 1e-7
"""Relative gap to which the problem of each step is solved."""


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
        a_rows[first + i] = price.boxes[i]
        row_y[first + i] = price.box_rhs[i]
        row_lo[first + i] = -np.inf if price.box_kappa[i] > 0.0 else 0.0
        row_hi[first + i] = price.box_hi[i]
        row_kappa[first + i] = price.box_kappa[i]
    for i in range(count_p):
        a_rows[first + count_b + i] = price.p_rows[i]
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
            row[:] = rows.base[i]
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
                    z[:size] = trial[:size]
                    break
            length *= 0.35
        if not found:
            break
    return tidy(rows, price, z, loss, losses, trial)


@compiled
def descend_squares(z: np.ndarray, rows: Rows, price: Price, steps: int) -> float:
    """`descend_convex` for squares without a penalty: damped least squares (Levenberg, Marquardt)."""
    neurons, n, size = rows.features.shape[0], rows.y.shape[0], rows.features.shape[3]
    features, base, y = rows.features, rows.base, rows.y
    lower, q = np.zeros((size, size)), np.zeros(size)
    step, row, losses = np.zeros(size), np.zeros(size), np.zeros(n)
    trial = z.copy()
    loss = network_loss(rows, z, losses) if within(price, z, 1e-9) else np.inf
    damping = 1e-2
    for _ in range(steps):
        lower[:, :] = 0.0
        q[:] = 0.0
        for j in range(size):
            lower[j, j] = damping
        for i in range(n):
            residual = y[i]
            for j in range(size):
                row[j] = base[i, j]
            for k in range(neurons):
                piece = piece_of(rows.cuts[k, i], z)
                for j in range(size):
                    row[j] += features[k, piece, i, j]
            for j in range(size):
                residual -= row[j] * z[j]
            absorb(lower, q, row, residual)
        back_substitute(lower, q, step)
        for j in range(size):
            trial[j] = z[j] + step[j]
        snap(price, trial)
        value = network_loss(rows, trial, losses) if within(price, trial, 1e-9) else np.inf
        if value < loss:
            done = loss - value < 1e-9 * loss
            z[:size] = trial[:size]
            loss = value
            damping = max(damping * 0.3, 1e-7)
            if done:
                break
        else:
            damping *= 4.0
            if damping > 1e4:
                break
    return loss


@compiled
def multistart_convex(starts: int, seed: int, plain: bool, best: np.ndarray, incumbent: np.ndarray, rows: Rows,
                      price: Price, control: np.ndarray) -> None:  # fmt: skip
    """Improve `best` and incumbent[0] by `starts` descents from random patterns; plain: see `descend_squares`."""
    np.random.seed(seed)
    neurons, n, size = rows.features.shape[0], rows.y.shape[0], best.shape[0]
    z = np.zeros(size)
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
        loss = descend_squares(z, rows, price, 100) if plain else descend_convex(z, rows, price, 30)
        if loss < incumbent[0]:
            incumbent[0] = loss
            best[:] = z
