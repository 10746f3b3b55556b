"""First incumbents: Levenberg-Marquardt from many random starts, on the network itself (numba).

Within a cell the squared loss is a linear least-squares problem, so a damped Gauss-Newton step from any point is a
step towards that cell's optimum; cells change on the way. Starts draw hidden directions through random samples.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
# ruff: noqa: NPY002 (compiled code knows the legacy generator only; it is seeded at every call)
from __future__ import annotations

import numpy as np

from nnspec.engines.cells.quadratic import absorb, back_substitute
from nnspec.engines.cells.search import true_loss
from nnspec.engines.compiled import compiled


@compiled
def within(theta: np.ndarray, signs: int, box: np.ndarray, box_rhs: np.ndarray, output_box: np.ndarray) -> bool:
    """Whether theta respects the boxes of its sign combination."""
    neurons, p = box.shape[0], box.shape[3]
    for k in range(neurons):
        negative = (signs >> k) & 1
        for i in range(box.shape[2]):
            if box_rhs[k, negative, i] == -np.inf:
                continue
            value = -box_rhs[k, negative, i]
            for j in range(p):
                value += box[k, negative, i, j] * theta[k * p + j]
            if value < 0:
                return False
    c = theta[neurons * p]
    return c >= output_box[0] and -c >= output_box[1]


@compiled
def descend(theta: np.ndarray, signs: int, neurons: int, pieces: int, signed: bool, features: np.ndarray,
            cuts: np.ndarray, constant: np.ndarray, y: np.ndarray, steps: int) -> float:  # fmt: skip
    """Levenberg-Marquardt from theta, in place; the loss reached."""
    n, p = y.shape[0], features.shape[2]
    size = theta.shape[0]
    lower = np.zeros((size, size))
    q = np.zeros(size)
    row = np.zeros(size)
    step = np.zeros(size)
    trial = np.zeros(size)
    loss = true_loss(theta, signs, neurons, pieces, signed, features, cuts, constant, y)
    damping = 1e-2
    for _ in range(steps):
        lower[:, :] = 0.0
        q[:] = 0.0
        for j in range(size):
            lower[j, j] = damping
        for i in range(n):
            residual = y[i] - constant[i] * theta[size - 1]
            for k in range(neurons):
                direction = -1.0 if signed and (signs >> k) & 1 else 1.0
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
            absorb(lower, q, row, residual)
        back_substitute(lower, q, step)
        trial[:] = theta + step
        new = true_loss(trial, signs, neurons, pieces, signed, features, cuts, constant, y)
        if new < loss:
            done = loss - new < 1e-9 * loss
            theta[:] = trial
            loss = new
            damping = max(damping * 0.3, 1e-7)
            if done:
                break
        else:
            damping *= 4.0
            if damping > 1e4:
                break
    return loss


@compiled
def random_network(theta: np.ndarray, signs: int, neurons: int, cuts: np.ndarray) -> None:
    """Random hidden directions, each neuron's first cut through a random sample."""
    n, p = cuts.shape[0], cuts.shape[2]
    for k in range(neurons):
        direction = -1.0 if (signs >> k) & 1 else 1.0
        scale = np.exp(np.random.normal()) * direction
        offset = 0.0
        i = np.random.randint(0, n)
        for j in range(p):
            theta[k * p + j] = np.random.normal() * scale
        for j in range(p - 1):  # the last feature is the bias, where there is one
            offset += cuts[i, 0, j] * theta[k * p + j]
        if cuts[i, 0, p - 1] != 0.0:
            theta[k * p + p - 1] = -offset / cuts[i, 0, p - 1]
    theta[neurons * p] = np.random.normal() * 0.5


@compiled
def multistart(starts: int, seed: int, neurons: int, pieces: int, signed: bool, sign_mask: int, features: np.ndarray,
               cuts: np.ndarray, constant: np.ndarray, y: np.ndarray, box: np.ndarray, box_rhs: np.ndarray,
               output_box: np.ndarray, incumbent: np.ndarray, theta_best: np.ndarray, control: np.ndarray
               ) -> None:  # fmt: skip
    """Improve incumbent and theta_best by `starts` descents from random networks."""
    np.random.seed(seed)
    theta = np.zeros(theta_best.shape[0])
    for _ in range(starts):
        if control[0] != 0:
            return
        signs = np.random.randint(0, 2**neurons) if signed else 0
        if not (sign_mask >> signs) & 1:
            continue
        random_network(theta, signs, neurons, cuts)
        loss = descend(theta, signs, neurons, pieces, signed, features, cuts, constant, y, 100)
        if loss < incumbent[0] and within(theta, signs, box, box_rhs, output_box):
            incumbent[0] = loss
            incumbent[1] = signs
            theta_best[:] = theta
