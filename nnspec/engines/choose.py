"""The choice of engine: each is asked whether it takes the problem, in the order of what wins where it applies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnspec.engines.interface import Engine
from nnspec.errors import Diagnostic, UnsupportedError, UsageError
from nnspec.problem.expression import Loss, Size, linear_terms
from nnspec.problem.problem import Problem

ENGINES = ("auto", "solver", "cells", "boxes")

MOST_PRODUCTS = 100_000
"""Above so many products of weights and samples nobody is asked to write an exact integer program unasked: 4,000 take
half a second."""

TINY = (2, 12, 10.0)
"""Neurons, samples and size of weights up to which a general solver proves a one-hidden-layer network as fast as the
cells engine (2 to 4 seconds, N=12, H=2), and on a new installation ten times faster, since it need not be compiled. At
20 samples it already takes ten times as long. Boxes must contain 0: with others its program keeps the products; with
hidden weights in [0.2, 2] or hidden biases 0.2 it has no bound after 5 seconds of CPU time, where cells takes 2."""

_SMOOTH = {"tanh", "sigmoid", "softplus", "gelu", "silu"}


@dataclass(frozen=True)
class Choice:
    """An engine, and why this one and not the others."""

    engine: Engine
    reasons: tuple[str, ...]


def engine_named(name: str, backend: str | None = None, encodings: Mapping[str, str] | None = None,
                 files: Mapping[str, Path] | None = None) -> Engine:  # fmt: skip
    """The engine that users call `name`. Raises UsageError for unknown names.

    `files` are those that engines with a tree of their own write: "certificate" and "checkpoint". UnsupportedError if
    the engine writes none.
    """
    if name == "boxes":
        from nnspec.engines.boxes import BoxesEngine

        return BoxesEngine(**(files or {}))
    lacking = [kind for kind in files or () if name == "solver"]
    if lacking:
        able = "the engines cells and boxes do"
        kinds = " and no ".join(lacking)
        raise UnsupportedError(Diagnostic("NNS328", f"the {name} engine writes no {kinds}", help=able))
    if name == "cells":
        from nnspec.engines.cells import CellsEngine

        return CellsEngine((files or {}).get("certificate"), (files or {}).get("checkpoint"))
    if name == "solver" and backend == "cpsat":
        from nnspec.engines.cpsat import CpsatEngine

        if encodings:
            message = "the backend cpsat uses no encodings: its integer programs are its own"
            raise UsageError(Diagnostic("NNS326", message, help="leave --encoding out"))
        return CpsatEngine()
    if name == "solver":
        from nnspec.engines.solver.engine import SolverEngine

        return SolverEngine(backend or "scip", encodings)
    raise UsageError(Diagnostic("NNS326", f"unknown engine {name!r}", help=f"choose from {', '.join(ENGINES)}"))


def choose(problem: Problem, engine: str = "auto", backend: str | None = None,
           encodings: Mapping[str, str] | None = None, files: Mapping[str, Path] | None = None) -> Choice:  # fmt: skip
    """The engine for a problem. With "auto" the first that takes it and is known to win on its kind of problem.

    Raises UnsupportedError if the engine asked for does not take the problem, UsageError for unknown names.
    """
    if engine not in ENGINES:
        engine_named(engine)
    if engine in ("cells", "boxes"):
        chosen = engine_named(engine, files=files)
        reason = chosen.accepts(problem)
        if reason is not None:
            raise UnsupportedError(Diagnostic("NNS170", f"the {engine} engine cannot solve this problem: {reason}",
                                              help="leave the engine out, and one that can is chosen"))  # fmt: skip
        return Choice(chosen, (f"engine {engine}, as asked for",))
    solver = engine_named("solver", backend, encodings)
    if files and (engine == "solver" or backend is not None or encodings):
        engine_named("solver", files=files)
    if engine == "solver":
        return Choice(solver, ("engine solver, as asked for",))
    if backend is not None or encodings:
        asked = "a backend" if backend is not None else "an encoding"
        return Choice(solver, (f"engine solver, since {asked} was asked for",))
    reasons: list[str] = []
    if not files and _discrete(problem):
        from nnspec.engines.cpsat import CpsatEngine

        finite = CpsatEngine()
        work = _products(problem)
        reason = f"{work} products of weights and samples take long to write out" if work > MOST_PRODUCTS else None
        reason = reason or finite.accepts(problem)
        if reason is None:
            return Choice(finite, (f"engine solver on cpsat: {_STRENGTH['cpsat']}",))
        reasons.append(f"backend cpsat: not used, {reason}")
    tiny = not files and _tiny(problem)
    if tiny:
        reasons.append("engine cells: not used, a general solver needs no longer for so small a network")
    for name in () if tiny else _candidates(problem):
        candidate = engine_named(name)
        reason = candidate.accepts(problem)
        if reason is None:
            candidate = engine_named(name, files=files)
            return Choice(candidate, (*reasons, f"engine {name}: {_STRENGTH[name]}"))
        reasons.append(f"engine {name}: not used, {reason}")
    if files:
        engine_named("solver", files=files)
    return Choice(solver, (*reasons, "engine solver: a mathematical program on a general solver"))


_STRENGTH = {
    "cpsat": "an integer program in exact arithmetic, since there are finitely many networks",
    "cells": "branch-and-bound over activation patterns, for one hidden layer of piecewise-linear neurons",
    "boxes": "branch-and-bound on hidden weights with the neuron-separable dual bound, for smooth neurons",
}


def _discrete(problem: Problem) -> bool:
    """Whether a network is trained that has integer or finite weights: only then exact arithmetic is worth asking."""
    free = problem.free_parameters()
    return bool(free) and any(p.kind != "real" for p in free)


def _products(problem: Problem) -> int:
    weights = sum(p.size for p in problem.free_parameters())
    return weights * sum(data.samples for data in problem.data.values())


def _tiny(problem: Problem) -> bool:
    """Whether a squared or absolute loss, with or without weight decay, is small enough for TINY."""
    networks = [n for n in problem.networks.values() if n.free]
    e = problem.objective.expression
    if len(networks) != 1 or problem.constraints or problem.variables or problem.symmetry_claims or e is None:
        return False
    network = networks[0]
    chain = network.chain()
    if chain is None or len(chain) != 2 or chain[0].activation.kind not in ("relu", "leaky_relu", "abs"):
        return False
    neurons, samples, size = TINY
    counted = network.l0 is not None or any(layer.l0 is not None for layer in chain)
    terms = [t for _, t in linear_terms(e)[1]]
    losses = [t for t in terms if isinstance(t, Loss)]
    fine = all(t.kind in ("sse", "mse", "sae", "mae") for t in losses)
    fine &= all(t.kind == "l2" for t in terms if isinstance(t, Size)) and not counted
    small = all(np.all(np.abs(b) <= size) for p in network.parameters for b in (p.lo, p.hi))
    last = chain[1].bias
    small &= all(np.all((p.lo <= 0) & (p.hi >= 0)) for p in network.parameters if p is not last)
    few = len(losses) == 1 and problem.data[losses[0].data].samples <= samples
    return fine and few and small and chain[0].size <= neurons and len(terms) <= 2


def _candidates(problem: Problem) -> tuple[str, ...]:
    """Engines worth asking before the solver: those that exploit what the network consists of."""
    networks = [n for n in problem.networks.values() if n.free]
    if not networks:
        return ()
    if len(networks) > 1:
        return ("cells", "boxes")  # they refuse, and say so
    kinds = {layer.activation.kind for layer in networks[0].layers if layer.name not in networks[0].outputs}
    return ("boxes",) if kinds & _SMOOTH else ("cells",)
