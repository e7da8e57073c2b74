"""Pixels of one raster on another grid: a copy where both are aligned, else GDAL's warp, in which nodata has no weight."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pyproj
from numpy.typing import NDArray
from pyproj.exceptions import ProjError

from rasterloom.access.pixels.values import Pixels
from rasterloom.errors import SpecError, Unreadable
from rasterloom.raster.gdal import hide_false_warnings, load_gdal
from rasterloom.raster.grid import Grid
from rasterloom.raster.header import Affine

Resampling = Literal["nearest", "bilinear", "cubic", "average", "mode"]
"""How a pixel is made from those around it. `nearest` and `mode` give values that stand in the file: what classes and bit masks need."""
PICKING: tuple[Resampling, ...] = ("nearest", "mode")
"""The resamplings that invent no value."""
REACH: dict[Resampling, int] = {"nearest": 1, "bilinear": 1, "cubic": 2, "average": 1, "mode": 1}
"""Pixels of the source, or of the target where that is coarser, that a kernel reaches to each side."""

_TOLERANCE = 0.001
"""Pixels of the source by which GDAL's linear interpolation of a projection may miss (measured: as fast as its default, 0.125)."""
_ALIGNED = 1e-3
"""Pixels by which two grids may differ over their whole length and still be one: the noise of stored degrees."""
_AT_ONCE = 1 << 20
"""Pixels that are picked at a time: the places take 8 bytes each."""
_SAME_SIZE = 0.05
"""By how much a number of pixels may differ from a whole one and still be it: GDAL's own."""
_EXACT_AS_FLOAT32 = ("int8", "uint8", "int16", "uint16", "float16", "float32")


def warped(pixels: Pixels, source: Grid, target: Grid, resampling: Resampling) -> Pixels:
    """`pixels` of `source` on `target`, in their dtype; False in `valid` where the source has none.

    `bilinear`, `cubic`: the mean of the valid pixels around by the kernel's weights, valid where the pixel under the centre is.
    `average`, `mode`: over the valid pixels that the target's pixel covers. Integers are rounded, halves up. Raises `Unreadable` (`crs`).
    """
    found = _pasted(pixels, source, target)
    if found is not None:
        return found
    if resampling == "nearest":
        return _picked(pixels, source, target)
    return _mixed(pixels, source, target, resampling)


def checked_resampling(resampling: str) -> Resampling:
    """Raises SpecError for what is none."""
    for known in REACH:
        if resampling == known:
            return known
    raise SpecError(f"resampling {resampling!r} is not known", remedy=f"it is one of {', '.join(REACH)}")


@lru_cache(maxsize=64)
def known_crs(crs: str) -> pyproj.CRS:
    """`EPSG:n`, WKT or PROJJSON text. Raises `Unreadable` (`crs`)."""
    try:
        return pyproj.CRS.from_user_input(json.loads(crs) if crs.startswith("{") else crs)
    except ProjError as error:
        raise Unreadable(f"the CRS {crs[:60]!r} is not known: {error}", reason="crs", remedy="leave the scene out with where()") from error


@lru_cache(maxsize=256)
def same_crs(one: str, other: str) -> bool:
    """Whether two texts mean the same coordinates, whatever their order of axes: x is always east or longitude here."""
    return one == other or known_crs(one).equals(known_crs(other), ignore_axis_order=True)


@lru_cache(maxsize=256)
def transformer(source: str, target: str) -> pyproj.Transformer:
    """From x, y of `source` to those of `target`. Raises `Unreadable` (`crs`) where there is no way, as from the Earth to Mars."""
    try:
        return pyproj.Transformer.from_crs(known_crs(source), known_crs(target), always_xy=True)
    except ProjError as error:
        message = f"there is no way from {source[:60]} to {target[:60]}: {error}"
        raise Unreadable(message, reason="crs", remedy="leave the scene out with where()") from error


