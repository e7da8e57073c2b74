"""Statistics of all zones at once against numpy, zone by zone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rasterloom.raster.zonal import percentile_of, statistics

ALL = ("valid", "sum", "mean", "std", "min", "max", "median", "p10", "p99", "p2.5", "majority", "minority", "variety", "histogram")


def by_hand(values: NDArray[Any]) -> dict[str, Any]:
    """One zone."""
    if not len(values):
        nothing = dict.fromkeys(ALL, float("nan"))
        return {**nothing, "valid": 0, "variety": 0, "histogram": []}
    wide, counts = values.astype(np.float64), sorted(Counter(values.tolist()).items())
    return {
        "valid": len(values),
        **{name: float(getattr(np, name)(wide)) for name in ("sum", "mean", "std", "min", "max", "median")},
        **{f"p{part:g}": float(np.percentile(wide, part)) for part in (10, 99, 2.5)},
        "majority": max(counts, key=lambda pair: pair[1])[0],
        "minority": min(counts, key=lambda pair: pair[1])[0],
        "variety": len(counts),
        "histogram": counts,
    }


def assert_same(zones: NDArray[np.int64], values: NDArray[Any], count: int, wanted: tuple[str, ...] = ALL) -> None:
    found = statistics(zones, values, count, wanted)
    assert list(found) == list(wanted)
    for zone in range(count):
        expected = by_hand(values[zones == zone])
        for name in wanted:
            if name == "histogram":
                assert found[name][zone] == expected[name]
            else:
                np.testing.assert_allclose(found[name][zone], expected[name], rtol=1e-12, atol=1e-9, err_msg=name)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-5, 5)), max_size=80))
def test_of_whole_numbers(pairs: list[tuple[int, int]]) -> None:
    zones, values = np.array([zone for zone, _ in pairs], np.int64), np.array([value for _, value in pairs], np.int16)
    assert_same(zones, values, 6)


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=40))
def test_of_fractions(pairs: list[tuple[int, float]]) -> None:
    zones, values = np.array([zone for zone, _ in pairs], np.int64), np.array([value for _, value in pairs], np.float32)
    assert_same(zones, values, 3, ("valid", "sum", "mean", "min", "max", "std", "median", "p10", "p99"))


@pytest.mark.parametrize("name", ALL)
def test_each_alone_is_what_it_is_among_all(name: str) -> None:
    rng = np.random.default_rng(0)
    assert_same(rng.integers(0, 7, 500), rng.integers(0, 40, 500).astype(np.uint8), 9, (name,))


def test_large_numbers_lose_no_spread() -> None:
    values = np.array([1e9, 1e9 + 1, 1e9 + 2])
    assert statistics(np.zeros(3, np.int64), values, 1, ["std"])["std"][0] == np.std(values)


def test_no_zone_and_no_value() -> None:
    nothing = np.empty(0, np.int64)
    assert statistics(nothing, nothing, 0, ALL)["histogram"] == []
    assert_same(nothing, nothing, 3)


@pytest.mark.parametrize(
    ("name", "percentile"), [("median", 50.0), ("p5", 5.0), ("p97.5", 97.5), ("mean", None), ("p", None), ("px", None)]
)
def test_names_of_percentiles(name: str, percentile: float | None) -> None:
    assert percentile_of(name) == percentile


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float16", "float32", "float64", "bool"])
def test_of_every_type(dtype: str) -> None:
    rng = np.random.default_rng(1)
    kind = np.dtype(dtype)
    limits = (0, 2) if kind.kind == "b" else (-1000, 1000) if kind.kind == "f" else (np.iinfo(kind).min, np.iinfo(kind).max)
    drawn = rng.uniform(*limits, 300).astype(kind)
    values = np.concatenate([drawn, drawn[:80], np.array([limits[0]], kind), np.array([0], kind)])
    zones = rng.integers(0, 5, len(values))
    found = statistics(zones, values, 5, ALL)
    for zone in range(5):
        expected = by_hand(values[zones == zone])
        for name in ("valid", "min", "max", "median", "variety", "majority", "minority"):
            assert found[name][zone] == expected[name], name
        np.testing.assert_allclose(found["mean"][zone], expected["mean"], rtol=1e-9, atol=1e-6)
