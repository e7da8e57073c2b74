"""One codec for every frozen dataclass that is written to disk or carried by Prefect: `to_json` and `from_json` are inverses.

Datetimes are ISO text, tuples are lists, unknown keys are dropped (a newer version may have written them), absent keys take
their default.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
_PLAIN = frozenset((str, int, float, bool, type(None)))


def to_json(value: Any) -> Any:
    """JSON value of a dataclass, or of anything that its fields may hold."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if is_dataclass(kind):
        return {name: to_json(getattr(value, name)) for name in _names(kind)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in cast("Sequence[Any]", value)]
    return value


@cache
def _names(cls: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


def from_json(cls: type[T], mapping: Mapping[str, Any]) -> T:
    """The dataclass `cls` out of its JSON mapping. Raises TypeError, ValueError or KeyError on a mapping of another shape."""
    return cast(T, _decoder(cls)(mapping))


@cache
def _decoder(hint: Any) -> Callable[[Any], Any]:
    """Function that turns a JSON value into a value of the annotated type."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _either([part for part in get_args(hint) if part is not type(None)])
    if isinstance(hint, type) and is_dataclass(hint):
        return _record(hint)
    if origin is tuple:
        return _tuple(get_args(hint))
    if hint is datetime:
        return datetime.fromisoformat
    return _same


def _same(value: Any) -> Any:
    return value


def _either(parts: Sequence[Any]) -> Callable[[Any], Any]:
    """One type or None; or one of several records, told apart by their field `kind`."""
    if len(parts) > 1 and all(is_dataclass(part) for part in parts):
        kinds = {field.default: _decoder(part) for part in parts for field in fields(part) if field.name == "kind"}
        return lambda value: kinds[value["kind"]](value)
    inner = _decoder(parts[0]) if len(parts) == 1 else _same
    return lambda value: None if value is None else inner(value)


def _tuple(parts: tuple[Any, ...]) -> Callable[[Any], Any]:
    if len(parts) == 2 and parts[1] is Ellipsis:
        item = _decoder(parts[0])
        return lambda value: tuple(item(part) for part in value)
    items = [_decoder(part) for part in parts]
    return lambda value: tuple(item(part) for item, part in zip(items, value, strict=True))


def _record(cls: type[Any]) -> Callable[[Any], Any]:
    hints = get_type_hints(cls)
    decoders = {field.name: _decoder(hints[field.name]) for field in fields(cls)}

    def decode(mapping: Mapping[str, Any]) -> Any:
        return cls(**{name: decoder(mapping[name]) for name, decoder in decoders.items() if name in mapping})

    return decode
