"""Symmetries that a spec lets break or enforces: which ones, and how far a network is from them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnspec.problem import groups
from nnspec.problem.forward import forward
from nnspec.problem.network import Network
from nnspec.problem.problem import Problem, SymmetryClaim

_SAMPLES = 64


def may_break(problem: Problem, network: str, layer: str, kind: str) -> bool:
    """Whether `break symmetry` statements let a symmetry of a layer be used; the most specific statement wins."""
    kinds: tuple[str, ...] = ("auto",)
    for s in problem.break_symmetry:
        if s.network == network and s.layer is None:
            kinds = s.kinds
    for s in problem.break_symmetry:
        if s.network == network and s.layer == layer:
            kinds = s.kinds
    return "none" not in kinds and ("auto" in kinds or kind in kinds)


def asymmetry(network: Network, parameters: Mapping[str, np.ndarray], claim: SymmetryClaim) -> float:
    """The largest |f(g x) - h f(x)| over generators g and random inputs x, relative to max(1, |f(x)|).

    In the units of the layers; the checker made sure that the group commutes with the scaling. The inputs are always
    the same ones.
    """
    x = np.random.default_rng(0).uniform(-2.0, 2.0, size=(_SAMPLES, network.input_size))
    outputs = forward(network, parameters, x)
    scale = max(1.0, float(np.max(np.abs(outputs), initial=0.0)))
    worst = 0.0
    for k, g in enumerate(claim.group.generators):
        wanted = outputs if claim.output_group is None else groups.act(claim.output_group.generators[k], outputs)
        worst = max(worst, float(np.max(np.abs(forward(network, parameters, groups.act(g, x)) - wanted))))
    return worst / scale
