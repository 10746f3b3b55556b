"""Reductions applied where their theorem does not hold are caught by the test of both ways."""

from dataclasses import replace

import numpy as np
import pytest

from nnspec.problem import Activation, Constraint, Tie
from nnspec.problem import expression as ex
from nnspec.reductions.bounds import PenaltyBounds
from nnspec.reductions.dead import DeadNeurons
from nnspec.reductions.decay import Decay
from nnspec.reductions.duplicates import Duplicates
from nnspec.reductions.inputs import ConstantInputs
from nnspec.reductions.linear import LinearLayers
from nnspec.reductions.scaling import Homogeneous, Scaling, homogeneous, sign_case
from nnspec.reductions.touching import Touching, cases_of, pairs

from .specs import network, problem, times
from .test_both_ways import disagreements

X = np.array([[0.0, 1.0], [1.0, -1.0], [-1.0, 0.5]])
Y = np.array([[0.3], [-0.7], [1.1]])
SSE = ex.Loss("sse", "f", "D")


def spec(activation="relu", terms=(), x=X, y=Y, **more):
    return problem(network(2, [2], Activation(activation, 0.1), **more), x, y, [SSE, *terms])


def caught(p, cases, upper=np.inf):
    return disagreements(p, cases, upper, np.random.default_rng(0), 40) != []


def forced_scaling(p):
    """What scaling would do to the problem if it did not look at penalties and names."""
    plain = replace(p, objective=replace(p.objective, expression=SSE), constraints=(), ties=())
    h = homogeneous(plain)
    assert isinstance(h, Homogeneous)
    return [sign_case(h, p, signs) for signs in ((1, 1), (1, -1), (-1, -1))]


def test_sound_cases_are_not_caught():
    assert not caught(spec(), forced_scaling(spec()))


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_scaling_under_a_penalty(kind):
    p = spec(terms=[times(0.1, ex.Size(kind, "f"))])
    assert Scaling().applies(p, np.inf) is not None
    assert caught(p, forced_scaling(p))


def test_scaling_with_a_named_weight():
    p = spec()
    entry = ex.ParameterRef("f.h1.weights", (0, 0))
    p = replace(p, constraints=(Constraint(ex.Comparison("<=", entry, ex.Constant(0.1))),))
    assert "names a single weight" in Scaling().applies(p, np.inf)
    assert caught(p, forced_scaling(p))


def test_scaling_with_a_tie():
    p = replace(spec(), ties=(Tie(("f.h1.weights", 0), ("f.h1.weights", 3)),))
    assert "tie" in Scaling().applies(p, np.inf)
    assert caught(p, forced_scaling(p))


def test_scaling_with_too_large_a_box():
    p = spec()
    h = homogeneous(p)
    wide = replace(h, out=replace(h.out, weights=replace(h.v, hi=2 * h.v.hi, lo=2 * h.v.lo)))
    assert caught(p, [sign_case(wide, p, s) for s in ((1, 1), (1, -1), (-1, -1))])


def test_scaling_with_a_case_forgotten():
    assert caught(spec(), forced_scaling(spec())[:2])


def test_scaling_of_tanh():
    assert "not positively homogeneous" in Scaling().applies(spec("tanh"), np.inf)
    relu = homogeneous(spec())
    tanh = spec("tanh")
    h = replace(relu, network=tanh.networks["f"], hidden=tanh.networks["f"]["h1"], out=tanh.networks["f"]["out"])
    assert caught(tanh, [sign_case(h, tanh, s) for s in ((1, 1), (1, -1), (-1, -1))])


def test_scaling_where_the_box_leaves_out_zero():
    p = spec(box=lambda i, role: (0.5, 2.0) if (i, role) == (0, "weights") else (-2.0, 2.0))
    assert "does not contain 0" in Scaling().applies(p, np.inf)
    h = Homogeneous(p.networks["f"], p.networks["f"]["h1"], p.networks["f"]["out"])
    assert caught(p, [sign_case(h, p, s) for s in ((1, 1), (1, -1), (-1, -1))])


