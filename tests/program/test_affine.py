"""Affine and Quadratic arrays against numpy: an operation on expressions, valued, is the operation on the values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from nnspec.program import Affine, concatenate, product, square, stack

COLUMNS = 7
POINT = np.random.default_rng(5).normal(size=COLUMNS)


def random_affine(rng, shape):
    """A random array of expressions, some constant, some with repeated use of a column."""
    total = Affine.of(rng.normal(size=shape).round(1))
    for _ in range(rng.integers(0, 4)):
        total = total + Affine.variables(rng.integers(0, COLUMNS, shape)) * rng.integers(-2, 3, shape)
    return total


shapes = st.sampled_from([(), (1,), (4,), (3, 2), (2, 3, 2), (0,), (0, 3)])


@settings(max_examples=60, deadline=None)
@given(shape=shapes, seed=st.integers(0, 10**6))
def test_elementwise(shape, seed):
    rng = np.random.default_rng(seed)
    a, b, c = random_affine(rng, shape), random_affine(rng, shape), rng.normal(size=shape)
    va, vb = a.value(POINT), b.value(POINT)
    for result, expected in [
        (a + b, va + vb), (a - b, va - vb), (c - a, c - va), (c + a, c + va), (a * c, va * c), (c * a, va * c),
        (-a, -va), (a / 2, va / 2), (a - a, 0 * va), (a.T, va.T), (a.sum(), va.sum()), (a.reshape(-1), va.reshape(-1)),
        (product(a, b), va * vb), (square(a), va**2), (square(a).sum(), (va**2).sum()), (square(a) - b, va**2 - vb),
        (3 - square(a) * c, 3 - va**2 * c), (a + square(b), va + vb**2),
        (stack([a, b]), np.stack([va, vb])), (stack([a, b], -1), np.stack([va, vb], -1)),
    ]:  # fmt: skip
        assert result.shape == np.shape(expected)
        assert_allclose(result.value(POINT), expected, atol=1e-12)
    assert (a - a).is_constant
    assert (a * 0).is_constant
    assert len((square(a) * 0).values) == 0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_matrices_indices_and_axes(seed):
    rng = np.random.default_rng(seed)
    a = random_affine(rng, (3, 4))
    v = a.value(POINT)
    m, n, r, s = rng.normal(size=(4, 5)), rng.normal(size=(2, 3)), rng.normal(size=4), rng.normal(size=3)
    m[rng.random(m.shape) < 0.4] = 0
    deep = random_affine(rng, (3, 2, 4))
    for result, expected in [
        (a @ m, v @ m), (n @ a, n @ v), (a @ r, v @ r), (s @ a, s @ v), (a[0] @ r, v[0] @ r),
        (deep @ m, deep.value(POINT) @ m), (a[1], v[1]), (a[1:, ::2], v[1:, ::2]), (a[:, None], v[:, None]),
        (a[[2, 0, 2]], v[[2, 0, 2]]), (a[v > 0], v[v > 0]), (a.sum(0), v.sum(0)), (a.sum(axis=-1), v.sum(-1)),
        (deep.sum((0, 2)), deep.value(POINT).sum((0, 2))), (a + r, v + r), (a[:, :1] + a, v[:, :1] + v),
        (concatenate([a, v, a[:1]]), np.concatenate([v, v, v[:1]])),
        (concatenate([a, a[:, :2]], axis=1), np.concatenate([v, v[:, :2]], axis=1)),
        (product(a, a[:1]), v * v[:1]), (square(a)[1:], v[1:] ** 2),
    ]:  # fmt: skip
        assert result.shape == np.shape(expected)
        assert_allclose(result.value(POINT), expected, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_range_contains_values(seed):
    rng = np.random.default_rng(seed)
    a = random_affine(rng, (5,))
    lo = rng.normal(size=COLUMNS)
    hi = lo + rng.random(COLUMNS)
    low, high = a.range(lo, hi)
    for _ in range(10):
        value = a.value(rng.uniform(lo, hi))
        assert (low - 1e-12 <= value).all()
        assert (value <= high + 1e-12).all()
    corner = np.array([a.reshape(-1)[0].value(np.where(bits, hi, lo)) for bits in np.ndindex(*(2,) * COLUMNS)])
    assert_allclose([low[0], high[0]], [corner.min(), corner.max()], atol=1e-12)


def test_wrong_use_is_refused():
    a = Affine.variables([0, 1])
    with pytest.raises(TypeError, match="not affine"):
        a * a
    with pytest.raises(ValueError, match="do not match"):
        a @ np.ones((3, 2))
    with pytest.raises(ValueError):
        a.reshape(3)


def test_single_columns():
    a = Affine.variables([4, 2, 1])
    assert list(a.single_columns()) == [4, 2, 1]
    mixed = concatenate([a * np.array([1.0, 2, 1]), np.zeros(1), a + 1])
    assert list(mixed.single_columns()) == [4, -1, 1, -1, -1, -1, -1]
