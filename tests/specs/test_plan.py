"""Plans: together the shards are the question, and every scene has exactly one owner."""

from __future__ import annotations

import random as randoms
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rasterloom.errors import SpecError
from rasterloom.specs.identity import question_to_json
from rasterloom.specs.loader import load_specs, spec_from
from rasterloom.specs.plan import make_plan, meets_bbox, owns, shard_from_json, shard_key, shard_to_json, stac_datetime
from rasterloom.specs.question import Box, Dedupe, Interval, Plan, Question, Shard

NOW = datetime(2024, 8, 10, 12, tzinfo=UTC)
BASE: dict[str, Any] = {"name": "a", "dataset": "earthsearch/sentinel-2-l2a"}


def plan_of(*, now: datetime = NOW, **keys: Any) -> Plan:
    return make_plan(spec_from(BASE | keys), now=now)


def windows(plan: Plan) -> list[str]:
    return [stac_datetime(shard.dates) for shard in plan.shards]


def test_a_short_question_is_one_search() -> None:
    plan = plan_of(dates=["2024-06-01", "2024-07-15"], bbox=[-122.5, 37.7, -122.3, 37.9])
    assert windows(plan) == ["2024-06-01T00:00:00Z/2024-07-16T00:00:00Z"]
    assert plan.shards[0] == Shard(index=0, dates=plan.question.dates, cell=None, closed=True)


def test_a_long_question_is_cut_at_the_months_of_the_calendar() -> None:
    assert windows(plan_of(dates=["2024-01-15", "2024-04-10"])) == [
        "2024-01-15T00:00:00Z/2024-02-01T00:00:00Z",
        "2024-02-01T00:00:00Z/2024-03-01T00:00:00Z",
        "2024-03-01T00:00:00Z/2024-04-01T00:00:00Z",
        "2024-04-01T00:00:00Z/2024-04-11T00:00:00Z",
    ]


def test_what_is_still_open_is_one_window() -> None:
    plan = plan_of(dates="2024-04-20/..")
    assert windows(plan) == [
        "2024-04-20T00:00:00Z/2024-05-01T00:00:00Z",
        "2024-05-01T00:00:00Z/2024-06-01T00:00:00Z",
        "2024-06-01T00:00:00Z/..",
    ]
    assert [shard.closed for shard in plan.shards] == [True, True, False], "45 days of lookback by default"
    ended = plan_of(dates=["2024-05-20", "2024-08-31"], refresh={"lookback": "P45D"})
    assert windows(ended) == ["2024-05-20T00:00:00Z/2024-06-01T00:00:00Z", "2024-06-01T00:00:00Z/2024-09-01T00:00:00Z"]


def test_many_open_windows_and_short_ones_are_searched_side_by_side() -> None:
    always = plan_of(dates="2024-01-01/..", refresh={"lookback": "P1Y"})
    assert len(always.shards) == 8
    assert not any(shard.closed for shard in always.shards)
    weeks = plan_of(dates="2024-07-20/..", split={"time": "P7D"})
    assert len(weeks.shards) == 4
    assert not any(shard.closed for shard in weeks.shards)


def test_the_future_is_one_window() -> None:
    assert windows(plan_of(dates=["2024-07-15", "2030-01-01"]))[1:] == ["2024-08-01T00:00:00Z/2030-01-02T00:00:00Z"]


def test_an_open_start_is_one_window_up_to_last_year() -> None:
    assert windows(plan_of())[:2] == ["../2023-01-01T00:00:00Z", "2023-01-01T00:00:00Z/2023-02-01T00:00:00Z"]
    assert windows(plan_of(dates="../2010-02"))[0] == "../2009-01-01T00:00:00Z"
    assert windows(plan_of())[-1] == "2024-06-01T00:00:00Z/.."


@pytest.mark.parametrize(
    ("dates", "lookback", "closed"),
    [
        (["2024-08-01", "2024-08-09"], None, True),
        (["2024-08-01", "2024-08-10"], None, False),
        (["2024-08-01", "2024-08-09"], "P1D", False),
        (["2024-08-01", "2024-08-08"], "P1D", True),
        (["2024-06-01", "2024-07-09"], "P1M", True),
        (["2024-06-01", "2024-07-10"], "P1M", False),
        ("2024-06-01/..", "P0D", True),
    ],
)
def test_a_window_is_closed_when_its_end_and_the_lookback_have_passed(dates: Any, lookback: str | None, closed: bool) -> None:
    refresh = {"refresh": {"lookback": lookback}} if lookback else {}
    assert plan_of(dates=dates, **refresh).shards[0].closed == closed


