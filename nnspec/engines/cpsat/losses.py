"""Losses in exact arithmetic, by the definitions of `nnspec.problem.losses`."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from nnspec.engines.cpsat.exact import Builder, Form, NotExact, rational, total
from nnspec.engines.cpsat.network import Forms, constants
from nnspec.problem import expression as ex
from nnspec.problem.data import DataSet
from nnspec.problem.losses import REGRESSION, default_margin, signs

IRRATIONAL = ("logistic", "cross_entropy")


def loss(builder: Builder, e: ex.Loss, outputs: Forms, data: DataSet) -> Form:
    """The value of a loss for outputs (N, m). Raises NotExact for logarithms."""
    if e.kind in IRRATIONAL:
        raise NotExact(f"{e.kind} has irrational values")
    values = _per_sample(builder, e, outputs, data)
    if e.kind == "max_error":
        return builder.maximum(values)
    counts = np.ones(len(values)) if data.weights is None else data.weights
    c = [rational(float(k), f"a multiplicity of {data.name}") for k in counts]
    weighted = total([v.times(k) for v, k in zip(values, c)])
    return weighted.times(1 / (sum(c) * outputs.shape[1])) if e.kind in ("mse", "mae") else weighted


def _per_sample(builder: Builder, e: ex.Loss, outputs: Forms, data: DataSet) -> list[Form]:
    if e.kind in REGRESSION:
        y = constants(data.y.reshape(outputs.shape), f"a target of {data.name}")
        residuals = [[o - t for o, t in zip(*row)] for row in zip(outputs, y)]
        if e.kind == "max_error":
            return [builder.maximum([builder.magnitude(r) for r in row]) for row in residuals]
        return [total([_entry(builder, e, r) for r in row]) for row in residuals]
    leads = _margins(builder, outputs, data)
    m = rational(default_margin(e.kind) if e.margin is None else e.margin, "the margin")
    if e.kind == "errors":
        return [Form.of(1) - builder.nonnegative(lead - m) for lead in leads]
    short = [builder.maximum([Form.of(m) - lead, Form.of(0)]) for lead in leads]
    return short if e.kind == "hinge" else [builder.square(s) for s in short]


def _entry(builder: Builder, e: ex.Loss, r: Form) -> Form:
    """The part of one residual."""
    match e.kind:
        case "sse" | "mse":
            return builder.square(r)
        case "sae" | "mae":
            return builder.magnitude(r)
        case "huber":
            # with a = |r| and c = min(a, d): c^2 / 2 + d (a - c) is a^2 / 2 up to d and d (a - d / 2) beyond
            d = rational(1.0 if e.delta is None else e.delta, "delta")
            a = builder.magnitude(r)
            c = builder.minimum([a, Form.of(d)])
            return builder.square(c).times(Fraction(1, 2)) + (a - c).times(d)
        case "pinball":
            q = rational(0.5 if e.q is None else e.q, "q")
            return builder.maximum([r.times(-q), r.times(1 - q)])
    raise NotExact(f"the loss {e.kind} is not set up for exact arithmetic")


def _margins(builder: Builder, outputs: Forms, data: DataSet) -> list[Form]:
    """By how much each sample's true class leads."""
    if outputs.shape[1] == 1:
        return [o.times(int(s)) for o, s in zip(outputs[:, 0], signs(data.y))]
    labels = data.y.reshape(-1).astype(int)
    return [
        builder.minimum([row[label] - o for k, o in enumerate(row) if k != label])
        for row, label in zip(outputs, labels)
    ]
