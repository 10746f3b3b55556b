"""Tied networks are symmetric for every input, and nothing symmetric is missed where that can be enumerated."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nnspec.errors import UnsupportedError
from nnspec.language.load import load_problem
from nnspec.problem.evaluate import violations
from nnspec.problem.forward import forward
from nnspec.problem.groups import act
from nnspec.problem.problem import Point, Problem
from nnspec.problem.symmetry import asymmetry
from nnspec.symmetry import expand

NET = "net f = input({n}) -> {layers} with weights in -2..2, biases in -2..2\nenforce f {claim}\nminimize l2(f)"


def network(n: int, layers: str, claim: str) -> Problem:
    return load_problem(NET.format(n=n, layers=layers, claim=claim))


def random_point(problem: Problem, rng: np.random.Generator) -> Point:
    return Point({p.name: rng.uniform(p.lo, p.hi) for p in problem.free_parameters()}, {})


@pytest.mark.parametrize(
    ("n", "layers", "claim"),
    [
        (2, "h: dense(3, tanh) -> dense(1)", "invariant under swap(0, 1)"),
        (2, "h: dense(3, relu) -> dense(2)", "equivariant under swap(0, 1)"),
        (2, "h: dense(3, abs) -> dense(1)", "invariant under swap(0, 1)"),
        (1, "h: dense(3, sign) -> dense(1)", "equivariant under signflip(0) -> signflip(0)"),
        (3, "h: dense(4, sigmoid) -> dense(1)", "invariant under cyclic(3)"),
        (3, "h: dense(4, hardtanh) -> dense(3)", "equivariant under permutations(0..2)"),
        (3, "h: dense(3, softplus) -> dense(3, softmax)", "equivariant under cyclic(3)"),
        (4, "h: dense(4, relu, bias = none) -> dense(1)", "invariant under d4(2, 2)"),
        (4, "h: dense(4, softplus) -> dense(1)", "invariant under d4(2, 2)"),
        (3, "h: dense(6, relu) -> dense(3)", "equivariant under permutations(0..2)"),
        (4, "h: dense(3, tanh) -> dense(4)", "equivariant under translations(2, 2)"),
        (2, "a: dense(3, tanh) -> b: dense(2, relu) -> dense(1)", "invariant under swap(0, 1)"),
        (2, "a: dense(2, tanh) -> b: dense(2, tanh) -> dense(2)", "equivariant under swap(0, 1)"),
        (2, "a: dense(2) -> activation(abs) -> b: dense(2) -> dense(1)", "invariant under signflip(0)"),
        (2, "dense(2)", "equivariant under swap(0, 1)"),
    ],
)
def test_every_case_is_symmetric(n: int, layers: str, claim: str) -> None:
    problem = network(n, layers, claim)
    (f,), (c,) = problem.networks.values(), problem.symmetry_claims
    rng = np.random.default_rng(1)
    cases = expand(problem)
    for case in cases:
        for _ in range(4):
            point = case.inverse(random_point(problem, rng))
            assert asymmetry(f, point.parameters, c) < 1e-12
            origin = forward(f, point.parameters, np.zeros((1, n)))  # where neurons are at their jumps
            if c.output_group is not None:
                np.testing.assert_allclose(act(c.output_group.generators[0], origin), origin, atol=1e-12)
            assert not violations(case.plain, point)
            assert not violations(problem, point)
            ordered = case.forward(point)
            assert ordered is not None
            assert case.tied.holds(ordered)
            assert not violations(case.problem, ordered)  # orders of orbits and all
            x = rng.normal(size=(9, n))
            np.testing.assert_allclose(forward(f, ordered.parameters, x), forward(f, point.parameters, x), atol=1e-12)
        loose = {k: v + 1e-12 * rng.normal(size=v.shape) for k, v in point.parameters.items()}
        assert case.forward(Point(loose, {})) is None
    assert len({case.label for case in cases}) == len(cases)


def test_a_network_without_the_symmetry_is_told_from_one_with_it() -> None:
    problem = network(2, "h: dense(3, tanh) -> dense(1)", "invariant under swap(0, 1)")
    point = random_point(problem, np.random.default_rng(0))
    assert [v.what for v in violations(problem, point)] == ["symmetry of f under swap(0, 1)"]


DISCRETE = """net f = input({n}) -> h: dense(2, {activation}) -> out: dense(1, bias = none)
  with weights in {values}, biases in {values}
