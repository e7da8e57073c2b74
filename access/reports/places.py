"""The map of a report: footprints as they are, or, of many, a grid of cells; in one frame, across the antimeridian too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from rasterloom.access.reports.values import Footprint, Frame, Map, Point, Ring
from rasterloom.access.views import widest_gap

_CELLS = 36
"""Cells along the longer side."""
_MARGIN = 0.06
_NARROWEST = 0.02
"""Degrees that a frame is wide and high at least."""
_MOST_VERTICES = 400
"""Of one shape; a coast of a thousand islands is simplified."""

Shapes = Sequence[tuple[BaseGeometry, int]]


def map_of(boxes: NDArray[np.float32], shapes: Shapes | None, area: BaseGeometry | None) -> Map | None:
    """`boxes` are west, south, east, north by row; `shapes` the footprints with their counts, None where there are too many."""
    if not len(boxes):
        return None
    seam = _seam(boxes)
    placed = _turned_boxes(boxes, seam)
    outline = _turned(shapely.make_valid(area), seam) if area is not None else None
    frame = _frame(placed, outline)
    return Map(
        frame=frame,
        area=_rings(outline, frame) if outline is not None else (),
        footprints=_grid(placed, frame) if shapes is None else _drawn(shapes, seam, frame),
        is_grid=shapes is None,
    )


def _seam(boxes: NDArray[np.float32]) -> float:
    """The longitude where the map is cut open: in the widest gap between the scenes, -180 where they do not reach the antimeridian."""
    west, east = boxes[:, 0].astype(np.float64), boxes[:, 2].astype(np.float64)
    if not (west > east).any() and not (west.min() < -170.0 and east.max() > 170.0):
        return -180.0
    left, right = widest_gap(west, np.where(west > east, east + 360.0, east))
    if left <= right:  # they do not cross it after all, or go all the way round
        return -180.0
    return (left + right) / 2


def _turned_boxes(boxes: NDArray[np.float32], seam: float) -> NDArray[np.float64]:
    west, south, east, north = boxes.astype(np.float64).T
    east = np.where(west > east, east + 360.0, east)
    shift = np.where(west < seam, 360.0, 0.0)
    return np.column_stack([west + shift, south, east + shift, north])


def _turned(shape: BaseGeometry, seam: float) -> BaseGeometry:
    """The shape with its parts west of the seam one turn further east; a part that is wide because it crosses is closed up first."""
    if seam == -180.0:
        return shape
    parts = [_part_turned(part, seam) for part in getattr(shape, "geoms", [shape])]
    return shapely.union_all(parts) if len(parts) > 1 else parts[0]


def _part_turned(part: BaseGeometry, seam: float) -> BaseGeometry:
    west, _, east, _ = part.bounds
    by_point = east - west > 180.0
    middle_is_west = (west + east) / 2 < seam

    def moved(points: NDArray[np.float64]) -> NDArray[np.float64]:
        west_of_seam = points[:, 0] < seam if by_point else np.full(len(points), middle_is_west)
        return np.column_stack([points[:, 0] + np.where(west_of_seam, 360.0, 0.0), points[:, 1]])

    return shapely.transform(part, moved)


def _frame(boxes: NDArray[np.float64], area: BaseGeometry | None) -> Frame:
    """Around the scenes and the area, with a margin; an area far larger than the scenes does not shrink them to a dot."""
    west, south = boxes[:, :2].min(axis=0)
    east, north = boxes[:, 2:].max(axis=0)
    if area is not None and not area.is_empty:
        left, low, right, high = area.bounds
        if right - left <= 20 * max(east - west, _NARROWEST) and high - low <= 20 * max(north - south, _NARROWEST):
            west, south, east, north = min(west, left), min(south, low), max(east, right), max(north, high)
    margin = _MARGIN * max(east - west, north - south, _NARROWEST)
    return Frame(
        west=float(west - margin),
        south=float(max(south - margin, -90.0)),
        east=float(east + margin),
        north=float(min(north + margin, 90.0)),
    )


def _drawn(shapes: Shapes, seam: float, frame: Frame) -> tuple[Footprint, ...]:
    """The most frequent ones last, on top."""
    turned = ((_turned(shape, seam), scenes) for shape, scenes in sorted(shapes, key=lambda each: each[1]))
    return tuple(Footprint(rings=rings, scenes=scenes) for shape, scenes in turned if (rings := _rings(shape, frame)))


def _rings(shape: BaseGeometry, frame: Frame) -> tuple[Ring, ...]:
    """Outer and inner rings, as fine as a picture of the frame shows."""
    if shapely.get_num_coordinates(shape) > _MOST_VERTICES:
        shape = shapely.simplify(shape, (frame.east - frame.west) / 500)
    clipped = shapely.clip_by_rect(shapely.make_valid(shape), frame.west, frame.south, frame.east, frame.north)
    return tuple(_points(ring.coords) for polygon in _polygons(clipped) for ring in (polygon.exterior, *polygon.interiors))


def _polygons(shape: Any) -> Iterable[Any]:
    if shape.geom_type == "Polygon":
        return () if shape.is_empty else (shape,)
    return [polygon for part in getattr(shape, "geoms", ()) for polygon in _polygons(part)]


def _points(coordinates: Any) -> Ring:
    return tuple(Point(x=float(x), y=float(y)) for x, y, *_ in coordinates)


def _grid(boxes: NDArray[np.float64], frame: Frame) -> tuple[Footprint, ...]:
    """Scenes that meet each cell: one added at the south-west corner and taken off beyond the others, summed along both axes."""
    wide, high = frame.east - frame.west, frame.north - frame.south
    cell = max(wide, high) / _CELLS
    columns, rows = int(np.ceil(wide / cell)), int(np.ceil(high / cell))
    left, right = (np.clip((boxes[:, at] - frame.west) / cell, 0, columns - 1e-9).astype(int) for at in (0, 2))
    low, top = (np.clip((boxes[:, at] - frame.south) / cell, 0, rows - 1e-9).astype(int) for at in (1, 3))
    corners = np.zeros((rows + 1, columns + 1), np.int64)
    np.add.at(corners, (low, left), 1)
    np.add.at(corners, (low, right + 1), -1)
    np.add.at(corners, (top + 1, left), -1)
    np.add.at(corners, (top + 1, right + 1), 1)
    counts = corners.cumsum(axis=0).cumsum(axis=1)[:rows, :columns]
    found = [(row, column) for row, column in zip(*np.nonzero(counts), strict=True)]
    return tuple(_cell(frame, cell, int(row), int(column), int(counts[row, column])) for row, column in found)


def _cell(frame: Frame, size: float, row: int, column: int, scenes: int) -> Footprint:
    west, south = frame.west + column * size, frame.south + row * size
    east, north = min(west + size, frame.east), min(south + size, frame.north)
    ring = tuple(Point(x=x, y=y) for x, y in ((west, south), (east, south), (east, north), (west, north)))
    return Footprint(rings=(ring,), scenes=scenes)
