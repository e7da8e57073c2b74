"""Where a raster lies: the affine transform and the CRS that the GeoTIFF tags describe (OGC GeoTIFF 1.1, read as GDAL reads them)."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import lru_cache

from rasterloom.errors import Unreadable
from rasterloom.raster.header import Affine
from rasterloom.raster.usercrs import crs_of_keys

MODEL_TYPE = 1024
RASTER_TYPE = 1025
GEODETIC_CRS = 2048
PROJECTED_CRS = 3072
USER_DEFINED = 32767

KeyValue = int | str | tuple[float, ...]


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
    epsg, crs = crs_of_keys(keys)
    return GeoReference(keys.get(RASTER_TYPE) == 2, epsg, crs)


def read_keys(byte_order: str, directory: bytes, doubles: bytes, ascii_params: bytes) -> dict[int, KeyValue]:
    """GeoKey -> value. Raises `Unreadable` (`geokeys`) where the directory is not complete."""
    if len(directory) < 8:
        raise Unreadable(f"the GeoKey directory has {len(directory)} bytes, not at least 8", reason="geokeys")
    _version, _revision, _minor, count = struct.unpack_from(byte_order + "4H", directory)
    if len(directory) < 8 + 8 * count:
        raise Unreadable(f"the GeoKey directory has {len(directory)} bytes for {count} keys", reason="geokeys")
    values = struct.unpack_from(f"{byte_order}{len(doubles) // 8}d", doubles)
    keys: dict[int, KeyValue] = {}
    for key, place, length, value in struct.iter_unpack(byte_order + "4H", directory[8 : 8 + 8 * count]):
        if place == 0:
            keys[key] = value
        elif place == 34736 and value + length <= len(values):
            keys[key] = values[value : value + length]
        elif place == 34737 and value + length <= len(ascii_params):
            keys[key] = ascii_params[value : value + length].rstrip(b"|\0").decode("utf-8", "replace")
        elif place in (34736, 34737):
            raise Unreadable(f"GeoKey {key} points beyond its parameters ({value} + {length})", reason="geokeys")
    return keys


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
