"""Layer bounds contain the forward pass of every network in the boxes, for every layer kind and activation."""

from __future__ import annotations

import numpy as np
import pytest

from nnspec.bounds.interval import Interval
from nnspec.bounds.propagate import Bounds, Origin, convolution_as_dense, layer_bounds
from nnspec.problem.forward import apply_layer, layer_values
from nnspec.problem.network import Activation, Layer, Network, Parameter


def tensor(name, shape, r, free):
    centre = r.normal(size=shape)
    if not free:
        return Parameter.constant(name, centre)
    return Parameter(name, shape, centre - r.random(shape), centre + r.random(shape))


def image_network(r, free):
    """Every layer kind in one graph: 2x5x5 input."""

    def p(layer, kind, shape):
        return tensor(f"f.{layer}.{kind}", shape, r, free)

    conv = {"kernel": (2, 3), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 1), "groups": 2}
    pool = {"kernel": (2, 2), "stride": (1, 1), "padding": (0, 0)}
    layers = (
        Layer("x", "input", (), (2, 5, 5)),
        Layer("c", "conv", ("x",), (4, 3, 3), Activation("relu"), p("c", "weights", (4, 1, 2, 3)), p("c", "bias", (4,)),
              attributes=conv),
        Layer("n", "batchnorm", ("c",), (4, 3, 3), Activation(), p("n", "weights", (4,)), p("n", "bias", (4,))),
        Layer("m", "maxpool", ("n",), (4, 2, 2), attributes=pool),
        Layer("a", "avgpool", ("n",), (4, 2, 2), Activation("tanh"), attributes=pool),
        Layer("s", "add", ("m", "a"), (4, 2, 2)),
        Layer("t", "activation", ("s",), (4, 2, 2), Activation("abs")),
        Layer("u", "concat", ("t", "a"), (8, 2, 2)),
        Layer("v", "flatten", ("u",), (32,)),
        Layer("y", "dense", ("v",), (3,), Activation("softmax"), p("y", "weights", (3, 32)), p("y", "bias", (3,))),
    )  # fmt: skip
    return Network("f", layers, ("y",))


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_every_layer_kind(free, wide):
    r = np.random.default_rng(3)
    network = image_network(r, free)
    x = r.normal(size=(2, 50))
    box = Interval(x - 0.3 * wide, x + 0.3 * wide)
    found = layer_bounds(network, box)
    for _ in range(50):
        values = {p.name: p.lo + r.choice([0, 0.5, 1], size=p.shape) * (p.hi - p.lo) for p in network.parameters}
        at = x + 0.3 * wide * r.choice([-1.0, 0.0, 1.0], size=x.shape)
        for name, value in layer_values(network, values, at).items():
            assert found[name].post.interval.contains(value, 1e-12), name
    assert found["c"].pre.lo_origin[0, 0, 0, 0] == Origin.INTERVAL


def test_one_dense_layer_is_exact():
    r = np.random.default_rng(4)
    w, b = tensor("f.h.weights", (3, 2), r, True), tensor("f.h.bias", (3,), r, True)
    network = Network(
        "f", (Layer("x", "input", (), (2,)), Layer("h", "dense", ("x",), (3,), Activation(), w, b)), ("h",)
    )
    x = r.normal(size=(4, 2))
    found = layer_bounds(network, Interval.point(x))["h"].pre
    top = np.where(x[:, None, :] > 0, w.hi, w.lo)
    np.testing.assert_allclose(found.hi, (top * x[:, None, :]).sum(2) + b.hi, rtol=1e-12)


@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_as_dense(groups):
    r = np.random.default_rng(5)
    attributes = {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 1), "dilation": (1, 2), "groups": groups}
    w = Parameter.constant("f.c.weights", r.normal(size=(4, 2 // groups, 3, 2)))
    layer = Layer("c", "conv", ("x",), (4, 3, 5), Activation(), w, None, attributes=attributes)
    x = r.normal(size=(1, 2, 5, 5))
    expected = apply_layer(layer, [x], {})
    taps, index = convolution_as_dense(layer, (2, 5, 5))
    flat = np.append(x.reshape(-1), 0.0)
    np.testing.assert_allclose((flat[taps] * w.value.reshape(-1)[index]).sum(1), expected.reshape(-1), atol=1e-12)


def test_tighter_bounds_keep_their_origin():
    b = Bounds.of(Interval.of(np.zeros(2), np.ones(2)))
    t = b.tighten(Interval.of([0.5, -1.0], [2.0, 0.5]), Origin.SYMBOLIC)
    assert list(t.lo) == [0.5, 0.0]
    assert list(t.hi) == [1.0, 0.5]
    assert list(t.lo_origin) == [Origin.SYMBOLIC, Origin.INTERVAL]
    assert t.origins() == "interval, symbolic"
