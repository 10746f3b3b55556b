"""Interval arithmetic encloses: checked against exact rational arithmetic and against samples."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnspec.bounds.interval import Interval, matmul
from nnspec.bounds.propagate import image
from nnspec.problem.forward import activate
from nnspec.problem.network import ACTIVATIONS, Activation

numbers = st.floats(-1e3, 1e3, allow_nan=False, width=64)


@st.composite
def interval(draw):
    a, b = sorted((draw(numbers), draw(numbers)))
    return Interval.of(a, b)


@settings(max_examples=200, deadline=None)
@given(interval(), interval(), st.floats(0, 1), st.floats(0, 1))
def test_operations_contain_the_exact_result(a, b, s, t):
    x = min(max(float(a.lo + s * (a.hi - a.lo)), float(a.lo)), float(a.hi))
    y = min(max(float(b.lo + t * (b.hi - b.lo)), float(b.lo)), float(b.hi))
    fx, fy = Fraction(x), Fraction(y)
    for result, exact in ((a + b, fx + fy), (a - b, fx - fy), (a * b, fx * fy)):
        assert Fraction(float(result.lo)) <= exact <= Fraction(float(result.hi))
    if b.lo > 0 or b.hi < 0:
        q = a.divide(b)
        if np.isfinite(q.lo) and np.isfinite(q.hi):
            assert Fraction(float(q.lo)) <= fx / fy <= Fraction(float(q.hi))


@pytest.mark.parametrize("constant", ["x", "w", "neither"])
def test_matmul_contains_exact_dot_products(constant):
    r = np.random.default_rng(0)
    for _ in range(20):
        n = int(r.integers(1, 30))
        x, w = r.normal(size=(3, n)) * 10.0 ** r.integers(-8, 8, n), r.normal(size=(2, n))
        ix = Interval.point(x) if constant == "x" else Interval(x - r.random(x.shape), x + r.random(x.shape))
        iw = Interval.point(w) if constant == "w" else Interval(w - r.random(w.shape), w + r.random(w.shape))
        found = matmul(ix, iw)
        for _ in range(5):
            xs = x if constant == "x" else np.where(r.random(x.shape) < 0.5, ix.lo, ix.hi)
            ws = w if constant == "w" else np.where(r.random(w.shape) < 0.5, iw.lo, iw.hi)
            for i in range(3):
                for j in range(2):
                    exact = sum(Fraction(float(p)) * Fraction(float(q)) for p, q in zip(xs[i], ws[j]))
                    assert Fraction(float(found.lo[i, j])) <= exact <= Fraction(float(found.hi[i, j]))


def test_zero_stays_zero():
    """A bound that is exactly 0 must not become -5e-324: it decides whether a neuron is stable."""
    x = Interval.point(np.array([[0.0, 2.0]]))
    found = matmul(x, Interval.of(np.array([[-1.0, 0.0]]), np.array([[1.0, 3.0]])))
    assert found.lo[0, 0] == 0.0
    assert (Interval.point(1.0) + Interval.point(-1.0)).lo == 0.0


@pytest.mark.parametrize("kind", [a for a in ACTIVATIONS if a != "softmax"])
def test_images_contain_and_are_tight(kind):
    r = np.random.default_rng(1)
    for alpha in (0.1, -0.3, 1.5) if kind == "leaky_relu" else (0.01,):
        a = Activation(kind, alpha)
        for _ in range(100):
            lo, hi = np.sort(r.normal(size=2) * 10.0 ** r.uniform(-2, 2))
            values = activate(a, np.concatenate((np.linspace(lo, hi, 2001), [np.clip(0.0, lo, hi)])))
            found = image(a, Interval.of(lo, hi))
            assert found.contains(values.min())
            assert found.contains(values.max())
            width = 1e-3 * (1 + abs(lo) + abs(hi))
            assert values.min() - found.lo < width
            assert found.hi - values.max() < width
    for a in (Activation(kind), Activation(kind, -0.5)):
        whole = image(a, Interval.of(-np.inf, np.inf))
        assert whole.contains(activate(a, np.array([-3.0, 0.0, 3.0])))


def test_softmax_image():
    r = np.random.default_rng(2)
    z = r.normal(size=(50, 4))
    w = r.random((50, 4))
    found = image(Activation("softmax"), Interval(z - w, z + w))
    for _ in range(30):
        o = activate(Activation("softmax"), z + w * r.choice([-1.0, 0.3, 1.0], size=z.shape))
        assert found.contains(o)


def test_power():
    assert Interval.of(-2, 3).power(2).lo == 0.0
    assert Interval.of(-2, 3).power(3).contains(-8.0)
    assert Interval.of(1, 4).power(0.5).contains(2.0)
    assert Interval.of(1, 4).power(-1).contains(0.25)
    assert Interval.of(-1, 4).power(-1).hi == np.inf
