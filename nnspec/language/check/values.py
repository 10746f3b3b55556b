"""What an expression of a spec can stand for while it is checked.

Numbers are Python ints and floats, truth values bools, texts strs; whatever depends on a decision is an
`nnspec.problem.expression.Expression`, numeric or logical.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TypeGuard

from nnspec.problem import expression as ex

LOGICAL = (ex.Comparison, ex.And, ex.Or, ex.Not, ex.Implies)


@dataclass(frozen=True)
class Interval:
    """`low..high`: a real interval as a domain, the whole numbers in it as a set. Ends may be infinite."""

    low: float
    high: float


@dataclass(frozen=True)
class IntegerInterval:
    """`int(low..high)` as a domain."""

    low: float
    high: float


@dataclass(frozen=True)
class Binary:
    """`binary` as a domain: 0 or 1."""


@dataclass(frozen=True)
class FiniteSet:
    """Different numbers or texts, in the order given."""

    items: tuple[Value, ...]

    @cached_property
    def members(self) -> frozenset[Value]:
        return frozenset(self.items)


@dataclass(frozen=True)
class Vector:
    """A list, or several outputs of a network."""

    items: tuple[Value, ...]

    @cached_property
    def members(self) -> frozenset[Value]:
        return frozenset(self.items)


@dataclass(frozen=True)
class Row(Vector):
    """The inputs of one sample, in scaled units. Networks know it as a row of `data`."""

    data: str
    index: int


@dataclass(frozen=True)
class DataRef:
    name: str


@dataclass(frozen=True)
class NetworkRef:
    name: str


@dataclass(frozen=True)
class Part:
    """A layer of a network, or one of its tensors ("weights" | "bias") or neurons, or one neuron's tensor."""

    network: str
    layer: str
    tensor: str | None = None
    neuron: int | None = None


@dataclass(frozen=True, eq=False)
class Family:
    """The variables of an indexed declaration, by their keys."""

    name: str
    members: dict[tuple[int | str, ...], ex.VariableRef]


Domain = Interval | IntegerInterval | Binary | FiniteSet
Value = (
    int
    | float
    | bool
    | str
    | ex.Expression
    | Interval
    | IntegerInterval
    | Binary
    | FiniteSet
    | Vector
    | Row
    | DataRef
    | NetworkRef
    | Part
    | Family
)


def is_number(value: object) -> TypeGuard[int | float]:
    """A constant number; bools are none."""
    return type(value) is int or type(value) is float


def is_numeric(value: object) -> TypeGuard[int | float | ex.Expression]:
    """A constant number or a numeric expression in the decisions."""
    return is_number(value) or (isinstance(value, ex.Expression) and not isinstance(value, LOGICAL))


def is_logical(value: object) -> TypeGuard[bool | ex.Expression]:
    return isinstance(value, (bool, *LOGICAL))


def as_integer(value: object) -> int | None:
    """The whole number that a constant is, or None."""
    if not is_number(value) or not math.isfinite(value) or value != int(value):
        return None
    return int(value)


def show(value: int | float) -> str:
    """A number as a user would write it."""
    whole = as_integer(value)
    return str(whole) if whole is not None and abs(whole) < 1e15 else f"{value:g}"


def describe(value: object) -> str:
    """What a value is, in the user's words, for messages."""
    match value:
        case bool():
            return "a truth value"
        case int() | float():
            return f"the number {show(value)}"
        case str():
            return "a text"
        case ex.Expression():
            return "a comparison" if isinstance(value, LOGICAL) else "a number that depends on decisions"
        case Interval(low, high):
            return f"the range {show(low)}..{show(high)}"
        case IntegerInterval(low, high):
            return f"int({show(low)}..{show(high)})"
        case Binary():
            return "binary"
        case FiniteSet(items):
            return f"a set of {len(items)}"
        case Row(items, data, _):
            return f"a row of {data} with {plural(len(items), 'input')}"
        case Vector(items):
            return f"a list of {len(items)}"
        case DataRef(name):
            return f"the data set {name}"
        case NetworkRef(name):
            return f"the network {name}"
        case Part(network, layer, tensor, neuron):
            one = "" if neuron is None else f"[{neuron}]"
            kind = "a tensor" if tensor else "a layer" if neuron is None else "a neuron"
            return f"{network}.{layer}{one}{'.' + tensor if tensor else ''}, {kind} of a network"
        case Family(name, _):
            return f"the whole family {name}"
    return "something else"


def given(n: int) -> str:
    """`but 1 is given`, `but 2 are given`, for messages."""
    return "but none is given" if n == 0 else "but 1 is given" if n == 1 else f"but {n:,} are given"


def plural(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
