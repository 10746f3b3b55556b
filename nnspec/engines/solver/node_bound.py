"""The neuron-separable dual bound (docs/boxes.md) for the weights that are left in a node of a solver's tree.

A general solver's relaxation treats every sample's activation by itself and knows little as long as weights are loose.
The dual bound of the boxes engine, evaluated for the node's ranges of the weights, holds for whatever else the problem
asks (constraints on outputs, decision variables, counts, ties), since all of that is left out here: fewer constraints
cannot make the least loss larger, and prices of counts are not negative.
"""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nnspec.backends.interface import NodeBound
from nnspec.encodings.compile import Compiled
from nnspec.engines.boxes import model as form
from nnspec.engines.boxes.domain import Domain
from nnspec.engines.compiled import is_kept, refresh
from nnspec.problem.network import Parameter
from nnspec.problem.problem import Problem


def node_bound(problem: Problem, compiled: Compiled) -> NodeBound | None:
    """The bound for boxes of the columns that are weights; None if the problem has not the form that it needs: one
    hidden layer, one convex loss, and nothing else in the objective but l1, l2 and counts."""
    alone = replace(problem, constraints=(), variables={}, ties=(), symmetry_claims=())
    model = form.read(alone)
    if isinstance(model, str):
        return None
    evaluator = _Evaluator(model, compiled)
    return NodeBound(evaluator.columns, evaluator) if len(evaluator.columns) else None


class _Evaluator:
    """Turns ranges of columns into ranges of weights, and back after the bound has cut them."""

    def __init__(self, model: form.Model, compiled: Compiled):
        self.model = model
        hh, d = model.lo.shape
        known = compiled.parameters.columns
        self.where: list[tuple[int, int, float, float]] = []  # weight's place, column, offset, factor
        self.lo, self.hi = np.zeros(hh * d + model.vlo.size), np.zeros(hh * d + model.vlo.size)
        for p, places in _places(model):
            for k, place in enumerate(places):
                if (p.name, k) in known:
                    column, offset, factor = known[p.name, k]
                    self.where.append((place, column, offset, factor))
                else:
                    fixed = p.value is not None
                    self.lo[place] = np.asarray(p.value if fixed else p.lo, dtype=float).reshape(-1)[k]
                    self.hi[place] = np.asarray(p.value if fixed else p.hi, dtype=float).reshape(-1)[k]
        self.columns = np.array(sorted({column for _, column, _, _ in self.where}), dtype=int)
        self.index = {int(c): i for i, c in enumerate(self.columns)}
        self.parts: Any = None
        self.ready = threading.Event()
        self.compiling: threading.Thread | None = None

    def _begin(self) -> None:
        """Load compiled code if it is kept on disk; else compile it beside the solver, which could not keep to its
        limits if it waited for that."""
        refresh(Path(form.__file__).parent)
        if is_kept("nnspec.engines.boxes.arrays", "search.node_bound"):
            self._prepare()
            self.ready.set()
        else:
            self.compiling = threading.Thread(target=self.prepare, daemon=True)
            self.compiling.start()

    def prepare(self) -> None:
        """Compile what is needed, which may take half a minute, unless it is kept on disk."""
        self._prepare()
        ones = np.ones(len(self.columns))
        self._evaluate(*self._ranges(-ones, ones), -ones, ones, math.inf)
        self.ready.set()

    def _prepare(self) -> None:
        from nnspec.engines.boxes import search

        hh, d = self.model.lo.shape
        m = self.model.vlo.shape[1]
        width = hh * d + (hh + 1) * m
        none = np.zeros(0)
        # no levels, rows, supports or orders: what a node's ranges say is all that is used
        self.domain = Domain(np.zeros((width, 1)), np.zeros(width, np.int64), np.zeros((0, width)), none, none,
                             np.zeros(1), np.full(1, -1), np.ones(width), math.inf, True)  # fmt: skip
        no_log = (np.zeros((0, 0)), np.zeros((0, 0), np.float32), np.zeros(1, np.int64))
        self.parts = (*search.node_scratch(len(self.model.cw), self.model.copies.shape[1], d, hh, m), no_log)
        self.cut = search.node_bound
        self.arrays = self.model.arrays()
        self.w, self.z = np.zeros((hh, d)), np.zeros((hh + 1, m))

    def __call__(self, lower: np.ndarray, upper: np.ndarray, cutoff: float) -> tuple[float, np.ndarray, np.ndarray]:
        """See NodeBound."""
        worst = -math.inf * self.model.sense
        lo, hi = self._ranges(lower, upper)
        if not (np.all(np.isfinite(lo)) and np.all(np.isfinite(hi))):
            return worst, lower, upper
        if self.parts is None and self.compiling is None:
            self._begin()
        return self._evaluate(lo, hi, lower, upper, cutoff) if self.ready.is_set() else (worst, lower, upper)

    def _ranges(self, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ranges of all weights from those of the columns."""
        lo, hi = self.lo.copy(), self.hi.copy()
        for place, column, offset, factor in self.where:
            ends = (offset + factor * lower[self.index[column]], offset + factor * upper[self.index[column]])
            lo[place], hi[place] = min(ends), max(ends)
        return lo, hi

    def _evaluate(self, lo: np.ndarray, hi: np.ndarray, lower: np.ndarray, upper: np.ndarray, cutoff: float
                  ) -> tuple[float, np.ndarray, np.ndarray]:  # fmt: skip
        """The bound for ranges lo..hi of weights, and the columns' ranges lower..upper, cut."""
        model = self.model
        hh, d = model.lo.shape
        inner = hh * d
        parts = [a.reshape(s).copy() for a, s in ((lo[:inner], (hh, d)), (hi[:inner], (hh, d)),
                                                  (lo[inner:], (hh + 1, -1)), (hi[inner:], (hh + 1, -1)))]  # fmt: skip
        bound = self.cut(self.arrays, self.domain, *parts[:2], self.w, self.z, *parts[2:],
                         model.sense * cutoff - model.constant, *self.parts)  # fmt: skip
        lower, upper = lower.copy(), upper.copy()
        for place, column, offset, factor in self.where:
            if place < inner:
                a, b = ((t.reshape(-1)[place] - offset) / factor for t in parts[:2])
                i = self.index[column]
                lower[i], upper[i] = max(lower[i], min(a, b)), min(upper[i], max(a, b))
        return model.sense * (bound + model.constant), lower, upper


def _places(model: form.Model) -> list[tuple[Parameter, list[int]]]:
    """The tensors and, for each of their entries, its place: hidden weights (H, D), then output weights (H + 1, m)."""
    hh, d = model.lo.shape
    m = model.vlo.shape[1]
    hidden, output = model.hidden, model.output
    assert hidden.weights is not None
    assert output.weights is not None
    found = [(hidden.weights, [k * d + j for k in range(hh) for j in range(hidden.weights.shape[1])]),
             (output.weights, [hh * d + k * m + o for o in range(m) for k in range(hh)])]  # fmt: skip
    if hidden.bias is not None:
        found.append((hidden.bias, [k * d + d - 1 for k in range(hh)]))
    if output.bias is not None:
        found.append((output.bias, [hh * d + hh * m + o for o in range(m)]))
    return found
