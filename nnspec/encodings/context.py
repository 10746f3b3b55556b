"""What templates share: the program under construction, the choice of templates, where missing bounds are declared."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nnspec.bounds.interval import Interval
from nnspec.encodings.registry import Template, names, template
from nnspec.errors import Span, UnsupportedError, diagnostic
from nnspec.problem.network import Activation, Network, Parameter
from nnspec.problem.problem import Problem, Variable
from nnspec.program import Affine, Program, concatenate
from nnspec.program.hull import Neurons
from nnspec.program.program import Recipe

DEFAULTS: dict[str, dict[str, str]] = {
    "": {
        "relu": "bigm", "leaky_relu": "relu", "abs": "bigm", "hardtanh": "bigm", "sign": "bigm", "step": "bigm",
        "tanh": "exact", "sigmoid": "exact", "softplus": "exact", "silu": "exact", "gelu": "envelope_binary",
        "softmax": "exact", "maxpool": "bigm", "l0": "bigm", "logic": "indicator", "squares": "objective",
    },
    "pyscipopt": {"relu": "sos1"},
    **{name: dict.fromkeys(("tanh", "sigmoid", "softplus", "silu", "gelu"), "envelope_binary")
       for name in ("highs", "pyomo:highs", "pyomo:appsi_highs", "pyomo:gurobi_direct")},
}  # fmt: skip
"""Template by kind; "" for every backend, other keys are names of backends that do better with another one.

"pyscipopt" are models of a user, which SCIP solves with its own settings: there sos1 is faster than bigm, while with
the settings of our backend bigm is faster than sos1 (benchmarks/encodings_relu.py, docs/benchmarks.md).
"""


@dataclass(eq=False)
class Context:
    """The state of one compilation."""

    program: Program
    problem: Problem
    choices: Mapping[str, str] = field(default_factory=dict)
    backend: str = ""
    # discrete columns: how products with them become exact linear forms (see products.py)
    selectors: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    expansions: dict[int, tuple[float, np.ndarray, np.ndarray]] = field(default_factory=dict)
    perspectives: dict[int, int] = field(default_factory=dict)  # column w -> column t with w^2 <= t u
    errors: dict[str, float] = field(default_factory=dict)  # certified errors of envelopes, by layer
    margins: list[tuple[Affine, Affine, float]] = field(default_factory=list)  # (e, d, M): e = 0 => d >= M
    hulls: list[Neurons] = field(default_factory=list)  # whose cuts are added when all rows are there
    finishers: list[Callable[[], object]] = field(default_factory=list)  # run when all rows are there

    def note_error(self, path: str, error: float) -> None:
        """State that an encoding contains more than the graph of its function, by at most `error` in its value."""
        self.errors[path] = max(error, self.errors.get(path, 0.0))

    def choose(self, kind: str, *paths: str) -> Template:
        """The template for a kind: the user's choice for a path ("f.h1") or for the kind, else the default."""
        layers = [re.sub(r"~\d+", "", p) for p in paths]  # a network that is called twice is one network
        for key in (*layers, kind):
            if key in self.choices:
                return template(kind, self.choices[key])
        for defaults in (DEFAULTS.get(self.backend, {}), DEFAULTS[""]):
            if kind in defaults:
                return template(kind, defaults[kind])
        return template(kind, (names(kind) or ("",))[0])

    def interval(self, expression: Affine) -> Interval:
        """Bounds of an expression over the columns' bounds."""
        return Interval(*self.program.bounds(expression))