enforce f {claim}
minimize l2(f)"""


@pytest.mark.parametrize(
    ("n", "claim", "activation", "values"),
    [
        (2, "invariant under swap(0, 1)", "tanh", "{-1, 0, 1}"),
        (2, "invariant under swap(0, 1)", "tanh", "{-1, 0, 2}"),  # signs are told apart
        (2, "invariant under swap(0, 1)", "abs", "{-1, 0, 1}"),
        (2, "equivariant under swap(0, 1) -> signflip(0)", "tanh", "{-1, 0, 1}"),
        (2, "equivariant under swap(0, 1) -> signflip(0)", "tanh", "{-2, 0, 1, 2}"),
        (1, "equivariant under signflip(0) -> signflip(0)", "sigmoid", "{-1, 0, 1}"),
        (1, "equivariant under signflip(0) -> signflip(0)", "tanh", "{-1, 0, 1}"),
        (2, "invariant under signflip(0)", "relu", "{-1, 0, 1}"),
    ],
)
def test_no_symmetric_function_is_missed(n: int, claim: str, activation: str, values: str) -> None:
    """All networks with weights from a few values: those that are symmetric compute what tied ones compute."""
    problem = load_problem(DISCRETE.format(n=n, claim=claim, activation=activation, values=values))
    (f,), (c,) = problem.networks.values(), problem.symmetry_claims
    cases = expand(problem)
    x = np.random.default_rng(3).uniform(-2, 2, size=(6, n))
    shapes = [p.shape for p in f.parameters]
    ends = np.cumsum([p.size for p in f.parameters])
    all_values = f.parameters[0].values
    symmetric, tied = set(), set()
    for entries in itertools.product(all_values, repeat=int(ends[-1])):
        parts = np.split(np.array(entries), ends[:-1])
        values_of = {p.name: part.reshape(s) for p, part, s in zip(f.parameters, parts, shapes)}
        outputs = forward(f, values_of, x)
        g = c.group.generators[0]
        wanted = outputs if c.output_group is None else act(c.output_group.generators[0], outputs)
        if np.abs(forward(f, values_of, act(g, x)) - wanted).max() > 1e-12:
            assert all(case.forward(Point(values_of)) is None for case in cases)
            continue
        key = tuple(np.round(outputs.ravel(), 9) + 0.0)
        symmetric.add(key)
        if any(case.forward(Point(values_of)) is not None for case in cases):
            tied.add(key)
    assert len(tied) > 1
    if activation == "sigmoid":  # sigmoid(z) - sigmoid(0) is odd, but no permutation of neurons says so
        assert tied < symmetric
    else:
        assert tied == symmetric


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (NET.format(n=16, layers="h: dense(16, relu) -> dense(1)", claim="invariant under translations(4, 4)"), "ways"),
        (NET.format(n=3, layers="h: dense(2) -> dense(1)", claim="invariant under cyclic(3)"), "linear layer f.h"),
        (NET.format(n=6, layers="h: dense(2, relu) -> dense(1)", claim="invariant under permutations(0..5)"),
         "more than 200 elements"),
        (NET.format(n=1, layers="dense(2, relu) -> dense(1, relu)",
                    claim="equivariant under signflip(0) -> signflip(0)"), "signs do not pass through the relu"),
        (NET.format(n=2, layers="h: dense(2, relu) -> dense(1)", claim="invariant under swap(0, 1)")
         + "\nconstraint f.h.bias[0] >= 1", "names single neurons or weights of f.h"),
        (NET.format(n=2, layers="h: dense(2, relu, weights in 1..2) -> dense(1, weights in 1..2, biases in 1..2)",
                    claim="invariant under signflip(0)"), "no weights in the given ranges"),
        ("net f { x: input(2)\na: dense(x, 2)\ny: add(x, a) }\nenforce f invariant under swap(0, 1)\nsatisfy",
         "f.y is a add layer"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_named(spec: str, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message) as found:
        expand(load_problem(spec))
    (d,) = found.value.diagnostics
    assert d.code == "NNS151"
    assert d.labels[0].span.text.startswith("enforce f")
