"""500 scenes with the headers of full-size Sentinel-2 files: all of them, each as GDAL reads it, and asked for once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import numpy as np
import pyarrow.dataset as ds
import pytest
import rasterio
import requests
from rasterio.mask import mask
from rasterio.warp import transform_geom

from rasterloom.access.collection import Collection, load
from rasterloom.flows.progress import Progress
from rasterloom.flows.run import run
from tests.acceptance.conftest import SCENES, Publish
from tests.acceptance.oracle import differences, gdal_header

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]
BANDS = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir"}
GDAL = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif", "CPL_VSIL_CURL_CACHE_SIZE": "67108864"}
AOI = (11.7, 45.92, 11.78, 45.95)
"""Inside the pixels of the two real files that the first scenes are (`bench/scenes.py`)."""


@pytest.fixture
def spec(publish: Publish, archive_items: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "version": 1,
        "name": "many",
        "stac": {"url": publish(archive_items), "collection": "bench-s2"},
        "bbox": [5, 40, 30, 60],
        "dates": "2024",
        "band_map": BANDS,
    }


def file_requests(archive: str) -> int:
    return requests.get(f"{archive}/_/stats", timeout=30).json().get("file_requests", 0)


def wrong_headers(collection: Collection) -> dict[tuple[str, str], list[str]]:
    rows = collection.to_table().to_pylist()

    def of_row(row: dict[str, Any]) -> dict[tuple[str, str], list[str]]:
        found = {(row["id"], b): differences(row, b, gdal_header(f"/vsicurl/{row['assets'][b]['href']}")) for b in BANDS}
        return {where: what for where, what in found.items() if what}

    with rasterio.Env(**GDAL), ThreadPoolExecutor(8) as pool:
        return {where: what for part in pool.map(of_row, rows) for where, what in part.items()}


def test_all_scenes_with_the_headers_that_gdal_reads(spec: dict[str, Any], archive: str, tmp_path: Path) -> None:
    requests.get(f"{archive}/_/reset", timeout=30)
    told: list[Progress] = []
    collection = run(spec, workspace=str(tmp_path), on_progress=told.append)
    assert len(collection) == SCENES
    assert file_requests(archive) == SCENES * len(BANDS), "an ordinary header is one request"
    assert not wrong_headers(collection)

    requests.get(f"{archive}/_/reset", timeout=30)
    again = run(spec, workspace=str(tmp_path), on_progress=told.append)
    assert (told[-1].action, told[-1].search_requests, told[-1].header_requests) == ("reuse", 0, 0)
    assert file_requests(archive) == 0
    assert again.uri == collection.uri


@pytest.fixture(scope="module")
def collection(archive: str, prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """The same scenes, searched at the archive's own STAC API."""
    stac = {"url": f"{archive}/stac", "collection": "bench-s2"}
    spec = {"version": 1, "name": "many", "stac": stac, "bbox": [5, 40, 30, 60], "dates": "2024", "band_map": BANDS}
    return run(spec, workspace=str(tmp_path_factory.mktemp("many")))


def test_duckdb_geopandas_and_pyarrow_open_it(collection: Collection) -> None:
    path = str(Path(collection.uri.removeprefix("file://")))
    tiles = "len(B02_metadata.tile_offsets)"
    rows = duckdb.sql(
        f"select count(*), min({tiles}), max({tiles}) from read_parquet('{path}/**/*.parquet', hive_partitioning = true)"
    ).fetchall()
    assert rows == [(SCENES, 121, 121)]
    dataset = ds.dataset(path, partitioning="hive")
    assert dataset.count_rows(filter=(ds.field("year") == 2024) & (ds.field("month") == 2)) == sum(
        moment.month == 2 for moment in dataset.to_table(["datetime"])["datetime"].to_pylist()
    )
    frames = [geopandas.read_parquet(file) for file in dataset.files]
    assert sum(map(len, frames)) == SCENES
    assert frames[0].crs.equals("OGC:CRS84")
    assert len(geopandas.GeoDataFrame.from_arrow(collection)) == SCENES


def test_pixels_are_those_that_gdal_reads(collection: Collection) -> None:
    few = collection.where(ds.field("id").isin([f"S2X_{(32632, 32633)[number % 2]}_{number:06d}" for number in range(4)]))
    assert len(few) == 4
    west, south, east, north = AOI
    box = {"type": "Polygon", "coordinates": [[(west, south), (east, south), (east, north), (west, north), (west, south)]]}
    for row in few.to_table(["id", "assets"]).to_pylist():
        one = few.where(ds.field("id") == row["id"])
        with rasterio.Env(**GDAL), rasterio.open(f"/vsicurl/{row['assets']['B02']['href']}") as dataset:
            right, _ = mask(dataset, [transform_geom("EPSG:4326", dataset.crs, box)], crop=True)
        ours = np.squeeze(np.asarray(one.get_numpy(geometries=AOI, bands=["B02"])))
        assert ours.dtype == right.dtype
        assert ours.shape == right.shape[1:]
        assert (ours > 0).mean() > 0.9
        np.testing.assert_array_equal(ours, right[0])


def test_an_export_stands_on_its_own(collection: Collection, tmp_path: Path) -> None:
    collection.export(str(tmp_path / "shared"))
    copy = load(str(tmp_path / "shared"))
    assert (len(copy), copy.bands, copy.epsg) == (SCENES, list(BANDS), [32632, 32633])
    assert json.loads(copy.metadata["geo"])["primary_column"] == "geometry"
