"""Which rows of a table can answer a question at all, judged on Arrow columns before any row becomes an item.

Always on the safe side: a row is left out only where it cannot answer. What passes is judged again, exactly, by
`rasterloom.access.items.scene`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import and_, or_
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from rasterloom.access.items.arrowfilters import Column, to_arrow
from rasterloom.access.items.filters import OF_INSTANT, OF_ITEM
from rasterloom.access.items.moments import instant_of
from rasterloom.access.sources.tablegeometry import Boxes, bounds_in, boxes_of, edges_of, shapes_of
from rasterloom.access.sources.tablelayout import DATES, Layout, nearest
from rasterloom.access.sources.tablevalues import id_text, spans, values
from rasterloom.errors import Problem, SpecError
from rasterloom.specs.cql2 import IsNull, leaves
from rasterloom.specs.filters import filter_of
from rasterloom.specs.question import Box, Interval, Question, Shard

Bounds = tuple[float, float, float, float]
Mask = NDArray[np.bool_]
_MARGIN = 1e-4
"""Degrees: boxes of tables are often rounded to 32 bits."""
_WIDE = 300.0
"""A footprint as wide may be one that crosses the antimeridian (`rasterloom.access.items.footprints`)."""
_MOST_PARTS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Sieve:
    """The conditions of one search, in terms of one table."""

    layout: Layout
    boxes: tuple[Bounds, ...] | None
    """In the CRS of the footprints; None: everywhere."""
    dates: Interval
    rule: pc.Expression | None
    """`query` and `filter`, as far as Arrow judges them, over the table's columns."""
    asked: tuple[str, ...]
    """Columns that `rule` speaks of."""
    ids: frozenset[str] | None = None
    """Only these ids."""

    @property
    def columns(self) -> list[str]:
        """The columns that the mask needs; none where every row passes."""
        layout, found = self.layout, list(self.asked)
        if self.ids is not None:
            found += [layout.names["id"]]
        if self.boxes is not None:
            found += [layout.bbox or (layout.footprints.column if layout.footprints else "")]
        if self.dates.start is not None or self.dates.end is not None:
            found += [layout.names[name] for name in DATES if name in layout.names]
        return list(dict.fromkeys(found))

    def mask(self, rows: pa.Table) -> Mask:
        """True for the rows that may answer; `rows` has at least `columns`."""
        keep = np.ones(rows.num_rows, np.bool_)
        if self.ids is not None:
            found = values(_array(rows, self.layout.names["id"]))
            keep &= np.array([id_text(value) in self.ids for value in found], np.bool_)
        if self.boxes is not None:
            keep &= self._meets(rows)
        if self.dates.start is not None or self.dates.end is not None:
            keep &= self._in_dates(rows)
        return keep & self._answers(rows) if self.rule is not None else keep

    def admits(self, partition: Mapping[str, str | int]) -> bool:
        """Whether a file may hold rows that pass, by what its hive path says of their dates."""
        columns = {self.layout.names[name] for name in DATES if name in self.layout.names}
        if not columns or not columns <= set(partition):
            return True
        return bool(self._in_dates(pa.table({name: [partition[name]] for name in columns}))[0])

    def rules(self) -> list[pc.Expression]:
        """What row groups are judged by, through their statistics: all of these must be possible."""
        return [*self._box_rule(), *self._date_rule(), *([] if self.rule is None else [self.rule])]

    def _meets(self, rows: pa.Table) -> Mask:
        layout = self.layout
        if layout.bbox is not None:
            boxes = boxes_of(_array(rows, layout.bbox))
        elif layout.footprints is not None:
            shapes, _ = shapes_of(_array(rows, layout.footprints.column), layout.footprints)
            boxes = shapely.bounds(shapes)
        else:
            return np.ones(rows.num_rows, np.bool_)
        return _meet(boxes, self.boxes or (), round_earth=layout.crs is None)

    def _in_dates(self, rows: pa.Table) -> Mask:
        columns = [_array(rows, column) for name in DATES if (column := self.layout.names.get(name))]
        pairs = [spans(column) for column in columns]
        if not pairs:
            return np.ones(rows.num_rows, np.bool_)
        first, last = pairs[0]
        for start, end in pairs[1:]:
            first, last = np.fmin(first, start), np.fmax(last, end)  # NaT gives way
        keep = np.ones(rows.num_rows, np.bool_)
        if self.dates.end is not None:
            keep &= first < _naive(self.dates.end)
        if self.dates.start is not None:
            keep &= last >= _naive(self.dates.start)
        return keep | np.isnat(first)

    def _answers(self, rows: pa.Table) -> Mask:
        """A condition that does not fit the types of the columns is left to the judgement of the items."""
        keep = np.zeros(rows.num_rows, np.bool_)
        numbered = rows.select(list(self.asked)).append_column("\0row", pa.array(np.arange(rows.num_rows)))
        try:
            keep[numbered.filter(self.rule)["\0row"].to_numpy()] = True
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError):
            keep[:] = True
        return keep

    def _box_rule(self) -> Iterator[pc.Expression]:
        column = self.layout.bbox
        if self.boxes is None or column is None or not edges_of(self.layout.schema.field(column).type):
            return
        xmin, ymin, xmax, ymax = (pc.field(column, name) for name in ("xmin", "ymin", "xmax", "ymax"))
        turns = (-360.0, 0.0, 360.0) if self.layout.crs is None else (0.0,)
        rules: list[pc.Expression] = [xmin.is_null()]
        for west, south, east, north in self.boxes:
            level = (ymin <= north) & (ymax >= south)
            rules += [level & (xmin <= east + turn) & (xmax >= west + turn) for turn in turns]
            rules.append(level & (xmin > 0) & (xmax < 0) & ((xmin <= east) | (xmax >= west)))  # crosses the antimeridian
        yield reduce(or_, rules)

    def _date_rule(self) -> Iterator[pc.Expression]:
        kinds = [self.layout.kind(name) for name in DATES if name in self.layout.names]
        bounded = self.dates.start is not None or self.dates.end is not None
        if not bounded or not kinds or not all(_has_order(kind) for kind in kinds if kind is not None):
            return
        names = [name for name in DATES if name in self.layout.names]
        fields = [pc.field(self.layout.names[name]) for name in names]
        empty = reduce(and_, [field.is_null() for field in fields])
        before = [field < _above(self.dates.end, kind) for field, kind in zip(fields, kinds, strict=True)] if self.dates.end else []
        after = [field >= _below(self.dates.start, kind) for field, kind in zip(fields, kinds, strict=True)] if self.dates.start else []
        yield reduce(and_, [reduce(or_, side) for side in (before, after) if side]) | empty


