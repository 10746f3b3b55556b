"""What a class of losses has to say for itself (compiled): the interface between the tree search and its bounds.

A class of losses is two NamedTuples and the bodies of the generic functions below for them.

* A *loss* holds the samples' own constants (slopes, weights). `sample_loss`, `join` and `weight` are enough for
  the loss of a network and for local search.
* A *bound* holds the loss and one state per depth, so that going back in the tree costs nothing: state t belongs to the
  pattern on the t samples of the path, whose order differs from branch to branch. `begin`, `child`, `enter` and
  `inner` bound the loss on these samples from below, `margin` says by how much rounding may have raised such a bound.

`piecewise` is the example. A row is the linear form of a sample's output
over theta = (theta_1, ..., theta_H, c) for the pieces that the neurons have.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment,empty-body"
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nnspec.engines.compiled import compiled, generic

SOLVED, CUT, FAILED = 0, 1, 2


class Samples(NamedTuple):
    """Samples in the order of the search: output_i = sum_k features[piece_ik, i].theta_k + constant_i c, against y_i.

    features (S, n, p); cuts (n, S - 1, p): neuron k is in piece m where the cuts below m are >= 0 and the others <= 0
    at s_k theta_k; constant, y (n,).
    """

    features: np.ndarray
    cuts: np.ndarray
    constant: np.ndarray
    y: np.ndarray


@generic
def sample_loss(loss: Any, i: int, residual: float) -> float:
    """The loss of sample i where y_i - output_i = residual."""


@generic
def join(loss: Any, a: float, b: float) -> float:
    """The loss of two disjoint sets of samples, of which one has a and the other b: sum or maximum."""


@generic
def needed(loss: Any, cutoff: float, rest: float) -> float:
    """The least value on some samples that is worth the cut-off together with `rest` on the others."""


@generic
def weight(loss: Any, i: int, residual: float, top: float) -> float:
    """Root of the weight of sample i in a least-squares step from this residual; top: the largest one's size."""


@generic
def margin(bound: Any, value: float) -> float:
    """By how much rounding can have raised a computed bound near `value` above the true one."""


@generic
def begin(bound: Any) -> None:
    """Set state 0: no samples."""


@generic
def child(bound: Any, t: int, i: int, row: np.ndarray, y: float) -> tuple[float, float]:
    """(lower bound on state t's samples and sample i, if that has this row; rank among the children: least first).

    Reads state t. Has to be cheap; any valid bound will do, such as that of state t.
    """


@generic
def enter(bound: Any, t: int, i: int, row: np.ndarray, y: float, limit: float) -> float:
    """Make state t + 1 from state t and the row of sample i (which may be destroyed); its bound.

    May stop as soon as the bound reaches `limit`.
    """


@generic
def inner(bound: Any, t: int, rows: np.ndarray, rhs: np.ndarray, m: int, limit: float, leaf: bool) -> tuple[int, float]:
    """Bound state t under rows[:m] theta >= rhs[:m] (rows of about unit size): (status, value).

    CUT: value >= limit is proven. SOLVED: bound.theta minimises, and at a leaf the value is its loss but for rounding.
    FAILED: the value is a lower bound all the same. Unless `leaf`, a weaker effort will do.
    """


@compiled
def network_loss(loss: Any, samples: Samples, theta: np.ndarray, signs: int, neurons: int) -> float:
    """The loss of the network itself: each neuron takes the piece that its cuts say."""
    pieces, n, p = samples.features.shape
    total = 0.0
    for i in range(n):
        residual = samples.y[i] - samples.constant[i] * theta[neurons * p]
        for k in range(neurons):
            direction = -1.0 if (signs >> k) & 1 else 1.0
            piece = 0
            for c in range(pieces - 1):
                value = 0.0
                for j in range(p):
                    value += samples.cuts[i, c, j] * theta[k * p + j]
                if direction * value >= 0:
                    piece = c + 1
            for j in range(p):
                residual -= samples.features[piece, i, j] * theta[k * p + j]
        total = join(loss, total, sample_loss(loss, i, residual))
    return total
