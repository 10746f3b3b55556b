"""Samples with equal inputs as one: squares only.

    sum_m a_m (f - y_m)^2 = a (f - mean)^2 + constant        with a = sum a_m, mean = sum a_m y_m / a,

whatever the network's output f, so the constant leaves the search. Contradicting targets would otherwise be a part of
every loss of the tree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nnspec.engines.cells.model import SQUARED, CellProblem


@dataclass(frozen=True, eq=False)
class Merged:
    """problem: with one sample for each of `groups`, lists of the original ones; constants (M,): what each group's
    merging took out of the loss, now in the problem's offset."""

    problem: CellProblem
    groups: tuple[tuple[int, ...], ...]
    constants: np.ndarray


def merge(problem: CellProblem) -> Merged:
    """The problem with its duplicates merged; of other losses the problem itself."""
    n = len(problem.y)
    if problem.kind not in SQUARED:
        return Merged(problem, tuple((i,) for i in range(n)), np.zeros(n))
    _, first, place = np.unique(problem.x, axis=0, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))  # in the order of the data
    place, first = rank[place.reshape(-1)], np.sort(first)
    total = np.bincount(place, problem.weights)
    mean = np.bincount(place, problem.weights * problem.y) / total
    single = np.bincount(place) == 1
    mean[single] = problem.y[first[single]]  # exactly
    constants = np.bincount(place, problem.weights * (problem.y - mean[place]) ** 2)
    groups = tuple(tuple(int(i) for i in np.flatnonzero(place == g)) for g in range(len(first)))
    offset = problem.offset + problem.scale * float(constants.sum())
    return Merged(replace(problem, x=problem.x[first], y=mean, weights=total, offset=offset), groups, constants)