def sieve_of(question: Question, shard: Shard, layout: Layout) -> Sieve:
    """The conditions of one shard. Raises `SpecError` where `query` or `filter` ask for a column that is not there."""
    conditions = [*_conditions(question.query, layout), *_filtered(question.filter, layout)]
    return Sieve(
        layout=layout,
        boxes=_boxes(question, shard, layout.crs),
        dates=shard.dates,
        rule=reduce(and_, [condition.rule for condition in conditions]) if conditions else None,
        asked=tuple(dict.fromkeys(column for condition in conditions for column in condition.columns)),
    )


def by_ids(ids: Sequence[str], layout: Layout) -> Sieve:
    """The rows of these ids, whatever else they are; all rows where ids are derived."""
    wanted = frozenset(ids) if "id" in layout.names else None
    return Sieve(layout=layout, boxes=None, dates=Interval(start=None, end=None), rule=None, asked=(), ids=wanted)


def _array(rows: pa.Table, column: str) -> pa.Array:
    return rows[column].combine_chunks()


def _naive(instant: datetime) -> np.datetime64:
    return np.datetime64(instant.replace(tzinfo=None), "us")


# --- area -------------------------------------------------------------------------------------------------------------------------


def _boxes(question: Question, shard: Shard, crs: str | None) -> tuple[Bounds, ...] | None:
    box = shard.cell or question.bbox
    if box is not None:
        found = [(box.west, box.south, box.east, box.north)] if box.west <= box.east else _halves(box)
    elif question.intersects is not None:
        shape = shapely.from_geojson(question.intersects)
        parts = shapely.get_parts(shape)
        found = [tuple(part.bounds) for part in parts] if len(parts) <= _MOST_PARTS else [tuple(shape.bounds)]
    else:
        return None
    found = cast(list[Bounds], found)
    if crs is None:
        return tuple((west - _MARGIN, south - _MARGIN, east + _MARGIN, north + _MARGIN) for west, south, east, north in found)
    moved = [bounds_in(crs, bounds) for bounds in found]
    return None if any(bounds is None for bounds in moved) else tuple(bounds for bounds in moved if bounds is not None)


def _halves(box: Box) -> list[Bounds]:
    return [(box.west, box.south, 180.0, box.north), (-180.0, box.south, box.east, box.north)]


def _meet(boxes: Boxes, areas: Sequence[Bounds], *, round_earth: bool) -> Mask:
    """True where a box meets an area, where it has none, and where its width cannot be taken at its word."""
    xmin, ymin, xmax, ymax = boxes.T
    odd = ((xmin > xmax) | (xmax - xmin > _WIDE)) if round_earth else np.zeros(len(boxes), np.bool_)
    keep: Mask = np.asarray(np.isnan(boxes).any(axis=1))
    for west, south, east, north in areas:
        level = (ymin <= north) & (ymax >= south)
        for turn in (-360.0, 0.0, 360.0) if round_earth else (0.0,):
            keep |= level & (xmin <= east + turn) & (xmax >= west + turn)
        keep |= level & odd
    return keep


