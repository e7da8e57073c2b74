"""The order of scenes by their properties, for composites that take the first valid pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Any

import pyarrow as pa

from rasterloom.access.collection import Collection
from rasterloom.access.reads.job import Part
from rasterloom.errors import SpecError


def orders_of(view: Collection, order_by: Sequence[str]) -> Mapping[str, list[Any]]:
    """Id of a scene -> its values of the properties, as JSON. Raises SpecError for a property that is not there, or has no order."""
    names = [name.removeprefix("-") for name in order_by]
    schema = view.dataset.schema
    for name in names:
        _check(name, schema)
    found: dict[str, list[Any]] = {}
    for batch in view.to_batches(list(dict.fromkeys(("id", *names)))):
        for row in batch.to_pylist():
            found[row["id"]] = [_plain(row[name]) for name in names]
    return found


def _check(name: str, schema: pa.Schema) -> None:
    if name not in schema.names:
        near = get_close_matches(name, schema.names, n=1)
        raise SpecError(f"order_by: the collection has no property {name!r}", remedy=f"write {near[0]}" if near else "write datetime")
    kind = schema.field(name).type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        raise SpecError(f"order_by: {name!r} is {kind}, which has no order", remedy="name a property of numbers, texts or times")


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def sorted_by(order_by: Sequence[str], parts: Sequence[Part]) -> list[Part]:
    """Smallest first, largest first behind a `-`; scenes without a value last, equal ones in the order of the plan."""
    found = list(parts)
    # A stable sort by the last property first, so that the first one decides.
    for place in reversed(range(len(order_by))):
        down = order_by[place].startswith("-")
        there = [part for part in found if part.unit.payload["order"][place] is not None]
        without = [part for part in found if part.unit.payload["order"][place] is None]
        found = sorted(there, key=lambda part: part.unit.payload["order"][place], reverse=down) + without
    return found