@dataclass(frozen=True, eq=False)
class Block:
    """What an activation template gets: `size` scalars z (n,) with bounds, all of them undecided.

    Entries whose activation is affine over their bounds (a stably active neuron) or constant are dealt with before, so
    for relu, abs, sign and step lo < 0 < hi holds for every entry of the block. `words` are the entries' readable
    names; `path` is the layer's ("f.h1").
    """

    context: Context
    path: str
    z: Affine
    lo: np.ndarray
    hi: np.ndarray
    words: Sequence[str]
    activation: Activation = field(default_factory=Activation)
    span: Span | None = None

    @property
    def program(self) -> Program:
        return self.context.program

    @property
    def size(self) -> int:
        return self.z.size

    @property
    def bounds(self) -> Interval:
        return Interval(self.lo, self.hi)

    def variables(self, role: str, lo: np.ndarray | float = -np.inf, hi: np.ndarray | float = np.inf,
                  kind: str = "real", complete: Recipe | None = None) -> Affine:  # fmt: skip
        """New variables, one an entry, named after the neurons: 'f.h1.active[3,0]'.

        Binaries choose the pieces of the activation, and `Program.pieces` lists them unless it jumps.
        """
        name = f"{self.path}.{role}" if role else self.path
        new = self.program.add_variables(name, (self.size,), lo, hi, kind, (self.words,), self.span, complete)
        if kind == "binary" and self.activation.kind not in ("sign", "step"):
            self.program.pieces.append(new.columns)
        return new

    def part(self, entries: np.ndarray) -> Block:
        """The block of some entries."""
        return Block(self.context, self.path, self.z[entries], self.lo[entries], self.hi[entries],
                     [self.words[k] for k in entries], self.activation, self.span)  # fmt: skip


def words(shape: tuple[int, ...]) -> list[str]:
    """Readable indices of an array's entries, from 0: '3,0'."""
    return [",".join(map(str, index)) for index in np.ndindex(*shape)]


def labels(shape: tuple[int, ...]) -> list[list[str]]:
    """Words for each axis of a block of variables, from 0."""
    return [[str(i) for i in range(n)] for n in shape]


def assemble(size: int, parts: Sequence[tuple[np.ndarray, Affine | np.ndarray]]) -> Affine:
    """A vector of expressions from parts: (entry numbers, expressions) that together cover 0 .. size-1."""
    order = np.empty(size, dtype=np.int64)
    start = 0
    for entries, _ in parts:
        order[entries] = np.arange(start, start + len(entries))
        start += len(entries)
    return concatenate([Affine.of(p).reshape(-1) for _, p in parts])[order]


def missing_bounds(what: str, culprit: Parameter | Variable | Network | None, needed_by: str) -> UnsupportedError:
    """The error at the declaration of what has no finite bounds."""
    if isinstance(culprit, Parameter):
        tensor = "biases" if culprit.name.endswith(".bias") else "weights"
        return UnsupportedError(diagnostic(
            "NNS150", f"{needed_by} needs bounds, and the {tensor} of {culprit.name.rsplit('.', 1)[0]} have none",
            culprit.span, "declared here", help=f"add `{tensor} in -5..5` (or whatever holds) to the net or the layer",
        ))  # fmt: skip
    if isinstance(culprit, Variable):
        return UnsupportedError(diagnostic(
            "NNS150", f"{needed_by} needs bounds, and {culprit.name} has none on at least one side", culprit.span,
            "declared here", help=f"write `var {culprit.name.split('[')[0]} in lo..hi`",
        ))  # fmt: skip
    span = culprit.span if isinstance(culprit, Network) else None
    return UnsupportedError(diagnostic(
        "NNS150", f"{needed_by} needs bounds on {what}, and none can be derived", span, "from here",
        help="bound the weights, the biases and the variables that it depends on",
    ))  # fmt: skip


def culprit_of(context: Context, networks: Sequence[Network]) -> Parameter | Variable | Network | None:
    """The first free tensor or variable without finite bounds, where the user has to add them."""
    for network in networks:
        for p in network.parameters:
            if p.free and not (np.all(np.isfinite(p.lo)) and np.all(np.isfinite(p.hi))):
                return p
    for v in context.problem.variables.values():
        if not (np.isfinite(v.lo) and np.isfinite(v.hi)) and v.kind != "binary":
            return v
    return networks[0] if networks else None
