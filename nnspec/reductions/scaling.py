"""The scale of positively homogeneous neurons is removed: output weights become +-1, and the products are gone.

For relu, leaky_relu and abs, v sigma(w.x + b) = s sigma(w'.x + b') with s = sign(v), w' = |v| w, b' = |v| b. So the
last hidden layer's outgoing weights may be fixed to signs; with interchangeable neurons only the number of positive
ones matters, which leaves H + 1 cases, each without a product between decisions: a squared loss becomes a convex
mixed-integer quadratic program, absolute, max, pinball and hinge loss a mixed-integer linear one.

Boxes: { (v w, v b) : 0 <= v <= V, (w, b) in a box that contains 0 } is V times that box, exactly, since a box with 0 is
star-shaped; asymmetric ranges -V1..V2 give V2 times the box to positive neurons and V1 times the box to negative ones.
Condition: the boxes of the hidden weights and biases contain 0. Deeper layers: the theorem is used for the last
hidden layer; the products of earlier layers remain.
Sizes: l0 of hidden weights is unchanged. l0 of output weights and `neurons` count the neurons in use; the cases then
also run over the number of neurons, and a case with n neurons counts n, which is exact for sizes that are minimised or
bounded from above. l1 and l2 of the weights involved do not allow it (l2: see `decay`).

Inverse: v = s V, w = w' / V; with infinite V the smallest scale >= 1 that respects the box of w and b.
Preserves: the loss of every network, all objectives and constraints that see the network through its outputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnspec.problem import expression as ex
from nnspec.problem.network import Layer, Network, Parameter
from nnspec.problem.problem import Point, Problem
from nnspec.problem.symmetry import may_break
from nnspec.reductions.interface import Case, Reduced
from nnspec.reductions.structure import covered, directed_sizes, named_tensors, with_layers, with_network

MAX_CASES = 64


@dataclass(frozen=True, eq=False)
class Homogeneous:
    """A hidden layer with homogeneous neurons right before an output layer with a single output."""

    network: Network
    hidden: Layer
    out: Layer

    @property
    def units(self) -> int:
        return self.hidden.size

    @property
    def tensors(self) -> tuple[Parameter, ...]:
        """Hidden weights and bias, and the output weights."""
        assert self.out.weights is not None
        return (*self.hidden.parameters, self.out.weights)

    @property
    def v(self) -> Parameter:
        assert self.out.weights is not None
        return self.out.weights


def homogeneous(problem: Problem) -> Homogeneous | str:
    """The layer that the theorem speaks of, or why there is none."""
    free = [n for n in problem.networks.values() if n.free]
    if not free:
        return "no network is trained"
    if len(free) > 1:
        return "several networks are trained"
    network = free[0]
    chain = network.chain()
    if chain is None:
        return f"{network.name} is not a chain of dense layers"
    if len(chain) < 2 or any(layer.kind != "dense" for layer in chain[-2:]):
        return f"{network.name} has no dense hidden layer before a dense output layer"
    hidden, out = chain[-2:]
    if hidden.activation.kind not in ("relu", "leaky_relu", "abs"):
        return f"{hidden.activation} is not positively homogeneous"
    if hidden.activation.kind == "leaky_relu" and hidden.activation.alpha < 0:
        return "a leaky_relu with a negative slope"
    if out.size != 1:
        return f"{network.name} has {out.size} outputs"
    found = Homogeneous(network, hidden, out)
    for p in found.tensors:
        if not p.free:
            return f"{p.name} is fixed"
        if p.kind != "real":
            return f"{p.name} has a discrete domain"
    for p in hidden.parameters:
        if np.any(p.lo > 0) or np.any(p.hi < 0):
            return f"the range of {p.name} does not contain 0"
    if not may_break(problem, network.name, hidden.name, "scaling"):
        return f"`break symmetry` does not list scaling for {network.name}.{hidden.name}"
    names = named_tensors(problem)
    for p in found.tensors:
        if p.name in names:
            return f"{names[p.name]} speaks of {p.name}"
    if problem.symmetry_claims and any(c.kind == "enforce" for c in problem.symmetry_claims):
        return "an enforced symmetry ties the weights"
    return found


def interchangeable(h: Homogeneous, problem: Problem) -> bool:
    """Whether all neurons have the same boxes and nothing speaks of a single one."""
    rows = [np.all(a == a[:1]) for p in h.hidden.parameters for a in (p.lo, p.hi)]
    named = any(isinstance(e, ex.Size) and e.neuron is not None and e.layer == h.hidden.name
                for e, _ in directed_sizes(problem))  # fmt: skip
    return all(rows) and bool(np.all(h.v.lo == h.v.lo[0, 0]) and np.all(h.v.hi == h.v.hi[0, 0])) and not named


def too_many_cases(h: Homogeneous, problem: Problem, counting: bool) -> str | None:
    """Why the signs of the output weights are too many cases (`counting`: those with zeros too), or None."""
    if not interchangeable(h, problem) and (counting or 2**h.units > MAX_CASES):
        return "the neurons are not interchangeable, which leaves too many cases"
    cases = (h.units + 1) * (h.units + 2) // 2 if counting else h.units + 1
    return f"{cases} cases of signs are too many" if cases > MAX_CASES else None


def counts_used(h: Homogeneous, problem: Problem) -> bool | str:
    """Whether something counts the neurons in use; a reason if it counts in a way that the cases cannot express."""
    counting = h.out.l0 is not None or h.network.l0 is not None
    for e, smaller_is_fine in directed_sizes(problem):
        if e.network != h.network.name or e.kind == "norm":
            continue
        shrinks = e.kind == "l0" and any(p in h.hidden.parameters for _, p in covered(h.network, e))
        shrinks |= e.kind == "inputs" and h.hidden.inputs[0] == h.network.layers[0].name
        if shrinks and not smaller_is_fine:  # neurons without effect are set to 0
            return f"{e.kind} is not only minimised or bounded from above"
        if e.kind == "inputs":
            continue
        if e.kind == "neurons":
            touched = e.layer in (None, h.hidden.name)
        else:
            touched = any(p.name == h.v.name for _, p in covered(h.network, e))
        if touched and e.neuron is not None:
            return "a size counts a single output neuron"
        if touched and not smaller_is_fine:
            return f"{e.kind} is not only minimised or bounded from above"
        counting |= touched
    if counting and np.any((h.v.lo > 0) | (h.v.hi < 0)):
        return f"the range of {h.v.name} does not contain 0"
    return counting


def forbidden_size(h: Homogeneous, problem: Problem, kinds: Sequence[str] = ("l1", "l2", "norm")) -> str | None:
    """An l1 or l2 of the weights involved."""
    names = {p.name for p in h.tensors}
    for e, _ in directed_sizes(problem):
        if e.kind in kinds and e.network == h.network.name and names & {p.name for _, p in covered(h.network, e)}:
            return "an l1 penalty becomes concave" if e.kind == "l1" else f"{e.kind} depends on the scale"
    return None


class Scaling:
    name = "scaling"

    def applies(self, problem: Problem, upper: float) -> str | None:
        h = homogeneous(problem)
        if isinstance(h, str):
            return h
        reason = forbidden_size(h, problem)
        if reason is not None:
            return reason
        counting = counts_used(h, problem)
        if isinstance(counting, str):
            return counting
        return too_many_cases(h, problem, counting)

    def apply(self, problem: Problem, upper: float) -> Reduced:
        h = homogeneous(problem)
        assert isinstance(h, Homogeneous)
        cases = tuple(sign_case(h, problem, signs) for signs in sign_patterns(h, problem))
        what = "output weights fixed to +-1, the products of that layer gone"
        if len(h.network.chain() or ()) > 2:
            what += "; earlier layers keep their scale"
        return Reduced(cases, f"scaling symmetry of {h.network.name}.{h.hidden.name}: {what}")


def sign_patterns(h: Homogeneous, problem: Problem) -> list[tuple[int, ...]]:
    """The sign vectors of the cases, those with mixed signs first; shorter ones have fewer neurons in use."""
    lo, hi = h.v.lo[0], h.v.hi[0]
    if not interchangeable(h, problem):
        choices = [[1] * bool(hi[k] > 0) + [-1] * bool(lo[k] < 0) or [1] for k in range(h.units)]
        return [tuple(signs) for signs in itertools.product(*choices)]
    up, down = bool(hi[0] > 0), bool(lo[0] < 0)
    found: list[tuple[int, ...]] = []
    for n in range(h.units + 1) if counts_used(h, problem) is True else [h.units]:
        positives = range(n + 1) if up and down else [0] if down else [n]
        found += [(1,) * k + (-1,) * (n - k) for k in positives]
    return sorted((s or (0,) for s in found), key=lambda s: (-len(s), abs(sum(s))))  # (0,): no neuron in use


def factors(h: Homogeneous, signs: tuple[int, ...]) -> np.ndarray:
    """The largest |v| of each neuron."""
    k = np.arange(len(signs))
    s = np.array(signs, dtype=int)
    largest = np.where(s > 0, np.maximum(h.v.hi[0][k], 0.0), np.maximum(-h.v.lo[0][k], 0.0))
    return np.where(s == 0, 0.0, largest)


def scaled(p: Parameter, factor: np.ndarray, shape: tuple[int, ...]) -> Parameter:
    """The tensor's first rows with their boxes times `factor`; 0 times infinity is 0."""
    f = factor.reshape(-1, *([1] * (len(shape) - 1)))
    with np.errstate(invalid="ignore"):
        lo, hi = (np.where((a == 0) | (f == 0), 0.0, a * f) for a in (p.lo[: shape[0]], p.hi[: shape[0]]))
    return replace(p, shape=shape, lo=lo, hi=hi)


