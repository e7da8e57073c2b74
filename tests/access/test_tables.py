"""Tables as sources: every spelling of a scene gives the same scene, and what cannot be is said before any bulk work."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.items.filters import matches
from rasterloom.access.items.scene import answers, scene_of
from rasterloom.access.sources import tables
from rasterloom.access.sources.tablevalues import spans, values
from rasterloom.errors import SpecError, Unreadable
from rasterloom.specs.effort import Effort
from rasterloom.specs.filters import canonical_filter
from rasterloom.specs.question import Band, Box, Interval
from tests.access import tabled
from tests.access.tabled import RED, columns, edges, footprint, geo, href, items, question, scenes, table, written

JUNE = Interval(start=datetime(2024, 6, 1, tzinfo=UTC), end=datetime(2024, 7, 1, tzinfo=UTC))


def polygons(*, interleaved: bool) -> pa.Array:
    """GeoArrow's native polygons of the five scenes."""
    shapes = [footprint(number) for number in range(5)]
    _, points, (rings, parts) = shapely.to_ragged_array(shapes)
    if interleaved:
        inner = pa.FixedSizeListArray.from_arrays(pa.array(points.ravel()), 2)
    else:
        inner = pa.StructArray.from_arrays([pa.array(points[:, 0]), pa.array(points[:, 1])], ["x", "y"])
    lists = pa.ListArray.from_arrays(pa.array(rings.astype(np.int32)), inner)
    return pa.ListArray.from_arrays(pa.array(parts.astype(np.int32)), lists)


FIVE = columns(5)
TEXTS = [f"2024-06-01 {10 + number}:00:00" for number in range(5)]
SPELLINGS: dict[str, dict[str, Any]] = {
    "as stac-geoparquet": {},
    "bbox as a list": {"bbox": pa.array([list(footprint(number).bounds) for number in range(5)])},
    "bbox with heights": {"bbox": pa.array([[*footprint(n).bounds[:2], 0.0, *footprint(n).bounds[2:], 9.0] for n in range(5)])},
    "bbox in 32 bits": {"bbox": edges([footprint(number) for number in range(5)], pa.float32())},
    "no bbox": {"bbox": ...},
    "a covering of its own": {
        "bbox": ...,
        "bounds": FIVE["bbox"],
        "metadata": geo(covering={"bbox": {name: ["bounds", name] for name in ("xmin", "ymin", "xmax", "ymax")}}),
    },
    "native polygons": {"geometry": polygons(interleaved=False), "metadata": geo(encoding="polygon")},
    "interleaved polygons": {"geometry": polygons(interleaved=True), "metadata": {}},
    "large lists": {"geometry": polygons(interleaved=True).cast(pa.large_list(pa.large_list(pa.list_(pa.float64(), 2))))},
    "WKT": {"geometry": pa.array([footprint(number).wkt for number in range(5)]), "metadata": {}},
    "GeoJSON": {"geometry": pa.array([shapely.to_geojson(footprint(number)) for number in range(5)]), "metadata": {}},
    "naive instants": {"datetime": FIVE["datetime"].cast(pa.timestamp("ns"))},
    "instants elsewhere": {"datetime": FIVE["datetime"].cast(pa.timestamp("ms", "Asia/Tokyo"))},
    "naive texts": {"datetime": pa.array(TEXTS)},
    "dictionary texts": {"datetime": pa.array(TEXTS).dictionary_encode(), "collection": FIVE["collection"].dictionary_encode()},
    "assets as a map": {
        "assets": pa.array(
            [[("red", {"href": href(number)}), ("thumbnail", {"href": "t.png"})] for number in range(5)],
            pa.map_(pa.string(), pa.struct([("href", pa.string())])),
        )
    },
    "assets as JSON": {"assets": pa.array([json.dumps(tabled.assets(number)) for number in range(5)])},
    "properties in a struct": {"eo:cloud_cover": ..., "properties": pa.array([{"eo:cloud_cover": float(number)} for number in range(5)])},
    "properties as JSON": {"eo:cloud_cover": ..., "properties": pa.array([json.dumps({"eo:cloud_cover": number}) for number in range(5)])},
    "no links": {"links": ...},
}


