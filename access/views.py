"""Filters of a collection as pyarrow expressions: bbox, dates, cloud cover, geometries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from numbers import Real
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from rasterloom.errors import SpecError

Bounds = tuple[float, float, float, float]
"""west, south, east, north in degrees; west > east crosses the antimeridian."""
Area = Any
"""A bounds tuple, a shapely geometry, a GeoJSON mapping or text, WKB bytes, or a sequence of those."""
CLOUD_COVER = "eo:cloud_cover"
_AREA = "give a bbox, a shapely geometry, GeoJSON or WKB"


def checked_bounds(box: Sequence[float]) -> Bounds:
    """Raises SpecError for what is no bounding box."""
    if len(box) != 4 or any(value != value for value in box):
        raise SpecError(f"bbox {tuple(box)} is not (west, south, east, north)", remedy="give four numbers in degrees")
    west, south, east, north = (float(value) for value in box)
    if south > north or not (-180 <= west <= 180 and -180 <= east <= 180 and south >= -90 and north <= 90):
        raise SpecError(
            f"bbox {(west, south, east, north)} is not inside -180..180, -90..90",
            remedy="give (west, south, east, north) in degrees, south <= north",
        )
    return west, south, east, north


def touches(box: Sequence[float]) -> pc.Expression:
    """Rows whose `bbox` meets the box, edges included; either may cross the antimeridian.

    The literal comparisons let pyarrow skip row groups by their statistics; a stored box that crosses has xmin > 0 > xmax.
    """
    west, south, east, north = checked_bounds(box)
    xmin, ymin, xmax, ymax = (pc.field("bbox", name) for name in ("xmin", "ymin", "xmax", "ymax"))
    if west <= east:
        plain, crossing = (xmin <= east) & (xmax >= west), (xmin <= east) | (xmax >= west)
    else:
        plain, crossing = (xmin <= east) | (xmax >= west), pc.scalar(True)
    ordered, crosses = xmin <= xmax, (xmin > 0.0) & (xmax < 0.0) & (xmin > xmax)
    return (ymin <= north) & (ymax >= south) & ((ordered & plain) | (crosses & crossing))


def between(dates: str | Sequence[str | date | datetime]) -> pc.Expression:
    """Rows of an inclusive range of days or instants: a day means all of it; `None` or `".."` is open."""
    ends = dates.split("/") if isinstance(dates, str) else list(dates)
    first, last = (ends[0], ends[-1]) if 1 <= len(ends) <= 2 else (None, None)
    if not 1 <= len(ends) <= 2:
        raise SpecError(f"date_range {dates!r} is not (start, end)", remedy="give two ISO dates")
    parts = [pc.field("datetime") >= _scalar(_first(first))] if not _is_open(first) else []
    parts += [_until(last)] if not _is_open(last) else []
    if len(parts) == 2 and _first(first).date() > _first(last).date():
        raise SpecError(f"date_range: the start {first} lies behind the end {last}", remedy="give the earlier date first")
    return all_of(parts)


def cloud_below(limit: float, schema: pa.Schema) -> pc.Expression:
    """Rows whose `eo:cloud_cover` is below the limit. Raises SpecError where the collection has no such column."""
    if CLOUD_COVER not in schema.names:
        raise SpecError(f"the collection has no column {CLOUD_COVER}", remedy="filter with where() on a column that it has")
    if not isinstance(limit, Real) or isinstance(limit, bool) or limit != limit:
        raise SpecError(f"cloud_cover_lt is {limit!r}, wanted is a number", remedy="give percents, e.g. 20")
    return pc.field(CLOUD_COVER) < limit


def geometries_of(area: Area) -> list[BaseGeometry]:
    """Shapely geometries, lon/lat, of whatever a user may mean by an area. Raises SpecError."""
    if isinstance(area, (str, bytes, Mapping, BaseGeometry)):
        return [_geometry(area)]
    if not isinstance(area, Iterable):
        raise SpecError(f"not a geometry: {area!r}", remedy=_AREA)
    parts: Any = area
    values: list[Any] = parts.to_pylist() if hasattr(parts, "to_pylist") else list(parts)
    if len(values) == 4 and all(isinstance(value, (int, float)) for value in values):
        return _boxes(checked_bounds(values))
    return [geometry for value in values for geometry in geometries_of(value)]


def meets(geometries: Sequence[BaseGeometry]) -> pc.Expression:
    """Rows whose bbox meets the bounds of any of the geometries."""
    if not geometries:
        raise SpecError("no geometry was given", remedy="give a bbox, a shapely geometry or GeoJSON")
    return any_of([touches(geometry.bounds) for geometry in geometries])


def all_of(parts: Sequence[pc.Expression]) -> pc.Expression:
    return reduce(lambda left, right: left & right, parts, pc.scalar(True)) if len(parts) != 1 else parts[0]


def any_of(parts: Sequence[pc.Expression]) -> pc.Expression:
    return reduce(lambda left, right: left | right, parts)


def _boxes(box: Bounds) -> list[BaseGeometry]:
    west, south, east, north = box
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    return [shapely.box(left, south, right, north) for left, right in spans]


def _geometry(value: Any) -> BaseGeometry:
    try:
        if isinstance(value, BaseGeometry):
            return value
        if isinstance(value, bytes):
            return shapely.from_wkb(value)
        document = json.loads(value) if isinstance(value, str) else dict(value)
        return shapely.from_geojson(json.dumps(document.get("geometry", document)))
    except (shapely.errors.GEOSException, ValueError, AttributeError) as error:
        raise SpecError(f"not a geometry: {str(value)[:80]}: {error}", remedy=_AREA) from error


def _is_open(end: object) -> bool:
    return end is None or end in ("", "..")


def _is_day(end: object) -> bool:
    return (isinstance(end, str) and len(end) <= 10) or (isinstance(end, date) and not isinstance(end, datetime))


def _until(last: object) -> pc.Expression:
    if _is_day(last):
        return pc.field("datetime") < _scalar(_first(last) + timedelta(days=1))
    return pc.field("datetime") <= _scalar(_first(last))


def _first(value: object) -> datetime:
    """The first instant that a date or time means, naive UTC."""
    try:
        instant = datetime.fromisoformat(value if isinstance(value, str) else value.isoformat())  # type: ignore[union-attr]
    except (ValueError, AttributeError) as error:
        raise SpecError(f"{value!r} is not a date", remedy="write it as 2024-06-01 or 2024-06-01T12:00:00Z") from error
    return instant.astimezone(UTC).replace(tzinfo=None) if instant.tzinfo else instant


def _scalar(instant: datetime) -> pa.Scalar[Any]:
    return pa.scalar(instant, pa.timestamp("us"))


def union_of(boxes: pa.ChunkedArray) -> tuple[float, float, float, float]:
    """Smallest box on the globe where footprints reach the antimeridian from both sides, else minima and maxima."""
    west, south, east, north = (pc.struct_field(boxes, name).to_numpy() for name in ("xmin", "ymin", "xmax", "ymax"))
    low, high = float(south.min()), float(north.max())
    if not (west > east).any() and not (west.min() <= -180.0 and east.max() >= 180.0):
        return float(west.min()), low, float(east.max()), high
    left, right = widest_gap(west, np.where(west > east, east + 360.0, east))
    return left, low, right, high


def widest_gap(starts: NDArray[np.float64], ends: NDArray[np.float64]) -> tuple[float, float]:
    """West and east edge of the union of intervals on the circle: everything but its widest gap."""
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum(np.maximum.accumulate(ends[order]), ends.max() - 360.0)
    gaps = np.append(starts[1:], starts[0] + 360.0) - reach
    at = int(np.argmax(gaps))
    if gaps[at] <= 0:
        return -180.0, 180.0
    west, east = float(starts[(at + 1) % len(starts)]), float(reach[at])
    return west, east - 360.0 if east > 180.0 else east
