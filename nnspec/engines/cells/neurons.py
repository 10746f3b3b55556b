"""What a neuron of each activation is in the search: its own unknowns, pieces, cuts and cone.

*relu, leaky_relu, abs* (homogeneous): the unknowns are |v| (w, b), a piece is a slope times the linear form of the
input.

*hardtanh*: v (w, b) and v itself, v >= 0. The pieces give -v, v (w.x + b) and v, the cuts are v (w.x + b) + v >= 0 and
v (w.x + b) - v >= 0. All of it is homogeneous, so the patterns are cones of (v w, v b, v) within v >= 0. At v = 0 the
output is 0 on every sample whatever v (w, b) is: the neuron may be left out. hardtanh is odd, so boxes of w and b that
are symmetric about 0 leave v >= 0 without loss (T3); else both signs are searched.

*step, sign*: v alone, of either sign; the cone of (w, b) costs nothing. At the jump a sample counts as above; with a
bias that can grow a little, every such network has one with the same sides and no sample on the jump, so open cells
suffice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnspec.problem.network import Activation

HOMOGENEOUS = ("relu", "leaky_relu", "abs")
THRESHOLD = ("step", "sign")
STRICT = 1e-7
"""Step and sign neurons decide a sample by the direction of (w, b) only; which ones can be told apart is a matter of
rounding at last. The claim is about neurons that leave each sample this far (of the size of the data) on its side."""


@dataclass(frozen=True, eq=False)
class Neuron:
    """One neuron with p own unknowns on n samples, for a positive output weight.

    features (S, n, p): its output in each piece; cuts (n, S - 1, p): piece m lies where cuts below m are >= 0 and the
    others <= 0; cone (n, S - 1, q) and half_space (f, q): cuts, and rows that are always >= 0, on the unknowns that
    decide the pattern.
    """

    features: np.ndarray
    cuts: np.ndarray
    cone: np.ndarray
    half_space: np.ndarray


def neuron(activation: Activation, inputs: np.ndarray) -> Neuron:
    """inputs (n, p): x or (x, 1) in normalised units."""
    n, p = inputs.shape
    zero, one = np.zeros((n, p)), np.ones((n, 1))
    if activation.kind in HOMOGENEOUS:
        slope = {"relu": 0.0, "abs": -1.0}.get(activation.kind, activation.alpha)
        cuts = inputs[:, None, :]
        return Neuron(np.stack([slope * inputs, inputs]), cuts, cuts, np.zeros((0, p)))
    if activation.kind == "hardtanh":
        features = np.stack([np.hstack([zero, -one]), np.hstack([inputs, 0.0 * one]), np.hstack([zero, one])])
        cuts = np.stack([np.hstack([inputs, one]), np.hstack([inputs, -one])], axis=1)
        return Neuron(features, cuts, cuts, np.append(np.zeros(p), 1.0)[None, :])
    if activation.kind in THRESHOLD:
        low = -one if activation.kind == "sign" else 0.0 * one
        return Neuron(np.stack([low, one]), np.zeros((n, 1, 1)), inputs[:, None, :], np.zeros((0, p)))
    raise ValueError(f"no pieces for the activation {activation.kind}")
