"""The value of objective, constraints and domains at a point, in plain numpy: the judge of every engine."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nnspec.problem import expression as ex
from nnspec.problem import losses
from nnspec.problem.forward import forward, predict, scores
from nnspec.problem.network import Layer, Network
from nnspec.problem.problem import Point, Problem
from nnspec.problem.symmetry import asymmetry
from nnspec.tolerances import FEASIBILITY, STRICT_MARGIN

_FUNCTIONS = {
    "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos, "tanh": np.tanh, "abs": np.abs,
}  # fmt: skip


@dataclass(frozen=True)
class Violation:
    """Something a point does not respect, by how much, in the units of the spec."""

    what: str
    amount: float


def value(problem: Problem, point: Point, e: ex.Expression) -> float:
    """The number that an expression without comparisons takes at a point."""
    match e:
        case ex.Constant(value=v):
            return v
        case ex.VariableRef(name=name):
            return float(point.variables[name])
        case ex.ParameterRef(parameter=name, index=index):
            return float(_tensor(problem, point, name)[index])
        case ex.Sum(terms=terms):
            return math.fsum(value(problem, point, t) for t in terms)
        case ex.Product(factors=factors):
            return math.prod(value(problem, point, f) for f in factors)
        case ex.Quotient(numerator=a, denominator=b):
            numerator, denominator = value(problem, point, a), value(problem, point, b)
            return numerator / denominator if denominator != 0 else math.nan
        case ex.Power(base=a, exponent=k):
            base = value(problem, point, a)
            defined = base > 0 or (base == 0 and k > 0) or (base < 0 and k == int(k))
            return float(base**k) if defined else math.nan
        case ex.Function(name="min" | "max" as name, arguments=arguments):
            values = [value(problem, point, a) for a in arguments]
            return min(values) if name == "min" else max(values)
        case ex.Function(name="argmax", arguments=arguments):
            return float(np.argmax([value(problem, point, a) for a in arguments]))
        case ex.Function(name=name, arguments=(argument,)):
            return float(_FUNCTIONS[name](value(problem, point, argument)))
        case ex.NetworkOutput(network=name, arguments=arguments, output=k):
            x = np.array([[value(problem, point, a) for a in arguments]])
            return float(predict(problem.networks[name], point.parameters, x)[0, k])
        case ex.Loss():
            return loss(problem, point, e)
        case ex.Size():
            return size(problem, point, e)
    raise TypeError(f"not a numeric expression: {type(e).__name__}")


def loss(problem: Problem, point: Point, e: ex.Loss) -> float:
    network, data = problem.networks[e.network], problem.data[e.data]
    run = scores if e.kind == "cross_entropy" else forward
    outputs = run(network, point.parameters, data.x)
    return losses.evaluate(e.kind, outputs, data.y, data.weights, delta=e.delta, q=e.q, margin=e.margin)


def _tensor(problem: Problem, point: Point, name: str) -> np.ndarray:
    for p in problem.parameters():
        if p.name == name:
            v = p.value if p.value is not None else point.parameters[name]
            return np.asarray(v, dtype=float).reshape(p.shape)
    raise KeyError(name)


def _layer_arrays(layer: Layer, point: Point) -> tuple[np.ndarray | None, np.ndarray | None]:
    def get(p):  # type: ignore[no-untyped-def]
        return None if p is None else np.asarray(p.value if p.value is not None else point.parameters[p.name])

    return get(layer.weights), get(layer.bias)


def nonzeros(network: Network, point: Point, layer: str | None = None, tensor: str | None = None,
             neuron: int | None = None) -> int:  # fmt: skip
    """Exact number of nonzero weights and biases (only weights, or only biases, if a tensor is named)."""
    total = 0
    for item in network.layers:
        if layer is not None and item.name != layer:
            continue
        weights, bias = _layer_arrays(item, point)
        for kind, array in (("weights", weights), ("bias", bias)):
            if array is not None and tensor in (None, kind):
                total += int(np.count_nonzero(array if neuron is None else array[neuron]))
    return total


def consumers(network: Network, layer: str) -> list[tuple[Layer, int]]:
    """Layers with weights that read `layer` directly or through activations and concats, with the column offset."""
    found: list[tuple[Layer, int]] = []
    for item in network.layers:
        if layer not in item.inputs:
            continue
        if item.kind == "dense":
            found.append((item, 0))
        elif item.kind in ("activation", "flatten"):
            found.extend(consumers(network, item.name))
        elif item.kind == "concat":
            offset = sum(network[i].size for i in item.inputs[: item.inputs.index(layer)])
            found.extend((c, offset + o) for c, o in consumers(network, item.name))
        else:
            raise ValueError(f"neurons and inputs are not counted through {item.kind} layers")
    return found


def units_in_use(network: Network, point: Point, layer: str) -> np.ndarray:
    """For each unit of a layer, whether some weight that reads it is nonzero; boolean (units,)."""
    used = np.zeros(network[layer].size, dtype=bool)
    readers = consumers(network, layer)
    if not readers:
        used[:] = True
    for item, offset in readers:
        weights, _ = _layer_arrays(item, point)
        assert weights is not None
        used |= np.any(weights[:, offset : offset + used.size] != 0, axis=0)
    return used


def size(problem: Problem, point: Point, e: ex.Size) -> float:
    network = problem.networks[e.network]
    if e.kind == "l0":
        return float(nonzeros(network, point, e.layer, e.tensor, e.neuron))
    if e.kind == "neurons":
        hidden = [x for x in network.layers if x.parameters and x.name not in network.outputs]
        chosen = hidden if e.layer is None else [network[e.layer]]
        return float(sum(int(units_in_use(network, point, x.name).sum()) for x in chosen))
    if e.kind == "inputs":
        return float(sum(int(units_in_use(network, point, x.name).sum()) for x in network.inputs))
    if e.kind == "norm":
        return _sum_of_norms(network, point, e)
    total = 0.0
    for item in network.layers:
        if e.layer is not None and item.name != e.layer:
            continue
        weights, bias = _layer_arrays(item, point)
        arrays = [("weights", weights)]
        if e.biases or e.tensor == "bias":
            arrays.append(("bias", bias))
        for kind, array in arrays:
            if array is not None and e.tensor in (None, kind):
                part = array if e.neuron is None else array[e.neuron]
                total += float(np.abs(part).sum() if e.kind == "l1" else (part**2).sum())
    return total


def _sum_of_norms(network: Network, point: Point, e: ex.Size) -> float:
    total = 0.0
    for item in network.layers:
        weights, bias = _layer_arrays(item, point)
        if weights is None or e.layer not in (None, item.name):
            continue
        rows = weights.reshape(len(weights), -1)
        if e.biases and bias is not None:
            rows = np.hstack([rows, bias.reshape(len(rows), 1)])
        total += float(np.linalg.norm(rows, axis=1).sum())
    return total


def violation(problem: Problem, point: Point, e: ex.Expression) -> float:
    """By how much a comparison or logical expression is violated: 0 if it holds, and finite otherwise.

    and: the largest part; or: the smallest; `a ==> b` is `not a or b`; not: pushed to the comparisons.
    """
    match e:
        case ex.Comparison(operator=op, left=a, right=b):
            d = value(problem, point, a) - value(problem, point, b)
            return max(0.0, d) if op == "<=" else max(0.0, -d) if op == ">=" else abs(d)
        case ex.And(parts=parts):
            return max(violation(problem, point, p) for p in parts)
        case ex.Or(parts=parts):
            return min(violation(problem, point, p) for p in parts)
        case ex.Implies(premise=a, conclusion=b):
            return min(_negated(problem, point, a), violation(problem, point, b))
        case ex.Not(part=a):
            return _negated(problem, point, a)
    raise TypeError(f"not a constraint: {type(e).__name__}")


def _negated(problem: Problem, point: Point, e: ex.Expression) -> float:
    match e:
        case ex.Comparison(operator=op, left=a, right=b):
            d = value(problem, point, a) - value(problem, point, b)
            if op == "==":
                return 0.0 if abs(d) > FEASIBILITY else STRICT_MARGIN
            # not (a <= b) is a > b: on the boundary it is violated, by an amount that counts
            excess = d if op == "<=" else -d
            return 0.0 if excess > 0 else max(STRICT_MARGIN, -excess)
        case ex.And(parts=parts):
            return min(_negated(problem, point, p) for p in parts)
        case ex.Or(parts=parts):
            return max(_negated(problem, point, p) for p in parts)
        case ex.Implies(premise=a, conclusion=b):
            return max(violation(problem, point, a), _negated(problem, point, b))
        case ex.Not(part=a):
            return violation(problem, point, a)
    raise TypeError(f"not a constraint: {type(e).__name__}")


def objective(problem: Problem, point: Point) -> float:
    """The objective's value; 0 for `satisfy`."""
    e = problem.objective.expression
    return 0.0 if e is None else value(problem, point, e)


