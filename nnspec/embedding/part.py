"""nnspec.embed: y = f(x) inside a model that a user builds with another library."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nnspec.embedding.block import network_block
from nnspec.embedding.models import entries, fit, library_of
from nnspec.embedding.start import assist
from nnspec.errors import Diagnostic, UnsupportedError, UsageError
from nnspec.formats import read_network
from nnspec.problem.network import Network
from nnspec.solution.solution import TrainedNetwork


@dataclass(frozen=True, eq=False)
class Part:
    """What `embed` added to a model.

    `inputs` and `outputs` are variables of the model; `input_bounds` the ranges that the encoding relies on;
    `block` the Pyomo Block that holds everything (None for other libraries). `errors` are the certified errors of the
    activations that are enclosed rather than stated exactly (gelu), by layer; empty if y = f(x) holds exactly.
    `network.predict` is the forward pass.
    """

    name: str
    network: TrainedNetwork
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    input_bounds: tuple[tuple[float, float], ...]
    variables: int
    discrete: int
    rows: int
    block: Any = None
    errors: Mapping[str, float] = field(default_factory=dict)


def embed(model: Any, network: str | os.PathLike[str] | Network | TrainedNetwork, x: Any, *, name: str = "net",
          bounds: Sequence[tuple[float, float]] | None = None, encoding: Mapping[str, str] | None = None
          ) -> tuple[list[Any], Part]:  # fmt: skip
    """Add y = f(x) to a Pyomo, PySCIPOpt or gurobipy model; returns the variables y and what was added.

    `network` is an .onnx file (read and compared with onnxruntime), or a network with values for all weights. `x` are
    its inputs in raw units: variables or linear expressions of the model, as many as the network takes. Their bounds
    are read from the model, from its variables and its linear constraints, unless `bounds` gives them; they also become
    constraints, so a model whose bounds are widened afterwards stays restricted to `Part.input_bounds`. `name` is the
    prefix of what is added; `encoding` picks templates ({"relu": "sos1"}).

        y, part = nnspec.embed(model, "demand.onnx", [model.price, model.ads])
        model.revenue = pyo.Objective(expr=model.price * y[0], sense=pyo.maximize)

    The network holds exactly for every feasible point of the model, within the solver's tolerances and but for
    `Part.errors`. Raises UsageError (wrong number of inputs, missing bounds, a model of another library),
    UnsupportedError, SpecError.
    """
    library = library_of(model)
    trained = _trained(network, name)
    given = entries(x)
    size = trained.network.input_size
    if len(given) != size:
        raise UsageError(Diagnostic("NNS341", f"the network takes {size} inputs, and x has {len(given)}"))
    ranges = library.ranges(model, given) if bounds is None else _checked(bounds, size)
    lows, highs = zip(*ranges)
    names = [f"{name}.x[{k}]" for k in range(size)]
    outputs = [f"{name}.y[{k}]" for k in range(trained.network.output_size)]
    try:
        network = replace(trained.network, name=name)
        block = network_block(network, names, lows, highs, outputs, encoding, library.name)
        program = fit(block.program, library)
    except UnsupportedError as error:
        raise _unbounded(error, given, ranges) or error from None
    holder, variables = library.add(model, name, program)
    inputs = [variables[j] for j in block.inputs]
    library.equate(model, holder, name, list(zip(inputs, given)))
    y = [variables[j] for j in block.outputs]
    assist(model, library.name, name, trained.network, block, variables, given)
    part = Part(name, trained, tuple(inputs), tuple(y), tuple(ranges), program.columns, int(program.discrete.sum()),
                program.row_count, holder, dict(block.errors))  # fmt: skip
    return y, part


def _unbounded(error: UnsupportedError, given: list[Any], ranges: list[tuple[float, float]]) -> UsageError | None:
    """The error about a missing bound at the input that lacks it, if that is what the error is about."""
    cause = error.diagnostics[0]
    if cause.code != "NNS150" and "unbounded" not in cause.message:
        return None
    for k, (v, (lo, hi)) in enumerate(zip(given, ranges)):
        if not (math.isfinite(lo) and math.isfinite(hi)):
            return UsageError(Diagnostic(
                "NNS342", f"input {k} of the network ({v}) has no finite bounds: {cause.message}",
                help="bound it in the model, by its own bounds or by a linear constraint, or give "
                "embed(..., bounds=[(lo, hi), ...])",
            ))  # fmt: skip
    return None


def _trained(network: str | os.PathLike[str] | Network | TrainedNetwork, name: str) -> TrainedNetwork:
    if isinstance(network, TrainedNetwork):
        return network
    if isinstance(network, Network):
        if network.free:
            raise UsageError(Diagnostic("NNS341", f"network {network.name} has weights without values"))
        return TrainedNetwork(network)
    return TrainedNetwork(read_network(os.fspath(network), name))


def _checked(bounds: Sequence[tuple[float, float]], size: int) -> list[tuple[float, float]]:
    ranges = [(float(lo), float(hi)) for lo, hi in bounds]
    if len(ranges) != size or any(not lo <= hi for lo, hi in ranges):
        raise UsageError(Diagnostic("NNS341", f"bounds must be {size} pairs (lo, hi) with lo <= hi"))
    return ranges
