"""A walk over neighbouring activation patterns.

Fix the linear piece that every hidden unit uses on every sample, and the problem is smooth inside the cell of weights
that have this pattern; local optima of piecewise-linear networks mostly lie on the boundary of their cell, where
gradient methods stall. The walk solves the cell's problem (SLSQP, with the losses |r|, max(0, t) and max |r| written
with slack variables), then flips units that sit on the boundary one at a time and moves on while that improves.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from nnspec.incumbents.graph import Pieces, run
from nnspec.incumbents.merit import Merit, walk
from nnspec.problem import expression as ex
from nnspec.problem.data import DataSet
from nnspec.problem.losses import default_margin, signs
from nnspec.problem.network import Activation, Network
from nnspec.tolerances import SIGN_MARGIN

POLYHEDRAL = ("sae", "mae", "max_error", "pinball", "hinge")
MAX_UNITS = 250  # units times samples above which a cell's problem is too big for SLSQP
_ON_BOUNDARY = 1e-6

# activation -> pieces (from, to, slope, offset)
_PIECES = {
    "relu": [(-np.inf, 0.0, 0.0, 0.0), (0.0, np.inf, 1.0, 0.0)],
    "abs": [(-np.inf, 0.0, -1.0, 0.0), (0.0, np.inf, 1.0, 0.0)],
    "hardtanh": [(-np.inf, -1.0, 0.0, -1.0), (-1.0, 1.0, 1.0, 0.0), (1.0, np.inf, 0.0, 1.0)],
    "sign": [(-np.inf, -SIGN_MARGIN, 0.0, -1.0), (0.0, np.inf, 0.0, 1.0)],
    "step": [(-np.inf, -SIGN_MARGIN, 0.0, 0.0), (0.0, np.inf, 0.0, 1.0)],
}


def _pieces(a: Activation) -> np.ndarray:
    """Rows (from, to, slope, offset) in ascending order."""
    if a.kind == "leaky_relu":
        return np.array([(-np.inf, 0.0, a.alpha, 0.0), (0.0, np.inf, 1.0, 0.0)])
    return np.array(_PIECES[a.kind])


@dataclass(frozen=True, eq=False)
class _Hidden:
    """A hidden layer with kinks: the network up to it, with a linear activation, gives its pre-activations."""

    layer: str
    network: Network
    table: np.ndarray


class Cells:
    """The walk for one trained chain on one data set; `applies` says whether there is one."""

    def __init__(self, merit: Merit):
        self.merit = merit
        losses = [e for e in walk(merit.problem) if isinstance(e, ex.Loss)]
        pairs = {(e.network, e.data) for e in losses}
        self.applies = False
        self.hidden: list[_Hidden] = []
        if len(pairs) != 1:
            return
        self.key = next(iter(pairs))
        self.network, self.data = merit.problem.networks[self.key[0]], merit.problem.data[self.key[1]]
        chain = self.network.chain()
        if chain is None or merit.coordinates.discrete.any():
            return
        for position, layer in enumerate(chain):
            a = layer.activation
            if a.kind in _PIECES or a.kind == "leaky_relu":
                upto = (self.network.layers[0], *chain[:position], replace(layer, activation=Activation("linear")))
                prefix = replace(self.network, layers=upto, outputs=(layer.name,))
                self.hidden.append(_Hidden(layer.name, prefix, _pieces(a)))
            elif not a.piecewise_linear and layer.name not in self.network.outputs:
                return
        units = sum(h.network[h.layer].size for h in self.hidden) * self.data.samples
        self.applies = bool(self.hidden) and units <= MAX_UNITS
        self.slack = self._slack_loss()

    def _slack_loss(self) -> ex.Loss | None:
        """The objective's only loss, if it has kinks and occurs nowhere else."""
        losses = [e for e in walk(self.merit.problem) if isinstance(e, ex.Loss)]
        objective = self.merit.problem.objective.expression
        if len(losses) != 1 or losses[0].kind not in POLYHEDRAL or objective is None:
            return None
        terms = ex.linear_terms(objective)[1]
        return next((e for c, e in terms if isinstance(e, ex.Loss) and c * self.merit.sign > 0), None)

    def pattern(self, z: np.ndarray) -> list[np.ndarray]:
        """For each hidden layer the number of the piece of each unit on each sample, (N, units)."""
        values = self._values(z[None])
        found: list[np.ndarray] = []
        for h in self.hidden:
            a = run(h.network, values, self.data.x[None], pieces=self._linear(found))[0][0]
            found.append((a[:, :, None] >= h.table[1:, 0]).sum(axis=2))
        return found

    def _linear(self, pattern: list[np.ndarray]) -> Pieces:
        return {h.layer: (h.table[p, 2], h.table[p, 3]) for h, p in zip(self.hidden, pattern)}

    def _values(self, z: np.ndarray) -> dict[str, np.ndarray]:
        return {**self.merit.constants, **self.merit.coordinates.expand(z)[0]}

    def _jacobian(self, network: Network, z: np.ndarray, pieces: Pieces) -> tuple[np.ndarray, np.ndarray]:
        """Outputs (N*m,) of a network and their derivatives (N*m, P)."""
        n = self.data.samples
        values = self._values(z[None])
        outputs, _ = run(network, values, self.data.x[None], pieces=pieces)
        m = outputs.shape[2]
        copies = np.broadcast_to(z, (n * m, len(z)))
        tensors, variables = self.merit.coordinates.expand(copies)
        _, pullback = run(network, {**self.merit.constants, **tensors}, self.data.x[None], pieces=pieces)
        grads = {name: np.zeros_like(t) for name, t in tensors.items()}
        pullback(np.eye(n * m).reshape(n * m, n, m), grads)
        return outputs[0].reshape(-1), self.merit.coordinates.collect(grads, np.zeros_like(variables))

    def _rows(self, z: np.ndarray, pattern: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Constraints g(z) >= 0 of the cell, and their Jacobian."""
        pieces = self._linear(pattern)
        values, jacobians = [], []
        for h, p in zip(self.hidden, pattern):
            a, j = self._jacobian(h.network, z, pieces)
            lo, hi = h.table[p, 0].reshape(-1), h.table[p, 1].reshape(-1)
            below, above = np.isfinite(lo), np.isfinite(hi)
            values += [a[below] - lo[below], hi[above] - a[above]]
            jacobians += [j[below], -j[above]]
        return np.concatenate(values), np.concatenate(jacobians)

    def _slack_rows(self, z: np.ndarray, t: np.ndarray, pieces: Pieces) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows g(z, t) >= 0 that put the slacks t above the terms of the loss; Jacobians in z and t."""
        e = self.slack
        assert e is not None
        o, j = self._jacobian(self.network, z, pieces)
        n, m = self.data.samples, len(o) // self.data.samples
        if e.kind == "hinge":
            margin = default_margin("hinge") if e.margin is None else e.margin
            if m == 1:
                s = signs(self.data.y)
                return t - margin + s * o, s[:, None] * j, np.eye(n)
            label = self.data.y.reshape(-1).astype(int)
            rows = [(i, c) for i in range(n) for c in range(m) if c != label[i]]
            i, c = np.array(rows).T
            true, rival = i * m + label[i], i * m + c
            return t[i] - margin - o[rival] + o[true], j[true] - j[rival], np.eye(n)[i]
        r = o - self.data.y.reshape(-1)
        up, down = (1.0, 1.0)
        if e.kind == "pinball":
            q = 0.5 if e.q is None else e.q
            up, down = 1 - q, q
        own = np.ones((len(r), 1)) if e.kind == "max_error" else np.eye(len(r))
        wide = np.repeat(t, len(r)) if e.kind == "max_error" else t
        return (np.concatenate([wide - up * r, wide + down * r]), np.concatenate([-up * j, down * j]),
                np.concatenate([own, own]))  # fmt: skip

    def solve(self, z: np.ndarray, pattern: list[np.ndarray]) -> tuple[np.ndarray, float]:
        """A local optimum of the cell's problem from z, and its merit (infinite if it is not feasible)."""
        from scipy.optimize import minimize  # slow to import, and not every search comes here

        merit, c = self.merit, self.merit.coordinates
        pieces = {self.key: self._linear(pattern)}
        size = c.size
        slack = self.slack
        t0, cost = np.zeros(0), np.zeros(0)
        if slack is not None:
            t0, cost = self._slack_start(z, slack)
        hold = (c.lo == c.hi)

        def value(u: np.ndarray) -> tuple[float, np.ndarray]:
            if slack is None:
                f, g = merit.value(u[None, :size], pieces=pieces)
                return float(f[0]), g[0]
            with np.errstate(all="ignore"):
                rest, slope = self._rest(merit._pass(u[None, :size], 0.0, None))
            return float(rest + cost @ u[size:]), np.concatenate([slope, cost])

        def rows(u: np.ndarray) -> np.ndarray:
            return both(u)[0]

        def both(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            key = u.tobytes()
            if cache.get("key") != key:
                g, j = self._rows(u[:size], pattern)
                j = np.hstack([j, np.zeros((len(j), len(u) - size))])
                if slack is not None:
                    gs, jz, jt = self._slack_rows(u[:size], u[size:], pieces[self.key])
                    g, j = np.concatenate([g, gs]), np.vstack([j, np.hstack([jz, jt])])
                cache.update(key=key, g=g, j=j)
            return cache["g"], cache["j"]

        cache: dict = {}
        constraints: list[dict] = [{"type": "ineq", "fun": rows, "jac": lambda u: both(u)[1]}]
        constraints += [side_constraint(merit, i, size + len(t0)) for i in range(len(merit.problem.constraints))]
        lo = np.concatenate([c.lo, np.zeros(len(t0))])
        hi = np.concatenate([c.hi, np.full(len(t0), np.inf)])
        start = np.concatenate([z, t0])
        with np.errstate(all="ignore"):
            found = minimize(value, start, jac=True, bounds=list(zip(lo, hi)), constraints=constraints,
                             method="SLSQP", options={"maxiter": 60, "ftol": 1e-13})  # fmt: skip
        u = np.clip(found.x[:size], c.lo, c.hi)
        u[hold] = c.lo[hold]
        if not np.all(np.isfinite(u)):
            return z, np.inf
        return u, self.true(u)

    def true(self, z: np.ndarray) -> float:
        """The objective at z, or infinity where a side constraint fails."""
        f = float(self.merit.value(z[None])[0][0])
        return f if np.isfinite(f) and self.merit.violation(z[None])[0] <= 5e-7 else np.inf

    def _slack_start(self, z: np.ndarray, e: ex.Loss) -> tuple[np.ndarray, np.ndarray]:
        """Start values of the slacks and their coefficients in the merit."""
        objective = self.merit.problem.objective.expression
        assert objective is not None
        factor = self.merit.sign * sum(k for k, term in ex.linear_terms(objective)[1] if term == e)
        o = run(self.network, self._values(z[None]), self.data.x[None])[0][0]
        c = np.ones(self.data.samples) if self.data.weights is None else self.data.weights
        if e.kind == "hinge":
            return _per_sample(e, o, self.data), factor * c
        r = np.abs(o - self.data.y)
        if e.kind == "max_error":
            return np.array([r.max()]), np.array([factor])
        if e.kind == "mae":
            factor /= float(c.sum()) * o.shape[1]
        return r.reshape(-1), factor * np.repeat(c, o.shape[1])

    def _rest(self, p) -> tuple[float, np.ndarray]:  # type: ignore[no-untyped-def]
        """The objective without the loss that the slacks stand for."""
        objective = self.merit.problem.objective.expression
        assert objective is not None
        constant, terms = ex.linear_terms(objective)
        rest = ex.Sum((ex.Constant(constant), *(ex.Product((ex.Constant(k), e)) for k, e in terms if e != self.slack)))
        v, pull = p.numeric(rest)
        pull(np.full(1, self.merit.sign))
        return self.merit.sign * float(v[0]), self.merit.coordinates.collect(p.grads, p.variable_grads)[0]

    def walk(self, z: np.ndarray, deadline: float, flips: int = 200) -> tuple[np.ndarray, float]:
        """From z to a point that no flip of a single unit on its cell's boundary improves, if time allows."""
        best = self.true(z)
        pattern = self.pattern(z)
        u, value = self.solve(z, pattern)
        if value < best:
            z, best = u, value
        tried: set[bytes] = {_key(pattern)}
        while flips > 0 and time.monotonic() < deadline:
            for neighbour in self._neighbours(z, pattern, tried):
                flips -= 1
                u, value = self.solve(z, neighbour)
                if value < best - 1e-9 * max(1e-9, abs(best)):
                    z, best, pattern = u, value, neighbour
                    break
                if flips <= 0 or time.monotonic() > deadline:
                    return z, best
            else:
                break
        return z, best

    def _neighbours(self, z: np.ndarray, pattern: list[np.ndarray], tried: set[bytes]):  # type: ignore[no-untyped-def]
        """Patterns that differ in one unit that sits on the boundary at z."""
        pieces = self._linear(pattern)
        values = self._values(z[None])
        for number, (h, p) in enumerate(zip(self.hidden, pattern)):
            a = run(h.network, values, self.data.x[None], pieces=pieces)[0][0]
            scale = _ON_BOUNDARY * max(1.0, float(np.abs(a).max()))
            if h.table[0, 1] < h.table[1, 0]:
                scale += SIGN_MARGIN
            for step in (-1, 1):
                edge = h.table[p, 0] if step < 0 else h.table[p, 1]
                for i, k in np.argwhere(np.abs(a - edge) <= scale):
                    flipped = [q.copy() for q in pattern]
                    flipped[number][i, k] += step
                    if _key(flipped) not in tried:
                        tried.add(_key(flipped))
                        yield flipped


def _per_sample(e: ex.Loss, o: np.ndarray, data: DataSet) -> np.ndarray:
    from nnspec.problem.losses import per_sample

    return per_sample(e.kind, o, data.y, delta=e.delta, q=e.q, margin=e.margin)


def _key(pattern: list[np.ndarray]) -> bytes:
    return b"".join(p.astype(np.int8).tobytes() for p in pattern)


def side_constraint(merit: Merit, number: int, size: int) -> dict:
    """A constraint of the problem as SLSQP wants it: comparisons as they stand, logical ones by their violation."""
    e = merit.problem.constraints[number].expression

    def at(u: np.ndarray) -> tuple[float, np.ndarray]:
        with np.errstate(all="ignore"):
            p = merit._pass(u[None, : merit.coordinates.size], 0.0, None)
            if isinstance(e, ex.Comparison):
                (a, pull_a), (b, pull_b) = p.numeric(e.left), p.numeric(e.right)
                s = -1.0 if e.operator == "<=" else 1.0
                v = s * (a - b)
                pull_a(np.full(1, s))
                pull_b(np.full(1, -s))
            else:
                v, pull = p.violation(e)
                v = -v
                pull(np.full(1, -1.0))
            g = merit.coordinates.collect(p.grads, p.variable_grads)[0]
        return float(v[0]), np.concatenate([g, np.zeros(size - len(g))])

    equality = isinstance(e, ex.Comparison) and e.operator == "=="
    fun: Callable[[np.ndarray], float] = lambda u: at(u)[0]  # noqa: E731
    return {"type": "eq" if equality else "ineq", "fun": fun, "jac": lambda u: at(u)[1]}


def best_distinct(z: np.ndarray, f: np.ndarray, count: int) -> list[int]:
    """Indices of the best `count` points whose values differ (equal values are mostly images of one point)."""
    chosen: list[int] = []
    for i in np.argsort(f, kind="stable"):
        if not np.isfinite(f[i]) or len(chosen) == count:
            break
        if all(abs(f[i] - f[j]) > 1e-7 * max(1e-9, abs(f[j])) for j in itertools.islice(reversed(chosen), 3)):
            chosen.append(int(i))
    return chosen