# --- dates ------------------------------------------------------------------------------------------------------------------------


def _has_order(kind: pa.DataType) -> bool:
    """Whether statistics of a column of dates can be compared with instants."""
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_integer(kind)


def _below(instant: datetime, kind: pa.DataType) -> pa.Scalar:
    """The largest value of a column's unit (years, days, seconds) that is not later than an instant."""
    if pa.types.is_integer(kind):
        return pa.scalar(instant.year, kind)
    if pa.types.is_date(kind):
        return pa.scalar(instant.date(), kind)
    whole = instant.replace(microsecond=0)
    return pa.scalar(whole if kind.tz else whole.replace(tzinfo=None), kind)


def _above(instant: datetime, kind: pa.DataType) -> pa.Scalar:
    """A value of a column's unit that is later than an instant."""
    if pa.types.is_integer(kind):
        return pa.scalar(instant.year + 1, kind)
    return _below(instant + timedelta(days=1) if pa.types.is_date(kind) else instant + timedelta(seconds=1), kind)


# --- query and filter --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Condition:
    columns: tuple[str, ...]
    rule: pc.Expression


_RULES: Mapping[str, Callable[[pc.Expression, Any], pc.Expression]] = {
    "eq": lambda field, value: field == value,
    "lt": lambda field, value: field < value,
    "lte": lambda field, value: field <= value,
    "gt": lambda field, value: field > value,
    "gte": lambda field, value: field >= value,
    "in": lambda field, value: field.isin(value),
}


def _conditions(query: str | None, layout: Layout) -> Iterator[_Condition]:
    """Those that Arrow judges as the items are judged: numbers by order, texts that are no dates by equality."""
    asked = [(name.removeprefix("properties."), rules) for name, rules in json.loads(query or "{}").items()]
    check_names([name for name, _ in asked if name not in (*OF_ITEM, *OF_INSTANT)], layout, key="query")
    for name, rules in asked:
        column, kind = layout.names.get(name), layout.kind(name)
        for operator, value in rules.items():
            if column is not None and kind is not None and _is_as_stored(name, kind, layout) and _is_plain(operator, value, kind):
                yield _Condition((column,), _RULES[operator](pc.field(column), value))


def _is_plain(operator: str, value: Any, kind: pa.DataType) -> bool:
    if operator == "in":
        return isinstance(value, list) and bool(value) and all(_is_plain("eq", part, kind) for part in value)
    if operator not in _RULES or isinstance(value, bool):
        return False
    if isinstance(value, (int, float)):
        return (pa.types.is_integer(kind) and isinstance(value, int) and abs(value) < 1 << 31) or pa.types.is_float64(kind)
    return isinstance(value, str) and operator == "eq" and pa.types.is_string(kind) and instant_of(value) is None


def _filtered(filter: str | None, layout: Layout) -> Iterator[_Condition]:
    """The part of a filter that Arrow judges as the items are judged, or on the safe side."""
    if filter is None:
        return
    parts = list(leaves(filter_of(filter)))
    check_names([part.name for part in parts if part.name not in (*OF_ITEM, *OF_INSTANT)], layout, key="filter")
    nulls = {part.name for part in parts if isinstance(part, IsNull)}
    asked: list[str] = []

    def column_of(name: str) -> Column | None:
        column, kind = layout.names.get(name), layout.kind(name)
        if column is None or kind is None or not _is_as_stored(name, kind, layout) or (name in nulls and pa.types.is_floating(kind)):
            return None
        asked.append(column)
        return Column(pc.field(column), kind)

    rule = to_arrow(filter, column_of)
    if rule is not None:
        yield _Condition(tuple(asked), rule)


def _is_as_stored(name: str, kind: pa.DataType, layout: Layout) -> bool:
    """Whether a member of an item says what the column says: not where it is made of several columns, or has a default."""
    if name == "datetime":
        return "start_datetime" not in layout.names
    if name == "id":
        return pa.types.is_string(kind)
    return name != "collection" and name not in DATES and "properties" not in layout.names


def check_names(names: Sequence[str], layout: Layout, *, key: str) -> None:
    """Raises `SpecError` for properties that no row can have. A table with properties inside of one column is not judged."""
    if "properties" in layout.names:
        return
    known = list(layout.names)
    problems = [
        Problem(path=f"{key}.{name}", value=name, message=f"the table has no column {name!r}", remedy=nearest(name, known))
        for name in names
        if name not in known
    ]
    if problems:
        raise SpecError(f"`{key}` asks for columns that the table has not", problems=problems)
