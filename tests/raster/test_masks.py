"""What a mask band leaves in, against numpy said in another way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rasterloom.errors import SpecError
from rasterloom.raster.layers import Layer
from rasterloom.raster.masks import MaskRule, kept

WHOLE = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", ">u2")


def of(data: np.ndarray, valid: np.ndarray | None = None) -> Layer:
    return Layer(data, np.ones(data.shape, bool) if valid is None else valid)


@given(st.sampled_from(WHOLE).flatmap(lambda dtype: arrays.arrays(dtype, (3, 4))), st.sets(st.integers(-3, 300), min_size=1))
def test_values_and_keep_are_each_other_s_opposite(data: np.ndarray, values: set[int]) -> None:
    expected = np.array([[int(pixel) in values for pixel in row] for row in data])
    wanted = tuple(float(value) for value in values)
    assert (kept(MaskRule(band="SCL", values=wanted), of(data)) == ~expected).all()
    assert (kept(MaskRule(band="SCL", keep=wanted), of(data)) == expected).all()


@given(st.sampled_from(WHOLE).flatmap(lambda dtype: arrays.arrays(dtype, (3, 4))), st.sets(st.integers(0, 7), min_size=1))
def test_any_of_the_bits_set_leaves_a_pixel_out(data: np.ndarray, bits: set[int]) -> None:
    expected = np.array([[any(int(pixel) >> bit & 1 for bit in bits) for pixel in row] for row in data])
    assert (kept(MaskRule(band="QA", bits=tuple(bits)), of(data)) == ~expected).all()


def test_the_highest_bit_of_a_signed_band_is_a_bit() -> None:
    assert kept(MaskRule(band="QA", bits=(15,)), of(np.array([[-1, 1]], "i2"))).tolist() == [[False, True]]


def test_classes_of_a_float_band_and_values_between_whole_numbers() -> None:
    assert kept(MaskRule(band="C", values=(0.5, 2)), of(np.array([[0.5, 1, 2, np.nan]], "f4"))).tolist() == [[False, True, False, True]]
    assert kept(MaskRule(band="C", values=(0.5, 300)), of(np.array([[0, 1]], "u1"))).all()


def test_a_pixel_without_a_class_is_left_out_by_every_rule() -> None:
    layer = of(np.zeros((1, 2), "u1"), np.array([[True, False]]))
    for rule in (MaskRule(band="C", values=(9,)), MaskRule(band="C", keep=(0,)), MaskRule(band="C", bits=(3,))):
        assert kept(rule, layer).tolist() == [[True, False]]
    assert layer.valid.tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("rule", "dtype", "says"),
    [
        (MaskRule(band="QA", bits=(8,)), "u1", "the mask band QA has the bits 0 to 7, not 8"),
        (MaskRule(band="QA", bits=(1,)), "f4", "holds float32, bits are of whole numbers"),
    ],
)
def test_bits_that_a_band_cannot_have_are_refused(rule: MaskRule, dtype: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        kept(rule, of(np.zeros((1, 1), dtype)))


def test_a_rule_that_leaves_nothing_out_is_refused() -> None:
    with pytest.raises(SpecError, match="leaves nothing out"):
        MaskRule(band="QA")
