"""Every value that travels survives its JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from rasterloom.access.building.job import Job
from rasterloom.access.refs import from_json, to_json
from rasterloom.access.values import Asset, BatchRef, CollectionRef, Failure, ItemsRef, Scene, SearchRef, Traffic
from rasterloom.specs.effort import AuthRef, Effort
from rasterloom.specs.question import Band, Box, Interval, Plan, Question, Shard, StacSource

NOW = datetime(2024, 6, 1, 12, 30, 15, 250, tzinfo=UTC)
FAILURE = Failure(
    stage="header", reason="missing", message="404", item_id="a", http_status=404, retryable=False, first_seen=NOW, last_seen=NOW
)
ITEMS = ItemsRef(uri="/ws/items", sha256="ab", scenes=2, assets=3)
SCENE = Scene(
    id="a",
    collection="c",
    datetime=NOW,
    geometry=b"",
    bbox=(1.0, 2.0, 3.0, 4.0),
    properties={"x": [1, {"y": None}]},
    assets=(Asset(band="B1", key="red", href="https://h/f.tif", band_index=0),),
)
PLAN = Plan(
    name="n",
    question=Question(
        source=StacSource(url="https://h", collection="c"),
        bbox=Box(west=1.0, south=2.0, east=3.0, north=4.0),
        intersects=None,
        dates=Interval(start=NOW, end=None),
        query=None,
        bands=(Band(code="B1", asset="red"),),
        dedupe=None,
        href="href",
    ),
    fingerprint="f" * 64,
    shards=(Shard(index=0, dates=Interval(start=NOW, end=None), cell=None, closed=False),),
    now=NOW,
)
VALUES: list[Any] = [
    FAILURE,
    ITEMS,
    Traffic(requests=1, bytes=2),
    SearchRef(
        uri="/s",
        batches=(ITEMS,),
        matched=None,
        received=2,
        kept=2,
        disagreeing=0,
        duplicates=0,
        failures=(FAILURE,),
        types={"a": {"kind": "int"}},
        traffic=Traffic(requests=1, bytes=10),
    ),
    BatchRef(uri="/b", sha256="c", rows=2, headers=3, failures=(FAILURE,), traffic=Traffic(), first_range={"red": 8192}),
    CollectionRef(name="n", uri="/v", version=1, run_id="r", fingerprint="f", rows=2, failed=1),
    PLAN,
    Job(workspace="/ws", plan=PLAN, effort=Effort(auth=AuthRef(options=(("region", "eu"),)), min_rows=1), spec={"name": "n"}, run_id="r"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_survives_its_json(value: Any) -> None:
    assert from_json(type(value), json.loads(json.dumps(to_json(value)))) == value


def test_fields_of_a_newer_version_are_dropped_and_absent_ones_take_their_default() -> None:
    assert from_json(Traffic, {"requests": 3, "colour": "red"}) == Traffic(requests=3, bytes=0)


def test_a_mapping_of_another_shape_is_refused() -> None:
    with pytest.raises((TypeError, KeyError, ValueError)):
        from_json(ItemsRef, {"uri": "x"})
