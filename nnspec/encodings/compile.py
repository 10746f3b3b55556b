"""Problem -> Program: the one function that engines, `nnspec compile` and embeddings go through."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

import nnspec.encodings.builtin  # noqa: F401  (registers the templates)
from nnspec.bounds.constraints import variable_bounds
from nnspec.bounds.propagate import Bounds, Origin
from nnspec.bounds.symbolic import symbolic_bounds
from nnspec.encodings.context import Context
from nnspec.encodings.expressions import Expressions
from nnspec.encodings.logic import Constraints
from nnspec.encodings.parameters import Parameters, add_parameters
from nnspec.encodings.recover import centre_jumps, lift_margins
from nnspec.encodings.registry import kinds, template
from nnspec.encodings.runs import Key, Runs, every_expression
from nnspec.encodings.sizes import Sizes
from nnspec.encodings.symmetry import Ordering, representative, symmetry_rows
from nnspec.encodings.tighten import lp_bounds, relaxation
from nnspec.errors import UnsupportedError, UsageError, diagnostic
from nnspec.problem import expression as ex
from nnspec.problem.network import Network
from nnspec.problem.problem import Constraint, Objective, Point, Problem
from nnspec.program import Affine, Program
from nnspec.program.rows import LinearRows
from nnspec.tolerances import FEASIBILITY, INTEGRALITY


@dataclass(frozen=True, eq=False)
class Compiled:
    """A Program together with what its columns mean in the Problem."""

    problem: Problem
    program: Program
    parameters: Parameters
    variables: Mapping[str, Affine]
    nonzero: Mapping[str, Affine] = field(default_factory=dict)  # tensor -> indicators that entries are nonzero
    errors: Mapping[str, float] = field(default_factory=dict)
    """Certified errors of envelopes, by layer: empty if the program states the problem exactly. Otherwise the program
    contains every point of the problem and more; its bound is valid, its optimum may be better than the network's."""
    orderings: tuple[Ordering, ...] = ()
    runs: Runs | None = field(default=None, repr=False)
    margins: tuple[tuple[Affine, Affine, float], ...] = field(default=(), repr=False)
    """(e, d, M) of each `errors`, and of active sign and step neurons: wherever the binary e is 0, d >= M."""

    def firm(self, x: np.ndarray, room: float) -> Program:
        """The program in which what is right or active at x is so by `room` beyond its margin."""
        firm = self.program.skeleton()
        firm.rows = list(self.program.rows)
        for e, d, m in self.margins:
            right = np.flatnonzero(e.value(x).reshape(-1) < 0.5)
            firm.add_linear(d.reshape(-1)[right], m + room, np.inf, "room beyond the margin")
        return firm

    def start(self, point: Point) -> np.ndarray:
        """A vector of values for all columns from values of weights and variables; entries that no recipe reaches
        (variables the point lacks) are nan. Hidden neurons are put in the order that the program asks for, and
        weights a little outside their domain are moved to it."""
        point = representative(self.orderings, point)
        x = self.program.unknown_point()
        for (name, k), (column, offset, factor) in self.parameters.columns.items():
            if name in point.parameters:
                value = float(np.asarray(point.parameters[name]).reshape(-1)[k])
                x[column] = self._admissible(column, (value - offset) / factor)
        for name, variable in self.variables.items():
            if name in point.variables:
                c = int(variable.columns[0])
                x[c] = self._admissible(c, float(point.variables[name]))
        return self.program.complete(x)

    def _admissible(self, column: int, value: float) -> float:
        if self.program.discrete[column]:
            value = float(np.round(value))
        return float(np.clip(value, self.program.lo[column], self.program.hi[column]))

    def point(self, x: np.ndarray) -> Point:
        """Weights and variables of a solution vector: discrete entries rounded to their domain, entries whose
        indicator says zero exactly zero, everything inside its bounds, sign neurons off their jump."""
        x = np.array(x, dtype=float)
        program = self.program
        x = np.clip(x, program.lo, program.hi)
        x = np.where(program.discrete, np.round(x), x)
        parameters = {}
        for p in self.parameters.tensors.values():
            value = self.parameters.expressions[p.name].value(x)
            if p.name in self.nonzero:
                value = np.where(self.nonzero[p.name].value(x) < 0.5, 0.0, value)
            if p.kind == "set":
                values = np.asarray(p.values)
                value = values[np.argmin(np.abs(value[..., None] - values), axis=-1)]
            parameters[p.name] = value + 0.0
        centre_jumps(self.problem, self.runs.all if self.runs is not None else (), x, parameters, self.nonzero)
        lift_margins(self.problem, parameters)
        return Point(parameters, {name: float(c.value(x)) for name, c in self.variables.items()})


