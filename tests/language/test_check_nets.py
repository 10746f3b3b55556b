"""Networks: chains, graphs, layers of every kind; shapes agree with the forward pass."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from checking import error, problem, warnings

from nnspec.problem import Network
from nnspec.problem.forward import layer_values
from nnspec.problem.network import ACTIVATIONS


def net(text: str) -> Network:
    return problem(f"{text}\nminimize l2(f)").networks["f"]


def run(f: Network) -> np.ndarray:
    """The outputs for random inputs and weights; every layer's shape is checked on the way."""
    rng = np.random.default_rng(0)
    values = {p.name: rng.uniform(-1, 1, p.shape) for p in f.parameters}
    results = layer_values(f, values, rng.uniform(-1, 1, (3, f.input_size)))
    for layer in f.layers:
        assert results[layer.name].shape == (3, *layer.shape), layer.name
    return results[f.outputs[0]]


@pytest.mark.parametrize("kind", [a for a in ACTIVATIONS if a != "softmax"])
def test_every_activation_in_both_places(kind: str) -> None:
    f = net(f"net f = input(2) -> dense(3, {kind}) -> activation({kind}) -> dense(1, {kind})")
    assert [x.activation.kind for x in f.layers] == ["linear", kind, kind, kind]
    assert run(f).shape == (3, 1)


