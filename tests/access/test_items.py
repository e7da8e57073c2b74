"""Every raw item becomes a scene or a failure that names it; the question is applied again, exactly."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from rasterloom.access.items import hrefs
from rasterloom.access.items.footprints import area_of, meets
from rasterloom.access.items.moments import instant_of
from rasterloom.access.items.scene import answers, scene_of
from rasterloom.access.network.redact import canonical_href
from rasterloom.errors import SpecError
from rasterloom.specs.question import Band, Box, Interval
from tests.access.questions import box, day, item, question

QUESTION = question()


def reason_of(raw: Any) -> str:
    scene, failures = scene_of(raw, QUESTION)
    assert scene is None
    assert len(failures) == 1
    return failures[0].reason


def accepts(raw: dict[str, Any], **asked: Any) -> bool:
    wanted = question(**asked)
    scene, _ = scene_of(raw, wanted)
    assert scene is not None
    return answers(scene, raw, wanted)


def test_a_good_item() -> None:
    scene, failures = scene_of(item(), QUESTION)
    assert scene is not None
    assert failures == ()
    assert (scene.id, scene.collection, scene.bbox, scene.crs) == ("a", "c", (10, 50, 11, 51), "EPSG:32632")
    assert scene.datetime == datetime(2024, 6, 1, 10, tzinfo=UTC)
    assert scene.properties == {"eo:cloud_cover": 12.5, "proj:epsg": 32632}
    assert shapely.from_wkb(scene.geometry).equals(shapely.box(10, 50, 11, 51))
    assert [(asset.band, asset.key, asset.href) for asset in scene.assets] == [("B04", "red", "https://files.example.org/a/red.tif")]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "bad-item"),
        ([], "bad-item"),
        (item(id=...), "bad-id"),
        (item(id=7), "bad-id"),
        (item(id=""), "bad-id"),
        (item(id="x" * 513), "bad-id"),
        (item(id="a\x00b"), "bad-id"),
        (item(id="a\nb"), "bad-id"),
        (item(collection=7), "bad-item"),
        (item(properties=None), "bad-properties"),
        (item(properties=...), "bad-properties"),
        (item(properties={"datetime": "yesterday"}), "bad-datetime"),
        (item(properties={"datetime": None}), "bad-datetime"),
        (item(properties={"datetime": 20240601}), "bad-datetime"),
        (item(properties={"datetime": "2024-13-01T00:00:00Z"}), "bad-datetime"),
        (item(properties={"datetime": "0001-01-01T00:00:00+14:00"}), "bad-datetime"),
        (item(geometry=None, bbox=...), "no-geometry"),
        (item(geometry="POINT(1 2)"), "bad-geometry"),
        (item(geometry={"type": "Polygon"}), "bad-geometry"),
        (item(geometry={"type": "Blob", "coordinates": []}), "bad-geometry"),
        (item(geometry={"type": "Polygon", "coordinates": []}), "bad-geometry"),
        (item(geometry={"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}), "bad-geometry"),
        (item(geometry={"type": "Polygon", "coordinates": [[["a", "b"], [1, 1], [1, 2], ["a", "b"]]]}), "bad-geometry"),
        (item(geometry={"type": "Polygon", "coordinates": [[[0, 0], [1, None], [1, 2], [0, 0]]]}), "bad-geometry"),
        (item(geometry={"type": "Polygon", "coordinates": [[[5e5, 5e6], [6e5, 5e6], [6e5, 6e6], [5e5, 5e6]]]}), "bad-geometry"),
        (item(bbox=[1, 2, 3]), "bad-bbox"),
        (item(bbox=["1", 2, 3, 4]), "bad-bbox"),
        (item(bbox=[1, 4, 3, 2]), "bad-bbox"),
        (item(bbox=[500000, 4000000, 600000, 4100000]), "bad-bbox"),
        (item(bbox={"west": 1}), "bad-bbox"),
    ],
)
def test_a_broken_item_is_one_named_failure(raw: Any, reason: str) -> None:
    assert reason_of(raw) == reason


def test_properties_that_are_nested_without_end_are_refused() -> None:
    deep: Any = 1
    for _ in range(40):
        deep = {"x": [deep]}
    assert reason_of(item(properties={"datetime": "2024-06-01", "deep": deep})) == "bad-properties"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-06-01T10:00:00Z", datetime(2024, 6, 1, 10, tzinfo=UTC)),
        ("2024-06-01T10:00:00", datetime(2024, 6, 1, 10, tzinfo=UTC)),
        ("2024-06-01t10:00:00z", datetime(2024, 6, 1, 10, tzinfo=UTC)),
        ("2024-06-01 10:00:00+00:00", datetime(2024, 6, 1, 10, tzinfo=UTC)),
        ("2024-06-01T12:00:00.5+02:00", datetime(2024, 6, 1, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("2024-06-01T10:00:00.123456789Z", datetime(2024, 6, 1, 10, 0, 0, 123_456, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("2024-06-01", datetime(2024, 6, 1, tzinfo=UTC)),
    ],
)
def test_all_kinds_of_rfc_3339(text: str, expected: datetime) -> None:
    assert instant_of(text) == expected


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.timezones()))
def test_instants_round_trip(moment: datetime) -> None:
    whole = moment.astimezone(UTC)
    assert instant_of(whole.isoformat()) == whole


@given(st.text(max_size=40))
def test_no_text_breaks_the_reading_of_instants(text: str) -> None:
    instant_of(text)


def test_geometry_in_three_dimensions_and_bbox_of_six() -> None:
    ring = [[10, 50, 5], [11, 50, 5], [11, 51, 5], [10, 50, 5]]
    scene, _ = scene_of(item(geometry={"type": "Polygon", "coordinates": [ring]}, bbox=[10, 50, 0, 11, 51, 99]), QUESTION)
    assert scene is not None
    assert not shapely.has_z(shapely.from_wkb(scene.geometry))
    assert scene.bbox == (10, 50, 11, 51)


def test_a_null_geometry_is_the_box_and_a_missing_box_is_the_geometry() -> None:
    without_geometry, _ = scene_of(item(geometry=None, bbox=[179, 0, -179, 1]), QUESTION)
    without_box, _ = scene_of(item(bbox=...), QUESTION)
    wrapped = {"type": "MultiPolygon", "coordinates": [box(179, 0, 180, 1)["coordinates"], box(-180, 0, -179, 1)["coordinates"]]}
    across, _ = scene_of(item(bbox=..., geometry=wrapped), QUESTION)
    assert without_geometry is not None
    assert without_box is not None
    assert across is not None
    assert without_geometry.bbox == (179, 0, -179, 1)
    assert shapely.from_wkb(without_geometry.geometry).area == pytest.approx(2)
    assert without_box.bbox == (10, 50, 11, 51)
    assert across.bbox == (179, 0, -179, 1)


def test_a_null_datetime_is_the_start_of_its_interval() -> None:
    properties = {"datetime": None, "start_datetime": "2020-01-01T00:00:00Z", "end_datetime": "2020-12-31T23:59:59Z"}
    raw = item(properties=properties)
    scene, _ = scene_of(raw, QUESTION)
    assert scene is not None
    assert scene.datetime == day("2020-01-01")
    assert set(scene.properties) == {"start_datetime", "end_datetime"}
    assert accepts(raw, dates=Interval(start=day("2020-06-01"), end=day("2020-07-01")))
    assert not accepts(raw, dates=Interval(start=day("2021-01-01"), end=None))
    assert not accepts(raw, dates=Interval(start=None, end=day("2020-01-01")))


def test_assets_that_cannot_be_used_leave_the_row() -> None:
    bands = [Band(code=name, asset=name) for name in ("red", "gone", "jp2", "bare", "odd", "suffix")]
    assets = {
        "red": {"href": "https://h.org/red.tif?sig=S3cr3t#x", "file:size": 17},
        "jp2": {"href": "https://h.org/x.tif", "type": "image/jp2"},
        "suffix": {"href": "https://h.org/x.JP2?a=1"},
        "bare": {},
        "odd": "https://h.org/x.tif",
    }
    scene, failures = scene_of(item(assets=assets), question(bands=bands))
    assert scene is not None
    assert [(asset.band, asset.href, asset.size) for asset in scene.assets] == [("red", "https://h.org/red.tif", 17)]
    assert {failure.band: failure.reason for failure in failures} == {
        "gone": "band-missing",
        "odd": "band-missing",
        "jp2": "jpeg2000",
        "suffix": "jpeg2000",
        "bare": "href-missing",
    }
    assert {(failure.stage, failure.item_id, failure.retryable) for failure in failures} == {("asset", "a", False)}


def test_two_bands_of_one_asset() -> None:
    bands = [Band(code="R", asset="red", index=0), Band(code="G", asset="red", index=1)]
    scene, _ = scene_of(item(), question(bands=bands))
    assert scene is not None
    assert [(asset.band, asset.band_index) for asset in scene.assets] == [("R", 0), ("G", 1)]
    assert len({asset.href for asset in scene.assets}) == 1


@pytest.mark.parametrize(
    ("self_link", "href", "expected"),
    [
        ("https://h.org/c/i/item.json", "./red.tif", "https://h.org/c/i/red.tif"),
        ("https://h.org/c/i/item.json", "../x/red.tif", "https://h.org/c/x/red.tif"),
        ("https://h.org/c/i/item.json", "/red.tif", "https://h.org/red.tif"),
        ("s3://bucket/c/i/item.json", "../x/red.tif", "s3://bucket/c/x/red.tif"),
        ("/data/c/item.json", "red.tif", "/data/c/red.tif"),
        ("file:///data/c/item.json", "red.tif", "file:///data/c/red.tif"),
        (None, "red.tif", "https://api.example.org/v1/collections/c/items/red.tif"),
        ("item.json", "https://u:p@h.org/a.tif", "https://h.org/a.tif"),
    ],
)
def test_relative_hrefs(self_link: str | None, href: str, expected: str) -> None:
    links = [] if self_link is None else [{"rel": "self", "href": self_link}]
    scene, _ = scene_of(item(links=links, assets={"red": {"href": href}}), QUESTION)
    assert scene is not None
    assert [asset.href for asset in scene.assets] == [expected]


@pytest.mark.parametrize(
    ("asset", "sibling", "taken"),
    [
        ({"href": "s3://bucket/own.tif", "alternate": {"s3": {"href": "s3://bucket/x.tif"}}}, None, "s3://bucket/own.tif"),
        ({"href": "https://login.example.org/x.tif", "alternate": {"s3": {"href": "s3://bucket/x.tif"}}}, None, "s3://bucket/x.tif"),
        ({"href": "https://login.example.org/x.tif"}, {"href": "s3://protected/x.tif"}, "s3://protected/x.tif"),
        ({"href": "https://open.example.org/x.tif", "alternate": "odd"}, "odd", "https://open.example.org/x.tif"),
    ],
)
def test_the_s3_address_wherever_it_stands(asset: dict[str, Any], sibling: object, taken: str) -> None:
    scene, failures = scene_of(item(assets={"red": asset, "s3_red": sibling}), question(href="s3"))
    assert scene is not None
    assert (scene.assets[0].href, failures) == (taken, ())


def test_the_alternate_href() -> None:
    asset = {"href": "https://login.example.org/x.tif", "alternate": {"s3": {"href": "s3://bucket/x.tif"}}}
    scene, _ = scene_of(item(assets={"red": asset}), question(href="alternate.s3.href"))
    assert scene is not None
    assert scene.assets[0].href == "s3://bucket/x.tif"


@pytest.mark.parametrize(
    ("properties", "asset", "expected"),
    [
        ({"proj:code": "EPSG:3031"}, {}, "EPSG:3031"),
        ({"proj:code": "ESRI:102039"}, {}, "ESRI:102039"),
        ({"proj:epsg": None}, {"proj:epsg": 32756}, "EPSG:32756"),
        ({"proj:epsg": None, "proj:wkt2": "PROJCRS[...]"}, {}, "PROJCRS[...]"),
        ({"proj:projjson": {"b": 1, "a": 2}}, {}, '{"a": 2, "b": 1}'),
        ({}, {}, None),
    ],
)
def test_the_crs_that_the_item_says(properties: dict[str, Any], asset: dict[str, Any], expected: str | None) -> None:
    raw = item(properties={"datetime": "2024-06-01", **properties}, assets={"red": {"href": "https://h.org/x.tif", **asset}})
    scene, _ = scene_of(raw, QUESTION)
    assert scene is not None
    said = (scene.crs, scene.assets[0].crs)
    assert said == ((None, expected) if asset else (expected, None))


def test_a_file_has_a_crs_of_its_own_where_the_item_has_none() -> None:
    assets = {"red": {"href": "https://h.org/x.tif", "proj:code": "EPSG:32756"}}
    scene, _ = scene_of(item(properties={"datetime": "2024-06-01", "proj:code": "EPSG:32755"}, assets=assets), QUESTION)
    assert scene is not None
    assert (scene.crs, scene.assets[0].crs) == ("EPSG:32755", None)


def test_dates_are_half_open() -> None:
    raw = item(properties={"datetime": "2024-06-01T00:00:00Z"})
    assert accepts(raw, dates=Interval(start=day("2024-06-01"), end=day("2024-06-02")))
    assert not accepts(raw, dates=Interval(start=day("2024-05-01"), end=day("2024-06-01")))
    assert accepts(raw, dates=Interval(start=None, end=None))


def test_another_collection_is_no_answer() -> None:
    assert not accepts(item(collection="other"))
    assert accepts(item(collection=...))


def test_the_area_by_exact_geometry() -> None:
    triangle = {"type": "Polygon", "coordinates": [[[10, 50], [11, 50], [10, 51], [10, 50]]]}
    raw = item(geometry=triangle)
    assert accepts(raw, bbox=Box(west=10, south=50, east=10.2, north=50.2))
    assert not accepts(raw, bbox=Box(west=10.9, south=50.9, east=11, north=51))
    assert accepts(raw, intersects=json.dumps(box(9, 49, 10.1, 50.1)))
    assert not accepts(raw, intersects=json.dumps(box(10.9, 50.9, 11, 51)))


@pytest.mark.parametrize(
    ("geometry", "bounds"),
    [
        (box(179, 0, 181, 1), [179, 0, 181, 1]),
        (box(-181, 0, -179, 1), [-181, 0, -179, 1]),
        (box(179, 0, -179, 1), [179, 0, -179, 1]),
        (box(179, 0, -179, 1), [-179, 0, 179, 1]),
        (None, [179, 0, -179, 1]),
        ({"type": "MultiPolygon", "coordinates": [box(179, 0, 180, 1)["coordinates"], box(-180, 0, -179, 1)["coordinates"]]}, ...),
        ({"type": "MultiPolygon", "coordinates": [[], box(179, 0, 181, 1)["coordinates"]]}, [-180, 0, 180, 1]),
    ],
)
def test_footprints_over_the_antimeridian(geometry: Any, bounds: Any) -> None:
    raw = item(geometry=geometry, bbox=bounds)
    assert accepts(raw, bbox=Box(west=178, south=0, east=179.5, north=1))
    assert accepts(raw, bbox=Box(west=-179.5, south=0, east=-178, north=1))
    assert accepts(raw, bbox=Box(west=179.9, south=0, east=-179.9, north=1))
    assert not accepts(raw, bbox=Box(west=-10, south=0, east=10, north=1))
    assert not accepts(raw, bbox=Box(west=170, south=0, east=178, north=1))


def test_a_box_over_the_antimeridian() -> None:
    across = Box(west=175, south=45, east=-175, north=55)
    assert not accepts(item(), bbox=across)
    assert accepts(item(geometry=box(176, 50, 177, 51), bbox=[176, 50, 177, 51]), bbox=across)
    assert accepts(item(geometry=box(-177, 50, -176, 51), bbox=[-177, 50, -176, 51]), bbox=across)


def test_a_global_footprint_stays_global() -> None:
    raw = item(geometry=box(-180, -90, 180, 90), bbox=[-180, -90, 180, 90])
    assert accepts(raw, bbox=Box(west=0, south=0, east=1, north=1))


def test_a_bow_tie_is_no_crash() -> None:
    bow = {"type": "Polygon", "coordinates": [[[10, 50], [11, 51], [11, 50], [10, 51], [10, 50]]]}
    assert accepts(item(geometry=bow), bbox=Box(west=10, south=50, east=11, north=51))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"n": {"lt": 20}}, True),
        ({"n": {"lt": 12.5}}, False),
        ({"n": {"lte": 12.5, "gte": 12.5, "gt": 12}}, True),
        ({"n": {"eq": 12.5}}, True),
        ({"n": {"eq": "12.5"}}, False),
        ({"n": {"gt": "1"}}, False),
        ({"n": {"neq": "12.5"}}, True),
        ({"n": {"in": [1, 12.5]}}, True),
        ({"i": {"eq": 1}}, True),
        ({"i": {"eq": 1.0}}, True),
        ({"b": {"eq": True}}, True),
        ({"b": {"eq": 1}}, False),
        ({"i": {"eq": True}}, False),
        ({"b": {"gte": False}}, False),
        ({"s": {"startsWith": "Sen", "endsWith": "-2A", "contains": "tinel"}}, True),
        ({"s": {"startsWith": "sen"}}, False),
        ({"s": {"lt": "T"}}, True),
        ({"s": {"lt": 5}}, False),
        ({"t": {"gte": "2024-01-01T00:00:00Z"}}, True),
        ({"t": {"eq": "2024-01-01T01:00:00.000+01:00"}}, True),
        ({"list": {"contains": "x"}}, True),
        ({"list": {"contains": "z"}}, False),
        ({"null": {"neq": 3}}, False),
        ({"gone": {"neq": 3}}, False),
        ({"gone": {"lt": 3}}, False),
        ({"properties.n": {"lt": 20}}, True),
        ({"id": {"in": ["a", "b"]}}, True),
        ({"n": {"lt": 20}, "s": {"eq": "no"}}, False),
    ],
)
def test_query_operators(query: dict[str, Any], expected: bool) -> None:
    properties = {"n": 12.5, "i": 1, "b": True, "s": "Sentinel-2A", "t": "2024-01-01T00:00:00.000Z", "list": ["x", "y"], "null": None}
    raw = item(properties={"datetime": "2024-06-01", **properties})
    assert accepts(raw, query=json.dumps(query)) is expected


def test_an_unknown_operator_is_an_error_of_the_spec() -> None:
    with pytest.raises(SpecError):
        accepts(item(), query='{"n": {"near": 3}}')


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
members = st.sampled_from(["id", "collection", "geometry", "bbox", "properties", "links", "assets"])


@given(st.dictionaries(members, json_values, min_size=1, max_size=3))
def test_no_item_whatsoever_raises(changes: dict[str, Any]) -> None:
    scene, failures = scene_of({**item(), **changes}, QUESTION)
    assert scene is not None or len(failures) == 1


@given(json_values, st.sampled_from(["datetime", "start_datetime", "updated", "proj:epsg", "proj:projjson", "x"]), json_values)
def test_no_property_whatsoever_raises(value: Any, name: str, asset: Any) -> None:
    raw = item(properties={"datetime": "2024-06-01", name: value}, assets={"red": asset})
    scene, _ = scene_of(raw, QUESTION)
    if scene is not None:
        answers(scene, raw, question(query='{"x": {"lt": 3}, "updated": {"contains": "a"}}'))


def test_real_items_replayed(shared: Path) -> None:
    kept = 0
    for file in sorted((shared / "data" / "stac").glob("*.json")):
        document = json.loads(file.read_text("utf-8"))
        for raw in document.get("features", []) if isinstance(document, dict) else []:
            bands = [Band(code=key, asset=key) for key in raw["assets"]]
            wanted = question(bands=bands, collection=raw.get("collection") or "c", bbox=Box(west=-180, south=-90, east=180, north=90))
            scene, failures = scene_of(raw, wanted)
            assert scene is not None, (file.name, failures)
            assert answers(scene, raw, wanted), (file.name, scene.id)
            assert len(scene.assets) + len(failures) == len(bands)
            assert {failure.reason for failure in failures} <= {"jpeg2000"}
            kept += 1
    assert kept > 300


@pytest.mark.parametrize("ends", [(10.0, -180.0), (180.0, 20.0), (180.0, -180.0)], ids=["east", "west", "both"])
def test_a_box_that_ends_on_the_antimeridian_has_no_second_half(ends: tuple[float, float]) -> None:
    area = area_of(Box(west=ends[0], south=0.0, east=ends[1], north=10.0), None)
    assert area is not None
    assert meets(area, shapely.box(179.0, 1.0, 180.0, 2.0), (179.0, 1.0, 180.0, 2.0))
    assert not meets(area, shapely.box(0.0, 50.0, 5.0, 55.0), (0.0, 50.0, 5.0, 55.0))


@given(st.from_regex(r"https?://[a-zA-Z0-9.:@-]{1,8}(/[\w.%?&=#+,;~:@\\ -]{0,6}){1,3}", fullmatch=True))
def test_a_plain_url_is_what_parsing_makes_of_it(href: str) -> None:
    """The short way takes nothing that the long way would change."""
    if hrefs._PLAIN.fullmatch(href):
        assert canonical_href(href) == href
        assert hrefs.absolute_href(href, "https://example.org/items/a") == href