BOUNDS = ("interval", "symbolic", "lp", "obbt")


def compile_problem(problem: Problem, encodings: Mapping[str, str] | None = None, *, backend: str = "",
                    bounds: str = "symbolic", symmetry: bool = True,
                    cutoff: float | None = None) -> Compiled:  # fmt: skip
    """Encode a problem as a mathematical program.

    `encodings` picks templates by kind ("relu": "sos1") or by layer ("f.h1": "indicator"); `backend` picks the defaults
    that a benchmark found best for it. `bounds`: "interval"; "symbolic" (linear bounds through networks with constant
    weights, else the same as interval); "lp" (a linear program a neuron over the networks' rows); "obbt" (the same with
    the spec's constraints, on variables too). With `cutoff`, an objective that is known to be attained, "obbt" also
    uses that nothing worse is wanted: the program then has every point that is at least as good (up to FEASIBILITY,
    relatively), and perhaps none of the others. `symmetry` adds orderings of interchangeable neurons. Raises
    UnsupportedError where a bound is missing or a construct has no encoding, UsageError for an unknown template, or a
    cut-off that the bounds cannot use.
    """
    choices = dict(encodings or {})
    _check(problem, choices)
    if bounds not in BOUNDS:
        raise UsageError(
            diagnostic("NNS152", f"there are no bounds called {bounds!r}", help=f"there are: {', '.join(BOUNDS)}")
        )
    if cutoff is not None and (bounds != "obbt" or problem.objective.expression is None):
        raise UsageError(diagnostic("NNS152", 'a cut-off is for bounds="obbt" and problems with an objective'))
    known: dict[Key, dict[str, Bounds]] = {}
    limits = variable_bounds(problem)
    if bounds in ("lp", "obbt"):
        extra = () if bounds == "lp" else problem.constraints
        if cutoff is not None:
            extra = (*extra, _at_least_as_good(problem, cutoff))
        for _ in range(ROUNDS):
            _refine(problem, choices, known, limits, symmetry, extra, bounds == "obbt")
    return _build(problem, choices, backend, known, limits, symmetry, bounds != "interval")


ROUNDS = 2
"""Passes of LP bounding: the second one uses the first one's bounds of earlier layers."""


CUTOFF = "objective cut-off"


def _at_least_as_good(problem: Problem, cutoff: float) -> Constraint:
    """The constraint that the objective is no worse than a known value, with room for rounding."""
    room = FEASIBILITY * max(1.0, abs(cutoff)) * (1.0 if problem.minimize else -1.0)
    assert problem.objective.expression is not None
    row = ex.Comparison("<=" if problem.minimize else ">=", problem.objective.expression, ex.Constant(cutoff + room))
    return Constraint(row, CUTOFF)


def _refine(problem: Problem, choices: Mapping[str, str], known: dict[Key, dict[str, Bounds]],
            limits: dict[str, tuple[float, float]], symmetry: bool, constraints: tuple[Constraint, ...],
            obbt: bool) -> None:  # fmt: skip
    """One pass of LP bounds on all undecided neurons under these constraints, for OBBT on variables too; in place."""
    satisfy = replace(problem, objective=Objective("satisfy", None), constraints=constraints)
    compiled = _build(satisfy, choices, "", known, limits, symmetry, True, calls_of=problem)
    if any(rows.name.startswith(CUTOFF) and not isinstance(rows, LinearRows) for rows in compiled.program.rows):
        raise UsageError(diagnostic("NNS152", "bounds with a cut-off need an objective without squares and products",
                                    problem.objective.span))  # fmt: skip
    r = relaxation(compiled.program)
    origin = Origin.OBBT if obbt else Origin.LINEAR
    assert compiled.runs is not None
    for key, run in zip(compiled.runs.keys, compiled.runs.all):
        for layer in run.network.layers:
            before = run.bounds[layer.name].pre
            if layer.activation.kind == "linear" or layer.kind == "input" or not before.interval.finite:
                continue
            z = run.before[layer.name]
            entries = np.flatnonzero((z.lengths > 0) & (before.lo < 0).reshape(-1) & (before.hi > 0).reshape(-1))
            found = lp_bounds(r, z.reshape(-1), entries).reshape(*z.shape)
            known.setdefault(key, {})[layer.name] = before.tighten(found, origin)
    if obbt:
        for name, column in compiled.variables.items():
            found = lp_bounds(r, column.reshape(-1))
            lo, hi = limits[name]
            limits[name] = max(lo, float(found.lo[0])), min(hi, float(found.hi[0]))


