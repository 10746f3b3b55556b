"""Copies by plain loops: numpy's slice assignments and slices, written out, compile several times slower."""

# mypy: disallow-untyped-defs=False
# Compiled functions carry no hints: their types are numba's; docstrings give the shapes.
from __future__ import annotations

import numpy as np

from nnspec.engines.compiled import compiled


@compiled
def matrix(rows, columns):
    """Zeros (rows, columns)."""
    return np.zeros((rows, columns))


@compiled
def cube(rows, columns, depth):
    """Zeros (rows, columns, depth)."""
    return np.zeros((rows, columns, depth))


@compiled
def copy(target, source):
    """target := source, both (R, C) or target larger."""
    for i in range(source.shape[0]):
        for j in range(source.shape[1]):
            target[i, j] = source[i, j]


@compiled
def corner(source, rows, columns):
    """A copy of the first rows and columns of source (R, C)."""
    target = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            target[i, j] = source[i, j]
    return target
