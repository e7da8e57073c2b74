"""From one STAC item to the beginnings of a spec: where it comes from, which of its assets are bands, and what lies around it."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urljoin, urlsplit

from rasterloom.errors import SpecError
from rasterloom.specs import catalog
from rasterloom.specs.dates import FIRST_YEAR, LAST_YEAR
from rasterloom.specs.itembands import Bands, bands_of
from rasterloom.specs.wrong import shown

AROUND = timedelta(days=15)
"""Before and after the day of the item."""
_API = re.compile(r"(?P<url>https?://[^?#]+?)/+collections/(?P<collection>[^/?#]+)(/+items/[^/?#]+)?/*", re.IGNORECASE)
_HOST = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/?#@]*@)?([^/?#:@]+)")
_SCHEMES = ("", "http", "https", "s3", "gs", "az", "file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a spec can take from an item."""

    id: str
    """Of the item."""
    name: str
    """For the collection."""
    dataset: catalog.Dataset | None
    """The built-in dataset that the item belongs to."""
    stac: tuple[str, str] | None
    """Else landing page and collection of its API."""
    catalog: tuple[str, str | None] | None
    """Else the static catalog, and the collection in it."""
    bands: Bands
    bbox: tuple[float, float, float, float] | None
    dates: tuple[str, str] | None
    """First and last day."""


def draft(item: Any, address: str, *, name: str = "") -> Draft:
    """What stands in the item at `address` (URL or absolute path). Raises `SpecError` where it is no item, leads to no source,
    or has no GeoTIFF."""
    item = _checked(item, address)
    collection = _collection_of(item, address)
    api = _api_of(item, address, collection)
    dataset = _dataset_of(item, api, address, collection)
    static = None if dataset or api else _static_of(item, address, collection)
    if dataset is None and api is None and static is None:
        raise SpecError(
            f"the item {shown(item['id'])} has no link to its API or catalog",
            remedy="give the address of the item in its API or catalog; or write `stac: {url, collection}` in a spec of `rasterloom init`",
        )
    return Draft(
        id=item["id"],
        name=name or _name(dataset.id.rpartition("/")[2] if dataset else collection or item["id"]),
        dataset=dataset,
        stac=None if dataset else api,
        catalog=static,
        bands=bands_of(item, dataset),
        bbox=_bbox(item),
        dates=_dates(item.get("properties")),
    )


def _checked(item: Any, address: str) -> dict[str, Any]:
    kind = item.get("type") if isinstance(item, dict) else None
    if isinstance(item, dict) and kind == "Feature" and isinstance(item.get("assets"), dict) and isinstance(item.get("id"), str):
        return item
    if kind in ("Catalog", "Collection"):
        remedy = "give the address of one of its items; or write `stac: {url, collection}` or `catalog: {path}` in a spec"
    elif kind == "FeatureCollection":
        remedy = "it holds several items: give the address of one of them, or a file with one"
    else:
        remedy = "give the URL of an item (`.../collections/ID/items/ID`, or its JSON file)"
    what = shown(kind) if isinstance(kind, str) else "JSON without a `type`"
    raise SpecError(f"{shown(address)} is {what}, not a STAC item", remedy=remedy)


def _links(item: Mapping[str, Any]) -> dict[str, str]:
    """The first href of each relation."""
    found: dict[str, str] = {}
    links = item.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, Mapping) and isinstance(link.get("rel"), str) and isinstance(link.get("href"), str):
            found.setdefault(link["rel"], link["href"].strip())
    return found


def _collection_of(item: Mapping[str, Any], address: str) -> str | None:
    given = item.get("collection")
    if isinstance(given, str) and given:
        return given
    places = (*_links(item).values(), address)
    return next((match["collection"] for place in places if (match := _API.fullmatch(place))), None)


def _api_of(item: Mapping[str, Any], address: str, collection: str | None) -> tuple[str, str] | None:
    """By the links that every STAC API gives its items; `collection` may be another than that of the address."""
    links = _links(item)
    for place in (links.get("self", ""), links.get("collection", ""), links.get("parent", ""), address):
        if match := _API.fullmatch(place):
            return match["url"], collection or match["collection"]
    return None


