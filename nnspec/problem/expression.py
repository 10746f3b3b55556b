"""Expressions over networks, variables and data, after names and data have been resolved.

All nodes are frozen and n-ary, so that sums of many terms stay flat. `span` points at the user's text. Losses and sizes
stay structured: engines look at them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from nnspec.errors import Span


@dataclass(frozen=True)
class Expression:
    """Base. A node without decisions below it is a Constant."""

    span: Span | None = field(default=None, repr=False, compare=False, kw_only=True)


@dataclass(frozen=True)
class Constant(Expression):
    value: float


@dataclass(frozen=True)
class VariableRef(Expression):
    """A scalar decision variable; indexed families are expanded: 'x[3]'."""

    name: str


@dataclass(frozen=True)
class ParameterRef(Expression):
    """One entry of a parameter tensor, e.g. 'f.h1.weights' at (0, 2)."""

    parameter: str
    index: tuple[int, ...]


@dataclass(frozen=True)
class Sum(Expression):
    terms: tuple[Expression, ...]


@dataclass(frozen=True)
class Product(Expression):
    factors: tuple[Expression, ...]


@dataclass(frozen=True)
class Quotient(Expression):
    numerator: Expression
    denominator: Expression


@dataclass(frozen=True)
class Power(Expression):
    base: Expression
    exponent: float


@dataclass(frozen=True)
class Function(Expression):
    """exp, log, sqrt, sin, cos, tanh, abs (one argument), min, max, argmax (several).

    argmax is the position, from 0, of the largest argument; of the first of them if there are several.
    """

    name: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True)
class NetworkOutput(Expression):
    """Output number `output` of a network at the given inputs (raw units if the network carries scalings)."""

    network: str
    arguments: tuple[Expression, ...]
    output: int = 0


@dataclass(frozen=True)
class Loss(Expression):
    """A training loss of a network on a data set. See `nnspec.problem.losses` for the definitions."""

    kind: str
    network: str
    data: str
    delta: float | None = None  # huber
    q: float | None = None  # pinball
    margin: float | None = None  # errors, hinge


@dataclass(frozen=True)
class Size(Expression):
    """l0, neurons, inputs, l1 or l2 of a network, a layer, one tensor ('weights' | 'bias') or one neuron.

    Reductions also write "norm", the sum of the Euclidean norms of a layer's rows, with their biases if `biases`.
    """

    kind: str
    network: str
    layer: str | None = None
    tensor: str | None = None
    neuron: int | None = None
    biases: bool = False  # whether l1 and l2 count biases; l0 always does unless a tensor is named


@dataclass(frozen=True)
class Comparison(Expression):
    """`left operator right` with operator <=, >= or ==."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class And(Expression):
    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Or(Expression):
    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Not(Expression):
    part: Expression


@dataclass(frozen=True)
class Implies(Expression):
    premise: Expression
    conclusion: Expression


def children(e: Expression) -> tuple[Expression, ...]:
    """The direct subexpressions."""
    match e:
        case Sum(terms=parts) | Product(factors=parts) | And(parts=parts) | Or(parts=parts):
            return parts
        case Function(arguments=parts) | NetworkOutput(arguments=parts):
            return parts
        case Quotient(numerator=a, denominator=b) | Comparison(left=a, right=b) | Implies(premise=a, conclusion=b):
            return (a, b)
        case Power(base=a) | Not(part=a):
            return (a,)
        case _:
            return ()


def replaced(e: Expression, replacement: Callable[[Expression], Expression | None]) -> Expression:
    """`e` with every outermost node that `replacement` gives another for (not None) exchanged."""
    new = replacement(e)
    if new is not None:
        return new

    def all_of(parts: tuple[Expression, ...]) -> tuple[Expression, ...]:
        return tuple(replaced(part, replacement) for part in parts)

    match e:
        case Sum(terms=parts):
            return replace(e, terms=all_of(parts))
        case Product(factors=parts):
            return replace(e, factors=all_of(parts))
        case And(parts=parts) | Or(parts=parts):
            return replace(e, parts=all_of(parts))
        case Function(arguments=parts) | NetworkOutput(arguments=parts):
            return replace(e, arguments=all_of(parts))
        case Quotient():
            return replace(e, numerator=replaced(e.numerator, replacement),
                           denominator=replaced(e.denominator, replacement))  # fmt: skip
        case Comparison():
            return replace(e, left=replaced(e.left, replacement), right=replaced(e.right, replacement))
        case Implies():
            return replace(e, premise=replaced(e.premise, replacement),
                           conclusion=replaced(e.conclusion, replacement))  # fmt: skip
        case Power():
            return replace(e, base=replaced(e.base, replacement))
        case Not():
            return replace(e, part=replaced(e.part, replacement))
    return e


def wanted_largest(e: Expression) -> tuple[tuple[Expression, ...], int] | None:
    """(arguments, k) if `e` reads argmax(arguments) == k for one of its positions k."""
    if isinstance(e, Comparison) and e.operator == "==":
        for a, b in ((e.left, e.right), (e.right, e.left)):
            if isinstance(a, Function) and a.name == "argmax" and isinstance(b, Constant):
                return (a.arguments, int(b.value)) if b.value in range(len(a.arguments)) else None
    return None


def linear_terms(e: Expression) -> tuple[float, list[tuple[float, Expression]]]:
    """`e` as constant + sum of coefficient * atom, where no atom is a Sum, a Constant or a Product with a Constant."""
    constant = 0.0
    terms: list[tuple[float, Expression]] = []
    stack: list[tuple[float, Expression]] = [(1.0, e)]
    while stack:
        coefficient, node = stack.pop()
        match node:
            case Constant(value=v):
                constant += coefficient * v
            case Sum(terms=parts):
                stack.extend((coefficient, part) for part in reversed(parts))
            case Product(factors=factors):
                rest = []
                for f in factors:
                    if isinstance(f, Constant):
                        coefficient *= f.value
                    else:
                        rest.append(f)
                if not rest:
                    constant += coefficient
                elif len(rest) == 1:
                    stack.append((coefficient, rest[0]))
                else:
                    terms.append((coefficient, Product(tuple(rest), span=node.span)))
            case Quotient(numerator=a, denominator=Constant(value=v)):
                stack.append((coefficient / v, a))
            case _:
                terms.append((coefficient, node))
    return constant, terms
