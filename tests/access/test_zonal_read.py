"""The read job `zonal` against rasterio and numpy, zone by zone; and what a second run costs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import numpy as np
import pandas
import pytest
import rasterio
import rasterio.features
import shapely

from rasterloom.access.reads.run import plan_read
from rasterloom.errors import SpecError
from tests.access.imagery import EFFORT, NORTH, WEST, Imagery, run_read
from tests.access.test_points_read import EAST, add, built
from tests.servers import RangeServer

STATISTICS = ["count", "valid", "min", "max", "mean", "std", "sum", "median", "p90", "majority", "minority", "variety", "histogram"]


@pytest.fixture(scope="module")
def imagery(tmp_path_factory: pytest.TempPathFactory) -> Imagery:
    """Not changed by any test; outputs have names of their own."""
    return built(tmp_path_factory.mktemp("imagery"))


def parcels(count: int = 40, *, seed: int = 0) -> geopandas.GeoDataFrame:
    """Polygons of many sizes over both footprints and beyond, some of which overlap, with columns of their own, in EPSG:32632."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(WEST - 100, EAST + 2000, count), rng.uniform(NORTH - 2000, NORTH + 50, count)
    shapes = [shapely.Point(*at).buffer(size, quad_segs=3) for at, size in zip(np.c_[x, y], rng.uniform(4, 500, count), strict=True)]
    shapes[0] = shapes[0].difference(shapely.Point(x[0], y[0]).buffer(20))
    shapes[1] = shapely.union(shapes[1], shapely.box(WEST + 10, NORTH - 1900, WEST + 300, NORTH - 1500))
    shapes[2] = shapely.box(WEST - 5000, NORTH - 9000, EAST + 9000, NORTH + 5000)
    return geopandas.GeoDataFrame(
        {"crop": [f"crop {n % 3}" for n in range(count)], "parcel": range(100, 100 + count)}, geometry=shapes, crs=32632
    )


def spec(tmp_path: Path, frame: geopandas.GeoDataFrame, **more: Any) -> dict[str, Any]:
    frame.to_parquet(tmp_path / "parcels.parquet")
    return {"kind": "zonal", "zones": str(tmp_path / "parcels.parquet"), "bands": ["B04"], "statistics": STATISTICS, **more}


def output(imagery: Imagery, asked: dict[str, Any], name: str) -> pandas.DataFrame:
    ran = run_read(imagery.job(asked, name=name))
    return pandas.read_parquet(imagery.output(ran.ref) / "zonal.parquet")


def layer(path: Path) -> tuple[np.ndarray[Any, Any], rasterio.Affine]:
    with rasterio.open(path) as file:
        data = file.read(1).astype(float)
        data[data == file.nodata] = np.nan
        return data, file.transform


def by_hand(
    data: np.ndarray[Any, Any], transform: rasterio.Affine, shape: shapely.Geometry, *, all_touched: bool = False
) -> dict[str, Any]:
    """As rasterstats computes them: the whole raster, masked by the polygon."""
    inside = rasterio.features.geometry_mask([shape], data.shape, transform, all_touched=all_touched, invert=True)
    values = data[inside & np.isfinite(data)]
    found: dict[str, Any] = {"count": int(inside.sum()), "valid": len(values)}
    if not len(values):
        return found
    numbers, counts = np.unique(values, return_counts=True)
    return found | {
        **{name: getattr(np, name)(values) for name in ("min", "max", "mean", "std", "sum", "median")},
        "p90": np.percentile(values, 90),
        "majority": numbers[np.argmax(counts)],
        "minority": numbers[np.argmin(counts)],
        "variety": len(numbers),
        "histogram": list(zip(numbers.tolist(), counts.tolist(), strict=True)),
    }


def meets(data: np.ndarray[Any, Any], transform: rasterio.Affine, shape: shapely.Geometry) -> bool:
    west, south, east, north = rasterio.transform.array_bounds(*data.shape, transform)
    left, bottom, right, top = shape.bounds
    return left < east and right > west and bottom < north and top > south


