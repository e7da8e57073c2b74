"""Arrays of one band over an area, scene by scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyproj
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from rasterloom.access.pixels.engine import Engine
from rasterloom.access.pixels.files import band_file
from rasterloom.access.pixels.values import BandFile, Pixels, WindowRead
from rasterloom.errors import SpecError, Unreadable
from rasterloom.raster.decode import fill_value
from rasterloom.raster.header import Affine
from rasterloom.raster.tiles import Bounds, Window, level_affine, window_affine, window_of_bounds

_MISSES = "choose an area that lies inside of the scenes, or fewer scenes with subset() or where()"


@dataclass(frozen=True, slots=True)
class _Target:
    """What is read of one scene."""

    read: WindowRead
    shape: BaseGeometry
    """The area in the CRS of the raster."""


def read_arrays(rows: pa.Table, band: str, area: Sequence[BaseGeometry], *, engine: Engine) -> NDArray[Any]:
    """Shape (scenes, height, width), in the order of `rows`; scenes whose raster misses the area are left out.

    `rows` holds `pixel_columns`; `area` is lon/lat. Pixels whose centre is outside of the area hold nodata, or 0 without one.
    Raises SpecError and Unreadable with what to do.
    """
    union = shapely.union_all(list(area))
    targets = [target for row in rows.to_pylist() if (target := _target(row, band, union)) is not None]
    if not targets:
        raise SpecError(
            f"no scene of the collection has pixels of {band} in the area", remedy="see collection.bounds, and the dates of the view"
        )
    _check_shapes([target.read for target in targets])
    pixels = engine.read_all([target.read for target in targets])
    return np.stack([_cut(target, read) for target, read in zip(targets, pixels, strict=True)])


def _target(row: Mapping[str, Any], band: str, area: BaseGeometry) -> _Target | None:
    file = band_file(row, band)
    header = file.header
    if header.transform is None:
        raise Unreadable(f"{file.scene} {band} has no georeference", reason="transform", remedy="leave the scene out with where()")
    shape = shapely.transform(area, _to_crs(file.crs), interleaved=False)
    west, south, east, north = shape.bounds
    window = window_of_bounds(header, header.full, Bounds(left=west, bottom=south, right=east, top=north))
    return None if window.empty else _Target(WindowRead(file=file, window=window), shape)


@lru_cache(maxsize=64)
def _transformer(crs: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True)


def _to_crs(crs: str) -> Any:
    """Function of longitudes and latitudes for `shapely.transform`."""
    return _transformer(crs).transform


def _check_shapes(reads: Sequence[WindowRead]) -> None:
    first = reads[0]
    for other in reads[1:]:
        if (other.window.height, other.window.width) != (first.window.height, first.window.width):
            raise SpecError(
                f"the area has {first.window.height} x {first.window.width} pixels in {first.file.scene} and "
                f"{other.window.height} x {other.window.width} in {other.file.scene}: scenes differ in grid, CRS or edge",
                remedy=_MISSES,
            )


def _cut(target: _Target, pixels: Pixels) -> NDArray[Any]:
    file, window = target.read.file, target.read.window
    pixels.data[~_inside(target.shape, _affine_of(file, window), window)] = fill_value(file.header)
    return pixels.data


def _affine_of(file: BandFile, window: Window) -> Affine:
    return window_affine(level_affine(file.header, file.header.full), window)


def _inside(shape: BaseGeometry, affine: Affine, window: Window) -> NDArray[np.bool_]:
    """True where the centre of a pixel is inside of the shape, shape (height, width): the rule of `rasterio.features.geometry_mask`."""
    a, b, c, d, e, f = affine
    cols, rows = np.meshgrid(np.arange(window.width) + 0.5, np.arange(window.height) + 0.5)
    shapely.prepare(shape)
    return shapely.contains_xy(shape, a * cols + b * rows + c, d * cols + e * rows + f)
