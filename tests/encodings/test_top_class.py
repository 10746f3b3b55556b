"""The top class: exactly the largest score, on points and through a solver."""

from __future__ import annotations

import numpy as np

from nnspec.backends.scip import ScipBackend
from nnspec.encodings.context import Context
from nnspec.encodings.maximum import top_class
from nnspec.problem import Objective, Problem
from nnspec.program import Program
from nnspec.status import Limits, Status


def test_top_class():
    r = np.random.default_rng(0)
    for _ in range(5):
        program = Program()
        context = Context(program, Problem("p", {}, {}, {}, Objective("satisfy", None)))
        x = program.add_variables("x", (2,), -1.0, 1.0)
        w = r.normal(size=(4, 2))
        b = top_class(context, (x @ w.T).reshape(1, 4), "f")
        for at in r.uniform(-1, 1, (20, 2)):
            point = program.unknown_point()
            point[:2] = at
            point = program.complete(point)
            assert program.violations(point) == []
            assert np.argmax(b.value(point)) == np.argmax(w @ at)
        at = r.uniform(-1, 1, 2)
        program.add_linear(x - at, 0.0, 0.0)
        for c in range(4):
            program.minimize(-b[0, c])
            result = ScipBackend().solve(program, Limits(time=10))
            assert result.status is Status.OPTIMAL
            assert abs(-result.objective - (c == np.argmax(w @ at))) < 1e-6
