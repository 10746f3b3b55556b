"""Enclosing lines and CROWN bounds: valid on samples, tighter than intervals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nnspec.bounds.interval import Interval
from nnspec.bounds.propagate import Origin, layer_bounds
from nnspec.bounds.relaxation import lines
from nnspec.bounds.symbolic import symbolic_bounds
from nnspec.problem.forward import activate, apply_layer, layer_values
from nnspec.problem.network import ACTIVATIONS, Activation, Layer, Network, Parameter

from .test_propagate import image_network


@pytest.mark.parametrize("kind", [a for a in ACTIVATIONS if a != "softmax"])
def test_lines_enclose(kind):
    r = np.random.default_rng(0)
    for alpha in (0.1, -0.4, 1.7):
        a = Activation(kind, alpha)
        lo, hi = np.sort(r.normal(size=(2, 200)) * 10 ** r.uniform(-1, 1, 200), axis=0)
        e = lines(a, Interval(lo, hi))
        for t in np.linspace(0, 1, 41):
            z = lo + t * (hi - lo)
            f = activate(a, z)
            assert np.all(e.low_slope * z + e.low <= f + 1e-12)
            assert np.all(e.high_slope * z + e.high >= f - 1e-12)


def chain(r, sizes, activation):
    layers = [Layer("x", "input", (), (sizes[0],))]
    for k, (n, m) in enumerate(itertools.pairwise(sizes)):
        w = Parameter.constant(f"f.h{k}.weights", r.normal(size=(m, n)))
        b = Parameter.constant(f"f.h{k}.bias", r.normal(size=m))
        layers.append(Layer(f"h{k}", "dense", (layers[-1].name,), (m,), Activation(activation), w, b))
    return Network("f", tuple(layers), (layers[-1].name,))


@pytest.mark.parametrize(
    "activation", ["relu", "leaky_relu", "abs", "hardtanh", "tanh", "sigmoid", "softplus", "gelu", "sign"]
)
def test_bounds_hold_and_improve(activation):
    r = np.random.default_rng(1)
    f = chain(r, (3, 6, 6, 2), activation)
    x = r.normal(size=(2, 3))
    box = Interval(x - 0.4, x + 0.4)
    plain, found = layer_bounds(f, box), symbolic_bounds(f, box)
    for _ in range(300):
        at = x + 0.4 * r.choice([-1.0, 1.0, r.uniform(-1, 1)], size=x.shape)
        results = layer_values(f, {}, at)
        for layer in f.layers[1:]:
            z = apply_layer(layer, [results[i] for i in layer.inputs], {})
            assert found[layer.name].interval.contains(z, 1e-12)
    width = found["h2"].interval.hi - found["h2"].interval.lo
    before = plain["h2"].pre.interval.hi - plain["h2"].pre.interval.lo
    assert np.all(width <= before)
    if activation in ("relu", "leaky_relu", "tanh"):
        assert width.mean() < 0.9 * before.mean()
        assert Origin.SYMBOLIC in found["h2"].lo_origin


def test_every_layer_kind():
    r = np.random.default_rng(2)
    f = image_network(r, False)
    x = r.normal(size=(1, 50))
    found = symbolic_bounds(f, Interval(x - 0.1, x + 0.1))
    for _ in range(200):
        results = layer_values(f, {}, x + 0.1 * r.choice([-1.0, 1.0], size=x.shape))
        for name, b in found.items():
            z = apply_layer(f[name], [results[i] for i in f[name].inputs], {})
            assert b.interval.contains(z, 1e-12), name


@pytest.mark.parametrize("seed", range(4))
def test_chosen_slopes_tighten_and_hold(seed):
    """Gradient steps never lose a point of the box, its corners included, never lose to fixed slopes, and gain."""
    r = np.random.default_rng(seed)
    f = chain(r, (4, 8, 8, 3), "relu")
    box = Interval(-np.ones((1, 4)), np.ones((1, 4)))
    fixed, chosen = symbolic_bounds(f, box, steps=0), symbolic_bounds(f, box)
    corners = np.array(list(itertools.product((-1.0, 1.0), repeat=4)))
    for x in np.concatenate([corners, r.uniform(-1, 1, (300, 4))])[:, None]:
        results = layer_values(f, {}, x)
        for layer in f.layers[1:]:
            z = apply_layer(layer, [results[i] for i in layer.inputs], {})
            assert chosen[layer.name].interval.contains(z, 1e-12)
    for name in ("h1", "h2"):
        a, b = fixed[name], chosen[name]
        assert np.all(a.lo <= b.lo)
        assert np.all(b.hi <= a.hi)
        assert (b.hi - b.lo).sum() < 0.97 * (a.hi - a.lo).sum()
