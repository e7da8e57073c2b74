"""Pixels of one band over an area, scene by scene, with range requests alone. The engine for everything else comes later."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyproj
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from rasterloom.access.hosts import backoff_seconds
from rasterloom.access.stores import Located, Stores
from rasterloom.access.transfer import several
from rasterloom.access.translate import translated
from rasterloom.errors import SpecError, Unavailable, Unreadable
from rasterloom.raster.decode import fill_value, read_window
from rasterloom.raster.header import Affine, Header
from rasterloom.raster.rows import header_from_row
from rasterloom.raster.tiles import Bounds, Span, Window, level_affine, window_affine, window_of_bounds
from rasterloom.specs.effort import Effort

_SCENES_AT_ONCE = 16
_NO_HEADER = "see `rasterloom failures`, leave the scene out with where(), or build with table.enrich: true"
_MISSES = "choose an area that lies inside of the scenes, or fewer scenes with subset() or where()"


@dataclass(frozen=True, slots=True)
class _Target:
    """What is read of one scene."""

    id: str
    href: str
    band_index: int
    header: Header
    window: Window
    shape: BaseGeometry
    """The area in the CRS of the raster."""


def read_arrays(rows: pa.Table, band: str, area: Sequence[BaseGeometry], *, stores: Stores, effort: Effort) -> NDArray[Any]:
    """Shape (scenes, height, width), in the order of `rows`; scenes whose raster misses the area are left out.

    `rows` holds id, assets, crs, proj:epsg, `{band}_metadata` and, where the collection has it, `{band}_ext`; `area` is lon/lat.
    Pixels whose centre is outside of the area hold nodata, or 0 without one. Raises SpecError and Unreadable with what to do.
    """
    union = shapely.union_all(list(area))
    targets = [target for row in rows.to_pylist() if (target := _target(row, band, union)) is not None]
    if not targets:
        raise SpecError(
            f"no scene of the collection has pixels of {band} in the area", remedy="see collection.bounds, and the dates of the view"
        )
    _check_shapes(targets)
    with ThreadPoolExecutor(min(_SCENES_AT_ONCE, effort.max_concurrent)) as pool:
        arrays = list(pool.map(lambda target: _read(target, stores, effort), targets))
    return np.stack(arrays)


def _target(row: Mapping[str, Any], band: str, area: BaseGeometry) -> _Target | None:
    asset = (row.get("assets") or {}).get(band)
    if row[f"{band}_metadata"] is None or asset is None:
        message = f"{row['id']} has no header of {band}"
        raise Unreadable(message, reason="no-header", remedy=_NO_HEADER)
    header = header_from_row(row[f"{band}_metadata"], row.get(f"{band}_ext"))
    if header.transform is None:
        raise Unreadable(f"{row['id']} {band} has no georeference", reason="transform", remedy="leave the scene out with where()")
    shape = shapely.transform(area, _to_crs(_crs_of(row, header, band)), interleaved=False)
    west, south, east, north = shape.bounds
    window = window_of_bounds(header, header.full, Bounds(left=west, bottom=south, right=east, top=north))
    return None if window.empty else _Target(row["id"], asset["href"], asset["band_index"] or 0, header, window, shape)


def _crs_of(row: Mapping[str, Any], header: Header, band: str) -> str:
    epsg = row.get("proj:epsg")
    crs = header.crs or row.get("crs") or (f"EPSG:{epsg}" if epsg else None)
    if crs is None:
        raise Unreadable(f"{row['id']} {band} has no CRS", reason="crs", remedy="leave the scene out with where()")
    return crs


@lru_cache(maxsize=64)
def _transformer(crs: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True)


def _to_crs(crs: str) -> Any:
    """Function of longitudes and latitudes for `shapely.transform`."""
    return _transformer(crs).transform


def _check_shapes(targets: Sequence[_Target]) -> None:
    first = targets[0]
    for other in targets[1:]:
        if (other.window.height, other.window.width) != (first.window.height, first.window.width):
            raise SpecError(
                f"the area has {first.window.height} x {first.window.width} pixels in {first.id} and "
                f"{other.window.height} x {other.window.width} in {other.id}: scenes differ in grid, CRS or edge",
                remedy=_MISSES,
            )


def _read(target: _Target, stores: Stores, effort: Effort) -> NDArray[Any]:
    located = stores.locate(target.href)
    header, window = target.header, target.window
    pixels = read_window(header, target.band_index, header.full, window, lambda spans: _fetched(located, spans, stores, effort))
    pixels[~_inside(target.shape, window_affine(level_affine(header, header.full), window), window)] = fill_value(header)
    return pixels


def _fetched(located: Located, spans: Sequence[Span], stores: Stores, effort: Effort) -> list[bytes]:
    """The ranges, with the retries of the spec."""
    for attempt in range(1, effort.retries + 2):
        stores.gate(located.host).wait()
        try:
            with translated(f"read {located.href}"):
                return several(located, [(span.start, span.end) for span in spans])
        except Unavailable:
            if attempt > effort.retries:
                raise
            time.sleep(backoff_seconds(attempt))
    raise Unavailable(f"{located.href} was not read", remedy="raise build.retries")


def _inside(shape: BaseGeometry, affine: Affine, window: Window) -> NDArray[np.bool_]:
    """True where the centre of a pixel is inside of the shape, shape (height, width): the rule of `rasterio.features.geometry_mask`."""
    a, b, c, d, e, f = affine
    cols, rows = np.meshgrid(np.arange(window.width) + 0.5, np.arange(window.height) + 0.5)
    shapely.prepare(shape)
    return shapely.contains_xy(shape, a * cols + b * rows + c, d * cols + e * rows + f)