@pytest.mark.parametrize("changes", SPELLINGS.values(), ids=SPELLINGS)
def test_every_spelling_gives_the_same_scenes(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = written(tmp_path / "t.parquet", table(5, **changes))
    area = Box(west=-120.5, south=-40.5, east=-115.5, north=-36.5)
    found = scenes(question(path, bbox=area, dates=JUNE, query=json.dumps({"eo:cloud_cover": {"lte": 2}})))
    assert [scene.id for scene in found] == ["scene-0", "scene-1", "scene-2"]
    for number, scene in enumerate(found):
        assert scene.datetime == datetime(2024, 6, 1, 10 + number, tzinfo=UTC)
        assert scene.bbox == pytest.approx(footprint(number).bounds, abs=1e-5)
        assert shapely.equals(shapely.normalize(shapely.from_wkb(scene.geometry)), shapely.normalize(footprint(number)))
        assert scene.properties == {"eo:cloud_cover": number}
        assert [(asset.band, asset.key, asset.href) for asset in scene.assets] == [("B04", "red", href(number))]
        assert scene.collection == "c"


def test_real_tables_of_others(shared: Path) -> None:
    folder = shared / "data" / "stac" / "parquet"
    found = scenes(question(folder / "naip.parquet", bands=[Band(code="R", asset="image")]))
    assert len(found) == 5
    assert {scene.crs for scene in found} <= {"EPSG:26914", "EPSG:26915", "EPSG:26913"}
    assert all(scene.assets[0].href.endswith(".tif") and scene.collection == "naip" for scene in found)
    sentinel = scenes(
        question(folder / "100-sentinel-2-items.parquet", bands=[Band(code="B04", asset="B04"), Band(code="SCL", asset="SCL")])
    )
    assert len({scene.id for scene in sentinel}) == 100
    assert all(len(scene.assets) == 2 and scene.crs == "EPSG:32613" for scene in sentinel)
    clear = scenes(
        question(folder / "100-sentinel-2-items.parquet", bands=[Band(code="B04", asset="B04")], query='{"eo:cloud_cover":{"lt":20}}')
    )
    assert {scene.id for scene in clear} == {scene.id for scene in sentinel if scene.properties["eo:cloud_cover"] < 20}


def test_one_file_of_64_bands_by_column_map_and_href_column(tmp_path: Path) -> None:
    """The index of the AlphaEarth embeddings: own names of columns, years, no assets."""
    shapes = [footprint(number) for number in range(4)]
    made = pa.table(
        {
            "fid": pa.array([7, 8, 9, 10]),
            "geom": pa.array([shapely.to_wkb(shape) for shape in shapes]),
            "year": pa.array([2021, 2022, 2023, 2024], pa.int32()),
            "path": pa.array([f"https://data.example.org/aef/{number}.tif" for number in range(4)]),
            "utm_zone": pa.array(["10N"] * 4),
        }
    ).replace_schema_metadata(geo("geom"))
    bands = [Band(code=f"A{number:02d}", asset="path", index=number) for number in range(64)]
    asked = question(
        written(tmp_path / "index.parquet", made),
        bands=bands,
        collection="aef",
        column_map=(("fid", "id"), ("geom", "geometry"), ("year", "datetime")),
        href_column="path",
        url_rewrite=(("https://data.example.org/", "s3://bucket/"), ("https://data.example.org/aef/3", "s3://other/3")),
        dates=Interval(start=datetime(2023, 6, 1, tzinfo=UTC), end=datetime(2024, 2, 1, tzinfo=UTC)),
    )
    found = scenes(asked)
    assert [(scene.id, scene.collection, scene.datetime.year) for scene in found] == [("9", "aef", 2023), ("10", "aef", 2024)]
    assert [asset.band_index for asset in found[0].assets] == list(range(64))
    assert {asset.href for asset in found[0].assets} == {"s3://bucket/aef/2.tif"}
    assert {asset.href for asset in found[1].assets} == {"s3://other/3.tif"}  # the longest prefix
    assert found[0].properties == {"utm_zone": "10N", "start_datetime": "2023-01-01T00:00:00Z", "end_datetime": "2023-12-31T23:59:59Z"}


@pytest.mark.parametrize(
    "dates",
    [
        pa.array([2023, 2024], pa.int16()),
        pa.array([2023.0, 2024.0]),
        pa.array(["2023", "2024"]),
        pa.array(["20230701", "20240701"]),
        pa.array(["2023-07-01", "2024-07-01T00:00:00+02:00"]),
        pa.array([date(2023, 7, 1), date(2024, 7, 1)]),
        pa.array([datetime(2023, 7, 1), datetime(2024, 7, 1)], pa.timestamp("s")),
    ],
    ids=lambda column: f"{column.type}: {column[0]}",
)
def test_dates_as_they_come(tmp_path: Path, dates: pa.Array) -> None:
    path = written(tmp_path / "t.parquet", table(2, datetime=dates))
    half = Interval(start=datetime(2024, 6, 1, tzinfo=UTC), end=datetime(2024, 8, 1, tzinfo=UTC))
    assert [scene.id for scene in scenes(question(path, dates=half))] == ["scene-1"]
    assert [scene.datetime.year for scene in scenes(question(path))] == [2023, 2024]


def test_spans_of_scenes_without_an_instant(tmp_path: Path) -> None:
    """`datetime` null and an interval, as the Planetary Computer's annual maps have it."""
    made = table(
        3,
        datetime=pa.nulls(3, pa.timestamp("us", "UTC")),
        start_datetime=pa.array([datetime(year, 1, 1) for year in (2021, 2022, 2023)], pa.timestamp("us", "UTC")),
        end_datetime=pa.array([datetime(year, 12, 31) for year in (2021, 2022, 2023)], pa.timestamp("us", "UTC")),
    )
    path = written(tmp_path / "t.parquet", made, row_group_size=1)
    summer = Interval(start=datetime(2022, 6, 1, tzinfo=UTC), end=datetime(2022, 7, 1, tzinfo=UTC))
    found = scenes(question(path, dates=summer))
    assert [scene.id for scene in found] == ["scene-1"]
    assert found[0].datetime == datetime(2022, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("spelled", ["geoparquet", "geoarrow"])
def test_footprints_of_another_crs_are_moved(tmp_path: Path, spelled: str) -> None:
    utm = pyproj.CRS.from_epsg(32633)
    shapes = [shapely.box(400_000 + 20_000 * n, 5_000_000, 410_000 + 20_000 * n, 5_010_000) for n in range(5)]
    wkb = pa.array([shapely.to_wkb(shape) for shape in shapes])
    made = table(5, geometry=wkb, bbox=edges(shapes), metadata=geo(crs=utm.to_json_dict()) if spelled == "geoparquet" else {})
    if spelled == "geoarrow":
        about = {b"ARROW:extension:name": b"geoarrow.wkb", b"ARROW:extension:metadata": json.dumps({"crs": "EPSG:32633"}).encode()}
        made = made.set_column(2, pa.field("geometry", pa.binary(), metadata=about), made["geometry"])
    path = written(tmp_path / "t.parquet", made, row_group_size=1)
    found = scenes(question(path))
    to_degrees = pyproj.Transformer.from_crs(utm, "OGC:CRS84", always_xy=True)
    for shape, scene in zip(shapes, found, strict=True):
        assert scene.bbox == pytest.approx(to_degrees.transform_bounds(*shape.bounds, densify_pts=21), abs=1e-5)
    west, south, east, north = found[2].bbox
    middle = Box(west=west + 0.01, south=south + 0.01, east=east - 0.01, north=north - 0.01)
    assert [item["id"] for item in items(question(path, bbox=middle))] == ["scene-2"]  # the sieve is in UTM


def test_an_unknown_crs_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path / "t.parquet", table(metadata=geo(crs={"type": "nonsense"})))
    with pytest.raises(SpecError, match="CRS") as caught:
        items(question(path))
    assert "OGC:CRS84" in caught.value.remedy


def test_rows_without_an_id_get_one_that_stays(tmp_path: Path) -> None:
    first = scenes(question(written(tmp_path / "a.parquet", table(5, id=...))))
    turned = scenes(question(written(tmp_path / "b.parquet", table(5, id=...).take([4, 2, 0, 1, 3]))))
    assert len({scene.id for scene in first}) == 5
    assert {scene.id: scene.assets for scene in first} == {scene.id: scene.assets for scene in turned}


def test_codes_that_pandas_made_floats(tmp_path: Path) -> None:
    path = written(tmp_path / "t.parquet", table(2, **{"proj:epsg": pa.array([32613.0, None])}))
    assert [(scene.crs, scene.properties.get("proj:epsg")) for scene in scenes(question(path))] == [("EPSG:32613", 32613), (None, None)]


def test_an_address_of_a_file(tmp_path: Path) -> None:
    for uri in (f"file://{written(tmp_path / 'a.parquet')}", f"file://{tmp_path}", f"file://{tmp_path}/*.parquet"):
        assert len(scenes(question(uri))) == 5


def test_rows_of_one_id_are_counted_as_duplicates(tmp_path: Path) -> None:
    path = written(tmp_path / "t.parquet", pa.concat_tables([table(5), table(2)]))
    assert sum(page.duplicates for page in tabled.pages(question(path))) == 2


def test_ids_that_are_still_there(tmp_path: Path) -> None:
    numbers = pa.array([float(number) for number in range(50)])
    for name, changes in (
        ("with", {}),
        ("without", {"id": ...}),
        ("numbers", {"id": numbers.cast(pa.int32())}),
        ("pandas", {"id": numbers}),
    ):
        path = written(tmp_path / f"{name}.parquet", table(50, **changes), row_group_size=10)
        asked = question(path, bbox=Box(west=0, south=0, east=1, north=1), dates=JUNE)
        every = [item["id"] for item in items(question(path))]
        found = tables.search_ids(asked, [every[3], "gone", every[42]], effort=Effort(), secrets=environment_secrets)
        assert [item["id"] for page in found for item in page.items] == [every[3], every[42]]


def test_relative_hrefs_are_those_of_the_file(tmp_path: Path) -> None:
    relative = pa.array([{"red": {"href": f"./cogs/{number}.tif"}} for number in range(5)])
    path = written(tmp_path / "index" / "t.parquet", table(5, assets=relative))
    assert scenes(question(path))[0].assets[0].href == str(tmp_path / "index" / "cogs" / "0.tif")


def test_asset_keys_may_be_columns(tmp_path: Path) -> None:
    texts = {name: pa.array([f"s3://b/{name}/{number}.tif" for number in range(5)]) for name in ("red", "nir")}
    path = written(tmp_path / "t.parquet", table(5, assets=..., **texts))
    found = scenes(question(path, bands=[*RED, Band(code="B08", asset="nir")]))
    assert [asset.href for asset in found[1].assets] == ["s3://b/red/1.tif", "s3://b/nir/1.tif"]
    assert "red" not in found[1].properties


def test_broken_rows_are_told_by_name_and_spare_the_others(tmp_path: Path) -> None:
    wkb = [shapely.to_wkb(footprint(number)) for number in range(5)]
    made = table(
        5, geometry=pa.array([wkb[0], b"\x01broken", None, wkb[3], wkb[4]]), datetime=pa.array(["2024", "2024", "2024", "soon", None])
    )
    asked = question(written(tmp_path / "t.parquet", made), bbox=Box(west=-121, south=-41, east=0, north=0))
    found = [scene_of(item, asked) for item in items(asked)]
    assert [failures[0].reason if failures else None for _, failures in found] == [
        None,
        "bad-geometry",
        None,
        "bad-datetime",
        "bad-datetime",
    ]
    assert [scene.id for scene, _ in found if scene is not None] == ["scene-0", "scene-2"]  # a null footprint is its bbox


def broken_text() -> pa.Array:
    """Parquet does not check that its texts are UTF-8."""
    data = pa.array([b"fine", b"\xff\xfe", b"2024-06-01"])
    return pa.Array.from_buffers(pa.string(), 3, data.buffers())


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"id": broken_text()}, ["fine", "\ufffd\ufffd", "2024-06-01"]),
        ({"title": broken_text()}, ["scene-0", "scene-1", "scene-2"]),
        ({"datetime": broken_text()}, ["bad-datetime", "bad-datetime", "scene-2"]),
        ({"datetime": pa.array([2**62, 0, -(2**62)], pa.timestamp("us"))}, ["bad-datetime", "scene-1", "bad-datetime"]),
        ({"datetime": pa.array([{"year": 2024}] * 3)}, ["bad-datetime"] * 3),
        ({"geometry": pa.array([shapely.to_wkb(shapely.Point(x, 0)) for x in (np.inf, np.nan, 1e30)])}, ["bad-geometry"] * 3),
        ({"geometry": pa.nulls(3)}, ["scene-0", "scene-1", "scene-2"]),
        ({"bbox": pa.array([[np.nan] * 4, [1.0], None])}, ["scene-0", "scene-1", "scene-2"]),
        ({"bbox": pa.array([{"xmin": "a", "ymin": "b", "xmax": "c", "ymax": "d"}] * 3)}, ["scene-0", "scene-1", "scene-2"]),
        ({"assets": pa.array([1, 2, 3])}, ["scene-0", "scene-1", "scene-2"]),
        ({"properties": pa.array(["{", "[]", '{"a":' * 500])}, ["scene-0", "scene-1", "scene-2"]),
        ({"id": pa.array([{"a": 1}] * 3)}, ["bad-id"] * 3),
    ],
)
def test_no_row_stops_the_others(tmp_path: Path, changes: dict[str, Any], outcome: list[str]) -> None:
    path = written(tmp_path / "t.parquet", table(3, **changes))
    always = Interval(start=datetime(1900, 1, 1, tzinfo=UTC), end=datetime(2100, 1, 1, tzinfo=UTC))
    everywhere = Box(west=-180, south=-90, east=180, north=90)
    for asked in (question(path), question(path, bbox=everywhere)):
        found = [scene_of(item, asked) for item in items(asked)]
        assert [scene.id if scene else failures[0].reason for scene, failures in found] == outcome
    found = [scene_of(item, asked) for item in items(question(path, dates=always))]
    assert [scene.id for scene, _ in found if scene] == [name for name in outcome if not name.startswith("bad-")]


