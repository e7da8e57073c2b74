"""Which rows of a collection may answer a question, said in Arrow: less to read, never the answer. Callers check every row again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import shapely

from rasterloom.access.cache.records import naive
from rasterloom.access.items.arrowfilters import Column, to_arrow
from rasterloom.access.items.filters import OF_INSTANT, OF_ITEM
from rasterloom.access.sources.copyrows import Layout
from rasterloom.access.views import all_of, any_of
from rasterloom.errors import Problem, SpecError
from rasterloom.specs.cql2 import IsNull, leaves
from rasterloom.specs.filters import filter_of
from rasterloom.specs.question import Box, Question, Shard
from rasterloom.specs.wrong import shown

_TURN = 360.0
_ORDER: Mapping[str, Callable[[pc.Expression, Any], pc.Expression]] = {
    "eq": lambda field, value: field == value,
    "lt": lambda field, value: field < value,
    "lte": lambda field, value: field <= value,
    "gt": lambda field, value: field > value,
    "gte": lambda field, value: field >= value,
}


def check_names(question: Question, layout: Layout) -> None:
    """Raises `SpecError` with the nearest one for a property of `query` or `filter` that the collection has no column of."""
    known = set(layout.properties.values())
    asked = [("query", name.removeprefix("properties.")) for name in json.loads(question.query or "{}")]
    asked += [("filter", leaf.name) for leaf in leaves(filter_of(question.filter))] if question.filter else []
    unknown = dict.fromkeys((key, name) for key, name in asked if name not in known and name not in (*OF_ITEM, *OF_INSTANT, "proj:epsg"))
    if unknown:
        problems = [
            Problem(path=key, value=shown(name), message=f"the collection has no property {shown(name)}", remedy=_near(name, known))
            for key, name in unknown
        ]
        raise SpecError("the collection does not have what is asked for", problems=problems)


def _near(name: str, known: set[str]) -> str:
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"write {near[0]}" if near else "see `rasterloom info` for its columns"


def chosen(question: Question, shard: Shard, layout: Layout) -> pc.Expression | None:
    """None: all rows. A scene with a time span may begin before the dates."""
    kind, dates = layout.types["datetime"], shard.dates
    parts = [*_queried(question.query, layout)]
    if dates.end is not None:
        parts.append(pc.field("datetime") < pa.scalar(naive(dates.end), kind))
    if dates.start is not None and "end_datetime" not in layout.types:
        parts.append(pc.field("datetime") >= pa.scalar(naive(dates.start), kind))
    box = shard.cell or question.bbox or _bounds(question.intersects)
    if box is not None and layout.has_boxes:
        parts.append(_may_meet(box))
    filtered = _filtered(question.filter, layout)
    parts += [] if filtered is None else [filtered]
    return all_of(parts) if parts else None


def _bounds(intersects: str | None) -> Box | None:
    if intersects is None:
        return None
    west, south, east, north = shapely.from_geojson(intersects).bounds
    return Box(west=west, south=south, east=east, north=north)


def _may_meet(box: Box) -> pc.Expression:
    """Rows whose box, on any turn of the globe, touches this one; those that cross the antimeridian, or have none, all may."""
    xmin, ymin, xmax, ymax = (pc.field("bbox", name) for name in ("xmin", "ymin", "xmax", "ymax"))
    east = box.east + (_TURN if box.west > box.east else 0.0)
    turns = any_of([(xmin <= east + turn) & (xmax >= box.west + turn) for turn in (-2 * _TURN, -_TURN, 0.0, _TURN)])
    return ((ymin <= box.north) & (ymax >= box.south) & (turns | (xmin > xmax))) | xmin.is_null()


def _queried(query: str | None, layout: Layout) -> Iterator[pc.Expression]:
    """Numbers by their order, in columns of numbers: there Arrow judges as items are judged."""
    columns = {name: column for column, name in layout.properties.items()}
    for name, rules in json.loads(query or "{}").items():
        column = columns.get(name.removeprefix("properties."))
        if column is not None and _is_number(layout.types[column]):
            yield from (_ORDER[rule](pc.field(column), value) for rule, value in rules.items() if rule in _ORDER and _is_plain(value))


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_float64(kind) or pa.types.is_int64(kind)


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1 << 53


def _filtered(filter: str | None, layout: Layout) -> pc.Expression | None:
    if filter is None:
        return None
    # a row without a `year` of its own has that of its instant
    columns = {name: column for column, name in layout.properties.items() if name not in OF_INSTANT}
    nulls = {leaf.name for leaf in leaves(filter_of(filter)) if isinstance(leaf, IsNull)}

    def column_of(name: str) -> Column | None:
        kind = layout.types[columns[name]] if name in columns else None
        # what is no number, text or truth here is text in an item; a NaN is nothing there, and not null here
        fits = kind is not None and (_is_number(kind) or pa.types.is_string(kind) or pa.types.is_boolean(kind))
        is_odd = kind is not None and pa.types.is_floating(kind) and name in nulls
        return Column(pc.field(columns[name]), kind) if fits and not is_odd else None

    return to_arrow(filter, column_of)
