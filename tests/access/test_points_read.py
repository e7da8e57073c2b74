"""The read job `points` against rasterio and pandas: values, masks, expressions, periods; and what a second run costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import numpy as np
import pandas
import pyproj
import pytest
import rasterio
import shapely

from rasterloom.access.collection import load
from rasterloom.access.reads.run import make_units, plan_read
from rasterloom.errors import SpecError, Unavailable
from tests.access.imagery import EFFORT, NORTH, WEST, Imagery, run_read
from tests.servers import RangeServer

EDGE = 200
"""Pixels of the 10 m bands."""
EAST = WEST + 1200
"""Where the second zone of scenes begins: they overlap."""


def bands(seed: int) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    red, nir = (rng.integers(0, 40, (EDGE, EDGE)).astype(np.uint16) for _ in range(2))
    return {"B04": red, "B08": nir, "SCL": rng.integers(1, 6, (EDGE // 2, EDGE // 2)).astype(np.uint8)}


def add(imagery: Imagery, number: int, *, month: int = 6) -> None:
    west = EAST if number % 2 else WEST
    imagery.add(f"s{number}", f"2024-{month:02d}-{number + 1:02d}T10:20:30+00:00", bands(number), west=west, pixel={"SCL": 20.0})


def built(folder: Path) -> Imagery:
    made = Imagery(folder / "files", folder / "ws")
    for number, month in enumerate((6, 6, 6, 7)):
        add(made, number, month=month)
    made.build()
    return made


@pytest.fixture(scope="module")
def imagery(tmp_path_factory: pytest.TempPathFactory) -> Imagery:
    """Not changed by any test; outputs have names of their own."""
    return built(tmp_path_factory.mktemp("imagery"))


def fields(count: int = 150, *, seed: int = 0) -> geopandas.GeoDataFrame:
    """Points over both zones and around them, with columns of their own, in EPSG:32632."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(WEST - 200, EAST + 2200, count), rng.uniform(NORTH - 2200, NORTH + 200, count)
    return geopandas.GeoDataFrame(
        {"plot": [f"plot {n}" for n in range(count)], "slope": rng.random(count)}, geometry=shapely.points(x, y), crs=32632
    )


def spec(tmp_path: Path, frame: geopandas.GeoDataFrame, **more: Any) -> dict[str, Any]:
    frame.to_parquet(tmp_path / "fields.parquet")
    return {"kind": "points", "points": str(tmp_path / "fields.parquet"), "bands": ["B04"], **more}


def at(path: Path, frame: geopandas.GeoDataFrame) -> dict[int, float]:
    """Point -> stored value, by rasterio; nodata is NaN."""
    with rasterio.open(path) as file:
        rows, cols = (np.array(part) for part in rasterio.transform.rowcol(file.transform, frame.geometry.x, frame.geometry.y, op=np.floor))
        pixels = file.read(1).astype(float)
        pixels[pixels == file.nodata] = np.nan
        inside = (rows >= 0) & (cols >= 0) & (rows < file.height) & (cols < file.width)
        return {int(n): pixels[int(rows[n]), int(cols[n])] for n in np.flatnonzero(inside)}


def expected(imagery: Imagery, frame: geopandas.GeoDataFrame, keep: tuple[int, ...] = (1, 2, 3, 4, 5)) -> pandas.DataFrame:
    rows: list[dict[str, Any]] = []
    for scene in imagery.scenes:
        red, nir, classes = (at(imagery.path(scene.id, band), frame) for band in ("B04", "B08", "SCL"))
        for point, value in red.items():
            stays = classes.get(point) in keep
            other = nir[point]
            ndvi = (other - value) / (other + value) if stays and other + value else np.nan
            rows.append({"record_id": scene.id, "point_index": point, "B04": value if stays else np.nan, "ndvi": ndvi})
    return pandas.DataFrame(rows).sort_values(["record_id", "point_index"], ignore_index=True)


