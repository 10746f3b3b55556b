"""Real biases that need only finitely many values: with finite weights the whole network becomes finite.

Let all inputs of a unit be multiples of 1/s on all samples (short fractions; values of neurons with finite weights) and
its weights finite, multiples of 1/t: then g_i = w.x_i is a multiple of 1/r with r = s t.

Thresholds. A `sign` or `step` unit fires on sample i if b >= -g_i, and -g_i is a multiple of 1/r: all b in a cell
[k/r, (k+1)/r) have the same pattern. One value a cell is enough; the middle, clipped to the box, keeps the unit away
from its jump, and every such cell meets the box in that value.

Output biases. If a free output bias c matters for one loss only, the best c for given weights is
- sae, mae, pinball: the loss is convex and piecewise linear in c with breakpoints y_i - g_i, so a breakpoint or an end
  of the box: multiples of 1/lcm(r, q), where the targets are multiples of 1/q;
- max_error: likewise, with crossings half-way between two breakpoints: multiples of 1/(2 lcm(r, q));
- hinge, one output: breakpoints s_i M - g_i with the margin M;
- errors, one output: the samples that are right are those with s_i (g_i + c) >= M; the least c in the box for which
  a set of samples is right is M - g_i for one of them, or the lower end;
- sse, mse: the mean of y_i - g_i with multiplicities of sum C, clipped to the box: a multiple of 1/(C lcm(r, q)).
Conditions: the bias is real and free; no size, budget, tie or expression looks at it; the network is seen through
losses on data only, and for output biases through a single loss, with a positive factor in a minimised objective.
The set of networks shrinks and the optimum stays: inverse is the identity, forward moves biases within their cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from nnspec.problem import expression as ex
from nnspec.problem.evaluate import loss as loss_value
from nnspec.problem.losses import default_margin
from nnspec.problem.network import Layer, Network, Parameter
from nnspec.problem.problem import Point, Problem
from nnspec.problem.rational import short_fraction
from nnspec.reductions.interface import Case, Reduced, identity
from nnspec.reductions.structure import covered, expressions, named_tensors, with_layers, with_network

MOST_VALUES = 20_000
"""Biases that would need more values than this stay real."""


def denominator(values: np.ndarray) -> int | None:
    """The least common denominator of floats that are short fractions; None if one is not, or it is enormous."""
    s = 1
    for v in np.unique(values):
        fraction = short_fraction(float(v))
        if fraction is None:
            return None
        s = math.lcm(s, fraction.denominator)
        if s > 10**9:
            return None
    return s


def _finite(p: Parameter) -> int | None:
    """The common denominator of all values of a tensor; None if it has a real entry."""
    if p.value is not None:
        return denominator(p.value)
    if p.kind == "int":
        return 1
    if p.kind == "set":
        return denominator(np.asarray(p.values))
    return denominator(p.lo) if np.array_equal(p.lo, p.hi) else None


@dataclass(frozen=True)
class _Grid:
    """A layer of a chain: its pre-activations without bias are multiples of 1/r on all samples."""

    layer: Layer
    r: int


def _grids(problem: Problem, network: Network) -> list[_Grid] | str:
    """The dense layers of a chain as long as their inputs are on a grid, or why there are none."""
    losses = [e for e in expressions(problem) if isinstance(e, ex.Loss) and e.network == network.name]
    if any(isinstance(e, ex.NetworkOutput) and e.network == network.name for e in expressions(problem)):
        return f"{network.name} is used on other inputs than data"
    chain = network.chain()
    if chain is None or not losses:
        return f"{network.name} is no plain chain on data"
    s = denominator(np.concatenate([problem.data[name].x.reshape(-1) for name in {e.data for e in losses}]))
    if s is None:
        return "the inputs are no short fractions"
    found = []
    for layer in chain:
        r: int | None = s
        if layer.kind == "dense":
            assert layer.weights is not None
            t = _finite(layer.weights)
            if t is None:
                break
            r = s * t
            found.append(_Grid(layer, r))
            if layer.activation.kind not in ("sign", "step") and layer.bias is not None:
                u = _finite(layer.bias)
                r = None if u is None else math.lcm(r, u)
        match layer.activation.kind:
            case "sign" | "step":
                r = 1
            case "linear" | "relu" | "abs" | "hardtanh":
                pass
            case "leaky_relu" if r is not None and (slope := short_fraction(layer.activation.alpha)) is not None:
                r *= slope.denominator
            case _:
                r = None
        if r is None or r > 10**9:
            break
        s = r
    return found if found else f"the weights of {network.name} are not finite"


def _open(problem: Problem, network: Network, layer: Layer) -> str | None:
    """Why the bias of a layer may not be moved, None if it may."""
    b = layer.bias
    if b is None or not b.free or b.kind != "real" or np.array_equal(b.lo, b.hi):
        return f"{network.name}.{layer.name} has no real bias"
    if not (np.isfinite(b.lo).all() and np.isfinite(b.hi).all()):
        return f"{b.name} has no finite bounds"
    if b.name in named_tensors(problem) or any(c.kind == "enforce" for c in problem.symmetry_claims):
        return f"{b.name} is named or tied"
    if layer.l0 is not None or network.l0 is not None:
        return f"a budget counts {b.name}"
    for e in expressions(problem):
        counts = isinstance(e, ex.Size) and e.network == network.name and e.kind in ("l0", "l1", "l2", "norm")
        if counts and b.name in {p.name for _, p in covered(network, e)}:  # type: ignore[arg-type]
            return f"a size counts {b.name}"
    return None


def _with_values(problem: Problem, network: Network, layer: Layer, values: set[float]) -> Problem:
    assert layer.bias is not None
    bias = replace(layer.bias, kind="set", values=tuple(sorted(values)))
    return with_network(problem, with_layers(network, replace(layer, bias=bias)))


class Thresholds:
    """Real biases of sign and step units become finite."""

    name = "finite thresholds"

    def applies(self, problem: Problem, upper: float) -> str | None:
        found = [self._layers(problem, n) for n in problem.networks.values() if n.free]
        if any(not isinstance(f, str) for f in found):
            return None
        return next((f for f in found if isinstance(f, str)), "no network is trained")

    def _layers(self, problem: Problem, network: Network) -> list[_Grid] | str:
        grids = _grids(problem, network)
        if isinstance(grids, str):
            return grids
        reason, chosen = f"{network.name} has no sign or step units with finite weights", []
        for g in grids:
            if g.layer.activation.kind in ("sign", "step"):
                refused = _open(problem, network, g.layer)
                if refused is None and g.r * float(np.max(g.layer.bias.hi - g.layer.bias.lo)) > MOST_VALUES:  # type: ignore[union-attr]
                    refused = f"{g.layer.bias.name} would need too many values"  # type: ignore[union-attr]
                if refused is None:
                    chosen.append(g)
                reason = refused or reason
        return chosen or reason

    def apply(self, problem: Problem, upper: float) -> Reduced:
        moves: dict[str, tuple[Parameter, int]] = {}
        reduced = problem
        for network in problem.networks.values():
            found = self._layers(problem, network) if network.free else ""
            for g in found if not isinstance(found, str) else ():
                b = g.layer.bias
                assert b is not None
                values = {v for lo, hi in zip(b.lo.reshape(-1), b.hi.reshape(-1)) for v in _cells(lo, hi, g.r)}
                reduced = _with_values(reduced, reduced.networks[network.name], g.layer, values)
                moves[b.name] = (b, g.r)

        def forward(point: Point) -> Point:
            new = {
                name: np.array([_representative(float(v), lo, hi, r) for v, lo, hi in zip(
                    np.asarray(point.parameters[name]).reshape(-1), b.lo.reshape(-1), b.hi.reshape(-1))]
                ).reshape(b.shape) for name, (b, r) in moves.items()
            }  # fmt: skip
            return Point({**point.parameters, **new}, point.variables)

        return Reduced((Case(reduced, identity, forward),), f"finitely many thresholds: {', '.join(moves)}")


def _representative(b: float, lo: float, hi: float, r: int) -> float:
    """The value that stands for the cell of a bias."""
    k = math.floor(Fraction(b) * r)
    return float(min(max((k + 0.5) / r, lo), hi))


def _cells(lo: float, hi: float, r: int) -> list[float]:
    first, last = math.floor(Fraction(lo) * r), math.floor(Fraction(hi) * r)
    return [float(min(max((k + 0.5) / r, lo), hi)) for k in range(first, last + 1)]


class OutputBias:
    """Real output biases become finite."""

    name = "finite output biases"

    def applies(self, problem: Problem, upper: float) -> str | None:
        found = [self._layer(problem, n) for n in problem.networks.values() if n.free]
        if any(not isinstance(f, str) for f in found):
            return None
        return next((f for f in found if isinstance(f, str)), "no network is trained")

    def _layer(self, problem: Problem, network: Network) -> tuple[Layer, ex.Loss, list[float]] | str:
        """The output layer, its loss and the values that its bias needs."""
        grids = _grids(problem, network)
        if isinstance(grids, str):
            return grids
        layer = network[network.outputs[0]]
        grid = next((g for g in grids if g.layer.name == layer.name), None)
        if grid is None or layer.activation.kind != "linear":
            return f"the outputs of {network.name} are not linear with finite weights"
        reason = _open(problem, network, layer)
        if reason is not None:
            return reason
        e = _only_loss(problem, network)
        if e is None:
            return f"{network.name} is seen by more than one loss that is minimised"
        values = _values(problem, e, layer, grid.r)
        if values is None:
            return f"the best output bias for {e.kind} has no short list of values"
        return layer, e, values

    def apply(self, problem: Problem, upper: float) -> Reduced:
        network = next(n for n in problem.networks.values() if n.free and not isinstance(self._layer(problem, n), str))
        found = self._layer(problem, network)
        assert not isinstance(found, str)
        layer, e, values = found
        b = layer.bias
        assert b is not None
        reduced = _with_values(problem, network, layer, set(values))

        def forward(point: Point) -> Point:
            bias = np.array(point.parameters[b.name], dtype=float).reshape(b.shape)
            for k in range(b.size):
                choices = np.array([v for v in values if b.lo[k] <= v <= b.hi[k]])
                bias[k] = _best(problem, e, point, b.name, bias, k, choices)
            return Point({**point.parameters, b.name: bias}, point.variables)

        count = len(values)
        return Reduced((Case(reduced, identity, forward),), f"finitely many values of {b.name}: at most {count}")


def _best(problem: Problem, e: ex.Loss, point: Point, name: str, bias: np.ndarray, k: int, choices: np.ndarray
          ) -> float:  # fmt: skip
    """The best of the values for entry k: convex losses are best next to the given bias or downhill from it, `errors`
    at the nearest value below. Searched by bisection over slopes, or all values if there are few."""

    def at(value: float) -> float:
        trial = bias.copy()
        trial[k] = value
        return loss_value(problem, Point({**point.parameters, name: trial}, point.variables), e)

    if e.kind == "errors" or len(choices) <= 64:
        near = int(np.searchsorted(choices, bias[k], side="right"))
        some = choices if len(choices) <= 64 else choices[max(0, near - 8) : near + 8]
        return float(min(some, key=at))
    low, high = 0, len(choices) - 1
    while high - low > 2:
        middle = (low + high) // 2
        if at(choices[middle]) <= at(choices[middle + 1]):
            high = middle + 1
        else:
            low = middle + 1
    return float(min(choices[low : high + 1], key=at))


def _only_loss(problem: Problem, network: Network) -> ex.Loss | None:
    """The one loss through which a network is seen, if it is minimised."""
    losses = [e for e in expressions(problem) if isinstance(e, ex.Loss) and e.network == network.name]
    if len(losses) != 1 or problem.objective.expression is None:
        return None
    sign = 1.0 if problem.minimize else -1.0
    for factor, term in ex.linear_terms(problem.objective.expression)[1]:
        if term is losses[0]:
            return losses[0] if sign * factor > 0 else None
    return None


def _values(problem: Problem, e: ex.Loss, layer: Layer, r: int) -> list[float] | None:
    """The values that output biases need, or None for losses without such a list."""
    data, b = problem.data[e.data], layer.bias
    assert b is not None
    single = layer.size == 1
    if e.kind in ("sae", "mae", "pinball", "sse", "mse") or (e.kind == "max_error" and single):
        q = denominator(data.y)
        if q is None:
            return None
        s = math.lcm(r, q) * (2 if e.kind == "max_error" else 1)
        if e.kind in ("sse", "mse"):
            counts = np.ones(data.samples) if data.weights is None else data.weights
            if not np.array_equal(counts, np.round(counts)):
                return None
            s *= int(counts.sum())
        shifts = [Fraction(0)]
    elif e.kind in ("hinge", "errors") and single:
        m = short_fraction(default_margin(e.kind) if e.margin is None else e.margin)
        if m is None:
            return None
        s, shifts = r, [m, -m]
    else:
        return None
    if s * float(np.max(b.hi - b.lo)) > MOST_VALUES:
        return None
    found: set[float] = set()
    for lo, hi in {(float(lo), float(hi)) for lo, hi in zip(b.lo, b.hi)}:
        found |= {lo, hi}
        for shift in shifts:
            first, last = math.ceil((Fraction(lo) - shift) * s), math.floor((Fraction(hi) - shift) * s)
            found |= {float(Fraction(k, s) + shift) for k in range(first, last + 1)}
    return sorted(found)


FINITE = (Thresholds(), OutputBias())
