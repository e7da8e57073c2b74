"""Changes of the question x what a run does: the result is that of a fresh build, and the requests are those that were promised."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.reuse.upstream import Upstream, assert_same, build, instant, planned, upstream

LATER, DURING = instant("2025-06-01"), instant("2024-08-20")
"""All windows are closed; August is open."""

CHANGES: dict[str, tuple[dict[str, Any], str, str]] = {
    "nothing": ({}, "reuse", "refresh"),
    "smaller box": ({"bbox": [11.0, 42.0, 15.0, 46.0]}, "derive", "rebuild"),
    "box of one edge": ({"bbox": [9.5, 42.0, 11.5, 44.5]}, "derive", "rebuild"),
    "larger box": ({"bbox": [5.0, 40.0, 19.0, 60.0]}, "extend", "extend"),
    "moved box": ({"bbox": [12.0, 42.0, 25.0, 49.0]}, "rebuild", "rebuild"),
    "triangle": (
        {
            "bbox": ...,
            "intersects": {"type": "Polygon", "coordinates": [[[10.2, 41.2], [17.0, 42.0], [11.0, 47.0], [10.2, 41.2]]]},
        },
        "derive",
        "rebuild",
    ),
    "fewer days": ({"dates": ["2024-06-11", "2024-08-14"]}, "derive", "rebuild"),
    "closed days alone": ({"dates": ["2024-06-11", "2024-07-20"]}, "derive", "derive"),
    "more days": ({"dates": ["2024-05-01", "2024-09-15"]}, "extend", "extend"),
    "other days": ({"dates": ["2024-07-01", "2024-10-15"]}, "rebuild", "rebuild"),
    "one band": ({"band_map": {"B04": "b04"}}, "derive", "rebuild"),
    "bands turned round": ({"bands": ["B04", "B03", "B02"]}, "derive", "rebuild"),
    "band from another asset": ({"band_map": {"B02": "b03", "B03": "b02", "B04": "b04"}}, "rebuild", "rebuild"),
    "few clouds": ({"query": {"eo:cloud_cover": {"lt": 25}}}, "derive", "rebuild"),
    "one platform": ({"query": {"platform": {"eq": "b"}, "eo:cloud_cover": {"gte": 7}}}, "derive", "rebuild"),
    "smaller in all": ({"bbox": [10.0, 41.0, 16.0, 48.0], "dates": "2024-07", "bands": ["B03"]}, "derive", "derive"),
    "smaller and longer": ({"bbox": [11.0, 42.0, 15.0, 46.0], "dates": ["2024-05-01", "2024-08-31"]}, "rebuild", "rebuild"),
}
CASES = [
    *(pytest.param(LATER, False, change, closed, id=f"{name}, closed") for name, (change, closed, _) in CHANGES.items()),
    *(pytest.param(DURING, True, change, during, id=f"{name}, open and moved on") for name, (change, _, during) in CHANGES.items()),
]


@pytest.fixture
def archive() -> Iterator[Upstream]:
    with upstream() as made:
        for number in range(24):
            made.put(number, instant("2024-06-01") + timedelta(days=3.5 * number, hours=number))
        made.put(24, instant("2024-07-01"))
        yield made


def move_on(archive: Upstream) -> None:
    """News of the open window."""
    archive.put(30, instant("2024-08-12T03:00:00"))
    archive.put(31, instant("2024-08-13"))
    archive.put(20, archive.instants[20])
    archive.remove(22)


@pytest.mark.parametrize(("now", "moves", "change", "action"), CASES)
def test_the_answer_is_that_of_a_fresh_build(
    archive: Upstream, tmp_path: Path, now: Any, moves: bool, change: dict[str, Any], action: str
) -> None:
    build(archive.spec(), tmp_path / "ours", now)
    if moves:
        move_on(archive)
    spec = archive.spec(**change)
    archive.requests()
    promised = planned(spec, tmp_path / "ours", now)
    assert archive.requests() == (0, 0), "plan asks nobody"
    ours = build(spec, tmp_path / "ours", now)
    pages, headers = archive.requests()
    fresh = build(spec, tmp_path / "fresh", now)
    assert_same(ours.table, fresh.table)
    assert promised.action == ours.decision.action == action
    assert promised.pages in (None, pages)
    assert promised.headers in (None, headers)
    if action in ("reuse", "derive"):
        assert (promised.pages, promised.headers) == (0, 0)