def test_decay_with_a_wrong_factor():
    p = spec(terms=[times(0.1, ex.Size("l2", "f", biases=True))], box=(-30.0, 30.0))
    cases = Decay().apply(p, np.inf).cases
    assert not caught(p, cases)
    more = times(0.1, ex.Size("norm", "f", "h1", biases=True))

    def with_more(q):
        return replace(q, objective=replace(q.objective, expression=ex.Sum((q.objective.expression, more))))

    assert caught(p, [replace(c, problem=with_more(c.problem)) for c in cases])


def test_penalty_bounds_from_a_wrong_incumbent():
    p = spec(terms=[times(0.1, ex.Size("l2", "f"))])
    assert not caught(p, PenaltyBounds().apply(p, 6.0).cases, 6.0)
    assert caught(p, PenaltyBounds().apply(p, 0.1).cases, 6.0)


def test_duplicates_without_the_constant():
    p = spec(x=np.vstack([X, X[:1]]), y=np.vstack([Y, Y[:1] + 1]))
    cases = Duplicates().apply(p, np.inf).cases
    assert not caught(p, cases)
    assert caught(p, [replace(c, problem=replace(c.problem, objective=p.objective)) for c in cases])


def test_constant_inputs_under_a_penalty():
    x = X.copy()
    x[:, 0] = 0.7
    p = spec(x=x, terms=[times(0.1, ex.Size("l2", "f", "h1"))])
    assert ConstantInputs().applies(p, np.inf) == "every input varies"
    plain = spec(x=x)
    assert ConstantInputs().applies(plain, np.inf) is None
    assert not caught(plain, ConstantInputs().apply(plain, np.inf).cases)
    case = ConstantInputs().apply(plain, np.inf).cases[0]
    penalised = replace(case, problem=replace(case.problem, objective=p.objective))
    assert caught(p, [penalised])


def test_linear_layers_of_relu():
    p = spec("linear")
    assert LinearLayers().applies(p, np.inf) is None
    cases = LinearLayers().apply(p, np.inf).cases
    assert not caught(p, cases)
    assert caught(spec("relu"), cases)


def without_way_out(net, bias=(-2.0, 2.0)):
    """The second hidden neuron is read by no weight but 0."""
    h1, out = net["h1"], net["out"]
    lo, hi = out.weights.lo.copy(), out.weights.hi.copy()
    lo[:, 1] = hi[:, 1] = 0.0
    b = h1.bias.lo.copy(), h1.bias.hi.copy()
    b[0][1], b[1][1] = bias
    layers = {"h1": replace(h1, bias=replace(h1.bias, lo=b[0], hi=b[1])),
              "out": replace(out, weights=replace(out.weights, lo=lo, hi=hi))}  # fmt: skip
    return replace(net, layers=tuple(layers.get(x.name, x) for x in net.layers))


def forced_removal(p):
    """What removing dead neurons would do if it did not look at sizes and names."""
    plain = replace(p, objective=replace(p.objective, expression=SSE), constraints=(), ties=())
    case = DeadNeurons().apply(plain, np.inf).cases[0]
    assert case.problem.networks["f"]["h1"].size == 1
    return [replace(case, problem=replace(case.problem, objective=p.objective, constraints=p.constraints))]


def test_dead_neurons():
    plain = spec()
    p = replace(plain, networks={"f": without_way_out(plain.networks["f"])})
    assert DeadNeurons().applies(plain, np.inf) == "no hidden neuron is dead"
    assert DeadNeurons().applies(p, np.inf) is None
    assert not caught(p, forced_removal(p))
    assert caught(plain, forced_removal(p))


def test_dead_neurons_that_are_counted():
    p = spec(terms=[times(0.1, ex.Size("l1", "f", biases=True))])
    p = replace(p, networks={"f": without_way_out(p.networks["f"], (0.5, 1.0))})
    assert "cannot be 0" in DeadNeurons().applies(p, np.inf)
    assert caught(p, forced_removal(p))
    free = replace(p, networks={"f": without_way_out(p.networks["f"])})
    assert DeadNeurons().applies(free, np.inf) is None
    assert not caught(free, forced_removal(free))


def test_dead_neurons_that_a_constraint_wants_nonzero():
    p = spec()
    many = Constraint(ex.Comparison(">=", ex.Size("l0", "f"), ex.Constant(6.0)))
    p = replace(p, networks={"f": without_way_out(p.networks["f"])}, constraints=(many,))
    assert "not only minimised" in DeadNeurons().applies(p, np.inf)
    assert caught(p, forced_removal(p))


