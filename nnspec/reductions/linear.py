"""A linear hidden layer in front of a single unit is no layer at all.

With z = W x + b (no activation) and v.z + c, the network computes u.x + e with u = W^T v and e = v.b + c. If the boxes
are symmetric and the same for all units (|w_kj| <= A_j, |b_k| <= A, |v_k| <= V_k), then u_j takes exactly the values
|u_j| <= A_j sum_k V_k and v.b exactly |.| <= A sum_k V_k, independently of each other: take v = V and equal rows.
So the two layers merge into one with these boxes, and the box of c is widened by A sum V.
Conditions: no size, budget, tie or expression looks at the weights involved; real domains; finite or infinite boxes.
Inverse: v_k = V_k, w_k = u / sum V, b_k = (what c cannot take) / sum V.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from nnspec.problem import expression as ex
from nnspec.problem.network import Layer, Network
from nnspec.problem.problem import Point, Problem
from nnspec.reductions.interface import Case, Reduced
from nnspec.reductions.structure import covered, expressions, named_tensors, with_network


def _pair(problem: Problem, network: Network) -> tuple[Layer, Layer] | str:
    chain = network.chain()
    if chain is None:
        return f"{network.name} is not a chain of dense layers"
    for first, second in itertools.pairwise(chain):
        if first.kind == second.kind == "dense" and first.activation.kind == "linear" and second.size == 1:
            reason = _reason(problem, network, first, second)
            return reason if reason is not None else (first, second)
    return "no linear layer in front of a single unit"


def _reason(problem: Problem, network: Network, first: Layer, second: Layer) -> str | None:
    tensors = [*first.parameters, *second.parameters]
    names = {p.name for p in tensors}
    for p in tensors:
        if not p.free or p.kind != "real":
            return f"{p.name} is fixed or discrete"
        if p.name in named_tensors(problem):
            return f"{p.name} is named or tied"
    assert second.weights is not None
    for p in [*first.parameters, second.weights]:
        if np.any(p.lo != -p.hi) or np.any(p.hi != p.hi[:1]):
            return f"the box of {p.name} is not symmetric and equal for all units"
    if first.bias is not None and second.bias is None:
        return f"{network.name}.{second.name} has no bias"
    if any(x.l0 is not None for x in (first, second)) or network.l0 is not None:
        return "a budget counts the weights"
    for e in expressions(problem):
        if isinstance(e, ex.Size) and e.network == network.name:
            if e.kind == "neurons" or (e.kind == "inputs" and first.inputs[0] == network.layers[0].name):
                return f"{e.kind} counts the units"
            if e.kind not in ("neurons", "inputs") and names & {p.name for _, p in covered(network, e)}:
                return f"{e.kind} counts the weights"
    if any(c.kind == "enforce" for c in problem.symmetry_claims):
        return "an enforced symmetry ties the weights"
    return None


class LinearLayers:
    name = "linear layers"

    def applies(self, problem: Problem, upper: float) -> str | None:
        found = [_pair(problem, n) for n in problem.networks.values() if n.free]
        if any(not isinstance(f, str) for f in found):
            return None
        return next((f for f in found if isinstance(f, str)), "no network is trained")

    def apply(self, problem: Problem, upper: float) -> Reduced:
        network = next(n for n in problem.networks.values() if n.free and not isinstance(_pair(problem, n), str))
        pair = _pair(problem, network)
        assert not isinstance(pair, str)
        first, second = pair
        w, b, v, c = first.weights, first.bias, second.weights, second.bias
        assert w is not None
        assert v is not None
        total = float(v.hi.sum())
        reach = np.zeros_like(w.hi[:1]) if total == 0 else np.where(w.hi[:1] == 0, 0.0, w.hi[:1] * total)
        extra = 0.0 if b is None or total == 0 or b.hi[0] == 0 else float(b.hi[0]) * total
        merged = replace(second, inputs=first.inputs, weights=replace(v, shape=(1, w.shape[1]), lo=-reach, hi=reach),
                         bias=None if c is None else replace(c, lo=c.lo - extra, hi=c.hi + extra))  # fmt: skip
        layers = tuple(merged if x is second else x for x in network.layers if x is not first)

        def inverse(point: Point) -> Point:
            u = np.asarray(point.parameters[v.name], dtype=float).reshape(1, -1)
            values = dict(point.parameters)
            scale = v.hi.reshape(-1) if np.isfinite(total) else np.full(v.size, _finite_scale(u, w.hi[0], v.size))
            values[v.name] = scale.reshape(v.shape)
            s = float(scale.sum())
            values[w.name] = np.repeat(u / s if s > 0 else 0 * u, first.size, axis=0)
            if c is not None:
                whole = np.asarray(point.parameters[c.name], dtype=float)
                values[c.name] = np.clip(whole, c.lo, c.hi)
                if b is not None:
                    rest = float((whole - values[c.name])[0])
                    values[b.name] = np.full(b.shape, rest / s if s > 0 else 0.0)
            return Point(values, dict(point.variables))

        def forward(point: Point) -> Point:
            values = dict(point.parameters)
            row = np.asarray(values[v.name], dtype=float).reshape(1, -1)
            values[v.name] = row @ np.asarray(values.pop(w.name), dtype=float)
            if b is not None and c is not None:
                through = row @ np.asarray(values.pop(b.name), dtype=float)
                values[c.name] = np.asarray(values[c.name], dtype=float) + through
            return Point(values, dict(point.variables))

        case = Case(with_network(problem, replace(network, layers=layers)), inverse, forward)
        return Reduced((case,), f"linear layer {network.name}.{first.name} merged into {second.name}")


def _finite_scale(u: np.ndarray, reach: np.ndarray, units: int) -> float:
    """An output weight large enough for the hidden weights to stay in their box, where output weights are unbounded."""
    with np.errstate(all="ignore"):
        needed = np.abs(u[0]) / (reach * units)
    needed = needed[np.isfinite(needed)]
    return max(1.0, float(needed.max(initial=0.0)))
