"""Arrow columns as the values of JSON: column by column, because a scalar object per cell costs ten times as much."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rasterloom.access.items.moments import instant_of

Instants = NDArray[np.datetime64]
"""UTC in microseconds, NaT where there is none."""
_MICROSECONDS = pa.timestamp("us")
_YEARS = range(1000, 10_000)


def values(array: pa.Array) -> list[Any]:
    """One JSON value a row. Null, NaN, infinities and bytes are None; absent members of structs are left out; instants are RFC 3339."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return values(array.storage)
    if pa.types.is_dictionary(kind):
        return values(array.dictionary_decode())
    if pa.types.is_struct(kind):
        return _structs(array)
    if pa.types.is_map(kind):
        return [None if pairs is None else {str(pair["key"]): pair.get("value") for pair in pairs} for pairs in _lists(array)]
    if pa.types.is_nested(kind):
        return _lists(array)
    return _flat(array)


def _flat(array: pa.Array) -> list[Any]:
    kind = array.type
    if pa.types.is_timestamp(kind):
        return [None if text == "NaT" else f"{text.removesuffix('.000000')}Z" for text in np.datetime_as_string(_instants(array)).tolist()]
    if pa.types.is_date(kind):
        return pc.cast(array, pa.date32()).cast(pa.string()).to_pylist()
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind):
        array = pc.cast(array, pa.float64())
    if pa.types.is_floating(array.type):
        return pc.if_else(pc.is_finite(array), array, None).to_pylist()
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return array.to_pylist()
    if _is_text(kind):
        return _texts(array)
    if pa.types.is_time(kind):
        return array.cast(pa.string()).to_pylist()
    return [None] * len(array)


def _texts(array: pa.Array) -> list[str | None]:
    """Parquet does not check that its texts are UTF-8."""
    try:
        return array.to_pylist()
    except UnicodeDecodeError:
        return [None if one is None else one.decode(errors="replace") for one in array.cast(pa.large_binary()).to_pylist()]


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _structs(array: pa.Array) -> list[Any]:
    names = [field.name for field in array.type]
    if not names:
        return [{} if valid else None for valid in array.is_valid().to_pylist()]
    rows = zip(*(values(child) for child in array.flatten()), strict=True)
    made = [{name: value for name, value in zip(names, row, strict=True) if value is not None} for row in rows]
    if array.null_count == 0:
        return made
    return [one if valid else None for one, valid in zip(made, array.is_valid().to_pylist(), strict=True)]


def _lists(array: pa.Array) -> list[Any]:
    if pa.types.is_map(array.type):
        array = array.cast(pa.list_(pa.struct([("key", array.type.key_type), ("value", array.type.item_type)])))
    flat = iter(values(array.flatten()))
    lengths = pc.list_value_length(array).to_pylist()
    return [None if length is None else [next(flat) for _ in range(length)] for length in lengths]


def decoded(texts: Sequence[Any]) -> list[Any]:
    """JSON texts as their values, None where one is no JSON; other values as they are."""
    return [_decoded(text) if isinstance(text, str) else text for text in texts]


def id_text(value: Any) -> Any:
    """A number is a fine id; pandas makes 7 a 7.0 where a row lacks one."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value):
        return str(int(value))
    return value


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


# --- instants ---------------------------------------------------------------------------------------------------------------------


def year_of(value: object) -> int | None:
    """The year that a number, or a text of four digits, is; None for anything else."""
    if isinstance(value, str) and len(value) == 4 and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value in _YEARS:
        return int(value)
    return None


def instant_text(value: object) -> object:
    """A date as a table writes it, in a form that STAC knows: `20240601` gets its hyphens, everything else stays."""
    if isinstance(value, str) and len(value) == 8 and value.isascii() and value.isdigit():
        return f"{value[:4]}-{value[4:6]}-{value[6:]}"
    return value


def spans(column: pa.Array) -> tuple[Instants, Instants]:
    """First and last instant of each row of a date column: a year is as long as it is, everything else an instant."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _instants(column), _instants(column)
    if pa.types.is_nested(kind):
        nothing = np.full(len(column), np.datetime64("NaT", "us"))
        return nothing, nothing
    encoded = column if pa.types.is_dictionary(kind) else column.dictionary_encode()
    known = list(_spans(values(encoded.dictionary)))
    table = np.array([*known, ("NaT", "NaT")], "datetime64[us]").reshape(-1, 2)
    rows = pc.fill_null(encoded.indices, len(known)).to_numpy(zero_copy_only=False)
    return table[rows, 0], table[rows, 1]


def _instants(column: pa.Array) -> Instants:
    """Through numpy: Python's dates end with the year 9999."""
    return pc.cast(column, _MICROSECONDS, safe=False).to_numpy(zero_copy_only=False).astype("datetime64[us]")


def _spans(found: Sequence[Any]) -> Iterator[tuple[np.datetime64, np.datetime64]]:
    for value in found:
        year = year_of(value)
        if year is not None:
            yield np.datetime64(f"{year}-01-01", "us"), np.datetime64(f"{year}-12-31T23:59:59", "us")
            continue
        instant = instant_of(instant_text(value))
        naive = np.datetime64("NaT", "us") if instant is None else np.datetime64(instant.replace(tzinfo=None), "us")
        yield naive, naive
