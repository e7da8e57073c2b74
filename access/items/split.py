"""Halves of a search that finds too much: first in time, then in space. Together they find what the whole does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import cast

import shapely
from shapely.geometry.base import BaseGeometry

from rasterloom.specs.question import Box, Interval, Question, Shard

MOST_ITEMS = 10_000
"""Items of one search; services page slower the deeper it gets, and some stop there."""
SHORTEST = timedelta(minutes=1)
NARROWEST = 0.001
"""Degrees."""
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Part:
    """One search of a shard: the question with its part of the area, and the part of the shard."""

    question: Question
    shard: Shard


def halves(part: Part, now: datetime) -> tuple[Part, Part] | None:
    """Two parts that share an edge, so that what lies on it is found twice; None where the part is as small as it gets."""
    return _in_time(part, now) or _in_space(part)


def _in_time(part: Part, now: datetime) -> tuple[Part, Part] | None:
    """What has no end reaches into the future, what has no start into the past: the outer halves stay open."""
    dates = part.shard.dates
    start, end = dates.start or min(_FIRST, dates.end or now), dates.end or max(now, dates.start or now)
    if end - start < 2 * SHORTEST:
        return None
    middle = (start + (end - start) / 2).replace(microsecond=0)
    early, late = Interval(start=dates.start, end=middle), Interval(start=middle, end=dates.end)
    return replace(part, shard=replace(part.shard, dates=early)), replace(part, shard=replace(part.shard, dates=late))


def _in_space(part: Part) -> tuple[Part, Part] | None:
    box = part.shard.cell or part.question.bbox
    if box is not None:
        cut = _cut(box)
        return cut and (replace(part, shard=replace(part.shard, cell=cut[0])), replace(part, shard=replace(part.shard, cell=cut[1])))
    return _cut_shape(part) if part.question.intersects else None


def _cut(box: Box) -> tuple[Box, Box] | None:
    """Across the longer side."""
    width = box.east - box.west + (360.0 if box.west > box.east else 0.0)
    height = box.north - box.south
    if max(width, height) < 2 * NARROWEST:
        return None
    if height > width:
        middle = box.south + height / 2
        return replace(box, north=middle), replace(box, south=middle)
    middle = box.west + width / 2
    west_of, east_of = (middle, middle) if middle < 180.0 else (middle - 360.0, middle - 360.0)
    return replace(box, east=180.0 if middle == 180.0 else west_of), replace(box, west=east_of)


def _cut_shape(part: Part) -> tuple[Part, Part] | None:
    """The polygon cut along the middle of its bounds. A side that nothing of it lies on is left out with the whole cut."""
    shape = cast(BaseGeometry, shapely.make_valid(shapely.from_geojson(part.question.intersects)))
    west, south, east, north = shape.bounds
    cut = _cut(Box(west=west, south=south, east=east, north=north)) if west < east and south < north else None
    sides = [shape.intersection(shapely.box(side.west, side.south, side.east, side.north)) for side in cut or ()]
    if not sides or any(side.geom_type not in ("Polygon", "MultiPolygon") or side.is_empty for side in sides):
        return None
    texts = [shapely.to_geojson(side) for side in sides]
    first, second = (replace(part, question=replace(part.question, intersects=text)) for text in texts)
    return first, second
