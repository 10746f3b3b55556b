"""What a run of the engine proved, for its evidence file: parts of the problem, each with the order of its samples and
the values proven for nested subsets of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
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


def pack(proofs: Sequence[PartProof]) -> dict[str, np.ndarray]:
    """Proofs about supports as arrays."""
    supports = [p.support for p in proofs if p.support is not None]
    shape = supports[0].hidden.shape if supports else (0, 0)
    vectors = [np.array(p.signs, dtype=np.int64) for p in proofs]
    return {
        "proof.masks": np.array([s.mask for s in supports], dtype=bool), "proof.shape": np.array(shape),
        "proof.vectors": np.array([v.shape for v in vectors], dtype=np.int64).reshape(-1, 2),
        "proof.lengths": np.array([(len(p.order), len(p.values)) for p in proofs], dtype=np.int64).reshape(-1, 2),
        "proof.signs": np.array([i for v in vectors for i in v.reshape(-1)], dtype=np.int64),
        "proof.orders": np.array([i for p in proofs for i in p.order], dtype=np.int64),
        "proof.values": np.array([v for p in proofs for v in p.values], dtype=float).reshape(-1, 2),
    }  # fmt: skip


def unpack(arrays: Mapping[str, np.ndarray]) -> list[PartProof]:
    """What `pack` made; the supports' prices are those of the loss alone, 0."""
    a = {name.removeprefix("proof."): array for name, array in arrays.items() if name.startswith("proof.")}
    neurons, columns = (int(n) for n in a["shape"])
    signs, orders, values = iter(a["signs"].tolist()), iter(a["orders"].tolist()), iter(a["values"].tolist())
    found = []
    for mask, (count, width), (m, k) in zip(a["masks"], a["vectors"], a["lengths"], strict=True):
        inner, outer = np.split(mask[: neurons * (columns + 1)], [neurons * columns])
        support = Support(inner.reshape(neurons, columns), outer, bool(mask[-1]), 0.0)
        vectors = [tuple(itertools.islice(signs, int(width))) for _ in range(int(count))]
        claims = [(int(size), value) for size, value in itertools.islice(values, int(k))]
        order = list(itertools.islice(orders, int(m)))
        found.append(PartProof(vectors, order, claims, support))
    return found
