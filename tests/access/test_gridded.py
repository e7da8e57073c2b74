"""Files on a grid against GDAL's warp of the whole file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling as Kernel
from rasterio.transform import Affine, from_origin
from rasterio.warp import reproject, transform_bounds

from rasterloom.access.pixels.gridded import common_crs, grid_of, on_grid, projected
from rasterloom.access.pixels.values import BandFile, Pixels
from rasterloom.access.pixels.warp import Resampling, warped
from rasterloom.errors import SpecError, Unreadable
from rasterloom.raster.grid import Grid
from rasterloom.raster.tiles import Window, window_affine
from tests.access.gridfiles import EXACT_WARP, band_files, engine, to_affine, write

RNG = np.random.default_rng(5)
SMOOTH = (np.add.outer(np.arange(300) * 7.0, np.arange(300) * 3.0) + 500).astype("float32")


def noisy(dtype: str = "uint16") -> np.ndarray[Any, Any]:
    return RNG.integers(1, 200, (300, 300)).astype(dtype)


def read(files: list[BandFile], grid: Grid, resampling: Resampling = "nearest") -> list[Pixels]:
    answers = sorted(on_grid(engine(), files, grid, resampling=resampling), key=lambda answer: answer.index)
    assert [answer.index for answer in answers] == list(range(len(files)))
    return [answer.pixels for answer in answers]


def gdal(path: Path, grid: Grid, kernel: Kernel, fill: float, nodata: float | None = None) -> np.ndarray[Any, Any]:
    """The whole file by GDAL, with its nodata; `fill` where it has nothing."""
    with rasterio.open(path) as file:
        made = np.full((grid.height, grid.width), fill, file.dtypes[0])
        reproject(
            file.read(1),
            made,
            src_transform=file.transform,
            src_crs=file.crs,
            dst_transform=to_affine(grid),
            dst_crs=grid.crs,
            src_nodata=file.nodata if nodata is None else nodata,
            dst_nodata=fill,
            resampling=kernel,
            tolerance=0,
        )
    return made


def other_zone(path: Path, resolution: float = 10.0) -> Grid:
    with rasterio.open(path) as file:
        return grid_of([shapely.box(*transform_bounds(file.crs, "EPSG:4326", *file.bounds))], crs="EPSG:32633", resolution=resolution)


def middle(path: Path, resolution: float) -> Grid:
    """A square inside of the file, in the next zone."""
    with rasterio.open(path) as file:
        left, bottom, right, top = transform_bounds(file.crs, "EPSG:32633", *file.bounds)
    x, y, half = (left + right) / 2, (bottom + top) / 2, (right - left) / 3
    count = int(2 * half / resolution)
    return Grid(crs="EPSG:32633", affine=(resolution, 0.0, x - half, 0.0, -resolution, y + half), width=count, height=count)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "int64", "float32", "float64", "complex64"])
def test_nearest_is_gdals_for_every_type(tmp_path: Path, dtype: str) -> None:
    path = write(tmp_path / "a.tif", noisy(dtype), nodata=None)
    grid = other_zone(path)
    (pixels,) = read(band_files([path]), grid)
    expected = gdal(path, grid, Kernel.nearest, 0)
    assert pixels.data.dtype == expected.dtype
    assert (pixels.valid == (expected != 0)).mean() > (0.9999 if EXACT_WARP else 0.9995)
    assert (pixels.data == expected)[pixels.valid].mean() > (0.9995 if EXACT_WARP else 0.998)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(col=st.integers(-80, 320), row=st.integers(-80, 320), width=st.integers(1, 120), height=st.integers(1, 120))
def test_any_aligned_window_is_cut_from_the_file(aligned: tuple[BandFile, Any], col: int, row: int, width: int, height: int) -> None:
    file, data = aligned
    grid = Grid(crs="EPSG:32632", affine=(10.0, 0.0, 600_000 + 10.0 * col, 0.0, -10.0, 5_100_000 - 10.0 * row), width=width, height=height)
    (pixels,) = read([file], grid, "bilinear")
    padded = np.pad(data, 500, constant_values=0)
    np.testing.assert_array_equal(pixels.data, padded[500 + row : 500 + row + height, 500 + col : 500 + col + width])
    np.testing.assert_array_equal(pixels.valid, pixels.data > 0)


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> tuple[BandFile, Any]:
    data = noisy()
    (file,) = band_files([write(tmp_path_factory.mktemp("aligned") / "a.tif", data, nodata=None)])
    return file, data


def test_an_aligned_grid_is_a_copy(tmp_path: Path) -> None:
    data = noisy()
    path = write(tmp_path / "a.tif", data)
    grid = Grid(crs="EPSG:32632", affine=(10.0, 0.0, 600_000 - 50, 0.0, -10.0, 5_100_000 - 70), width=20, height=15)
    for resampling in ("nearest", "bilinear", "cubic", "average", "mode"):
        (pixels,) = read(band_files([path]), grid, resampling)
        assert not pixels.valid[:, :5].any()
        assert pixels.valid[:, 5:].all()
        np.testing.assert_array_equal(pixels.data[:, 5:], data[7:22, :15])


@pytest.mark.parametrize("resampling", ["bilinear", "cubic", "average"])
@pytest.mark.parametrize("resolution", [7.0, 10.0, 33.0])
def test_nodata_never_bleeds(tmp_path: Path, resampling: Resampling, resolution: float) -> None:
    data = SMOOTH.copy()
    data[100:140, 80:200] = data[10, 10] = -9999
    path = write(tmp_path / "a.tif", data, nodata=-9999)
    for grid in (other_zone(path, resolution), middle(path, resolution)):
        (pixels,) = read(band_files([path]), grid, resampling)
        assert pixels.data[pixels.valid].min() > 400
        assert pixels.data[pixels.valid].max() < SMOOTH.max() + 100
        expected = gdal(path, grid, Kernel[resampling], np.nan)
        assert (pixels.valid == ~np.isnan(expected)).mean() > 0.9998
    both = pixels.valid & ~np.isnan(expected)
    assert np.abs(pixels.data - expected)[both].max() < 0.2, "GDAL takes another width of kernel where a grid reaches beyond the file"
    assert both.mean() > 0.5


def test_a_pixel_is_the_same_in_every_window(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noisy("float32"), nodata=None)
    grid = middle(path, 13.0)
    part = Grid(crs=grid.crs, affine=window_affine(grid.affine, Window(col=40, row=20, width=30, height=90)), width=30, height=90)
    for resampling in ("bilinear", "cubic", "average"):
        (whole,), (cut,) = (read(band_files([path]), each, resampling) for each in (grid, part))
        np.testing.assert_allclose(cut.data, whole.data[20:110, 40:70], atol=0.5)


def test_classes_stay_classes(tmp_path: Path) -> None:
    data = np.kron(RNG.choice([0, 3, 50, 80, 200], (60, 60)), np.ones((5, 5), int)).astype("uint8")
    path = write(tmp_path / "a.tif", data, nodata=0)
    for resolution in (10.0, 23.0):
        for resampling in ("nearest", "mode"):
            (pixels,) = read(band_files([path]), other_zone(path, resolution), resampling)
            assert set(np.unique(pixels.data[pixels.valid])) == {3, 50, 80, 200}
            assert pixels.valid.any()


def test_the_coarsest_overview_that_is_fine_enough(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", SMOOTH, overviews=[2, 4], overview_resampling=Kernel.average)
    affine = from_origin(600_000, 5_100_000, 40, 40)
    grid = Grid(crs="EPSG:32632", affine=tuple(affine)[:6], width=75, height=75)  # type: ignore[arg-type]
    (pixels,) = read(band_files([path]), grid)
    with rasterio.open(path, overview_level=1) as file:
        np.testing.assert_array_equal(pixels.data, file.read(1))
    finer = Grid(crs="EPSG:32632", affine=(30.0, 0.0, 600_000.0, 0.0, -30.0, 5_100_000.0), width=100, height=100)
    (pixels,) = read(band_files([path]), finer, "bilinear")
    assert np.abs(pixels.data - SMOOTH.reshape(100, 3, 100, 3).mean(axis=(1, 3)))[2:-2, 2:-2].max() < 6


def test_a_rotated_file(tmp_path: Path) -> None:
    turned = Affine.translation(600_000, 5_100_000) @ Affine.rotation(-25) @ Affine.scale(10, -10)
    path = write(tmp_path / "a.tif", noisy(), transform=turned, nodata=None)
    grid = Grid(crs="EPSG:32632", affine=(10.0, 0.0, 599_000.0, 0.0, -10.0, 5_101_000.0), width=450, height=450)
    (pixels,) = read(band_files([path]), grid)
    expected = gdal(path, grid, Kernel.nearest, 0)
    assert (pixels.data == expected).mean() > 0.9995
    assert pixels.valid.any()


def test_an_affine_that_gdal_takes_for_none(tmp_path: Path) -> None:
    data = noisy()
    path = write(tmp_path / "a.tif", data, crs="EPSG:3857", transform=from_origin(-20, 30, 1, 1), nodata=None)
    (file,) = band_files([path])
    ones = Grid(crs="EPSG:3857", affine=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0), width=50, height=40)
    half = Grid(crs="EPSG:3857", affine=(0.5, 0.0, 0.0, 0.0, -0.5, 0.0), width=100, height=80)
    (pixels,) = read([file], ones, "bilinear")
    np.testing.assert_array_equal(pixels.data, data[30:70, 20:70])
    source = Pixels(data=pixels.data, valid=pixels.valid)
    np.testing.assert_array_equal(warped(source, ones, half, "nearest").data, np.kron(pixels.data, np.ones((2, 2), int)))
    back = warped(Pixels(data=np.kron(pixels.data, np.ones((2, 2), "uint16")), valid=np.ones((80, 100), bool)), half, ones, "average")
    np.testing.assert_array_equal(back.data, pixels.data)
    assert back.valid.all()


def test_what_lies_beside_the_grid_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noisy())
    files = band_files([path])
    path.unlink()
    (pixels,) = read(files, Grid(crs="EPSG:32632", affine=(10.0, 0.0, 700_000.0, 0.0, -10.0, 5_100_000.0), width=4, height=3))
    assert (pixels.data.shape, pixels.data.dtype, pixels.valid.any()) == ((3, 4), np.uint16, False)


def test_a_file_without_a_place_is_one_answer(tmp_path: Path) -> None:
    good = write(tmp_path / "a.tif", noisy())
    (file,) = band_files([good])
    placeless = replace(file, header=replace(file.header, transform=None))
    answers = {answer.index: answer.read for answer in on_grid(engine(), [placeless, file], other_zone(good))}
    assert isinstance(answers[0], Unreadable)
    assert isinstance(answers[1], Pixels)


def test_a_grid_covers_its_area_and_is_aligned() -> None:
    area = [shapely.box(9.0, 45.0, 9.2, 45.1)]
    grid = grid_of(area, crs="EPSG:32632", resolution=(10.0, 20.0))
    assert grid.affine[2] % 10 == grid.affine[5] % 20 == 0
    bounds = projected(area[0], "EPSG:32632").bounds
    box = grid.bounds
    assert box.left <= bounds[0] < box.left + 10
    assert box.top - 20 < bounds[3] <= box.top
    assert box.right - 10 < bounds[2] <= box.right
    assert box.bottom <= bounds[1] < box.bottom + 20
    expected = transform_bounds("EPSG:4326", "EPSG:32632", 9.0, 45.0, 9.2, 45.1, densify_pts=101)
    np.testing.assert_allclose(bounds, expected, atol=0.05)


@pytest.mark.parametrize("resolution", [0, -10.0, float("nan"), (10.0, 0.0)])
def test_a_wrong_resolution_is_told(resolution: Any) -> None:
    with pytest.raises(SpecError) as caught:
        grid_of([shapely.box(9, 45, 10, 46)], crs="EPSG:32632", resolution=resolution)
    assert caught.value.remedy


def test_the_crs_of_most_files(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{number}.tif", noisy(), crs=crs) for number, crs in enumerate(["EPSG:32633", "EPSG:32632", "EPSG:32632"])]
    assert common_crs(band_files(paths)) == "EPSG:32632"
    with pytest.raises(SpecError):
        common_crs([])