# --- what is not there ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "path", "remedy"),
    [
        ({"href_column": "asset"}, "table.href_column", "did you mean assets?"),
        ({"column_map": (("geometri", "geometry"),)}, "table.column_map.geometri", "did you mean geometry?"),
        ({"column_map": (("ID", "id"),)}, "table.column_map.ID", "did you mean id?"),
        ({"query": '{"eo:cloudcover":{"lt":5}}'}, "query.eo:cloudcover", "did you mean eo:cloud_cover?"),
        ({"query": '{"zzz":{"lt":5}}'}, "query.zzz", "the columns are id, collection"),
    ],
)
def test_a_column_that_is_not_there_names_the_nearest(tmp_path: Path, changes: dict[str, Any], path: str, remedy: str) -> None:
    with pytest.raises(SpecError) as caught:
        items(question(written(tmp_path / "t.parquet"), **changes))
    (problem,) = caught.value.problems
    assert problem.path == path
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    ("gone", "renamed", "remedy"),
    [
        (("geometry", "bbox"), {"wkb_geometry": pa.array([b""] * 5)}, "column_map: {wkb_geometry: geometry}"),
        (("datetime",), {"acquired": pa.array(["2024"] * 5)}, "column_map: {acquired: datetime}"),
        (("assets",), {"url": pa.array(["s3://b/k.tif"] * 5)}, "href_column: url"),
    ],
)
def test_what_every_table_needs(tmp_path: Path, gone: tuple[str, ...], renamed: dict[str, Any], remedy: str) -> None:
    made = table(5, metadata={}, **dict.fromkeys(gone, ...), **renamed)
    with pytest.raises(SpecError) as caught:
        items(question(written(tmp_path / "t.parquet", made)))
    assert remedy in caught.value.problems[0].remedy