def test_dead_neurons_that_are_named():
    p = spec()
    entry = ex.ParameterRef("f.h1.weights", (1, 0))
    p = replace(p, networks={"f": without_way_out(p.networks["f"])},
                constraints=(Constraint(ex.Comparison("<=", entry, ex.Constant(0.1))),))  # fmt: skip
    assert "names a single weight" in DeadNeurons().applies(p, np.inf)


def two_layers(outputs=1, **more):
    return network(2, [2, 2], Activation("relu"), outputs, **more)


def touching(p, hidden="h1"):
    """What touching would do to a layer if it did not look at penalties and names."""
    plain = replace(p, objective=replace(p.objective, expression=SSE), constraints=(), ties=())
    pair = next(q for q in pairs(plain) if q.hidden.name == hidden)
    cases = cases_of(plain, pair)
    assert not isinstance(cases, str)
    return [
        replace(c, problem=replace(c.problem, objective=p.objective, constraints=p.constraints, ties=p.ties))
        for c in cases
    ]


def several(net, *terms, **more):
    y = np.hstack([Y, 1 - Y])[:, : net.output_size]
    return problem(net, X, y, [SSE, *terms], **more)


@pytest.mark.parametrize("net", [two_layers(), two_layers(2), network(2, [2], Activation("abs"), 2)])
def test_touching(net):
    p = several(net)
    assert Touching().applies(p, np.inf) is None
    for layer in net.layers[1:-1]:
        assert not caught(p, touching(p, layer.name))
        assert caught(p, touching(p, layer.name)[1:])
    assert not caught(p, Touching().apply(p, np.inf).cases)


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_touching_under_a_penalty(kind):
    p = several(two_layers(), times(0.1, ex.Size(kind, "f")))
    assert "depends on the scale" in Touching().applies(p, np.inf)
    assert caught(p, touching(p))


def test_touching_with_weights_that_are_named_tied_or_counted():
    p = several(two_layers())
    entry = ex.ParameterRef("f.h2.weights", (0, 0))
    named = replace(p, constraints=(Constraint(ex.Comparison("<=", entry, ex.Constant(0.1))),))
    tied = replace(p, ties=(Tie(("f.h2.weights", 0), ("f.h2.weights", 3), -1.0),))
    many = ex.Comparison(">=", ex.Size("l0", "f", "h1"), ex.Constant(4.0))
    counted = replace(p, constraints=(Constraint(many),))
    for q, words in ((named, "names a single weight"), (tied, "a tie"), (counted, "not only minimised")):
        assert words in cases_of(q, pairs(q)[-1])
        assert caught(q, touching(q))


def test_touching_where_a_box_leaves_out_zero():
    def box(i, role):
        return (0.5, 2.0) if (i, role) == (0, "weights") else (-2.0, 2.0)

    p = several(two_layers(box=box))
    wide = several(two_layers(box=(-2.0, 2.0)))
    assert "h1 keeps its scale, the range of f.h1.weights does not contain 0" in Touching().apply(p, np.inf).summary
    narrow = [replace(c, problem=replace(c.problem, networks={"f": replace(
        c.problem.networks["f"], layers=tuple(
            replace(x, weights=p.networks["f"]["h1"].weights) if x.name == "h1" else x
            for x in c.problem.networks["f"].layers))})) for c in touching(wide)]  # fmt: skip
    assert caught(p, narrow)


def test_touching_from_the_input_on():
    """Weights that are fixed at a bound are no box around 0: the layer that they belong to keeps its scale."""
    p = several(two_layers(2))
    for first in touching(p, "h1"):
        pair = next(q for q in pairs(first.problem) if q.hidden.name == "h2")
        assert "does not contain 0" in cases_of(first.problem, pair)


def test_scaling_where_hidden_weights_have_to_be_many():
    """A neuron without effect may hold nonzero weights that a constraint asks for."""
    many = Constraint(ex.Comparison(">=", ex.Size("l0", "f", "h1"), ex.Constant(5.0)))
    p = replace(spec(), constraints=(many,))
    assert "not only minimised" in Scaling().applies(p, np.inf)
    assert caught(p, forced_scaling(p))
