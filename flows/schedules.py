"""Schedules of specs in Prefect's own terms, and when they run next by Prefect's own reckoning."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any, cast

from prefect.schedules import Cron, Interval, RRule, Schedule
from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

from rasterloom.errors import SpecError
from rasterloom.specs.durations import parse_duration
from rasterloom.specs.sections import ScheduleSpec


def schedule_of(schedule: ScheduleSpec) -> Schedule:
    """Prefect's own schedule. Raises SpecError for what Prefect cannot read, and for an interval of months and seconds together, which
    no calendar has."""
    interval = parse_duration(schedule.interval) if schedule.interval else None
    if interval and interval.months and interval.seconds:
        raise SpecError(f"the interval {schedule.interval} mixes months and shorter units", remedy="write P1M, P30D, or a cron line")
    try:
        if schedule.cron:
            return Cron(schedule.cron, timezone=schedule.timezone, active=schedule.active)
        if interval and not interval.months:
            return Interval(timedelta(seconds=interval.seconds), timezone=schedule.timezone, active=schedule.active)
        rule = f"FREQ=MONTHLY;INTERVAL={interval.months}" if interval else schedule.rrule or ""
        return RRule(rule, timezone=schedule.timezone, active=schedule.active)
    except ValueError as error:
        raise _unreadable(error) from error


def next_run(schedule: ScheduleSpec, now: datetime) -> datetime | None:
    """The first one after `now`, in the schedule's time zone; None where there is none. Raises SpecError as `schedule_of`, and where
    Prefect cannot read it. An interval counts from when it is deployed: taken to be `now`."""
    found = schedule_of(schedule)
    try:
        dates = asyncio.run(_reckoned(found, now).get_dates(2, now))
    except ValueError as error:
        raise _unreadable(error) from error
    return next((date for date in dates if date > now), None)


def _unreadable(error: ValueError) -> SpecError:
    return SpecError(f"Prefect cannot read the schedule: {error}", remedy="correct schedule; UNTIL is written without Z")


def _reckoned(schedule: Schedule, now: datetime) -> CronSchedule | RRuleSchedule | IntervalSchedule:
    zone = schedule.timezone or "UTC"
    if schedule.cron:
        return CronSchedule(cron=schedule.cron, timezone=zone)
    if schedule.rrule:
        return RRuleSchedule(rrule=schedule.rrule, timezone=zone)
    anchor = cast(Any, now)  # Prefect's own date type is another one by the version of Python
    return IntervalSchedule(interval=schedule.interval or timedelta(days=1), anchor_date=anchor, timezone=zone)