def assert_same(rows: pandas.DataFrame, frame: geopandas.GeoDataFrame, data: np.ndarray[Any, Any], transform: Any, **how: Any) -> None:
    """The rows of one scene and band."""
    there = [zone for zone, shape in enumerate(frame.geometry) if meets(data, transform, shape)]
    assert rows["zone_index"].tolist() == there
    for row in rows.to_dict("records"):
        expected = by_hand(data, transform, frame.geometry.iloc[row["zone_index"]], **how)
        assert (row["crop"], row["parcel"]) == tuple(frame[["crop", "parcel"]].iloc[row["zone_index"]])
        for name in STATISTICS:
            if name == "histogram":
                assert [(each["value"], each["count"]) for each in row[name]] == expected.get(name, [])
            elif name in expected:
                np.testing.assert_allclose(row[name], expected[name], rtol=1e-9, err_msg=f"{row['zone_index']} {name}")
            else:
                assert row[name] == 0 if name == "variety" else np.isnan(row[name])


@pytest.mark.parametrize("all_touched", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_statistics_are_those_of_numpy(imagery: Imagery, tmp_path: Path, all_touched: bool) -> None:
    frame = parcels()
    found = output(imagery, spec(tmp_path, frame, bands=["B04", "SCL"], all_touched=all_touched), f"plain-{all_touched}")
    assert list(found.columns) == ["zone_index", "crop", "parcel", "record_id", "datetime", "band", *STATISTICS]
    assert found["datetime"].is_monotonic_increasing
    for scene in imagery.scenes:
        for band in ("B04", "SCL"):
            rows = found[(found["record_id"] == scene.id) & (found["band"] == band)]
            assert_same(rows, frame, *layer(imagery.path(scene.id, band)), all_touched=all_touched)
    assert all_touched or (found["count"] == 0).any(), "a zone between the centres of pixels has a row"


@pytest.mark.slow
def test_masks_and_expressions(imagery: Imagery, tmp_path: Path) -> None:
    frame = parcels()
    asked = spec(tmp_path, frame, bands=["B08"], mask={"band": "SCL", "values": [3]}, expressions={"ndvi": "(B08 - B04) / (B08 + B04)"})
    found = output(imagery, asked, "masked")
    assert set(found["band"]) == {"B08", "ndvi"}
    for scene in imagery.scenes:
        (red, transform), (nir, _), (classes, _) = (layer(imagery.path(scene.id, band)) for band in ("B04", "B08", "SCL"))
        away = np.kron(classes, np.ones((2, 2))) == 3
        with np.errstate(all="ignore"):
            ndvi = ((nir - red) / (nir + red)).astype(np.float32).astype(float)
        for band, data in {"B08": nir, "ndvi": ndvi}.items():
            rows = found[(found["record_id"] == scene.id) & (found["band"] == band)]
            assert_same(rows, frame, np.where(away | ~np.isfinite(data), np.nan, data), transform)


@pytest.mark.slow
def test_zones_of_another_system_and_of_none(imagery: Imagery, tmp_path: Path) -> None:
    frame = parcels(12)
    degrees = frame.to_crs("OGC:CRS84")
    degrees.loc[3, "geometry"] = None
    found = output(imagery, spec(tmp_path, degrees), "degrees")
    plain = output(imagery, spec(tmp_path, frame), "metres")
    assert 3 not in set(found["zone_index"])
    small = (found["zone_index"] != 2) & (found["zone_index"] != 3)  # edges of kilometres bend, those of parcels do not
    both = found[small].merge(plain, on=["zone_index", "record_id"])
    assert len(both) > 10
    np.testing.assert_allclose(both["count_x"], both["count_y"], atol=2)


def test_duckdb_and_geopandas_read_it(imagery: Imagery, tmp_path: Path) -> None:
    frame = parcels(15)
    ran = run_read(imagery.job(spec(tmp_path, frame), name="opened"))
    home = imagery.output(ran.ref)
    zones = geopandas.read_parquet(home / "zones.parquet")
    assert zones.crs == frame.crs
    assert zones.geometry.geom_equals(frame.geometry).all()
    query = f"SELECT crop, sum(valid), max(histogram[1].value) FROM '{home / 'zonal.parquet'}' GROUP BY crop ORDER BY crop"
    found = pandas.read_parquet(home / "zonal.parquet")
    assert [row[1] for row in duckdb.sql(query).fetchall()] == found.groupby("crop")["valid"].sum().tolist()
    assert (home / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_tile_is_read_once_and_a_new_scene_costs_its_own_requests(tmp_path: Path) -> None:
    with RangeServer(tmp_path / "files") as server:
        imagery = Imagery(tmp_path / "files", tmp_path / "ws", base=server.url)
        for number in range(2):
            add(imagery, number)
        imagery.build()
        server.log.clear()
        asked = spec(tmp_path, parcels(200), mask={"band": "SCL", "values": [3]})
        run_read(imagery.job(asked, run_id="one"))
        spans = [(request.path, request.range) for request in server.log if request.range]
        assert len(spans) == len(set(spans))
        for path in {path for path, _ in spans}:
            parts = sorted(span for other, span in spans if other == path)
            assert all(before[1] < after[0] for before, after in pairwise(parts)), "no byte twice"
        server.log.clear()
        again = run_read(imagery.job(asked, run_id="two"))
        assert (again.made, len(server.log)) == (0, 0)
        add(imagery, 2)
        imagery.build("run-2")
        server.log.clear()
        assert run_read(imagery.job(asked, run_id="three")).made == 1
        assert {request.path.split("/")[1] for request in server.log} == {"s2"}


@pytest.mark.slow
@pytest.mark.parametrize("band", ["B04", "SCL"])
def test_a_band_that_fails_has_no_rows(tmp_path: Path, band: str) -> None:
    imagery = built(tmp_path)
    imagery.path("s1", band).write_bytes(b"\0" * imagery.path("s1", band).stat().st_size)
    asked = spec(tmp_path, parcels(), bands=["B04", "B08"], mask={"band": "SCL", "values": [3]})
    ran = run_read(imagery.job(asked, effort=replace(EFFORT, max_error_rate=0.5)))
    found = pandas.read_parquet(imagery.output(ran.ref) / "zonal.parquet")
    assert set(found[found["record_id"] == "s1"]["band"]) == ({"B08"} if band == "B04" else set())
    assert set(found[found["record_id"] == "s2"]["band"]) == {"B04", "B08"}


@pytest.mark.slow
def test_zones_are_handed_on_as_they_are_complete(imagery: Imagery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = output(imagery, spec(tmp_path, parcels(seed=3)), "whole")
    monkeypatch.setattr("rasterloom.access.reads.zonalscene._HELD", 500)
    made = imagery.job(spec(tmp_path, parcels(seed=3)), name="parts", effort=replace(EFFORT, force=True))
    parts = pandas.read_parquet(imagery.output(run_read(made).ref) / "zonal.parquet")
    order = ["record_id", "zone_index"]
    pandas.testing.assert_frame_equal(parts.sort_values(order, ignore_index=True), whole.sort_values(order, ignore_index=True))


BOX = shapely.geometry.mapping(shapely.box(9, 46, 10, 47))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"zones": "nowhere.geojson"}, "no file"),
        ({"zones": {"type": "Point", "coordinates": [9, 46]}}, "a zone is a Point"),
        ({"zones": {"type": "FeatureCollection", "features": []}}, "no zones"),
        (
            {"zones": {"type": "Feature", "properties": {"mean": 1}, "geometry": BOX}},
            "'mean'",
        ),
        ({"zones": shapely.geometry.mapping(shapely.box(0, 0, 1, 1))}, "no scene"),
        ({"zones": {"type": "Feature", "properties": {}, "geometry": None}}, "no row"),
    ],
)
def test_what_cannot_be_read_is_told_at_once(imagery: Imagery, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        plan_read(imagery.job(spec(tmp_path, parcels()) | change))
    assert caught.value.remedy