def violations(problem: Problem, point: Point, tolerance: float = FEASIBILITY) -> list[Violation]:
    """Everything the point does not respect: domains of weights and variables, budgets, constraints, ties,
    enforced symmetries (relative to the size of the outputs)."""
    found = []
    for p in problem.free_parameters():
        v = np.asarray(point.parameters[p.name], dtype=float).reshape(p.shape)
        amount = float(np.max(np.maximum(np.maximum(p.lo - v, v - p.hi), 0.0), initial=0.0))
        if p.kind == "int":
            amount = max(amount, float(np.max(np.abs(v - np.round(v)), initial=0.0)))
        elif p.kind == "set":
            distance = np.min(np.abs(v[..., None] - np.asarray(p.values)), axis=-1)
            amount = max(amount, float(np.max(distance, initial=0.0)))
        if amount > tolerance or math.isnan(amount):
            found.append(Violation(f"domain of {p.name}", amount))
    for x in problem.variables.values():
        number = float(point.variables[x.name])
        amount = max(x.lo - number, number - x.hi, 0.0, abs(number - round(number)) if x.kind != "real" else 0.0)
        if amount > tolerance or math.isnan(amount):
            found.append(Violation(f"domain of {x.name}", amount))
    for network in problem.networks.values():
        budgets = [(layer.name, layer.l0) for layer in network.layers if layer.l0 is not None]
        for name, budget in [*budgets, *([(None, network.l0)] if network.l0 is not None else [])]:
            count = nonzeros(network, point, name)
            if count > budget:
                found.append(Violation(f"l0 budget of {network.name}{'.' + name if name else ''}", count - budget))
    for c in problem.constraints:
        amount = violation(problem, point, c.expression)
        if amount > tolerance or math.isnan(amount):
            found.append(Violation(f"constraint {c.label or c.span}", amount))
    for tie in problem.ties:
        a, b = (np.asarray(point.parameters[n]).reshape(-1)[i] for n, i in (tie.target, tie.source))
        if abs(a - tie.sign * b) > tolerance:
            found.append(Violation(f"tie of {tie.target[0]}", abs(a - tie.sign * b)))
    for claim in problem.symmetry_claims:
        if claim.kind == "enforce":
            amount = asymmetry(problem.networks[claim.subject], point.parameters, claim)
            if amount > tolerance or math.isnan(amount):
                found.append(Violation(f"symmetry of {claim.subject} under {claim.group.description}", amount))
    return found
