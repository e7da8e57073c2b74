"""Composites against numpy's masked arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasterloom.raster.composites import PICKS, Method, composed, dtype_of
from rasterloom.raster.layers import Layer

METHODS: tuple[Method, ...] = ("median", "mean", "min", "max", "first")
DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "f4", "f8", ">u2", "?")


def drawn(seed: int, count: int, dtype: str) -> list[Layer]:
    draw = np.random.default_rng(seed)
    numbers = draw.integers(0, 2 if dtype == "?" else 100, (count, 5, 7))
    return [Layer(data.astype(dtype), draw.random((5, 7)) > 0.4) for data in numbers]


@given(st.integers(0, 50), st.integers(1, 9), st.sampled_from(DTYPES), st.sampled_from(METHODS))
def test_a_composite_is_what_masked_arrays_give(seed: int, count: int, dtype: str, method: Method) -> None:
    layers = drawn(seed, count, dtype)
    numbers = [layer.data.astype("f8") for layer in layers]
    masked = np.ma.masked_array(numbers, [~layer.valid for layer in layers])
    if method == "first":
        expected = np.select([layer.valid for layer in layers], numbers, 0.0)
    else:
        expected = {"median": np.ma.median, "mean": np.ma.mean, "min": np.ma.min, "max": np.ma.max}[method](masked, axis=0)
    found = composed(method, layers)
    assert found.data.dtype == dtype_of(method, layers[0].data.dtype)
    assert (found.valid == np.any([layer.valid for layer in layers], axis=0)).all()
    np.testing.assert_array_equal(found.data[found.valid], np.asarray(expected)[found.valid].astype(found.data.dtype))


@pytest.mark.parametrize("method", METHODS)
def test_the_layers_are_left_as_they_were(method: Method) -> None:
    layers = drawn(1, 4, "u2")
    before = [(layer.data.copy(), layer.valid.copy()) for layer in layers]
    composed(method, layers)
    assert all((layer.data == data).all() and (layer.valid == valid).all() for layer, (data, valid) in zip(layers, before, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_no_number_is_no_value(method: Method) -> None:
    layers = [
        Layer(np.array([[np.nan, np.inf, 2]], "f4"), np.ones((1, 3), bool)),
        Layer(np.array([[1, np.nan, 2]], "f4"), np.ones((1, 3), bool)),
    ]
    found = composed(method, layers)
    assert found.valid.tolist() == [[True, False, True]]
    assert found.data[found.valid].tolist() == [1, 2]


def test_the_largest_numbers_have_a_median_and_a_mean() -> None:
    top = Layer(np.array([[65535]], "u2"), np.ones((1, 1), bool))
    assert composed("median", [top, top]).data.tolist() == composed("mean", [top, top]).data.tolist() == [[65535]]
    huge = Layer(np.array([[1.7e308]]), np.ones((1, 1), bool))
    assert composed("median", [huge, huge]).data.tolist() == [[1.7e308]]


def test_only_what_picks_a_value_keeps_whole_numbers() -> None:
    assert {method for method in METHODS if dtype_of(method, np.dtype("u2")) == np.uint16} == set(PICKS)
    assert dtype_of("mean", np.dtype("u4")) == dtype_of("median", np.dtype("f8")) == np.float64
    assert dtype_of("first", np.dtype(bool)) == np.uint8
