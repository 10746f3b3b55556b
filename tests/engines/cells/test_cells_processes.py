"""Subtrees in other processes: the same tree, bound and network wherever they are explored."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from cells_models import teacher, training

from nnspec.engines.cells.convex import Convex, explore_form
from nnspec.engines.cells.form import Doll, make
from nnspec.engines.cells.form import build as build_doll
from nnspec.engines.cells.instance import Instance, Subtree, build, cone_coordinates, whole_tree
from nnspec.engines.cells.model import CellProblem, recognise
from nnspec.engines.cells.normal import normalise
from nnspec.engines.cells.work import Effort, Visit, explore_subtree

EFFORT = Effort(1e-6, 1e-12, 300, 64)


def instance(kind: str) -> Instance:
    x, y = teacher(14)
    cells = recognise(training(x, y, 2, kind=kind))
    assert isinstance(cells, CellProblem)
    normal = normalise(cells)
    built = build(normal, cone_coordinates(normal.z), list(range(14)), [0.0] * 15, [])
    assert built is not None
    return built


def form_of(kind: str) -> tuple[Convex, Doll]:
    x, y = teacher(14)
    cells = recognise(training(x, y, 2, kind=kind))
    assert isinstance(cells, CellProblem)
    form = make(cells, (1, -1))
    built = build_doll(form, cone_coordinates(form.inputs), list(range(14)), [0.0] * 15)
    assert built is not None
    return Convex(form, np.zeros(1, dtype=np.int64)), built


def explore_signs(parts: tuple[Convex, Doll], neurons: int, subtree: Subtree, loss: float, effort: Effort) -> Visit:
    return explore_form(*parts, subtree, loss, effort)


def rounds(pool: Executor, work: Callable, whole: Instance | tuple[Convex, Doll]) -> tuple[float, list[float], int]:
    """All subtrees, eight at a time with a shared incumbent: (loss, network, nodes)."""
    best, theta, nodes, left = 10.0, np.zeros(0), 0, [whole_tree(2)]
    while left:
        batch, left = left[:8], left[8:]
        assert all(len(pickle.dumps(s)) < 2000 for s in batch)
        visits = [f.result() for f in [pool.submit(work, whole, 2, s, best, EFFORT) for s in batch]]
        for v in visits:
            nodes += v.nodes
            assert v.floor == np.inf
            if v.loss < best:
                best, theta = v.loss, v.theta
        left = [s for v in visits for s in v.open] + left
    return best, theta.tolist(), nodes


def test_a_subtree_says_all_that_is_needed() -> None:
    whole = instance("sae")
    first = explore_subtree(whole, 2, whole_tree(2), 10.0, EFFORT)
    assert len(first.open) > 3
    again: list[Subtree] = pickle.loads(pickle.dumps(first.open))
    for a, b in zip(first.open, again, strict=True):
        one, two = (explore_subtree(whole, 2, s, first.loss, EFFORT) for s in (a, b))
        assert (one.loss, one.nodes, len(one.open)) == (two.loss, two.nodes, len(two.open))


@pytest.mark.parametrize("kind", ["sse", "sae", "huber"])
def test_processes_agree_with_threads(kind: str) -> None:
    whole, work = (instance(kind), explore_subtree) if kind == "sae" else (form_of(kind), explore_signs)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(3) as three:
        expected = rounds(one, work, whole)
        assert rounds(three, work, whole) == expected
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert rounds(pool, work, whole) == expected
    assert expected[2] > 700
