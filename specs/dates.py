"""The `dates` of a spec: days, months, years and RFC 3339 instants, as a half-open interval of UTC instants."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from rasterloom.specs.question import Interval
from rasterloom.specs.wrong import shown, wrong

OPEN = ".."
FIRST_YEAR, LAST_YEAR = 1800, 2199
_HINT = "write [2024-06-01, 2024-07-15], 2024, 2024-06, 2024-06-01/.. or RFC 3339 instants such as 2024-06-01T00:00:00Z"
_DAY = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?(Z|z|[+-]\d\d:\d\d)", re.ASCII)
_NO_ZONE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?", re.ASCII)
_TICK = timedelta(microseconds=1)
"""An instant is the last one that its interval holds: the smallest step of our timestamps behind it is the open end."""


@dataclass(frozen=True, slots=True)
class _Span:
    """What one date text covers: `start <= t < end`."""

    start: datetime
    end: datetime


def as_text(value: Any) -> str | tuple[str, str]:
    """`dates` as a spec keeps it: one text or two. `2024` is a number to YAML and a year to us."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        ends = [_one_text(end) for end in cast(Sequence[Any], value)]
        if len(ends) != 2:
            raise wrong(f"{shown(list(ends))} has {len(ends)} dates, wanted are 2: start and end", remedy=_HINT)
        return ends[0], ends[1]
    return _one_text(value)


def _one_text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise wrong(f"{shown(value)} is not a date", remedy=f"{_HINT}; an open end is `..`")
    return value


def parse_dates(value: str | tuple[str, str]) -> Interval:
    """The instants that `value` means. Raises `PydanticCustomError` where it is impossible or inverted."""
    ends = list(value) if isinstance(value, tuple) else value.split("/")
    if len(ends) > 2:
        raise wrong(f"{shown(value)} has {len(ends)} parts, an interval has 2", remedy=_HINT)
    first, last = _span(ends[0]), _span(ends[-1])
    if len(ends) == 1 and first is None:
        raise wrong(f"{shown(value)} is no interval", remedy=f"{_HINT}; leave `dates` out for all of time")
    interval = Interval(start=first.start if first else None, end=last.end if last else None)
    if interval.start and interval.end and interval.start >= interval.end:
        raise wrong(f"the start {shown(ends[0])} lies behind the end {shown(ends[-1])}", remedy="write the earlier date first")
    return interval


def _span(text: str) -> _Span | None:
    text = text.strip()
    if text == OPEN:
        return None
    if match := _DAY.fullmatch(text):
        return _days(text, *(int(part) if part else None for part in match.groups()))
    if _INSTANT.fullmatch(text):
        return _instant(text)
    remedy = f"give it a time zone: {text}Z" if _NO_ZONE.fullmatch(text) else _HINT
    raise wrong(f"{shown(text)} is not a date" + (" with a time zone" if _NO_ZONE.fullmatch(text) else ""), remedy=remedy)


def _days(text: str, year: int | None, month: int | None, day: int | None) -> _Span:
    year = _checked_year(text, year or 0)
    try:
        start = datetime(year, month or 1, day or 1, tzinfo=UTC)
    except ValueError as error:
        raise wrong(f"{shown(text)} is not in the calendar", remedy="correct the month or the day") from error
    if day:
        return _Span(start, start + timedelta(days=1))
    months = start.month if month else 12
    return _Span(start, datetime(year + months // 12, months % 12 + 1, 1, tzinfo=UTC))


def _instant(text: str) -> _Span:
    try:
        start = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise wrong(f"{shown(text)} is not an instant of the calendar", remedy="correct the date or the time") from error
    _checked_year(text, start.year)
    return _Span(start, start + _TICK)


def _checked_year(text: str, year: int) -> int:
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise wrong(f"{shown(text)} is not in the years {FIRST_YEAR} to {LAST_YEAR}", remedy="correct the year")
    return year


def instant_text(instant: datetime) -> str:
    """RFC 3339, UTC, microseconds only where there are some."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def interval_text(interval: Interval) -> str:
    """`2024-06-01T00:00:00Z/2024-07-01T00:00:00Z`, `..` for an open end."""
    return "/".join(OPEN if end is None else instant_text(end) for end in (interval.start, interval.end))
