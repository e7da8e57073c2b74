"""Values at points against `rasterio.sample`: pixels, edges, systems, forms of points, and how often a tile is touched."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import pytest
import rasterio
import shapely
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import Affine, from_origin

from rasterloom.access.pixels.boxes import boxes_around
from rasterloom.access.pixels.points import PointIndex, located, read_hits
from rasterloom.access.pixels.vectors import Named, Points, points_of, zones_of
from rasterloom.errors import SpecError, Unreadable
from tests.access.gridfiles import band_files, engine, is_other_jpeg
from tests.access.test_pixels import EFFORT, collection, write
from tests.servers import RangeServer

CORNER = (500_000, 5_000_000)
"""Upper left corner of the files, in EPSG:32633; they are 2560 m wide."""


def spread(count: int, *, seed: int = 0) -> np.ndarray[Any, Any]:
    """Longitudes and latitudes over and around the files, shape (count, 2)."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(14.995, 15.04, count), rng.uniform(45.125, 45.155, count)])


def oracle(path: Path, lonlat: np.ndarray[Any, Any], band: int = 1) -> dict[int, float]:
    """Index of a point -> what rasterio finds there, for the points in the raster."""
    with rasterio.open(path) as file:
        x, y = pyproj.Transformer.from_crs("OGC:CRS84", file.crs, always_xy=True).transform(*lonlat.T)
        rows, cols = (np.array(values) for values in rasterio.transform.rowcol(file.transform, x, y, op=np.floor))
        pixels = file.read(band)
        inside = (rows >= 0) & (cols >= 0) & (rows < file.height) & (cols < file.width)
        return {int(at): float(pixels[int(rows[at]), int(cols[at])]) for at in np.flatnonzero(inside)}


def found(table: pa.Table, scene: str | None = None) -> dict[int, float]:
    """Index of a point -> value, of the rows that are valid."""
    rows = [row for row in table.to_pylist() if row["valid"] and scene in (None, row["record_id"])]
    return {row["point_index"]: row["value"] for row in rows}


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "float": {"dtype": "float32", "predictor": 3, "nodata": -9999},
    "striped": {"tiled": False, "blockxsize": None, "blockysize": 16},
    "odd size": {"size": 250},
    "degrees": {"crs": "EPSG:4326", "transform": from_origin(15.00003, 45.15004, 0.0001, 0.0001), "size": 300},
    "web mercator": {"crs": "EPSG:3857", "transform": from_origin(1669000, 5646000, 20, 20)},
    "rotated": {"transform": Affine(8, 6, 500_400, 6, -8, 4_998_400)},
    "south up": {"transform": Affine(10, 0, 500_000, 0, 10, 4_997_440)},
}


QUICK = ("plain", "striped", "rotated", "degrees")


