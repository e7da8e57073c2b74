"""Places of pixels against pyproj, one by one, and what is picked and blended there against GDAL's exact warp."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyproj import Transformer
from rasterio.enums import Resampling as Kernel
from rasterio.transform import Affine
from rasterio.warp import reproject

from rasterloom.access.pixels.places import patches
from rasterloom.access.pixels.values import Pixels
from rasterloom.access.pixels.warp import Resampling, warped
from rasterloom.raster.grid import Grid
from tests.access.gridfiles import EXACT_WARP

needs_exact_warp = pytest.mark.skipif(not EXACT_WARP, reason="rasterio 1.4 warps by an interpolated projection alone")
UTM = Grid(crs="EPSG:32632", affine=(10.0, 0.0, 600_000.0, 0.0, -10.0, 5_100_000.0), width=300, height=280)
EARTH = Grid(crs="EPSG:4326", affine=(0.5, 0.0, -180.0, 0.0, -0.5, 90.0), width=720, height=360)
PACIFIC = Grid(crs="EPSG:4326", affine=(0.01, 0.0, 175.0, 0.0, -0.01, 5.0), width=1000, height=1000)
"""Counts longitudes on beyond 180."""


def over(crs: str, step: float, count: int) -> Grid:
    """A square around the middle of UTM."""
    return square(crs, *Transformer.from_crs(UTM.crs, crs, always_xy=True).transform(601_500, 5_098_600), step, count)


def square(crs: str, x: float, y: float, step: float, count: int) -> Grid:
    return Grid(crs=crs, affine=(step, 0.0, x - step * count / 2, 0.0, -step, y + step * count / 2), width=count, height=count)


NEXT_ZONE = over("EPSG:32633", 10.0, 300)
CASES = {
    "next zone": (UTM, NEXT_ZONE),
    "coarser": (UTM, over("EPSG:32633", 37.0, 100)),
    "mercator": (UTM, over("EPSG:3857", 14.0, 260)),
    "halves": (UTM, Grid(crs="EPSG:32632", affine=(20.0, 0.0, 599_960.0, 0.0, -20.0, 5_100_060.0), width=170, height=150)),
    "antimeridian": (PACIFIC, square("EPSG:32601", 100_000, 0, 1000.0, 600)),
    "all of the Earth": (EARTH, Grid(crs="EPSG:6933", affine=(5e4, 0.0, -17_367_530.0, 0.0, -5e4, 7_314_540.0), width=694, height=292)),
}


def noise(grid: Grid) -> Pixels:
    """Of any height, with holes."""
    rng = np.random.default_rng(7)
    data = rng.integers(1, 10_000, (grid.height, grid.width)).astype("uint16")
    data[rng.random(data.shape) < 0.03] = 0
    data[20:60, 30:50] = 0
    return Pixels(data=data, nodata=0)


def gdal(pixels: Pixels, source: Grid, target: Grid, kernel: Kernel, scale: float | None = None) -> np.ndarray[Any, Any]:
    """With an exact projection; NaN where there is no valid pixel."""
    made = np.full((target.height, target.width), np.nan)
    scales: dict[str, Any] = {} if scale is None else {"XSCALE": scale, "YSCALE": scale}
    reproject(
        np.where(pixels.valid, pixels.data, np.nan), made, src_transform=Affine(*source.affine), src_crs=source.crs,
        dst_transform=Affine(*target.affine), dst_crs=target.crs, src_nodata=np.nan, dst_nodata=np.nan, resampling=kernel,
        tolerance=0, **scales,
    )  # fmt: skip
    return made


def box_of_a_pixel(target: Grid, source: Grid) -> float:
    """Columns of the source that the box around a pixel in the middle of the target has."""
    step, _, left, _, _, top = target.affine
    x, y = left + step * target.width / 2, top - step * target.height / 2
    xs, _ = Transformer.from_crs(target.crs, source.crs, always_xy=True).transform([x, x + step, x], [y, y, y - step])
    return float(abs(xs[1] - xs[0]) + abs(xs[2] - xs[0])) / source.affine[0]


@needs_exact_warp
@pytest.mark.parametrize("case", CASES)
def test_nearest_is_gdals_exact_one(case: str) -> None:
    source, target = CASES[case]
    pixels = noise(source)
    made, expected = warped(pixels, source, target, "nearest"), gdal(pixels, source, target, Kernel.nearest)
    assert 0.05 < made.valid.mean() < 1
    assert (made.valid == ~np.isnan(expected)).mean() > 0.9999
    both = made.valid & ~np.isnan(expected)
    assert (made.data == expected)[both].mean() > 0.9999
    assert not made.data[~made.valid].any()


@needs_exact_warp
@pytest.mark.parametrize("case", ["next zone", "mercator", "halves", "antimeridian"])
def test_bilinear_is_gdals_of_the_same_width(case: str) -> None:
    source, target = CASES[case]
    pixels = noise(source)
    made = warped(pixels, source, target, "bilinear")
    wide = {"next zone": 1 / box_of_a_pixel(target, source), "halves": 0.5}.get(case, 1.0)
    expected = gdal(pixels, source, target, Kernel.bilinear, wide)
    assert (made.valid == ~np.isnan(expected)).mean() > 0.9999
    both = made.valid & ~np.isnan(expected)
    assert np.abs(made.data - expected)[both].max() < 0.6, "rounded, and a pixel of the target is not everywhere as large"


def test_places_are_those_of_pyproj() -> None:
    """Each pixel once, between two zones over a hundred kilometres."""
    wide = Grid(crs="EPSG:32632", affine=(10.0, 0.0, 600_000.0, 0.0, -10.0, 5_100_000.0), width=10_980, height=10_980)
    target = square("EPSG:32633", 190_000, 5_060_000, 10.0, 10_000)
    seen = np.zeros((target.height, target.width), np.uint8)
    move = Transformer.from_crs(target.crs, wide.crs, always_xy=True)
    a, _, c, _, e, f = target.affine
    for number, patch in enumerate(patches(wide, target)):
        seen[patch.rows, patch.cols] += 1
        if number % 97 == 0:
            cols, rows = np.meshgrid(np.arange(patch.cols.start, patch.cols.stop) + 0.5, np.arange(patch.rows.start, patch.rows.stop) + 0.5)
            x, y = move.transform(a * cols + c, e * rows + f)
            np.testing.assert_allclose(patch.x, (x - 600_000) / 10, atol=0.0002)
            np.testing.assert_allclose(patch.y, (5_100_000 - y) / 10, atol=0.0002)
    assert (seen == 1).all()


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_a_plain_field_stays_plain(dtype: str, resampling: Resampling) -> None:
    """Whatever holes it has, and however wide the kernel is."""
    valid = np.random.default_rng(1).random((280, 300)) > 0.3
    pixels = Pixels(data=np.where(valid, 100, 7).astype(dtype), valid=valid)
    for target in (NEXT_ZONE, CASES["coarser"][1], CASES["halves"][1]):
        made = warped(pixels, UTM, target, resampling)
        assert made.data.dtype == dtype
        np.testing.assert_allclose(made.data[made.valid], 100, rtol=1e-7)
        assert 0.02 < made.valid.mean() < 0.9


def test_what_is_not_finite_has_no_weight() -> None:
    data = np.full((280, 300), 5, np.float32)
    data[::7, ::5], data[3::11, 2::13] = np.nan, np.inf
    made = warped(Pixels(data=data), UTM, NEXT_ZONE, "bilinear")
    np.testing.assert_allclose(made.data[made.valid], 5, rtol=1e-6)


def test_one_pixel() -> None:
    one = Grid(crs="EPSG:32632", affine=(10_000.0, 0.0, 598_000.0, 0.0, -10_000.0, 5_102_000.0), width=1, height=1)
    for resampling in ("nearest", "bilinear"):
        made = warped(Pixels(data=np.array([[9]], np.uint8), nodata=0), one, NEXT_ZONE, resampling)
        assert (made.data[made.valid] == 9).all()
        assert made.valid.any()
