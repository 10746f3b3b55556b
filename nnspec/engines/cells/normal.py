"""From a CellProblem to the arrays of the kernels: data centred and scaled to size 1, order free.

Inputs become (x - shift) / size per column, targets (y - level) / unit, so that rounding margins are stated once, for
data of size 1. theta and the boxes change with it: w'_j = wn_j unit / size_j, b' = unit bn - w'.shift, c = level +
unit cn; a box stays a set of linear rows. Without a hidden bias there is no shift, without an output bias no level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnspec.engines.cells.model import CellProblem

REACH = 1e4
"""In normalised data the proof speaks of networks with |theta| <= REACH: rounding margins need some such bound, and
weights 10^4 times the size of the data are none that a float network should have. Boxes tighten it."""

@dataclass(frozen=True, eq=False)
class Normal:
    """Samples (M, ...) in normalised units, any order. loss = unit_loss * (normalised loss)."""

    features: np.ndarray  # (S, M, p)
    cuts: np.ndarray  # (M, S - 1, r)
    constant: np.ndarray  # (M,)
    y: np.ndarray  # (M,)
    lo: np.ndarray  # (M,) slopes of a piecewise-linear loss max(lo r, hi r), multiplicities included
    hi: np.ndarray
    largest: bool  # the loss is the largest of the samples' instead of their sum
    z: np.ndarray  # (M, r): the first cut, whose independent rows make the basis
    box: np.ndarray  # (H, 2, m, p)
    box_rhs: np.ndarray  # (H, 2, m)
    output_box: np.ndarray  # (2,)
    sign_mask: int
    symmetric: bool
    flip: bool
    shift: np.ndarray
    size: np.ndarray
    level: float
    unit: float
    unit_loss: float

    @property
    def samples(self) -> int:
        return int(self.y.shape[0])


def normalise(problem: CellProblem) -> Normal:
    """See the module's docstring."""
    biased = bool(np.any(problem.lo[:, -1] != 0) or np.any(problem.hi[:, -1] != 0))
    shift = problem.x.mean(axis=0) if biased else np.zeros(problem.x.shape[1])
    x = problem.x - shift
    size = np.abs(x).max(axis=0)
    size[size <= 1e-9 * np.maximum(1.0, np.abs(shift))] = 1.0
    x = x / size
    regression = problem.kind != "hinge"
    free_bias = problem.c_hi > problem.c_lo
    level = float(np.average(problem.y, weights=problem.weights)) if free_bias and regression else 0.0
    y = problem.y - level
    unit = float(np.abs(y).max()) if regression else 1.0
    unit = unit if unit > 0 else 1.0
    y = y / unit
    weights = problem.weights / problem.weights.max()
    lo, hi = -weights, weights
    if problem.kind == "pinball":
        lo, hi = weights * (problem.quantile - 1.0), weights * problem.quantile
    if problem.kind == "hinge":
        lo = np.zeros(len(x))
    ones = np.ones((len(x), 1))
    z = np.hstack([x, ones]) if biased else x
    alpha = {"relu": 0.0, "abs": -1.0}.get(problem.activation.kind, problem.activation.alpha)
    features = np.stack([alpha * z, z])
    constant = np.ones(len(x)) if problem.output.bias is not None else np.zeros(len(x))
    if problem.kind == "hinge":  # max(0, M - s o): the row s o against M
        features, constant, y = features * y[None, :, None], constant * y, np.full(len(x), problem.margin)
    box, box_rhs, mask = _box_rows(problem, shift, size, unit, biased)
    output_box = np.array([(problem.c_lo - level) / unit, -(problem.c_hi - level) / unit])
    same = lambda a: bool(np.all(a == a[:1]))  # noqa: E731
    symmetric = same(problem.lo) and same(problem.hi) and same(problem.out_lo) and same(problem.out_hi)
    # abs(z) = abs(-z): half of the patterns, if the boxes are symmetric
    flip = problem.activation.kind == "abs" and bool(np.all(problem.lo == -problem.hi))
    return Normal(features, z[:, None, :].copy(), constant, y, lo, hi, problem.kind == "max_error", z, box, box_rhs,
                  output_box, mask, symmetric, flip, shift, size, level, unit,
                  unit * float(problem.weights.max()))  # fmt: skip


