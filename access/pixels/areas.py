"""What users point at: boxes, geometries, tables of polygons, as shapes in longitude and latitude."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from rasterloom.access.pixels.boxes import boxes_over
from rasterloom.access.pixels.gridded import LONLAT, projected
from rasterloom.access.pixels.systems import known_crs, transformer
from rasterloom.access.pixels.vectors import Named, zones_of
from rasterloom.access.views import any_of, touches
from rasterloom.errors import SpecError

_FEW = 16
"""Shapes that are asked for one by one where rows are looked for."""
_STEP = 25_000.0
"""Units of a projected CRS, metres mostly: longer edges are cut into such parts, because they are bent in degrees."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Areas:
    """One shape per row of what was given."""

    shapes: list[BaseGeometry]
    """Longitude and latitude; none is empty."""
    given: list[BaseGeometry]
    """As they came, in `crs`."""
    crs: str
    """`OGC:CRS84` where nobody says another."""
    rows: list[int]
    """0-based row of each shape in what was given: rows without a geometry have none."""
    columns: pa.Table | None
    """What else the rows hold."""

    @cached_property
    def union(self) -> BaseGeometry:
        return shapely.union_all(self.shapes)

    def where(self) -> pc.Expression:
        """Rows whose bbox meets the box of a shape, or of several that lie near each other."""
        bounds = shapely.bounds(np.array(self.shapes, object)).reshape(-1, 4)
        crosses = (bounds[:, 0] < -180) | (bounds[:, 2] > 180)
        plain = bounds[~crosses] if (~crosses).sum() <= _FEW else boxes_over(bounds[~crosses])
        turned = [((west + 180) % 360 - 180, south, (east + 180) % 360 - 180, north) for west, south, east, north in bounds[crosses]]
        return any_of([touches(box) for box in (*plain, *turned)])

    @cached_property
    def _moved(self) -> dict[str, list[BaseGeometry]]:
        return {}

    def in_crs(self, crs: str) -> list[BaseGeometry]:
        """The shapes as they lie in a CRS, which is worked out once."""
        if crs not in self._moved:
            self._moved[crs] = [projected(shape, crs) for shape in self.shapes]
        return self._moved[crs]


def areas_of(source: Any, named: Named = Named()) -> Areas:  # noqa: B008  frozen
    """A box, polygons as shapely, GeoJSON or WKB, or a table of them. Raises SpecError where there is none."""
    zones = zones_of(source, named)
    shapes = np.asarray(zones.shapes, dtype=object)
    there = np.flatnonzero(~(shapely.is_missing(shapes) | shapely.is_empty(shapes)))
    if not len(there):
        raise SpecError("there is no geometry to read", remedy="give a box or polygons")
    given: list[BaseGeometry] = list(shapes[there])
    moved = given if zones.crs is None else [_in_degrees(shape, zones.crs) for shape in given]
    return Areas(
        shapes=[_checked(shape) for shape in moved], given=given, crs=zones.crs or LONLAT, rows=there.tolist(), columns=zones.columns
    )


def is_table(source: Any) -> bool:
    """Whether it is rows with geometries, of GeoPandas or Arrow, and not geometries alone."""
    return hasattr(source, "to_wkb") or (hasattr(source, "__arrow_c_stream__") and not isinstance(source, pa.ChunkedArray))


def _in_degrees(shape: BaseGeometry, crs: str) -> BaseGeometry:
    if not known_crs(crs).is_geographic:
        shape = shapely.segmentize(shape, _STEP)
    moved = shapely.transform(shape, _mover(crs), interleaved=False)
    west, _, east, _ = moved.bounds
    return shapely.transform(moved, _eastward) if east - west > 180 else moved


def _eastward(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """What crosses the antimeridian goes on beyond 180 degrees."""
    return np.column_stack([coordinates[:, 0] % 360, coordinates[:, 1]])


def _mover(crs: str) -> Any:
    return transformer(crs, LONLAT).transform


def _checked(shape: BaseGeometry) -> BaseGeometry:
    west, south, east, north = shape.bounds
    if not (-540 <= west <= east <= 540 and -90 <= south <= north <= 90):
        raise SpecError(
            f"the area reaches from ({west:g}, {south:g}) to ({east:g}, {north:g}), which are no degrees",
            remedy="give longitude first, or say the CRS: geometry_crs=32632",
        )
    return shape if shapely.is_valid(shape) else shapely.make_valid(shape)
