"""The Problem: everything a spec asks for, resolved and checked, ready to be reduced and solved."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from nnspec.errors import Source, Span
from nnspec.problem.data import DataSet
from nnspec.problem.expression import Expression
from nnspec.problem.network import Network, Parameter


@dataclass(frozen=True)
class Variable:
    """A scalar decision variable; indexed families are expanded ('x[3]', 'y[a,1]')."""

    name: str
    lo: float = -math.inf
    hi: float = math.inf
    kind: str = "real"  # "real" | "int" | "binary"
    span: Span | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Objective:
    """`sense` is "minimize", "maximize" or "satisfy" (then the expression is None)."""

    sense: str
    expression: Expression | None
    label: str = ""
    span: Span | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Constraint:
    """A Comparison or a logical expression that must hold."""

    expression: Expression
    label: str = ""
    span: Span | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class BreakSymmetry:
    """Which symmetries of a layer's parametrisation may prune: permutation, scaling, signflip, auto, none.

    A layer without a statement behaves as under `auto`.
    """

    network: str
    layer: str | None  # None: every hidden layer
    kinds: tuple[str, ...]
    span: Span | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Group:
    """A group of input or output transformations by generators: signed permutations of 0..n-1.

    A generator is (images, signs): x'[i] = signs[i] * x[images[i]].
    """

    description: str
    generators: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


@dataclass(frozen=True)
class SymmetryClaim:
    """`assume D invariant under G` (subject = data) or `enforce f invariant|equivariant under G [-> H]`."""

    kind: str  # "assume" | "enforce"
    subject: str
    group: Group
    output_group: Group | None = None  # None: invariant
    span: Span | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Tie:
    """target entry = sign * source entry, for entries (parameter name, flat index) of free parameters."""

    target: tuple[str, int]
    source: tuple[str, int]
    sign: float = 1.0


@dataclass(frozen=True, eq=False)
class Problem:
    """What is asked. Names of parameters are unique: '<network>.<layer>.weights' and '<network>.<layer>.bias'."""

    name: str
    networks: Mapping[str, Network]
    data: Mapping[str, DataSet]
    variables: Mapping[str, Variable]
    objective: Objective
    constraints: tuple[Constraint, ...] = ()
    break_symmetry: tuple[BreakSymmetry, ...] = ()
    symmetry_claims: tuple[SymmetryClaim, ...] = ()
    ties: tuple[Tie, ...] = ()
    arguments: Mapping[str, object] = field(default_factory=dict)  # the values of `param`s
    sources: tuple[Source, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)  # sha256 of each spec and data file, by name

    def parameters(self) -> Iterator[Parameter]:
        """All parameter tensors of all networks."""
        for network in self.networks.values():
            yield from network.parameters

    def free_parameters(self) -> tuple[Parameter, ...]:
        return tuple(p for p in self.parameters() if p.free)

    @property
    def minimize(self) -> bool:
        return self.objective.sense != "maximize"


@dataclass(frozen=True, eq=False)
class Point:
    """Values for all free parameters (by name, arrays of their shape) and all variables (by name)."""

    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)
    variables: Mapping[str, float] = field(default_factory=dict)
