"""Where networks are evaluated: once for all data rows of losses and expressions, once for each call on decisions.

Equal data rows share their neurons, whatever the number of losses, data sets and written-out sums that they occur in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from nnspec.bounds.propagate import Bounds
from nnspec.encodings.context import Context
from nnspec.encodings.layers import Run, encode_network
from nnspec.encodings.parameters import Parameters
from nnspec.problem import expression as ex
from nnspec.problem.network import Activation, Network
from nnspec.problem.problem import Problem
from nnspec.program import Affine, stack

Key = tuple[str, tuple[ex.Expression, ...]]
"""Which evaluation: the network's name, and the arguments of a call on decisions (none: all data rows)."""

Refine = Callable[[Network, Affine, Key], Mapping[str, Bounds]]


class Runs:
    """All evaluations of networks in one program."""

    def __init__(self, context: Context, parameters: Parameters, refine: Refine | None = None):
        self.context = context
        self.parameters = parameters
        self.refine = refine
        self.affine: Callable[..., Affine] = lambda e: Affine.of(np.nan)  # set by Expressions
        self.all: list[Run] = []
        self.keys: list[Key] = []
        self._rows: dict[str, dict[bytes, int]] = {}
        self._points: dict[str, list[np.ndarray]] = {}
        self._data_runs: dict[str, Run] = {}
        self._calls: dict[tuple[str, tuple[ex.Expression, ...]], Run] = {}
        expressions = every_expression(context.problem)
        self._scored = scored(context.problem, expressions)
        for e in expressions:
            self._collect(e)

    def tensor(self, name: str) -> Affine:
        """A parameter tensor by its name."""
        for p in self.context.problem.parameters():
            if p.name == name:
                return self.parameters.expression(p)
        raise KeyError(name)

    def _collect(self, e: ex.Expression) -> None:
        if isinstance(e, ex.Loss):
            for x in self.context.problem.data[e.data].x:
                self._row(e.network, x)
        elif isinstance(e, ex.NetworkOutput) and (x := self._constant_inputs(e)) is not None:
            self._row(e.network, x)

    def _constant_inputs(self, e: ex.NetworkOutput) -> np.ndarray | None:
        """The scaled inputs if all arguments are numbers."""
        if not all(isinstance(a, ex.Constant) for a in e.arguments):
            return None
        raw = np.array([a.value for a in e.arguments if isinstance(a, ex.Constant)])
        scaling = self.context.problem.networks[e.network].input_scaling
        return raw if scaling is None else scaling.apply(raw)

    def _row(self, network: str, x: np.ndarray) -> int:
        x = np.asarray(x, dtype=float).reshape(-1) + 0.0  # -0.0 and 0.0 are one row
        known = self._rows.setdefault(network, {})
        key = x.tobytes()
        if key not in known:
            known[key] = len(known)
            self._points.setdefault(network, []).append(x)
        return known[key]

    def _run(self, network: str, inputs: Affine, name: str, arguments: tuple[ex.Expression, ...] = ()) -> Run:
        n = self.context.problem.networks[network]
        n = before_softmax(n) if network in self._scored else n
        key = (network, arguments)
        known = self.refine(n, inputs, key) if self.refine is not None else None
        run = encode_network(self.context, self.parameters, n, inputs, name, known)
        self.all.append(run)
        self.keys.append(key)
        return run

    def _data_run(self, network: str) -> Run:
        if network not in self._data_runs:
            inputs = Affine.of(np.array(self._points[network]))
            self._data_runs[network] = self._run(network, inputs, network)
        return self._data_runs[network]

    def on_data(self, network: str, data: str) -> tuple[Run, np.ndarray]:
        """The run on all data rows of a network, and which of its rows the samples of a data set are."""
        rows = np.array([self._row(network, x) for x in self.context.problem.data[data].x], dtype=np.int64)
        return self._data_run(network), rows

    def output(self, network: str, arguments: tuple[ex.Expression, ...], k: int) -> Affine:
        """One output in raw units at raw inputs, shape ()."""
        net = self.context.problem.networks[network]
        node = ex.NetworkOutput(network, arguments, k)
        x = self._constant_inputs(node)
        if x is not None:
            row = self._row(network, x)
            o = self._data_run(network).outputs[row, k]
        else:
            o = self._call(net, arguments).outputs[0, k]
        if net.output_scaling is not None:
            o = o * net.output_scaling.factor[k] + net.output_scaling.shift[k]
        return o

    def _call(self, network: Network, arguments: tuple[ex.Expression, ...]) -> Run:
        key = (network.name, arguments)
        if key not in self._calls:
            raw = stack([self.affine(a) for a in arguments])
            s = network.input_scaling
            inputs = raw if s is None else (raw - s.shift) / s.factor
            number = sum(1 for n, _ in self._calls if n == network.name)
            name = network.name if not number and network.name not in self._rows else f"{network.name}~{number + 1}"
            self._calls[key] = self._run(network.name, inputs.reshape(1, -1), name, arguments)
        return self._calls[key]


def scored(problem: Problem, expressions: list[ex.Expression]) -> set[str]:
    """Networks that end in a softmax of which nothing is asked but which output is the largest, or cross_entropy.

    A softmax does not change the order of its inputs, so these programs need no exponentials.
    """
    found = {n for n, f in problem.networks.items() if f.output_scaling is None and len(f.outputs) == 1
             and f[f.outputs[0]].activation.kind == "softmax"}  # fmt: skip
    ranked: set[int] = set()
    for e in expressions:
        if isinstance(e, ex.Function) and e.name == "argmax":
            calls = [a for a in e.arguments if isinstance(a, ex.NetworkOutput)]
            whole = len(calls) == len(e.arguments) and len({(a.network, a.arguments) for a in calls}) == 1
            if whole:  # all of one call's outputs or some of them
                ranked.update(id(a) for a in calls)
    for e in expressions:
        match e:
            case ex.NetworkOutput(network=name) if id(e) not in ranked:
                found.discard(name)
            case ex.Loss(network=name, kind=kind) if kind != "cross_entropy":
                found.discard(name)
    return found


def before_softmax(network: Network) -> Network:
    """The same network without the softmax at its output."""
    (last,) = network.outputs
    layers = tuple(replace(x, activation=Activation()) if x.name == last else x for x in network.layers)
    return replace(network, layers=layers)


def every_expression(problem: Problem) -> list[ex.Expression]:
    """All nodes of objective and constraints."""
    roots = [c.expression for c in problem.constraints]
    if problem.objective.expression is not None:
        roots.append(problem.objective.expression)
    found: list[ex.Expression] = []
    while roots:
        e = roots.pop()
        found.append(e)
        roots.extend(ex.children(e))
    return found
