"""Short ways to check a spec in a test."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnspec.errors import Diagnostic
from nnspec.language.load import check
from nnspec.problem import Point, Problem

XOR = "data D = table(x = [[0, 0], [0, 1], [1, 0], [1, 1]], y = [0, 1, 1, 0])\n"
NET = "net f = input(2) -> h: dense(2, relu) -> out: dense(1) with weights in -4..4, biases in -4..4\n"


def problem(text: str, arguments: Mapping[str, object] | None = None) -> Problem:
    """The problem of a spec without errors."""
    result = check(text + "\n", arguments)
    assert result.problem is not None, "\n".join(map(str, result.diagnostics))
    return result.problem


def errors(text: str, arguments: Mapping[str, object] | None = None) -> list[Diagnostic]:
    result = check(text + "\n", arguments)
    assert (result.problem is None) == bool(result.errors)
    return list(result.errors)


def error(text: str, arguments: Mapping[str, object] | None = None) -> Diagnostic:
    """The only error of a spec."""
    found = errors(text, arguments)
    assert len(found) == 1, "\n".join(map(str, found)) or "no error"
    return found[0]


def warnings(text: str) -> list[Diagnostic]:
    return list(check(text + "\n").warnings)


def random_point(p: Problem, seed: int = 0) -> Point:
    """Any values for all weights and variables, bounds respected where there are some."""
    rng = np.random.default_rng(seed)
    values = {q.name: rng.uniform(np.maximum(q.lo, -2), np.minimum(q.hi, 2)) for q in p.free_parameters()}
    variables = {v.name: float(rng.uniform(max(v.lo, -2), min(v.hi, 2))) for v in p.variables.values()}
    return Point(values, variables)
