"""Changes of the question x what a run does: the result is that of a fresh build, and the requests are those that were promised."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rasterloom.access.forecast import forecast
from rasterloom.access.versions.opening import failures_of
from tests.reuse.upstream import Upstream, assert_same, build, instant, job_of, planned, upstream
from tests.servers import Status

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
    "filter": ({"filter": "(eo:cloud_cover < 25 OR NOT platform = 'b') AND datetime >= '2024-07-01' AND month <> 7"}, "derive", "rebuild"),
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


def files_in(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


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
    before = files_in(tmp_path / "ours")
    told = forecast(job_of(spec, tmp_path / "ours", now), promised)
    assert files_in(tmp_path / "ours") == before, "plan --search writes nothing"
    archive.requests()
    ours = build(spec, tmp_path / "ours", now)
    pages, headers = archive.requests()
    fresh = build(spec, tmp_path / "fresh", now)
    assert_same(ours.table, fresh.table)
    assert promised.action == ours.decision.action == action
    assert promised.pages in (None, pages)
    assert promised.headers in (None, headers)
    assert (told.pages, told.headers) == (pages, headers)
    if action in ("reuse", "derive"):
        assert (promised.pages, promised.headers) == (0, 0)


def test_a_run_in_which_nothing_is_new_asks_once(archive: Upstream, tmp_path: Path) -> None:
    """However many months are still open."""
    service = {"url": archive.stac.url, "collection": "s2"}
    spec = archive.spec(dates="2024-06-01/..", refresh={"deleted": "drop", "lookback": "P75D"}, stac=service, split=...)
    first = build(spec, tmp_path / "ours", DURING)
    archive.requests()
    again = build(spec, tmp_path / "ours", DURING)
    assert again.decision.action == "refresh"
    assert archive.requests() == (1, 0)
    assert_same(first.table, again.table)
    move_on(archive)
    assert_same(build(spec, tmp_path / "ours", DURING).table, build(spec, tmp_path / "fresh", DURING).table)


@pytest.mark.parametrize("condition", [{"query": {"datetime": {"gte": "2024-06-20"}}}, {"filter": "datetime >= '2024-06-20'"}])
def test_a_smaller_box_is_derived_below_a_condition_on_the_instant(archive: Upstream, tmp_path: Path, condition: dict[str, Any]) -> None:
    """The instant is the one property that a scene line does not keep as the item spelled it."""
    build(archive.spec(**condition), tmp_path / "ours", LATER)
    ours = build(archive.spec(bbox=[11.0, 42.0, 15.0, 46.0], **condition), tmp_path / "ours", LATER)
    assert (ours.decision.action, ours.table.num_rows > 0) == ("derive", True)
    assert_same(ours.table, build(archive.spec(bbox=[11.0, 42.0, 15.0, 46.0], **condition), tmp_path / "fresh", LATER).table)


@pytest.mark.parametrize(("filter", "action"), [("eo:cloud_cover < 10", "derive"), ("eo:cloud_cover < 40", "extend")])
def test_a_changed_filter_is_derived_where_it_is_narrower(archive: Upstream, tmp_path: Path, filter: str, action: str) -> None:
    build(archive.spec(filter="eo:cloud_cover < 25"), tmp_path / "ours", LATER)
    ours = build(archive.spec(filter=filter), tmp_path / "ours", LATER)
    assert ours.decision.action == action
    assert_same(ours.table, build(archive.spec(filter=filter), tmp_path / "fresh", LATER).table)


def test_a_forecast_tells_what_is_new_changed_and_gone(archive: Upstream, tmp_path: Path) -> None:
    build(archive.spec(), tmp_path / "ours", DURING)
    move_on(archive)
    told = forecast(job_of(archive.spec(), tmp_path / "ours", DURING), planned(archive.spec(), tmp_path / "ours", DURING))
    assert (told.total("new"), told.total("changed"), told.gone) == (2, 1, 1)
    assert [shard.pages for shard in told.shards[:2]] == [0, 0], "closed windows are remembered"
    assert told.headers == 9 - 1, "three files each, less the asset that scene 31 lacks"


@pytest.mark.parametrize("now", [LATER, DURING], ids=["closed", "open"])
def test_more_bands_ask_for_their_own_headers_alone(archive: Upstream, tmp_path: Path, now: Any) -> None:
    build(archive.spec(bands=["B02", "B04"]), tmp_path / "ours", now)
    archive.requests()
    told = forecast(job_of(archive.spec(), tmp_path / "ours", now), planned(archive.spec(), tmp_path / "ours", now))
    archive.requests()
    ours = build(archive.spec(), tmp_path / "ours", now)
    assert ours.decision.action == "extend"
    pages, headers = archive.requests()
    assert (pages, headers) == (told.pages, told.headers)
    assert {request.path.rsplit("/", 1)[1] for request in archive.files.log} <= {"B03.tif"}
    assert_same(ours.table, build(archive.spec(), tmp_path / "fresh", now).table)


def test_a_version_that_lacks_a_scene_line_is_not_derived_from(archive: Upstream, tmp_path: Path) -> None:
    build(archive.spec(), tmp_path / "ours", LATER)
    narrower = archive.spec(bbox=[11.0, 42.0, 15.0, 46.0])
    next((tmp_path / "ours" / "_cache" / "items").iterdir()).write_bytes(b"not what was written")
    ours = build(narrower, tmp_path / "ours", LATER)
    assert ours.decision.action == "derive", "the size of a file tells nothing of its content"
    assert_same(ours.table, build(narrower, tmp_path / "fresh", LATER).table)
    for file in (tmp_path / "ours" / "_cache" / "items").iterdir():
        file.unlink()
    decided = planned(archive.spec(bbox=[12.0, 43.0, 13.0, 44.0]), tmp_path / "ours", LATER)
    assert (decided.action, "no longer in the cache" in decided.reason) == ("rebuild", True)


def test_a_file_that_may_yet_be_read_is_not_derived_around(archive: Upstream, tmp_path: Path) -> None:
    archive.files.faults["/7/B03.tif"] = Status(503)
    build(archive.spec(), tmp_path / "ours", LATER)
    archive.files.faults.clear()
    narrower = archive.spec(bands=["B03"])
    decided = planned(narrower, tmp_path / "ours", LATER)
    assert (decided.action, "another attempt" in decided.reason) == ("rebuild", True)
    assert planned(archive.spec(bands=["B04"]), tmp_path / "ours", LATER).action == "derive"
    archive.requests()
    ours = build(narrower, tmp_path / "ours", LATER)
    assert archive.requests()[1] == 1, "the one header that was missing; lost files are known to be lost"
    assert_same(ours.table, build(narrower, tmp_path / "fresh", LATER).table)


def test_failures_go_with_their_scenes(archive: Upstream, tmp_path: Path) -> None:
    build(archive.spec(), tmp_path / "ours", LATER)
    narrower = archive.spec(bands=["B02"], dates=["2024-06-01", "2024-07-31"])
    ours, _ = (build(narrower, tmp_path / place, LATER) for place in ("ours", "fresh"))
    assert ours.decision.action == "derive"
    rows = [failures_of("s2", str(tmp_path / place)) for place in ("ours", "fresh")]
    subjects = [[(row["item_id"], row["band"], row["reason"]) for row in table.to_pylist()] if table else [] for table in rows]
    assert subjects[0] == subjects[1] == [("scene-0005", "B02", "missing")]


def test_what_was_carried_is_derived_too(archive: Upstream, tmp_path: Path) -> None:
    keeping = {"refresh": {"deleted": "keep", "lookback": "P10D"}}
    build(archive.spec(**keeping), tmp_path / "ours", DURING)
    archive.remove(22)
    kept = build(archive.spec(**keeping), tmp_path / "ours", LATER)
    assert "scene-0022" in kept.table["id"].to_pylist()
    ours = build(archive.spec(dates="2024-08", **keeping), tmp_path / "ours", LATER)
    assert ours.decision.action == "derive"
    assert "scene-0022" in ours.table["id"].to_pylist()
    dropped = build(archive.spec(dates=["2024-08-03", "2024-08-31"]), tmp_path / "ours", LATER)
    assert "scene-0022" not in dropped.table["id"].to_pylist()


@pytest.mark.parametrize("split", [{"time": "P1Y"}, {"time": "P1M"}, {"time": "P7D", "space": {"grid": 2}}], ids=str)
def test_of_each_group_one_stays_however_the_question_is_cut(archive: Upstream, tmp_path: Path, split: dict[str, Any]) -> None:
    """How a question is cut is effort: `dedupe` decides over all of it, and so does what `plan --search` counts."""
    asked = {"dedupe": {"key": ["platform"], "order_by": ["eo:cloud_cover"]}, "refresh": {"deleted": "drop"}}
    spec, whole = archive.spec(**asked, split=split), archive.spec(**asked, split={"time": "P1Y"})
    for moves in (False, True):
        if moves:
            move_on(archive)
        told = forecast(job_of(spec, tmp_path / "ours", DURING), planned(spec, tmp_path / "ours", DURING))
        ours = build(spec, tmp_path / "ours", DURING)
        platforms = ours.table["platform"].to_pylist()
        assert len(platforms) == len(set(platforms)) == told.total("scenes")
        assert_same(ours.table, build(whole, tmp_path / f"fresh-{moves}", DURING).table)