@pytest.mark.parametrize("kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS])
def test_values_are_those_of_rasterio(tmp_path: Path, kind: str) -> None:
    options = {key: value for key, value in KINDS[kind].items() if value is not None}
    path, lonlat = write(tmp_path / "a.tif", **options), spread(800)
    expected = oracle(path, lonlat)
    table = collection(tmp_path, [path]).sample_points(lonlat, ["B1"], effort=EFFORT)
    assert len(expected) > 100
    assert found(table) == expected
    assert table["point_index"].to_pylist() == sorted(expected), "a point outside of the raster has no row"


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_a_sample_of_a_shared_file(tmp_path: Path, interleave: str) -> None:
    path, lonlat = write(tmp_path / "rgb.tif", count=3, dtype="uint8", interleave=interleave, photometric="minisblack"), spread(200)
    table = collection(tmp_path, [path], band_index=2).sample_points(lonlat, ["B1"], effort=EFFORT)
    assert found(table) == oracle(path, lonlat, band=3)


def test_nodata_is_null_and_not_valid(tmp_path: Path) -> None:
    path, lonlat = write(tmp_path / "a.tif", nodata=7), spread(4000)
    expected = oracle(path, lonlat)
    table = collection(tmp_path, [path]).sample_points(lonlat, ["B1"], effort=EFFORT)
    assert 7.0 in expected.values()
    assert found(table) == {at: value for at, value in expected.items() if value != 7}
    assert {row["point_index"] for row in table.to_pylist() if row["value"] is None} == {at for at, value in expected.items() if value == 7}


def test_a_pixel_holds_its_upper_and_left_edge(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif")
    west, north = CORNER
    edges = np.array([(west, north), (west + 10, north - 10), (west + 2560, north - 5), (west + 5, north - 2560), (west - 1e-6, north - 5)])
    table = collection(tmp_path, [path]).sample_points(edges, ["B1"], geometry_crs=32633, effort=EFFORT)
    with rasterio.open(path) as file:
        pixels = file.read(1)
    assert found(table) == {0: pixels[0, 0], 1: pixels[1, 1]}


def test_columns_are_those_of_rasteret_with_the_own_ones_behind(tmp_path: Path) -> None:
    path, lonlat = write(tmp_path / "a.tif"), spread(20)
    points = pa.table({"lon": lonlat[:, 0], "lat": lonlat[:, 1], "plot": [f"p{number}" for number in range(20)]})
    made = collection(tmp_path, [path])
    table = made.sample_points(points, ["B1"], effort=EFFORT)
    rasteret = ["point_index", "point_x", "point_y", "point_crs", "record_id", "datetime", "collection", "band", "value", "raster_crs"]
    assert table.column_names == [*rasteret, "valid", "lon", "lat", "plot"]
    for row in table.to_pylist():
        at = row["point_index"]
        assert (row["plot"], row["point_x"], row["point_y"]) == (f"p{at}", *lonlat[at])
        assert (row["point_crs"], row["raster_crs"], row["band"], row["collection"]) == (4326, 32633, "B1", made.data_source)
        assert row["datetime"] == made.to_table(["datetime"])["datetime"][0].as_py()


def forms(lonlat: np.ndarray[Any, Any], folder: Path) -> dict[str, Any]:
    """The same points as different users hold them."""
    shapes = shapely.points(lonlat)
    frame = geopandas.GeoDataFrame({"name": [str(number) for number in range(len(shapes))]}, geometry=shapes, crs="OGC:CRS84")
    geojson = json.loads(frame.to_json())
    frame.to_parquet(folder / "points.parquet")
    (folder / "points.geojson").write_text(json.dumps(geojson))
    plain = pandas.DataFrame({"lon": lonlat[:, 0], "lat": lonlat[:, 1], "name": frame["name"]})
    plain.to_csv(folder / "points.csv", index=False)
    return {
        "pairs": [tuple(pair) for pair in lonlat.tolist()],
        "array": lonlat,
        "two arrays": (lonlat[:, 0], lonlat[:, 1]),
        "shapely": list(shapes),
        "multipoint": shapely.MultiPoint(list(shapes)),
        "wkb": [shapely.to_wkb(shape) for shape in shapes],
        "wkb array": pa.array(shapely.to_wkb(shapes)),
        "geojson": geojson,
        "geojson text": json.dumps(geojson),
        "geojson file": str(folder / "points.geojson"),
        "geoparquet file": folder / "points.parquet",
        "csv file": folder / "points.csv",
        "geodataframe": frame,
        "geoseries": frame.geometry,
        "geodataframe of another system": frame.to_crs("EPSG:32633"),
        "geoarrow": pa.table(frame.to_arrow(geometry_encoding="geoarrow")),
        "geoarrow, separated": pa.table(frame.to_arrow(geometry_encoding="geoarrow", interleaved=False)),
        "geoparquet table": pq.read_table(folder / "points.parquet"),
        "pandas": plain,
        "polars": polars.from_pandas(plain),
        "duckdb": duckdb.from_arrow(pa.Table.from_pandas(plain)),
        "dict": {"longitude": lonlat[:, 0], "latitude": lonlat[:, 1]},
        "batch": pa.RecordBatch.from_pandas(plain),
    }


def test_points_in_any_form_are_the_same(tmp_path: Path) -> None:
    lonlat = spread(30)
    for name, form in forms(lonlat, tmp_path).items():
        points = points_of(form)
        x, y = PointIndex(points)._lon, PointIndex(points)._lat  # pyright: ignore[reportPrivateUsage]
        np.testing.assert_allclose(np.column_stack([x, y]), lonlat, atol=1e-9, err_msg=name)
        if points.columns is not None and "name" in points.columns.column_names:
            assert [str(value) for value in points.columns["name"].to_pylist()] == [str(number) for number in range(30)], name
        tabular = any(
            word in name for word in ("file", "frame", "arrow", "table", "pandas", "polars", "duckdb", "geojson", "batch", "dict")
        )
        assert (points.columns is not None) == tabular, name


@pytest.mark.parametrize(
    ("points", "named", "message"),
    [
        (shapely.box(0, 0, 1, 1), Named(), "no point"),
        (np.zeros((3, 3)), Named(), r"shape \(3, 3\)"),
        ([(500_000.0, 5_000_000.0)], Named(), "not in degrees"),
        (pa.table({"a": [1]}), Named(), "no column geometry"),
        (pa.table({"a": [1]}), Named(x="a", y="b"), "no column 'b'"),
        ("nowhere.geojson", Named(), "no file"),
        ([(15.0, 45.0)], Named(crs="EPSG:99999"), "not known"),
        ((np.zeros(2), np.zeros(3)), Named(), "2 x and 3 y"),
        (geopandas.GeoDataFrame(geometry=[shapely.Point(0, 0)], crs=3857), Named(crs=32633), "not in WGS 84 / UTM zone 33N"),
    ],
)
def test_what_holds_no_points_is_told(points: Any, named: Named, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        points_of(points, named)
    assert caught.value.remedy


def test_zones_are_polygons() -> None:
    shapes = [shapely.box(0, 0, 1, 1), None]
    zones = zones_of(geopandas.GeoDataFrame({"id": [4, 5]}, geometry=shapes, crs=32633))
    assert (len(zones), zones.shapes[0], zones.shapes[1]) == (2, shapes[0], None)
    assert zones.crs is not None
    assert zones.columns is not None
    assert zones.columns.to_pydict() == {"id": [4, 5]}
    with pytest.raises(SpecError, match="Point"):
        zones_of([shapely.Point(0, 0)])


def test_points_that_are_missing_have_no_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif")
    points = geopandas.GeoDataFrame({"a": [1, 2, 3]}, geometry=[None, shapely.Point(), shapely.Point(15.01, 45.14)], crs=4326)
    table = collection(tmp_path, [path]).sample_points(points, ["B1"], effort=EFFORT)
    assert table["a"].to_pylist() == [3]


@pytest.mark.parametrize("points", [[], np.empty((0, 2)), [(100.0, 0.0)]])
def test_nothing_to_read_is_an_empty_table(tmp_path: Path, points: Any) -> None:
    path = write(tmp_path / "a.tif")
    table = collection(tmp_path, [path]).sample_points(points, ["B1"], effort=EFFORT)
    assert table.num_rows == 0
    assert "valid" in table.column_names


def test_an_own_column_with_a_name_of_the_result_is_told(tmp_path: Path) -> None:
    points = pa.table({"lon": [15.01], "lat": [45.14], "value": [1]})
    with pytest.raises(SpecError, match="'value'"):
        collection(tmp_path, [write(tmp_path / "a.tif")]).sample_points(points, ["B1"], effort=EFFORT)


def test_scenes_of_two_zones_and_the_newest_of_each_point(tmp_path: Path) -> None:
    west, east = Affine(10, 0, 500_000, 0, -10, 5_000_000), None
    x, y = pyproj.Transformer.from_crs(32633, 32634, always_xy=True).transform(501_000, 4_999_500)
    east = Affine(10, 0, 10 * math.floor(x / 10), 0, -10, 10 * math.floor(y / 10))
    paths = [write(tmp_path / "a.tif", transform=west), write(tmp_path / "bb.tif", crs="EPSG:32634", transform=east)]
    lonlat, made = spread(500), collection(tmp_path, paths)
    expected = {path.name: oracle(path, lonlat) for path in paths}
    names = {Path(row["assets"]["B1"]["href"]).name: row["id"] for row in made.to_table(["id", "assets"]).to_pylist()}
    table = made.sample_points(lonlat, ["B1"], effort=EFFORT)
    assert {name: found(table, scene) for name, scene in names.items()} == expected
    assert set(expected["a.tif"]) & set(expected["bb.tif"])
    assert set(table["raster_crs"].to_pylist()) == {32633, 32634}
    newest = found(made.sample_points(lonlat, ["B1"], match="latest", effort=EFFORT))
    assert newest == expected["a.tif"] | expected["bb.tif"], "the second scene is the later one"
    with pytest.raises(SpecError, match="oldest"):
        made.sample_points(lonlat, ["B1"], match="oldest", effort=EFFORT)


def test_scale_and_offset_are_applied_on_request(tmp_path: Path) -> None:
    path, lonlat = write(tmp_path / "a.tif"), spread(100)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.5,), (-3.0,)
    made, expected = collection(tmp_path, [path]), oracle(path, lonlat)
    assert found(made.sample_points(lonlat, ["B1"], effort=EFFORT)) == expected
    scaled = found(made.sample_points(lonlat, ["B1"], scaled=True, effort=EFFORT))
    assert scaled == {at: value * 0.5 - 3 for at, value in expected.items()}


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif")
    made = collection(tmp_path, [path])
    path.write_bytes(b"\x01" * path.stat().st_size)
    with pytest.raises(Unreadable):
        made.sample_points(spread(10), ["B1"], effort=EFFORT)


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    made = collection(tmp_path, [write(tmp_path / "a.tif", dtype="complex64", nodata=None)])
    with pytest.raises(Unreadable, match="complex"):
        made.sample_points(spread(10), ["B1"], effort=EFFORT)


@pytest.mark.slow
def test_ten_thousand_points_over_a_hundred_scenes_touch_each_tile_once(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    paths = [write(folder / f"{number:03d}.tif", size=256, compress=None) for number in range(100)]
    lonlat = spread(10_000)
    with RangeServer(folder) as server:
        made = collection(tmp_path, paths, base=server.url)
        server.log.clear()
        table = made.sample_points(lonlat, ["B1"], effort=EFFORT)
        asked = [(request.path, request.range) for request in server.log]
    assert table.num_rows == sum(len(oracle(path, lonlat)) for path in paths)
    first = made.to_table(["id", "assets"]).to_pylist()[0]
    assert found(table, first["id"]) == oracle(folder / Path(first["assets"]["B1"]["href"]).name, lonlat)
    got = [(path, byte) for path, span in asked if span for byte in range(span[0], (span[1] or 0) + 1, 4096)]
    assert len(asked) <= 100 * 16, "never more than one request per tile"
    assert len(got) == len(set(got))
    assert sum((span[1] or 0) + 1 - span[0] for _, span in asked if span) <= 100 * 256 * 256 * 2


@pytest.mark.slow
def test_ten_thousand_points_over_a_hundred_scenes_decode_each_tile_once(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{number:03d}.tif", size=256, compress="deflate") for number in range(100)]
    lonlat, reader = spread(10_000), engine()
    index, every = PointIndex(points_of(lonlat, Named())), np.arange(len(lonlat))
    hits = list(read_hits(reader, (located(file, every, index) for file in band_files(paths))))
    touched = sum(len(tiles_touched(path, lonlat)) for path in paths)
    assert len(hits) == 100
    assert reader.decoded == touched == 100 * 16
    assert reader.traffic.requests <= touched
    for path, hit in zip(paths, hits, strict=True):
        sample = hit.sample
        assert dict(zip(sample.points.tolist(), sample.values.tolist(), strict=True)) == oracle(path, lonlat)


def tiles_touched(path: Path, lonlat: np.ndarray[Any, Any]) -> set[tuple[int, int]]:
    """Row and column of every block of the file in which rasterio puts a point."""
    with rasterio.open(path) as file:
        x, y = pyproj.Transformer.from_crs("OGC:CRS84", file.crs, always_xy=True).transform(*lonlat.T)
        rows, cols = (np.array(values) for values in rasterio.transform.rowcol(file.transform, x, y, op=np.floor))
        inside = (rows >= 0) & (cols >= 0) & (rows < file.height) & (cols < file.width)
        high, wide = file.block_shapes[0]
        return set(zip((rows[inside] // high).tolist(), (cols[inside] // wide).tolist(), strict=True))


@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90)), min_size=1, max_size=60))
def test_few_boxes_hold_all_points(points: list[tuple[float, float]]) -> None:
    lon, lat = np.array(points).T
    boxes = np.array(boxes_around(lon, lat, most=5))
    assert len(boxes) <= 5
    inside = (lon[:, None] >= boxes[:, 0]) & (lat[:, None] >= boxes[:, 1]) & (lon[:, None] <= boxes[:, 2]) & (lat[:, None] <= boxes[:, 3])
    assert inside.any(axis=1).all()


def test_far_clusters_have_boxes_of_their_own() -> None:
    lon, lat = np.array([(10.0, 50.0), (10.2, 50.1), (-70.0, -30.0), (140.0, 35.0)]).T
    assert sum((east - west) * (north - south) for west, south, east, north in boxes_around(lon, lat)) < 1.0


def test_boxes_that_cross_the_antimeridian() -> None:
    index = PointIndex(points_of([(179.5, 0.0), (-179.5, 0.0), (0.0, 0.0), (180.5, 0.0)]))
    crossing = {"xmin": 179.0, "ymin": -1.0, "xmax": -179.0, "ymax": 1.0}
    assert [part.tolist() for part in index.in_boxes([crossing, None])] == [[0, 1, 3], [0, 1, 2, 3]]


def test_a_raster_that_counts_longitudes_from_0_to_360(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", crs="EPSG:4326", transform=from_origin(180, 10, 0.1, 0.1), size=100)
    (file,) = band_files([path])
    index = PointIndex(points_of([(-179.95, 9.95), (180.05, 9.95), (10.0, 9.95)]))
    hit, _ = located(file, np.arange(3), index)
    assert hit.sample.points.tolist() == [0, 1]


@pytest.mark.slow
@pytest.mark.shared
def test_every_real_file_is_sampled_as_rasterio_does(shared: Path) -> None:
    checked = 0
    for entry in json.loads((shared / "data" / "cogs" / "index.json").read_text()):
        path = shared / "data" / "cogs" / entry["path"]
        with rasterio.open(path) as file:
            odd = file.crs is None or file.transform.is_identity or file.dtypes[0].startswith("complex") or path.name == "corrupt.tif"
            odd = odd or is_other_jpeg(file)
            if odd or "MARS" in file.crs.to_wkt().upper():
                continue
            rng = np.random.default_rng(checked)
            cols, rows = rng.integers(0, file.width, 60), rng.integers(0, file.height, 60)
            x, y = (np.array(part) for part in rasterio.transform.xy(file.transform, rows, cols))
            asked = [rasterio.windows.Window(col, row, 1, 1) for col, row in zip(cols.tolist(), rows.tolist(), strict=True)]
            expected = np.array([file.read(1, window=window)[0, 0] for window in asked])
            valid = np.array([file.read_masks(1, window=window)[0, 0] > 0 for window in asked])
        (found,) = band_files([path])
        points = Points(x=x, y=y, crs=found.crs, columns=None)
        hit, tiles = located(found, np.arange(60), PointIndex(points))
        (done,) = read_hits(engine(), [(hit, tiles)])
        assert done.failed is None, (path, done.failed)
        assert done.sample.points.tolist() == list(range(60)), path
        np.testing.assert_array_equal(done.sample.valid, valid, err_msg=str(path))
        np.testing.assert_array_equal(done.sample.values[valid], expected[valid], err_msg=str(path))
        checked += 1
    assert checked > 50
