"""The conformance suite: what every template of an activation, a maximum or l0 must pass, built in or the user's own.

    from nnspec.encodings.conformance import conformance
    assert conformance("relu", "mine", [backend]) == []

1. points: random weights and inputs complete to a vector that violates no row, with the objective of the forward pass:
   the template cuts off no feasible point;
2. forward: with inputs fixed, the least and the greatest output that a solver finds are both the forward pass (within
   the template's certified error, if it states one): the template lets in no wrong point;
3. grid: the optimum over integer inputs is the best forward pass over all of them;
4. weights: the optimum over weights from {-1, 0, 1} is that of enumeration (the template takes weights that vary);
5. against: on a box of real inputs the optimum is that of another template.
`survivors` breaks a template on purpose (a shifted pre-activation, a flipped sign, each block of rows dropped) and says
which broken ones the suite would let pass.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from nnspec.encodings import registry
from nnspec.encodings.compile import Compiled, compile_problem
from nnspec.encodings.context import DEFAULTS, Block
from nnspec.errors import NnspecError
from nnspec.problem import expression as ex
from nnspec.problem.data import DataSet
from nnspec.problem.evaluate import objective
from nnspec.problem.forward import predict
from nnspec.problem.network import ACTIVATIONS, Activation, Layer, Network, Parameter
from nnspec.problem.problem import Objective, Point, Problem, Variable
from nnspec.program import Affine, Program
from nnspec.status import Limits, Status
from nnspec.tolerances import FEASIBILITY, SIGN_MARGIN

TOLERANCE = 1e-4
"""Difference between a solver's optimum and the forward pass that counts as none: a hundred times FEASIBILITY, since a
violation of a row is multiplied by weights on its way to the output."""

SECONDS = 20.0
"""Time limit of a single solve; the instances take milliseconds."""


class Solver(Protocol):
    """What the suite needs of a backend."""

    name: str

    def solve(self, program: Program, limits: Limits) -> Any: ...


@dataclass(frozen=True)
class Failure:
    """A test of the suite that a template fails, on which backend, and how."""

    test: str
    backend: str
    detail: str


def conformance(kind: str, name: str, backends: Sequence[Solver], seed: int = 0,
                encodings: Mapping[str, str] | None = None) -> list[Failure]:  # fmt: skip
    """Run the suite on a template for each backend; an empty list if it passes. `kind` is an activation or "maxpool".

    Raises UnsupportedError if a backend cannot take the template's rows.
    """
    choices = {**(encodings or {}), kind: name}
    return list(_failures(kind, choices, backends, seed))


def _failures(kind: str, choices: Mapping[str, str], backends: Sequence[Solver], seed: int) -> Iterator[Failure]:
    yield from _points(kind, choices, seed)
    for backend in backends:
        for test in (_forward, _grid, _weights, _against):
            yield from test(kind, choices, backend, seed)


# -- instances --------------------------------------------------------------------------------------------------------


def _network(kind: str, r: np.random.Generator, free: bool = False) -> Network:
    """Two inputs, three hidden units and one output; for "maxpool" two pairs of inputs, scaled and pooled."""

    def tensor(name: str, shape: tuple[int, ...]) -> Parameter:
        if free:
            return Parameter.box(f"f.{name}", shape, kind="set", values=(-1.0, 0.0, 1.0))
        return Parameter.constant(f"f.{name}", np.round(r.normal(size=shape), 2))

    n = 1 if free or kind == "maxpool" else 3
    y = Layer("y", "dense", ("h",), (1,), Activation(), tensor("y.weights", (1, n)), tensor("y.bias", (1,)))
    if kind == "maxpool":
        shape = (2, 1, 2)  # a weighted copy of the inputs in each channel, of which the largest is taken
        scale = Layer("s", "batchnorm", ("x",), shape, Activation(), tensor("s.weights", (2,)), tensor("s.bias", (2,)))
        pool = {"kernel": (1, 2), "stride": (1, 1), "padding": (0, 0)}
        h = Layer("p", "maxpool", ("s",), (2, 1, 1), attributes=pool)
        flat = Layer("h", "flatten", ("p",), (2,))
        y = replace(y, weights=tensor("y.weights", (1, 2)))
        return Network("f", (Layer("x", "input", (), shape), scale, h, flat, y), ("y",))
    w, b = tensor("h.weights", (n, 2)), None if free else tensor("h.bias", (n,))
    layers = (
        Layer("x", "input", (), (2,)),
        Layer("h", "dense", ("x",), (n,), Activation(kind, 0.2), w, b),
        y,
    )
    return Network("f", layers, ("y",))


def _inputs(network: Network, kind: str = "real", reach: float = 1.5) -> dict[str, Variable]:
    lo, hi = (-2.0, 2.0 if network.input_size < 4 else 1.0) if kind == "int" else (-reach, reach)
    return {f"x{i}": Variable(f"x{i}", lo, hi, kind) for i in range(network.input_size)}


def _output(variables: Mapping[str, Variable]) -> ex.NetworkOutput:
    return ex.NetworkOutput("f", tuple(ex.VariableRef(n) for n in variables))


def _jumps(kind: str) -> bool:
    return kind in ("sign", "step")


# -- the tests --------------------------------------------------------------------------------------------------------


def _points(kind: str, choices: Mapping[str, str], seed: int) -> list[Failure]:
    r = np.random.default_rng(seed)
    failures = []
    for _ in range(4):
        f = _network(kind, r)
        variables = _inputs(f)
        problem = Problem("points", {"f": f}, {}, variables, Objective("minimize", _output(variables)))
        compiled = compile_problem(problem, choices)
        for _ in range(25):
            point = Point({}, {n: float(r.uniform(-1.5, 1.5)) for n in variables})
            detail = _judge(problem, compiled, point, kind)
            if detail:
                failures.append(Failure("points", "", detail))
    return failures


def _judge(problem: Problem, compiled: Compiled, point: Point, kind: str) -> str:
    x = compiled.start(point)
    if np.isnan(x).any():
        return f"no recipe for {compiled.program.column_name(int(np.flatnonzero(np.isnan(x))[0]))}"
    violated = compiled.program.violations(x, FEASIBILITY / 10)
    if violated and not (_jumps(kind) and violated[0].amount <= SIGN_MARGIN):
        return f"{violated[0].what} is violated by {violated[0].amount:g} at {dict(point.variables)}"
    value, expected = compiled.program.objective_value(x), objective(problem, point)
    return "" if abs(value - expected) <= 1e-8 * (1 + abs(expected)) else f"objective {value:g} instead of {expected:g}"


def _solved(program: Program, backend: Solver) -> float | None:
    result = backend.solve(program, Limits(time=SECONDS))
    return result.objective if result.status is Status.OPTIMAL else None


def _forward(kind: str, choices: Mapping[str, str], backend: Solver, seed: int) -> list[Failure]:
    """Inputs are fixed by rows, not by bounds, so that no neuron is decided beforehand."""
    r = np.random.default_rng(seed + 1)
    failures = []
    for sense in ("minimize", "maximize"):
        f = _network(kind, r)
        variables = _inputs(f)
        compiled = compile_problem(
            Problem("forward", {"f": f}, {}, variables, Objective(sense, _output(variables))), choices
        )
        at = np.round(r.uniform(-1.4, 1.4, f.input_size), 2)
        for column, value in zip(compiled.variables.values(), at):
            compiled.program.add_linear(column, value, value, "input")
        expected = float(predict(f, {}, at[None])[0, 0])
        allowed = TOLERANCE + sum(compiled.errors.values()) * _gain(f)
        found = _solved(compiled.program, backend)
        if found is None or abs(found - expected) > allowed:
            failures.append(
                Failure("forward", backend.name, f"{sense}: {found} instead of {expected:g} at {at.tolist()}")
            )
    return failures


def _gain(f: Network) -> float:
    """How much an error in a hidden unit can matter in the output."""
    w = f["y"].weights
    return 1.0 if w is None or w.value is None else float(np.abs(w.value).sum())


def _grid(kind: str, choices: Mapping[str, str], backend: Solver, seed: int) -> list[Failure]:
    r = np.random.default_rng(seed + 2)
    failures = []
    for sense in ("minimize", "maximize"):
        f = _network(kind, r)
        variables = _inputs(f, "int")
        compiled = compile_problem(
            Problem("grid", {"f": f}, {}, variables, Objective(sense, _output(variables))), choices
        )
        grid = np.array(
            list(itertools.product(range(-2, 3 if f.input_size < 4 else 2), repeat=f.input_size)), dtype=float
        )
        values = predict(f, {}, grid)[:, 0]
        expected = float(values.min() if sense == "minimize" else values.max())
        found = _solved(compiled.program, backend)
        if found is None or abs(found - expected) > TOLERANCE + sum(compiled.errors.values()) * _gain(f):
            failures.append(Failure("grid", backend.name, f"{sense}: {found} instead of {expected:g}"))
    return failures


def _weights(kind: str, choices: Mapping[str, str], backend: Solver, seed: int) -> list[Failure]:
    r = np.random.default_rng(seed + 3)
    f = _network(kind, r, free=True)
    data = DataSet("D", np.round(r.uniform(-1, 1, (3, f.input_size)), 2), np.round(r.uniform(-1, 1, (3, 1)), 2))
    problem = Problem("weights", {"f": f}, {"D": data}, {}, Objective("minimize", ex.Loss("sae", "f", "D")))
    free = problem.free_parameters()
    best = np.inf
    for choice in itertools.product((-1.0, 0.0, 1.0), repeat=sum(p.size for p in free)):
        parts = np.split(np.array(choice), np.cumsum([p.size for p in free])[:-1])
        best = min(best, objective(problem, Point({p.name: v.reshape(p.shape) for p, v in zip(free, parts)})))
    compiled = compile_problem(problem, choices)
    found = _solved(compiled.program, backend)
    if found is None or abs(found - best) > TOLERANCE + 3 * sum(compiled.errors.values()):
        return [Failure("weights", backend.name, f"{found} instead of {best:g}")]
    return []


def _against(kind: str, choices: Mapping[str, str], backend: Solver, seed: int) -> list[Failure]:
    others = [n for n in registry.names(kind) if n != choices[kind]]
    reference = DEFAULTS[""].get(kind) if DEFAULTS[""].get(kind) in others else next(iter(others), None)
    if reference is None:
        return []
    r = np.random.default_rng(seed + 4)
    f = _network(kind, r)
    variables = _inputs(f, reach=0.5 if kind not in ("sign", "step") else 1.5)
    problem = Problem("against", {"f": f}, {}, variables, Objective("maximize", _output(variables)))
    values, allowed = [], TOLERANCE
    for template in (choices[kind], reference):
        compiled = compile_problem(problem, {**choices, kind: template})
        try:
            values.append(_solved(compiled.program, backend))
        except NnspecError:  # the reference needs rows that this backend lacks
            return []
        allowed += sum(compiled.errors.values()) * _gain(f)
    mine, other = values
    if mine is None or other is None or abs(mine - other) > allowed:
        return [Failure("against", backend.name, f"{mine} instead of {other} by {reference}")]
    return []


# -- mutations --------------------------------------------------------------------------------------------------------

Encode = Callable[[Block], Affine]


def mutants(kind: str, name: str) -> Iterator[tuple[str, Encode]]:
    """Broken versions of a template: (what is broken, function)."""
    original = registry.template(kind, name).encode

    def shifted(block: Block) -> Affine:
        return original(replace(block, z=block.z + 0.3))  # bounds and decided neurons still those of the true z

    def flipped(block: Block) -> Affine:
        return -original(block)

    def dropped(number: int) -> Encode:
        def encode(block: Block) -> Affine:
            start = len(block.program.rows)
            h = original(block)
            if start + number < len(block.program.rows):
                del block.program.rows[start + number]
            return h

        return encode

    yield "bias dropped", shifted
    yield "sign flipped", flipped
    for number in range(_row_blocks(kind, original)):
        yield f"row block {number + 1} dropped", dropped(number)


def _row_blocks(kind: str, encode: Encode) -> int:
    """How many blocks of rows the template adds for one layer."""
    counts = []

    def counting(block: Block) -> Affine:
        start = len(block.program.rows)
        h = encode(block)
        counts.append(len(block.program.rows) - start)
        return h

    with _instead(kind, "(counted)", counting):
        f = _network(kind, np.random.default_rng(0))
        variables = _inputs(f)
        compile_problem(Problem("count", {"f": f}, {}, variables, Objective("minimize", _output(variables))),
                        {kind: "(counted)"})  # fmt: skip
    return max(counts, default=0)


@contextmanager
def _instead(kind: str, name: str, encode: Encode, needs: Sequence[str] = ("bounds",)) -> Iterator[None]:
    """A template registered for a while."""
    registry.encoding(kind, name, needs)(encode)
    try:
        yield
    finally:
        registry.forget(kind, name)


def survivors(kind: str, name: str, backends: Sequence[Solver], seed: int = 0) -> list[str]:
    """The mutants that the suite does not catch. Rows that only tighten the relaxation survive being dropped; a
    dropped bias or a flipped sign must never survive."""
    alive = []
    for what, encode in mutants(kind, name):
        with _instead(kind, f"{name} ({what})", encode, tuple(registry.template(kind, name).needs)):
            try:
                caught = next(_failures(kind, {kind: f"{name} ({what})"}, backends, seed), None) is not None
            except Exception:  # a mutant may be too broken to build
                caught = True
        if not caught:
            alive.append(what)
    return alive


ELEMENTWISE = tuple(a for a in ACTIVATIONS if a not in ("linear", "softmax"))
