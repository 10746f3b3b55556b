"""Scaling and splits: fitted on the training part, the same for both, reproducible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnspec.language.sources import DataError, Samples
from nnspec.language.sources.scaling import fit

matrices = hnp.arrays(
    float, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.floats(-1e6, 1e6, allow_subnormal=False)
)


@settings(deadline=None)
@given(matrices)
def test_minmax_maps_to_the_unit_interval_and_back(values: np.ndarray) -> None:
    scaling, constant = fit("minmax", values)
    assert scaling is not None
    scaled = scaling.apply(values)
    assert scaled.min() >= 0
    assert scaled.max() <= 1 + 1e-12
    for j in range(values.shape[1]):
        assert (j in constant) == (len(set(values[:, j])) == 1)
        assert scaled[:, j].max() == (0 if j in constant else pytest.approx(1))
    np.testing.assert_allclose(scaling.invert(scaled), values, rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(hnp.arrays(float, (7, 3), elements=st.integers(-1000, 1000).map(float)))
def test_standard_is_numpys_mean_and_population_deviation(values: np.ndarray) -> None:
    scaling, constant = fit("standard", values)
    assert scaling is not None
    for j in range(3):
        if j not in constant:
            assert scaling.shift[j] == pytest.approx(values[:, j].mean(), abs=1e-9)
            assert scaling.factor[j] == pytest.approx(values[:, j].std())
        else:
            assert np.all(scaling.apply(values)[:, j] == 0)


def test_huge_values_are_scaled_without_overflow() -> None:
    scaling, _ = fit("standard", np.array([[1e308], [-1e308]]))
    assert scaling is not None
    assert np.all(np.isfinite(scaling.apply(np.array([[1e308], [-1e308]]))))
    far = Samples(np.array([[1.7e308], [-1.7e308]]), np.zeros((2, 1)), scale="minmax")
    with pytest.raises(DataError, match="too far apart"):
        far.data_set("D")


def some(n: int = 20, **more: object) -> Samples:
    x = np.arange(2 * n, dtype=float).reshape(n, 2)
    return Samples(x, x[:, :1] * 3, ("a", "b"), ("c",), rows=tuple(range(1, n + 1)), **more)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(0, 2**32))
def test_a_split_is_a_partition_in_the_order_of_the_file(n: int, fraction: float, seed: int) -> None:
    first = int(np.floor(fraction * n + 0.5))
    if not 0 < first < n:
        with pytest.raises(DataError, match="in the first part"):
            some(n).split(fraction, seed)
        return
    a, b = some(n).split(fraction, seed)
    assert len(a.x) == first
    assert sorted(a.rows + b.rows) == list(range(1, n + 1))
    assert list(a.rows) == sorted(a.rows)
    assert list(b.rows) == sorted(b.rows)
    np.testing.assert_array_equal(a.x[:, 0], 2 * (np.array(a.rows) - 1))


def test_a_split_is_the_same_everywhere_and_differs_by_seed() -> None:
    # written down once: the words of PCG64 never change
    assert some(10).split(0.5, 1)[0].rows == (3, 5, 6, 8, 10)
    assert some(10).split(0.5, 1)[0].rows == some(10).split(0.5, 1)[0].rows
    assert len({some(10).split(0.5, seed)[0].rows for seed in range(10)}) > 5


def test_the_scaling_of_a_split_is_fitted_on_its_training_part() -> None:
    a, b = some(scale="minmax", scale_y="standard").split(0.5, 3)
    train, test = a.data_set("a"), b.data_set("b")
    assert train.x_scaling is not None
    np.testing.assert_array_equal(train.x_scaling.shift, a.x.min(axis=0))
    np.testing.assert_array_equal(train.x_scaling.factor, np.ptp(a.x, axis=0))
    assert test.x_scaling is train.x_scaling
    assert test.y_scaling is train.y_scaling
    assert train.x.min() == 0
    assert train.x.max() == 1
    assert train.y.std() == pytest.approx(1)
    # a split of a part keeps the units
    c, d = b.split(0.5, 0)
    assert c.data_set("c").x_scaling is train.x_scaling
    assert d.data_set("d").y_scaling is train.y_scaling


def test_data_without_scaling_stay_as_they_are() -> None:
    data = some().data_set("D")
    assert data.x_scaling is None
    np.testing.assert_array_equal(data.x, some().x)
