"""What the extent of a STAC collection says of a question: whether items of it may answer. Where it says nothing clear, they may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from rasterloom.access.items.footprints import area_of, area_of_bounds, bounds_of
from rasterloom.access.items.moments import instant_of
from rasterloom.errors import Unreadable
from rasterloom.specs.question import Interval, Question, Shard

_DEGREES, _TIME = 0.1, timedelta(days=1)
"""Extents are written by hand, in rounded degrees and whole days: so far beyond them items may lie."""

_ALWAYS = Interval(start=None, end=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The area and the dates that are asked for."""

    area: BaseGeometry | None = None
    dates: Interval = _ALWAYS

    @staticmethod
    def of(question: Question, shard: Shard) -> Reach:
        box = shard.cell or question.bbox
        shape = shapely.from_geojson(question.intersects) if question.intersects and box is None else None
        return Reach(area=area_of(box, shape), dates=shard.dates)

    def may_meet(self, collection: Mapping[str, Any]) -> bool:
        """Whether items of a STAC collection may answer."""
        extent = collection.get("extent")
        spatial, temporal = (extent.get(name) if isinstance(extent, Mapping) else None for name in ("spatial", "temporal"))
        boxes = spatial.get("bbox") if isinstance(spatial, Mapping) else None
        intervals = temporal.get("interval") if isinstance(temporal, Mapping) else None
        in_space = not isinstance(boxes, list) or not boxes or any(map(self._meets_box, boxes))
        return in_space and (not isinstance(intervals, list) or not intervals or any(map(self._meets_interval, intervals)))

    def _meets_box(self, value: object) -> bool:
        try:
            bounds = bounds_of(value)
        except Unreadable:
            return True
        if self.area is None or bounds is None:
            return True
        west, south, east, north = bounds
        grown = west - _DEGREES, south - _DEGREES, east + _DEGREES, north + _DEGREES
        # In halves at the meridian a margin would reach over it: the area is repeated one turn to either side.
        around = area_of_bounds(grown if west <= east else (grown[0], grown[1], grown[2] + 360.0, grown[3]))
        return bool(shapely.intersects(self.area, around))

    def _meets_interval(self, value: object) -> bool:
        if not isinstance(value, list) or len(value) != 2:
            return True
        first, last = (instant_of(end) for end in value)
        begins_after = first is not None and self.dates.end is not None and first - _TIME >= self.dates.end
        ends_before = last is not None and self.dates.start is not None and last + _TIME < self.dates.start
        return not begins_after and not ends_before
