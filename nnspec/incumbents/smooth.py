"""Losses of many outputs at once, with gradients, and smoothed where a gradient would mislead.

`eps` is the width of the smoothing: |r| becomes sqrt(r^2 + eps^2) - eps, max(0, t) becomes eps*log(1 + exp(t/eps)), a
maximum a log-sum-exp, and a misclassified sample, which counts 1, sigmoid((margin - lead)/eps). eps = 0 is the loss
itself with a subgradient.
"""

from __future__ import annotations

import numpy as np

from nnspec.problem import expression as ex
from nnspec.problem.losses import default_margin, signs


def _sigmoid(t: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * t))


def _plus(t: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    if eps == 0:
        on = t > 0
        return t * on, on.astype(float)
    return eps * np.logaddexp(0.0, t / eps), _sigmoid(t / eps)


def _absolute(r: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    if eps == 0:
        return np.abs(r), np.sign(r)
    root = np.sqrt(r * r + eps * eps)
    return root - eps, r / root


def _lead(o: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Margins (S, N) of outputs (S, N, m) with the columns of the true class and of its strongest rival."""
    label = y.reshape(-1).astype(int)
    rows = np.arange(o.shape[1])
    others = o.copy()
    others[:, rows, label] = -np.inf
    rival = others.argmax(axis=2)
    best = np.take_along_axis(others, rival[:, :, None], axis=2)[:, :, 0]
    return o[:, rows, label] - best, label, rival


def _from_lead(o: np.ndarray, y: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """The gradient with respect to outputs of a function of the margin with the given derivative (S, N)."""
    if o.shape[2] == 1:
        return (slope * signs(y))[:, :, None]
    _, label, rival = _lead(o, y)
    g = np.zeros_like(o)
    rows = np.arange(o.shape[1])
    g[:, rows, label] = slope
    np.put_along_axis(g, rival[:, :, None], -slope[:, :, None], axis=2)
    return g


def loss(e: ex.Loss, o: np.ndarray, y: np.ndarray, weights: np.ndarray | None,
         eps: float) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Loss (S,) and its gradient (S, N, m) with respect to outputs o (S, N, m)."""
    c = np.ones(o.shape[1]) if weights is None else weights
    if e.kind in ("sse", "mse", "sae", "mae", "max_error", "huber", "pinball"):
        r = o - y.reshape(1, o.shape[1], o.shape[2])
        if e.kind == "max_error":
            a, d = _absolute(r, eps)
            flat = a.reshape(len(a), -1)
            top = flat.max(axis=1, keepdims=True)
            if eps == 0:
                p = (flat == top).astype(float)
                p /= p.sum(axis=1, keepdims=True)
                return top[:, 0], p.reshape(a.shape) * d
            p = np.exp((flat - top) / eps)
            total = p.sum(axis=1, keepdims=True)
            return top[:, 0] + eps * np.log(total[:, 0]), (p / total).reshape(a.shape) * d
        match e.kind:
            case "sse" | "mse":
                a, d = r * r, 2 * r
            case "sae" | "mae":
                a, d = _absolute(r, eps)
            case "huber":
                width = 1.0 if e.delta is None else e.delta
                d = np.clip(r, -width, width)
                a = d * (r - 0.5 * d)
            case _:
                t = 0.5 if e.q is None else e.q
                b, slope = _absolute(r, eps)
                a, d = 0.5 * b + (0.5 - t) * r, 0.5 * slope + (0.5 - t)
        factor = 1.0 / (float(c.sum()) * o.shape[2]) if e.kind in ("mse", "mae") else 1.0
        return factor * np.einsum("snm,n->s", a, c), factor * d * c[:, None]
    if e.kind == "cross_entropy" and o.shape[2] > 1:
        label = y.reshape(-1).astype(int)
        top = o.max(axis=2, keepdims=True)
        p = np.exp(o - top)
        total = p.sum(axis=2, keepdims=True)
        rows = np.arange(o.shape[1])
        a = top[:, :, 0] + np.log(total[:, :, 0]) - o[:, rows, label]
        g = p / total
        g[:, rows, label] -= 1
        return a @ c, g * c[:, None]
    lead = signs(y) * o[:, :, 0] if o.shape[2] == 1 else _lead(o, y)[0]
    if e.kind in ("logistic", "cross_entropy"):
        return np.logaddexp(0.0, -lead) @ c, _from_lead(o, y, -_sigmoid(-lead) * c)
    margin = default_margin(e.kind) if e.margin is None else e.margin
    if e.kind == "errors":
        if eps == 0:
            return (lead < margin).astype(float) @ c, np.zeros_like(o)
        s = _sigmoid((margin - lead) / eps)
        return s @ c, _from_lead(o, y, -s * (1 - s) / eps * c)
    a, d = _plus(margin - lead, eps)
    if e.kind == "squared_hinge":
        return (a * a) @ c, _from_lead(o, y, -2 * a * d * c)
    return a @ c, _from_lead(o, y, -d * c)
