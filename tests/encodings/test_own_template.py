"""A user's template: registered, used, and judged by the suite as the documentation says."""

from __future__ import annotations

import numpy as np

import nnspec
from nnspec.backends.scip import ScipBackend
from nnspec.encodings import registry
from nnspec.encodings.compile import compile_problem
from nnspec.encodings.conformance import conformance

from .problems import training
from .test_complete import agrees


def test_a_relaxation_is_found_out():
    @nnspec.encoding("relu", "triangle", needs={"bounds"})
    def triangle(block):
        """The triangle, without binaries."""
        z, lo, hi, program = block.z, block.lo, block.hi, block.program
        h = block.variables("", 0.0, hi, complete=lambda x: z.value(x).clip(0.0))
        program.add_linear(h - z, 0.0)
        program.add_linear(h - (z - lo) * (hi / (hi - lo)), hi=0.0)
        return h

    try:
        p = training("sse", "relu", np.random.default_rng(0))
        compiled = agrees(p, {"relu": "triangle"})
        assert not compiled.program.discrete.any()
        assert agrees(p, {"f.h1": "triangle"}) is not None
        assert not compile_problem(p, {"f.h1": "triangle"}).program.discrete.any()
        found = conformance("relu", "triangle", [ScipBackend()])
        assert {f.test for f in found} >= {"forward"}
        assert "points" not in {f.test for f in found}  # a relaxation loses no point
        assert registry.template("relu", "triangle").summary == "The triangle, without binaries."
    finally:
        registry.forget("relu", "triangle")
