"""Objective and violation of a problem at many points at once, with gradients with respect to the coordinates.

`Merit.value` is the objective in the minimising sense plus `penalty` times the sum of squared violations. Counting
terms (l0, neurons, inputs) have their value and no gradient. `nnspec.problem.evaluate` stays the judge of a point.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnspec.incumbents import smooth
from nnspec.incumbents.coordinates import Coordinates, coordinates
from nnspec.incumbents.graph import Gradients, Pieces, Pullback, run
from nnspec.problem import evaluate
from nnspec.problem import expression as ex
from nnspec.problem.problem import Problem
from nnspec.tolerances import FEASIBILITY, STRICT_MARGIN

Pull = Callable[[np.ndarray], None]  # takes d(merit)/d(value), shape (S,)

_DERIVATIVES: dict[str, tuple[Callable, Callable]] = {
    "exp": (np.exp, np.exp), "log": (np.log, lambda a: 1 / a), "sqrt": (np.sqrt, lambda a: 0.5 / np.sqrt(a)),
    "sin": (np.sin, np.cos), "cos": (np.cos, lambda a: -np.sin(a)), "tanh": (np.tanh, lambda a: 1 - np.tanh(a) ** 2),
    "abs": (np.abs, np.sign),
}  # fmt: skip


def _nothing(_: np.ndarray) -> None:
    return None


@dataclass
class _Pass:
    """One evaluation: the tensors and variables, and where their gradients are summed up."""

    merit: Merit
    z: np.ndarray
    eps: float
    sharpness: float | None
    tensors: dict[str, np.ndarray]
    variables: np.ndarray
    grads: Gradients
    variable_grads: np.ndarray
    pieces: Mapping[tuple[str, str], Pieces] = field(default_factory=dict)  # (network, data) -> pieces
    outputs: dict[tuple[str, str, bool], tuple[np.ndarray, Pullback]] = field(default_factory=dict)

    def numeric(self, e: ex.Expression) -> tuple[np.ndarray, Pull]:
        n = len(self.z)
        match e:
            case ex.Constant(value=v):
                return np.full(n, v), _nothing
            case ex.VariableRef(name=name):
                j = self.merit.coordinates.variables.index(name)

                def to_variable(g: np.ndarray) -> None:
                    self.variable_grads[:, j] += g

                return self.variables[:, j], to_variable
            case ex.ParameterRef(parameter=name, index=index):
                at: Any = (slice(None), *index)

                def to_entry(g: np.ndarray) -> None:
                    if name in self.grads:
                        self.grads[name][at] += g

                return np.broadcast_to(self.tensors[name][at], (n,)), to_entry
            case ex.Sum(terms=terms):
                parts = [self.numeric(t) for t in terms]

                def to_terms(g: np.ndarray) -> None:
                    for _, pull in parts:
                        pull(g)

                return np.sum([v for v, _ in parts], axis=0), to_terms
            case ex.Product(factors=factors):
                parts = [self.numeric(f) for f in factors]

                def to_factors(g: np.ndarray) -> None:
                    for i, (_, pull) in enumerate(parts):
                        pull(g * np.prod([v for j, (v, _) in enumerate(parts) if j != i], axis=0))

                return np.prod([v for v, _ in parts], axis=0), to_factors
            case ex.Quotient(numerator=a, denominator=b):
                (va, pa), (vb, pb) = self.numeric(a), self.numeric(b)

                def to_quotient(g: np.ndarray) -> None:
                    pa(g / vb)
                    pb(-g * va / vb**2)

                return va / vb, to_quotient
            case ex.Power(base=a, exponent=k):
                va, pa = self.numeric(a)
                return va**k, lambda g: pa(g * k * va ** (k - 1))
            case ex.Function(name="min" | "max" as name, arguments=arguments):
                parts = [self.numeric(a) for a in arguments]
                table = np.array([v for v, _ in parts])
                chosen = table.argmin(axis=0) if name == "min" else table.argmax(axis=0)

                def to_chosen(g: np.ndarray) -> None:
                    for i, (_, pull) in enumerate(parts):
                        pull(g * (chosen == i))

                return np.take_along_axis(table, chosen[None], axis=0)[0], to_chosen
            case ex.Function(name="argmax", arguments=arguments):
                table = np.array([self.numeric(a)[0] for a in arguments])
                return table.argmax(axis=0).astype(float), lambda g: None  # piecewise constant
            case ex.Function(name=name, arguments=(argument,)):
                f, d = _DERIVATIVES[name]
                va, pa = self.numeric(argument)
                return f(va), lambda g: pa(g * d(va))
            case ex.NetworkOutput():
                return self.network_output(e)
            case ex.Loss():
                return self.loss(e)
            case ex.Size():
                return self.size(e)
        raise TypeError(f"not a numeric expression: {type(e).__name__}")

    def network_output(self, e: ex.NetworkOutput) -> tuple[np.ndarray, Pull]:
        network = self.merit.problem.networks[e.network]
        parts = [self.numeric(a) for a in e.arguments]
        raw = np.stack([v for v, _ in parts], axis=1)[:, None, :]
        scaling = network.input_scaling
        outputs, pullback = run(network, self.tensors, scaling.apply(raw) if scaling is not None else raw,
                                sharpness=self.sharpness)  # fmt: skip
        factor = 1.0 if network.output_scaling is None else float(network.output_scaling.factor[e.output])
        shift = 0.0 if network.output_scaling is None else float(network.output_scaling.shift[e.output])

        def pull(g: np.ndarray) -> None:
            up = np.zeros((len(g), 1, outputs.shape[2]))
            up[:, 0, e.output] = g * factor
            down = pullback(up, self.grads)[:, 0, :]
            if scaling is not None:
                down = down / scaling.factor
            for i, (_, part) in enumerate(parts):
                part(down[:, i])

        return outputs[:, 0, e.output] * factor + shift, pull

    def loss(self, e: ex.Loss) -> tuple[np.ndarray, Pull]:
        key = (e.network, e.data, e.kind == "cross_entropy")
        data = self.merit.problem.data[e.data]
        if key not in self.outputs:
            self.outputs[key] = run(self.merit.problem.networks[e.network], self.tensors, data.x[None],
                                    before_softmax=key[2], sharpness=self.sharpness,
                                    pieces=self.pieces.get(key[:2]))  # fmt: skip
        outputs, pullback = self.outputs[key]
        outputs = np.broadcast_to(outputs, (len(self.z), *outputs.shape[1:]))
        value, slope = smooth.loss(e, outputs, data.y, data.weights, self.eps)

        def pull(g: np.ndarray) -> None:
            pullback(slope * g[:, None, None], self.grads)

        return value, pull

    def size(self, e: ex.Size) -> tuple[np.ndarray, Pull]:
        network = self.merit.problem.networks[e.network]
        n = len(self.z)
        if e.kind in ("neurons", "inputs"):
            problem, points = self.merit.problem, map(self.merit.coordinates.point, self.z)
            return np.array([evaluate.size(problem, p, e) for p in points]), _nothing
        if e.kind == "norm":
            return self.sum_of_norms(e)
        total = np.zeros(n)
        pulls: list[Pull] = []
        for layer in network.layers:
            if e.layer is not None and layer.name != e.layer:
                continue
            for kind, p in (("weights", layer.weights), ("bias", layer.bias)):
                if p is None or e.tensor not in (None, kind):
                    continue
                if e.kind != "l0" and kind == "bias" and not e.biases and e.tensor != "bias":
                    continue
                value = self.tensors[p.name]
                at = (slice(None), *(() if e.neuron is None else (slice(e.neuron, e.neuron + 1),)))
                part = value[at].reshape(len(value), -1)
                if e.kind == "l0":
                    total = total + (part != 0).sum(axis=1)
                    continue
                root = np.sqrt(part**2 + self.eps**2) if e.kind == "l1" else part
                slope = part / np.where(root == 0, 1.0, root) if e.kind == "l1" else 2 * part
                total = total + (root.sum(axis=1) if e.kind == "l1" else (part**2).sum(axis=1))

                def pull(g: np.ndarray, name: str = p.name, at: tuple = at, slope: np.ndarray = slope) -> None:
                    if name in self.grads:
                        target = self.grads[name][at]
                        target += (g[:, None] * slope).reshape(target.shape)

                pulls.append(pull)

        def pull_all(g: np.ndarray) -> None:
            for one in pulls:
                one(g)

        return np.broadcast_to(total, (n,)), pull_all

    def sum_of_norms(self, e: ex.Size) -> tuple[np.ndarray, Pull]:
        total = np.zeros(len(self.z))
        pulls: list[Pull] = []
        for layer in self.merit.problem.networks[e.network].layers:
            if layer.weights is None or e.layer not in (None, layer.name):
                continue
            chosen = [layer.weights, *([layer.bias] if e.biases and layer.bias is not None else [])]
            squares = [(self.tensors[p.name].reshape(len(self.tensors[p.name]), p.shape[0], -1) ** 2) for p in chosen]
            root = np.sqrt(sum(s.sum(axis=2) for s in squares) + self.eps**2)
            total = total + root.sum(axis=1)

            def pull(g: np.ndarray, chosen: list = chosen, root: np.ndarray = root) -> None:
                for p in chosen:
                    if p.name in self.grads:
                        t = self.tensors[p.name]
                        scale = g[:, None] / np.where(root == 0, 1.0, root)
                        self.grads[p.name] += t * scale.reshape(*scale.shape, *([1] * (t.ndim - 2)))

            pulls.append(pull)

        def pull_all(g: np.ndarray) -> None:
            for one in pulls:
                one(g)

        return total, pull_all

    def violation(self, e: ex.Expression) -> tuple[np.ndarray, Pull]:
        """How far a constraint is from holding, as `evaluate.violation` has it.

        For argmax(...) == k it is by how much the k-th argument is short of a lead, which has slopes.
        """
        if (wanted := ex.wanted_largest(e)) is not None:
            arguments, k = wanted
            lead = ex.Constant(2 * STRICT_MARGIN)
            return self.violation(ex.And(tuple(
                ex.Comparison(">=", arguments[k], ex.Sum((a, lead))) for j, a in enumerate(arguments) if j != k
            )))  # fmt: skip
        match e:
            case ex.Comparison(operator=op, left=a, right=b):
                (va, pa), (vb, pb) = self.numeric(a), self.numeric(b)
                d = va - vb
                sign = np.sign(d) if op == "==" else (d > 0).astype(float) if op == "<=" else -(d < 0).astype(float)

                def pull(g: np.ndarray) -> None:
                    pa(g * sign)
                    pb(-g * sign)

                return np.abs(d * (sign != 0)), pull
            case ex.And(parts=parts):
                return self._pick([self.violation(p) for p in parts], np.argmax)
            case ex.Or(parts=parts):
                return self._pick([self.violation(p) for p in parts], np.argmin)
            case ex.Implies(premise=a, conclusion=b):
                return self._pick([self.violation(_negation(a)), self.violation(b)], np.argmin)
            case ex.Not(part=a):
                return self.violation(_negation(a))
        raise TypeError(f"not a constraint: {type(e).__name__}")

    def _pick(self, parts: list[tuple[np.ndarray, Pull]], choose: Callable) -> tuple[np.ndarray, Pull]:
        table = np.array([v for v, _ in parts])
        chosen = choose(table, axis=0)

        def pull(g: np.ndarray) -> None:
            for i, (_, one) in enumerate(parts):
                one(g * (chosen == i))

        return np.take_along_axis(table, chosen[None], axis=0)[0], pull


def _negation(e: ex.Expression) -> ex.Expression:
    """A constraint that holds only where `e` does not, with strict comparisons kept off by FEASIBILITY."""
    match e:
        case ex.Comparison(operator="==", left=a, right=b):
            return ex.Or((_negation(ex.Comparison("<=", a, b)), _negation(ex.Comparison(">=", a, b))))
        case ex.Comparison(operator=op, left=a, right=b):
            margin = ex.Constant(2 * FEASIBILITY if op == "<=" else -2 * FEASIBILITY)
            return ex.Comparison(">=" if op == "<=" else "<=", a, ex.Sum((b, margin)))
        case ex.And(parts=parts):
            return ex.Or(tuple(_negation(p) for p in parts))
        case ex.Or(parts=parts):
            return ex.And(tuple(_negation(p) for p in parts))
        case ex.Implies(premise=a, conclusion=b):
            return ex.And((a, _negation(b)))
        case ex.Not(part=a):
            return a
    raise TypeError(f"not a constraint: {type(e).__name__}")


class Merit:
    """See the module. `evaluations` counts points evaluated."""

    def __init__(self, problem: Problem):
        self.problem = problem
        self.coordinates: Coordinates = coordinates(problem)
        self.constants = {p.name: p.value[None] for p in problem.parameters() if p.value is not None}
        self.sign = 1.0 if problem.minimize else -1.0
        self.constrained = bool(problem.constraints)
        self.evaluations = 0
        widest = max((max(layer.size for layer in n.layers) for n in problem.networks.values()), default=1)
        samples = max((d.samples for d in problem.data.values()), default=1)
        self.chunk = max(1, int(4e6 / (widest * samples)))  # about 32 MB an array

    def value(self, z: np.ndarray, penalty: float = 0.0, eps: float = 0.0, sharpness: float | None = None,
              objective: bool = True, pieces: Mapping[tuple[str, str], Pieces] | None = None,
              ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """Merit (S,) and gradient (S, P) at coordinates z (S, P)."""
        if len(z) > self.chunk:
            parts = [self.value(z[i : i + self.chunk], penalty, eps, sharpness, objective, pieces)
                     for i in range(0, len(z), self.chunk)]  # fmt: skip
            return np.concatenate([f for f, _ in parts]), np.concatenate([g for _, g in parts])
        with np.errstate(all="ignore"):
            p = self._pass(z, eps, sharpness, pieces)
            total = np.zeros(len(z))
            if objective and self.problem.objective.expression is not None:
                v, pull = p.numeric(self.problem.objective.expression)
                total = total + self.sign * v
                pull(np.full(len(z), self.sign))
            if penalty > 0:
                for c in self.problem.constraints:
                    v, pull = p.violation(c.expression)
                    total = total + penalty * v * v
                    pull(2 * penalty * v)
            return total, self.coordinates.collect(p.grads, p.variable_grads)

    def violation(self, z: np.ndarray) -> np.ndarray:
        """Largest violation (S,) of the constraints at each point."""
        if len(z) > self.chunk:
            return np.concatenate([self.violation(z[i : i + self.chunk]) for i in range(0, len(z), self.chunk)])
        worst = np.zeros(len(z))
        with np.errstate(all="ignore"):
            p = self._pass(z, 0.0, None)
            for c in self.problem.constraints:
                v = p.violation(c.expression)[0]
                worst = np.maximum(worst, np.where(np.isnan(v), np.inf, v))
        return worst

    def _pass(self, z: np.ndarray, eps: float, sharpness: float | None,
              pieces: Mapping[tuple[str, str], Pieces] | None = None) -> _Pass:  # fmt: skip
        self.evaluations += len(z)
        tensors, variables = self.coordinates.expand(z)
        grads = {name: np.zeros_like(t) for name, t in tensors.items()}
        return _Pass(self, z, eps, sharpness, {**self.constants, **tensors}, variables, grads,
                     np.zeros_like(variables), pieces or {})  # fmt: skip


def walk(problem: Problem) -> list[ex.Expression]:
    """All expression nodes of objective and constraints."""
    roots = [problem.objective.expression, *(c.expression for c in problem.constraints)]
    stack = [e for e in roots if e is not None]
    found = []
    while stack:
        e = stack.pop()
        found.append(e)
        stack.extend(ex.children(e))
    return found


def kinds(problem: Problem) -> set[str]:
    """Kinds of losses and sizes, and activations of networks that are trained, for the choice of the method."""
    nodes = walk(problem)
    names = {e.kind for e in nodes if isinstance(e, ex.Loss | ex.Size)}
    layers = itertools.chain.from_iterable(n.layers for n in problem.networks.values() if n.free)
    return names | {layer.activation.kind for layer in layers}
