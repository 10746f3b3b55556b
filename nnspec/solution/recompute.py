"""Objective, domains, budgets and constraints once more, from nothing but the written files.

Weights are read back from the float64 file of each network, and every output that a loss or a constraint needs is what
onnxruntime computes from that file; only the arithmetic around it is `nnspec.problem.evaluate`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from nnspec.formats.onnx.run import run_session, session
from nnspec.formats.onnx.weights import read_weights
from nnspec.problem import evaluate, losses
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import Violation
from nnspec.problem.network import Network
from nnspec.problem.problem import Point, Problem


@dataclass(frozen=True)
class Recomputed:
    """What the files themselves say: the objective's value, and everything of the spec that they violate."""

    objective: float
    violations: tuple[Violation, ...]


def recompute(problem: Problem, variables: Mapping[str, float], files: Mapping[str, bytes]) -> Recomputed:
    """Judge the files (network name -> content) together with the values of the decision variables.

    Networks without a file (imported ones) are evaluated by the forward pass, which was checked when they were read.
    """
    parameters: dict[str, np.ndarray] = {}
    runs: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    for name, content in files.items():
        values = read_weights(content, problem.networks[name])
        parameters |= {p.name: values[p.name] for p in problem.networks[name].parameters if p.free}
        runs[name] = _runner(content)
    point = Point(parameters, variables)

    def computed(e: ex.Expression) -> ex.Expression | None:
        match e:
            case ex.Loss(network=name) if name in runs:
                return ex.Constant(_loss(problem, e, runs[name]))
            case ex.NetworkOutput(network=name, arguments=arguments, output=k) if name in runs:
                x = [[evaluate.value(problem, point, ex.replaced(a, computed)) for a in arguments]]
                return ex.Constant(float(runs[name](np.array(x))[0, k]))
        return None

    e = problem.objective.expression
    value = 0.0 if e is None else evaluate.value(problem, point, ex.replaced(e, computed))
    constraints = tuple(replace(c, expression=ex.replaced(c.expression, computed)) for c in problem.constraints)
    found = evaluate.violations(replace(problem, constraints=constraints), point)
    return Recomputed(value, tuple(found))


def _runner(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    running = session("", content)
    return lambda x: run_session(running, x)


def _loss(problem: Problem, e: ex.Loss, run: Callable[[np.ndarray], np.ndarray]) -> float:
    """A loss in scaled units from a file that maps raw inputs to raw outputs."""
    network, data = problem.networks[e.network], problem.data[e.data]
    scaling = network.input_scaling
    outputs = run(data.x if scaling is None else scaling.invert(data.x))
    if network.output_scaling is not None:
        outputs = network.output_scaling.apply(outputs)
    if e.kind == "cross_entropy":
        outputs = _scores(network, outputs)
    return losses.evaluate(e.kind, outputs, data.y, data.weights, delta=e.delta, q=e.q, margin=e.margin)


def _scores(network: Network, outputs: np.ndarray) -> np.ndarray:
    """Scores that have these probabilities: log p, up to a constant that cross entropy does not see."""
    parts, start = [], 0
    for name in network.outputs:
        layer = network[name]
        part = outputs[:, start : start + layer.size]
        start += layer.size
        softmax = layer.activation.kind == "softmax"
        # a probability that underflowed is at most the smallest number, so the loss is at least what is reported
        parts.append(np.log(np.maximum(part, np.finfo(float).tiny)) if softmax else part)
    return np.concatenate(parts, axis=1)