@pytest.mark.parametrize(
    ("bands", "told"),
    [
        ([("B04", "redd")], {"band_map.B04": "write B04: red"}),
        ([("B04", "red"), ("B08", "thumbnails")], {"band_map.B08": "write B08: thumbnail"}),
        ([("B08", "nir08"), ("metadata", "m")], {"band_map.B08": "the assets are ", "band_map.metadata": "write metadata: metadata"}),
        ([("B04", "red"), ("B08", "nir08")], {}),
    ],
)
def test_an_asset_that_no_row_can_have(tmp_path: Path, bands: list[tuple[str, str]], told: dict[str, str]) -> None:
    asked = question(written(tmp_path / "t.parquet"), bands=[Band(code=code, asset=asset) for code, asset in bands])
    if not told:
        assert len(items(asked)) == 5
        return
    with pytest.raises(SpecError) as caught:
        items(asked)
    assert {problem.path: problem.remedy[: len(told[problem.path])] for problem in caught.value.problems} == told


def test_no_such_file_and_no_parquet(tmp_path: Path) -> None:
    written(tmp_path / "index.parquet")
    with pytest.raises(SpecError, match="there is no table") as caught:
        items(question(tmp_path / "indx.parquet"))
    assert "index.parquet" in caught.value.remedy
    with pytest.raises(SpecError, match="no Parquet file"):
        items(question(tmp_path / "*.pq"))
    (tmp_path / "a.parquet").write_text("id,geometry\n1,POINT\n")
    with pytest.raises(SpecError, match="is no Parquet file") as caught:
        items(question(tmp_path / "a.parquet"))
    assert "object" in caught.value.remedy


