"""The STAC `query` object applied here: servers ignore parts of it in silence, so what they answer is checked again.

Rules: STAC API query extension 1.0.0; a property that is missing or null matches nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from rasterloom.access.items.moments import instant_of
from rasterloom.errors import SpecError

Test = Callable[[Mapping[str, Any]], bool]


def matches(query: str | None, item: Mapping[str, Any]) -> bool:
    """Whether a raw item answers the canonical JSON text of a `query` object. Raises `SpecError` for an unknown operator."""
    return query is None or all(test(item) for test in _tests(query))


@lru_cache(maxsize=64)
def _tests(query: str) -> tuple[Test, ...]:
    return tuple(_test(name, operator, wanted) for name, rules in json.loads(query).items() for operator, wanted in rules.items())


def _test(name: str, operator: str, wanted: Any) -> Test:
    if operator not in _OPERATORS:
        raise SpecError(f"query operator {operator!r} is not known", remedy=f"use one of {', '.join(_OPERATORS)}")
    compare = _OPERATORS[operator]

    def test(item: Mapping[str, Any]) -> bool:
        value = _property(item, name)
        return value is not None and compare(value, wanted)

    return test


def _property(item: Mapping[str, Any], name: str) -> Any:
    name = name.removeprefix("properties.")
    properties = item.get("properties")
    if isinstance(properties, Mapping) and name in properties:
        return properties[name]
    return item.get(name) if name in ("id", "collection") else None


def _pair(value: Any, wanted: Any) -> tuple[Any, Any] | None:
    """Both sides as something that can be compared: numbers with numbers, instants with instants, texts with texts."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return (value, wanted) if type(value) is type(wanted) else None
    if isinstance(value, (int, float)) and isinstance(wanted, (int, float)):
        return value, wanted
    if isinstance(value, str) and isinstance(wanted, str):
        left, right = instant_of(value), instant_of(wanted)
        return (left, right) if left is not None and right is not None else (value, wanted)
    return (value, wanted) if type(value) is type(wanted) else None


def _equal(value: Any, wanted: Any) -> bool:
    pair = _pair(value, wanted)
    return pair is not None and bool(pair[0] == pair[1])


def _ordered(relation: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(value: Any, wanted: Any) -> bool:
        pair = _pair(value, wanted)
        return pair is not None and not isinstance(pair[0], (bool, list, dict)) and relation(*pair)

    return compare


def _textual(relation: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, wanted: isinstance(value, str) and isinstance(wanted, str) and relation(value, wanted)


def _contains(value: Any, wanted: Any) -> bool:
    if isinstance(value, list):
        return any(_equal(part, wanted) for part in value)
    return isinstance(value, str) and isinstance(wanted, str) and wanted in value


def _in(value: Any, wanted: Any) -> bool:
    if isinstance(value, list):
        return any(_in(part, wanted) for part in value)
    return isinstance(wanted, list) and any(_equal(value, part) for part in wanted)


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": _equal,
    "neq": lambda value, wanted: not _equal(value, wanted),
    "lt": _ordered(lambda left, right: left < right),
    "lte": _ordered(lambda left, right: left <= right),
    "gt": _ordered(lambda left, right: left > right),
    "gte": _ordered(lambda left, right: left >= right),
    "startsWith": _textual(str.startswith),
    "endsWith": _textual(str.endswith),
    "contains": _contains,
    "in": _in,
}
