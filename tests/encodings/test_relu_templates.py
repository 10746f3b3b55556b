"""Partition and hull forms: tight where theory says so, and never too tight."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nnspec.encodings.compile import compile_problem
from nnspec.encodings.registry import names
from nnspec.encodings.tighten import lp_bounds, relaxation
from nnspec.problem import Activation, Layer, Network, Objective, Parameter, Problem, Variable
from nnspec.problem import expression as ex

from .problems import dense_network
from .test_complete import agrees
from .test_scip import check


def one_neuron(a, c, direction):
    """maximize relu(a x + c) - direction x over the unit box: the LP of the hull is exact for every direction."""
    n = len(a)
    w, b = Parameter.constant("f.h.weights", a[None]), Parameter.constant("f.h.bias", np.array([c]))
    f = Network(
        "f", (Layer("x", "input", (), (n,)), Layer("h", "dense", ("x",), (1,), Activation("relu"), w, b)), ("h",)
    )
    variables = {f"x{i}": Variable(f"x{i}", -1.0, 1.0) for i in range(n)}
    xs = tuple(ex.VariableRef(v) for v in variables)
    terms = [ex.NetworkOutput("f", xs), *(ex.Product((ex.Constant(float(-d)), x)) for d, x in zip(direction, xs))]
    return Problem("p", {"f": f}, {}, variables, Objective("maximize", ex.Sum(tuple(terms))))


def lp_value(problem, template):
    program = compile_problem(problem, {"relu": template}).program
    e = program.objective.affine.reshape(1)
    return float(lp_bounds(relaxation(program), e).hi[0])


def test_relaxations_in_order():
    """hull = optimum over the vertices <= partition <= big-M, for one neuron."""
    r = np.random.default_rng(0)
    strict = 0
    for _ in range(12):
        a, c, d = r.normal(size=4), float(r.normal() * 0.5), r.normal(size=4) * 0.5
        if np.abs(a).sum() <= abs(c):
            continue
        p = one_neuron(a, c, d)
        exact = max(
            max(0.0, float(a @ v) + c) - float(d @ v) for v in map(np.array, itertools.product((-1.0, 1.0), repeat=4))
        )
        bigm, partition, hull = (lp_value(p, t) for t in ("bigm", "partition", "hull"))
        assert hull >= exact - 1e-9
        assert abs(hull - exact) < 1e-3
        assert exact - 1e-9 <= partition <= bigm + 1e-9
        strict += partition < bigm - 1e-6
    assert strict


@pytest.mark.parametrize("template", names("relu"))
def test_every_template_has_the_same_optimum(template):
    r = np.random.default_rng(1)
    f = dense_network((2, 4, 3, 1), "relu")
    f = f.with_values({p.name: r.normal(size=p.shape) for p in f.parameters})
    variables = {"x": Variable("x", -1.0, 1.0), "y": Variable("y", -1.0, 1.0)}
    out = ex.NetworkOutput("f", (ex.VariableRef("x"), ex.VariableRef("y")))
    p = Problem("p", {"f": f}, {}, variables, Objective("minimize", out))
    agrees(p, {"relu": template}, points=30)
    result, _ = check(p, {"relu": template}, time=10.0)
    reference, _ = check(p, {"relu": "bigm"}, time=10.0)
    assert abs(result.objective - reference.objective) < 1e-5


def test_cuts_are_off_for_networks_alone():
    """SCIP's cutting planes are switched off where all binaries choose pieces of ReLUs, and nowhere else."""
    from nnspec.backends.scip import WITHOUT_CUTS, pieces_only

    alone = one_neuron(np.array([1.0, -1.0]), 0.1, np.array([0.3, 0.2]))
    integer = Problem(alone.name, alone.networks, {}, {n: Variable(n, -1.0, 1.0, "int") for n in alone.variables},
                      alone.objective)  # fmt: skip
    assert pieces_only(compile_problem(alone, {"relu": "bigm"}).program)
    assert not pieces_only(compile_problem(integer, {"relu": "bigm"}).program)
    assert not pieces_only(compile_problem(alone, {"relu": "sos1"}).program)
    result, _ = check(alone, {"relu": "bigm"}, time=10.0)
    assert WITHOUT_CUTS.items() <= dict(result.settings).items()
