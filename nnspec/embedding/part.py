"""nnspec.embed: y = f(x) inside a model that a user builds with another library."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnspec.embedding.block import network_block
from nnspec.embedding.models import entries, fit, library_of
from nnspec.errors import Diagnostic, UsageError
from nnspec.formats import read_network
from nnspec.problem.network import Network
from nnspec.solution.solution import TrainedNetwork


@dataclass(frozen=True, eq=False)
class Part:
    """What `embed` added to a model.

    `inputs` and `outputs` are variables of the model; `input_bounds` the ranges that the encoding relies on;
    `block` the Pyomo Block that holds everything (None for other libraries). `network.predict` is the forward pass.
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


def embed(model: Any, network: str | os.PathLike[str] | Network | TrainedNetwork, x: Any, *, name: str = "net",
          bounds: Sequence[tuple[float, float]] | None = None, encoding: Mapping[str, str] | None = None
          ) -> tuple[list[Any], Part]:  # fmt: skip
    """Add y = f(x) to a Pyomo, PySCIPOpt or gurobipy model; returns the variables y and what was added.

    `network` is an .onnx file (read and compared with onnxruntime), or a network with values for all weights. `x` are
    its inputs in raw units: variables or linear expressions of the model, as many as the network takes. Their bounds
    are read from the model unless `bounds` gives them; the bounds given also become constraints. `name` is the prefix
    of what is added; `encoding` picks templates ({"relu": "sos1"}).

        y, part = nnspec.embed(model, "demand.onnx", [model.price, model.ads])
        model.revenue = pyo.Objective(expr=model.price * y[0], sense=pyo.maximize)

    The network holds exactly for every feasible point of the model, within the solver's tolerances. Raises UsageError
    (wrong number of inputs, missing bounds, a model of another library), UnsupportedError, SpecError.
    """
    library = library_of(model)
    trained = _trained(network, name)
    given = entries(x)
    size = trained.network.input_size
    if len(given) != size:
        raise UsageError(Diagnostic("NNS341", f"the network takes {size} inputs, and x has {len(given)}"))
    ranges = [library.bounds(v) for v in given] if bounds is None else _checked(bounds, size)
    for k, (v, (lo, hi)) in enumerate(zip(given, ranges)):
        if not (math.isfinite(lo) and math.isfinite(hi)):
            raise UsageError(Diagnostic(
                "NNS342", f"input {k} of the network ({v}) has no finite bounds",
                help="bound the variable in the model, or give embed(..., bounds=[(lo, hi), ...])",
            ))  # fmt: skip
    lows, highs = zip(*ranges)
    names = [f"{name}.x[{k}]" for k in range(size)]
    outputs = [f"{name}.y[{k}]" for k in range(trained.network.output_size)]
    block = network_block(trained.network, names, lows, highs, outputs, encoding, library.name)
    program = fit(block.program, library)
    holder, variables = library.add(model, name, program)
    inputs = [variables[j] for j in block.inputs]
    library.equate(model, holder, name, list(zip(inputs, given)))
    y = [variables[j] for j in block.outputs]
    part = Part(name, trained, tuple(inputs), tuple(y), tuple(ranges), program.columns, int(program.discrete.sum()),
                program.row_count, holder)  # fmt: skip
    return y, part


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