def test_softmax_is_an_output_and_leaky_relu_has_a_slope() -> None:
    f = net("net f = input(2) -> dense(3, leaky_relu(0.2)) -> dense(3, leaky_relu) -> dense(2, softmax)")
    assert [x.activation.alpha for x in f.layers[1:3]] == [0.2, 0.01]
    np.testing.assert_allclose(run(f).sum(axis=1), 1)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups"),
    list(itertools.product(["1", "2", "[3, 2]"], ["1", "[2, 3]"], ["0", "1"], ["1", "2"], [1, 2])),
)
def test_convolutions_have_the_shapes_of_the_forward_pass(
    kernel: str, stride: str, padding: str, dilation: str, groups: int
) -> None:
    f = net(f"net f = input(2, 7, 6) -> c: conv(4, {kernel}, relu, stride = {stride}, padding = {padding}, "
            f"dilation = {dilation}, groups = {groups}) -> flatten -> dense(1)")  # fmt: skip
    assert f["c"].weights is not None
    assert f["c"].weights.shape[:2] == (4, 2 // groups)
    run(f)


@pytest.mark.parametrize(
    "pool", ["avgpool(2)", "maxpool(2)", "avgpool([2, 3], stride = 1)", "maxpool(3, padding = 1, stride = 2)"]
)
def test_pools(pool: str) -> None:
    f = net(f"net f = input(1, 8, 8) -> {pool} -> flatten() -> dense(2)")
    assert f.layers[1].parameters == ()
    run(f)


def test_default_stride_of_a_pool_is_its_kernel() -> None:
    assert net("net f = input(1, 8, 9) -> maxpool([2, 3]) -> flatten -> dense(1)").layers[1].shape == (1, 4, 3)


def test_inputs_of_one_two_and_three_sizes() -> None:
    assert net("net f = input(5) -> dense(1)").inputs[0].shape == (5,)
    assert net("net f = input(4, 5) -> flatten -> dense(1)").inputs[0].shape == (1, 4, 5)
    assert net("net f = input(3, 4, 5) -> flatten -> dense(1)").inputs[0].shape == (3, 4, 5)


def test_a_graph_with_a_skip_two_inputs_and_a_concat() -> None:
    f = net("""
    net f {
      x: input(3)
      z: input(2)
      a: dense(x, 4, relu)
      b: dense(a, 4, tanh, bias = none)
      s: add(a, b)
      c: concat(x, s, z)
      r: activation(c, relu)
      y: dense(r, 2)
    } with weights in -1..1
    """)
    assert [x.name for x in f.layers] == ["x", "z", "a", "b", "s", "c", "r", "y"]
    assert f.outputs == ("y",)
    assert f["c"].inputs == ("x", "s", "z")
    assert f["c"].shape == (9,)
    assert f["b"].bias is None
    run(f)


def test_images_are_added_and_joined_by_channels() -> None:
    f = net("""
    net f {
      x: input(2, 4, 4)
      a: conv(x, 2, 3, padding = 1)
      s: add(x, a)
      c: concat(x, s)
      p: maxpool(c, 2)
      v: flatten(p)
      y: dense(v, 1)
    }""")
    assert f["c"].shape == (4, 4, 4)
    run(f)


def test_layers_that_lead_nowhere_are_left_out_with_a_warning() -> None:
    text = "net f { x: input(1)  a: dense(x, 2)  b: dense(x, 2)  y: dense(a, 1) }\nminimize l2(f)"
    assert [x.name for x in problem(text).networks["f"].layers] == ["x", "a", "y"]
    assert [d.message for d in warnings(text)] == ["the layer b does not lead to the output"]


def test_settings_of_the_network_and_of_its_layers() -> None:
    f = net("""
    net f = input(2) -> a: dense(2, relu, weights in {0, 1}, l0 <= 3) -> b: dense(2, bias = none)
      -> c: dense(2, biases in int(-1..1)) -> d: dense(1)
      with weights in -2..2, biases in -3..3, l0 <= 9
    """)
    assert f.l0 == 9
    assert [x.l0 for x in f.layers] == [None, 3, None, None, None]
    boxes = {p.name: (p.kind, float(p.lo.min()), float(p.hi.max()), p.values) for p in f.parameters}
    assert boxes == {
        "f.a.weights": ("set", 0, 1, (0.0, 1.0)), "f.a.bias": ("real", -3, 3, ()), "f.b.weights": ("real", -2, 2, ()),
        "f.c.weights": ("real", -2, 2, ()), "f.c.bias": ("int", -1, 1, ()),
        "f.d.weights": ("real", -2, 2, ()), "f.d.bias": ("real", -3, 3, ()),
    }  # fmt: skip


def test_no_bias_anywhere_unless_a_layer_says_so() -> None:
    f = net("net f = input(2) -> dense(2) -> dense(1, biases in -1..1) with bias = none")
    assert [x.bias is None for x in f.layers[1:]] == [True, False]


def test_ranges_of_weights() -> None:
    for text, expected in {
        "-4..4": ("real", -4, 4), "real": ("real", -np.inf, np.inf), "int(-8..8)": ("int", -8, 8), 
        "binary": ("set", 0, 1),
        "{-1, 0, 1}": ("set", -1, 1), "levels": ("set", -2, 2), "0..inf": ("real", 0, np.inf), "-k..k": ("real", -3, 3),
    }.items():  # fmt: skip
        p = problem(f"set levels = {{2, -2}}\nparam k = 3\nnet f = input(1) -> dense(1, weights in {text})\n"
                    "minimize l2(f) + k + len(levels)").networks["f"].parameters[0]  # fmt: skip
        assert (p.kind, float(p.lo.min()), float(p.hi.max())) == expected, text


def test_places_of_parameters_are_their_ranges_or_their_layer() -> None:
    f = net("net f = input(1) -> dense(2) -> dense(1, weights in -1..1)")
    spans = [p.span.text for p in f.parameters if p.span is not None]
    assert spans == ["dense(2)", "dense(2)", "-1..1", "dense(1, weights in -1..1)"]
    assert f.span is not None
    assert f.span.text == "f"


def test_automatic_names_keep_clear_of_given_ones() -> None:
    f = net("net f = input(1) -> dense(2) -> dense1: dense(2) -> dense(1)")
    assert [x.name for x in f.layers] == ["input", "dense2", "dense1", "dense3"]


def test_the_size_of_the_input_comes_from_the_data() -> None:
    data = "data D = table(x = [[1, 2, 3], [4, 5, 6]], y = [0, 1])\n"
    for use in ("sse(f, D)", "sum((f(x) - y)^4 for (x, y) in D)", "hinge(f, D) + l2(f)"):
        assert problem(f"net f = input() -> dense(1)\n{data}minimize {use}").networks["f"].input_size == 3


def test_networks_as_functions_of_variables_and_lists() -> None:
    p = problem("""
    net f = input(2) -> dense(2)
    var x[i in 0..1] in 0..1
    let v = f(x[0], x[1])
    minimize v[0] + f([x[1], 3])[1] + sum(f(x[0], 1))
    """)
    assert len(p.networks) == 1


def test_weights_are_named_in_constraints() -> None:
    p = problem("""
    net f = input(2) -> h: dense(2) -> dense(1)
    minimize l2(f)
    constraint sum(f.h.weights[0, j] for j in 0..1) == 1
    constraint f.h.bias[0] >= f.h.bias[1]
    """)
    assert len(p.constraints) == 2


def test_layer_sizes_must_be_reasonable() -> None:
    assert error("net f = input(2) -> dense(2000000) -> dense(1)\nminimize l2(f)").code == "NNS043"
    assert error("net f = input(100000) -> dense(1000) -> dense(1)\nminimize l2(f)").code == "NNS043"
    assert error("net f = input(10^9) -> dense(1)\nminimize l2(f)").code == "NNS043"
