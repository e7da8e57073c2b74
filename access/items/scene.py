"""A raw STAC item becomes a scene, or a failure that names it, before anything is asked of the network."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from rasterloom.access.items import filters
from rasterloom.access.items.footprints import area_of, bounds_of, bounds_of_geometry, geometry_of, meets
from rasterloom.access.items.hrefs import absolute_href, address_of, chosen_href
from rasterloom.access.items.moments import instant_of
from rasterloom.access.items.queries import matches
from rasterloom.access.network.translate import failure_of
from rasterloom.access.values import Asset, Failure, Scene
from rasterloom.errors import Unreadable
from rasterloom.specs.cql2 import instant_text
from rasterloom.specs.media import is_jpeg2000
from rasterloom.specs.question import Band, CatalogSource, CopySource, Interval, Question, Source, TableSource

LONGEST_ID = 512
NO_HEADERS = "none"
"""`Scene.origin` of scenes whose headers are not read."""
DEEPEST = 32
"""Levels of nesting in the properties of an item."""


def scene_of(item: Any, question: Question) -> tuple[Scene | None, tuple[Failure, ...]]:
    """The scene of a raw item, and what is wrong with it or with its assets.

    No scene: the item cannot be used and the one failure says why. A scene with failures: those bands are missing, the row stays.
    """
    try:
        scene_id = _id_of(item)
    except Unreadable as error:
        return None, (failure_of(error, stage="item"),)
    try:
        return _scene(item, scene_id, question)
    except Unreadable as error:
        return None, (failure_of(error, stage="item", item_id=scene_id),)


def answers(scene: Scene, item: Mapping[str, Any], question: Question) -> bool:
    """Whether a scene really answers the question: collection, dates, `query`, `filter` and area are applied again, exactly."""
    return (
        _belongs(scene, question.source)
        and _in_dates(scene, question.dates)
        and matches(question.query, item)
        and filters.matches(question.filter, item)
        and _in_area(scene, question)
    )


def _belongs(scene: Scene, source: Source) -> bool:
    """A table says with `data_source` what rows without a collection belong to, and a crawl takes in the collections within the named
    one; an API is asked for the named collection alone."""
    return isinstance(source, TableSource | CatalogSource) or source.collection in (None, scene.collection)


def still_answers(scene: Scene, question: Question) -> bool:
    """As `answers`, for a scene out of a committed version: it keeps as much of its item as a question may ask for."""
    properties = {**scene.properties, "datetime": instant_text(scene.datetime)}
    return answers(scene, {"id": scene.id, "collection": scene.collection, "properties": properties}, question)


def _id_of(item: Any) -> str:
    if not isinstance(item, dict):
        raise _wrong("bad-item", "a feature is not an object")
    value = item.get("id")
    if not isinstance(value, str) or not value:
        raise _wrong("bad-id", f"/id is not a text: {str(value)[:100]!r}")
    if len(value) > LONGEST_ID or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value):
        raise _wrong("bad-id", f"/id is longer than {LONGEST_ID} characters or has control characters: {value[:60]!r}")
    return value


def _wrong(reason: str, message: str) -> Unreadable:
    return Unreadable(message, reason=reason, remedy="correct the item in the catalog")


def _scene(item: dict[str, Any], scene_id: str, question: Question) -> tuple[Scene, tuple[Failure, ...]]:
    properties = _properties_of(item)
    bounds = bounds_of(item.get("bbox"))
    geometry = geometry_of(item.get("geometry"), bounds)
    collection = item.get("collection")
    if collection is not None and not isinstance(collection, str):
        raise _wrong("bad-item", "/collection is not a text")
    assets, failures = _assets_of(item, scene_id, question)
    updated = properties.get("updated")
    scene = Scene(
        id=scene_id,
        collection=collection or question.source.collection or "",
        datetime=_instant_of(properties),
        geometry=shapely.to_wkb(geometry),
        bbox=bounds or bounds_of_geometry(geometry),
        properties={name: value for name, value in properties.items() if name != "datetime"},
        assets=assets,
        crs=_projection(properties),
        updated=updated if isinstance(updated, str) else None,
        origin=_origin(question),
    )
    return scene, failures


def _origin(question: Question) -> str | None:
    if isinstance(question.source, CopySource):
        return question.source.edition
    return None if question.reads_headers else NO_HEADERS


def _properties_of(item: Mapping[str, Any]) -> dict[str, Any]:
    properties = item.get("properties")
    if not isinstance(properties, dict):
        raise _wrong("bad-properties", "/properties is not an object")
    _check_depth(properties, DEEPEST)
    return properties


def _check_depth(value: Any, left: int) -> None:
    if not isinstance(value, (dict, list)):
        return
    if left == 0:
        raise _wrong("bad-properties", f"/properties is nested more than {DEEPEST} levels deep")
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, (dict, list)):
            _check_depth(part, left - 1)


def _instant_of(properties: Mapping[str, Any]) -> datetime:
    """`datetime`, or the start of the interval where it is null (STAC item spec: then both ends are required)."""
    name = "datetime" if properties.get("datetime") is not None else "start_datetime"
    instant = instant_of(properties.get(name))
    if instant is None:
        raise _wrong("bad-datetime", f"/properties/{name} is no RFC 3339 instant: {str(properties.get(name))[:60]!r}")
    return instant


def _in_dates(scene: Scene, dates: Interval) -> bool:
    """By the instant; an item without one is asked whether its interval overlaps."""
    end = instant_of(scene.properties.get("end_datetime")) or scene.datetime
    if instant_of(scene.properties.get("start_datetime")) != scene.datetime or end <= scene.datetime:
        return dates.holds(scene.datetime)
    return (dates.end is None or scene.datetime < dates.end) and (dates.start is None or end >= dates.start)


def _in_area(scene: Scene, question: Question) -> bool:
    area = _area(question)
    return area is None or meets(area, shapely.from_wkb(scene.geometry), scene.bbox)


@lru_cache(maxsize=16)
def _area(question: Question) -> BaseGeometry | None:
    shape = shapely.from_geojson(question.intersects) if question.intersects else None
    return area_of(question.bbox, shape)


def _assets_of(item: Mapping[str, Any], scene_id: str, question: Question) -> tuple[tuple[Asset, ...], tuple[Failure, ...]]:
    found = item.get("assets")
    assets: Mapping[str, Any] = found if isinstance(found, dict) else {}
    base = address_of(item, question.source.address, question.source.collection or "")
    is_said = _projection(item["properties"]) is not None
    kept: list[Asset] = []
    failures: list[Failure] = []
    for band in question.bands:
        try:
            asset = _asset_of(assets, band, question.href, base)
            crs = None if is_said else _projection(assets[band.asset])
            kept.append(replace(asset, crs=crs) if crs else asset)
        except Unreadable as error:
            failures.append(failure_of(error, stage="asset", item_id=scene_id, band=band.code))
    return tuple(kept), tuple(failures)


def _asset_of(assets: Mapping[str, Any], band: Band, href_rule: str, base: str) -> Asset:
    asset = assets.get(band.asset)
    if not isinstance(asset, dict):
        raise Unreadable(f"the item has no asset {band.asset!r}", reason="band-missing", remedy="correct band_map, or leave the band out")
    href = absolute_href(chosen_href(asset, href_rule, assets.get(f"s3_{band.asset}")), base)
    if is_jpeg2000(asset.get("type"), href):
        raise Unreadable(f"asset {band.asset!r} is JPEG 2000, not a GeoTIFF", reason="jpeg2000", remedy="map the band to a GeoTIFF asset")
    size = asset.get("file:size")
    size = size if isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 1 << 63 else None
    return Asset(band=band.code, key=band.asset, href=href, band_index=band.index, size=size)


def _projection(place: Mapping[str, Any]) -> str | None:
    """The CRS that the projection extension says in the properties of an item, or in an asset."""
    code, epsg, wkt, projjson = (place.get(f"proj:{name}") for name in ("code", "epsg", "wkt2", "projjson"))
    if isinstance(code, str) and code:
        return code
    if isinstance(epsg, int) and not isinstance(epsg, bool) and epsg > 0:
        return f"EPSG:{epsg}"
    if isinstance(wkt, str) and wkt:
        return wkt
    return json.dumps(projjson, sort_keys=True) if isinstance(projjson, dict) and projjson else None
