"""Which period an instant falls into."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasterloom.access.reads.periods import ALL, period_of

INSTANT = datetime(2024, 6, 14, 10, 30)


@pytest.mark.parametrize(
    ("length", "dates", "label", "start", "end"),
    [
        ("P1M", None, "2024-06", "2024-06-01", "2024-07-01"),
        ("P3M", "2024-02-10/..", "2024-04", "2024-04-01", "2024-07-01"),
        ("P1Y", None, "2024", "2024-01-01", "2025-01-01"),
        ("P2Y", None, "2024", "2024-01-01", "2026-01-01"),
        ("P7D", None, "2024-06-10", "2024-06-10", "2024-06-17"),
        ("P16D", ("2024-06-01", "2024-08-01"), "2024-06-01", "2024-06-01", "2024-06-17"),
        ("P16D", "../2024-08-01", "2024-06-02", "2024-06-02", "2024-06-18"),
        ("PT6H", None, "20240614T060000", "2024-06-14T06:00:00", "2024-06-14T12:00:00"),
    ],
)
def test_periods_are_those_of_the_calendar_or_counted(
    length: str, dates: str | tuple[str, str] | None, label: str, start: str, end: str
) -> None:
    found = period_of(INSTANT, length, dates)
    assert (found.label, found.start, found.end) == (label, datetime.fromisoformat(start), datetime.fromisoformat(end))


def test_without_a_length_there_is_one() -> None:
    assert period_of(INSTANT, None, None) == ALL


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)),
    st.sampled_from(["P1M", "P2M", "P5M", "P1Y", "P7D", "P16D", "PT5H"]),
    st.sampled_from([None, "2020-02-29/.."]),
)
def test_an_instant_lies_in_its_period_and_what_follows_in_the_next(instant: datetime, length: str, dates: str | None) -> None:
    found = period_of(instant, length, dates)
    assert found.start is not None
    assert found.end is not None
    assert found.start <= instant < found.end
    assert period_of(found.start, length, dates) == period_of(found.end - timedelta(microseconds=1), length, dates) == found
    following = period_of(found.end, length, dates)
    assert following.start == found.end
    assert following.label != found.label
