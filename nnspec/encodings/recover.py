"""From a solver's point to a network that decides as the model did.

Solvers satisfy rows up to FEASIBILITY. Where a network jumps that is not enough: a sign neuron with z = -1e-9 was
active in the model and is not in the file, and a sample that leads by margin - 1e-9 counts as an error. Small moves
within the domains repair this without changing any decision:
- biases of sign and step neurons are shifted into the gap (-SIGN_MARGIN, 0) that the model keeps free, so that both
  sides keep half of it (enough for float32 as well);
- where a bias cannot be shifted (an integer, a tie, none at all) the neuron's weights are, by a linear program for the
  least change that keeps every sample as far off the jump as there is room;
- the weights of linear output layers are scaled up by the few millionths that the right samples lack.
Where the domains forbid all of them the point stays as it is, and the recomputed objective tells.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnspec.encodings.runs import every_expression
from nnspec.problem import expression as ex
from nnspec.problem.forward import apply_layer, forward, layer_values
from nnspec.problem.losses import default_margin, margins
from nnspec.problem.network import Layer, Parameter
from nnspec.problem.problem import Problem
from nnspec.tolerances import FEASIBILITY, SIGN_MARGIN

if TYPE_CHECKING:
    from nnspec.encodings.layers import Run


def centre_jumps(problem: Problem, runs: Sequence[Run], x: np.ndarray, values: dict[str, np.ndarray],
                 counted: Container[str] = ()) -> None:  # fmt: skip
    """Shift the biases of sign and step neurons into the middle of their gap, in place.

    Zeros of tensors whose nonzeros are counted stay zero.
    """
    tied = {name for t in problem.ties for name, _ in (t.target, t.source)}

    def movable(p: Parameter | None) -> bool:
        return p is not None and p.free and p.kind == "real" and p.name not in tied

    for network in problem.networks.values():
        inputs = [run.inputs.value(x) for run in runs if run.network.name == network.name]
        if not inputs:
            continue
        batch = np.concatenate(inputs)
        for layer in network.layers:
            if layer.activation.kind not in ("sign", "step"):
                continue
            results = layer_values(network, values, batch)
            sources = [results[i] for i in layer.inputs]
            z = _units(apply_layer(layer, sources, values))
            wanted = z >= -SIGN_MARGIN / 2
            if movable(layer.bias):
                assert layer.bias is not None
                old = values[layer.bias.name]
                shift = np.where(old == 0, 0.0, _shift(z)) if layer.bias.name in counted else _shift(z)
                values[layer.bias.name] = np.clip(old + shift, layer.bias.lo, layer.bias.hi)
                z = _units(apply_layer(layer, sources, values))
            if layer.kind == "dense" and movable(layer.weights):
                assert layer.weights is not None
                w = values[layer.weights.name] = np.array(values[layer.weights.name], dtype=float)
                for k in np.flatnonzero(np.any((z >= 0) != wanted, axis=1)):
                    zero = (w[k] == 0) & (layer.weights.name in counted)
                    lo, hi = (np.where(zero, 0.0, b[k]) for b in (layer.weights.lo, layer.weights.hi))
                    w[k] = _turned(w[k], lo, hi, sources[0].reshape(len(batch), -1), z[k], wanted[k])


def _units(z: np.ndarray) -> np.ndarray:
    """Pre-activations (samples, units, ...) as (units, samples)."""
    return np.moveaxis(z, 1, 0).reshape(z.shape[1], -1)


def _turned(w: np.ndarray, lo: np.ndarray, hi: np.ndarray, x: np.ndarray, z: np.ndarray, wanted: np.ndarray
            ) -> np.ndarray:  # fmt: skip
    """Weights (d,) in [lo, hi] near `w` with z >= t on the samples `wanted` and z <= -t on the others, t as large as
    possible up to SIGN_MARGIN / 2; unchanged where no t > 0 exists.

    The variables of the program are the increase and the decrease of each weight and t, which counts far more.
    """
    from scipy.optimize import linprog

    d = len(w)
    s = np.where(wanted, 1.0, -1.0)
    rows = np.column_stack([-s[:, None] * x, s[:, None] * x, np.ones(len(x))])  # t - s (z + dw.x) <= 0
    cost = np.concatenate([np.ones(2 * d), [-1e4]])
    bounds = [(0.0, b - a) for a, b in zip(w, np.maximum(hi, w))] + [(0.0, a - b) for a, b in zip(w, np.minimum(lo, w))]
    found = linprog(cost, rows, s * z, bounds=[*bounds, (0.0, SIGN_MARGIN / 2)])
    if not found.success or found.x[-1] <= 0:
        return w
    return np.clip(w + found.x[:d] - found.x[d : 2 * d], lo, hi)


def _shift(z: np.ndarray) -> np.ndarray:
    """For each unit the shift that centres the gap around 0, given its pre-activations (units, samples)."""
    active = z >= -SIGN_MARGIN / 2
    lowest = np.min(np.where(active, z, np.inf), axis=1)
    highest = np.max(np.where(active, -np.inf, z), axis=1)
    needed = np.maximum(SIGN_MARGIN / 2 - lowest, 0.0)  # nothing to do for units far from the jump
    room = np.maximum(-SIGN_MARGIN / 2 - highest, 0.0)
    shift = np.where(np.isfinite(lowest), np.minimum(needed, np.where(np.isfinite(room), room, needed)), 0.0)
    return np.asarray(shift)


def lift_margins(problem: Problem, values: dict[str, np.ndarray]) -> None:
    """Scale linear output layers so that samples which lead by the margin up to FEASIBILITY lead by all of it."""
    for e in every_expression(problem):
        if not isinstance(e, ex.Loss) or e.kind != "errors":
            continue
        network, data = problem.networks[e.network], problem.data[e.data]
        outputs = network.outputs
        layers = [network[o] for o in outputs]
        if not all(_scalable(layer) for layer in layers):
            continue
        m = default_margin(e.kind) if e.margin is None else e.margin
        lead = margins(forward(network, values, data.x), data.y)
        short = lead[(lead < m) & (lead > m - 10 * FEASIBILITY * max(1.0, m))]
        if not len(short) or short.min() <= 0:
            continue
        factor = m / float(short.min()) * (1 + 1e-12)
        parameters = list(_free(layers))
        scaled = {p.name: values[p.name] * factor for p in parameters}
        if all(np.all(scaled[p.name] <= p.hi) and np.all(scaled[p.name] >= p.lo) for p in parameters):
            values.update(scaled)


def _scalable(layer: Layer) -> bool:
    return layer.kind == "dense" and layer.activation.kind == "linear" and all(
        p.free and p.kind == "real" for p in layer.parameters
    )  # fmt: skip


def _free(layers: Iterable[Layer]) -> Iterable[Parameter]:
    for layer in layers:
        yield from layer.parameters
