"""Moves the thresholds of sign and step neurons into the middle of the gap that the program keeps free.

The program says z >= 0 or z <= -SIGN_MARGIN (see encodings/sign.py), so that a solution often has samples with z = 0,
where a rounding error of 1e-17 turns the neuron over. With the bias raised by SIGN_MARGIN / 2 every sample keeps that
distance from 0, in the float32 file too.
"""

from __future__ import annotations

import numpy as np

from nnspec.problem.problem import Point, Problem
from nnspec.tolerances import SIGN_MARGIN


def centred(problem: Problem, point: Point) -> list[Point]:
    """Versions of the point to be judged in this order; the last is the point itself.

    Free real biases of sign and step layers are raised, as far as their bounds allow: first all of them, then those
    that are not exactly zero (a zero may be what an l0 budget asks for).
    """
    biases = [
        layer.bias
        for network in problem.networks.values()
        for layer in network.layers
        if layer.activation.kind in ("sign", "step") and layer.bias is not None
        and layer.bias.free and layer.bias.kind == "real"
    ]  # fmt: skip
    if not biases:
        return [point]
    versions = []
    for keep_zeros in (False, True):
        values = dict(point.parameters)
        for b in biases:
            old = np.asarray(values[b.name], dtype=float)
            raised = np.maximum(old, np.minimum(old + 0.5 * SIGN_MARGIN, b.hi))
            values[b.name] = np.where((old == 0) & keep_zeros, old, raised)
        versions.append(Point(values, point.variables))
    return [*versions, point]