def offset_of(source: Grid, target: Grid) -> tuple[int, int] | None:
    """Column and row of `source` at which `target` begins, None where the two are not aligned."""
    if not same_crs(source.crs, target.crs):
        return None
    a, b, _, d, e, _ = source.affine
    steps = zip((a, b, d, e), (target.affine[0], target.affine[1], target.affine[3], target.affine[4]), strict=True)
    size = max(abs(a), abs(b), abs(d), abs(e))
    if max(abs(one - other) for one, other in steps) * max(target.width, target.height) > _ALIGNED * size:
        return None
    col, row = to_pixel(source.affine, target.affine[2], target.affine[5])
    return (round(col), round(row)) if max(abs(col - round(col)), abs(row - round(row))) < _ALIGNED else None


def to_pixel(affine: Affine, x: Any, y: Any) -> tuple[Any, Any]:
    """Column and row, 0.0 at the corner of the first pixel; numbers or arrays."""
    a, b, c, d, e, f = affine
    area = a * e - b * d
    return (e * (x - c) - b * (y - f)) / area, (a * (y - f) - d * (x - c)) / area


def seen_from(crs: str, affine: Affine, grid: Grid, cols: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Columns and rows of a grid as those of the raster that has `affine` in `crs`; infinite where there is no such place."""
    a, b, c, d, e, f = grid.affine
    x, y = a * cols + b * rows + c, d * cols + e * rows + f
    return to_pixel(affine, *((x, y) if same_crs(crs, grid.crs) else transformer(grid.crs, crs).transform(x, y)))


def nothing(dtype: np.dtype[Any], grid: Grid) -> Pixels:
    """No valid pixel."""
    shape = (grid.height, grid.width)
    return Pixels(data=np.zeros(shape, dtype), valid=np.zeros(shape, bool))


def _pasted(pixels: Pixels, source: Grid, target: Grid) -> Pixels | None:
    """The same pixels, where the grids are aligned."""
    at = offset_of(source, target)
    if at is None:
        return None
    if at == (0, 0) and pixels.data.shape == (target.height, target.width):
        return pixels
    made = nothing(pixels.data.dtype, target)
    col, row = at
    rows = slice(max(row, 0), min(row + target.height, source.height))
    cols = slice(max(col, 0), min(col + target.width, source.width))
    if rows.start < rows.stop and cols.start < cols.stop:
        place = (slice(rows.start - row, rows.stop - row), slice(cols.start - col, cols.stop - col))
        made.data[place] = pixels.data[rows, cols]
        made.valid[place] = pixels.valid[rows, cols]
    return made


def _picked(pixels: Pixels, source: Grid, target: Grid) -> Pixels:
    """The pixel under the centre: GDAL warps the numbers of rows and columns, so that every dtype and the mask stay as they are."""
    kind = np.uint16 if max(pixels.data.shape) < 65535 else np.float64
    numbers = np.empty((2, *pixels.data.shape), kind)
    numbers[0] = np.arange(1, source.height + 1, dtype=kind)[:, None]
    numbers[1] = np.arange(1, source.width + 1, dtype=kind)[None, :]
    found = _reprojected(numbers, source, target, "nearest")
    made = nothing(pixels.data.dtype, target)
    data, valid = pixels.data.ravel(), pixels.valid.ravel()
    step = max(_AT_ONCE // target.width, 1)
    for part in (slice(first, first + step) for first in range(0, target.height, step)):
        rows, cols = found[:, part].astype(np.intp)
        there = rows > 0
        places = np.maximum((rows - 1) * source.width + cols - 1, 0)
        made.valid[part] = valid.take(places) & there
        np.copyto(made.data[part], data.take(places), where=there)
    return made


def _mixed(pixels: Pixels, source: Grid, target: Grid, resampling: Resampling) -> Pixels:
    """Invalid pixels go in as NaN, which is GDAL's nodata here: it gives them no weight."""
    dtype = pixels.data.dtype
    if dtype.kind == "c":
        raise SpecError(f"complex pixels cannot be resampled by {resampling}", remedy="ask for resampling nearest")
    work = np.where(pixels.valid, pixels.data, np.nan).astype(np.float32 if dtype.name in _EXACT_AS_FLOAT32 else np.float64)
    values = _reprojected(work[None], source, target, resampling, nodata=np.nan)[0]
    valid = ~np.isnan(values)
    values[~valid] = 0
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        values = np.floor(values + 0.5).clip(info.min, info.max)
    return Pixels(data=values.astype(dtype), valid=valid)


def _reprojected(bands: NDArray[Any], source: Grid, target: Grid, resampling: Resampling, nodata: float | None = None) -> NDArray[Any]:
    """Shape (bands, height, width) of the target, 0 or `nodata` where the source has nothing."""
    hide_false_warnings()
    from rasterio.enums import Resampling as Kernel  # noqa: PLC0415
    from rasterio.errors import RasterioError  # noqa: PLC0415
    from rasterio.transform import Affine as Transform  # noqa: PLC0415
    from rasterio.warp import reproject  # noqa: PLC0415

    if _is_unseen(source):
        return _reprojected(
            np.pad(bands, ((0, 0), (0, 0), (1, 0)), constant_values=nodata or 0), _wider(source), target, resampling, nodata
        )
    if _is_unseen(target):
        return _reprojected(bands, source, _wider(target), resampling, nodata)[:, :, 1:]
    made = np.zeros((len(bands), target.height, target.width), bands.dtype)
    try:
        reproject(
            bands,
            made,
            src_transform=Transform(*source.affine),
            src_crs=gdal_crs(source.crs),
            dst_transform=Transform(*target.affine),
            dst_crs=gdal_crs(target.crs),
            src_nodata=nodata,
            dst_nodata=nodata,
            resampling=Kernel[resampling],
            tolerance=_TOLERANCE,
            **_scales(source, target),
        )
    except RasterioError as error:
        raise Unreadable(f"GDAL cannot warp from {source.crs[:60]} to {target.crs[:60]}: {error}", reason="crs") from error
    return made


def _is_unseen(grid: Grid) -> bool:
    """GDAL takes an affine of ones and zeros for none at all (`GDALCreateGenImgProjTransformer2`)."""
    a, b, c, d, e, f = grid.affine
    return (a, b, c, d, abs(e), f) == (1, 0, 0, 0, 1, 0)


def _wider(grid: Grid) -> Grid:
    """With one more column on the left."""
    a, b, c, d, e, f = grid.affine
    return Grid(crs=grid.crs, affine=(a, b, c - a, d, e, f - d), width=grid.width + 1, height=grid.height)


def _scales(source: Grid, target: Grid) -> dict[str, Any]:
    """Pixels of the target per pixel of the source: how wide a kernel is. A pixel of the target is as large as its box in the source.

    GDAL would take the sizes of both windows, so that the same pixel came out otherwise in another window; of square ones it makes
    these numbers. Almost whole numbers of pixels are whole, as it has them.
    """
    cols, rows = np.meshgrid(*(np.array([0.25, 0.5, 0.75]) * length for length in (target.width, target.height)))
    here, across, down = (seen_from(source.crs, source.affine, target, cols + x, rows + y) for x, y in ((0, 0), (1, 0), (0, 1)))
    boxes = [np.abs(across[axis] - here[axis]) + np.abs(down[axis] - here[axis]) for axis in (0, 1)]
    sizes = [float(np.median(box[np.isfinite(box)])) if np.isfinite(box).any() else 1.0 for box in boxes]
    whole = [max(round(size), 1) for size in sizes]
    return {
        name: 1 / (near if abs(size - near) < _SAME_SIZE else size)
        for name, size, near in zip(("XSCALE", "YSCALE"), sizes, whole, strict=True)
    }


@lru_cache(maxsize=64)
def gdal_crs(crs: str) -> Any:
    """The CRS as rasterio takes it. Raises `Unreadable` (`crs`)."""
    load_gdal()
    from rasterio.crs import CRS  # noqa: PLC0415

    return CRS.from_user_input(crs) if crs.startswith("EPSG:") else CRS.from_wkt(known_crs(crs).to_wkt())
