"""`filter` applied here: to raw items, and said for Arrow. Servers are asked for it where they can, and never believed.

Three values, as CQL2 and SQL have them: a comparison with what is missing, null, or of another kind than the value is unknown, AND, OR
and NOT follow Kleene, and only what is true answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from rasterloom.access.items.moments import instant_of
from rasterloom.specs.cql2 import RELATIONS, All, Compare, Filter, In, IsNull, Leaf, Like, Literal, Some
from rasterloom.specs.filters import filter_of

Item = Mapping[str, Any]
Truth = bool | None
"""None is unknown."""
Test = Callable[[Item], Truth]
OF_ITEM = ("id", "collection")
"""Members of an item that a filter sees beside its properties."""
OF_INSTANT = ("datetime", "year", "month")
"""Columns of a collection that are made from the instant of a scene: `datetime`, or the start of the span where that is null."""


def matches(filter: str | None, item: Item) -> bool:
    """Whether a raw item answers the canonical CQL2-JSON text of a filter. Raises `SpecError` for other text."""
    return filter is None or _test_of(filter)(item) is True


@lru_cache(maxsize=64)
def _test_of(filter: str) -> Test:
    return judgement(filter_of(filter))


def judgement(filter: Filter) -> Test:
    """True, False or None (unknown) of an item."""
    if isinstance(filter, All):
        return _all([judgement(part) for part in filter.parts])
    if isinstance(filter, Some):
        return _some([judgement(part) for part in filter.parts])
    return _leaf(filter)


def _all(tests: list[Test]) -> Test:
    def test(item: Item) -> Truth:
        unknown = False
        for part in tests:
            found = part(item)
            if found is False:
                return False
            unknown = unknown or found is None
        return None if unknown else True

    return test


def _some(tests: list[Test]) -> Test:
    def test(item: Item) -> Truth:
        unknown = False
        for part in tests:
            found = part(item)
            if found:
                return True
            unknown = unknown or found is None
        return None if unknown else False

    return test


def _leaf(leaf: Leaf) -> Test:
    name = leaf.name
    if isinstance(leaf, IsNull):
        negated = leaf.negated
        return lambda item: (_value(item, name) is None) is not negated
    known, holds = _judged(leaf)

    def test(item: Item) -> Truth:
        value = known(_value(item, name))
        return None if value is None else holds(value)

    return test


def _judged(leaf: Compare | In | Like) -> tuple[Callable[[Any], Any], Callable[[Any], bool]]:
    """What makes a value comparable (None where it is not), and the judgement of what is."""
    if isinstance(leaf, Compare):
        compare, wanted = RELATIONS[leaf.op], leaf.value
        return _known(wanted, folded=leaf.folded), lambda value: compare(value, wanted)
    negated = leaf.negated
    if isinstance(leaf, In):
        members = frozenset(leaf.values)
        return _known(leaf.values[0], folded=leaf.folded), lambda value: (value in members) is not negated
    like = _pattern(leaf.pattern)
    return _known(leaf.pattern, folded=leaf.folded, pattern=True), lambda value: like(value) is not negated


def _value(item: Item, name: str) -> Any:
    if name in OF_ITEM:
        return item.get(name)
    found = item.get("properties")
    properties: Item = found if isinstance(found, Mapping) else {}
    if name == "datetime":
        return _datetime(properties)
    if name in OF_INSTANT and name not in properties:
        at = _moment(_datetime(properties))
        return None if at is None else getattr(at, name)
    return properties.get(name)


def _datetime(properties: Item) -> Any:
    found = properties.get("datetime")
    return properties.get("start_datetime") if found is None else found


def _moment(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    return instant_of(value)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _folded(value: object) -> str | None:
    return value.casefold() if isinstance(value, str) else None


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _number(value: object) -> int | float | None:
    """Without `NaN`, which has no place in an order."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value == value else None


def _known(wanted: Literal, *, folded: bool, pattern: bool = False) -> Callable[[Any], Any]:
    if folded:
        return _folded
    if isinstance(wanted, str) or pattern:
        return _text
    if isinstance(wanted, bool):
        return _truth
    return _moment if isinstance(wanted, datetime) else _number


# --- LIKE -------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    """What stands between two `%`: of one length, so that searching it never goes back."""

    form: re.Pattern[str]
    length: int


def _pattern(pattern: str) -> Callable[[str], bool]:
    """Whether a text is like a pattern, in time that grows with the product of their lengths at most."""
    first, *rest = _parts(pattern)
    if not rest:
        return lambda text: first.form.fullmatch(text) is not None
    *middle, last = rest

    def like(text: str) -> bool:
        found = first.form.match(text)
        for part in middle:
            if found is None:
                return False
            found = part.form.search(text, found.end())
        start = len(text) - last.length
        return found is not None and start >= found.end() and last.form.match(text, start) is not None

    return like


def _parts(pattern: str) -> list[_Part]:
    parts: list[list[str]] = [[]]
    for letter in re.findall(r"\\.|.", pattern, re.DOTALL):
        if letter == "%":
            parts.append([])
        else:
            parts[-1].append("." if letter == "_" else re.escape(letter[-1]))
    return [_Part(re.compile("".join(letters), re.DOTALL), len(letters)) for letters in parts]