def test_a_damaged_file_is_unreadable(tmp_path: Path) -> None:
    path = written(tmp_path / "t.parquet", table(500))
    data = bytearray(path.read_bytes())
    data[100:4000] = bytes(3900)
    path.write_bytes(bytes(data))
    with pytest.raises(Unreadable, match=r"t\.parquet"):
        items(question(path))


# --- several files -------------------------------------------------------------------------------------------------------------------


def test_directories_globs_and_hive_paths(tmp_path: Path) -> None:
    made = table(6)
    for number, folder in enumerate(("year=2022", "year=2023", "year=2024")):
        written(tmp_path / folder / "part-0.parquet", made.slice(2 * number, 2).drop_columns(["datetime"]))
    written(tmp_path / "_old" / "x.parquet", made)
    (tmp_path / "README.md").write_text("no table")
    years = {"column_map": (("year", "datetime"),)}
    assert [scene.datetime.year for scene in scenes(question(tmp_path, **years))] == [2022, 2022, 2023, 2023, 2024, 2024]
    one = Interval(start=datetime(2023, 3, 1, tzinfo=UTC), end=datetime(2023, 4, 1, tzinfo=UTC))
    assert [scene.id for scene in scenes(question(tmp_path, dates=one, **years))] == ["scene-2", "scene-3"]
    assert len(scenes(question(tmp_path / "year=*" / "*.parquet", **years))) == 6
    assert len(scenes(question(tmp_path / "**" / "part-0.parquet", **years))) == 6
    assert len(scenes(question(tmp_path / "year=202[23]" / "part-?.parquet", **years))) == 4


