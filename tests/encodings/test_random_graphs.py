"""Random acyclic graphs with convolutions, pools, batch norm, add, concat, several inputs and outputs: their rows
accept the forward pass at every point and reject other outputs, and their bounds contain it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from nnspec import backends
from nnspec.embedding.block import network_block
from nnspec.errors import UnsupportedError
from nnspec.problem.forward import predict
from nnspec.program import Affine
from nnspec.status import Limits, Status
from tests.formats.test_onnx_images import random_network


def block_of(data, backend="scip"):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    network = random_network(data.draw, rng)
    n, m = network.input_size, network.output_size
    block = network_block(network, [f"x[{k}]" for k in range(n)], [-1.0] * n, [1.0] * n,
                          [f"y[{k}]" for k in range(m)], backend=backend)  # fmt: skip
    return rng, network, block


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_rows_accept_the_forward_pass(data):
    rng, network, block = block_of(data)
    program = block.program
    for _ in range(5):
        at = rng.uniform(-1, 1, network.input_size)
        y = predict(network, {}, at[None])[0]
        assert np.all(program.lo[block.outputs] <= y + 1e-9)
        assert np.all(program.hi[block.outputs] >= y - 1e-9)
        x = program.unknown_point()
        x[block.inputs], x[block.outputs] = at, y
        x = program.complete(x)
        assert not np.isnan(x).any()
        assert program.violations(x, 1e-6) == []
        x[block.outputs[int(rng.integers(len(y)))]] += 0.01
        assert block.errors or program.violations(x, 1e-6)  # an envelope is as wide as its error


@pytest.mark.long
@pytest.mark.parametrize("backend", ["scip", "highs", "gurobi"])
@settings(max_examples=40, deadline=None, phases=[Phase.generate])  # shrinking would take as long as a solve each time
@given(data=st.data())
def test_solvers_find_the_forward_pass(backend, data):
    """Inputs are fixed by rows, not by bounds, so that no neuron is decided beforehand."""
    solver = backends.get(backend)
    if not solver.available().ok:
        pytest.skip(f"{backend} is not installed")
    rng, network, block = block_of(data, backend)
    program = block.program
    at = rng.uniform(-1, 1, network.input_size)
    for column, value in zip(block.inputs, at):
        program.add_linear(Affine.variables([int(column)]), value, value, "input")
    try:
        result = solver.solve(program, Limits(time=20))
    except UnsupportedError as e:
        if e.diagnostics[0].code == "NNS166":  # the licence that comes with gurobipy
            return
        raise
    if result.status is Status.LIMIT:
        return
    assert result.status is Status.OPTIMAL, result
    if not block.errors:  # what envelopes allow grows from layer to layer
        np.testing.assert_allclose(result.x[block.outputs], predict(network, {}, at[None])[0], atol=1e-4)
