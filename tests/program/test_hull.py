"""Hull cuts: violated where they are asked for, and no point of the neuron's graph is lost."""

from __future__ import annotations

import numpy as np
import pytest

from nnspec.program import Affine, Program
from nnspec.program.hull import Neurons, violated_cuts


def neurons_of(r, n=5, count=4):
    """A program with inputs in a box of both signs, neurons over them and their binaries."""
    program = Program()
    centre, reach = r.normal(size=n), r.uniform(0.2, 2, n)
    x = program.add_variables("x", n, centre - reach, centre + reach)
    a = r.normal(size=(count, n)) * (r.random((count, n)) < 0.8)
    z = x @ a.T - a @ centre + 0.4 * r.normal(size=count) * (np.abs(a) @ reach)
    h = program.add_variables("h", count, 0.0, 100.0)
    b = program.add_variables("b", count, kind="binary")
    return program, x, Neurons(z, h.columns, b.columns, "h"), centre, reach


@pytest.mark.parametrize("seed", range(5))
def test_cuts_are_violated_and_valid(seed):
    r = np.random.default_rng(seed)
    program, x, neurons, centre, reach = neurons_of(r)
    points = np.empty((120, program.columns))
    ends = r.choice([-1.0, 1.0], (120, x.size)) * np.where(r.random((120, 1)) < 0.5, 1.0, r.random((120, x.size)))
    points[:, x.columns] = centre + reach * ends
    z = np.array([neurons.z.value(p) for p in points])
    points[:, neurons.h], points[:, neurons.active] = np.maximum(z, 0.0), z > 0
    total = 0
    for _ in range(12):
        at = np.zeros(program.columns)
        at[x.columns] = centre + reach * r.uniform(-1, 1, x.size)
        at[neurons.active] = r.random(len(neurons.h))
        at[neurons.h] = np.maximum(neurons.z.value(at), 0) + r.exponential(size=len(neurons.h))
        cuts = violated_cuts(neurons, program.lo, program.hi, at, 0.01)
        if not cuts.size:
            continue
        total += cuts.size
        assert np.all(cuts.value(at) > 0.009)
        for p in points:
            assert np.all(cuts.value(p) <= 1e-12 * (1 + np.abs(cuts.constant)))
    assert total > 5


def test_no_cut_without_bounds():
    r = np.random.default_rng(0)
    program, _, neurons, _, _ = neurons_of(r)
    at = np.zeros(program.columns)
    at[neurons.h] = 50.0
    assert violated_cuts(neurons, program.lo, program.hi, at, 0.01).size == len(neurons.h)
    lo = program.lo.copy()
    lo[neurons.z.columns] = -np.inf
    assert violated_cuts(neurons, lo, program.hi, at, 0.01).size == 0
    assert isinstance(neurons.z, Affine)
