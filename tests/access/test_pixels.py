"""One band of an area against rasterio: values, shape, mask."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.mask
import shapely
from pyproj import Transformer
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform_bounds

from rasterloom.access.build import index_batch, publish
from rasterloom.access.cache.staging import write_items
from rasterloom.access.collection import Collection, load
from rasterloom.access.values import Asset
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import SpecError, Unreadable
from rasterloom.specs.effort import Effort
from rasterloom.specs.question import Band, StacSource
from tests.access.building import START, job, question, scene, searched
from tests.servers import RangeServer

EFFORT = Effort(allow_private_hosts=True, retries=1)
INSIDE = (15.005, 45.135, 15.02, 45.145)


def write(
    path: Path, *, crs: str = "EPSG:32633", transform: Affine | None = None, nodata: float | None = 0, size: int = 256, **profile: Any
) -> Path:
    options = {
        "driver": "GTiff",
        "tiled": True,
        "blockxsize": 64,
        "blockysize": 64,
        "compress": "deflate",
        "dtype": "uint16",
        "count": 1,
        **profile,
    }
    pixels = np.random.default_rng(len(path.name)).integers(1, 250, (options["count"], size, size)).astype(options["dtype"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        width=size,
        height=size,
        crs=crs,
        nodata=nodata,
        transform=transform or from_origin(500_000, 5_000_000, 10, 10),
        **options,
    ) as file:
        file.write(pixels)
    return path


def collection(tmp_path: Path, paths: list[Path], *, band_index: int = 0, base: str = "") -> Collection:
    """A built collection over files, one scene each, band B1."""
    scenes = []
    for number, path in enumerate(paths):
        with rasterio.open(path) as file:
            box = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
        href = f"{base}/{path.name}" if base else str(path)
        assets = (Asset(band="B1", key="b1", href=href, band_index=band_index),)
        scenes.append(replace(scene(number, bbox=box), assets=assets))
    asked = question(bands=["B1"], source=StacSource(url="http://127.0.0.1:1", collection="sentinel-2-l2a"))
    asked = replace(asked, bands=(Band(code="B1", asset="b1", index=band_index),))
    made = job(tmp_path / "ws", asked=asked, effort=EFFORT)
    items = write_items(open_workspace(made.workspace), scenes)
    ref = publish(made, [searched(scenes)], [index_batch(made, items, first_range={})])
    return load(ref.uri)


def oracle(path: Path, area: shapely.Geometry, band: int = 1) -> np.ndarray[Any, Any]:
    """Window and mask of rasterio, filled with nodata or 0."""
    with rasterio.open(path) as file:
        to_crs = Transformer.from_crs("OGC:CRS84", file.crs, always_xy=True).transform
        shape = shapely.transform(area, to_crs, interleaved=False)
        mask, _, window = rasterio.mask.raster_geometry_mask(file, [shape], crop=True)
        pixels = file.read(band, window=window)
        pixels[mask] = 0 if file.nodata is None else file.nodata
        return pixels


AREAS = {
    "box": shapely.box(*INSIDE),
    "triangle": shapely.Polygon([(15.003, 45.132), (15.025, 45.134), (15.01, 45.149)]),
    "ring": shapely.Point(15.015, 45.14).buffer(0.006).difference(shapely.Point(15.015, 45.14).buffer(0.003)),
    "two": shapely.union(shapely.box(15.004, 45.135, 15.008, 45.139), shapely.box(15.015, 45.14, 15.02, 45.144)),
    "edge": shapely.box(14.9, 45.0, 15.01, 45.14),
    "whole": shapely.box(14.0, 44.0, 16.0, 46.0),
}

FILES: dict[str, dict[str, Any]] = {
    "plain": {},
    "no nodata": {"nodata": None},
    "nodata": {"nodata": 7},
    "predictor": {"predictor": 2},
    "float": {"dtype": "float32", "predictor": 3, "nodata": -9999},
    "striped": {"tiled": False, "blockxsize": None, "blockysize": 16},
    "lzw byte": {"dtype": "uint8", "compress": "lzw"},
    "zstd": {"compress": "zstd", "dtype": "int16", "nodata": -1},
    "degrees": {"crs": "EPSG:4326", "transform": from_origin(15.00003, 45.15004, 0.0001, 0.0001), "size": 300},
    "web mercator": {"crs": "EPSG:3857", "transform": from_origin(1669000, 5646000, 20, 20)},
}


@pytest.mark.parametrize("area", AREAS)
@pytest.mark.parametrize("kind", FILES)
def test_pixels_are_those_of_rasterio(tmp_path: Path, kind: str, area: str) -> None:
    options = {key: value for key, value in FILES[kind].items() if value is not None or key == "nodata"}
    path = write(tmp_path / "a.tif", **options)
    expected = oracle(path, AREAS[area])
    got = collection(tmp_path, [path]).get_numpy(AREAS[area], ["B1"], effort=EFFORT)
    assert got.shape == (1, *expected.shape)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got[0], expected)


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_a_sample_of_a_shared_file(tmp_path: Path, interleave: str) -> None:
    path = write(tmp_path / "rgb.tif", count=3, dtype="uint8", interleave=interleave, photometric="minisblack")
    got = collection(tmp_path, [path], band_index=2).get_numpy(INSIDE, ["B1"], effort=EFFORT)
    np.testing.assert_array_equal(got[0], oracle(path, shapely.box(*INSIDE), band=3))


def test_scenes_stand_in_the_order_of_the_table(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{'x' * number}.tif") for number in range(1, 5)]
    made = collection(tmp_path, paths)
    got = made.get_numpy(INSIDE, ["B1"], effort=EFFORT)
    hrefs = [row["assets"]["B1"]["href"] for row in made.to_table(["assets"]).to_pylist()]
    for pixels, href in zip(got, hrefs, strict=True):
        np.testing.assert_array_equal(pixels, oracle(Path(href), shapely.box(*INSIDE)))


def test_a_small_window_is_few_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "files" / "a.tif", size=1024, compress=None)
    with RangeServer(tmp_path / "files") as server:
        made = collection(tmp_path, [path], base=server.url)
        server.log.clear()
        made.get_numpy(INSIDE, ["B1"], effort=EFFORT)
        asked = [request.range for request in server.log]
    assert len(asked) <= 2
    assert sum((end or 0) - start for start, end in filter(None, asked)) < path.stat().st_size / 4


def test_scenes_of_different_shape_are_told(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.tif"), write(tmp_path / "bb.tif", transform=from_origin(500_000, 5_000_000, 20, 20))]
    with pytest.raises(SpecError, match="differ in grid") as caught:
        collection(tmp_path, paths).get_numpy(INSIDE, ["B1"], effort=EFFORT)
    assert caught.value.remedy


def test_an_area_beside_everything_is_told(tmp_path: Path) -> None:
    made = collection(tmp_path, [write(tmp_path / "a.tif")])
    with pytest.raises(SpecError, match="no scene"):
        made.get_numpy((20.0, 20.0, 21.0, 21.0), ["B1"], effort=EFFORT)


@pytest.mark.parametrize("bands", [["B1", "B1"], ["B9"], []])
def test_wrong_bands_are_told(tmp_path: Path, bands: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        collection(tmp_path, [write(tmp_path / "a.tif")]).get_numpy(INSIDE, bands, effort=EFFORT)
    assert caught.value.remedy


def test_a_file_that_changed_is_unreadable(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif")
    made = collection(tmp_path, [path])
    path.write_bytes(b"\x01" * path.stat().st_size)
    with pytest.raises(Unreadable):
        made.get_numpy(INSIDE, ["B1"], effort=EFFORT)


def test_files_of_this_machine_are_read_for_its_own_catalog_alone(tmp_path: Path) -> None:
    """A directory that came from somewhere must not make us read local files or ask the neighbours."""
    made = collection(tmp_path, [write(tmp_path / "a.tif")])
    assert made.get_numpy(INSIDE, ["B1"]).shape[0] == 1, "our own commit names a catalog on this machine"
    foreign = load(made.export(tmp_path / "foreign"))
    with pytest.raises(Unreadable, match="catalog"):
        foreign.get_numpy(INSIDE, ["B1"])


def test_the_dates_are_those_of_the_scenes(tmp_path: Path) -> None:
    made = collection(tmp_path, [write(tmp_path / "a.tif")])
    instant: datetime = made.to_table(["datetime"])["datetime"][0].as_py()
    assert instant == START.replace(tzinfo=None, microsecond=250_000)
