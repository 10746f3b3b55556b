"""Losses as rows, by the definitions of `nnspec.problem.losses`.

Each template gets outputs o (N, m), targets, weights c (N,) (multiplicities, divided by the number of entries for mse
and mae) and a direction. With direction +1 (a loss that is minimised or bounded from above) the convex losses need
their epigraph only; with 0 or -1 they are modelled exactly, by the activation templates where that takes binaries:

| loss          | epigraph (+1)                                            | exact                                     |
|---------------|----------------------------------------------------------|-------------------------------------------|
| sse, mse      | t >= r^2                                                 | r^2                                       |
| sae, mae      | t >= r, t >= -r                                          | abs(r)                                    |
| max_error     | t >= r_ij, t >= -r_ij, one t                             | max abs(r_ij)                             |
| huber         | s^2/2 + d t, t >= abs(r - s), -d <= s <= d               | the same with t = relu(r-d) + relu(-r-d)  |
| pinball       | t >= -q r, t >= (1-q) r                                  | (1-q) r + relu(-r)                        |
| hinge         | t >= 0, t >= M - o_y + o_c                               | relu(M - lead)                            |
| squared_hinge | the square of that t                                     | relu(M - lead)^2                          |
| logistic      | softplus(-s o)                                           | the same                                  |
| cross_entropy | L - o_y, sum_k exp(o_k - L) <= 1                         | with = 1                                  |
| errors        | e binary, e = 0 => o_y - o_c >= M                        | and e = 1 => some o_y - o_c <= M - margin |

The Huber form is the Moreau envelope: min over s of s^2/2 + d abs(r - s) is huber(r).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnspec.bounds.interval import Interval
from nnspec.encodings.activations import activation
from nnspec.encodings.context import Context, culprit_of, labels, missing_bounds, words
from nnspec.encodings.maximum import maximum_of
from nnspec.encodings.registry import encoding
from nnspec.encodings.softmax import log_sum_exp
from nnspec.encodings.squares import weighted_squares
from nnspec.errors import Span
from nnspec.problem.losses import default_margin, signs
from nnspec.problem.network import Activation
from nnspec.program import Affine, Quadratic
from nnspec.tolerances import STRICT_MARGIN


@dataclass(frozen=True, eq=False)
class LossBlock:
    """What a loss template gets. `outputs` are scores (before a softmax) for cross_entropy."""

    context: Context
    kind: str
    outputs: Affine  # (N, m)
    y: np.ndarray
    c: np.ndarray  # (N,)
    direction: int
    path: str
    delta: float = 1.0
    q: float = 0.5
    margin: float = 1.0
    span: Span | None = None
    samples: Sequence[str] = ()  # readable words of the samples

    @property
    def residual(self) -> Affine:
        return self.outputs - np.asarray(self.y, dtype=float).reshape(self.outputs.shape)

    def weighted(self, t: Affine) -> Quadratic:
        """sum c_i t_ij for t (N,) or (N, m)."""
        return Quadratic.of((t * self.c.reshape(-1, *([1] * (t.ndim - 1)))).sum())

    def variables(
        self, role: str, like: Affine, lo: float | np.ndarray, hi: float | np.ndarray, complete: object
    ) -> Affine:
        """New variables of the shape of `like`, named after the samples."""
        axes = [list(self.samples) or [str(i) for i in range(like.shape[0])], *labels(like.shape[1:])]
        return self.context.program.add_variables(f"{self.path}.{role}", like.shape, lo, hi, labels=axes,
                                                  span=self.span, complete=complete)  # type: ignore[arg-type]  # fmt: skip

    def exact(self, kind: str, z: Affine, role: str) -> Affine:
        """An activation applied exactly."""
        return activation(self.context, Activation(kind), z, self.context.interval(z), f"{self.path}.{role}", self.span)

    def margins(self) -> Affine:
        """s o for one output (N, 1); o_y - o_c for each other class (N, C-1)."""
        n, m = self.outputs.shape
        if m == 1:
            return self.outputs * signs(self.y)[:, None]
        label = np.asarray(self.y).reshape(-1).astype(int)
        others = np.array([[c for c in range(m) if c != k] for k in label])
        rows = np.arange(n)[:, None]
        return self.outputs[rows, label[:, None]] - self.outputs[rows, others]

    def lead(self) -> Affine:
        """The smallest margin, exactly; (N,)."""
        d = self.margins()
        if d.shape[1] == 1:
            return d.reshape(-1)
        every = np.arange(d.shape[1])[None]
        rival = maximum_of(self.context, -d, -self.context.interval(d), every, f"{self.path}.rival", self.span)
        return -rival.reshape(-1)


@encoding(("sse", "mse"), "epigraph")
def squared(block: LossBlock) -> Quadratic:
    """sum c r^2."""
    r = block.residual
    c = np.broadcast_to(block.c[:, None], r.shape).reshape(-1)
    return weighted_squares(block.context, r.reshape(-1), c, block.direction, block.path, block.span)


def _above(block: LossBlock, role: str, parts: Sequence[Affine], floor: float = -np.inf) -> Affine:
    """t >= each part, elementwise, and t >= floor."""
    bounds = [block.context.interval(p) for p in parts]
    lo = np.maximum(np.maximum.reduce([b.lo for b in bounds]), floor)
    hi = np.maximum(np.maximum.reduce([b.hi for b in bounds]), floor)
    t = block.variables(role, parts[0], lo, hi,
                        lambda x: np.maximum(np.maximum.reduce([p.value(x) for p in parts]), floor))  # fmt: skip
    for p in parts:
        block.context.program.add_linear(t - p, 0.0, np.inf, f"{block.path}.{role}", block.span)
    return t


@encoding(("sae", "mae"), "epigraph")
def absolute(block: LossBlock) -> Quadratic:
    """sum c t, t >= abs(r)."""
    r = block.residual
    return block.weighted(_above(block, "error", [r, -r]) if block.direction > 0 else block.exact("abs", r, "error"))


@encoding("max_error", "epigraph")
def max_error(block: LossBlock) -> Quadratic:
    """t >= abs(r_ij) for all i and j."""
    r = block.residual.reshape(-1)
    program = block.context.program
    if block.direction > 0:
        b = block.context.interval(r).abs()
        t = program.add_variables(f"{block.path}.largest", (), b.lo.max(), b.hi.max(), span=block.span,
                                  complete=lambda x: np.abs(r.value(x)).max())  # fmt: skip
        for sign in (1.0, -1.0):
            program.add_linear(t - r * sign, 0.0, np.inf, f"{block.path}.largest", block.span)
        return Quadratic.of(t)
    a = block.exact("abs", r, "error").reshape(1, -1)
    top = maximum_of(block.context, a, block.context.interval(a), np.arange(a.size)[None], f"{block.path}.largest",
                     block.span)  # fmt: skip
    return Quadratic.of(top.reshape(()))


@encoding("huber", "epigraph")
def huber(block: LossBlock) -> Quadratic:
    """sum c (s^2/2 + d t), t >= abs(r - s), abs(s) <= d."""
    r, d = block.residual, block.delta
    if block.direction > 0:
        s = block.variables("core", r, -d, d, lambda x: np.clip(r.value(x), -d, d))
        t = _above(block, "tail", [r - s, s - r])
    else:
        above, below = block.exact("relu", r - d, "above"), block.exact("relu", -r - d, "below")
        s, t = r - above + below, above + below
    c = np.broadcast_to(block.c[:, None], r.shape).reshape(-1)
    core = weighted_squares(block.context, s.reshape(-1), 0.5 * c, block.direction, block.path, block.span)
    return core + block.weighted(t * d)


@encoding("pinball", "epigraph")
def pinball(block: LossBlock) -> Quadratic:
    """sum c t, t >= -q r, t >= (1-q) r."""
    r, q = block.residual, block.q
    if block.direction > 0:
        return block.weighted(_above(block, "tilted", [r * -q, r * (1 - q)]))
    return block.weighted(r * (1 - q) + block.exact("relu", -r, "below"))


def _hinge(block: LossBlock) -> Affine:
    if block.direction > 0:
        d = block.margin - block.margins()
        return _above(block, "hinge", [d[:, j] for j in range(d.shape[1])], 0.0)
    return block.exact("relu", block.margin - block.lead(), "hinge")


@encoding("hinge", "epigraph")
def hinge(block: LossBlock) -> Quadratic:
    """sum c t, t >= 0, t >= M - (o_y - o_c)."""
    return block.weighted(_hinge(block))


@encoding("squared_hinge", "epigraph")
def squared_hinge(block: LossBlock) -> Quadratic:
    """sum c t^2, t the hinge."""
    return weighted_squares(block.context, _hinge(block), block.c, block.direction, block.path, block.span)


@encoding("logistic", "epigraph")
def logistic(block: LossBlock) -> Quadratic:
    """sum c softplus(-s o)."""
    return block.weighted(block.exact("softplus", -block.margins().reshape(-1), "logistic"))


@encoding("cross_entropy", "epigraph")
def cross_entropy(block: LossBlock) -> Quadratic:
    """sum c (L - o_y), sum_k exp(o_k - L) <= 1; one output: logistic; two: softplus(o_c - o_y)."""
    if block.outputs.shape[1] <= 2:
        return logistic(block)
    label = np.asarray(block.y).reshape(-1).astype(int)
    top, _ = log_sum_exp(block.context, block.outputs, block.path, block.span, exact=block.direction <= 0)
    return block.weighted(top - block.outputs[np.arange(len(label)), label])


@encoding("errors", "bigm", needs={"bounds"})
def errors_bigm(block: LossBlock) -> Quadratic:
    """sum c e, o_y - o_c >= M - (M - lo_c) e with e binary."""
    return _errors(block, indicator=False)


@encoding("errors", "indicator", needs={"indicator"})
def errors_indicator(block: LossBlock) -> Quadratic:
    """sum c e, e = 0 => o_y - o_c >= M with e binary."""
    return _errors(block, indicator=True)


def _errors(block: LossBlock, indicator: bool) -> Quadratic:
    d, m, program = block.margins(), block.margin, block.context.program
    bounds = block.context.interval(d)
    wrong, right = np.any(bounds.hi < m, axis=1), np.all(bounds.lo >= m, axis=1)
    k = np.flatnonzero(~wrong & ~right)
    always = Quadratic.of(float(block.c[wrong].sum()))
    if not len(k):
        return always
    d, bounds = d[k], bounds[k]
    if not indicator and not bounds.finite:
        raise missing_bounds(block.path, culprit_of(block.context, list(block.context.problem.networks.values())),
                             "the bigm encoding of errors")  # fmt: skip
    names = [block.samples[int(i)] for i in k] if block.samples else [str(i) for i in k]
    e = program.add_variables(f"{block.path}.wrong", (len(k),), kind="binary", labels=(names,), span=block.span,
                              complete=lambda x: np.any(d.value(x) < m, axis=1))  # fmt: skip
    E = e.reshape(-1, 1).broadcast_to(d.shape)
    block.context.margins.append((E, d, m))
    if indicator:
        program.add_indicators(E, 0, d, m, np.inf, f"{block.path} right", block.span)
    else:
        program.add_linear(d + E * np.maximum(m - bounds.lo, 0.0), m, np.inf, f"{block.path} right", block.span)
    if block.direction <= 0:
        _really_wrong(block, d, bounds, E, e)
    return always + Quadratic.of((e * block.c[k]).sum())


def _really_wrong(block: LossBlock, d: Affine, bounds: Interval, E: Affine, e: Affine) -> None:
    """e = 1 only if some margin is below M: one binary a rival says which."""
    program, m = block.context.program, block.margin - STRICT_MARGIN
    which = program.add_variables(f"{block.path}.beaten by", d.shape, kind="binary", span=block.span,
                                  labels=(words(d.shape[:1]), words(d.shape[1:])),
                                  complete=lambda x: (np.arange(d.shape[1]) == np.argmin(d.value(x), axis=1)[:, None])
                                  & np.any(d.value(x) < block.margin, axis=1)[:, None])  # fmt: skip
    program.add_linear(which.sum(axis=1) - e, 0.0, np.inf, f"{block.path} wrong by one", block.span)
    program.add_indicators(which, 1, d, -np.inf, m, f"{block.path} wrong", block.span)


def encode_loss(context: Context, kind: str, outputs: Affine, y: np.ndarray, weights: np.ndarray | None,
                direction: int, path: str, span: Span | None = None, samples: Sequence[str] = (),
                delta: float | None = None, q: float | None = None,
                margin: float | None = None) -> Quadratic:  # fmt: skip
    """The loss of outputs (N, m) as an expression; the arguments are those of `losses.evaluate`."""
    n, m = outputs.shape
    c = np.ones(n) if weights is None else np.asarray(weights, dtype=float)
    if kind in ("mse", "mae"):
        c = c / (c.sum() * m)
    margin = default_margin(kind) if margin is None else margin
    delta, q = 1.0 if delta is None else delta, 0.5 if q is None else q
    block = LossBlock(context, kind, outputs, y, c, direction, path, delta, q, margin, span, samples)
    return context.choose(kind, path).encode(block)
