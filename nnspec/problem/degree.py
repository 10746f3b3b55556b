"""The degree of an expression in the decisions, with the reason in the user's words.

Answers "why is my model not linear any more?": the reason names the first part, from left to right, that raised the
class. Classes, from simple to hard: constant, linear, piecewise linear, quadratic, polynomial, nonlinear. The outputs
of networks with constant weights count as functions of their arguments, those of networks in training, and losses, as
functions of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from nnspec.errors import Span
from nnspec.problem import expression as ex
from nnspec.problem.network import Network
from nnspec.problem.problem import Problem

CLASSES = ("constant", "linear", "piecewise linear", "quadratic", "polynomial", "nonlinear")


@dataclass(frozen=True)
class Degree:
    """The class of an expression, why it is not a simpler one, and the place that made it so."""

    kind: str
    reason: str = ""
    span: Span | None = None
    power: int = 0  # the degree as a polynomial, if it is one

    @property
    def rank(self) -> int:
        return CLASSES.index(self.kind)

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}" if self.reason else self.kind


def degree(problem: Problem, e: ex.Expression) -> Degree:
    """The degree of a numeric, comparing or logical expression."""
    return _Analysis(problem).of(e)


def place(span: Span | None) -> str:
    """` at 7:19`, or nothing if the place is not known."""
    if span is None:
        return ""
    line, column = span.source.position(span.start)
    return f" at {line}:{column}"


def _polynomial(power: int, reason: str, span: Span | None) -> Degree:
    kind = ("constant", "linear", "quadratic")[power] if power <= 2 else "polynomial"
    return Degree(kind, reason if power > 1 else "", span, power)


class _Analysis:
    def __init__(self, problem: Problem):
        self.problem = problem
        self.known: dict[int, Degree] = {}  # shared parts are visited once

    def of(self, e: ex.Expression) -> Degree:
        found = self.known.get(id(e))
        if found is None:
            found = self.known[id(e)] = self._of(e)
        return found

    def _of(self, e: ex.Expression) -> Degree:
        match e:
            case ex.Constant():
                return Degree("constant")
            case ex.VariableRef() | ex.ParameterRef():
                return Degree("linear", span=e.span, power=1)
            case ex.Sum(terms=parts) | ex.And(parts=parts) | ex.Or(parts=parts):
                return self._worst(parts)
            case ex.Comparison(left=a, right=b) | ex.Implies(premise=a, conclusion=b):
                return self._worst((a, b))
            case ex.Not(part=a):
                return self.of(a)
            case ex.Product(factors=factors):
                return self._product(factors, e)
            case ex.Quotient(numerator=a, denominator=b):
                if self.of(b).kind == "constant":
                    return self.of(a)
                return Degree("nonlinear", f"{self._name(b)} is divided by{place(e.span)}", e.span)
            case ex.Power(base=a, exponent=k):
                return self._power(a, k, e)
            case ex.Function(name="abs" | "min" | "max" | "argmax" as name, arguments=parts):
                inner = self._worst(parts)
                if inner.rank <= CLASSES.index("piecewise linear"):
                    return Degree("piecewise linear", f"{name}{place(e.span)}", e.span)
                return Degree("nonlinear", f"{name}{place(e.span)} of something {inner}", e.span)
            case ex.Function(name=name, arguments=parts):
                if self._worst(parts).kind == "constant":
                    return Degree("constant")
                return Degree("nonlinear", f"{name}{place(e.span)}", e.span)
            case ex.NetworkOutput():
                return self._output(e)
            case ex.Loss():
                return self._loss(e)
            case ex.Size():
                return self._size(e)
        raise TypeError(f"not an expression: {type(e).__name__}")

    def _worst(self, parts: tuple[ex.Expression, ...]) -> Degree:
        degrees = [self.of(p) for p in parts]
        worst = max(degrees, key=lambda d: (d.rank, d.power), default=Degree("constant"))
        bent = next((d for d in degrees if d.kind == "piecewise linear"), None)
        if worst.kind in ("quadratic", "polynomial") and bent is not None:
            return Degree(worst.kind, f"{worst.reason}, and {bent.reason}", worst.span)
        return worst

    def _product(self, factors: tuple[ex.Expression, ...], e: ex.Product) -> Degree:
        varying = [(f, self.of(f)) for f in factors if self.of(f).kind != "constant"]
        if not varying:
            return Degree("constant")
        if len(varying) == 1:
            return varying[0][1]
        names = " times ".join(self._name(f) for f, _ in varying)
        span = varying[1][0].span or e.span
        if all(d.power for _, d in varying):
            return _polynomial(sum(d.power for _, d in varying), f"{names}{place(e.span)}", span)
        (first, a), (second, b) = varying[:2]
        if a.kind == "linear":
            reason = f"linear in {self._name(first)}, but times {self._name(second)}{place(second.span)}"
        elif b.kind == "linear":
            reason = f"linear in {self._name(second)}, but times {self._name(first)}{place(first.span)}"
        else:
            reason = f"{names}{place(e.span)}"
        return Degree("nonlinear", reason, span)

    def _power(self, base: ex.Expression, k: float, e: ex.Power) -> Degree:
        inner = self.of(base)
        if inner.kind == "constant":
            return inner
        if k == int(k) and k >= 0 and inner.power:
            return _polynomial(inner.power * int(k), f"{self._name(base)} to the power {k:g}{place(e.span)}", e.span)
        return Degree("nonlinear", f"{self._name(base)} to the power {k:g}{place(e.span)}", e.span)

    def _output(self, e: ex.NetworkOutput) -> Degree:
        network = self.problem.networks[e.network]
        inner = self._worst(e.arguments)
        what = f"the output of {e.network}{place(e.span)}"
        if network.free:
            return self._trained(network, what, e.span, inner.kind == "constant")
        if inner.kind == "constant":
            return Degree("constant")
        if any(x.kind == "maxpool" or not x.activation.piecewise_linear for x in network.layers):
            smooth = next((x for x in network.layers if not x.activation.piecewise_linear), None)
            if smooth is not None:
                return Degree("nonlinear", f"{what} has {smooth.activation} neurons", e.span)
        if inner.rank > CLASSES.index("piecewise linear"):
            return Degree("nonlinear", f"{what}, whose arguments are {inner}", e.span)
        bent = next((x for x in network.layers if x.activation.kind != "linear" or x.kind == "maxpool"), None)
        if bent is None:
            return Degree(inner.kind, inner.reason, inner.span, inner.power)
        kind = "maxpool" if bent.kind == "maxpool" else str(bent.activation)
        return Degree("piecewise linear", f"{what} has {kind} neurons", e.span)

    def _trained(self, network: Network, what: str, span: Span | None, constant_inputs: bool) -> Degree:
        """The outputs as functions of the weights: linear for one linear layer on constant inputs."""
        free = [x for x in network.layers if any(p.free for p in x.parameters)]
        if len(free) > 1:
            reason = f"{what} multiplies the weights of {free[0].name} with those of {free[1].name}"
            return Degree("nonlinear", reason, span)
        if not constant_inputs:
            return Degree("nonlinear", f"{what} multiplies the weights of {free[0].name} with its inputs", span)
        bent = [x for x in network.layers if x.activation.kind != "linear" or x.kind == "maxpool"]
        below = [x for x in bent if not _before(network, x.name, free[0].name)]
        if not below:
            return Degree("linear", span=span, power=1)
        kind = "piecewise linear" if all(x.activation.piecewise_linear for x in below) else "nonlinear"
        neurons = below[0].activation if below[0].kind != "maxpool" else "maxpool"
        return Degree(kind, f"{what} has {neurons} neurons", span)

    def _loss(self, e: ex.Loss) -> Degree:
        network = self.problem.networks[e.network]
        inner = self._trained(network, f"{e.kind} of {e.network}{place(e.span)}", e.span, True)
        if not network.free:
            return Degree("constant")
        if e.kind in ("sse", "mse"):
            if inner.kind == "linear":
                return Degree("quadratic", f"{e.kind}{place(e.span)} squares the outputs of {e.network}", e.span, 2)
            return Degree("nonlinear", inner.reason, e.span)
        if e.kind in ("sae", "mae", "max_error", "pinball", "hinge", "errors"):
            if inner.rank <= CLASSES.index("piecewise linear"):
                return Degree("piecewise linear", f"{e.kind}{place(e.span)}", e.span)
            return inner
        return Degree("nonlinear", f"{e.kind}{place(e.span)}", e.span)

    def _size(self, e: ex.Size) -> Degree:
        what = f"{e.kind}{place(e.span)}"
        if e.kind == "l2":
            return Degree("quadratic", f"{what} squares weights", e.span, 2)
        if e.kind == "l1":
            return Degree("piecewise linear", f"{what} takes absolute values", e.span)
        return Degree("piecewise linear", f"{what} counts", e.span)

    def _name(self, e: ex.Expression) -> str:
        """An expression as the reason calls it."""
        match e:
            case ex.VariableRef(name=name):
                return name
            case ex.ParameterRef(parameter=parameter, index=index):
                return f"{parameter}[{', '.join(map(str, index))}]"
            case ex.NetworkOutput(network=network):
                return f"the output of {network}"
            case ex.Loss(kind=kind) | ex.Size(kind=kind):
                return kind
        if e.span is not None:
            text = " ".join(e.span.text.split())
            if text and len(text) <= 40:
                return text
        return "an expression"


def _before(network: Network, layer: str, other: str) -> bool:
    """Whether a layer lies strictly before another, so that its activation does not act on the other's weights."""
    if layer == other:
        return False
    stack = list(network[other].inputs)
    while stack:
        name = stack.pop()
        if name == layer:
            return True
        stack.extend(network[name].inputs)
    return False
