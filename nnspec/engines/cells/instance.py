"""A subset of the samples in a fixed order, as the kernels read it, and the kernel's call."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nnspec.engines.cells.normal import Normal
from nnspec.engines.cells.polytope import EPS


@dataclass(frozen=True)
class Subtree:
    """The joint patterns that begin with `prefix` (samples, neurons) on `order`, positions in the Instance.

    A small value that any process can work on.
    """

    prefix: np.ndarray
    bound: float
    order: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


def whole_tree(neurons: int) -> Subtree:
    return Subtree(np.zeros((0, neurons), dtype=np.int8), 0.0)


@dataclass(frozen=True, eq=False)
class Instance:
    """Samples `index` of a Normal in this order; the first `basis` have independent cuts."""

    normal: Normal
    index: np.ndarray
    cone: np.ndarray
    eps: np.ndarray
    inverse: np.ndarray
    basis: int
    rest: np.ndarray  # (n + 1,) bound on what is left after t samples
    block: np.ndarray  # (n,) before this step the samples from the step on may change places

    @property
    def size(self) -> int:
        return len(self.index)


def independent(rows: np.ndarray, rank: int) -> list[int] | None:
    """Positions of the first `rank` rows that are clearly independent, or None."""
    chosen: list[int] = []
    basis = np.zeros((0, rows.shape[1]))
    for i, row in enumerate(rows):
        v = row - basis.T @ (basis @ row)
        v = v - basis.T @ (basis @ v)
        norm = float(np.linalg.norm(v))
        if norm > 1e-3:
            chosen.append(i)
            basis = np.vstack([basis, v / norm])
            if len(chosen) == rank:
                return chosen
    return None


def cone_coordinates(z: np.ndarray) -> np.ndarray:
    """The rows z in an orthonormal basis of the column space, each of length 1: same signs, better conditioned.

    A row of zeros stays one, whose sample has no side; the factor has rounding errors in its place.
    """
    u, s, _ = np.linalg.svd(z, full_matrices=False)
    rank = max(1, int(np.sum(s > 1e-9 * s[0])))
    coordinates = u[:, :rank].copy()
    empty = ~np.any(z, axis=1)
    if not np.all(empty):
        coordinates[empty] = 0.0
    norm = np.linalg.norm(coordinates, axis=1, keepdims=True)
    return coordinates / np.where(norm > 0, norm, 1.0)


def tolerances(n: int) -> np.ndarray:
    """One relaxation per sample, in [EPS, 2 EPS], all different (golden ratio sequence), see `polytope`."""
    return EPS * (1.0 + (np.arange(n) * 0.6180339887498949) % 1.0)


def build(normal: Normal, cone: np.ndarray, order: list[int], proven: list[float], levels: list[int]
          ) -> Instance | None:  # fmt: skip
    """The samples `order`, where proven[m] bounds the optimum on the last m of them. None if they do not span.

    `levels`: numbers m between which samples may change places, since only these bounds are used.
    """
    rank = cone.shape[1]
    index = np.array(order, dtype=np.int64)
    front = independent(cone[index], rank)
    if front is None:
        return None
    n = len(index)
    taken = set(front)
    positions = front + [i for i in range(n) if i not in taken]
    ends = sorted({n, *(n - m for m in levels if 0 < m < n)})
    # the basis keeps its place; after it, the end of each sample's block
    ending = [p + 1 if t < rank else next(e for e in ends if e > p) for t, p in enumerate(positions)]
    block = np.array([t + 1 if t < rank else max(u + 1 for u in range(rank, n) if ending[u] == ending[t])
                      for t in range(n)], dtype=np.int64)  # fmt: skip
    rest = np.zeros(n + 1)
    last = 0
    for t in range(n):
        last = max(last, ending[t])
        rest[t + 1] = proven[min(n - last, len(proven) - 1)]
    index = index[positions]
    eps = tolerances(normal.samples)[index]
    directions = cone[index]
    return Instance(normal, index, np.ascontiguousarray(directions[:, None, :]), eps[:, None].copy(),
                    np.linalg.inv(directions[:rank]), rank, rest, block)  # fmt: skip
