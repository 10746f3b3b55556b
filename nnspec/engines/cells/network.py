"""The loss and the penalty of a network z itself, and its boxes (numba)."""

# mypy: disable-error-code="arg-type,call-arg,assignment"
from __future__ import annotations

import numpy as np

from nnspec.engines.cells.arrays import Price, Rows
from nnspec.engines.cells.interior import row_value
from nnspec.engines.compiled import bare


@bare
def piece_of(cuts: np.ndarray, z: np.ndarray) -> int:
    """The piece that a network gives a neuron at a sample with these cuts (S - 1, Q): after the last that is >= 0."""
    piece = 0
    for c in range(cuts.shape[0]):
        value = 0.0
        for j in range(z.shape[0]):
            value += cuts[c, j] * z[j]
        if value >= 0.0:
            piece = c + 1
    return piece


@bare
def within(price: Price, z: np.ndarray, slack: float) -> bool:
    """Whether z is in all boxes but for `slack`."""
    for i in range(price.boxes.shape[0]):
        value = slack - price.box_rhs[i]
        for j in range(price.boxes.shape[1]):
            value += price.boxes[i, j] * z[j]
        if not value >= 0.0 or (price.box_kappa[i] > 0.0 and value > 2.0 * slack):
            return False
    return True


@bare
def snap(price: Price, z: np.ndarray) -> None:
    """Move z onto fixed weights (rows of size 1, orthogonal to each other), which are steep squares in its problem."""
    for i in range(price.boxes.shape[0]):
        if price.box_kappa[i] > 0.0:
            value = price.box_rhs[i]
            for j in range(price.boxes.shape[1]):
                value -= price.boxes[i, j] * z[j]
            for j in range(price.boxes.shape[1]):
                z[j] += value * price.boxes[i, j]


@bare
def penalty(price: Price, z: np.ndarray) -> float:
    """The penalty at z."""
    total = 0.0
    for b in range(price.blocks.shape[0]):
        norm = 0.0
        for i in range(price.blocks.shape[1]):
            value = 0.0
            for j in range(price.blocks.shape[2]):
                value += price.blocks[b, i, j] * z[j]
            norm += value * value
        total += price.nu[b] * np.sqrt(norm)
    for i in range(price.p_rows.shape[0]):
        value = price.p_y[i]
        for j in range(price.p_rows.shape[1]):
            value -= price.p_rows[i, j] * z[j]
        total += row_value(value, -np.inf, np.inf, price.p_kappa[i])
    return total


@bare
def network_loss(rows: Rows, z: np.ndarray, losses: np.ndarray) -> float:
    """The loss of the network z itself, each sample's into `losses`: neurons take the pieces that their cuts say."""
    neurons, n, size = rows.features.shape[0], rows.y.shape[0], rows.features.shape[3]
    total = 0.0
    for i in range(n):
        residual = rows.y[i]
        for j in range(size):
            residual -= rows.base[i, j] * z[j]
        for k in range(neurons):
            piece = piece_of(rows.cuts[k, i], z)
            for j in range(size):
                residual -= rows.features[k, piece, i, j] * z[j]
        losses[i] = row_value(residual, rows.lo[i], rows.hi[i], rows.kappa[i])
        total = max(total, losses[i]) if rows.largest else total + losses[i]
    return total


@bare
def tidy(rows: Rows, price: Price, z: np.ndarray, value: float, losses: np.ndarray, trial: np.ndarray) -> float:
    """Set norms of z to 0 that hardly differ from it, where that does not raise loss plus penalty `value`; the new one.

    The interior-point method ends next to a norm's kink, not on it.
    """
    size = price.blocks.shape[2]
    for b in range(price.blocks.shape[0]):
        for j in range(z.shape[0]):
            trial[j] = z[j]
        norm = 0.0
        for i in range(price.blocks.shape[1]):
            part = 0.0
            for j in range(size):
                part += price.blocks[b, i, j] * z[j]
            norm += part * part
            for j in range(size):
                trial[j] -= price.inverses[b, j, i] * part
        if norm > 1e-6:
            continue
        new = network_loss(rows, trial, losses) + penalty(price, trial)
        if new <= value:
            value = new
            for j in range(z.shape[0]):
                z[j] = trial[j]
    return value
