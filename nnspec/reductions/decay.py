"""Weight decay under the scaling symmetry becomes a sum of norms: second-order cones in place of products.

With penalties p |w_k|^2 (biases included or not) and q v_k^2 the best scale of a homogeneous neuron is explicit:
    min over s > 0 of  p |w'|^2 / s^2 + q s^2  =  2 sqrt(p q) |w'|,      at s^2 = sqrt(p / q) |w'|
(Neyshabur, Tomioka, Srebro 2015; Pilanci and Ergen 2020). The problem over (w', b') with output weights +-1 has the
objective  loss + 2 sqrt(p q) sum_k |w'_k| + what is left of the penalty (output bias, other layers).

Bounds: at a point as good as the incumbent U all penalties cost at most U, so |v| <= sqrt(U / q) and
|w'| <= U / (2 sqrt(p q)).
Exactness: a point of the problem always maps to a point of the case that is at least as good, so bounds hold. The way
back needs the best scale to respect the boxes; that is guaranteed if the boxes contain all weights that the bounds
above allow and the decay includes the biases. Otherwise the case is a relaxation, and its optimum is proven optimal for
the problem if the mapped point has the same value (the usual outcome). A neuron with w' = 0 is a constant; it goes into
the output bias.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np

from nnspec.problem import expression as ex
from nnspec.problem.forward import activate
from nnspec.problem.problem import Point, Problem
from nnspec.reductions.interface import Case, Reduced
from nnspec.reductions.scaling import (
    Homogeneous,
    counts_used,
    forbidden_size,
    homogeneous,
    sign_case,
    sign_patterns,
    too_many_cases,
)
from nnspec.reductions.structure import covered, directed_sizes, penalties, penalty_budget, with_layers, with_network
from nnspec.reductions.wide_bounds import SOURCE, WideBounds


def _factors(h: Homogeneous, problem: Problem) -> tuple[float, float, float] | str:
    """Decay of hidden weights, hidden biases and output weights; or why they do not fit the theorem."""
    names = {p.name for p in h.tensors}
    objective = problem.objective.expression
    if objective is None:
        return "nothing is minimised"
    top = [id(e) for _, e in ex.linear_terms(objective)[1]]
    seen = False
    for e, _ in directed_sizes(problem):
        touched = e.network == h.network.name and e.kind != "inputs" and e.kind != "neurons" and \
            any(p.name in names for _, p in covered(h.network, e))  # fmt: skip
        if e.kind == "l2" and touched:
            seen = True
            if id(e) not in top or e.neuron is not None:
                return "the decay is not a plain term of the objective"
    if not seen:
        return "no weight decay"
    total = penalties(problem, "l2")
    assert h.hidden.weights is not None
    p, q = total.get(h.hidden.weights.name, 0.0), total.get(h.v.name, 0.0)
    r = total.get(h.hidden.bias.name, 0.0) if h.hidden.bias is not None else 0.0
    if p <= 0 or q <= 0:
        return "the decay leaves out hidden or output weights"
    if r not in (0.0, p):
        return "biases decay with a factor of their own"
    return p, r, q


class Decay:
    name = "weight decay"

    def applies(self, problem: Problem, upper: float) -> str | None:
        h = homogeneous(problem)
        if isinstance(h, str):
            return h
        found = _factors(h, problem)
        if isinstance(found, str):
            return found
        if np.any((h.v.lo > 0) | (h.v.hi < 0)):
            return f"the range of {h.v.name} does not contain 0"
        reason = forbidden_size(h, problem, ("l1", "norm"))
        if reason is not None:
            return reason
        counting = counts_used(h, _without_decay(h, problem, 0.0, False))
        if isinstance(counting, str):
            return counting
        return too_many_cases(h, problem, counting)

    def apply(self, problem: Problem, upper: float) -> Reduced:
        h = homogeneous(problem)
        assert isinstance(h, Homogeneous)
        found = _factors(h, problem)
        assert not isinstance(found, str)
        p, r, q = found
        budget = penalty_budget(problem, upper)
        norm = budget / (2 * math.sqrt(p * q))
        exact = r > 0 or h.hidden.bias is None
        if exact:
            largest_v = math.sqrt(norm) * (p / q) ** 0.25
            largest_w = math.sqrt(norm) * (q / p) ** 0.25
            exact = bool(np.all(h.v.hi >= largest_v) and np.all(h.v.lo <= -largest_v)) and all(
                bool(np.all(t.hi >= largest_w) and np.all(t.lo <= -largest_w)) for t in h.hidden.parameters
            )
        reach = math.sqrt(budget / q)
        narrow = Homogeneous(h.network, h.hidden, replace(h.out, weights=replace(
            h.v, lo=np.maximum(h.v.lo, -reach), hi=np.minimum(h.v.hi, reach))))  # fmt: skip
        simpler = _without_decay(h, problem, 2 * math.sqrt(p * q), r > 0)
        bounds = WideBounds(problem, narrow, 2 * math.sqrt(p * q), r > 0)
        cases = []
        for signs in sign_patterns(h, simpler):
            case = sign_case(narrow, simpler, signs)
            network = case.problem.networks[h.network.name]
            hidden = network[h.hidden.name]
            assert hidden.weights is not None
            hidden = replace(hidden, weights=_within(hidden.weights, norm))
            if hidden.bias is not None and r > 0:
                hidden = replace(hidden, bias=_within(hidden.bias, norm))
            reduced = with_network(case.problem, with_layers(network, hidden))
            lower, points = bounds.of(signs, reduced)
            cases.append(Case(reduced, partial(_back, h, signs, p, r, q), case.forward, case.label, exact, lower,
                              SOURCE if math.isfinite(lower) else "", points))  # fmt: skip
        how = "" if exact else ", to be confirmed on the way back"
        return Reduced(tuple(cases), f"weight decay under the scaling symmetry of {h.network.name}.{h.hidden.name}: "
                       f"output weights fixed to +-1, the penalty a second-order cone a neuron{how}"
                       f"{bounds.summary}")  # fmt: skip


def _within(p, reach: float):  # type: ignore[no-untyped-def]
    return replace(p, lo=np.maximum(p.lo, -reach), hi=np.minimum(p.hi, reach))


def _without_decay(h: Homogeneous, problem: Problem, factor: float, biases: bool) -> Problem:
    """The objective with the decay of the layer's weights replaced by `factor` times the sum of norms."""
    e = problem.objective.expression
    assert e is not None
    sign = 1.0 if problem.minimize else -1.0
    constant, terms = ex.linear_terms(e)
    names = {p.name for p in h.tensors}
    kept: list[ex.Expression] = [ex.Constant(constant)] if constant else []
    left: dict[tuple[str, str, str], float] = {}
    for c, term in terms:
        if not (isinstance(term, ex.Size) and term.kind == "l2" and term.neuron is None):
            kept.append(ex.Product((ex.Constant(c), term)))
            continue
        for layer, p in covered(problem.networks[term.network], term):
            if p.name not in names:
                key = (term.network, layer.name, p.name.rsplit(".", 1)[1])
                left[key] = left.get(key, 0.0) + c
    for (of_network, of_layer, tensor), c in left.items():
        kept.append(ex.Product((ex.Constant(c), ex.Size("l2", of_network, of_layer, tensor))))
    if factor > 0:
        norm = ex.Size("norm", h.network.name, h.hidden.name, biases=biases)
        kept.append(ex.Product((ex.Constant(sign * factor), norm)))
    return replace(problem, objective=replace(problem.objective, expression=ex.Sum(tuple(kept), span=e.span)))