def test_files_of_different_columns(tmp_path: Path) -> None:
    written(tmp_path / "a.parquet", table(2))
    written(tmp_path / "b.parquet", table(3, bbox=..., links=..., **{"eo:cloud_cover": ...}))
    assert len(scenes(question(tmp_path))) == 5


# --- the sieve ------------------------------------------------------------------------------------------------------------------------

LONGITUDES = st.sampled_from([-200.0, -180.0, -179.5, -90.0, -0.5, 0.0, 0.5, 90.0, 179.0, 180.0, 181.0, 359.0]) | st.floats(-180, 180)
LATITUDES = st.sampled_from([-90.0, -45.0, 0.0, 0.5, 45.0, 90.0]) | st.floats(-90, 90)


@st.composite
def footprints(draw: st.DrawFn) -> tuple[shapely.Geometry, list[float]]:
    """A footprint and its bbox as catalogs write them: plain, over the antimeridian in halves or beyond 180, and as wide as the world."""
    west, south = draw(LONGITUDES), draw(LATITUDES)
    width, height = draw(st.sampled_from([0.0, 0.5, 10.0, 170.0])), draw(st.sampled_from([0.0, 0.5, 20.0]))
    east, north = west + width, min(90.0, south + height)
    if west < 180.0 < east and draw(st.booleans()):
        halves = shapely.multipolygons([shapely.box(west, south, 180, north), shapely.box(-180, south, east - 360, north)])
        return halves, draw(st.sampled_from([[west, south, east - 360.0, north], [-180.0, south, 180.0, north]]))
    return shapely.box(west, south, east, north), [west, south, east, north]


