"""Dates are whole days of UTC, instants are themselves, and every length of time is read alike."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from rasterloom.specs.dates import as_text, parse_dates
from rasterloom.specs.durations import Duration, parse_duration


def day(year: int, month: int, number: int) -> datetime:
    return datetime(year, month, number, tzinfo=UTC)


TICK = timedelta(microseconds=1)
CASES = [
    (("2024-06-01", "2024-07-15"), day(2024, 6, 1), day(2024, 7, 16)),
    ("2024-06-01", day(2024, 6, 1), day(2024, 6, 2)),
    ("2024", day(2024, 1, 1), day(2025, 1, 1)),
    ("2024-12", day(2024, 12, 1), day(2025, 1, 1)),
    ("2024-02", day(2024, 2, 1), day(2024, 3, 1)),
    ("2024/2025-03", day(2024, 1, 1), day(2025, 4, 1)),
    ("2024-06-01/..", day(2024, 6, 1), None),
    ("../2024-06-01", None, day(2024, 6, 2)),
    ("../..", None, None),
    (("..", "2024"), None, day(2025, 1, 1)),
    (("2024-02-29", "2024-02-29"), day(2024, 2, 29), day(2024, 3, 1)),
    ("2024-06-01T00:00:00Z", day(2024, 6, 1), day(2024, 6, 1) + TICK),
    ("2024-06-01T02:00:00+02:00/2024-06-02T00:00:00z", day(2024, 6, 1), day(2024, 6, 2) + TICK),
    ("2024-06-01T00:00:00.25Z/2024-06-02", day(2024, 6, 1) + timedelta(seconds=0.25), day(2024, 6, 3)),
]


@pytest.mark.parametrize(("value", "start", "end"), CASES, ids=[str(case[0]) for case in CASES])
def test_dates_mean(value: str | tuple[str, str], start: datetime | None, end: datetime | None) -> None:
    found = parse_dates(value)
    assert (found.start, found.end) == (start, end)


@given(st.dates(date(1800, 1, 1), date(2199, 12, 31)), st.integers(0, 400), st.integers(0, 86_399_999_999))
def test_both_days_are_in_to_their_last_instant(start: date, length: int, microseconds: int) -> None:
    end = min(start + timedelta(days=length), date(2199, 12, 31))
    found = parse_dates((start.isoformat(), end.isoformat()))
    for chosen in (start, end):
        midnight = datetime(chosen.year, chosen.month, chosen.day, tzinfo=UTC)
        assert found.holds(midnight + timedelta(microseconds=microseconds))
        assert found.holds(midnight + timedelta(days=1) - TICK)
    assert found.start is not None
    assert not found.holds(found.start - TICK)


@pytest.mark.parametrize(
    "text",
    ["", "..", "2023-02-30", "2023-13", "0000", "9999", "24-06-01", "2024-6-1", "2024-06-01T25:00:00Z", "2024-06-01T00:00:60Z",
     "2024-06-01T00:00:00", "2024-06-01 00:00:00+99:00", "today", "2024-07/2024-06", "2024-06-02T00:00:00Z/2024-06-01", "2024/2024/2024",
     "20240601", "٢٠٢٤", "1799-12-31"],
)  # fmt: skip
def test_these_are_no_dates(text: str) -> None:
    with pytest.raises(PydanticCustomError):
        parse_dates(text)


def test_a_year_may_be_a_number() -> None:
    assert as_text(2024) == "2024"
    assert as_text([2024, "2025-06"]) == ("2024", "2025-06")


@pytest.mark.parametrize(
    ("text", "months", "seconds"),
    [("30s", 0, 30), ("1.5m", 0, 90), ("2h", 0, 7200), ("7d", 0, 604_800), ("1w", 0, 604_800), ("PT30S", 0, 30), ("P1M", 1, 0),
     ("P1Y2M", 14, 0), ("P45D", 0, 3_888_000), ("P2W", 0, 1_209_600), ("P1DT1H1M1.5S", 0, 90_061.5), ("P0D", 0, 0)],
)  # fmt: skip
def test_durations_mean(text: str, months: int, seconds: float) -> None:
    assert parse_duration(text) == Duration(months=months, seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1", "1", "30", "s", "-1d", "P-1D", "1M", "30 s", "P1H", "P101Y", "9" * 400 + "s", "1e3s"]
)
def test_these_are_no_durations(text: str) -> None:
    with pytest.raises(PydanticCustomError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("start", "text", "end"),
    [
        (day(2024, 1, 31), "P1M", day(2024, 2, 29)),
        (day(2024, 12, 1), "P1M", day(2025, 1, 1)),
        (day(2024, 2, 29), "P1Y", day(2025, 2, 28)),
        (day(2024, 11, 30), "P14M", day(2026, 1, 30)),
        (day(2024, 6, 1), "P45D", day(2024, 7, 16)),
    ],
)
def test_durations_move_instants(start: datetime, text: str, end: datetime) -> None:
    assert parse_duration(text).after(start) == end
