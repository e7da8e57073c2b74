"""Types of STAC properties, from all items: one column each, no value lost, no disagreement fatal.

A summary (`Types`) is plain JSON, so that batches can be summarised apart and merged. It forms a lattice:

    null < bool < json        null < int64 < double < json        null < string < json
    null < list of one element type < json        null < struct of fields < json

Where values disagree the column is a JSON string: every value of it, strings too, is then spelled as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import pyarrow as pa

Types = dict[str, Any]
"""Property name -> summary: `{"kind": ...}`, with `item` for lists and `fields` for structs."""
Summary = dict[str, Any]

MAX_KEYS = 64
MAX_DEPTH = 3
"""Mappings that are larger, or nested deeper, are stored as JSON strings."""
EXACT = 1 << 53
"""Integers up to this size are exact as doubles."""

NULL: Summary = {"kind": "null"}
JSON: Summary = {"kind": "json"}
_SCALARS = {"null": pa.null(), "bool": pa.bool_(), "int64": pa.int64(), "double": pa.float64(), "string": pa.string(), "json": pa.string()}


def summarise(properties: Iterable[Mapping[str, Any]]) -> Types:
    """The types of all properties of all items."""
    types: Types = {}
    for item in properties:
        for name, value in item.items():
            types[name] = _join(types.get(name, NULL), _summary(value, 0))
    return types


def merge(a: Types, b: Types) -> Types:
    """The types of the items of both; commutative and associative."""
    return {name: _join(a.get(name, NULL), b.get(name, NULL)) for name in sorted({*a, *b})}


def arrow_type(summary: Summary) -> pa.DataType:
    """A property that is null in every item is a string column: other readers know no null type."""
    kind = summary["kind"]
    if kind == "list":
        return pa.list_(pa.field("element", arrow_type(summary["item"])))
    if kind == "struct":
        return pa.struct([pa.field(name, arrow_type(inner)) for name, inner in sorted(summary["fields"].items())])
    return pa.string() if kind == "null" else _SCALARS[kind]


def arrow_field(name: str, summary: Summary) -> pa.Field:
    return pa.field(name, arrow_type(summary))


def column(values: Sequence[Any], summary: Summary) -> pa.Array:
    """The column of `values`, one per item (None where the item lacks it). `summary` must cover them."""
    return pa.array([_stored(value, summary) for value in values], arrow_type(summary))


def _stored(value: Any, summary: Summary) -> Any:
    kind = summary["kind"]
    if value is None:
        return None
    if kind == "json":
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return text if _is_unicode(text) else json.dumps(value, separators=(",", ":"))
    if kind == "list":
        return [_stored(item, summary["item"]) for item in value]
    if kind == "struct":
        return {name: _stored(value.get(name), inner) for name, inner in summary["fields"].items()}
    return float(value) if kind == "double" else value


def _summary(value: Any, depth: int) -> Summary:
    if value is None:
        return NULL
    if isinstance(value, bool):
        return {"kind": "bool"}
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return {"kind": "double"}
    if isinstance(value, str):
        return {"kind": "string"} if _is_unicode(value) else JSON
    if isinstance(value, list):
        return _list(cast(list[Any], value), depth)
    if isinstance(value, Mapping):
        return _mapping(cast(Mapping[str, Any], value), depth)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _is_unicode(text: str) -> bool:
    """False for half a surrogate pair, which JSON can spell and UTF-8 cannot."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _integer(value: int) -> Summary:
    """`large`: there is an integer that a double cannot hold, so that doubles beside it make the column JSON."""
    if not -(1 << 63) <= value < 1 << 63:
        return JSON
    return {"kind": "int64", "large": True} if abs(value) > EXACT else {"kind": "int64"}


def _list(value: list[Any], depth: int) -> Summary:
    item = NULL
    if depth >= MAX_DEPTH:
        return JSON
    for inner in value:
        item = _join(item, _summary(inner, depth + 1))
    return JSON if item == JSON else {"kind": "list", "item": item}


def _mapping(value: Mapping[str, Any], depth: int) -> Summary:
    if not 0 < len(value) <= MAX_KEYS or depth >= MAX_DEPTH or not all(map(_is_unicode, value)):
        return JSON
    return {"kind": "struct", "fields": {name: _summary(inner, depth + 1) for name, inner in sorted(value.items())}}


def _join(a: Summary, b: Summary) -> Summary:
    """The least summary that holds the values of both."""
    kinds = {a["kind"], b["kind"]}
    if a == b or b["kind"] == "null":
        return a
    if a["kind"] == "null":
        return b
    if kinds <= {"int64", "double"}:
        return _numbers(a, b)
    if kinds == {"list"}:
        item = _join(a["item"], b["item"])
        return JSON if item == JSON else {"kind": "list", "item": item}
    if kinds == {"struct"}:
        return _structs(a["fields"], b["fields"])
    return JSON


def _numbers(a: Summary, b: Summary) -> Summary:
    large = a.get("large", False) or b.get("large", False)
    if a["kind"] == b["kind"] == "int64":
        return {"kind": "int64", "large": True} if large else {"kind": "int64"}
    return JSON if large else {"kind": "double"}


def _structs(a: Mapping[str, Summary], b: Mapping[str, Summary]) -> Summary:
    names = sorted({*a, *b})
    if len(names) > MAX_KEYS:
        return JSON
    return {"kind": "struct", "fields": {name: _join(a.get(name, NULL), b.get(name, NULL)) for name in names}}