AREAS = st.tuples(LONGITUDES.filter(lambda x: -180 <= x <= 180), LATITUDES, LONGITUDES.filter(lambda x: -180 <= x <= 180), LATITUDES).map(
    lambda box: Box(west=box[0], south=min(box[1], box[3]), east=box[2], north=max(box[1], box[3]))
)


@settings(max_examples=40)
@given(st.lists(footprints(), min_size=1, max_size=8), AREAS, st.integers(1, 4))
def test_the_sieve_never_drops_a_scene_that_answers(made: list[tuple[shapely.Geometry, list[float]]], area: Box, group: int) -> None:
    """With row groups of a few rows, so that the statistics are asked too. What the items say alone is the truth."""
    import tempfile

    boxes = np.array([box for _, box in made])
    struct = pa.StructArray.from_arrays([pa.array(boxes[:, at]) for at in range(4)], ["xmin", "ymin", "xmax", "ymax"])
    count = len(made)
    rows = table(count, geometry=pa.array([shapely.to_wkb(shape) for shape, _ in made]), bbox=struct)
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "t.parquet", rows, row_group_size=group)
        asked = question(path, bbox=area)
        truth = [(item, scene_of(item, asked)[0]) for item in items(question(path))]
        expected = [scene.id for item, scene in truth if scene is not None and answers(scene, item, asked)]
        found = [(item, scene_of(item, asked)[0]) for item in items(asked)]
    assert [scene.id for item, scene in found if scene is not None and answers(scene, item, asked)] == expected


