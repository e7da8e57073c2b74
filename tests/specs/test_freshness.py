"""How fresh a collection is, and where the fault lies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasterloom.errors import SpecError
from rasterloom.specs.freshness import Standing, judged
from rasterloom.specs.loader import spec_from
from rasterloom.specs.sections import FreshnessSpec

NOW = datetime(2024, 7, 10, 12, tzinfo=UTC)
LIMITS = FreshnessSpec(warn_after="P3D", error_after="P7D")
DAY = timedelta(days=1)


def known(*, newest: float, looked: float, **more: Any) -> Standing:
    """Ages in days."""
    return Standing(newest=NOW - newest * DAY, looked=NOW - looked * DAY, **more)


@pytest.mark.parametrize(
    ("newest", "looked", "state", "cause"),
    [
        (2.9, 0.1, "fresh", ""),
        (3.0, 0.1, "warn", "source"),
        (6.9, 2.9, "warn", "source"),
        (6.9, 3.0, "warn", "pipeline"),
        (7.0, 0.1, "error", "source"),
        (9.0, 8.0, "error", "pipeline"),
    ],
)
def test_a_source_without_news_is_told_from_runs_that_do_not_come(newest: float, looked: float, state: str, cause: str) -> None:
    found = judged(LIMITS, known(newest=newest, looked=looked), NOW)
    assert (found.state, found.cause) == (state, cause)
    assert ("the pipeline is broken" in found.message) == (cause == "pipeline")
    assert ("the source has nothing newer" in found.message) == (cause == "source")


def test_a_run_that_failed_since_is_named_with_its_error() -> None:
    found = judged(LIMITS, known(newest=4, looked=1, failed=NOW - 0.5 * DAY, failure="the API answered 503"), NOW)
    assert found.cause == "pipeline"
    assert "2024-07-10 00:00 UTC failed: the API answered 503" in found.message


def test_a_failure_before_the_last_good_run_is_forgotten() -> None:
    assert judged(LIMITS, known(newest=4, looked=1, failed=NOW - 2 * DAY), NOW).cause == "source"


def test_a_failure_alone_does_not_make_it_stale() -> None:
    assert judged(LIMITS, known(newest=1, looked=1, failed=NOW), NOW).state == "fresh"


def test_what_is_complete_does_not_go_stale() -> None:
    end = NOW - 300 * DAY
    assert judged(LIMITS, Standing(newest=end - DAY, looked=end + 9 * DAY, end=end), NOW).state == "fresh"
    late = judged(LIMITS, Standing(newest=end - 5 * DAY, looked=end + 9 * DAY, end=end), NOW)
    assert (late.state, late.cause) == ("warn", "source"), "the last run looked after the end: nothing can come any more"
    assert "the end of its dates" in late.message


def test_dates_that_end_later_count_until_now() -> None:
    assert judged(LIMITS, known(newest=4, looked=0, end=NOW + DAY), NOW).state == "warn"


@given(st.floats(0, 30), st.floats(0, 30), st.floats(0, 30))
def test_it_only_gets_worse_with_time(newest: float, looked: float, later: float) -> None:
    order = ("fresh", "warn", "error")
    before = judged(LIMITS, known(newest=newest, looked=min(looked, newest)), NOW)
    after = judged(LIMITS, known(newest=newest, looked=min(looked, newest)), NOW + later * DAY)
    assert order.index(after.state) >= order.index(before.state)
    assert before.cause != "pipeline" or after.cause == "pipeline"


@pytest.mark.parametrize(
    ("limits", "message"),
    [({}, "neither"), ({"warn_after": "P8D", "error_after": "P7D"}, "longer"), ({"warn_after": "P1M", "error_after": "P30D"}, "longer")],
)
def test_bounds_that_cannot_be_meant_are_refused(limits: dict[str, str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        spec_from({"name": "a", "dataset": "earthsearch/sentinel-2-l2a", "freshness": limits})
