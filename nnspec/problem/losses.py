"""What each loss is, in numpy. This is the definition that every encoding and engine is tested against.

With outputs o (N, m), targets y (N, m), multiplicities c (N,) and r = o - y:

| kind            | value                                                                                             |
|-----------------|---------------------------------------------------------------------------------------------------|
| sse, mse        | sum r^2; divided by the number of entries N*m (sum(c)*m with multiplicities)                      |
| sae, mae        | sum abs(r); divided likewise                                                                      |
| max_error       | max abs(r)                                                                                        |
| huber(delta)    | sum of r^2/2 where abs(r) <= delta, else delta*(abs(r) - delta/2); delta defaults to 1            |
| pinball(q)      | sum of max(q*(y-o), (q-1)*(y-o)); q defaults to 0.5                                               |
| hinge           | binary: sum max(0, M - s*o), s = +-1; C outputs: sum max(0, M + max_{c != y} o_c - o_y); M = 1    |
| squared_hinge   | the square of each sample's hinge                                                                 |
| logistic        | binary only: sum log(1 + exp(-s*o))                                                               |
| cross_entropy   | C outputs: sum logsumexp(o) - o_y (o are the scores before a softmax output layer);               |
|                 | one output with 0/1 targets: the same as logistic                                                 |
| errors(margin)  | number of samples without s*o >= margin, or without o_y >= o_c + margin for every c != y           |

Binary losses take one output and targets with at most two distinct values out of {0, 1} or {-1, 1}: s = +1 for 1.
Class losses take C >= 2 outputs and one target column of class numbers 0..C-1.
Sources: Crammer and Singer (2001) for the multiclass hinge, Huber (1964), Koenker and Bassett (1978) for pinball.
"""

from __future__ import annotations

import numpy as np

from nnspec.tolerances import ERRORS_MARGIN

REGRESSION = ("sse", "mse", "sae", "mae", "max_error", "huber", "pinball")
CLASSIFICATION = ("hinge", "squared_hinge", "logistic", "cross_entropy", "errors")
KINDS = REGRESSION + CLASSIFICATION
CONVEX = tuple(k for k in KINDS if k != "errors")


def default_margin(kind: str) -> float:
    return ERRORS_MARGIN if kind == "errors" else 1.0


def signs(y: np.ndarray) -> np.ndarray:
    """Targets in {0, 1} or {-1, 1} as -1 and +1; shape (N,)."""
    return np.where(np.asarray(y).reshape(-1) > 0, 1.0, -1.0)


def margins(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    """By how much each sample's true class leads: s*o for one output, o_y - max_{c != y} o_c for several; (N,)."""
    if outputs.shape[1] == 1:
        return signs(y) * outputs[:, 0]
    label = np.asarray(y).reshape(-1).astype(int)
    rows = np.arange(len(label))
    others = outputs.copy()
    others[rows, label] = -np.inf
    return outputs[rows, label] - others.max(axis=1)


def per_sample(kind: str, outputs: np.ndarray, y: np.ndarray, *, delta: float | None = None, q: float | None = None,
               margin: float | None = None) -> np.ndarray:  # fmt: skip
    """The loss of each sample, (N,); mse and mae as their sums, max_error as each sample's largest error."""
    outputs = np.atleast_2d(np.asarray(outputs, dtype=float))
    if kind in REGRESSION:
        r = outputs - np.asarray(y, dtype=float).reshape(outputs.shape)
        match kind:
            case "sse" | "mse":
                return np.sum(r * r, axis=1)
            case "sae" | "mae":
                return np.sum(np.abs(r), axis=1)
            case "max_error":
                return np.max(np.abs(r), axis=1)
            case "huber":
                d = 1.0 if delta is None else delta
                a = np.abs(r)
                return np.sum(np.where(a <= d, 0.5 * r * r, d * (a - 0.5 * d)), axis=1)
            case "pinball":
                t = 0.5 if q is None else q
                return np.sum(np.maximum(-t * r, (1 - t) * r), axis=1)
    if kind == "logistic" or (kind == "cross_entropy" and outputs.shape[1] == 1):
        return np.logaddexp(0.0, -margins(outputs, y))
    if kind == "cross_entropy":
        label = np.asarray(y).reshape(-1).astype(int)
        top = outputs.max(axis=1, keepdims=True)
        logsumexp = top[:, 0] + np.log(np.exp(outputs - top).sum(axis=1))
        return logsumexp - outputs[np.arange(len(label)), label]
    lead = margins(outputs, y)
    m = default_margin(kind) if margin is None else margin
    match kind:
        case "hinge":
            return np.maximum(0.0, m - lead)
        case "squared_hinge":
            return np.maximum(0.0, m - lead) ** 2
        case "errors":
            return (lead < m).astype(float)
    raise ValueError(f"unknown loss {kind}")


def evaluate(kind: str, outputs: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None, *,
             delta: float | None = None, q: float | None = None, margin: float | None = None) -> float:  # fmt: skip
    """The loss of outputs (N, m) against targets (N, m) or class numbers (N,) or (N, 1)."""
    values = per_sample(kind, outputs, y, delta=delta, q=q, margin=margin)
    if kind == "max_error":
        return float(values.max())
    c = np.ones(len(values)) if weights is None else weights
    total = float(c @ values)
    return total / (float(c.sum()) * outputs.shape[1]) if kind in ("mse", "mae") else total
