"""Boxes from the incumbent and the penalty (T10), and discrete domains cut to what is inside their box.

With a penalty c theta^2 (or c |theta|) in a minimised objective whose other terms are nonnegative, every point as good
as an incumbent of value U has |theta| <= sqrt(U / c) (or U / c). Integer ranges are rounded inwards; values of a finite
set outside the box are dropped. Preserves every point that is at least as good as the incumbent.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from nnspec.problem.network import Layer, Parameter
from nnspec.problem.problem import Problem
from nnspec.reductions.interface import Case, Reduced, identity
from nnspec.reductions.structure import penalties, penalty_budget

_WORTHWHILE = 0.999


class PenaltyBounds:
    name = "bounds from the penalty"

    def applies(self, problem: Problem, upper: float) -> str | None:
        if not penalties(problem, "l2") and not penalties(problem, "l1"):
            return "no weight is penalised"
        if not math.isfinite(penalty_budget(problem, upper)):
            return "no incumbent yet, or a term of the objective may be negative"
        for p in problem.free_parameters():
            if np.any(_reach(problem, upper, p) < _WORTHWHILE * np.maximum(-p.lo, p.hi)):
                return None
        return "the boxes are smaller already"

    def apply(self, problem: Problem, upper: float) -> Reduced:
        tightest = math.inf

        def cut(p: Parameter | None) -> Parameter | None:
            nonlocal tightest
            if p is None or not p.free:
                return p
            reach = _reach(problem, upper, p)
            if not math.isfinite(reach):
                return p
            tightest = min(tightest, reach)
            return _cut(p, np.maximum(p.lo, -reach), np.minimum(p.hi, reach))

        def layer(x: Layer) -> Layer:
            return replace(x, weights=cut(x.weights), bias=cut(x.bias))

        networks = {n.name: replace(n, layers=tuple(layer(x) for x in n.layers)) for n in problem.networks.values()}
        case = Case(replace(problem, networks=networks), identity, identity)
        return Reduced((case,), f"penalised weights within +-{tightest:.4g}, from the incumbent {upper:.6g}")


def _reach(problem: Problem, upper: float, p: Parameter) -> float:
    budget = penalty_budget(problem, upper)
    squares, absolutes = penalties(problem, "l2").get(p.name, 0.0), penalties(problem, "l1").get(p.name, 0.0)
    reach = math.inf
    if squares > 0:
        reach = min(reach, math.sqrt(budget / squares))
    if absolutes > 0:
        reach = min(reach, budget / absolutes)
    return reach * (1 + 1e-9) + 1e-9


def _cut(p: Parameter, lo: np.ndarray, hi: np.ndarray) -> Parameter:
    if np.any(lo > hi):
        return p  # no point is as good as the incumbent: leave the proof to the engine
    if p.kind == "int":
        lo, hi = np.ceil(lo - 1e-9), np.floor(hi + 1e-9)
    values = p.values
    if p.kind == "set":
        values = tuple(v for v in values if np.min(lo) <= v <= np.max(hi))
        if not values:
            return p
    return replace(p, lo=lo, hi=hi, values=values)
