"""What remains after the reductions is of the class that the theorems promise, found by a check of the program."""

import numpy as np
import pytest

from nnspec.encodings.compile import compile_problem
from nnspec.problem import Activation
from nnspec.problem import expression as ex
from nnspec.program.classify import classify
from nnspec.reductions import reduce

from .specs import network, problem, times

X = np.array([[0.0, 1.0], [1.0, -1.0], [-1.0, 0.5], [0.4, 0.3]])
Y = np.array([[0.3], [-0.7], [1.1], [0.2]])


def classes(p, reduced):
    cases = [c.problem for c in reduce(p).cases] if reduced else [p]
    return {str(classify(compile_problem(c, {}, backend="scip").program)) for c in cases}


def spec(kind, hidden=(2,), outputs=1, terms=()):
    y = (Y > 0).astype(float) if kind in ("hinge", "squared_hinge", "errors") else np.repeat(Y, outputs, axis=1)
    return problem(network(2, list(hidden), Activation("relu"), outputs), X, y, [ex.Loss(kind, "f", "D"), *terms])


@pytest.mark.parametrize("kind", ["sae", "mae", "max_error", "pinball", "hinge", "errors"])
def test_linear_losses_leave_a_milp(kind):
    assert classes(spec(kind), True) == {"MILP"}
    assert not any("MILP" in c for c in classes(spec(kind), False))


@pytest.mark.parametrize("kind", ["sse", "mse", "squared_hinge"])
def test_squared_losses_leave_a_convex_program(kind):
    assert classes(spec(kind), True) <= {"convex MIQP", "convex MIQCP"}
    assert all("nonconvex" in c for c in classes(spec(kind), False))


def test_weight_decay_leaves_cones():
    p = spec("sse", terms=[times(0.1, ex.Size("l2", "f", biases=True))])
    assert classes(p, True) == {"MISOCP"}
    assert all("nonconvex" in c for c in classes(p, False))


def test_a_deep_network_that_narrows_to_one_neuron_has_no_products_left():
    assert classes(spec("sae", hidden=(2, 1)), True) == {"MILP"}
    assert classes(spec("sse", hidden=(2, 1)), True) == {"convex MIQP"}


def test_products_that_remain_are_seen():
    """Two outputs, or two neurons that read two: half of the products are left, and the class says so."""
    assert all("nonconvex" in c for c in classes(spec("sae", outputs=2), True))
    assert all("nonconvex" in c for c in classes(spec("sse", hidden=(2, 2)), True))
