"""Filters as values: what CQL2 text and CQL2-JSON are read into, in one normal form.

Rules: OGC 21-065r2 (CQL2), basic comparisons with the advanced comparison operators. NOT is pushed down to the comparisons, BETWEEN
is two of them, AND and OR are flat, sorted and without repetition, text that spells an instant is one: so filters that mean the same
by these rules are equal.

Three values: a comparison with a property that is missing, null or of another kind is neither true nor false, and NOT leaves it so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from rasterloom.errors import SpecError
from rasterloom.specs.identity import canonical_json
from rasterloom.specs.wrong import a_list, shown

MAX_LENGTH = 10_000
"""Characters of a filter, in either form."""
MAX_DEPTH = 32
"""Levels of parentheses, and of AND and OR inside each other."""
MAX_WHOLE = 2**63 - 1

Literal = str | int | float | bool | datetime
Path = tuple[str | int, ...]

NEGATED = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", "<=": ">", ">": "<="}
"""Operator -> the one that is true exactly where it is false."""
MIRRORED = {"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
"""Operator -> the one for exchanged sides."""
RELATIONS: dict[str, Callable[[Any, Any], Any]] = {"=": eq, "<>": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
"""Operator -> the relation of two sides, be they values or expressions of Arrow."""

_INSTANT = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)(?:[Tt ](?P<time>\d\d:\d\d)(?::(?P<second>\d\d)(?P<fraction>\.\d{1,6})?)?(?P<zone>[Zz]|[+-]\d\d:\d\d)?)?"
)


class WrongFilter(SpecError):
    """A filter that is none. `path` leads to the place in CQL2-JSON; a place in text is told by the message."""

    def __init__(self, message: str, *, remedy: str, path: Path = ()) -> None:
        super().__init__(message, remedy=remedy)
        self.path = path


@dataclass(frozen=True, slots=True)
class Compare:
    """A property beside a value, or (`folded`) their case-folded texts beside each other."""

    op: str
    name: str
    value: Literal
    folded: bool = False


@dataclass(frozen=True, slots=True)
class In:
    """One of at least two values of one kind, sorted."""

    name: str
    values: tuple[Literal, ...]
    folded: bool = False
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Like:
    """`%` is any text, `_` one character, a backslash before `%`, `_` or itself takes it as it is."""

    name: str
    pattern: str
    folded: bool = False
    negated: bool = False


@dataclass(frozen=True, slots=True)
class IsNull:
    """Missing or null."""

    name: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Some:
    parts: tuple[Filter, ...]


Leaf = Compare | In | Like | IsNull
Filter = Leaf | All | Some


# --- making -----------------------------------------------------------------------------------------------------------------------


def compared(op: str, name: str, value: Literal, *, folded: bool = False) -> Compare:
    """Raises `WrongFilter` for an order of truth values, and for case-folding of what is no text."""
    if isinstance(value, bool) and op not in ("=", "<>"):
        raise WrongFilter(f"true and false have no order for {op}", remedy="compare them with = or <>")
    if folded and op not in ("=", "<>"):
        raise WrongFilter(f"CASEI has no order for {op}", remedy="use CASEI with =, <>, IN or LIKE")
    return Compare(op, name, _folded(value) if folded else value, folded)


def within(name: str, low: Literal, high: Literal, *, folded: bool = False) -> Filter:
    """BETWEEN: both ends included. Raises `WrongFilter` as `compared`, and for ends of two kinds."""
    if kind_of(low) != kind_of(high):
        raise WrongFilter(f"BETWEEN stands with {kind_of(low)} and {kind_of(high)}", remedy="give two values of one kind")
    return every((compared(">=", name, low, folded=folded), compared("<=", name, high, folded=folded)))


def one_of(name: str, values: Sequence[Literal], *, folded: bool = False) -> Filter:
    """IN. Raises `WrongFilter` where it lists nothing, or values of several kinds."""
    kinds = list(dict.fromkeys(kind_of(value) for value in values))
    if not values:
        raise WrongFilter("IN lists nothing", remedy="list at least one value")
    if len(kinds) > 1:
        raise WrongFilter(f"IN lists {a_list(kinds)} together", remedy="list values of one kind")
    members = sorted({_folded(value) if folded else value for value in values})
    return compared("=", name, members[0], folded=folded) if len(members) == 1 else In(name, tuple(members), folded)


def like(name: str, pattern: str, *, folded: bool = False) -> Like:
    """Raises `WrongFilter` for a backslash before an ordinary character: databases disagree about what it means."""
    if re.search(r"(?<!\\)(?:\\\\)*\\(?![\\%_])", pattern):
        raise WrongFilter(
            rf"{shown(pattern)} has a \ before an ordinary character", remedy=r"write \\ for one backslash, \% and \_ for %, _"
        )
    return Like(name, _whole_text(pattern.casefold() if folded else pattern), folded)


def _folded(value: Literal) -> str:
    if not isinstance(value, str):
        raise WrongFilter(f"CASEI wants a text, not {kind_of(value)}", remedy="leave CASEI out")
    return value.casefold()


def _whole_text(text: str) -> str:
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise WrongFilter(f"{shown(text)} is not Unicode text", remedy="remove the lone surrogate")
    return text


def every(parts: Iterable[Filter]) -> Filter:
    """AND."""
    return _joined(All, parts)


def some(parts: Iterable[Filter]) -> Filter:
    """OR."""
    return _joined(Some, parts)


def _joined(kind: type[All] | type[Some], parts: Iterable[Filter]) -> Filter:
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, kind) else (part,))]
    ordered = sorted({canonical_json(to_json(part)): part for part in flat}.items())
    return ordered[0][1] if len(ordered) == 1 else kind(tuple(part for _, part in ordered))


def negated(part: Filter) -> Filter:
    """NOT, by De Morgan's laws, which hold for three values too."""
    if isinstance(part, Compare):
        return replace(part, op=NEGATED[part.op])
    if isinstance(part, All):
        return some(map(negated, part.parts))
    if isinstance(part, Some):
        return every(map(negated, part.parts))
    return replace(part, negated=not part.negated)


