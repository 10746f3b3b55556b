"""The bound of `wide` for the cases of a problem with weight decay.

It holds for objectives  k * loss + decay + anything nonnegative  with a squared loss (sse or mse) of one hidden layer;
constraints, budgets and boxes only take networks away. Cases with all output weights of one sign get the bound for that
sign, the others the one for both. Where the optimal infinitely wide network has few enough neurons of each sign, it is
a point of a case, and as good as the bound.
"""

from __future__ import annotations

import math

import numpy as np

from nnspec.problem import expression as ex
from nnspec.problem.problem import Point, Problem
from nnspec.reductions.scaling import Homogeneous
from nnspec.reductions.structure import nonnegative, penalties
from nnspec.reductions.wide import Wide, WideBound, patterns, wide_bound

SOURCE = "the convex program over all activation patterns"


class WideBounds:
    """`of` gives the bound of a case; `summary` says what was found."""

    def __init__(self, problem: Problem, h: Homogeneous, factor: float, biases: bool):
        self.h = h
        self.minimize = problem.minimize
        self.cells: np.ndarray | None = None
        self.found: dict[tuple[int, ...], WideBound] = {}
        self.constant = 0.0
        stated = _stated(problem, h, factor, biases)
        if stated is not None:
            self.constant, self.program = stated
            self.cells = patterns(self.program.x, self.program.biases != "none")

    @property
    def summary(self) -> str:
        if self.cells is None or not self.found:
            return ""
        least = min(b.value for b in self.found.values()) + self.constant
        return f"; {SOURCE} ({len(self.cells)} of them): at least {least if self.minimize else -least:.6g}"

    def of(self, signs: tuple[int, ...], case: Problem) -> tuple[float, tuple[Point, ...]]:
        """The bound of the case with these output signs, in the minimising sense, and points worth trying."""
        kinds = tuple(sorted({s for s in signs if s != 0}))
        if self.cells is None or not kinds:
            return -math.inf, ()
        if kinds not in self.found:
            self.found[kinds] = wide_bound(self.program, kinds, self.cells)
        bound = self.found[kinds]
        point = None if case.variables else self._point(bound, signs)
        return bound.value + self.constant, () if point is None else (point,)

    def _point(self, bound: WideBound, signs: tuple[int, ...]) -> Point | None:
        """The network that attains the bound in the weights of a case, if it has enough neurons of each sign."""
        hidden, out = self.h.hidden, self.h.out
        assert hidden.weights is not None
        w = np.zeros((len(signs), hidden.weights.shape[1]))
        b = np.zeros(len(signs))
        for sign in (1, -1):
            places = [k for k, s in enumerate(signs) if s == sign]
            rows = [u for s, u in bound.neurons if s == sign]
            if len(rows) > len(places):
                return None
            for k, u in zip(places, rows):
                w[k] = u[: w.shape[1]]
                b[k] = u[-1] if hidden.bias is not None else 0.0
        values: dict[str, np.ndarray] = {hidden.weights.name: w}
        if hidden.bias is not None:
            values[hidden.bias.name] = b
        if out.bias is not None and out.bias.free:
            values[out.bias.name] = np.clip(np.array([bound.output]), out.bias.lo, out.bias.hi)
        return Point(values, {})


def _stated(problem: Problem, h: Homogeneous, factor: float, biases: bool) -> tuple[float, Wide] | None:
    """(constant, the program over all patterns), or None where the objective or the network is of another form."""
    expression = problem.objective.expression
    if expression is None or len(h.network.chain() or ()) != 2:
        return None
    sign = 1.0 if problem.minimize else -1.0
    constant, terms = ex.linear_terms(expression)
    losses = [(sign * k, t) for k, t in terms if isinstance(t, ex.Loss)]
    rest = [(sign * k, t) for k, t in terms if not isinstance(t, ex.Loss)]
    if len(losses) != 1 or losses[0][0] <= 0 or not all(k >= 0 and nonnegative(t) for k, t in rest):
        return None
    k, loss = losses[0]
    data = problem.data[loss.data]
    if loss.kind not in ("sse", "mse") or loss.network != h.network.name or data.y.shape[1] != 1:
        return None
    m = k * (np.ones(data.samples) if data.weights is None else np.asarray(data.weights, dtype=float))
    if loss.kind == "mse":
        m = m / (float(m.sum()) / k)
    c, b = h.out.bias, h.hidden.bias
    output, penalty = (0.0, 0.0), 0.0
    if c is not None:
        lo, hi = (c.lo, c.hi) if c.value is None else (np.asarray(c.value), np.asarray(c.value))
        output = float(lo.reshape(-1)[0]), float(hi.reshape(-1)[0])
        penalty = max(0.0, penalties(problem, "l2").get(c.name, 0.0))
    if not np.all(np.isfinite(output)) or np.any(m <= 0):
        return None
    reach = 0.0
    if b is not None and not biases:
        largest = np.maximum(np.abs(h.v.lo), np.abs(h.v.hi)).reshape(-1)
        with np.errstate(invalid="ignore"):
            reach = float(np.nan_to_num(np.maximum(np.abs(b.lo), np.abs(b.hi)) * largest, nan=np.inf).max())
    kind = "none" if b is None else "decayed" if biases else "free"
    a = h.hidden.activation
    slope = {"relu": 0.0, "leaky_relu": a.alpha, "abs": -1.0}[a.kind]
    return sign * constant, Wide(data.x, data.y[:, 0], m, factor, kind, reach, output, penalty, h.units, slope)