def _build(problem: Problem, choices: Mapping[str, str], backend: str, known: Mapping[Key, Mapping[str, Bounds]],
           limits: Mapping[str, tuple[float, float]], symmetry: bool, symbolic: bool,
           calls_of: Problem | None = None) -> Compiled:  # fmt: skip
    """The program for given bounds of neurons and variables. `calls_of`: also evaluate that problem's networks."""
    context = Context(Program(problem.name), problem, choices, backend)
    program = context.program
    parameters = add_parameters(context)
    variables = {v.name: program.add_variables(v.name, (), *_whole(limits[v.name], v.kind), kind=v.kind, span=v.span)
                 for v in problem.variables.values()}  # fmt: skip

    def refine(network: Network, inputs: Affine, key: Key) -> Mapping[str, Bounds]:
        found = symbolic_bounds(network, context.interval(inputs)) if symbolic and not inputs.is_constant else {}
        for name, b in known.get(key, {}).items():
            found[name] = found[name].meet(b) if name in found else b
        return found

    runs = Runs(context, parameters, refine)
    sizes = Sizes(context, parameters)
    expressions = Expressions(context, variables, runs, sizes)
    constraints = Constraints(context, expressions)
    for e in every_expression(calls_of) if calls_of is not None else ():
        if isinstance(e, ex.NetworkOutput):
            expressions.value(e)

    _add_counts(problem, sizes)
    _add_budgets(context, sizes)
    for c in problem.constraints:
        constraints.require(c.expression, c.label or "constraint")
    objective = problem.objective
    if objective.expression is not None:
        if problem.minimize:
            program.minimize(expressions.value(objective.expression, 1))
        else:
            program.maximize(expressions.value(objective.expression, -1))
    done = symmetry_rows(context, parameters) if symmetry else []
    for finish in context.finishers:
        finish()
    return Compiled(problem, program, parameters, variables, sizes.nonzero(), context.errors, tuple(done), runs,
                    tuple(context.margins))  # fmt: skip


def _whole(limits: tuple[float, float], kind: str) -> tuple[float, float]:
    """Bounds of an integer variable rounded inwards (an LP bound of 2.0000001 means 3)."""
    if kind == "real":
        return limits
    return float(np.ceil(limits[0] - INTEGRALITY)), float(np.floor(limits[1] + INTEGRALITY))


def _check(problem: Problem, choices: Mapping[str, str]) -> None:
    for claim in problem.symmetry_claims:
        if claim.kind == "enforce":
            raise UnsupportedError(diagnostic(
                "NNS151", f"the symmetry that {claim.subject} is to have takes a program for each way in which the "
                "group can act on the neurons, not one", claim.span, "claimed here",
                help="nnspec solve tries them all; nnspec solve --dump program prints them",
            ))  # fmt: skip
    layers = {f"{f.name}.{layer.name}" for f in problem.networks.values() for layer in f.layers}
    for key, name in choices.items():
        if key in kinds():
            template(key, name)
        elif key not in layers:
            close = difflib.get_close_matches(key, [*kinds(), *layers], 1)
            hint = (
                f"did you mean {close[0]!r}?"
                if close
                else f"kinds are {', '.join(kinds())}; layers are named net.layer"
            )
            raise UsageError(diagnostic("NNS152", f"an encoding is chosen for {key!r}, which is no kind and no layer",
                                        help=hint))  # fmt: skip


def _add_counts(problem: Problem, sizes: Sizes) -> None:
    """Indicators first: penalties on squares may then use the perspective of a weight and its indicator."""
    for network in problem.networks.values():
        for layer in network.layers:
            if network.l0 is not None or layer.l0 is not None:
                for p in layer.parameters:
                    sizes.indicators(p, 1)
    for e in every_expression(problem):
        if isinstance(e, ex.Size) and e.kind == "l0":
            sizes.l0(problem.networks[e.network], e.layer, e.tensor, e.neuron, 1)


def _add_budgets(context: Context, sizes: Sizes) -> None:
    for network in context.problem.networks.values():
        for layer in network.layers:
            if layer.l0 is not None:
                count = sizes.l0(network, layer.name, None, None, 1)
                context.program.add_linear(
                    count, -np.inf, layer.l0, f"l0 budget of {network.name}.{layer.name}", layer.span
                )
        if network.l0 is not None:
            count = sizes.l0(network, None, None, None, 1)
            context.program.add_linear(count, -np.inf, network.l0, f"l0 budget of {network.name}", network.span)
