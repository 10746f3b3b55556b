"""What a run of the engine proved, for its evidence file: parts of the problem, each with the order of its samples and
the values proven for nested subsets of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnspec.engines.cells.driver import State
from nnspec.engines.cells.supports import Support


@dataclass(frozen=True, eq=False)
class PartProof:
    """The optimum on the last m samples of `order` is at least `value` (loss and penalty, in the units of the loss) for
    each (m, value) of `values`, over networks whose output weights have one of the vectors `signs`."""

    signs: list[tuple[int, ...]]
    order: list[int]
    values: list[tuple[int, float]]
    support: Support | None = None


def all_signs(neurons: int) -> list[tuple[int, ...]]:
    return list(itertools.product((1, -1), repeat=neurons))


def plain_proof(state: State, neurons: int, unit: float, support: Support | None = None) -> PartProof:
    """Of a search over all choices of signs at once."""
    return PartProof(all_signs(neurons), state.order, [(m, unit * value) for m, value in state.proofs], support)


def raw_proofs(state: State, groups: Sequence[Sequence[int]], constants: np.ndarray, unit: float
               ) -> tuple[list[int], list[tuple[int, float]]]:  # fmt: skip
    """order and values of a search over merged duplicates: `groups` of samples, `constants` what merging took out of
    the loss of each, `unit` the loss of one unit of the search.

    The duplicates that the last subset does not have cost what merging took out of the loss: they follow, one group
    after the other.
    """
    values = []
    used = state.order[len(state.order) - max((m for m, _ in state.proofs), default=0) :]
    for m, value in state.proofs:
        merged = [int(i) for i in state.order[len(state.order) - m :]]
        values.append((sum(len(groups[g]) for g in merged), unit * value + float(constants[merged].sum())))
    order = [int(i) for g in used for i in groups[g]]
    best = max((value for _, value in values), default=0.0)
    for g in range(len(groups)):
        if g not in used and constants[g] > 0.0:
            order = [*(int(i) for i in groups[g]), *order]
            best += float(constants[g])
            values.append((len(order), best))
    return order, values