def test_a_plan_is_the_same_at_any_clock_of_the_same_instant() -> None:
    here = NOW.astimezone(datetime.now().astimezone().tzinfo)
    assert plan_of(now=here, dates="2024") == plan_of(now=NOW, dates="2024")


def test_too_many_shards_are_refused() -> None:
    with pytest.raises(SpecError, match=r"split\.time: the split makes more than 10000 windows") as caught:
        plan_of(dates=["2000-01-01", "2024-01-01"], split={"time": "1h"})
    assert "P1M" in caught.value.problems[0].remedy
    with pytest.raises(SpecError):
        plan_of(dates=["2000-01-01", "2024-01-01"], split={"time": "P1M", "space": {"grid": 32}})


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"dataset": None, "catalog": {"path": "c.json"}}, "which assets of a static catalog are the bands"),
        ({"dataset": None, "table": {"uri": "t.parquet"}}, "nothing says which bands"),
        ({"dataset": None, "table": {"uri": "t.parquet", "href_column": "path"}}, "nothing says which bands"),
        ({"dataset": None, "table": {"uri": "t.parquet", "href_column": "path"}, "bands": ["A", "B"]}, "the same sample"),
        ({"dataset": None, "table": {"uri": "t.parquet", "href_column": "path", "data_source": "pc/sentinel-2-l2a"}}, "several assets"),
        ({"dataset": "cdse/sentinel-2-l2a"}, "JPEG2000"),
    ],
)
def test_what_cannot_be_executed_is_said_before_anything_is_done(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        plan_of(**keys)
    assert all(problem.remedy and problem.path for problem in caught.value.problems)


def test_examples_plan(root: Any) -> None:
    for name, shards in {"sf-bay": 1, "madrid": 3, "landsat": 3, "naip": 12}.items():
        (spec,) = load_specs(root / "specs" / f"{name}.yaml")
        assert len(make_plan(spec, now=NOW).shards) == shards


# --- keys of shards


def test_the_key_of_a_shard_outlives_a_longer_question() -> None:
    short, long = plan_of(dates=["2024-01-01", "2024-06-30"]), plan_of(dates=["2024-01-01", "2024-07-31"])
    keys = [[shard_key(plan.question, shard) for shard in plan.shards] for plan in (short, long)]
    assert keys[0][:-1] == keys[1][:5]
    assert keys[0][5] != keys[1][5], "the last window owns the scenes that reach over the end"
    assert len(set(keys[1])) == 7


def test_the_key_of_a_shard_covers_what_decides_its_scenes() -> None:
    plan = plan_of(dates=["2024-01-01", "2024-06-30"], bbox=[0, 0, 8, 8], split={"space": {"grid": 2}})
    question, shard = plan.question, plan.shards[5]
    key = shard_key(question, shard)
    assert len(key) == 64
    changes = {
        "source": replace(question.source, collection="other"),
        "bbox": Box(west=0, south=0, east=8, north=9),
        "intersects": "{}",
        "query": "{}",
        "filter": "{}",
        "bands": question.bands[:1],
        "dedupe": Dedupe(key=("grid:code",), order_by=("updated",)),
        "href": "x",
    }
    assert {*changes, "dates"} == {field.name for field in fields(Question)}, "a new field of the question decides too"
    changed = [replace(question, **{field: value}) for field, value in changes.items()]
    keys = {shard_key(other, shard) for other in changed} | {shard_key(question, replace(shard, cell=None)), key}
    assert len(keys) == len(changes) + 2
    assert shard_key(question, replace(shard, index=99, closed=not shard.closed)) == key


def test_shards_travel_as_json() -> None:
    plan = plan_of(bbox=[170, -10, -170, 10], split={"space": {"grid": 3}})
    for shard in plan.shards:
        assert shard_from_json(shard_to_json(shard)) == shard
    assert shard_to_json(plan.shards[0])["dates"] == {"start": None, "end": "2023-01-01T00:00:00Z"}
    assert question_to_json(plan.question)["dates"] == {"start": None, "end": None}


# --- ownership: invariants

INSTANTS = st.datetimes(datetime(2020, 1, 1), datetime(2026, 12, 31)).map(lambda instant: instant.replace(tzinfo=UTC))
DAYS = st.integers(0, 2000).map(lambda days: (datetime(2020, 1, 1) + timedelta(days=days)).date().isoformat())
DATES = st.one_of(
    st.none(),
    st.tuples(DAYS, DAYS).map(sorted),
    DAYS.map(lambda day: [day, ".."]),
    DAYS.map(lambda day: ["..", day]),
    st.tuples(INSTANTS, INSTANTS).map(lambda pair: [instant.isoformat() for instant in sorted(pair)]),
)
STEPS = st.sampled_from([None, "P1M", "P3M", "P1Y", "P7D", "P10D", "PT36H", "P1M1D"])
BOXES = st.tuples(st.floats(-180, 180), st.floats(-90, 85), st.floats(-180, 180), st.floats(0.1, 5)).filter(
    lambda box: abs(box[0] - box[2]) > 0.01
)


@st.composite
def plans(draw: st.DrawFn, *, cut_space: bool = False) -> Plan:
    west, south, east, height = draw(BOXES)
    keys: dict[str, Any] = {"dates": draw(DATES), "bbox": [west, south, east, south + height], "split": {"time": draw(STEPS)}}
    if cut_space:
        keys["split"] = {"time": "P1Y", "space": {"grid": draw(st.integers(1, 5))}}
    return plan_of(now=draw(INSTANTS), **keys)


@given(plans())
def test_windows_cover_exactly_the_interval(plan: Plan) -> None:
    shards = plan.shards
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert (shards[0].dates.start, shards[-1].dates.end) == (plan.question.dates.start, plan.question.dates.end)
    for one, other in pairwise(shards):
        assert one.dates.end == other.dates.start
    for shard in shards:
        assert shard.dates.start is None or shard.dates.end is None or shard.dates.start < shard.dates.end
        assert not (shard.closed and (shard.dates.end is None or shard.dates.end > plan.now))


@given(plans(), INSTANTS, st.randoms(use_true_random=False))
def test_every_instant_has_one_owner_whatever_the_order(plan: Plan, instant: datetime, random: randoms.Random) -> None:
    edges = [edge for shard in plan.shards for edge in (shard.dates.start, shard.dates.end) if edge is not None]
    shuffled = random.sample(plan.shards, len(plan.shards))
    for moment in (instant, random.choice(edges or [instant]), random.choice(edges or [instant]) - timedelta(microseconds=1)):
        owners = [shard for shard in shuffled if owns(plan.question, plan.shards, shard, moment, (0, 0, 1, 1))]
        assert len(owners) == 1
        if plan.question.dates.holds(moment):
            assert owners[0].dates.holds(moment)


@given(plans(cut_space=True), st.floats(0, 1), st.floats(0, 1), INSTANTS, st.randoms(use_true_random=False))
def test_every_point_of_the_area_has_one_owner(plan: Plan, across: float, up: float, instant: datetime, random: randoms.Random) -> None:
    box = plan.question.bbox
    assert box is not None
    width = box.east - box.west + (360 if box.west > box.east else 0)
    lon = box.west + across * width
    lon = lon - 360 if box.west > box.east and lon > 180 else lon
    lon = min(lon, box.east) if lon < box.west or box.west < box.east else lon
    lat = min(box.north, box.south + up * (box.north - box.south))
    shuffled = random.sample(plan.shards, len(plan.shards))
    owners = [shard for shard in shuffled if owns(plan.question, plan.shards, shard, instant, (lon, lat, lon, lat))]
    assert len(owners) == 1
    assert owners[0].cell is not None
    assert meets_bbox(lon, lat, lon, lat)(owners[0].cell)


@given(plans(cut_space=True), st.floats(0, 1), st.floats(0, 1), st.floats(0, 20), st.floats(0, 5), INSTANTS)
def test_every_scene_that_meets_the_area_has_one_owner(
    plan: Plan, across: float, up: float, width: float, height: float, instant: datetime
) -> None:
    box = plan.question.bbox
    assert box is not None
    span = box.east - box.west + (360 if box.west > box.east else 0)
    west, south = box.west + across * span - width / 2, box.south + up * (box.north - box.south) - height / 2
    scene = (wrapped(west), max(-90.0, south), wrapped(west + width), min(90.0, south + height))
    assume(meets_bbox(*scene)(box))
    owners = [shard for shard in plan.shards if owns(plan.question, plan.shards, shard, instant, scene)]
    assert len(owners) == 1


def wrapped(lon: float) -> float:
    return lon - 360 if lon > 180 else lon + 360 if lon < -180 else lon


@given(plans(cut_space=True))
def test_cells_cover_the_area_and_share_their_edges(plan: Plan) -> None:
    box, cells = plan.question.bbox, [shard.cell for shard in plan.shards if shard.dates == plan.shards[0].dates]
    assert box is not None
    known = [cell for cell in cells if cell is not None]
    assert known[0].west == (-180.0 if box.west == 180.0 else box.west)
    assert known[-1].east == box.east
    assert (known[0].south, known[-1].north) == (box.south, box.north)
    grid = round(len(known) ** 0.5)
    for one, other in pairwise(known[:grid]):
        assert (one.south, one.north) == (other.south, other.north)
        assert other.west == (-180.0 if one.east == 180.0 else one.east)
    for one, other in zip(known, known[grid:], strict=False):
        assert (one.north, one.west, one.east) == (other.south, other.west, other.east)


def test_a_scene_that_reaches_over_the_question_is_owned_at_its_end() -> None:
    plan = plan_of(dates=["2024-01-01", "2024-06-30"])
    before, after = datetime(2023, 12, 1, tzinfo=UTC), datetime(2024, 7, 1, tzinfo=UTC)
    for instant, owner in ((before, 0), (after, 5)):
        assert [shard.index for shard in plan.shards if owns(plan.question, plan.shards, shard, instant, (0, 0, 1, 1))] == [owner]


def test_the_geometry_decides_where_it_is_given() -> None:
    """The bounding box of a slanted scene meets the first cell, its footprint does not: that search never returns it."""
    plan = plan_of(dates="2024-06", bbox=[0, 0, 2, 2], split={"space": {"grid": 2}})
    footprint = meets_bbox(1.2, 0.2, 1.8, 0.8)
    by_box, by_footprint = (
        [shard.index for shard in plan.shards if owns(plan.question, plan.shards, shard, NOW, (0.5, 0.2, 1.8, 0.8), meets=meets)]
        for meets in (None, footprint)
    )
    assert (by_box, by_footprint) == ([0], [1])


@pytest.mark.parametrize(
    ("scene", "cell", "expected"),
    [
        ((0, 0, 1, 1), Box(west=1, south=1, east=2, north=2), True),
        ((0, 0, 1, 1), Box(west=1.1, south=0, east=2, north=1), False),
        ((170, 0, -170, 1), Box(west=-175, south=0, east=-160, north=1), True),
        ((170, 0, -170, 1), Box(west=-160, south=0, east=160, north=1), False),
        ((178, 0, 180, 1), Box(west=-180, south=0, east=-170, north=1), True),
        ((-179, 0, -178, 1), Box(west=170, south=0, east=-170, north=1), True),
    ],
)
def test_boxes_meet_across_the_antimeridian(scene: tuple[float, float, float, float], cell: Box, expected: bool) -> None:
    assert meets_bbox(*scene)(cell) == expected
    assert (
        meets_bbox(cell.west, cell.south, cell.east, cell.north)(Box(west=scene[0], south=scene[1], east=scene[2], north=scene[3]))
        == expected
    )


def test_cells_at_the_antimeridian_are_boxes_that_any_server_reads() -> None:
    plan = plan_of(dates="2024-06", bbox=[170, 0, -170, 2], split={"space": {"grid": 2}})
    assert [(shard.cell.west, shard.cell.east) for shard in plan.shards[:2] if shard.cell] == [(170, 180), (-180, -170)]


def test_closed_intervals_are_written_for_the_server() -> None:
    assert stac_datetime(Interval(start=None, end=None)) == "../.."
    half = datetime(2024, 6, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    assert stac_datetime(Interval(start=half, end=None)) == "2024-06-01T00:00:00.500000Z/.."