def _back(h: Homogeneous, signs: tuple[int, ...], p: float, r: float, q: float, point: Point) -> Point:
    """The balanced scale, moved into the boxes where it must be."""
    n = len(signs)
    values = dict(point.parameters)
    rows = {t.name: np.asarray(point.parameters[t.name], dtype=float).reshape(n, -1) for t in h.hidden.parameters}
    result = {t.name: np.zeros((h.units, t.size // h.units)) for t in h.hidden.parameters}
    v = np.zeros(h.units)
    constant = 0.0
    assert h.hidden.weights is not None
    for k, s in enumerate(signs):
        decayed = [rows[h.hidden.weights.name][k]] + ([rows[h.hidden.bias.name][k]] if r > 0 and h.hidden.bias else [])
        size = float(np.linalg.norm(np.concatenate(decayed)))
        if size == 0.0:
            if h.hidden.bias is not None and h.out.bias is not None and h.out.bias.free:
                constant += s * float(activate(h.hidden.activation, rows[h.hidden.bias.name][k])[0])
            continue
        scale = math.sqrt(size) * (p / q) ** 0.25
        for t in h.hidden.parameters:
            row, lo, hi = rows[t.name][k], t.lo.reshape(h.units, -1)[k], t.hi.reshape(h.units, -1)[k]
            with np.errstate(all="ignore"):
                needed = np.where(row > 0, row / hi, np.where(row < 0, row / lo, 0.0))
            needed = needed[np.isfinite(needed)]
            scale = max(scale, float(needed.max(initial=0.0)))
        scale = min(scale, float(h.v.hi[0, k] if s > 0 else -h.v.lo[0, k]))
        v[k] = s * scale
        for name, row_values in rows.items():
            result[name][k] = row_values[k] / scale if scale > 0 else 0.0
    for t in h.hidden.parameters:
        values[t.name] = np.clip(result[t.name].reshape(t.shape), t.lo, t.hi)
    values[h.v.name] = v.reshape(h.v.shape)
    if constant and h.out.bias is not None:
        b = np.asarray(values[h.out.bias.name], dtype=float) + constant
        values[h.out.bias.name] = np.clip(b, h.out.bias.lo, h.out.bias.hi)
    return Point(values, dict(point.variables))
