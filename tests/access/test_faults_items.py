"""What can be wrong with an item, one fault at a time, and what comes of it (see tests/access/faults.py)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import shapely

from rasterloom.errors import Unreadable
from tests.access.faults import Aborted, Built, Case, check, newest, rows_of
from tests.access.questions import box
from tests.access.world import World
from tests.servers import Fault, RangeServer, Request, Response, StacServer

pytestmark = pytest.mark.slow  # what an item becomes is tested fast in test_items.py; here it goes through whole builds
Hurt = Callable[[World], None]
ALL, REST = Built(), Built(rows=4)


class Instead(Fault):
    """Pages with another thing in place of scene 4. What the server looks for is still the good one."""

    def __init__(self, feature: Any) -> None:
        super().__init__()
        self.feature = feature

    def apply(self, request: Request, good: Response) -> Response:
        document = json.loads(good.body)
        document["features"] = [self.feature if one["id"] == "scene-004" else one for one in document["features"]]
        return Response(good.status, json.dumps(document).encode(), good.headers)


def changed(change: Callable[[dict[str, Any]], object]) -> Hurt:
    def hurt(world: World) -> None:
        found = json.loads(json.dumps(newest(world)))
        change(found)
        world.stac.faults["/search"] = Instead(found)

    return hurt


def with_members(place: dict[str, Any], changes: dict[str, Any]) -> None:
    """`...` takes one away."""
    place |= changes
    for name in [name for name, value in changes.items() if value is ...]:
        del place[name]


def item(**changes: Any) -> Hurt:
    return changed(lambda found: with_members(found, changes))


def properties(**changes: Any) -> Hurt:
    return changed(lambda found: with_members(found["properties"], changes))


def asset(**changes: Any) -> Hurt:
    """Of B04."""
    return changed(lambda found: with_members(found["assets"]["b04"], changes))


def feature(value: Any) -> Hurt:
    return lambda world: world.stac.faults.update({"/search": Instead(value)})


def assets(value: Any) -> Hurt:
    return item(assets=value)


def quarantined(*reasons: str) -> Built:
    """The item is left out."""
    return Built(rows=4, failures=reasons)


def with_gap(*reasons: str) -> Built:
    """The row stays, without these bands."""
    return Built(failures=reasons)


def stored(**expected: Any) -> Callable[[World], None]:
    """The row of the newest item holds this."""

    def also(world: World) -> None:
        row = rows_of(world)["scene-004"]
        assert {name: row[name] for name in expected} == expected

    return also


def flat(world: World) -> None:
    row = rows_of(world)["scene-004"]
    assert not shapely.from_wkb(row["geometry"]).has_z
    assert [row["bbox"][name] for name in ("xmin", "ymin", "xmax", "ymax")] == [15.0, 45.1, 15.05, 45.2]


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def solid(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    """A ring with heights."""
    flat_ring = box(west, south, east, north)["coordinates"][0]
    return {"type": "Polygon", "coordinates": [[[*corner, 100.0] for corner in flat_ring]]}


CASES = [
    # --- identity
    Case("no id", item(id=...), quarantined("bad-id")),
    Case("null id", item(id=None), quarantined("bad-id")),
    Case("a number as id", item(id=7), quarantined("bad-id")),
    Case("an empty id", item(id=""), quarantined("bad-id")),
    Case("NUL in the id", item(id="a\0b"), quarantined("bad-id")),
    Case("a lone surrogate in the id", item(id="a\ud800"), quarantined("bad-id")),
    Case("an id of 513 letters", item(id="x" * 513), quarantined("bad-id")),
    Case("an id like a path", item(id="../../etc/passwd"), ALL),
    Case("an id with spaces and quotes", item(id="a b'\"c=1/é"), ALL),
    Case("another collection", item(collection="other"), REST),
    Case("a number as collection", item(collection=7), quarantined("bad-item")),
    # --- geometry
    Case("null geometry", item(geometry=None), ALL),
    Case("no geometry", item(geometry=...), ALL),
    Case("no bbox", item(bbox=...), ALL),
    Case("neither geometry nor bbox", item(geometry=None, bbox=None), quarantined("no-geometry")),
    Case("a bbox of six", item(bbox=[15.0, 45.1, 0, 15.05, 45.2, 900], geometry=solid(15.0, 45.1, 15.05, 45.2)), ALL, also=flat),
    Case("a bbox of three", item(bbox=[15.0, 45.1, 15.05]), quarantined("bad-bbox")),
    Case("texts in the bbox", item(bbox=["15", "45", "16", "46"]), quarantined("bad-bbox")),
    Case("a bbox upside down", item(bbox=[15.0, 45.2, 15.05, 45.1]), quarantined("bad-bbox")),
    Case("infinity in the bbox", item(bbox=[15.0, 45.1, math.inf, 45.2]), quarantined("bad-bbox")),
    Case("a geometry without coordinates", item(geometry={"type": "Polygon"}), quarantined("bad-geometry")),
    Case("an unknown kind of geometry", item(geometry={"type": "Blob", "coordinates": []}), quarantined("bad-geometry")),
    Case("texts as coordinates", item(geometry={"type": "Point", "coordinates": ["a", "b"]}), quarantined("bad-geometry")),
    Case(
        "an open ring",
        item(geometry={"type": "Polygon", "coordinates": [[[15, 45], [16, 45], [16, 46]]]}),
        quarantined("bad-geometry"),
    ),
    Case("a bow tie", item(geometry={"type": "Polygon", "coordinates": [[[15, 45], [15.1, 45.1], [15.1, 45], [15, 45.1], [15, 45]]]}), ALL),
    Case("a footprint over the antimeridian", item(geometry=box(179, 45, 181, 46), bbox=[179, 45, -179, 46]), REST),
    Case("a footprint elsewhere", item(geometry=box(100, 0, 101, 1), bbox=[100, 0, 101, 1]), REST),
    # --- time
    Case(
        "null datetime with start and end",
        properties(datetime=None, start_datetime="2024-07-11T00:00:00Z", end_datetime="2024-07-12T00:00:00Z"),
        ALL,
    ),
    Case("null datetime", properties(datetime=None), quarantined("bad-datetime")),
    Case("no datetime", properties(datetime=...), quarantined("bad-datetime")),
    Case("a datetime that is none", properties(datetime="yesterday"), quarantined("bad-datetime")),
    Case("the 31st of June", properties(datetime="2024-06-31T00:00:00Z"), quarantined("bad-datetime")),
    Case("a number as datetime", properties(datetime=1720000000), quarantined("bad-datetime")),
    Case("a datetime with an offset", properties(datetime="2024-07-11T02:00:00+02:00"), ALL),
    Case("a datetime without a zone", properties(datetime="2024-07-11T00:00:00"), ALL),
    Case("a leap second", properties(datetime="2024-07-11T23:59:60Z"), ALL),
    # --- properties
    Case("no properties", item(properties=...), quarantined("bad-properties")),
    Case("a list as properties", item(properties=[]), quarantined("bad-properties")),
    Case("properties 40 levels deep", properties(deep=deep(40)), quarantined("bad-properties")),
    Case("properties 100 levels deep", properties(deep=deep(100)), Aborted(Unreadable, "too-deep")),
    Case("text where others have numbers", properties(**{"eo:cloud_cover": "low"}), ALL, also=stored(**{"eo:cloud_cover": '"low"'})),
    Case("a list where others have numbers", properties(**{"eo:cloud_cover": [1, "a"]}), ALL),
    Case("null where others have numbers", properties(**{"eo:cloud_cover": None}), ALL, also=stored(**{"eo:cloud_cover": None})),
    Case("empty objects", properties(nothing={}, none=[], deeper={"a": {}}), ALL),
    Case("a number beyond 64 bits", properties(big=1 << 70), ALL, also=stored(big=str(1 << 70))),
    Case("keys of any kind", properties(**{"": 1, "a.b": 2, "B04_metadata": 3, "geometry": 4, "ünï": 5}), ALL),
    Case("a list as updated", properties(updated=["x"]), ALL),
    Case("a CRS that is none", properties(**{"proj:epsg": "EPSG", "proj:code": 7, "proj:wkt2": ["a"]}), ALL),
    # --- assets
    Case("no assets", assets(...), with_gap("band-missing", "band-missing")),
    Case("a list as assets", assets([]), with_gap("band-missing", "band-missing")),
    Case("empty assets", assets({}), with_gap("band-missing", "band-missing")),
    Case("one asset is missing", changed(lambda found: found["assets"].pop("b04")), with_gap("band-missing")),
    Case("a text as asset", changed(lambda found: found["assets"].update(b04="x")), with_gap("band-missing")),
    Case("an asset without href", asset(href=...), with_gap("href-missing")),
    Case("a number as href", asset(href=7), with_gap("href-missing")),
    Case("an empty href", asset(href=""), with_gap("href-missing")),
    Case("an href of another world", asset(href="gopher://host/x"), with_gap("forbidden-host")),
    Case("an href with a broken host", asset(href="http://[::1"), with_gap("bad-href")),
    Case("JPEG 2000 by its type", asset(type="image/jp2"), with_gap("jpeg2000")),
    Case("JPEG 2000 by its name", asset(href="http://127.0.0.1:9/x.jp2"), with_gap("jpeg2000")),
    # --- features that are none
    Case("a number among the features", feature(7), quarantined("bad-id")),
    Case("null among the features", feature(None), quarantined("bad-id")),
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with StacServer() as stac, RangeServer({}) as files:
        yield World(stac, files, tmp_path / "ws")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_an_item_that_is_wrong(world: World, case: Case) -> None:
    check(world, case)
