"""Subtrees in other processes: the same tree, bound and network wherever they are explored."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from cells_models import teacher, training

from nnspec.engines.cells.convex import Convex, explore_form
from nnspec.engines.cells.form import Doll, build, make
from nnspec.engines.cells.instance import Subtree, cone_coordinates, whole_tree
from nnspec.engines.cells.model import CellProblem, recognise
from nnspec.engines.cells.work import Effort, Visit

EFFORT = Effort(1e-6, 1e-12, 300, 64)


def form_of(kind: str) -> tuple[Convex, Doll]:
    x, y = teacher(14)
    cells = recognise(training(x, y, 2, kind=kind))
    assert isinstance(cells, CellProblem)
    form = make(cells, (1, -1))
    built = build(form, cone_coordinates(form.inputs), list(range(14)), [0.0] * 15)
    assert built is not None
    return Convex(form, np.zeros(1, dtype=np.int64)), built


def explore(parts: tuple[Convex, Doll], subtree: Subtree, loss: float, effort: Effort) -> Visit:
    return explore_form(*parts, subtree, loss, effort)


def rounds(pool: Executor, whole: tuple[Convex, Doll]) -> tuple[float, list[float], int]:
    """All subtrees, eight at a time with a shared incumbent: (loss, network, nodes)."""
    best, z, nodes, left = 10.0, np.zeros(0), 0, [whole_tree(2)]
    while left:
        batch, left = left[:8], left[8:]
        assert all(len(pickle.dumps(s)) < 2000 for s in batch)
        visits = [f.result() for f in [pool.submit(explore, whole, s, best, EFFORT) for s in batch]]
        for v in visits:
            nodes += v.nodes
            assert v.floor == np.inf
            if v.loss < best:
                best, z = v.loss, v.z
        left = [s for v in visits for s in v.open] + left
    return best, z.tolist(), nodes


def test_a_subtree_says_all_that_is_needed() -> None:
    whole = form_of("sae")
    first = explore(whole, whole_tree(2), 10.0, EFFORT)
    assert len(first.open) > 3
    again: list[Subtree] = pickle.loads(pickle.dumps(first.open))
    for a, b in zip(first.open, again, strict=True):
        one, two = (explore(whole, s, first.loss, EFFORT) for s in (a, b))
        assert (one.loss, one.nodes, len(one.open)) == (two.loss, two.nodes, len(two.open))


@pytest.mark.parametrize("kind", ["sse", "sae", "huber"])
def test_processes_agree_with_threads(kind: str) -> None:
    whole = form_of(kind)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(3) as three:
        expected = rounds(one, whole)
        assert rounds(three, whole) == expected
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert rounds(pool, whole) == expected
    assert expected[2] > 700
