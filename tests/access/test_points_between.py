"""Points between pixels against GDAL's bilinear warp onto a grid whose centres they are, and against four pixels by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling as Kernel
from rasterio.transform import Affine, from_origin
from rasterio.warp import reproject

from rasterloom.access.pixels.points import PointIndex, located, read_hits
from rasterloom.access.pixels.vectors import Named, points_of
from rasterloom.errors import SpecError
from tests.access.gridfiles import band_files, engine
from tests.access.test_pixels import EFFORT, collection, write

CORNER = (500_000, 5_000_000)
CENTRES = Affine(7.3, 0, 499_990, 0, -7.3, 5_000_010)
"""Of the first pixels of a grid that begins beside the file."""
SIZE = 360


def centres() -> np.ndarray[Any, Any]:
    rows, cols = np.mgrid[:SIZE, :SIZE] + 0.5
    return np.column_stack([(CENTRES.a * cols + CENTRES.c).ravel(), (CENTRES.e * rows + CENTRES.f).ravel()])


def gdal(path: Path) -> np.ndarray[Any, Any]:
    """At the centres; NaN where there is no valid pixel."""
    with rasterio.open(path) as file:
        data = np.where(file.read_masks(1) > 0, file.read(1).astype(float), np.nan)
        made = np.full((SIZE, SIZE), np.nan)
        reproject(
            data, made, src_transform=file.transform, src_crs=file.crs, dst_transform=CENTRES, dst_crs=file.crs, src_nodata=np.nan,
            dst_nodata=np.nan, resampling=Kernel.bilinear, XSCALE=1, YSCALE=1,
        )  # fmt: skip
    return made.ravel()


@pytest.mark.parametrize("kind", [{}, {"nodata": 7}, {"dtype": "float32", "nodata": None}, {"size": 250, "nodata": 9}])
def test_values_are_those_of_gdals_warp(tmp_path: Path, kind: dict[str, Any]) -> None:
    path = write(tmp_path / "a.tif", **kind)
    table = collection(tmp_path, [path]).sample_points(centres(), ["B1"], geometry_crs=32633, resampling={"B1": "bilinear"}, effort=EFFORT)
    found = np.full(SIZE * SIZE, np.nan)
    found[table["point_index"].to_numpy()] = table["value"].to_numpy()
    expected = gdal(path)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert 0.5 < np.isfinite(found).mean() < 1
    assert table["valid"].to_pylist() == np.isfinite(table["value"].to_numpy()).tolist()


def test_four_pixels_by_hand(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", nodata=None)
    with rasterio.open(path) as file:
        pixels = file.read(1).astype(float)
    places = np.array([(10.5, 20.5), (10.75, 20.5), (63.9, 64.1), (64.0, 64.0), (0.1, 0.2), (255.9, 30.5)])
    x, y = 500_000 + 10 * places[:, 0], 5_000_000 - 10 * places[:, 1]
    table = collection(tmp_path, [path]).sample_points((x, y), ["B1"], geometry_crs=32633, resampling="bilinear", effort=EFFORT)
    p = pixels
    expected = [
        p[20, 10],
        0.75 * p[20, 10] + 0.25 * p[20, 11],
        0.6 * (0.4 * p[63, 63] + 0.6 * p[64, 63]) + 0.4 * (0.4 * p[63, 64] + 0.6 * p[64, 64]),
        p[63:65, 63:65].mean(),
        p[0, 0],
        p[30, 255],
    ]
    np.testing.assert_allclose(table["value"].to_numpy(), expected, rtol=1e-9)


def test_a_tile_is_read_once_and_no_more_than_the_points_need(tmp_path: Path) -> None:
    """Tiles have 64 x 64 pixels: a point at a corner is in four of them, one in the middle of a pixel in one, whatever lies beside."""
    (file,) = band_files([write(tmp_path / "a.tif")])
    for col, row, tiles in [(64.0, 64.0, 4), (64.2, 20.0, 2), (20.0, 63.8, 2), (63.5, 64.5, 1), (0.1, 0.1, 1), (255.8, 30.0, 1)]:
        points = points_of(np.array([(500_000 + 10 * col, 5_000_000 - 10 * row)]), Named(crs=32633))
        hit, planned = located(file, np.arange(1), PointIndex(points), "bilinear")
        assert (len(planned), hit.missing) == (tiles, tiles), (col, row)
    rng = np.random.default_rng(4)
    many = points_of(np.array(CORNER) + rng.uniform(0, 2560, (5000, 2)) * (1, -1), Named(crs=32633))
    reader = engine()
    (hit,) = read_hits(reader, [located(file, np.arange(5000), PointIndex(many), "bilinear")])
    assert reader.decoded == 16
    assert len(hit.sample.points) == 5000


def test_scale_and_offset_are_applied_to_what_is_between(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", nodata=None)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.5,), (10.0,)
    x, y = [500_641.0, 501_000.0], [4_999_300.0, 4_999_000.0]
    view = collection(tmp_path, [path])
    plain, scaled = (
        view.sample_points((x, y), ["B1"], geometry_crs=32633, resampling="bilinear", scaled=each, effort=EFFORT)["value"].to_numpy()
        for each in (False, True)
    )
    np.testing.assert_allclose(scaled, plain * 0.5 + 10)


def test_what_has_nothing_between_is_told(tmp_path: Path) -> None:
    """Classes are refused, and kernels that a point does not have."""
    path = write(tmp_path / "a.tif", dtype="uint8", transform=from_origin(500_000, 5_000_000, 10, 10))
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {0: (0, 0, 0, 255), 9: (9, 9, 9, 255)})
    view = collection(tmp_path, [path])
    with pytest.raises(SpecError, match="classes or bits"):
        view.sample_points(centres(), ["B1"], geometry_crs=32633, resampling="bilinear", effort=EFFORT)
    with pytest.raises(SpecError, match="a point has no cubic"):
        view.sample_points(centres(), ["B1"], geometry_crs=32633, resampling="cubic", effort=EFFORT)
    with pytest.raises(SpecError, match="B9"):
        view.sample_points(centres(), ["B1"], geometry_crs=32633, resampling={"B9": "bilinear"}, effort=EFFORT)
