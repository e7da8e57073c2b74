"""The area of a spec: a bounding box, or a GeoJSON geometry that is normalised to a (multi-)polygon, line or point."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from rasterloom.specs.question import Box
from rasterloom.specs.wrong import a_list, shown, wrong

_ORDER = "write [west, south, east, north] in degrees, e.g. [-122.5, 37.7, -122.3, 37.9]"
_NESTING = {"Point": 0, "MultiPoint": 1, "LineString": 1, "MultiLineString": 2, "Polygon": 2, "MultiPolygon": 3}
"""Levels of lists around a position."""
_MULTI = {"Polygon": "MultiPolygon", "LineString": "MultiLineString", "Point": "MultiPoint"}
MAX_POSITIONS = 10_000


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def checked_box(value: Any) -> tuple[float, float, float, float]:
    """Four numbers, in range, south below north. Raises `PydanticCustomError`."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise wrong(f"{shown(value)} is not a bounding box", remedy=_ORDER)
    numbers = cast(Sequence[Any], value)
    if len(numbers) != 4:
        more = "leave the two heights out: " if len(numbers) == 6 else ""
        raise wrong(f"{shown(list(numbers))} has {len(numbers)} numbers, a bounding box has 4", remedy=more + _ORDER)
    if not all(is_number(number) for number in numbers):
        odd = next(number for number in numbers if not is_number(number))
        raise wrong(f"{shown(odd)} is not a finite number", remedy=_ORDER)
    west, south, east, north = (float(number) + 0.0 for number in numbers)
    _check_ranges(west, south, east, north)
    return west, south, east, north


def _check_ranges(west: float, south: float, east: float, north: float) -> None:
    for name, value, limit in (("west", west, 180), ("south", south, 90), ("east", east, 180), ("north", north, 90)):
        if not -limit <= value <= limit:
            swapped = limit == 90 and abs(value) <= 180 and max(abs(west), abs(east)) <= 90
            remedy = f"longitude stands first: {_ORDER}" if swapped else f"{_ORDER}; projected coordinates are not read"
            raise wrong(f"{name} is {value:g}, outside of -{limit}..{limit}", remedy=remedy)
    if south > north:
        raise wrong(f"south ({south:g}) lies north of north ({north:g})", remedy=f"swap them: {[west, north, east, south]}")
    if south == north or west == east:
        remedy = "make west differ from east and south from north"
        raise wrong(f"the box [{west:g}, {south:g}, {east:g}, {north:g}] has no area", remedy=remedy)


def checked_geometry(value: Any) -> dict[str, Any]:
    """The geometry of a GeoJSON geometry, feature or collection of features, heights dropped.

    A collection of several geometries of one kind becomes one multi-geometry. Raises `PydanticCustomError`.
    """
    if not isinstance(value, Mapping):
        raise wrong(f"{shown(value)} is not GeoJSON", remedy="write a GeoJSON geometry, or the path of a GeoJSON file beside the spec")
    parts = [_one(part) for part in _geometries(cast(Mapping[str, Any], value))]
    if not parts:
        raise wrong("the GeoJSON holds no geometry", remedy="give at least one polygon")
    if sum(1 for part in parts for _ in positions(part)) > MAX_POSITIONS:
        raise wrong(f"the area has more than {MAX_POSITIONS} positions", remedy="simplify it, or write its bbox")
    return parts[0] if len(parts) == 1 else _union(parts)


def _geometries(value: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    kind, members = value.get("type"), {"FeatureCollection": "features", "GeometryCollection": "geometries", "Feature": "geometry"}
    if str(kind) not in members:
        yield value
        return
    inner = value.get(members[str(kind)])
    for part in cast(Sequence[Any], inner) if isinstance(inner, list | tuple) else [inner]:
        if isinstance(part, Mapping):
            yield from _geometries(cast(Mapping[str, Any], part))


def _one(value: Mapping[str, Any]) -> dict[str, Any]:
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in _NESTING:
        raise wrong(f"{shown(kind)} is no GeoJSON geometry type", remedy=f"use one of {a_list(_NESTING)}")
    return {"type": kind, "coordinates": _coordinates(value.get("coordinates"), _NESTING[kind], kind=kind)}


def _coordinates(value: Any, levels: int, *, kind: str) -> list[Any]:
    if not isinstance(value, list | tuple) or not value:
        raise wrong(f"the coordinates of a {kind} hold {shown(value)}", remedy="give lists of [longitude, latitude]")
    parts = cast(Sequence[Any], value)
    if levels == 0:
        return _position(parts)
    inner = [_coordinates(part, levels - 1, kind=kind) for part in parts]
    if levels == 1 and kind.endswith("Polygon"):
        _check_ring(inner)
    if levels == 1 and kind.endswith("LineString") and len(inner) < 2:
        raise wrong(f"a line has {len(inner)} position", remedy="give at least 2")
    return inner


def _position(value: Sequence[Any]) -> list[float]:
    if len(value) not in (2, 3, 4) or not all(is_number(number) for number in value):
        raise wrong(f"{shown(list(value))} is not a position", remedy="write [longitude, latitude] in degrees")
    lon, lat = float(value[0]) + 0.0, float(value[1]) + 0.0
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        remedy = "write longitude first, in degrees; projected coordinates are not read"
        raise wrong(f"the position [{lon:g}, {lat:g}] is outside of -180..180, -90..90", remedy=remedy)
    return [lon, lat]


def _check_ring(ring: list[Any]) -> None:
    if len(ring) < 4 or ring[0] != ring[-1]:
        raise wrong(f"a ring of {len(ring)} positions that begins at {ring[0]} and ends at {ring[-1]} is not closed",
                    remedy="repeat the first position at the end; a ring has at least 4")  # fmt: skip


def _union(parts: list[dict[str, Any]]) -> dict[str, Any]:
    kinds = {str(part["type"]).removeprefix("Multi") for part in parts}
    if len(kinds) > 1:
        raise wrong(f"the GeoJSON mixes {a_list(sorted(kinds))}", remedy="keep geometries of one kind")
    members: list[Any] = []
    for part in parts:
        members += part["coordinates"] if str(part["type"]).startswith("Multi") else [part["coordinates"]]
    return {"type": _MULTI[kinds.pop()], "coordinates": members}


def positions(geometry: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
    """All (longitude, latitude) of a checked geometry."""
    stack: list[Any] = [geometry["coordinates"]]
    while stack:
        value = stack.pop()
        if isinstance(value[0], float | int):
            yield float(value[0]), float(value[1])
        else:
            stack.extend(value)


def bounds(geometry: Mapping[str, Any]) -> Box:
    """Smallest box around a checked geometry; it never crosses the antimeridian."""
    lons, lats = zip(*positions(geometry), strict=True)
    return Box(west=min(lons), south=min(lats), east=max(lons), north=max(lats))
