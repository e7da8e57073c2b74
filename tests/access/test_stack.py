"""Stacks against an independent computation: rasterio reads the files, numpy does the rest, xarray opens what was made."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  the accessor `rio`
import xarray
from rasterio.transform import from_origin
from rasterio.warp import reproject

from rasterloom.access.reads.outputs import OutputRef
from rasterloom.access.reads.stack import solar_day
from rasterloom.errors import SpecError
from tests.access.gridfiles import collection_of, write
from tests.access.reading import read

ORIGIN = from_origin(600_000, 5_100_000, 10, 10)
AREA = [10.2935, 46.041, 10.302, 46.046]
"""Inside of 100 x 100 pixels at ORIGIN."""


def pixels(seed: int, *, dtype: str = "uint16", low: int = 1, high: int = 250) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(low, high, (100, 100)).astype(dtype)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path


def stacked(place: Path, scenes: dict[str, dict[str, Path]], **options: Any) -> OutputRef:
    collection_of(place, list(scenes.values()), id=list(scenes))
    return read(str(place / "ws"), {"kind": "stack", "area": AREA} | options)


def window_of(data: xarray.Dataset) -> tuple[slice, slice]:
    col, row = round((data.x.values[0] - 600_005) / 10), round((5_099_995 - data.y.values[0]) / 10)
    return slice(row, row + data.y.size), slice(col, col + data.x.size)


def test_what_is_on_the_files_grid_is_copied_masked_and_computed(place: Path) -> None:
    red, nir, classes = (pixels(seed) for seed in (1, 2, 3))
    red[:10] = 0
    files = {
        "B1": write(place / "files" / "red.tif", red, nodata=0),
        "B2": write(place / "files" / "nir.tif", nir, nodata=0),
        "SCL": write(place / "files" / "scl.tif", (classes % 4).astype("uint8")),
    }
    made = stacked(
        place, {"a": files}, bands=["B1"], expressions={"ratio": "B2 / B1", "high": "B2 > 100"}, mask={"band": "SCL", "values": [3]}
    )
    with xarray.open_zarr(made.data, mask_and_scale=False) as raw, xarray.open_zarr(made.data) as data:
        rows, cols = window_of(data)
        cloud = (classes % 4)[rows, cols] == 3
        assert raw.B1.dtype == np.uint16
        assert np.array_equal(raw.B1.values[0], np.where(cloud, 0, red[rows, cols]))
        with np.errstate(divide="ignore"):
            ratio = np.where(cloud | (red[rows, cols] == 0), np.nan, nir[rows, cols] / red[rows, cols])
        np.testing.assert_allclose(data.ratio.values[0], ratio, rtol=1e-6)
        assert np.array_equal(raw.high.values[0], np.where(cloud, 255, nir[rows, cols] > 100))
        assert data.rio.crs.to_epsg() == 32632
        assert data.rio.transform() == rasterio.transform.Affine(10, 0, 600_000 + cols.start * 10, 0, -10, 5_100_000 - rows.start * 10)


def test_without_nodata_no_value_is_lost(place: Path) -> None:
    """Every byte may be a measurement, so the fill value needs a wider type."""
    image = pixels(4, dtype="uint8", low=0, high=256)
    made = stacked(place, {"a": {"B1": write(place / "files" / "a.tif", image)}}, area=[10.29, 46.041, 10.302, 46.046])
    with xarray.open_zarr(made.data, mask_and_scale=False) as raw, xarray.open_zarr(made.data) as data:
        assert (raw.B1.dtype, raw.B1.attrs["_FillValue"]) == (np.int16, -32768)
        there = data.x.values > 600_000
        rows, cols = window_of(data.isel(x=there))
        assert np.array_equal(data.B1.values[0][:, there], image[rows, cols].astype(float))
        assert np.isnan(data.B1.values[0][:, ~there]).all()
        assert (~there).any()


def test_scales_are_told_where_they_agree_and_applied_where_they_differ(place: Path) -> None:
    images = [pixels(5), pixels(6)]
    paths = [write(place / "files" / f"{number}.tif", image, nodata=0) for number, image in enumerate(images)]
    for path, offset in zip(paths, (-1.0, -1.0), strict=True):
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = (0.5,), (offset,)
    same = stacked(place, {"a": {"B1": paths[0]}, "b": {"B1": paths[1]}}, expressions={"plus": "B1 + 1"}, bands=["B1"])
    with xarray.open_zarr(same.data) as data:
        rows, cols = window_of(data)
        assert (data.B1.encoding["scale_factor"], data.B1.encoding["add_offset"]) == (0.5, -1.0)
        np.testing.assert_allclose(data.plus.values[1], images[1][rows, cols] * 0.5, rtol=1e-6)
    with rasterio.open(paths[1], "r+") as file:
        file.offsets = (3.0,)
    other = place / "other"
    (other / "files").mkdir(parents=True)
    differing = stacked(other, {"a": {"B1": paths[0]}, "b": {"B1": paths[1]}})
    with xarray.open_zarr(differing.data) as data:
        assert data.B1.dtype == np.float32
        assert "scale_factor" not in data.B1.encoding
        for number, offset in enumerate((-1.0, 3.0)):
            np.testing.assert_allclose(data.B1.values[number], images[number][rows, cols] * 0.5 + offset, rtol=1e-6)


def test_another_grid_is_gdals(place: Path) -> None:
    image = pixels(7)
    made = stacked(
        place, {"a": {"B1": write(place / "files" / "a.tif", image, nodata=0)}}, crs="EPSG:3857", resolution=20, resampling="bilinear"
    )
    with xarray.open_zarr(made.data) as data:
        expected = np.zeros(data.B1.shape[1:], np.float64)
        reproject(
            image.astype(np.float64), expected, src_transform=ORIGIN, src_crs="EPSG:32632", dst_transform=data.rio.transform(),
            dst_crs="EPSG:3857", resampling=rasterio.enums.Resampling.bilinear,
        )  # fmt: skip
        assert np.abs(data.B1.values[0] - np.round(expected)).max() <= 1
        assert data.rio.resolution() == (20.0, -20.0)


def test_classes_are_not_mixed(place: Path) -> None:
    files = {"SCL": write(place / "files" / "scl.tif", pixels(8, dtype="uint8", high=5))}
    with pytest.raises(SpecError, match="would invent values"):
        stacked(place, {"a": files}, resampling="cubic")


@pytest.mark.slow
def test_netcdf_and_deep_chunks_hold_the_same(place: Path) -> None:
    scenes = {name: {"B1": write(place / "files" / f"{name}.tif", pixels(seed), nodata=0)} for seed, name in enumerate("abcde")}
    plain = stacked(place, scenes)
    with xarray.open_zarr(plain.data) as data:
        expected = data.B1.values
        assert data.B1.encoding["chunks"][0] == 1
    deep = read(str(place / "ws"), {"kind": "stack", "area": AREA, "chunks": {"time": 2, "y": 16, "x": 16}}, run_id="r2")
    with xarray.open_zarr(deep.data) as data:
        assert data.B1.encoding["chunks"] == (2, 16, 16)
        assert np.array_equal(data.B1.values, expected)
    netcdf = read(str(place / "ws"), {"kind": "stack", "area": AREA, "format": "netcdf"}, run_id="r3")
    with xarray.open_dataset(netcdf.data, engine="h5netcdf", decode_coords="all") as data:
        assert np.array_equal(data.B1.values, expected)
        assert data.rio.crs.to_epsg() == 32632
        assert list(data.scene.values) == list("abcde")
    with xarray.open_dataset(netcdf.data, engine="h5netcdf", mask_and_scale=False) as raw:
        assert raw.B1.dtype == np.uint16


@pytest.mark.slow
def test_scenes_of_a_day_are_put_together(place: Path) -> None:
    """The first that has a pixel gives it; the day is that of the sun."""
    first, second = pixels(9), pixels(10)
    first[:, 50:] = 0
    made = stacked(
        place,
        {name: {"B1": write(place / "files" / f"{name}.tif", image, nodata=0)} for name, image in (("a", first), ("b", second))},
        by="solar_day",
    )
    with xarray.open_zarr(made.data, mask_and_scale=False) as raw:
        rows, cols = window_of(raw)
        assert raw.scene.values.tolist() == ["a,b"]
        assert np.array_equal(raw.B1.values[0], np.where(first == 0, second, first)[rows, cols])


@pytest.mark.parametrize(("hour", "longitude", "day"), [(23, 10.0, "2024-06-01"), (23, 20.0, "2024-06-02"), (1, -20.0, "2024-05-31")])
def test_the_day_is_that_of_the_sun(hour: int, longitude: float, day: str) -> None:
    assert solar_day(datetime(2024, 6, 1, hour) + timedelta(0), longitude) == day
