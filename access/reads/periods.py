"""The periods that the scenes of a composite fall into."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rasterloom.specs.dates import parse_dates
from rasterloom.specs.durations import Duration, parse_duration

_MONDAY = datetime(1970, 1, 5)  # noqa: DTZ001  naive UTC, as the column of instants is
_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Period:
    """Instants `start <= t < end`, naive UTC; both None: all of them."""

    start: datetime | None
    end: datetime | None
    label: str
    """For names of files: `2024-06`, `2024`, `2024-06-01`, `20240601T0600`, `all`."""


ALL = Period(start=None, end=None, label="all")


def period_of(instant: datetime, length: str | None, dates: str | tuple[str, str] | None) -> Period:
    """The period that an instant falls into.

    Months and years are those of the calendar: P3M begins in January, April, July and October. Days and hours are counted from the
    start of `dates`, without one from a Monday, so that P7D are weeks: a new scene never moves the others into other periods.
    """
    if length is None:
        return ALL
    duration = parse_duration(length)
    return _of_months(instant, duration.months) if duration.months else _of_seconds(instant, duration, dates)


def _of_months(instant: datetime, months: int) -> Period:
    number = (instant.year * 12 + instant.month - 1) // months * months
    start = datetime(number // 12, number % 12 + 1, 1)  # noqa: DTZ001
    end = Duration(months=months).after(start)
    return Period(start=start, end=end, label=f"{start:%Y}" if months % 12 == 0 else f"{start:%Y-%m}")


def _of_seconds(instant: datetime, duration: Duration, dates: str | tuple[str, str] | None) -> Period:
    begins = parse_dates(dates).start if dates is not None else None
    origin = begins.astimezone(UTC).replace(tzinfo=None) if begins is not None else _MONDAY
    length = timedelta(seconds=duration.seconds)
    start = origin + (instant - origin) // length * length
    whole_days = duration.seconds % _DAY == 0 and start.time() == _MONDAY.time()
    return Period(start=start, end=start + length, label=f"{start:%Y-%m-%d}" if whole_days else f"{start:%Y%m%dT%H%M%S}")
