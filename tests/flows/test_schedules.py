"""When a schedule runs next, by Prefect's own reckoning."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from rasterloom.errors import SpecError
from rasterloom.flows.schedules import next_run
from rasterloom.specs.sections import ScheduleSpec

FRIDAY = datetime(2024, 6, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"cron": "0 6 * * 1-5"}, "2024-07-01T06:00:00+00:00"),
        ({"cron": "0 6 * * *", "timezone": "Europe/Berlin"}, "2024-06-29T06:00:00+02:00"),
        ({"cron": "0 12 * * *"}, "2024-06-29T12:00:00+00:00"),
        ({"interval": "P1D"}, "2024-06-29T12:00:00+00:00"),
        ({"rrule": "FREQ=DAILY;BYHOUR=18;BYMINUTE=0;BYSECOND=0"}, "2024-06-28T18:00:00+00:00"),
    ],
)
def test_the_next_run_is_the_first_one_after_now(schedule: dict[str, Any], expected: str) -> None:
    found = next_run(ScheduleSpec(**schedule), FRIDAY)
    assert found is not None
    assert found == datetime.fromisoformat(expected)


def test_a_schedule_may_be_over() -> None:
    assert next_run(ScheduleSpec(rrule="FREQ=DAILY;UNTIL=20200101T000000"), FRIDAY) is None


@pytest.mark.parametrize(
    "schedule", [{"interval": "P1MT1H"}, {"rrule": "FREQ=DAILY;BYHOUR=99"}, {"rrule": "FREQ=DAILY;UNTIL=20300101T000000Z"}]
)
def test_what_no_calendar_has_is_refused(schedule: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as refused:
        next_run(ScheduleSpec(**schedule), FRIDAY)
    assert refused.value.remedy