INSTANTS = st.datetimes(datetime(2023, 12, 30), datetime(2024, 1, 3))


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.none() | INSTANTS, st.none() | INSTANTS, st.integers(0, 100)), min_size=1, max_size=8),
    INSTANTS,
    st.integers(1, 48),
    st.sampled_from(
        [pa.timestamp("us", "UTC"), pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("ms"), pa.timestamp("s"), pa.string()]
    ),
)
def test_neither_do_the_dates(made: list[tuple[Any, Any, int]], start: datetime, hours: int, kind: pa.DataType) -> None:
    import tempfile
    from datetime import timedelta

    def column(found: list[Any]) -> pa.Array:
        if kind == pa.string():
            return pa.array([None if one is None else one.isoformat() for one in found], kind)
        return pa.array(found, pa.timestamp("us")).cast(kind, safe=False)

    ends = [None if first is None else first + timedelta(hours=span) for _, first, span in made]
    rows = table(
        len(made),
        datetime=column([one for one, _, _ in made]),
        start_datetime=column([one for _, one, _ in made]),
        end_datetime=column(ends),
    )
    dates = Interval(start=start.replace(tzinfo=UTC), end=(start + timedelta(hours=hours)).replace(tzinfo=UTC))
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "t.parquet", rows, row_group_size=2)
        asked = question(path, dates=dates)
        truth = [(item, scene_of(item, asked)[0]) for item in items(question(path))]
        expected = [scene.id for item, scene in truth if scene is not None and answers(scene, item, asked)]
        found = [(item, scene_of(item, asked)[0]) for item in items(asked)]
    assert [scene.id for item, scene in found if scene is not None and answers(scene, item, asked)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("eo:cloud_cover < 2", [0, 1, 5]),
        ("eo:cloud_cover IS NULL", [3]),
        ("eo:cloud_cover <> 2 AND id <> 'scene-0'", [1, 4, 5]),
        ("NOT (eo:cloud_cover >= 2)", [0, 1, 5]),
        ("id IN ('scene-1', 'scene-4')", [1, 4]),
        ("year = 2024 AND month = 6 AND platform LIKE 'S2%'", [0, 2, 4]),
        ("datetime >= TIMESTAMP('2024-06-01T13:00:00Z')", [3, 4, 5]),
        ("collection = 'c' AND orbit BETWEEN 3 AND 4", [3, 4]),
    ],
)
def test_filters_of_columns(tmp_path: Path, text: str, expected: list[int]) -> None:
    clouds = pa.array([0.0, 1.0, 2.0, float("nan"), 4.0, 0.5])
    more = {"platform": pa.array(["S2A", "L8"] * 3), "orbit": pa.array(range(6), pa.int16())}
    path = written(tmp_path / "t.parquet", table(6, **{"eo:cloud_cover": clouds}, **more), row_group_size=2)
    found = items(question(path, filter=canonical_filter(text)))
    truth = [item["id"] for item in items(question(path)) if matches(canonical_filter(text), item)]
    assert truth == [f"scene-{number}" for number in expected]
    assert [item["id"] for item in found if matches(canonical_filter(text), item)] == truth


def test_a_filter_of_a_column_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        items(question(written(tmp_path / "t.parquet"), filter=canonical_filter("eo:clouds < 5 OR id = 'a'")))
    assert caught.value.problems[0].path == "filter.eo:clouds"
    assert "eo:cloud_cover" in caught.value.problems[0].remedy


def test_thumbnails_metadata_and_titles_are_not_read(tmp_path: Path) -> None:
    (item,) = items(question(written(tmp_path / "t.parquet", table(1))))
    assert set(item["assets"]) == {"red"}
    assert set(item["assets"]["red"]) == {"href", "type"}


def test_values_of_odd_columns() -> None:
    assert values(pa.array([1.5, None, float("nan"), float("inf")])) == [1.5, None, None, None]
    assert values(pa.array([b"x", None])) == [None, None]
    assert values(pa.array([{"a": 1, "b": None}, None])) == [{"a": 1}, None]
    assert values(pa.array([[{"a": [1.0, float("nan")]}], None, []])) == [[{"a": [1.0, None]}], None, []]
    assert values(pa.array([{"a": [1]}, {"a": [2, 3]}, {"a": None}]).slice(1)) == [{"a": [2, 3]}, {}]
    assert values(pa.array([date(2024, 2, 29)])) == ["2024-02-29"]
    first, last = spans(pa.array([2024, None, 99]))
    assert str(first[0]) == "2024-01-01T00:00:00.000000"
    assert str(last[0]) == "2024-12-31T23:59:59.000000"
    assert np.isnat(first[1:]).all()