def test_values_masks_and_expressions_are_those_of_rasterio(imagery: Imagery, tmp_path: Path) -> None:
    frame = fields()
    asked = spec(tmp_path, frame, mask={"band": "SCL", "keep": [2, 3]}, expressions={"ndvi": "(B08 - B04) / (B08 + B04)"})
    ran = run_read(imagery.job(asked, name="values"))
    found = geopandas.read_parquet(imagery.output(ran.ref) / "points.parquet")
    assert list(found.columns) == ["point_index", "plot", "slope", "record_id", "datetime", "B04", "ndvi", "geometry"]
    wanted = expected(imagery, frame, keep=(2, 3))
    assert wanted["B04"].notna().sum() > 50
    got = pandas.DataFrame(found)[["record_id", "point_index", "B04", "ndvi"]].sort_values(["record_id", "point_index"], ignore_index=True)
    pandas.testing.assert_frame_equal(got, wanted, check_dtype=False, rtol=1e-6)
    assert found.crs == frame.crs
    assert (found.geometry.reset_index(drop=True) == frame.geometry.iloc[found["point_index"]].reset_index(drop=True)).all()
    assert (found["plot"].to_numpy() == frame["plot"].iloc[found["point_index"]].to_numpy()).all()
    assert found["datetime"].is_monotonic_increasing
    assert (imagery.output(ran.ref) / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_values_between_pixels_under_a_mask_of_nearest(imagery: Imagery, tmp_path: Path) -> None:
    """What the method of the collection gives, masked by the pixel around each point."""
    frame = fields()
    asked = spec(tmp_path, frame, mask={"band": "SCL", "keep": [2, 3]}, resampling="bilinear")
    found = geopandas.read_parquet(imagery.output(run_read(imagery.job(asked, name="between")).ref) / "points.parquet")
    stays = expected(imagery, frame, keep=(2, 3)).set_index(["record_id", "point_index"])["B04"].notna()
    view = load(imagery.job(asked).collection)
    by_hand, nearest = (
        {
            (row["record_id"], row["point_index"]): row["value"]
            for row in view.sample_points(frame, ["B04"], resampling=each, effort=EFFORT).to_pylist()
        }
        for each in ("bilinear", "nearest")
    )
    got = found.set_index(["record_id", "point_index"])["B04"]
    assert got.notna().sum() > 50
    for key, value in got.items():
        assert (by_hand[key] == value) if stays[key] else np.isnan(value)
    assert sum(nearest[key] != value for key, value in got.items() if stays[key]) > 40


def test_values_between_classes_are_refused(imagery: Imagery, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="SCL holds classes or bits: bilinear"):
        run_read(imagery.job(spec(tmp_path, fields(), resampling="bilinear") | {"bands": ["SCL"]}, name="classes"))


def test_duckdb_reads_it(imagery: Imagery, tmp_path: Path) -> None:
    ran = run_read(imagery.job(spec(tmp_path, fields()), name="duckdb"))
    path = imagery.output(ran.ref) / "points.parquet"
    rows = duckdb.sql(f"SELECT plot, count(B04), avg(B04) FROM '{path}' GROUP BY plot ORDER BY plot").fetchall()
    wanted = expected(imagery, fields())
    assert len(rows) == wanted["point_index"].nunique()
    assert sum(count for _, count, _ in rows) == wanted["B04"].notna().sum()


@pytest.mark.parametrize("method", ["median", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mean", "min", "max"))])
def test_periods_are_those_of_pandas(imagery: Imagery, tmp_path: Path, method: str) -> None:
    frame = fields(80)
    ran = run_read(imagery.job(spec(tmp_path, frame, period="P1M", method=method), name=method))
    found = pandas.DataFrame(geopandas.read_parquet(imagery.output(ran.ref) / "points.parquet"))
    assert list(found.columns) == ["point_index", "plot", "slope", "scenes", "datetime", "B04", "geometry"]
    every = expected(imagery, frame)
    every["datetime"] = pandas.to_datetime(
        every["record_id"].map({"s0": "2024-06-01", "s1": "2024-06-01", "s2": "2024-06-01", "s3": "2024-07-01"})
    )
    groups = every.groupby(["datetime", "point_index"])
    wanted = groups["B04"].agg(method).reset_index()
    wanted["scenes"] = groups.size().to_numpy()
    columns = ["datetime", "point_index", "B04", "scenes"]
    pandas.testing.assert_frame_equal(found[columns], wanted[columns], check_dtype=False)


@pytest.mark.slow
def test_a_new_scene_costs_its_own_requests_and_an_unchanged_job_none(tmp_path: Path) -> None:
    with RangeServer(tmp_path / "files") as server:
        imagery = Imagery(tmp_path / "files", tmp_path / "ws", base=server.url)
        for number in range(3):
            add(imagery, number)
        imagery.build()
        asked = spec(tmp_path, fields())
        first = run_read(imagery.job(asked, run_id="one"))
        server.log.clear()
        again = run_read(imagery.job(asked, run_id="two"))
        assert (again.made, again.traffic.requests, len(server.log)) == (0, 0, 0)
        assert again.ref.uri == first.ref.uri
        add(imagery, 3)
        imagery.build("run-2")
        server.log.clear()
        more = run_read(imagery.job(asked, run_id="three"))
        assert more.made == 1
        assert server.log
        assert {request.path.split("/")[1] for request in server.log} == {"s3"}
        assert {request.path.rpartition("/")[2] for request in server.log} == {"B04.tif"}
    table = geopandas.read_parquet(imagery.output(more.ref) / "points.parquet")
    assert set(table["record_id"]) == {"s0", "s1", "s2", "s3"}


def test_another_name_of_a_point_reads_no_pixel_again(imagery: Imagery, tmp_path: Path) -> None:
    frame = fields()
    run_read(imagery.job(spec(tmp_path, frame), name="names", run_id="one"))
    frame["plot"] = "the same"
    again = run_read(imagery.job(spec(tmp_path, frame), name="names", run_id="two"))
    assert (again.made, again.traffic.requests) == (1, 0)
    assert set(geopandas.read_parquet(imagery.output(again.ref) / "points.parquet")["plot"]) == {"the same"}


def test_what_was_made_before_a_kill_is_not_made_again(imagery: Imagery, tmp_path: Path) -> None:
    made = imagery.job(spec(tmp_path, fields(seed=7)), name="killed")
    planned = plan_read(made)
    assert len(planned.missing) == 5, "the points, and four scenes"
    make_units(made, planned.missing[:3])
    assert plan_read(made).missing == planned.missing[3:]
    assert run_read(made).made == 2


@pytest.mark.slow
def test_a_file_that_fails_is_told_and_its_scene_is_null(tmp_path: Path) -> None:
    imagery = built(tmp_path)
    imagery.path("s1", "B08").write_bytes(b"\0" * imagery.path("s1", "B08").stat().st_size)
    asked = spec(tmp_path, fields(), bands=["B04", "B08"])
    ran = run_read(imagery.job(asked, effort=replace(EFFORT, max_error_rate=0.5)))
    found = geopandas.read_parquet(imagery.output(ran.ref) / "points.parquet")
    broken = found[found["record_id"] == "s1"]
    assert broken["B08"].isna().all()
    assert broken["B04"].notna().any()
    assert found[found["record_id"] == "s2"]["B08"].notna().any()


@pytest.mark.slow
def test_nothing_is_left_unmasked_where_the_mask_fails(tmp_path: Path) -> None:
    imagery = built(tmp_path)
    imagery.path("s1", "SCL").write_bytes(b"\0" * imagery.path("s1", "SCL").stat().st_size)
    asked = spec(tmp_path, fields(), mask={"band": "SCL", "values": [5]})
    ran = run_read(imagery.job(asked, effort=replace(EFFORT, max_error_rate=0.5)))
    found = geopandas.read_parquet(imagery.output(ran.ref) / "points.parquet")
    assert set(found["record_id"]) == {"s0", "s2", "s3"}


def test_points_may_stand_in_the_spec(imagery: Imagery) -> None:
    lon, lat = pyproj.Transformer.from_crs(32632, "OGC:CRS84", always_xy=True).transform(WEST + 505, NORTH - 505)
    feature = {"type": "Feature", "properties": {"name": "here"}, "geometry": {"type": "Point", "coordinates": [lon, lat]}}
    ran = run_read(imagery.job({"kind": "points", "points": feature, "bands": ["B08"]}, name="inline"))
    found = geopandas.read_parquet(imagery.output(ran.ref) / "points.parquet")
    with rasterio.open(imagery.path("s0", "B08")) as file:
        assert found[found["record_id"] == "s0"]["B08"].tolist() == [file.read(1)[50, 50]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": "nowhere.geojson"}, "no file"),
        ({"points": "file:///fields.geojson"}, "not read from here"),
        ({"points": {"type": "FeatureCollection", "features": []}}, "no points"),
        ({"points": {"type": "Feature", "properties": {"B04": 1}, "geometry": {"type": "Point", "coordinates": [9, 46]}}}, "'B04'"),
        ({"points": {"type": "Feature", "properties": {}, "geometry": None}}, "no row"),
        ({"points": {"type": "Point", "coordinates": [0, 0]}}, "no scene"),
        ({"bands": ["B99"]}, "no band"),
    ],
)
def test_what_cannot_be_read_is_told_at_once(imagery: Imagery, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        plan_read(imagery.job(spec(tmp_path, fields()) | change))
    assert caught.value.remedy


def test_points_that_moved_since_the_plan_are_told(imagery: Imagery, tmp_path: Path) -> None:
    asked = spec(tmp_path, fields(seed=8))
    planned = plan_read(imagery.job(asked, name="moved"))
    spec(tmp_path, fields(seed=9))
    with pytest.raises(Unavailable, match="changed"):
        make_units(imagery.job(asked, name="moved"), planned.missing)
    assert json.loads(json.dumps(planned.missing[1].payload)) == planned.missing[1].payload
