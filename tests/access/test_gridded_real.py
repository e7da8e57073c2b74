"""Real files on grids: every affine COG of ../shared, warped by us from the windows that are needed, and by GDAL as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from pyproj.exceptions import ProjError
from rasterio.enums import Resampling as Kernel
from rasterio.warp import reproject

from rasterloom.access.pixels.gridded import on_grid, read_for
from rasterloom.access.pixels.warp import gdal_crs
from rasterloom.raster.grid import Grid
from tests.access.gridfiles import EXACT_WARP, band_files, engine, is_other_jpeg, to_affine

pytestmark = pytest.mark.shared
LARGEST = 6_000_000
"""Pixels of a file that GDAL reads as a whole here."""


def files(shared: Path) -> list[Path]:
    found = []
    for path in sorted((shared / "data" / "cogs").glob("*/*.tif*")):
        with rasterio.open(path) as file:
            is_placed = file.crs is not None and not file.gcps[0] and abs(file.transform.a) != 1
            if is_placed and file.width * file.height <= LARGEST and path.name != "corrupt.tif":
                found.append(path)
    return found


def grid_in(path: Path, crs: str, size: int = 150) -> Grid | None:
    """A square in the middle of the file whose pixels are about as large as its own."""
    with rasterio.open(path) as file:
        x, y = file.transform @ (file.width / 2, file.height / 2)
        x2, y2 = file.transform @ (file.width / 2 + 1, file.height / 2)
        try:
            mover = Transformer.from_crs(file.crs.to_wkt(), crs, always_xy=True)
        except ProjError:  # one is of Mars
            return None
    (left, right), (top, down) = mover.transform([x, x2], [y, y2])
    step = float(np.hypot(right - left, down - top))
    if not np.isfinite([left, top, step]).all() or step == 0:
        return None
    return Grid(crs=crs, affine=(step, 0.0, left - step * size / 2, 0.0, -step, top + step * size / 2), width=size, height=size)


@pytest.mark.slow
@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:6933"])
def test_nearest_is_gdals_over_real_files(shared: Path, crs: str) -> None:
    compared = 0
    for path in files(shared):
        grid = grid_in(path, crs)
        if grid is None:
            continue
        (file,) = band_files([path])
        read = read_for(file, grid, "nearest")
        (answer,) = on_grid(engine(), [file], grid)
        pixels = answer.pixels
        level = (read.level if read else 0) - 1
        with rasterio.open(path, **({"overview_level": level} if level >= 0 else {})) as source:
            if is_other_jpeg(source):
                continue
            data = np.where(source.read_masks(1) > 0, source.read(1).astype("float64"), np.nan)
            expected = np.full((grid.height, grid.width), np.nan)
            reproject(
                data, expected, src_transform=source.transform, src_crs=gdal_crs(file.crs), dst_transform=to_affine(grid),
                dst_crs=crs, src_nodata=np.nan, dst_nodata=np.nan, resampling=Kernel.nearest, tolerance=0,
            )  # fmt: skip
        same = np.where(pixels.valid, (pixels.data == expected) | np.isnan(pixels.data), np.isnan(expected))
        assert same.mean() > (0.998 if EXACT_WARP else 0.95), f"{path.name}: {same.mean():.4f}"
        compared += 1
    assert compared > 20
