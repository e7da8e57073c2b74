"""Rows of a table as STAC items."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from rasterloom.access.sources.tablegeometry import box_lists, boxes_of, geojson_of, in_degrees, shapes_of
from rasterloom.access.sources.tablelayout import Layout
from rasterloom.access.sources.tablevalues import decoded, id_text, instant_text, values, year_of
from rasterloom.specs.question import TableSource

Item = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """How the rows of one table become items."""

    layout: Layout
    source: TableSource
    base: str | None
    """Address of the file that holds them: what relative hrefs are relative to, where an item has no link of its own."""

    def items(self, rows: pa.Table) -> list[Item]:
        """One item a row, in their order. Never raises for what a row holds: a row that is no item is refused later, by name."""
        columns: dict[str, list[Any]] = {
            "geometry": self._geometries(rows),
            "bbox": self._boxes(rows),
            "properties": self._properties(rows),
            "assets": self._assets(rows),
            "links": self._links(rows),
            "collection": self._texts(rows, "collection"),
            "id": self._texts(rows, "id"),
        }
        items = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        for item in items:
            _tidied(item)
        return items

    def _values(self, rows: pa.Table, name: str) -> list[Any]:
        column = self.layout.names.get(name)
        if column is None or column not in rows.column_names:
            return [None] * rows.num_rows
        return values(rows[column].combine_chunks())

    def _texts(self, rows: pa.Table, name: str) -> list[Any]:
        return [id_text(value) for value in self._values(rows, name)]

    def _geometries(self, rows: pa.Table) -> list[Any]:
        how = self.layout.footprints
        if how is None:
            return [None] * rows.num_rows
        shapes, broken = shapes_of(rows[how.column].combine_chunks(), how)
        return geojson_of(in_degrees(shapes, how.crs), broken)

    def _boxes(self, rows: pa.Table) -> list[Any]:
        """Of footprints that move to degrees the boxes are made anew."""
        layout = self.layout
        if layout.bbox is None or layout.crs is not None:
            return [None] * rows.num_rows
        return box_lists(boxes_of(rows[layout.bbox].combine_chunks()))

    def _properties(self, rows: pa.Table) -> list[Item]:
        whole = decoded(self._values(rows, "properties"))
        names = [name for name, column in self.layout.properties if column in rows.column_names]
        columns = [_codes(self._values(rows, name)) if name == "proj:epsg" else self._values(rows, name) for name in names]
        dates = {name: self._values(rows, name) for name in ("datetime", "start_datetime", "end_datetime") if name in self.layout.names}
        made = [dict(one) if isinstance(one, Mapping) else {} for one in whole]
        for properties, row in zip(made, zip(*columns, strict=True) if columns else ((),) * len(made), strict=True):
            properties.update((name, value) for name, value in zip(names, row, strict=True) if value is not None)
        for name, column in dates.items():
            for properties, value in zip(made, column, strict=True):
                _dated(properties, name, value)
        return made

    def _assets(self, rows: pa.Table) -> list[Any]:
        found = decoded(self._values(rows, "assets"))
        keys = list(self.layout.hrefs)
        columns = [values(rows[self.layout.hrefs[key]].combine_chunks()) for key in keys]
        assets = [_wanted(one, self.layout.assets) for one in found]
        for one, row in zip(assets, zip(*columns, strict=True) if columns else ((),) * len(assets), strict=True):
            one.update((key, {"href": href}) for key, href in zip(keys, row, strict=True) if href is not None)
        rewrite = self.source.url_rewrite
        return [_rewritten(one, rewrite) for one in assets] if rewrite else assets

    def _links(self, rows: pa.Table) -> list[Any]:
        own = [] if self.base is None else [{"rel": "self", "href": self.base}]
        return [[*(links if isinstance(links, list) else ()), *own] for links in decoded(self._values(rows, "links"))]


def _codes(found: Sequence[Any]) -> list[Any]:
    """pandas makes 32613 a 32613.0 where another row has none."""
    return [int(value) if isinstance(value, float) and value.is_integer() else value for value in found]


def _tidied(item: Item) -> None:
    if item["id"] is None:
        item["id"] = _derived_id(item)
    if item["collection"] is None:
        del item["collection"]


def _derived_id(item: Mapping[str, Any]) -> str:
    """Of the files and the date of a row, else of its place and date: the same again, wherever the row stands."""
    hrefs = sorted({str(asset.get("href")) for asset in item["assets"].values() if isinstance(asset, Mapping)})
    properties = item["properties"]
    when = [properties.get(name) for name in ("datetime", "start_datetime", "end_datetime")]
    text = json.dumps([hrefs or [item["geometry"], item["bbox"]], when], sort_keys=True, default=str)
    return f"row-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def _dated(properties: Item, name: str, value: Any) -> None:
    """A year is an interval: its scenes answer whatever asks for a part of it."""
    year = year_of(value)
    if year is None:
        if value is not None or name == "datetime":
            properties[name] = instant_text(value)
        return
    first, last = f"{year}-01-01T00:00:00Z", f"{year}-12-31T23:59:59Z"
    properties[name] = last if name == "end_datetime" else first
    if name == "datetime":
        properties["start_datetime"], properties["end_datetime"] = first, last


def _wanted(assets: Any, keys: Sequence[str]) -> Item:
    """The assets of the bands, and those beside them that hold the same file elsewhere."""
    if not isinstance(assets, Mapping):
        return {}
    spelled = (name for key in keys for name in (key, f"s3_{key}"))
    return {name: asset for name in spelled if (asset := assets.get(name)) is not None}


def _rewritten(value: Any, rules: Sequence[tuple[str, str]]) -> Any:
    """Every `href` of an item's assets, by the longest prefix that fits."""
    if not isinstance(value, Mapping):
        return value
    return {
        name: _replaced(inner, rules) if name == "href" and isinstance(inner, str) else _rewritten(inner, rules)
        for name, inner in value.items()
    }


def _replaced(href: str, rules: Sequence[tuple[str, str]]) -> str:
    fitting = [rule for rule in rules if href.startswith(rule[0])]
    if not fitting:
        return href
    old, new = max(fitting, key=lambda rule: len(rule[0]))
    return new + href[len(old) :]
