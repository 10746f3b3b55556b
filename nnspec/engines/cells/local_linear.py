"""First incumbents for piecewise-linear losses: reweighted least squares on the network itself (numba)."""

# mypy: disable-error-code="arg-type,call-arg,assignment"
# ruff: noqa: NPY002 (compiled code knows the legacy generator only; it is seeded at every call)
from __future__ import annotations

import numpy as np

from nnspec.engines.cells.local import random_network, within
from nnspec.engines.cells.quadratic import absorb, back_substitute
from nnspec.engines.cells.search_linear import linear_loss
from nnspec.engines.compiled import compiled


@compiled
def descend_linear(theta: np.ndarray, signs: int, neurons: int, pieces: int, features: np.ndarray, cuts: np.ndarray,
                   constant: np.ndarray, y: np.ndarray, lo: np.ndarray, hi: np.ndarray, largest: bool, steps: int
                   ) -> float:  # fmt: skip
    """Damped reweighted least squares from theta, in place; the loss reached.

    Row i weighs slope / |r_i| (slope of its side of the loss), or (|r_i| / largest)^8 for the largest error.
    """
    n, p = y.shape[0], features.shape[2]
    size = theta.shape[0]
    lower = np.zeros((size, size))
    q = np.zeros(size)
    row = np.zeros(size)
    step = np.zeros(size)
    trial = np.zeros(size)
    residuals = np.zeros(n)
    loss = linear_loss(theta, signs, neurons, pieces, features, cuts, constant, y, lo, hi, largest)
    damping = 1e-2
    for _ in range(steps):
        lower[:, :] = 0.0
        q[:] = 0.0
        for j in range(size):
            lower[j, j] = damping
        top = 1e-12
        for sweep in range(2):
            for i in range(n):
                residual = y[i] - constant[i] * theta[size - 1]
                for k in range(neurons):
                    direction = -1.0 if (signs >> k) & 1 else 1.0
                    piece = 0
                    for c in range(pieces - 1):
                        value = 0.0
                        for j in range(p):
                            value += cuts[i, c, j] * theta[k * p + j]
                        if direction * value >= 0:
                            piece = c + 1
                    for j in range(p):
                        row[k * p + j] = features[piece, i, j]
                        residual -= features[piece, i, j] * theta[k * p + j]
                row[size - 1] = constant[i]
                residuals[i] = residual
                if sweep == 0:
                    top = max(top, abs(residual))
                    continue
                if largest:
                    weight = (abs(residual) / top) ** 4
                else:
                    slope = hi[i] if residual > 0 else -lo[i]
                    weight = np.sqrt(slope / max(abs(residual), 1e-4))
                if weight == 0.0:
                    continue
                for j in range(size):
                    row[j] *= weight
                absorb(lower, q, row, residual * weight)
        back_substitute(lower, q, step)
        trial[:] = theta + step
        new = linear_loss(trial, signs, neurons, pieces, features, cuts, constant, y, lo, hi, largest)
        if new < loss:
            done = loss - new < 1e-7 * loss
            theta[:] = trial
            loss = new
            damping = max(damping * 0.3, 1e-6)
            if done:
                break
        else:
            damping *= 4.0
            if damping > 1e4:
                break
    return loss


@compiled
def multistart_linear(starts: int, seed: int, neurons: int, pieces: int, sign_mask: int, features: np.ndarray,
                      cuts: np.ndarray, constant: np.ndarray, y: np.ndarray, lo: np.ndarray, hi: np.ndarray,
                      largest: bool, box: np.ndarray, box_rhs: np.ndarray, output_box: np.ndarray,
                      incumbent: np.ndarray, theta_best: np.ndarray, control: np.ndarray) -> None:  # fmt: skip
    """Improve incumbent and theta_best by `starts` descents from random networks."""
    np.random.seed(seed)
    theta = np.zeros(theta_best.shape[0])
    for _ in range(starts):
        if control[0] != 0:
            return
        signs = np.random.randint(0, 2**neurons)
        if not (sign_mask >> signs) & 1:
            continue
        random_network(theta, signs, neurons, cuts)
        loss = descend_linear(theta, signs, neurons, pieces, features, cuts, constant, y, lo, hi, largest, 100)
        if loss < incumbent[0] and within(theta, signs, box, box_rhs, output_box):
            incumbent[0] = loss
            incumbent[1] = signs
            theta_best[:] = theta
