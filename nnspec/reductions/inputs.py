"""Inputs that never vary.

If input j has the same value in every sample, w_kj x_j is a constant, and the first layer's units can do without w_kj:
- x_j = 0: the weight has no effect; it is fixed at 0, or the value of its domain nearest to 0;
- x_j = a: b_k + a w_kj ranges over the sum of two intervals, which becomes the box of the bias, and w_kj is fixed at 0.
  Condition: a real bias and a real weight, and no size or expression that looks at these weights.
Inverse: the sum b' is split again, as much as fits into the bias and the rest into the weight. Losses, and so all
objectives, are preserved; networks that are also used on other inputs (in expressions) are left alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nnspec.problem import expression as ex
from nnspec.problem.network import Layer, Network, Parameter
from nnspec.problem.problem import Point, Problem
from nnspec.reductions.interface import Case, Forward, Inverse, Reduced, identity
from nnspec.reductions.structure import (
    covered,
    directed_sizes,
    expressions,
    named_tensors,
    nearest_to_zero,
    with_layers,
    with_network,
)


def _first(problem: Problem, network: Network) -> tuple[Layer, np.ndarray, np.ndarray] | str:
    """The first layer, which inputs never vary, and their values; or why there is none."""
    readers = [x for x in network.layers if network.layers[0].name in x.inputs]
    if len(network.inputs) != 1 or len(readers) != 1 or readers[0].kind != "dense":
        return f"{network.name} does not begin with one dense layer"
    layer = readers[0]
    assert layer.weights is not None
    if not layer.weights.free:
        return f"{layer.weights.name} is fixed"
    if any(isinstance(e, ex.NetworkOutput) and e.network == network.name for e in expressions(problem)):
        return f"{network.name} is used on other inputs too"
    if layer.weights.name in named_tensors(problem) or any(c.kind == "enforce" for c in problem.symmetry_claims):
        return f"the weights of {network.name}.{layer.name} are named or tied"
    names = {e.data for e in expressions(problem) if isinstance(e, ex.Loss) and e.network == network.name}
    if not names:
        return "no data"
    x = np.vstack([problem.data[name].x for name in sorted(names)])
    constant = np.all(x == x[0], axis=0)
    open_ = np.any(layer.weights.lo < layer.weights.hi, axis=0)
    if not np.all(x[0][constant] == 0) and not _mergeable(problem, network, layer):
        constant &= x[0] == 0
    constant &= open_
    if constant.any() and _rewarded(problem, network, layer.weights):
        return "nonzero weights are asked for"
    return (layer, constant, x[0]) if constant.any() else "every input varies"


def _rewarded(problem: Problem, network: Network, w: Parameter) -> bool:
    """Whether a size of these weights may be wanted large."""
    for e, smaller_is_fine in directed_sizes(problem):
        if e.network != network.name or smaller_is_fine or e.kind == "neurons":
            continue
        if e.kind == "inputs" or w.name in {p.name for _, p in covered(network, e)}:
            return True
    return False


def _mergeable(problem: Problem, network: Network, layer: Layer) -> bool:
    w, b = layer.weights, layer.bias
    if w is None or b is None or not b.free or w.kind != "real" or b.kind != "real" or b.name in named_tensors(problem):
        return False
    if layer.l0 is not None or network.l0 is not None:
        return False
    for e in expressions(problem):
        if not isinstance(e, ex.Size) or e.network != network.name or e.kind == "neurons":
            continue
        if e.kind == "inputs" or {p.name for _, p in covered(network, e)} & {w.name, b.name}:
            return False
    return True


class ConstantInputs:
    name = "constant inputs"

    def applies(self, problem: Problem, upper: float) -> str | None:
        reasons = [_first(problem, n) for n in problem.networks.values() if n.free]
        if any(not isinstance(r, str) for r in reasons):
            return None
        return next((r for r in reasons if isinstance(r, str)), "no network is trained")

    def apply(self, problem: Problem, upper: float) -> Reduced:
        network = next(n for n in problem.networks.values() if n.free and not isinstance(_first(problem, n), str))
        found = _first(problem, network)
        assert not isinstance(found, str)
        layer, constant, x = found
        w, b = layer.weights, layer.bias
        assert w is not None
        rest = nearest_to_zero(w)
        lo, hi = w.lo.copy(), w.hi.copy()
        shifted = constant & (x != 0)
        rest[:, shifted] = 0.0
        lo[:, constant] = hi[:, constant] = rest[:, constant]
        changed = replace(layer, weights=replace(w, lo=lo, hi=hi))
        inverse: Inverse = identity
        forward: Forward = lambda point: _drop(w, constant, rest, point)  # noqa: E731
        if shifted.any():
            assert b is not None
            ends = np.stack([w.lo[:, shifted] * x[shifted], w.hi[:, shifted] * x[shifted]])
            low, high = ends.min(axis=0).sum(axis=1), ends.max(axis=0).sum(axis=1)
            changed = replace(changed, bias=replace(b, lo=b.lo + low, hi=b.hi + high))
            inverse = lambda point: _split(w, b, shifted, x, point)  # noqa: E731
            forward = lambda point: _drop(w, constant, rest, _join(w, b, shifted, x, point))  # noqa: E731
        columns = [network.input_names[j] if network.input_names else str(j) for j in np.flatnonzero(constant)]
        case = Case(with_network(problem, with_layers(network, changed)), inverse, forward)
        return Reduced((case,), f"inputs that never vary need no weights: {', '.join(columns)}")


def _drop(w: Parameter, columns: np.ndarray, rest: np.ndarray, point: Point) -> Point:
    """Weights without effect at the value that they are fixed at."""
    weights = np.array(point.parameters[w.name], dtype=float)
    weights[:, columns] = rest[:, columns]
    return Point({**point.parameters, w.name: weights}, point.variables)


def _split(w: Parameter, b: Parameter, columns: np.ndarray, x: np.ndarray, point: Point) -> Point:
    weights = np.array(point.parameters[w.name], dtype=float)
    total = np.asarray(point.parameters[b.name], dtype=float)
    base = np.clip(np.zeros(w.shape), w.lo, w.hi)
    weights[:, columns] = base[:, columns]
    left = total - weights[:, columns] @ x[columns]
    bias = np.clip(left, b.lo, b.hi)
    for j in np.flatnonzero(columns):
        missing = left - bias
        move = np.clip(weights[:, j] + missing / x[j], w.lo[:, j], w.hi[:, j]) - weights[:, j]
        weights[:, j] += move
        left = left - move * x[j]
        bias = np.clip(left, b.lo, b.hi)
    return Point({**point.parameters, w.name: weights, b.name: bias}, point.variables)


def _join(w: Parameter, b: Parameter, columns: np.ndarray, x: np.ndarray, point: Point) -> Point:
    weights = np.array(point.parameters[w.name], dtype=float)
    bias = np.asarray(point.parameters[b.name], dtype=float) + weights[:, columns] @ x[columns]
    weights[:, columns] = 0.0
    return Point({**point.parameters, w.name: weights, b.name: bias}, point.variables)