def _box_rows(problem: CellProblem, shift: np.ndarray, size: np.ndarray, unit: float, biased: bool
              ) -> tuple[np.ndarray, np.ndarray, int]:  # fmt: skip
    """Boxes of theta_k per sign as rows of unit size over the normalised theta_k; and the mask of possible signs."""
    count, columns = problem.lo.shape
    p = columns if biased else columns - 1
    rows = np.zeros((count, 2, 2 * p, p))
    rhs = np.full((count, 2, 2 * p), -np.inf)
    mask = 0
    # original (w', b') as linear forms of the normalised ones
    forms = np.zeros((p, p))
    for j in range(columns - 1):
        forms[j, j] = unit / size[j]
    if biased:
        forms[-1, -1] = unit
        forms[-1, :-1] = -unit * shift / size
    with np.errstate(invalid="ignore"):
        for k in range(count):
            for negative in (0, 1):
                if negative:
                    low, high = problem.out_lo[k] * problem.hi[k], problem.out_lo[k] * problem.lo[k]
                else:
                    low, high = problem.out_hi[k] * problem.lo[k], problem.out_hi[k] * problem.hi[k]
                low, high = np.nan_to_num(low, nan=0.0, posinf=np.inf, neginf=-np.inf), np.nan_to_num(
                    high, nan=0.0, posinf=np.inf, neginf=-np.inf)  # fmt: skip
                for j in range(p):
                    norm = float(np.linalg.norm(forms[j]))
                    rows[k, negative, 2 * j] = forms[j] / norm
                    rows[k, negative, 2 * j + 1] = -forms[j] / norm
                    rhs[k, negative, 2 * j] = low[j] / norm
                    rhs[k, negative, 2 * j + 1] = -high[j] / norm
    for signs in range(2**count):
        below = np.array([(signs >> k) & 1 for k in range(count)])
        limits = np.where(below == 1, -problem.out_lo, problem.out_hi)
        if np.all((limits > 0) | (below == 0)):  # a neuron that can only be 0 counts as positive
            mask |= 1 << signs
    return rows, rhs, mask


def denormalise(normal: Normal, problem: CellProblem, theta: np.ndarray, signs: int
                ) -> tuple[np.ndarray, np.ndarray, float]:  # fmt: skip
    """theta (H, d + 1), sign (H,), c in the problem's units."""
    count, columns = problem.lo.shape
    p = normal.box.shape[3]
    result = np.zeros((count, columns))
    block = theta[:-1].reshape(count, p)
    result[:, : columns - 1] = block[:, : columns - 1] * normal.unit / normal.size
    if p == columns:
        result[:, -1] = normal.unit * block[:, -1] - result[:, :-1] @ normal.shift
    sign = np.array([-1.0 if (signs >> k) & 1 else 1.0 for k in range(count)])
    return result, sign, normal.level + normal.unit * float(theta[-1])


def renormalise(normal: Normal, problem: CellProblem, theta: np.ndarray, sign: np.ndarray, c: float
                ) -> tuple[np.ndarray, int]:  # fmt: skip
    """The inverse of `denormalise`."""
    count, columns = theta.shape
    p = normal.box.shape[3]
    block = np.zeros((count, p))
    block[:, : columns - 1] = theta[:, :-1] * normal.size / normal.unit
    if p == columns:
        block[:, -1] = (theta[:, -1] + theta[:, :-1] @ normal.shift) / normal.unit
    signs = sum(1 << k for k in range(count) if sign[k] < 0)
    return np.append(block.reshape(-1), (c - normal.level) / normal.unit), signs
