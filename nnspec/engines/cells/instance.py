"""Subtrees, and what subsets of the samples need: independent ones to begin with, coordinates, relaxations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnspec.engines.cells.polytope import EPS


@dataclass(frozen=True)
class Subtree:
    """What begins with `prefix` (depth, H + 1): the neurons' pieces and the sample, level by level.

    A small value that any process can work on. (The fewest errors have prefixes of their own, see `search_errors`.)
    """

    prefix: np.ndarray
    bound: float


def whole_tree(neurons: int) -> Subtree:
    return Subtree(np.zeros((0, neurons + 1), dtype=np.int64), 0.0)


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
