"""The activation of an array of expressions: constants and decided neurons first, a template for the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnspec.bounds.interval import Interval
from nnspec.encodings.context import Block, Context, assemble, culprit_of, missing_bounds, words
from nnspec.errors import Span
from nnspec.problem.forward import activate
from nnspec.problem.network import Activation, Network
from nnspec.program import Affine
from nnspec.tolerances import DECIDED


def activation(context: Context, a: Activation, z: Affine, bounds: Interval, path: str, span: Span | None = None,
               network: Network | None = None, names: Sequence[str] | None = None) -> Affine:  # fmt: skip
    """The activation of z (any shape; softmax over the last axis), with bounds of the same shape.

    Neurons that the bounds decide (a ReLU with z >= 0, a sign with z < 0 ...) become affine and cost nothing.
    """
    if a.kind == "linear":
        return z
    if a.kind == "softmax":
        encode = context.choose("softmax", path).encode
        return encode(context, z.reshape(-1, z.shape[-1]), path, span).reshape(z.shape)
    flat = z.reshape(-1)
    lo, hi = bounds.lo.reshape(-1), bounds.hi.reshape(-1)
    parts: list[tuple[np.ndarray, Affine | np.ndarray]] = []
    open_ = np.ones(flat.size, dtype=bool)

    def settle(where: np.ndarray, result: Affine | np.ndarray) -> None:
        entries = np.flatnonzero(where & open_)
        if len(entries):
            parts.append((entries, result[entries]))
            open_[entries] = False

    settle(flat.lengths == 0, activate(a, np.asarray(flat.constant, dtype=float)))
    for where, result in _decided(a, flat, lo, hi):
        settle(where, result)
    rest = np.flatnonzero(open_)
    if len(rest):
        template = context.choose(a.kind, path)
        if "bounds" in template.needs and not (np.all(np.isfinite(lo[rest])) and np.all(np.isfinite(hi[rest]))):
            networks = [network] if network is not None else list(context.problem.networks.values())
            needed_by = f"the {template.name} encoding of {a.kind} in {path}"
            raise missing_bounds(path, culprit_of(context, networks), needed_by)
        named = names if names is not None else words(z.shape)
        block = Block(context, path, flat[rest], lo[rest], hi[rest], [named[int(k)] for k in rest], a, span)
        parts.append((rest, template.encode(block)))
    return assemble(flat.size, parts).reshape(z.shape)


def _decided(a: Activation, z: Affine, lo: np.ndarray, hi: np.ndarray) -> list[tuple[np.ndarray, Affine | np.ndarray]]:
    """(where, result) for the pieces of piecewise-linear activations that the bounds decide."""
    one, zero, e = np.ones(len(lo)), np.zeros(len(lo)), DECIDED
    match a.kind:
        case "relu":
            return [(lo >= -e, z), (hi <= e, zero)]
        case "leaky_relu":
            return [(lo >= -e, z), (hi <= e, z * a.alpha)]
        case "abs":
            return [(lo >= -e, z), (hi <= e, -z)]
        case "hardtanh":
            return [(lo >= 1 - e, one), (hi <= -1 + e, -one), ((lo >= -1 - e) & (hi <= 1 + e), z)]
        case "sign":
            return [(lo >= 0, one), (hi < 0, -one)]
        case "step":
            return [(lo >= 0, one), (hi < 0, zero)]
    return []
