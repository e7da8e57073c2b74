"""Lengths of time: ISO 8601 (`P1M`, `P45D`, `PT30S`) and the short form (`30s`, `5m`, `2h`, `7d`, `1w`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from rasterloom.specs.wrong import shown, wrong

_ISO = re.compile(
    r"P(?=.)(?:(?P<years>\d{1,4})Y)?(?:(?P<months>\d{1,5})M)?(?:(?P<weeks>\d{1,5})W)?(?:(?P<days>\d{1,6})D)?"
    r"(?:T(?=.)(?:(?P<hours>\d{1,7})H)?(?:(?P<minutes>\d{1,8})M)?(?:(?P<seconds>\d{1,9}(?:\.\d{1,6})?)S)?)?",
    re.ASCII,
)
_SHORT = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(s|m|h|d|w)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LIMIT_YEARS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    months: int = 0
    """Calendar months; their length depends on where they start."""
    seconds: float = 0.0

    def after(self, instant: datetime) -> datetime:
        """`instant` plus this duration; the day of the month is kept where the month has it, else its last day."""
        month = instant.year * 12 + instant.month - 1 + self.months
        moved = instant.replace(day=1, year=month // 12, month=month % 12 + 1)
        last = (_first_of_next(moved) - timedelta(days=1)).day
        return moved.replace(day=min(instant.day, last)) + timedelta(seconds=self.seconds)


def _first_of_next(first: datetime) -> datetime:
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)


def parse_duration(text: str) -> Duration:
    """Raises `PydanticCustomError` where it is none, or longer than 100 years."""
    found = _from_short(text) or _from_iso(text)
    if found is None:
        raise wrong(f"{shown(text)} is not a length of time", remedy="write it as 30s, 5m, 2h, 7d, P1M, P45D or PT30S")
    if found.months / 12 + found.seconds / 31_557_600 > _LIMIT_YEARS:
        raise wrong(f"{shown(text)} is longer than the limit of {_LIMIT_YEARS} years", remedy="write a shorter one")
    return found


def _from_short(text: str) -> Duration | None:
    match = _SHORT.fullmatch(text)
    return Duration(seconds=float(match[1]) * _SECONDS[match[2]]) if match else None


def _from_iso(text: str) -> Duration | None:
    match = _ISO.fullmatch(text)
    if not match:
        return None
    part = {key: float(value or 0) for key, value in match.groupdict().items()}
    days = part["weeks"] * 7 + part["days"]
    seconds = days * 86_400 + part["hours"] * 3600 + part["minutes"] * 60 + part["seconds"]
    return Duration(months=int(part["years"] * 12 + part["months"]), seconds=seconds)
