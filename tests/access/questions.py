"""Questions and items for the tests of the network side."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rasterloom.specs.question import Band, Box, Interval, Question, Shard, StacSource

WORLD = Interval(start=None, end=None)


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def question(
    url: str = "https://api.example.org/v1",
    *,
    bbox: Box | None = None,
    intersects: str | None = None,
    dates: Interval = WORLD,
    query: str | None = None,
    bands: Sequence[Band] = (Band(code="B04", asset="red"),),
    href: str = "href",
    collection: str = "c",
) -> Question:
    return Question(
        source=StacSource(url=url, collection=collection),
        bbox=bbox,
        intersects=intersects,
        dates=dates,
        query=query,
        bands=tuple(bands),
        dedupe=None,
        href=href,
    )


def shard(dates: Interval = WORLD, cell: Box | None = None) -> Shard:
    return Shard(index=0, dates=dates, cell=cell, closed=False)


def box(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def item(name: str = "a", **changes: Any) -> dict[str, Any]:
    """A good item near (10, 50) on 2024-06-01; `changes` replace its members, `...` takes one away."""
    whole: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "c",
        "geometry": box(10, 50, 11, 51),
        "bbox": [10, 50, 11, 51],
        "properties": {"datetime": "2024-06-01T10:00:00Z", "eo:cloud_cover": 12.5, "proj:epsg": 32632},
        "links": [],
        "assets": {"red": {"href": f"https://files.example.org/{name}/red.tif", "type": "image/tiff; application=geotiff"}},
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not ...}


def many(count: int) -> list[dict[str, Any]]:
    return [item(f"i{number:05}") for number in range(count)]
