"""Problem -> Program: the one function that engines, `nnspec compile` and embeddings go through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

import nnspec.encodings.builtin  # noqa: F401  (registers the templates)
from nnspec.bounds.constraints import variable_bounds
from nnspec.encodings.context import Context
from nnspec.encodings.expressions import Expressions
from nnspec.encodings.logic import Constraints
from nnspec.encodings.parameters import Parameters, add_parameters
from nnspec.encodings.recover import centre_jumps, lift_margins
from nnspec.encodings.registry import kinds, template
from nnspec.encodings.runs import Runs, every_expression
from nnspec.encodings.sizes import Sizes
from nnspec.encodings.symmetry import Ordering, representative, symmetry_rows
from nnspec.errors import UnsupportedError, diagnostic
from nnspec.problem import expression as ex
from nnspec.problem.problem import Point, Problem
from nnspec.program import Affine, Program


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

    def start(self, point: Point) -> np.ndarray:
        """A vector of values for all columns from values of weights and variables; entries that no recipe reaches
        (variables the point lacks) are nan. Hidden neurons are put in the order that the program asks for, and weights a
        little outside their domain are moved to it."""
        point = representative(self.orderings, point)
        x = self.program.unknown_point()
        for (name, k), (column, offset, factor) in self.parameters.columns.items():
            if name in point.parameters:
                value = float(np.asarray(point.parameters[name]).reshape(-1)[k])
                x[column] = self._admissible(column, (value - offset) / factor)
        for name, column in self.variables.items():
            if name in point.variables:
                c = int(column.columns[0])
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
        centre_jumps(self.problem, self.runs.all if self.runs is not None else (), x, parameters)
        lift_margins(self.problem, parameters)
        return Point(parameters, {name: float(c.value(x)) for name, c in self.variables.items()})


def compile_problem(problem: Problem, encodings: Mapping[str, str] | None = None, *, backend: str = "",
                    bounds: str = "interval", symmetry: bool = True) -> Compiled:  # fmt: skip
    """Encode a problem as a mathematical program.

    `encodings` picks templates by kind ("relu": "sos1") or by layer ("f.h1": "indicator"); `backend` picks the defaults
    that a benchmark found best for it; `bounds` is "interval", "symbolic", "lp" or "obbt"; `symmetry` adds orderings
    of interchangeable neurons. Raises UnsupportedError where a bound is missing or a construct has no encoding.
    """
    choices = dict(encodings or {})
    _check(problem, choices)
    context = Context(Program(problem.name), problem, choices, backend)
    program = context.program
    parameters = add_parameters(context)
    limits = variable_bounds(problem)
    variables = {v.name: program.add_variables(v.name, (), *limits[v.name], kind=v.kind, span=v.span)
                 for v in problem.variables.values()}  # fmt: skip
    runs = Runs(context, parameters)
    sizes = Sizes(context, parameters)
    expressions = Expressions(context, variables, runs, sizes)
    constraints = Constraints(context, expressions)

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
    return Compiled(problem, program, parameters, variables, sizes.nonzero(), context.errors, tuple(done), runs)


def _check(problem: Problem, choices: Mapping[str, str]) -> None:
    for claim in problem.symmetry_claims:
        if claim.kind == "enforce":
            raise UnsupportedError(diagnostic(
                "NNS151", f"the symmetry that {claim.subject} is to have was not turned into ties between weights",
                claim.span, "claimed here", help="solve the spec with an engine that expands `enforce`",
            ))  # fmt: skip
    for key, name in choices.items():
        if key in kinds():
            template(key, name)


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
                context.program.add_linear(count, -np.inf, layer.l0, f"l0 budget of {network.name}.{layer.name}", layer.span)
        if network.l0 is not None:
            count = sizes.l0(network, None, None, None, 1)
            context.program.add_linear(count, -np.inf, network.l0, f"l0 budget of {network.name}", network.span)
