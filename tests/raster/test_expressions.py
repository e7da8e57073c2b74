"""Band maths on arrays, against numpy on whole arrays and against plain Python on each pixel."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasterloom.raster.expressions import evaluate
from rasterloom.raster.layers import Layer
from rasterloom.specs.expressions import parse_expression

DTYPES = {"B1": "u2", "B2": "i2", "B3": "f4", "B4": "u1"}


@st.composite
def numbers(draw: st.DrawFn, depth: int = 3) -> str:
    """Texts whose results stay far away from the largest float64."""
    kind = draw(st.integers(0, 6)) if depth else 0

    def part() -> str:
        return draw(numbers(depth - 1))

    if kind <= 1:
        return draw(st.sampled_from(["0", "1", "2", "0.5", "3", *DTYPES, *DTYPES]))
    if kind <= 3:
        return f"({part()} {draw(st.sampled_from('+-*/'))} {part()})"
    if kind == 4:
        return f"{draw(st.sampled_from(['-', 'abs', 'sqrt', 'log', 'log10']))}({part()})"
    if kind == 5:
        return draw(st.sampled_from(["min({}, {})", "max({}, {})", "clip({}, {}, {})"])).format(part(), part(), part())
    return f"where({draw(masks(max(depth - 1, 0)))}, {part()}, {part()})"


@st.composite
def masks(draw: st.DrawFn, depth: int = 3) -> str:
    part, sign = numbers(max(depth - 1, 0)), st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    first, second = (f"({draw(part)} {draw(sign)} {draw(part)})" for _ in range(2))
    return draw(st.sampled_from([first, f"(~{first} & {second})", f"({first} | ~{second})"]))


def scene(seed: int, *, holes: bool) -> dict[str, Layer]:
    draw = np.random.default_rng(seed)
    return {
        code: Layer(draw.integers(0, 6, (4, 5)).astype(dtype), draw.random((4, 5)) > (0.2 if holes else -1))
        for code, dtype in DTYPES.items()
    }


NUMBER = re.compile(r"(?<!\w)([0-9.]+)")
ON_ARRAYS: dict[str, Any] = {
    "number": np.float64,
    "abs": np.abs, "sqrt": np.sqrt, "log": np.log, "log10": np.log10, "exp": np.exp, "min": np.minimum, "max": np.maximum,
    "where": np.where, "clip": lambda value, low, high: np.minimum(np.maximum(value, low), high),
}  # fmt: skip


@given(numbers() | masks(), st.integers(0, 9))
def test_finite_results_are_those_of_numpy(text: str, seed: int) -> None:
    bands = scene(seed, holes=False)
    if not any(code in text for code in bands):
        return
    with np.errstate(all="ignore"):
        arrays = {code: layer.data.astype("f8") for code, layer in bands.items()}
        expected = np.broadcast_to(np.asarray(eval(NUMBER.sub(r"number(\1)", text), ON_ARRAYS | arrays)), (4, 5))
    found = evaluate(parse_expression(text).root, bands)
    assert found.data.shape == found.valid.shape == (4, 5)
    assert found.data.dtype == (bool if expected.dtype == bool else np.float32)
    np.testing.assert_array_equal(found.data[found.valid], expected[found.valid].astype(found.data.dtype))


class Out(Exception):
    """A pixel has no result."""


class Value:
    """A number of one pixel that knows when there is no result: numpy, and rules about arrays, have no part in it."""

    def __init__(self, value: Any) -> None:
        if isinstance(value, float) and not math.isfinite(value):
            raise Out
        self.value = value

    def __add__(self, other: Value) -> Value:
        return Value(self.value + other.value)

    def __sub__(self, other: Value) -> Value:
        return Value(self.value - other.value)

    def __mul__(self, other: Value) -> Value:
        return Value(self.value * other.value)

    def __truediv__(self, other: Value) -> Value:
        if other.value == 0:
            raise Out
        return Value(self.value / other.value)


def on_a_pixel(node: Any, pixel: dict[str, Value | None]) -> Value:
    if node[0] == "band":
        if (found := pixel[node[1]]) is None:
            raise Out
        return found
    if node[0] == "number":
        return Value(node[1])
    if node[0] == "where":
        return on_a_pixel(node[2 if on_a_pixel(node[1], pixel).value else 3], pixel)
    parts = [on_a_pixel(part, pixel) for part in node[1:]]
    if node[0] in "+-*/":
        return {"+": Value.__add__, "-": Value.__sub__, "*": Value.__mul__, "/": Value.__truediv__}[node[0]](*parts)
    plain = [part.value for part in parts]
    try:
        return Value(PLAIN[node[0]](*plain))
    except ValueError:
        raise Out from None


PLAIN: dict[str, Any] = {
    "neg": lambda one: -one, "abs": abs, "sqrt": math.sqrt, "log": math.log, "log10": math.log10, "min": min, "max": max,
    "clip": lambda one, low, high: min(max(one, low), high), "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b, "&": lambda a, b: a and b,
    "|": lambda a, b: a or b, "~": lambda a: not a,
}  # fmt: skip


@given(numbers() | masks(), st.integers(0, 9))
def test_a_pixel_is_valid_where_plain_python_has_a_result_for_it(text: str, seed: int) -> None:
    bands = scene(seed, holes=True)
    if not any(code in text for code in bands):
        return
    root = parse_expression(text).root
    found = evaluate(root, bands)
    for row, col in np.ndindex(4, 5):
        pixel = {code: Value(float(layer.data[row, col])) if layer.valid[row, col] else None for code, layer in bands.items()}
        try:
            expected = on_a_pixel(root, pixel).value
        except Out:
            assert not found.valid[row, col]
        else:
            assert found.valid[row, col]
            assert found.data[row, col] == pytest.approx(expected, rel=1e-6, abs=1e-30)


def one(text: str, **bands: np.ndarray) -> Layer:
    return evaluate(parse_expression(text).root, {code: Layer(data, np.ones(data.shape, bool)) for code, data in bands.items()})


def test_integers_do_not_wrap() -> None:
    assert one("B08 - B04", B08=np.array([[3]], "u2"), B04=np.array([[5]], "u2")).data.tolist() == [[-2]]
    assert one("B * B", B=np.array([[65535]], "u2")).data.tolist() == [[np.float32(65535.0**2)]]
    assert one("-B", B=np.array([[-128]], "i1")).data.tolist() == [[128]]
    assert one("abs(B)", B=np.array([[-128]], "i1")).data.tolist() == [[128]]
    # 16777217 has no float32, but the difference has: only the result is rounded.
    assert one("A - B", A=np.array([[16_777_217]], "i4"), B=np.array([[16_777_216]], "i4")).data.tolist() == [[1]]


@pytest.mark.parametrize(
    "text",
    [
        "1 / B",
        "B / B",
        "log(B)",
        "log10(B)",
        "sqrt(B - 1)",
        "exp(B + 1e4)",
        "(B - 1) ** 0.5",
        "1 / (1 / B)",
        "N",
        "N ** 0",
        "min(N, B)",
        "N > 1",
    ],
)
def test_what_has_no_finite_result_is_invalid_and_named_by_nan(text: str) -> None:
    found = one(text, B=np.zeros((1, 1), "u1"), N=np.full((1, 1), np.nan, "f4"))
    assert not found.valid.any()
    assert not found.data.any() if found.data.dtype == bool else np.isnan(found.data).all()


def test_a_result_too_large_for_float32_is_invalid() -> None:
    assert not one("B * 1e60", B=np.array([[1]], "u1")).valid.any()


def test_the_branch_that_where_leaves_alone_may_be_invalid() -> None:
    found = one("where(A + B == 0, 0, (A - B) / (A + B))", A=np.array([[0, 3]], "u2"), B=np.array([[0, 1]], "u2"))
    assert found.valid.all()
    assert found.data.tolist() == [[0, 0.5]]


def test_a_mask_counts_as_one_and_zero() -> None:
    assert one("(A > 1) + (A > 2)", A=np.array([[1, 2, 3]], "u1")).data.tolist() == [[0, 1, 2]]
    assert one("-(A > 1)", A=np.array([[1, 2]], "u1")).data.tolist() == [[0, -1]]


def test_the_bands_are_left_as_they_were() -> None:
    data = np.array([[np.nan, 1.0]])
    layer = Layer(data, np.ones((1, 2), bool))
    found = evaluate(("band", "B"), {"B": layer})
    assert found.valid.tolist() == [[False, True]]
    assert layer.valid.all()
    assert found.data is not data


def test_a_large_image_is_computed_in_strips() -> None:
    draw = np.random.default_rng(0)
    red, infrared = (draw.integers(0, 9999, (700, 1000)).astype("u2") for _ in range(2))
    found = one("(A - B) / (A + B)", A=infrared, B=red)
    with np.errstate(all="ignore"):
        expected = ((infrared.astype("f8") - red) / (infrared.astype("f8") + red)).astype("f4")
    np.testing.assert_array_equal(found.data, expected)
    assert (found.valid == np.isfinite(expected)).all()


@pytest.mark.parametrize("shape", [(5,), (0,), (0, 4), (3, 4), (2, 3, 4)])
def test_bands_of_any_dimensions(shape: tuple[int, ...]) -> None:
    data = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    found = evaluate(parse_expression("B04 - 3").root, {"B04": Layer(data, np.ones(shape, bool))})
    np.testing.assert_array_equal(found.data, data.astype(np.float32) - 3)
    assert found.valid.all()
