"""What reductions ask of a problem: who names what, and in which direction sizes count."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from nnspec.problem import expression as ex
from nnspec.problem.network import Layer, Network, Parameter
from nnspec.problem.problem import Problem


def expressions(problem: Problem) -> Iterator[ex.Expression]:
    """All nodes of objective and constraints."""
    roots = [problem.objective.expression, *(c.expression for c in problem.constraints)]
    stack = [e for e in roots if e is not None]
    while stack:
        e = stack.pop()
        yield e
        stack.extend(ex.children(e))


def named_tensors(problem: Problem) -> dict[str, str]:
    """Tensors of which the spec names or ties single entries, with how."""
    found = {tie_end[0]: "a tie" for tie in problem.ties for tie_end in (tie.target, tie.source)}
    for e in expressions(problem):
        if isinstance(e, ex.ParameterRef):
            found[e.parameter] = "an expression that names a single weight"
    return found


def covered(network: Network, e: ex.Size) -> list[tuple[Layer, Parameter]]:
    """The tensors that an l0, l1, l2 or norm counts."""
    found = []
    for layer in network.layers:
        if e.layer is not None and layer.name != e.layer:
            continue
        for role, p in (("weights", layer.weights), ("bias", layer.bias)):
            if p is None or e.tensor not in (None, role):
                continue
            if e.kind != "l0" and role == "bias" and not e.biases and e.tensor != "bias":
                continue
            found.append((layer, p))
    return found


def directed_sizes(problem: Problem) -> list[tuple[ex.Size, bool]]:
    """Every size with whether smaller is always as good: minimised, or bounded from above only."""
    found: dict[int, tuple[ex.Size, bool]] = {}

    def add(e: ex.Expression, sign: float) -> None:
        for coefficient, term in ex.linear_terms(e)[1]:
            if isinstance(term, ex.Size):
                before = found.get(id(term), (term, True))[1]
                found[id(term)] = (term, before and coefficient * sign > 0)

    if problem.objective.expression is not None:
        add(problem.objective.expression, 1.0 if problem.minimize else -1.0)
    for c in problem.constraints:
        if isinstance(c.expression, ex.Comparison) and c.expression.operator in ("<=", ">="):
            sign = 1.0 if c.expression.operator == "<=" else -1.0
            add(c.expression.left, sign)
            add(c.expression.right, -sign)
    for e in expressions(problem):
        if isinstance(e, ex.Size) and id(e) not in found:
            found[id(e)] = (e, False)
    return list(found.values())


def nearest_to_zero(p: Parameter) -> np.ndarray:
    """For each entry of a tensor the value of its domain that is nearest to 0."""
    if p.value is not None:
        return np.array(p.value, dtype=float).reshape(p.shape)
    if p.kind == "set":
        values = np.asarray(p.values)[:, None]
        inside = (values >= p.lo.reshape(-1)) & (values <= p.hi.reshape(-1))
        best = np.where(inside, np.abs(values), np.inf).argmin(axis=0)
        return np.asarray(p.values, dtype=float)[best].reshape(p.shape)
    return np.clip(np.zeros(p.shape), p.lo, p.hi)


def with_network(problem: Problem, network: Network) -> Problem:
    return replace(problem, networks={**problem.networks, network.name: network})


def with_layers(network: Network, *changed: Layer) -> Network:
    """The network with layers replaced by those of the same name."""
    by_name = {layer.name: layer for layer in changed}
    return replace(network, layers=tuple(by_name.get(layer.name, layer) for layer in network.layers))


def nonnegative(e: ex.Expression) -> bool:
    """Whether an expression is known to be >= 0: losses, sizes, squares, constants."""
    match e:
        case ex.Loss() | ex.Size():
            return True
        case ex.Constant(value=v):
            return v >= 0
        case ex.Power(exponent=k):
            return k % 2 == 0
        case ex.Function(name="abs" | "sqrt" | "exp"):
            return True
    return False


def penalties(problem: Problem, kind: str) -> dict[str, float]:
    """Total factor of each tensor's l2 (or l1) in a minimised objective, over sizes of whole tensors."""
    total: dict[str, float] = {}
    e = problem.objective.expression
    if e is None:
        return total
    sign = 1.0 if problem.minimize else -1.0
    for coefficient, term in ex.linear_terms(e)[1]:
        if isinstance(term, ex.Size) and term.kind == kind and term.neuron is None:
            for _, p in covered(problem.networks[term.network], term):
                total[p.name] = total.get(p.name, 0.0) + sign * coefficient
    return total


def penalty_budget(problem: Problem, upper: float) -> float:
    """What all penalties together may cost at a point as good as `upper`: infinite unless every other term of the
    objective is known to be nonnegative."""
    e = problem.objective.expression
    if e is None or not math.isfinite(upper):
        return math.inf
    sign = 1.0 if problem.minimize else -1.0
    constant, terms = ex.linear_terms(e)
    if not all(nonnegative(t) and sign * c >= 0 for c, t in terms):
        return math.inf
    return max(0.0, upper - sign * constant) * (1 + 1e-9) + 1e-12