def _dataset_of(item: Mapping[str, Any], api: tuple[str, str] | None, address: str, collection: str | None) -> catalog.Dataset | None:
    """The built-in dataset of this API; else the one of this collection whose API is on a host that the item's links name."""
    exact = catalog.match(*api) if api else None
    if exact is not None or collection is None or api is not None:
        return exact if exact is None or exact.supported else None
    hosts = {_host(place) for place in (*_links(item).values(), address)} - {""}
    every = (one for one in catalog.datasets() if one.supported and one.collection == collection and one.url)
    return next((one for one in every if _host(one.url or "") in hosts), None)


def _host(place: str) -> str:
    """Lower case; an empty text where there is none."""
    match = _HOST.match(place)
    return match[1].lower() if match else ""


def _static_of(item: Mapping[str, Any], address: str, collection: str | None) -> tuple[str, str | None] | None:
    """The root, else the nearest thing above the item that is a file."""
    links = _links(item)
    base = links.get("self", "") if "://" in links.get("self", "") else address
    for relation in ("root", "collection", "parent"):
        href = links.get(relation, "")
        place = _joined(base, href) if href else ""
        if place.partition("?")[0].endswith(".json") and (place.partition("://")[0] if "://" in place else "") in _SCHEMES:
            return place, collection
    return None


def _joined(base: str, href: str) -> str:
    """`href` as seen from `base`, a URL or an absolute path; an empty text where one of them is neither."""
    try:
        parts = urlsplit(base)
        if urlsplit(href).scheme or parts.scheme in ("http", "https", "file"):
            return urljoin(base, href)
    except ValueError:
        return ""
    root = f"{parts.scheme}://{parts.netloc}" if parts.scheme else ""
    return root + posixpath.normpath(posixpath.join(posixpath.dirname(base[len(root) :]), href))


def _name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-") or "my-collection"


def _bbox(item: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """West, south, east, north, rounded outwards to 0.1 m or so; None where the item does not say it usably."""
    given = item.get("bbox")
    numbers = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else []
    if len(numbers) not in (4, 6) or not all(_is_number(number) for number in numbers):
        numbers = _bounds(item)
    if not numbers:
        return None
    west, south, east, north = (numbers[at] for at in ((0, 1, 3, 4) if len(numbers) == 6 else (0, 1, 2, 3)))
    if west <= east and east - west > 300:
        west, east = _across(item) or (west, east)
    return _outwards(west, south, east, north)


def _bounds(item: Mapping[str, Any]) -> list[float]:
    lons, lats = zip(*found, strict=True) if (found := list(_positions(item.get("geometry")))) else ((), ())
    return [min(lons), min(lats), max(lons), max(lats)] if found else []


def _across(item: Mapping[str, Any]) -> tuple[float, float] | None:
    """West and east of a footprint that was written around the world because it crosses the antimeridian."""
    lons = [lon for lon, _ in _positions(item.get("geometry"))]
    west, east = [lon for lon in lons if lon > 0], [lon for lon in lons if lon <= 0]
    crosses = west and east and min(west) - max(east) > 180
    return (min(west), max(east)) if crosses else None


def _positions(geometry: Any) -> Iterator[tuple[float, float]]:
    level: list[Any] = [geometry.get("coordinates")] if isinstance(geometry, Mapping) else []
    while level:
        value = level.pop()
        if isinstance(value, list) and len(value) >= 2 and _is_number(value[0]) and _is_number(value[1]):
            yield value[0], value[1]
        elif isinstance(value, list):
            level += value


def _outwards(west: float, south: float, east: float, north: float) -> tuple[float, float, float, float] | None:
    west, east = max(-180.0, _floor(west)), min(180.0, -_floor(-east))
    south, north = max(-90.0, _floor(south)), min(90.0, -_floor(-north))
    whole = abs(west) <= 180 and abs(east) <= 180 and west != east and south < north
    return (west, south, east, north) if whole else None


def _floor(number: float) -> float:
    return math.floor(round(number * 1e6, 1)) / 1e6


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _dates(properties: Any) -> tuple[str, str] | None:
    """Some days around the instant of the item; of one without an instant its span."""
    found = properties if isinstance(properties, Mapping) else {}
    instant, start, end = (_day(found.get(name)) for name in ("datetime", "start_datetime", "end_datetime"))
    if instant is not None:
        start, end = _moved(instant, -AROUND), _moved(instant, AROUND)
    if start is None or end is None or start > end or start.year < FIRST_YEAR or end.year > LAST_YEAR:
        return None
    return start.date().isoformat(), end.date().isoformat()


def _moved(day: datetime, by: timedelta) -> datetime:
    try:
        return day + by
    except OverflowError:
        return day


def _day(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
