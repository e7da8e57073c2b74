"""Scenes in the order of a Hilbert curve, and columns for whatever STAC items say."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasterloom.raster.order import BITS, hilbert
from rasterloom.raster.properties import MAX_KEYS, arrow_field, column, merge, summarise

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 70), 1 << 70), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=8
)
ITEMS = st.lists(st.dictionaries(st.sampled_from(["a", "b"]), VALUES), max_size=5)


def test_neighbours_on_the_curve_are_neighbours_on_the_globe() -> None:
    """The first 4096 steps of the curve over a corner of the grid: each is one cell long, and none is taken twice."""
    cell = 360 / (1 << BITS), 180 / (1 << BITS)
    col, row = (axis.ravel() for axis in np.meshgrid(np.arange(64), np.arange(64)))
    index = hilbert(-180 + (col + 0.5) * cell[0], -90 + (row + 0.5) * cell[1])
    assert sorted(index.tolist()) == list(range(4096))
    walk = np.argsort(index)
    assert set((np.abs(np.diff(col[walk])) + np.abs(np.diff(row[walk]))).tolist()) == {1}


def test_order_takes_the_edges_and_unknown_places() -> None:
    index = hilbert([-180.0, 180.0, 999.0, float("nan")], [-90.0, 90.0, 90.0, 0.0])
    assert index[1] == index[2]
    assert index.max() == index[3]
    assert index.dtype == np.uint64


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([None, True], pa.bool_()),
        ([1, None, 2], pa.int64()),
        ([1, 2.5], pa.float64()),
        (["a", None], pa.string()),
        ([True, 1], pa.string()),
        (["a", 1], pa.string()),
        ([1 << 63], pa.string()),
        ([(1 << 53) + 1, 0.5], pa.string()),
        ([[1], [2.5, None]], pa.list_(pa.float64())),
        ([["a"], [1]], pa.string()),
        ([["a"], "a"], pa.string()),
        ([{"x": 1}, {"y": "b"}], pa.struct([("x", pa.int64()), ("y", pa.string())])),
        ([{"x": {"y": {"z": {"deep": 1}}}}], pa.struct([("x", pa.struct([("y", pa.struct([("z", pa.string())]))]))])),
        ([{str(at): at for at in range(MAX_KEYS + 1)}], pa.string()),
        ([{}], pa.string()),
        ([None], pa.string()),
        (["\ud800"], pa.string()),
    ],
)
def test_types_come_from_all_items(values: list[Any], kind: pa.DataType) -> None:
    summary = summarise({"p": value} for value in values)["p"]
    assert arrow_field("p", summary).type == kind
    assert len(column(values, summary)) == len(values)


@given(ITEMS)
def test_no_value_is_lost(items: list[dict[str, Any]]) -> None:
    for name, summary in summarise(items).items():
        values = [item.get(name) for item in items]
        stored = column(values, summary).to_pylist()
        for value, kept in zip(values, stored, strict=True):
            assert alike(value, json.loads(kept) if summary["kind"] == "json" and kept is not None else kept)


def alike(value: Any, kept: Any) -> bool:
    """Equal, but that a struct spells the keys an item lacks as null, and JSON strings may stand inside it."""
    if isinstance(value, dict):
        kept = json.loads(kept) if isinstance(kept, str) else kept
        return all(alike(value.get(key), inner) for key, inner in kept.items()) and set(value) <= set(kept)
    if isinstance(value, list) and isinstance(kept, list):
        return len(value) == len(kept) and all(map(alike, value, kept))
    return value == kept or (isinstance(kept, str) and value == json.loads(kept))


@given(ITEMS, ITEMS, ITEMS)
def test_summaries_of_batches_merge_to_the_summary_of_all(a: list[Any], b: list[Any], c: list[Any]) -> None:
    parts = [json.loads(json.dumps(summarise(part))) for part in (a, b, c)]
    together = merge({}, summarise([*a, *b, *c]))
    assert merge(merge(parts[0], parts[1]), parts[2]) == together
    assert merge(parts[2], merge(parts[1], parts[0])) == together