def sign_case(h: Homogeneous, problem: Problem, signs: tuple[int, ...]) -> Case:
    """The problem with given signs of the output weights; neurons beyond the signs are not in use."""
    n = len(signs)
    factor = factors(h, signs)
    w, b = h.hidden.weights, h.hidden.bias
    assert w is not None
    hidden = replace(h.hidden, weights=scaled(w, factor, (n, *w.shape[1:])), shape=(n,),
                     bias=None if b is None else scaled(b, factor, (n,)))  # fmt: skip
    fixed = np.array([signs], dtype=float).reshape(1, n)
    v = replace(h.v, shape=(1, n), lo=fixed, hi=fixed, value=fixed)
    network = with_layers(h.network, hidden, replace(h.out, weights=v))
    mixed = interchangeable(h, problem)
    label = f"{sum(s > 0 for s in signs)} of {n} output weights positive" if mixed else \
        "output signs " + "".join("+" if s > 0 else "-" for s in signs)
    return Case(with_network(problem, network), lambda p: _back(h, signs, factor, p),
                lambda p: _into(h, signs, mixed, p), label)  # fmt: skip


def _back(h: Homogeneous, signs: tuple[int, ...], factor: np.ndarray, point: Point) -> Point:
    """A point of a case as a point of the problem."""
    n = len(signs)
    values = dict(point.parameters)
    rows = {p.name: np.asarray(point.parameters[p.name], dtype=float).reshape(n, -1) for p in h.hidden.parameters}
    v = np.clip(np.zeros(h.units), h.v.lo[0], h.v.hi[0])
    result = {p.name: np.zeros((h.units, p.size // h.units)) for p in h.hidden.parameters}
    for k, s in enumerate(signs):
        if all(np.all(r[k] == 0) for r in rows.values()):
            continue  # not in use
        scale = factor[k]
        if not np.isfinite(scale):
            scale = 1.0
            for p in h.hidden.parameters:
                r, lo, hi = rows[p.name][k], p.lo.reshape(h.units, -1)[k], p.hi.reshape(h.units, -1)[k]
                with np.errstate(all="ignore"):
                    needed = np.where(r > 0, r / hi, np.where(r < 0, r / lo, 0.0))
                scale = max(scale, float(np.nan_to_num(needed, posinf=1.0).max(initial=0.0)))
        v[k] = s * scale
        for name, r in rows.items():
            result[name][k] = r[k] / scale if scale > 0 else 0.0
    for p in h.hidden.parameters:
        values[p.name] = np.clip(result[p.name].reshape(p.shape), p.lo, p.hi)
    values[h.v.name] = v.reshape(h.v.shape)
    return Point(values, dict(point.variables))


def _into(h: Homogeneous, signs: tuple[int, ...], mixed: bool, point: Point) -> Point | None:
    """A point of the problem in a case, if its signs fit: neurons with v = 0 or without effect go anywhere."""
    v = np.asarray(point.parameters[h.v.name], dtype=float).reshape(-1)
    rows = {p.name: np.asarray(point.parameters[p.name], dtype=float).reshape(h.units, -1) for p in h.hidden.parameters}
    scaled_rows = {name: np.abs(v)[:, None] * r for name, r in rows.items()}
    used = np.zeros(h.units, dtype=bool)
    for r in scaled_rows.values():
        used |= np.any(r != 0, axis=1)
    slots: dict[int, int] = {}
    if mixed:
        places = {s: [i for i, own in enumerate(signs) if own == s] for s in (1, -1)}
        for k in np.flatnonzero(used).tolist():
            own = places[1 if v[k] > 0 else -1]
            if not own:
                return None
            slots[own.pop(0)] = k
    else:
        for k in np.flatnonzero(used).tolist():
            if (v[k] > 0) != (signs[k] > 0):
                return None
            slots[k] = k
    values = dict(point.parameters)
    for p in h.hidden.parameters:
        r = np.zeros((len(signs), p.size // h.units))
        for slot, k in slots.items():
            r[slot] = scaled_rows[p.name][k]
        values[p.name] = r.reshape(len(signs), *p.shape[1:])
    del values[h.v.name]
    return Point(values, dict(point.variables))
