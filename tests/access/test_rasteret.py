"""The promise that Rasteret reads what we write, with the real package: in this interpreter, or in the one that RASTERET_PYTHON names."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

from rasterloom.access.build import index_batch, publish
from rasterloom.access.cache.staging import write_items
from rasterloom.access.values import Asset, Scene
from rasterloom.access.workspace.place import open_workspace
from rasterloom.specs.effort import Effort
from rasterloom.specs.question import Band, StacSource
from tests.access.building import job, question, searched

INSTANT = datetime(2024, 6, 10, 10, 5, 11, tzinfo=UTC)
READ = """
import json, sys
import rasteret
from rasteret import Collection
path, box, bands = sys.argv[1], tuple(json.loads(sys.argv[2])), json.loads(sys.argv[3])
collection = rasteret.load(path)
listed = [entry["name"] for entry in Collection.list_collections(__import__("pathlib").Path(path).parent)]
pixels = collection.get_numpy(geometries=box, bands=bands)
print(json.dumps([len(collection), collection.bands, collection.epsg, collection.name, listed, pixels.tolist()]))
"""


@pytest.fixture(scope="module")
def interpreter() -> str:
    named = os.environ.get("RASTERET_PYTHON")
    if named is None and importlib.util.find_spec("rasteret") is None:
        pytest.skip("rasteret is not installed here, and RASTERET_PYTHON names no interpreter that has it")
    return named or sys.executable


def write(path: Path, seed: int, *, count: int = 1, **profile: Any) -> Path:
    options = {
        "driver": "GTiff",
        "tiled": True,
        "blockxsize": 64,
        "blockysize": 64,
        "compress": "deflate",
        "predictor": 2,
        "dtype": "uint16",
        "nodata": 0,
    }
    pixels = np.random.default_rng(seed).integers(1, 4000, (count, 256, 256), dtype=np.uint16)
    with rasterio.open(
        path,
        "w",
        width=256,
        height=256,
        count=count,
        crs="EPSG:32633",
        transform=from_origin(500_000, 5_000_000, 10, 10),
        **{**options, **profile},
    ) as file:
        file.write(pixels)
    return path


def build(place: Path, files: list[dict[str, tuple[Path, int]]]) -> Path:
    """A collection over local files: band -> (file, sample); the link that Rasteret lists."""
    scenes: list[Scene] = []
    for number, bands in enumerate(files):
        with rasterio.open(next(iter(bands.values()))[0]) as file:
            box = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
        assets = tuple(Asset(band=band, key=band.lower(), href=str(path), band_index=index) for band, (path, index) in bands.items())
        scenes.append(
            Scene(
                id=f"scene-{number}",
                collection="c",
                datetime=INSTANT + timedelta(days=30 * number),
                geometry=shapely.to_wkb(shapely.box(*box)),
                bbox=box,
                properties={"eo:cloud_cover": 10.0 * number},
                assets=assets,
            )
        )
    asked = question(bands=[], source=StacSource(url="http://127.0.0.1:1", collection="c"))
    names = dict.fromkeys(band for bands in files for band in bands)
    index = {band: entry[1] for bands in files for band, entry in bands.items()}
    bands = tuple(Band(code=band, asset=band.lower(), index=index[band]) for band in names)
    made = job(place, asked=question(source=asked.source, bands=list(names)), effort=Effort(allow_private_hosts=True))
    assert [band.code for band in made.plan.question.bands] == [band.code for band in bands]
    publish(made, [searched(scenes)], [index_batch(made, write_items(open_workspace(str(place)), scenes), first_range={})])
    return place / "s2_stac"


def read(interpreter: str, path: Path, box: tuple[float, ...], bands: list[str]) -> list[Any]:
    command = [interpreter, "-c", READ, str(path), json.dumps(box), json.dumps(bands)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


BOX = (15.005, 45.135, 15.012, 45.142)


def test_rasteret_reads_separate_files(interpreter: str, tmp_path: Path) -> None:
    files = [{band: (write(tmp_path / f"{number}{band}.tif", number), 0) for band in ("B02", "B03")} for number in range(3)]
    count, bands, epsg, name, listed, pixels = read(interpreter, build(tmp_path / "ws", files), BOX, ["B02"])
    assert (count, bands, epsg, name, listed) == (3, ["B02", "B03"], [32633], "s2", ["s2"])
    assert np.array(pixels).shape[0] == 3
    assert np.array(pixels).any()


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_rasteret_reads_samples_of_one_file(interpreter: str, tmp_path: Path, interleave: str) -> None:
    path = write(tmp_path / "all.tif", 1, count=3, interleave=interleave)
    place = build(tmp_path / "ws", [{"R": (path, 0), "G": (path, 1), "B": (path, 2)}])
    pixels = np.array(read(interpreter, place, BOX, ["B"])[-1])
    with rasterio.open(path) as file:
        whole = file.read(3)
    inside = pixels[0][pixels[0] > 0]
    assert inside.size > 100
    assert set(inside.tolist()) <= set(whole.ravel().tolist())
    assert np.isin(pixels[0][20:40, 10:30], whole).all()
