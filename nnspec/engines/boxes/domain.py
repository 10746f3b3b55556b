"""What restricts the weights beyond their ranges: levels (integers, finite sets), linear constraints, supports.

Coordinates are numbered as in search.py: hidden weights neuron by neuron, each with its bias last, then the output
weights (H, m) and the m output biases. Imports no compiled code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnspec.problem.network import Parameter

if TYPE_CHECKING:
    from nnspec.engines.boxes.model import Model

MOST_LEVELS = 1000
"""More values than this of one weight are refused: the range is better declared real."""


class Domain(NamedTuple):
    """What the compiled functions take. C coordinates, of which the first H*D are hidden weights; R rows, T roots."""

    levels: np.ndarray  # (C, L) values that a coordinate may take
    counts: np.ndarray  # (C,) how many of them, 0: any real number
    rows: np.ndarray  # (R, C): low <= rows @ (w, v) <= high
    low: np.ndarray
    high: np.ndarray
    prices: np.ndarray  # (T,) of the roots
    by: np.ndarray  # (T,) the weight by which equal neurons are ordered, or -1
    scale: np.ndarray  # (C,) what a width counts in choosing the coordinate to split
    ceiling: float  # boxes whose bound reaches this do not matter, whatever the incumbent (Limits.cutoff)
    plain: bool  # no levels and no rows: every point of a box is one of the problem


def levels_of(p: Parameter) -> tuple[float, ...] | str:
    """The values that entries of a free tensor may take, () for real ones, or why they are too many. Ranges of
    entries are applied later."""
    if p.kind == "set":
        return p.values
    if p.kind != "int":
        return ()
    lo, hi = float(np.min(p.lo)), float(np.max(p.hi))
    if not np.isfinite(lo + hi):
        return f"{p.name} takes integers without bounds"
    if hi - lo > MOST_LEVELS:
        return f"{p.name} takes more than {MOST_LEVELS} integers"
    return tuple(float(v) for v in range(int(np.ceil(lo)), int(np.floor(hi)) + 1))


def table(values: Sequence[tuple[float, ...]]) -> tuple[np.ndarray, np.ndarray]:
    """(levels (C, L), counts (C,)) of the values of each coordinate."""
    counts = np.array([len(v) for v in values], dtype=np.int64)
    levels = np.zeros((len(values), max(1, int(counts.max(initial=0)))))
    for row, v in zip(levels, values):
        row[: len(v)] = v
    return levels, counts


def domain(model: Model, ceiling: float = math.inf) -> Domain:
    """The arrays for the compiled functions."""
    hh, d = model.lo.shape
    scale = np.concatenate([np.sqrt(np.maximum(np.mean(model.copies**2, axis=1), 1e-12)).ravel(),
                            np.where(model.counts[hh * d :] > 0, 1.0, 0.0)])  # fmt: skip
    hidden, outer = model.supports[:, : hh * d], model.supports[:, hh * d :]
    masks = np.concatenate([hidden.reshape(-1, hh, d), outer.reshape(len(outer), hh + 1, -1)[:, :-1]], axis=2)
    alike = np.all(masks == masks[:, :1], axis=(1, 2))
    by = np.where(alike, model.order_by, -1).astype(np.int64)
    plain = not model.counts.any() and not len(model.rows)
    counts = model.counts.astype(np.int64)
    return Domain(model.levels, counts, model.rows, model.low, model.high, model.prices, by, scale, ceiling,
                  plain)  # fmt: skip


def roots(model: Model) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(lo, hi (T, H, D), vlo, vhi (T, H + 1, m)) of the roots: the box with 0 outside of each support."""
    hh, d = model.lo.shape
    w = model.supports[:, : hh * d].reshape(-1, hh, d) > 0
    v = model.supports[:, hh * d :].reshape(-1, *model.vlo.shape) > 0
    return (np.where(w, model.lo, 0.0), np.where(w, model.hi, 0.0), np.where(v, model.vlo, 0.0),
            np.where(v, model.vhi, 0.0))  # fmt: skip
