"""Pixels of one raster on another grid: a copy where both are aligned, else what GDAL's warp makes, in which nodata has no weight."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rasterloom.access.pixels.places import patches
from rasterloom.access.pixels.systems import known_crs, same_crs, seen_from, to_pixel
from rasterloom.access.pixels.values import Pixels
from rasterloom.errors import SpecError, Unreadable
from rasterloom.raster.gdal import hide_false_warnings, load_gdal
from rasterloom.raster.grid import Grid
from rasterloom.raster.kernels import bilinear, nearest
from rasterloom.raster.layers import Layer

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
    if pixels.data.dtype.kind == "c":
        raise SpecError(f"complex pixels cannot be resampled by {resampling}", remedy="ask for resampling nearest")
    if resampling == "bilinear":
        return _blended(pixels, source, target)
    return _mixed(pixels, source, target, resampling)


def checked_resampling(resampling: str) -> Resampling:
    """Raises SpecError for what is none."""
    for known in REACH:
        if resampling == known:
            return known
    raise SpecError(f"resampling {resampling!r} is not known", remedy=f"it is one of {', '.join(REACH)}")


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
    """The pixel under the centre, of every dtype."""
    made, raster = nothing(pixels.data.dtype, target), Layer(pixels.data, pixels.valid)
    for patch in patches(source, target):
        found = nearest(raster, patch.x, patch.y)
        made.data[patch.rows, patch.cols], made.valid[patch.rows, patch.cols] = found.data, found.valid
    return made


def _blended(pixels: Pixels, source: Grid, target: Grid) -> Pixels:
    """`bilinear`, whose kernel is as wide as a pixel of the target where that is larger."""
    made, raster = nothing(pixels.data.dtype, target), Layer(pixels.data, pixels.valid)
    reach = [max(size, 1.0) for size in _sizes(source, target)]
    for patch in patches(source, target):
        found = bilinear(raster, patch.x, patch.y, reach)
        made.data[patch.rows, patch.cols], made.valid[patch.rows, patch.cols] = _stored(found.data, made.data.dtype), found.valid
    return made


def _mixed(pixels: Pixels, source: Grid, target: Grid, resampling: Resampling) -> Pixels:
    """Invalid pixels go in as NaN, which is GDAL's nodata here: it gives them no weight."""
    dtype = pixels.data.dtype
    work = np.where(pixels.valid, pixels.data, np.nan).astype(np.float32 if dtype.name in _EXACT_AS_FLOAT32 else np.float64)
    values = _reprojected(work[None], source, target, resampling, nodata=np.nan)[0]
    valid = ~np.isnan(values)
    values[~valid] = 0
    return Pixels(data=_stored(values, dtype), valid=valid)


def _stored(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Integers are rounded, halves up."""
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        values = np.floor(values + 0.5).clip(info.min, info.max)
    return values.astype(dtype)


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
    scales: dict[str, Any] = {name: 1 / size for name, size in zip(("XSCALE", "YSCALE"), _sizes(source, target), strict=True)}
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
            **scales,
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


def _sizes(source: Grid, target: Grid) -> list[float]:
    """Columns and rows of the source in a pixel of the target: how wide a kernel is. It is as large as its box in the source.

    GDAL would take the sizes of both windows, so that the same pixel came out otherwise in another window; of square ones it makes
    these numbers. Almost whole numbers of pixels are whole, as it has them.
    """
    cols, rows = np.meshgrid(*(np.array([0.25, 0.5, 0.75]) * length for length in (target.width, target.height)))
    moves = [(cols + x, rows + y) for x, y in ((0, 0), (1, 0), (0, 1))]
    seen = seen_from(source.crs, source.affine, target, *(np.stack(places) for places in zip(*moves, strict=True)))
    boxes = [np.abs(places[1] - places[0]) + np.abs(places[2] - places[0]) for places in seen]
    sizes = [float(np.median(box[np.isfinite(box)])) if np.isfinite(box).any() else 1.0 for box in boxes]
    whole = [max(round(size), 1) for size in sizes]
    return [near if abs(size - near) < _SAME_SIZE else size for size, near in zip(sizes, whole, strict=True)]


@lru_cache(maxsize=64)
def gdal_crs(crs: str) -> Any:
    """The CRS as rasterio takes it. Raises `Unreadable` (`crs`)."""
    load_gdal()
    from rasterio.crs import CRS  # noqa: PLC0415

    return CRS.from_user_input(crs) if crs.startswith("EPSG:") else CRS.from_wkt(known_crs(crs).to_wkt())
