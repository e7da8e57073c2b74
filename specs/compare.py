"""How two questions relate: the same, one a part of the other, or neither. Decides what of an old answer serves a new question.

Where it cannot be told for certain, the answer is `other`: that costs a search, never a wrong collection.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

import shapely
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from rasterloom.specs.cql2 import Compare, Filter, In, WrongFilter, conjuncts
from rasterloom.specs.filters import filter_of
from rasterloom.specs.question import Box, Interval, Question

Kind = Literal["same", "larger", "narrower", "other"]
_UNSTORED = "datetime"
"""The one STAC property that a collection keeps as an instant and not as the item spelled it."""
_BELOW, _ABOVE = ("lt", "lte"), ("gt", "gte")
_WORDS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte", "=": "eq"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """What the new question is to the old one."""

    kind: Kind
    """`narrower`: every scene that answers the new question stands in the old answer, with every band, and can be told from the
    others by what is stored; `larger`: the same the other way round, as far as scenes and bands go."""
    fields: tuple[str, ...]
    """Fields of the question that differ."""


def relation(old: Question, new: Question) -> Relation:
    """Compares two resolved questions."""
    differing = tuple(field.name for field in fields(Question) if getattr(old, field.name) != getattr(new, field.name))
    return Relation(kind=_kind(old, new, differing), fields=differing)


def _kind(old: Question, new: Question, differing: tuple[str, ...]) -> Kind:
    if not differing:
        return "same"
    if _is_part(new, old) and _can_be_judged(old, new) and not (new.dedupe and set(differing) != {"bands"}):
        # Of scenes that answer the same the best one may lie outside of a narrower question, and one that was dropped inside.
        return "narrower"
    return "larger" if _is_part(old, new) else "other"


def _is_part(part: Question, whole: Question) -> bool:
    return (
        (part.source, part.href, part.dedupe) == (whole.source, whole.href, whole.dedupe)
        and set(part.bands) <= set(whole.bands)
        and holds_interval(whole.dates, part.dates)
        and _implies(part.query, whole.query)
        and _entails(part.filter, whole.filter)
        and holds_area(whole, part)
    )


def _can_be_judged(old: Question, new: Question) -> bool:
    """Whether the conditions of the new query ask for stored properties alone."""
    asked = () if old.query == new.query else _conditions(new.query)
    return all(condition.property != _UNSTORED for condition in asked)


def holds_interval(whole: Interval, part: Interval) -> bool:
    begins = whole.start is None or (part.start is not None and whole.start <= part.start)
    return begins and (whole.end is None or (part.end is not None and part.end <= whole.end))


# --- query ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Condition:
    property: str
    operator: str
    value: Any


def _conditions(query: str | None) -> Iterator[_Condition]:
    for name, rules in json.loads(query or "{}").items():
        for operator, value in rules.items():
            yield _Condition(name.removeprefix("properties."), operator, value)


def _implies(part: str | None, whole: str | None) -> bool:
    """Whether whatever answers the query `part` answers `whole`: each condition of the latter follows from one of the former."""
    known = list(_conditions(part))
    return part == whole or all(any(_follows(asked, given) for given in known) for asked in _conditions(whole))


def _follows(asked: _Condition, given: _Condition) -> bool:
    """Equal, or a bound that is at least as tight; numbers alone have an order that every server shares."""
    if asked.property != given.property:
        return False
    if asked.operator == given.operator and type(asked.value) is type(given.value) and asked.value == given.value:
        return True
    if not (_is_number(asked.value) and _is_number(given.value)):
        return False
    strictly = asked.operator in ("lt", "gt") and given.operator not in ("lt", "gt")
    if asked.operator in _BELOW and given.operator in (*_BELOW, "eq"):
        return given.value < asked.value if strictly else given.value <= asked.value
    if asked.operator in _ABOVE and given.operator in (*_ABOVE, "eq"):
        return given.value > asked.value if strictly else given.value >= asked.value
    return False


def _entails(part: str | None, whole: str | None) -> bool:
    """Whether whatever answers the filter `part` answers `whole`: each conjunct of the latter follows from one of the former."""
    if part == whole or whole is None:
        return True
    try:
        known, wanted = conjuncts(None if part is None else filter_of(part)), conjuncts(filter_of(whole))
    except WrongFilter:  # of a version that took more
        return False
    return all(any(_comes_of(asked, given) for given in known) for asked in wanted)


def _comes_of(asked: Filter, given: Filter) -> bool:
    """Equal, one of fewer values, or a tighter bound."""
    if asked == given:
        return True
    if isinstance(asked, Compare) and isinstance(given, Compare) and _WORDS.keys() >= {asked.op, given.op}:
        left, right = (_Condition(each.name, _WORDS[each.op], each.value) for each in (asked, given))
        return _follows(left, right)
    return isinstance(asked, In) and isinstance(given, In | Compare) and _is_one_of(asked, given)


def _is_one_of(asked: In, given: In | Compare) -> bool:
    if (asked.name, asked.folded) != (given.name, given.folded) or asked.negated:
        return False
    if isinstance(given, Compare):
        return given.op == "=" and given.value in asked.values
    return not given.negated and set(given.values) <= set(asked.values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# --- area -----------------------------------------------------------------------------------------------------------------------


def holds_area(whole: Question, part: Question) -> bool:
    """Whether the area of `part` lies in that of `whole`, edges included, on a round earth."""
    if (whole.bbox, whole.intersects) == (part.bbox, part.intersects):
        return True
    outer, inner = _area(whole), _area(part)
    if outer is None or inner is None:
        return outer is None
    around = shapely.union_all([translate(polygon, turn) for polygon in _fullest(outer) for turn in (-360.0, 0.0, 360.0)])
    return all(bool(shapely.covers(around, piece)) for piece in shapely.get_parts(inner))


def _area(question: Question) -> BaseGeometry | None:
    """As a plane geometry of longitudes and latitudes; None is everywhere."""
    if question.bbox is not None:
        return shapely.make_valid(shapely.union_all(list(_boxes(question.bbox))))
    return shapely.make_valid(shapely.from_geojson(question.intersects)) if question.intersects else None


def _boxes(box: Box) -> Iterator[BaseGeometry]:
    """One box, or two where it crosses the antimeridian, without the half that has no width."""
    spans = [(box.west, box.east)] if box.west <= box.east else [(box.west, 180.0), (-180.0, box.east)]
    for west, east in [span for span in spans if span[0] < span[1]] or spans[:1]:
        yield shapely.box(west, box.south, east, box.north)


def _fullest(geometry: BaseGeometry) -> list[BaseGeometry]:
    """The parts of the highest dimension: with the lines beside polygons left out an area holds less, never more."""
    parts = list(shapely.get_parts(geometry))
    most = max((int(shapely.get_dimensions(part)) for part in parts), default=0)
    return [part for part in parts if shapely.get_dimensions(part) == most]
