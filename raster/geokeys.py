"""Where a raster lies: the affine transform and the CRS that the GeoTIFF tags describe (OGC GeoTIFF 1.1, read as GDAL reads them)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from rasterloom.errors import Unreadable
from rasterloom.raster.header import Affine
from rasterloom.raster.keys import RASTER_TYPE, read_keys
from rasterloom.raster.usercrs import crs_of_keys


@dataclass(frozen=True, slots=True)
class GeoReference:
    pixel_is_point: bool
    epsg: int | None
    crs: str | None
    """`EPSG:n`, else WKT2, else None."""


NOWHERE = GeoReference(False, None, None)


@lru_cache(maxsize=4096)
def georeference(byte_order: str, directory: bytes | None, doubles: bytes | None, ascii_params: bytes | None) -> GeoReference:
    """CRS and raster type of tags 34735, 34736 and 34737. Cached: the files of a collection share few CRS."""
    if directory is None:
        return NOWHERE
    keys = read_keys(byte_order, directory, doubles or b"", ascii_params or b"")
    crs = crs_of_keys(keys)
    return GeoReference(keys.get(RASTER_TYPE) == 2, crs.epsg, crs.text)


def affine_of(
    scale: tuple[float, ...] | None, tiepoint: tuple[float, ...] | None, matrix: tuple[float, ...] | None, *, pixel_is_point: bool
) -> Affine | None:
    """The affine of pixel corners, in GDAL's order of preference: scale and tiepoint, then matrix; None without either.

    Raises `Unreadable` (`transform`) where it is not finite or does not span a plane.
    """
    affine: Affine | None = None
    if scale is not None and len(scale) >= 2 and tiepoint is not None and len(tiepoint) >= 6:
        # GDAL takes a negative ScaleY as positive (GTIFF_HONOUR_NEGATIVE_SCALEY is off unless asked for).
        across, down = scale[0], -abs(scale[1])
        affine = (across, 0.0, tiepoint[3] - tiepoint[0] * across, 0.0, down, tiepoint[4] - tiepoint[1] * down)
    elif scale is None and matrix is not None and len(matrix) == 16:
        affine = (matrix[0], matrix[1], matrix[3], matrix[4], matrix[5], matrix[7])
    if affine is None:
        return None
    a, b, c, d, e, f = affine
    if not all(map(math.isfinite, affine)) or a * e - b * d == 0:
        raise Unreadable(f"the transform {affine} is not finite or has no area", reason="transform")
    return (a, b, c - (a + b) / 2, d, e, f - (d + e) / 2) if pixel_is_point else affine
