"""Dead neurons: hidden neurons that no choice of weights lets matter are removed.

A neuron is dead if every weight that reads it is fixed at 0, or if its value is 0 on all samples for all weights in
their boxes: all that comes in is fixed at 0 and s(0) = 0, or the bounds of its pre-activation keep it there (a ReLU
whose pre-activation cannot be positive). Then the function on the data is the same without it, whatever its weights
are.
Conditions: the network is used on its data only, nothing names or ties the weights involved; and where a size counts
them, it is only minimised or bounded from above, and the neuron's weights may all be 0.
Inverse: the neuron's weights take the values of their domain that are nearest to 0.
Preserves: the loss of every network; sizes do not grow on the way there nor on the way back.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from nnspec.bounds.interval import Interval
from nnspec.bounds.propagate import layer_bounds
from nnspec.problem import expression as ex
from nnspec.problem.forward import activate
from nnspec.problem.network import Layer, Network, Parameter
from nnspec.problem.problem import Point, Problem
from nnspec.reductions.interface import Case, Reduced
from nnspec.reductions.structure import (
    covered,
    directed_sizes,
    expressions,
    named_tensors,
    nearest_to_zero,
    with_layers,
    with_network,
)


@dataclass(frozen=True, eq=False)
class Removal:
    """Neurons of a hidden layer to remove; `reader` is the layer after it."""

    network: Network
    layer: Layer
    reader: Layer
    dead: np.ndarray  # boolean, (units,)

    @property
    def parts(self) -> list[tuple[Parameter, int]]:
        """The tensors involved and the axis along which they have an entry a neuron."""
        assert self.reader.weights is not None
        return [*((p, 0) for p in self.layer.parameters), (self.reader.weights, 1)]


def removals(problem: Problem) -> list[Removal] | str:
    """What can be removed, or why nothing can."""
    found: list[Removal] = []
    reasons: list[str] = []
    for network in problem.networks.values():
        chain = network.chain() if network.free else None
        if chain is None:
            continue
        if any(isinstance(e, ex.NetworkOutput) and e.network == network.name for e in expressions(problem)):
            reasons.append(f"{network.name} is used on other inputs too")
            continue
        names = {e.data for e in expressions(problem) if isinstance(e, ex.Loss) and e.network == network.name}
        if not names:
            continue
        x = np.vstack([problem.data[name].x for name in sorted(names)])
        if x.shape[1:] != network.layers[0].shape:
            continue
        bounds = layer_bounds(network, Interval(x, x))
        for layer, reader in itertools.pairwise(chain):
            if layer.kind != "dense" or reader.kind != "dense" or layer.size == 1:
                continue
            post = bounds[layer.name].post
            dead = _closed(layer, reader) | np.all((post.lo == 0) & (post.hi == 0), axis=0)
            if dead.all():
                dead[0] = False  # a layer keeps one
            if not dead.any():
                continue
            removal = Removal(network, layer, reader, dead)
            reason = _forbidden(problem, removal)
            if reason is None:
                found.append(removal)
            else:
                reasons.append(reason)
    return found or next(iter(reasons), "no hidden neuron is dead")


def _zero(p: Parameter, axis: int) -> np.ndarray:
    """For each neuron, whether all its entries of a tensor are fixed at 0."""
    lo, hi = (p.lo, p.hi) if p.value is None else (p.value, p.value)
    zero = (np.asarray(lo).reshape(p.shape) == 0) & (np.asarray(hi).reshape(p.shape) == 0)
    return zero if zero.ndim == 1 else np.all(zero, axis=1 - axis)


def _closed(layer: Layer, reader: Layer) -> np.ndarray:
    """Neurons with nothing but fixed zeros before or behind them."""
    assert reader.weights is not None
    closed = _zero(reader.weights, 1)
    if activate(layer.activation, np.zeros((1, 1)))[0, 0] == 0:
        closed = closed | np.all([_zero(p, 0) for p in layer.parameters], axis=0)
    return closed


def _forbidden(problem: Problem, r: Removal) -> str | None:
    """Why these neurons have to stay."""
    named = named_tensors(problem)
    for p, _ in r.parts:
        if p.name in named:
            return f"{named[p.name]} speaks of {p.name}"
    if any(c.kind == "enforce" for c in problem.symmetry_claims):
        return "an enforced symmetry ties the weights"
    counted = any(item.l0 is not None for item in (r.network, r.layer, r.reader))
    names = {p.name for p, _ in r.parts}
    for e, smaller_is_fine in directed_sizes(problem):
        if e.network != r.network.name:
            continue
        if e.kind not in ("neurons", "inputs") and not names & {p.name for _, p in covered(r.network, e)}:
            continue
        if e.neuron is not None:
            return f"{e.kind} counts a single neuron"
        if not smaller_is_fine:
            return f"{e.kind} is not only minimised or bounded from above"
        counted = True
    if counted:
        for p, axis in r.parts:
            if np.any(np.compress(r.dead, nearest_to_zero(p), axis=axis) != 0):
                return f"weights of {p.name} that are counted cannot be 0"
    return None


class DeadNeurons:
    name = "dead neurons"

    def applies(self, problem: Problem, upper: float) -> str | None:
        found = removals(problem)
        return found if isinstance(found, str) else None

    def apply(self, problem: Problem, upper: float) -> Reduced:
        found = removals(problem)
        assert not isinstance(found, str)
        cuts: dict[str, list[tuple[Parameter, int, np.ndarray]]] = {}
        for r in found:
            for p, axis in r.parts:
                cuts.setdefault(p.name, []).append((p, axis, r.dead))
        sizes = {(r.network.name, r.layer.name): int((~r.dead).sum()) for r in found}
        for name in {r.network.name for r in found}:
            network = problem.networks[name]
            layers = []
            for layer in network.layers:
                w, b = (None if p is None else _cut(p, cuts.get(p.name, [])) for p in (layer.weights, layer.bias))
                shape = (sizes[name, layer.name],) if (name, layer.name) in sizes else layer.shape
                layers.append(replace(layer, weights=w, bias=b, shape=shape))
            problem = with_network(problem, with_layers(network, *layers))

        def forward(point: Point) -> Point:
            values = dict(point.parameters)
            for name, steps in cuts.items():
                if name in values:
                    value = np.asarray(values[name], dtype=float).reshape(steps[0][0].shape)
                    for _, axis, dead in steps:
                        value = np.compress(~dead, value, axis=axis)
                    values[name] = value
            return Point(values, dict(point.variables))

        def inverse(point: Point) -> Point:
            values = dict(point.parameters)
            for name, steps in cuts.items():
                if name in values:
                    p = steps[0][0]
                    value = nearest_to_zero(p)
                    kept = [np.arange(n) for n in p.shape]
                    for _, axis, dead in steps:
                        kept[axis] = np.flatnonzero(~dead)
                    value[np.ix_(*kept)] = np.reshape(values[name], [len(k) for k in kept])
                    values[name] = value
            return Point(values, dict(point.variables))

        text = ", ".join(f"{int(r.dead.sum())} of {r.network.name}.{r.layer.name}" for r in found)
        return Reduced((Case(problem, inverse, forward),), f"dead neurons removed: {text}")


def _cut(p: Parameter, steps: list[tuple[Parameter, int, np.ndarray]]) -> Parameter:
    """The tensor without the rows and columns of dead neurons."""
    arrays = [np.asarray(a).reshape(p.shape) for a in (p.lo, p.hi)]
    value = None if p.value is None else np.asarray(p.value).reshape(p.shape)
    for _, axis, dead in steps:
        arrays = [np.compress(~dead, a, axis=axis) for a in arrays]
        value = None if value is None else np.compress(~dead, value, axis=axis)
    return replace(p, shape=arrays[0].shape, lo=arrays[0], hi=arrays[1], value=value)
