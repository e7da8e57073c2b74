"""Footprints on a round earth: reading them as they come, and meeting an area, across the antimeridian too."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from rasterloom.errors import Unreadable
from rasterloom.specs.question import Box

Bounds = tuple[float, float, float, float]
"""west, south, east, north in degrees; west > east crosses the antimeridian."""

_FARTHEST_LONGITUDE, _FARTHEST_LATITUDE = 540.0, 90.5
_WRAPPED = 300.0
"""A footprint wider than this many degrees, whose other reading is narrow, was meant to cross the antimeridian."""
_MOST_VERTICES = 1_000_000


def bounds_of(value: object) -> Bounds | None:
    """A STAC `bbox` of 4 or 6 numbers as 2-D bounds; None where the item has none. Raises `Unreadable` (`bad-bbox`)."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) not in (4, 6) or not all(_is_degrees(part) for part in value):
        raise _bad("bbox", f"the bbox is not 4 or 6 numbers: {str(value)[:100]}")
    half = len(value) // 2
    west, south, east, north = (float(value[at]) for at in (0, 1, half, half + 1))
    if south > north or max(abs(south), abs(north)) > _FARTHEST_LATITUDE or max(abs(west), abs(east)) > _FARTHEST_LONGITUDE:
        raise _bad("bbox", f"the bbox is no box in degrees: {value}")
    return west, south, east, north


def _is_degrees(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9 and math.isfinite(value)


def geometry_of(value: object, bounds: Bounds | None) -> BaseGeometry:
    """A GeoJSON geometry in 2-D; the box of `bounds` where it is null. Raises `Unreadable` (`bad-geometry`, `no-geometry`)."""
    if value is None:
        if bounds is None:
            raise Unreadable(
                "the item has neither geometry nor bbox", reason="no-geometry", remedy="the catalog must say where the item lies"
            )
        return area_of_bounds(bounds)
    if not isinstance(value, Mapping):
        raise _bad("geometry", "the geometry is not an object")
    try:
        geometry = _ring_polygon(value) or shapely.force_2d(shapely.from_geojson(json.dumps(value)))
    except (shapely.errors.ShapelyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise _bad("geometry", f"the geometry is broken: {error}") from None
    if geometry.is_empty:
        raise _bad("geometry", "the geometry is empty")
    if not _in_degrees(geometry):
        raise _bad("geometry", f"the geometry is not in degrees: bounds {geometry.bounds}")
    return geometry


def _in_degrees(geometry: BaseGeometry) -> bool:
    west, south, east, north = geometry.bounds
    inside = max(abs(west), abs(east)) <= _FARTHEST_LONGITUDE and max(abs(south), abs(north)) <= _FARTHEST_LATITUDE
    # bounds leave NaN out
    return inside and bool(np.isfinite(shapely.get_coordinates(geometry)).all())


def _ring_polygon(value: Mapping[str, Any]) -> BaseGeometry | None:
    """The ordinary footprint, a polygon of one ring, without shapely's walk through the coordinates; None for anything else."""
    coordinates = value.get("coordinates")
    if value.get("type") != "Polygon" or not isinstance(coordinates, list) or len(coordinates) != 1:
        return None
    ring = np.asarray(coordinates[0], dtype=np.float64)
    if ring.ndim != 2 or ring.shape[1] not in (2, 3) or not 4 <= ring.shape[0] <= _MOST_VERTICES or not np.isfinite(ring).all():
        return None
    return shapely.Polygon(ring[:, :2])


def _bad(what: str, message: str) -> Unreadable:
    return Unreadable(message, reason=f"bad-{what}", remedy=f"correct the item's {what} in the catalog")


def bounds_of_geometry(geometry: BaseGeometry) -> Bounds:
    """Bounds of a footprint; west > east where it crosses the antimeridian."""
    west, south, east, north = geometry.bounds
    unwrapped = _unwrapped(geometry) if east - west > _WRAPPED else None
    if unwrapped is None:
        return west, south, east, north
    west, _, east, _ = unwrapped.bounds
    return west, south, east - 360.0 if east > 180.0 else east, north


def _unwrapped(geometry: BaseGeometry) -> BaseGeometry | None:
    """The footprint with its western part moved east by 360 degrees, where that makes a wide one narrow; else None."""
    moved = shapely.transform(geometry, _eastward)
    width = moved.bounds[2] - moved.bounds[0]
    return moved if 0.0 < width < 360.0 - _WRAPPED else None


def _eastward(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.column_stack([np.where(points[:, 0] < 0.0, points[:, 0] + 360.0, points[:, 0]), points[:, 1]])


def area_of_bounds(bounds: Bounds) -> BaseGeometry:
    """The box as a polygon, or as two where it crosses the antimeridian. Longitudes beyond 180 stay as they are."""
    west, south, east, north = bounds
    if west <= east:
        return shapely.box(west, south, east, north)
    # GEOS refuses to compare with a half that has no width.
    halves = [(a, b) for a, b in ((west, 180.0), (-180.0, east)) if a < b] or [(180.0, 180.0)]
    return shapely.multipolygons([shapely.box(a, south, b, north) for a, b in halves])


def area_of(box: Box | None, intersects: BaseGeometry | None) -> BaseGeometry | None:
    """The area of a question, repeated one turn to either side so that longitudes beyond 180 meet it; prepared. None = everywhere."""
    if box is not None:
        area = shapely.make_valid(area_of_bounds((box.west, box.south, box.east, box.north)))
    elif intersects is not None:
        area = shapely.make_valid(intersects)
    else:
        return None
    turns = [shapely.transform(area, lambda points, turn=turn: points + np.array([turn, 0.0])) for turn in (-360.0, 0.0, 360.0)]
    around = shapely.geometrycollections(turns)
    shapely.prepare(around)
    return around


def meets(area: BaseGeometry, footprint: BaseGeometry, bounds: Bounds) -> bool:
    """Whether a footprint has a point in common with an area made by `area_of`."""
    wraps = bounds[0] > bounds[2] or footprint.bounds[2] - footprint.bounds[0] > _WRAPPED
    footprint = (_unwrapped(footprint) if wraps else None) or footprint
    if not footprint.is_valid:
        footprint = shapely.make_valid(footprint)
    return bool(shapely.intersects(area, footprint))
