"""No template cuts off a feasible point: any weights complete to a feasible vector with the same objective.

This needs no solver, so it runs over everything: losses x activations x domains x templates x directions.
"""

from __future__ import annotations

import numpy as np
import pytest

from nnspec.encodings import registry
from nnspec.encodings.compile import compile_problem
from nnspec.problem import Objective, Problem, Variable
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import objective
from nnspec.problem.forward import layer_values
from nnspec.problem.losses import KINDS
from nnspec.problem.network import ACTIVATIONS

from .problems import DOMAINS, PIECEWISE, dense_network, random_point, training

HIDDEN = [a for a in ACTIVATIONS if a != "softmax"]


def agrees(problem, encodings=None, points=6, seed=0, slack=0.0, **options):
    """Every random point completes, violates nothing and keeps its objective (up to `slack` for envelopes)."""
    compiled = compile_problem(problem, encodings, **options)
    r = np.random.default_rng(seed)
    for _ in range(points):
        point = random_point(problem, r)
        if near_a_jump(problem, point):
            continue
        x = compiled.start(point)
        assert not np.isnan(x).any()
        assert compiled.program.violations(x, 1e-7) == []
        expected = objective(problem, point)
        value = compiled.program.objective_value(x)
        assert abs(value - expected) <= 1e-8 * (1 + abs(expected)) + slack
        back = compiled.point(x)
        assert abs(objective(problem, back) - expected) <= 1e-8 * (1 + abs(expected))
        if not compiled.orderings and not jumps(problem):
            for name, v in point.parameters.items():
                np.testing.assert_allclose(back.parameters[name], v, atol=1e-12)
    return compiled


def jumps(problem):
    return any(layer.activation.kind in ("sign", "step") for f in problem.networks.values() for layer in f.layers)


def near_a_jump(problem, point):
    """Whether some sign or step neuron lies inside the margin, where the model has no point."""
    for network in problem.networks.values():
        for data in problem.data.values():
            results = layer_values(network, point.parameters, data.x)
            for layer in network.layers:
                if layer.activation.kind in ("sign", "step"):
                    w, b = layer.weights, layer.bias
                    value = {p.name: p.value if p.value is not None else point.parameters[p.name] for p in (w, b) if p}
                    z = results[layer.inputs[0]] @ value[w.name].T + (value[b.name] if b is not None else 0.0)
                    if np.any((z < 0) & (z > -2e-4)):
                        return True
    return False


@pytest.mark.parametrize("activation", HIDDEN)
@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_activations(kind, activation):
    r = np.random.default_rng([KINDS.index(kind), ACTIVATIONS.index(activation)])
    agrees(training(kind, activation, r, weights=bool(r.random() < 0.5)), {"gelu": "exact"})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sense", ["maximize", "equal"])
def test_losses_in_the_other_directions(kind, sense):
    """Maximised, or as an equation: the epigraph alone would be wrong."""
    r = np.random.default_rng(3)
    for _ in range(3):
        p = training(kind, "relu", r)
        if sense == "maximize":
            p = Problem(p.name, p.networks, p.data, {}, Objective("maximize", p.objective.expression))
        else:
            p = Problem(
                p.name,
                p.networks,
                p.data,
                {},
                Objective("minimize", ex.Function("abs", (ex.Sum((p.objective.expression, ex.Constant(-1.0))),))),
            )
        agrees(p)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("activation", ["relu", "tanh", "sign"])
def test_weight_domains(domain, activation):
    r = np.random.default_rng(5)
    for depth in (1, 2):
        sizes = (2, *(2,) * depth, 1)
        agrees(
            training(
                "sse", activation, r, sizes=sizes, domain=domain, bias_domain=DOMAINS[int(r.integers(len(DOMAINS)))]
            )
        )


@pytest.mark.parametrize("activation", PIECEWISE)
def test_every_template(activation):
    r = np.random.default_rng(7)
    for name in registry.names(activation):
        agrees(training("sse", activation, r, sizes=(2, 3, 2, 1)), {activation: name})


@pytest.mark.parametrize("activation", PIECEWISE)
def test_neurons_that_bounds_decide(activation):
    """Constant weights over small boxes: most neurons cost no binary, and none is decided wrongly."""
    r = np.random.default_rng(11)
    decided = 0
    for _ in range(12):
        f = dense_network((2, 4, 3, 1), activation)
        f = f.with_values({p.name: r.normal(size=p.shape) for p in f.parameters})
        at, reach = r.normal(size=2), float(r.choice([0.05, 0.3, 1.0]))
        variables = {n: Variable(n, float(v - reach), float(v + reach)) for n, v in zip("xy", at)}
        call = ex.NetworkOutput("f", tuple(ex.VariableRef(n) for n in variables))
        problem = Problem("p", {"f": f}, {}, variables, Objective("minimize", call))
        compiled = compile_problem(problem)
        decided += compiled.program.discrete.sum() < (14 if activation == "hardtanh" else 7)
        for _ in range(20):
            point = random_point(problem, r)
            x = compiled.start(point)
            margin = 1e-3 if activation in ("sign", "step") else 1e-7  # z in the margin of a jump has no model
            assert [v for v in compiled.program.violations(x, 1e-7) if v.amount > margin] == []
            assert abs(compiled.program.objective_value(x) - objective(problem, point)) < 1e-8
    assert decided >= 4


def test_relu_templates_serve_the_others():
    r = np.random.default_rng(8)
    for activation in ("leaky_relu", "abs", "hardtanh"):
        for name in registry.names("relu"):
            agrees(training("sae", activation, r), {activation: "relu", "relu": name})


@pytest.mark.parametrize("output", ["softmax", "tanh", "sign", "relu"])
def test_output_activations(output):
    r = np.random.default_rng(9)
    for kind in ("sse", "cross_entropy", "hinge", "max_error"):
        agrees(training(kind, "tanh", r, sizes=(2, 2, 3), output=output))


@pytest.mark.parametrize("kind", ["l0", "neurons", "inputs", "l1", "l2"])
@pytest.mark.parametrize("sense", ["minimize", "maximize"])
def test_sizes(kind, sense):
    r = np.random.default_rng(10)
    f = dense_network((2, 2, 2, 1), "relu")
    paths = [(None, None, None), ("h1", None, None)]
    if kind not in ("neurons", "inputs"):
        paths += [("h1", "weights", None), ("h2", "bias", None), ("h1", None, 1), ("h2", "weights", 0)]
    for path in paths:
        e = ex.Size(kind, "f", *path, biases=bool(r.random() < 0.5))
        p = Problem("p", {"f": f}, {}, {}, Objective(sense, e))
        for template in registry.names("l0") if kind == "l0" and sense == "minimize" else ("bigm",):
            agrees(p, {"l0": template})
    for domain in DOMAINS:
        g = dense_network((2, 2, 1), "relu", domain=domain, bias_domain=domain)
        agrees(Problem("p", {"f": g}, {}, {}, Objective(sense, ex.Size(kind, "f"))))


def test_softmax_output_adds_up():
    f = dense_network((2, 3), output="softmax")
    total = ex.Sum(tuple(ex.NetworkOutput("f", (ex.Constant(0.3), ex.Constant(-0.2)), k) for k in range(3)))
    agrees(Problem("p", {"f": f}, {}, {}, Objective("minimize", total)))
