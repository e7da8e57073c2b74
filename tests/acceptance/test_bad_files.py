"""A 404, an HTML page named `.tif`, a JPEG 2000 and a truncated file among good ones, through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from rasterio.transform import from_origin

from tests.servers import RangeServer, StacServer

SCENES, BANDS = 25, ("B02", "B03", "B04", "B08")
BAD = {("scene-03", "B02"): "missing", ("scene-07", "B03"): "html", ("scene-11", "B04"): "jpeg2000", ("scene-19", "B08"): "truncated"}
"""(item, band) -> what its file is: four of a hundred, within the default budget of 5 %."""


def tiff(driver: str = "COG") -> bytes:
    pixels = np.random.default_rng(7).integers(1, 4000, (512, 512)).astype(np.uint16)
    profile = {"driver": "GTiff", "width": 512, "height": 512, "count": 1, "dtype": "uint16", "crs": "EPSG:32632", "nodata": 0}
    with MemoryFile() as source, MemoryFile() as target:
        with source.open(**profile, transform=from_origin(600000, 5100000, 10, 10)) as dataset:
            dataset.write(pixels, 1)
            copy(dataset, target.name, driver=driver, **({"BLOCKSIZE": 256, "COMPRESS": "DEFLATE"} if driver == "COG" else {}))
        return target.read()


def content(kind: str, good: bytes) -> bytes | None:
    match kind:
        case "missing":
            return None
        case "html":
            return b"<!DOCTYPE html><html><body>Please log in</body></html>" * 400
        case "jpeg2000":
            return tiff("JP2OpenJPEG")
        case _:
            return good[: len(good) // 3]


def item(name: str, number: int, files: RangeServer) -> dict[str, Any]:
    west = 10.2 + number / 100
    ring = [[west, 45.9], [west + 0.1, 45.9], [west + 0.1, 46.0], [west, 46.0], [west, 45.9]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "bad",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, 45.9, west + 0.1, 46.0],
        "properties": {"datetime": f"2024-06-{number + 1:02d}T10:00:00Z"},
        "links": [],
        "assets": {band: {"href": f"{files.url}/{name}/{band}.tif", "type": "image/tiff"} for band in BANDS},
    }


@pytest.fixture(scope="module")
def catalog() -> Iterator[str]:
    good = tiff()
    names = [f"scene-{number:02d}" for number in range(SCENES)]
    contents = {(name, band): content(BAD[name, band], good) if (name, band) in BAD else good for name in names for band in BANDS}
    held = {f"/{name}/{band}.tif": data for (name, band), data in contents.items() if data is not None}
    with RangeServer(held) as files, StacServer([item(name, number, files) for number, name in enumerate(names)]) as stac:
        yield stac.url


@pytest.fixture
def spec(catalog: str, tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    lines = ["version: 1", "name: bad", f"stac: {{url: '{catalog}', collection: bad}}", "bbox: [10, 45, 11, 47]", "dates: 2024-06"]
    path.write_text("\n".join([*lines, f"band_map: {{{', '.join(f'{band}: {band}' for band in BANDS)}}}", ""]))
    return path


def rasterloom(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PREFECT_API_URL": url}
    command = [sys.executable, "-m", "rasterloom.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


def test_bad_files_stand_in_the_failures_table(spec: Path, prefect_server: str, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    done = rasterloom(prefect_server, "run", str(spec), "--workspace", str(workspace), "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    (told,) = json.loads(done.stdout)["collections"]
    assert (told["records"], told["failures"]) == (SCENES, len(BAD))
    (table,) = (workspace / "bad" / "_failures").glob("*.parquet")
    failures = {(row["item_id"], row["band"]): row for row in pq.read_table(table).to_pylist()}
    assert set(failures) == set(BAD)
    assert all(row["href"].endswith(f"/{name}/{band}.tif") and row["reason"] and row["message"] for (name, band), row in failures.items())
    reasons = {kind: failures[where]["reason"] for where, kind in BAD.items()}
    assert len(set(reasons.values())) == len(reasons), f"every kind has a reason of its own: {reasons}"
    assert reasons["missing"] == "missing"
    assert failures["scene-03", "B02"]["http_status"] == 404
    assert "jpeg2000" in reasons["jpeg2000"]
    rows = {row["id"]: row for row in pq.read_table(told["uri"].removeprefix("file://")).to_pylist()}
    empty = {(name, band) for name, row in rows.items() for band in BANDS if row[f"{band}_metadata"] is None}
    assert empty == set(BAD)


@pytest.mark.slow
def test_more_bad_files_than_the_budget_allows_commit_nothing(spec: Path, prefect_server: str, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    done = rasterloom(prefect_server, "run", str(spec), "--workspace", str(workspace), "--set", "build.max_error_rate=0.03")
    assert done.returncode == 5, done.stderr[-3000:]
    assert "max_error_rate" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((workspace / "bad").glob("_commits/*"))
