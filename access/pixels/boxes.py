"""Boxes of scenes as the rows of a collection hold them, and boxes around what is looked for in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees."""
_WIDER = 0.01
"""Share of its size by which the box of a scene is widened: the edges of a raster bend between the corners of its box. Which points lie
in the raster is decided by its grid."""
_BOXES = 16


def shapes_of_boxes(boxes: Sequence[Mapping[str, float] | None]) -> tuple[list[shapely.Polygon], list[int]]:
    """The boxes (`xmin`, ...), a little widened, as shapely geometries, and the number of the box that each is of: two where xmin > xmax,
    which crosses the antimeridian, and none for None."""
    edges: list[tuple[float, float, float, float]] = []
    owners: list[int] = []
    for number, box in enumerate(boxes):
        if box is None:
            continue
        west, south, east, north = box["xmin"], box["ymin"], box["xmax"], box["ymax"]
        for left, right in [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]:
            wider, higher = _WIDER * (right - left), _WIDER * (north - south)
            edges.append((left - wider, south - higher, right + wider, north + higher))
            owners.append(number)
    return [shapely.box(*edge) for edge in edges], owners


def boxes_around(lon: NDArray[np.float64], lat: NDArray[np.float64], *, most: int = _BOXES) -> list[Box]:
    """At most `most` boxes around the cells of a tenth of a degree that hold points: split where the gap between cells is widest."""
    cells = np.unique(np.floor(np.column_stack([lon, lat]) * 10).astype(np.int64), axis=0)
    groups = [cells] if len(cells) else []
    while groups and len(groups) < most:
        gaps = [_widest_gap(group) for group in groups]
        which = max(range(len(groups)), key=lambda number: gaps[number].size)
        if gaps[which].size <= 1:
            break
        group, gap = groups.pop(which), gaps[which]
        low = group[:, gap.axis] <= gap.after
        groups += [group[low], group[~low]]
    edges = [(group.min(0) / 10 - 0.05, group.max(0) / 10 + 0.15) for group in groups]
    return [(max(low[0], -180.0), max(low[1], -90.0), min(high[0], 180.0), min(high[1], 90.0)) for low, high in edges]


def boxes_over(bounds: NDArray[np.float64]) -> list[Box]:
    """At most 16 boxes that cover some boxes, shape (n, 4): grouped by their middles. Rows with NaN have no place."""
    known = bounds[np.isfinite(bounds).all(axis=1)]
    middles = (known[:, :2] + known[:, 2:]) / 2
    found: list[Box] = []
    for west, south, east, north in boxes_around(*middles.T):
        inside = (middles >= (west, south)).all(axis=1) & (middles <= (east, north)).all(axis=1)
        low, high = known[inside, :2].min(0), known[inside, 2:].max(0)
        found.append((max(low[0], -180.0), max(low[1], -90.0), min(high[0], 180.0), min(high[1], 90.0)))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gap:
    axis: int
    """0 longitude, 1 latitude."""
    after: int
    """The cell before the gap."""
    size: int
    """Cells; 1 is none."""


def _widest_gap(cells: NDArray[np.int64]) -> _Gap:
    found = [_Gap(axis=0, after=0, size=0)]
    for axis in (0, 1):
        values = np.unique(cells[:, axis])
        steps = np.diff(values)
        if len(steps):
            at = int(np.argmax(steps))
            found.append(_Gap(axis=axis, after=int(values[at]), size=int(steps[at])))
    return max(found, key=lambda gap: gap.size)
