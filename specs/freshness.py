"""How fresh a collection is: the age of its newest scene against the bounds of the spec, and where the fault lies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from rasterloom.specs.durations import parse_duration
from rasterloom.specs.sections import FreshnessSpec

State = Literal["fresh", "warn", "error"]
Cause = Literal["", "source", "pipeline"]
"""`source`: a run has looked, and there is nothing newer. `pipeline`: no run has looked well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of a collection; instants are UTC, with a zone."""

    newest: datetime
    """Of the scenes."""
    looked: datetime
    """When a run last ended well, whether it committed or found nothing to do."""
    failed: datetime | None = None
    """When the last run failed."""
    failure: str = ""
    """Why, in one line without secrets."""
    end: datetime | None = None
    """Of the dates that are asked for: no scene can be newer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """The verdict."""

    state: State
    cause: Cause
    message: str
    newest: datetime
    looked: datetime


def judged(limits: FreshnessSpec, known: Standing, now: datetime) -> Freshness:
    """The state at `now`. Age counts up to the end of the dates where that has passed: what is complete does not go stale."""
    until = min(now, known.end) if known.end else now
    state: State = "fresh"
    if limits.warn_after and parse_duration(limits.warn_after).after(known.newest) <= until:
        state = "warn"
    if limits.error_after and parse_duration(limits.error_after).after(known.newest) <= until:
        state = "error"
    age = f"the newest scene is of {told(known.newest)}, {_length((until - known.newest).total_seconds())} before {_until(known, now)}"
    cause, why = ("", "") if state == "fresh" else _cause(limits, known, now)
    bound = "" if state == "fresh" else f" ({state}_after {limits.warn_after if state == 'warn' else limits.error_after})"
    return Freshness(state=state, cause=cause, message=f"{age}{bound}{why}", newest=known.newest, looked=known.looked)


def _cause(limits: FreshnessSpec, known: Standing, now: datetime) -> tuple[Cause, str]:
    """A run that looked within the shorter bound has seen what the source has; an older one tells nothing."""
    if known.failed is not None and known.failed > known.looked:
        why = f": {known.failure}" if known.failure else ""
        return "pipeline", f"; the pipeline is broken: the run of {told(known.failed)} failed{why}"
    bound = limits.warn_after or limits.error_after or ""
    is_over = known.end is not None and known.end <= known.looked
    if not is_over and parse_duration(bound).after(known.looked) <= now:
        return "pipeline", f"; the pipeline is broken: no run has ended well since {told(known.looked)}"
    return "source", f"; the source has nothing newer: a run looked on {told(known.looked)}"


def _until(known: Standing, now: datetime) -> str:
    return "now" if known.end is None or known.end > now else f"the end of its dates, {told(known.end)}"


def told(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _length(seconds: float) -> str:
    """`4.2 days`; shorter lengths in hours, minutes or seconds."""
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
