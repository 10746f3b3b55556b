"""First incumbents: damped reweighted least squares from many random starts, on the network itself (numba).

Within a cell the squared loss is a linear least-squares problem, so a damped Gauss-Newton step (Levenberg-Marquardt)
from any point is a step towards that cell's optimum; cells change on the way. Other losses weigh the samples anew at
every step (see `weight` in `loss`). Starts draw hidden directions through random samples.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
# ruff: noqa: NPY002 (compiled code knows the legacy generator only; it is seeded at every call)
from __future__ import annotations

from typing import Any

import numpy as np

from nnspec.engines.cells.loss import Samples, network_loss, weight
from nnspec.engines.cells.quadratic import absorb, back_substitute
from nnspec.engines.compiled import compiled

PROGRESS = 1e-9
"""Relative decrease in one step below which a descent ends."""


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
def linearise(samples: Samples, theta: np.ndarray, signs: int, neurons: int, i: int, row: np.ndarray) -> float:
    """Sample i's row for the pieces that its neurons have at theta; returns its residual."""
    features, cuts = samples.features, samples.cuts
    pieces, p = features.shape[0], features.shape[2]
    size = theta.shape[0]
    residual = samples.y[i] - samples.constant[i] * theta[size - 1]
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
    row[size - 1] = samples.constant[i]
    return residual


@compiled
def descend(loss: Any, samples: Samples, theta: np.ndarray, signs: int, neurons: int, steps: int) -> float:
    """Damped reweighted least squares from theta, in place; the loss reached."""
    n, size = samples.y.shape[0], theta.shape[0]
    lower = np.zeros((size, size))
    q = np.zeros(size)
    rows = np.zeros((n, size))
    step = np.zeros(size)
    trial = np.zeros(size)
    residuals = np.zeros(n)
    value = network_loss(loss, samples, theta, signs, neurons)
    damping = 1e-2
    for _ in range(steps):
        lower[:, :] = 0.0
        q[:] = 0.0
        for j in range(size):
            lower[j, j] = damping
        top = 1e-12
        for i in range(n):
            residuals[i] = linearise(samples, theta, signs, neurons, i, rows[i])
            top = max(top, abs(residuals[i]))
        for i in range(n):
            w = weight(loss, i, residuals[i], top)
            if w == 0.0:
                continue
            for j in range(size):
                rows[i, j] *= w
            absorb(lower, q, rows[i], residuals[i] * w)
        back_substitute(lower, q, step)
        trial[:] = theta + step
        new = network_loss(loss, samples, trial, signs, neurons)
        if new < value:
            done = value - new < PROGRESS * value
            theta[:] = trial
            value = new
            damping = max(damping * 0.3, 1e-7)
            if done:
                break
        else:
            damping *= 4.0
            if damping > 1e4:
                break
    return value


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
def multistart(loss: Any, samples: Samples, starts: int, seed: int, neurons: int, sign_mask: int, box: np.ndarray,
               box_rhs: np.ndarray, output_box: np.ndarray, incumbent: np.ndarray, theta_best: np.ndarray,
               control: np.ndarray) -> None:  # fmt: skip
    """Improve incumbent and theta_best by `starts` descents from random networks."""
    np.random.seed(seed)
    theta = np.zeros(theta_best.shape[0])
    for _ in range(starts):
        if control[0] != 0:
            return
        signs = np.random.randint(0, 2**neurons)
        if not (sign_mask >> signs) & 1:
            continue
        random_network(theta, signs, neurons, samples.cuts)
        value = descend(loss, samples, theta, signs, neurons, 100)
        if value < incumbent[0] and within(theta, signs, box, box_rhs, output_box):
            incumbent[0] = value
            incumbent[1] = signs
            theta_best[:] = theta