def literal(value: object) -> Literal:
    """A value that may stand beside a property; text that spells an instant becomes one. Raises `WrongFilter`."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return instant(value) or _whole_text(value)
    if value is None:
        raise WrongFilter("nothing is equal to null", remedy="write IS NULL or IS NOT NULL (isNull in JSON)")
    if not isinstance(value, int | float):
        raise WrongFilter(f"{shown(value)} is no value", remedy="give a text, a number, true, false, a date or a timestamp")
    if not math.isfinite(value) or (isinstance(value, int) and abs(value) > MAX_WHOLE):
        raise WrongFilter("the number is not finite, or a whole one outside of -2^63 < n < 2^63", remedy="write a smaller number")
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53 else value


def instant(text: str) -> datetime | None:
    """The instant that a timestamp, or a date with its first one, spells; UTC where it has no zone. None for other text."""
    found = _INSTANT.fullmatch(text)
    if found is None:
        return None
    zone = (found["zone"] or "Z").upper().replace("Z", "+00:00")
    spelled = f"{found['day']}T{found['time'] or '00:00'}:{found['second'] or '00'}{(found['fraction'] or '.0').ljust(7, '0')}{zone}"
    try:
        return datetime.fromisoformat(spelled).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def instant_text(at: datetime) -> str:
    """RFC 3339 in UTC, with a fraction where it has one."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def property_name(name: str) -> str:
    """`properties.x` is `x`. Raises `WrongFilter`."""
    while name.startswith("properties."):
        name = name.removeprefix("properties.")
    if not name or len(name) > 256 or not name.isprintable():
        raise WrongFilter(f"{shown(name)} is no name of a property", remedy="name a property of the items or a column")
    return name


def kind_of(value: Literal) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "a text"
    return "an instant" if isinstance(value, datetime) else "a number"


# --- looking ----------------------------------------------------------------------------------------------------------------------


def leaves(filter: Filter) -> Iterator[Leaf]:
    """Its comparisons, from left to right."""
    if isinstance(filter, All | Some):
        for part in filter.parts:
            yield from leaves(part)
    else:
        yield filter


def conjuncts(filter: Filter | None) -> tuple[Filter, ...]:
    """The parts that must all be true."""
    if filter is None:
        return ()
    return filter.parts if isinstance(filter, All) else (filter,)


def weakened(filter: Filter, keep: Callable[[Leaf], Filter | None]) -> Filter | None:
    """What is true wherever `filter` is, said with the leaves that `keep` returns; None where nothing is left to say.

    A leaf for which `keep` returns None counts as true. Right because NOT stands at the leaves alone.
    """
    if isinstance(filter, All):
        kept = [part for part in (weakened(part, keep) for part in filter.parts) if part is not None]
        return every(kept) if kept else None
    if isinstance(filter, Some):
        parts = [weakened(part, keep) for part in filter.parts]
        whole = [part for part in parts if part is not None]
        return some(whole) if len(whole) == len(parts) else None
    return keep(filter)


def depth(filter: Filter) -> int:
    return 1 + max(map(depth, filter.parts)) if isinstance(filter, All | Some) else 1


# --- CQL2-JSON --------------------------------------------------------------------------------------------------------------------


def to_json(filter: Filter) -> dict[str, Any]:
    """CQL2-JSON."""
    if isinstance(filter, All | Some):
        return {"op": "and" if isinstance(filter, All) else "or", "args": [to_json(part) for part in filter.parts]}
    if isinstance(filter, Compare):
        return _call(filter.op, filter, literal_json(filter.value))
    if isinstance(filter, In):
        asked = _call("in", filter, [literal_json(value) for value in filter.values])
    elif isinstance(filter, Like):
        asked = _call("like", filter, filter.pattern)
    else:
        asked: dict[str, Any] = {"op": "isNull", "args": [{"property": filter.name}]}
    return {"op": "not", "args": [asked]} if filter.negated else asked


def _call(op: str, leaf: Compare | In | Like, value: Any) -> dict[str, Any]:
    name: dict[str, Any] = {"property": leaf.name}
    if not leaf.folded:
        return {"op": op, "args": [name, value]}
    folded = [_casei(each) for each in value] if isinstance(value, list) else _casei(value)
    return {"op": op, "args": [_casei(name), folded]}


def _casei(value: Any) -> dict[str, Any]:
    return {"op": "casei", "args": [value]}


def literal_json(value: Literal) -> Any:
    return {"timestamp": instant_text(value)} if isinstance(value, datetime) else value
