"""`filter` said in pyarrow, for the columns of a table: what Arrow judges as items are judged, exactly or on the safe side."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from functools import reduce
from operator import and_, or_

import pyarrow as pa
import pyarrow.compute as pc

from rasterloom.errors import SpecError
from rasterloom.specs.cql2 import RELATIONS, All, Compare, Filter, In, IsNull, Leaf, Like, Literal, Some, leaves, weakened
from rasterloom.specs.cql2tokens import to_text
from rasterloom.specs.filters import filter_of, parse_filter
from rasterloom.specs.wrong import shown

EXACT = 1 << 53
"""Whole numbers up to here are the same as doubles."""


@dataclass(frozen=True, slots=True)
class Column:
    """Where a property stands in a table."""

    field: pc.Expression
    kind: pa.DataType


Columns = Callable[[str], Column | None]
"""Name of a property -> its column; None where Arrow must not judge it."""


def to_arrow(filter: str | None, columns: Columns) -> pc.Expression | None:
    """True for every row that may answer the canonical text of a filter; None where that is any row.

    A comparison that Arrow would judge otherwise than `rasterloom.access.items.filters` does counts as true: what passes is to be judged
    again. Raises `SpecError` for other text.
    """
    return None if filter is None else superset(filter_of(filter), columns)


def superset(filter: Filter, columns: Columns) -> pc.Expression | None:
    """As `to_arrow`, of the filter itself."""

    def keep(leaf: Leaf) -> Filter | None:
        return leaf if _leaf(leaf, columns) is not None else None

    kept = weakened(filter, keep)
    return None if kept is None else exactly(kept, columns)


def exactly(filter: Filter, columns: Columns) -> pc.Expression:
    """True for the very rows that answer. Raises `ValueError` where `unjudged` names a comparison."""
    if isinstance(filter, All | Some):
        return reduce(and_ if isinstance(filter, All) else or_, [exactly(part, columns) for part in filter.parts])
    found = _leaf(filter, columns)
    if found is None:
        raise ValueError(f"Arrow does not judge {filter}")
    return found


def judges(leaf: Leaf, columns: Columns) -> bool:
    """Whether Arrow judges this comparison as items are judged."""
    return _leaf(leaf, columns) is not None


def chosen(filter: object, schema: pa.Schema) -> pc.Expression:
    """The rows of a collection that answer a filter, CQL2 text or JSON, exactly.

    Raises `SpecError` for what is no filter, for a column that is not there, and for one whose type the filter does not fit.
    """
    wanted = parse_filter(filter)

    def columns(name: str) -> Column | None:
        return _column(name, schema)

    for leaf in leaves(wanted):
        if not judges(leaf, columns):
            raise _unfit(leaf, schema)
    return exactly(wanted, columns)


def _column(name: str, schema: pa.Schema) -> Column | None:
    """As items are judged: a property before what is made from the instant, which has a column where nothing is partitioned by it."""
    own = f"properties:{name}" if name in _PARTS else name
    for column in (own, name):
        if column in schema.names:
            return Column(pc.field(column), schema.field(column).type)
    return Column(_PARTS[name](pc.field("datetime")), pa.int64()) if name in _PARTS and "datetime" in schema.names else None


_PARTS: dict[str, Callable[[pc.Expression], pc.Expression]] = {"year": pc.year, "month": pc.month}


def _unfit(leaf: Leaf, schema: pa.Schema) -> SpecError:
    column = _column(leaf.name, schema)
    if column is None:
        near = get_close_matches(leaf.name, schema.names, n=1, cutoff=0.5)
        remedy = f"write {near[0]}" if near else "see collection.schema for its columns"
        return SpecError(f"the collection has no column {shown(leaf.name)}", remedy=remedy)
    message = f"the column {shown(leaf.name)} holds {column.kind}, which {shown(to_text(leaf))} does not fit"
    return SpecError(message, remedy="compare it with a value of its type, or give where() a pyarrow expression")


def _leaf(leaf: Leaf, columns: Columns) -> pc.Expression | None:
    column = columns(leaf.name)
    if column is None:
        return None
    if isinstance(leaf, IsNull):
        return column.field.is_valid() if leaf.negated else column.field.is_null()
    if leaf.folded:
        return None  # Arrow lowers letters, Python folds them
    if isinstance(leaf, Compare):
        return _compared(leaf, column)
    return _in(leaf, column) if isinstance(leaf, In) else _like(leaf, column)


def _compared(leaf: Compare, column: Column) -> pc.Expression | None:
    value = _scalar(leaf.value, column.kind)
    if value is None:
        return None
    found = RELATIONS[leaf.op](column.field, value)
    return found & ~pc.is_nan(column.field) if leaf.op == "<>" and pa.types.is_floating(column.kind) else found


def _in(leaf: In, column: Column) -> pc.Expression | None:
    if pa.types.is_float32(column.kind) or any(_scalar(value, column.kind) is None for value in leaf.values):
        return None
    members = [_as_in(value, column.kind) for value in leaf.values]
    found = column.field.isin(pa.array([value for value in members if _fits(value, column.kind)], column.kind))
    if not leaf.negated:
        return found
    absent = ~found & column.field.is_valid()  # isin is false of null
    return absent & ~pc.is_nan(column.field) if pa.types.is_floating(column.kind) else absent


def _as_in(value: Literal, kind: pa.DataType) -> Literal:
    return value.replace(tzinfo=None) if isinstance(value, datetime) and kind.tz is None else value


def _fits(value: Literal, kind: pa.DataType) -> bool:
    """Whether a column of this type can hold the value at all."""
    try:
        return pa.scalar(value, kind).as_py() == value
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return False


_WILD = {"%": ".*", "_": "."}


def _like(leaf: Like, column: Column) -> pc.Expression | None:
    """By a regular expression of RE2, which never goes back: `match_like` takes an escaped backslash for two."""
    if not _is_text(column.kind):
        return None
    letters = re.findall(r"\\.|.", leaf.pattern, re.DOTALL)
    form = "".join(_WILD.get(letter) or re.escape(letter[-1]) for letter in letters)
    found = pc.match_substring_regex(column.field, pattern=rf"(?s)\A{form}\z")
    return ~found if leaf.negated else found


def _scalar(value: Literal, kind: pa.DataType) -> pa.Scalar | None:
    """The value for a column of this type; None where the two do not compare as in an item."""
    if isinstance(value, bool):
        return pa.scalar(value) if pa.types.is_boolean(kind) else None
    if isinstance(value, str):
        return pa.scalar(value, kind) if _is_text(kind) else None
    if isinstance(value, datetime):
        return _instant(value, kind) if pa.types.is_timestamp(kind) else None
    whole = pa.types.is_integer(kind) and not pa.types.is_uint64(kind)
    if whole and isinstance(value, int):
        return pa.scalar(value, pa.int64())
    is_number = whole or pa.types.is_float32(kind) or pa.types.is_float64(kind)
    return pa.scalar(float(value), pa.float64()) if is_number and abs(value) <= EXACT else None


def _instant(value: datetime, kind: pa.TimestampType) -> pa.Scalar | None:
    if kind.unit == "ns" and not 1700 < value.year < 2200:
        return None
    return pa.scalar(_as_in(value, kind), pa.timestamp("us", kind.tz))


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
