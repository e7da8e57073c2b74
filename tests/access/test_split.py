"""A search that finds too much is halved, and what is found does not depend on how."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely.geometry import box, mapping

from rasterloom.access.build import found_scenes
from rasterloom.access.building.job import Job
from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.items.split import Part, halves
from rasterloom.access.values import Scene, SearchRef, Traffic
from rasterloom.specs.effort import Effort
from rasterloom.specs.identity import canonical_json, fingerprint
from rasterloom.specs.question import Band, Box, Dedupe, Interval, Plan, Question, Shard, StacSource
from tests.servers import StacServer

START = datetime(2024, 6, 1, tzinfo=UTC)
END = START + timedelta(days=8)
NOW = datetime(2024, 12, 1, tzinfo=UTC)
BOX = Box(west=10.0, south=40.0, east=18.0, north=48.0)
OVER_THE_DATELINE = Box(west=176.0, south=40.0, east=-176.0, north=48.0)
POLYGON = canonical_json(mapping(shapely.Polygon([(10, 40), (18, 41), (17, 48), (11, 47)])))


def question(server: StacServer | None = None, **changes: Any) -> Question:
    asked = Question(
        source=StacSource(url=server.url if server else "https://h", collection="c"),
        bbox=BOX,
        intersects=None,
        dates=Interval(start=START, end=END),
        query=None,
        bands=(Band(code="B", asset="b"),),
        dedupe=None,
        href="href",
    )
    return replace(asked, **changes)


def job(asked: Question) -> Job:
    shard = Shard(index=0, dates=asked.dates, cell=None, closed=True)
    plan = Plan(name="c", question=asked, fingerprint=fingerprint(asked), shards=(shard,), now=NOW)
    return Job(workspace="unused", plan=plan, effort=Effort(allow_private_hosts=True, retries=0, page_size=7), spec={}, run_id="r")


def item(number: int, lon: float, lat: float, seconds: int, *, span: int = 0, broken: bool = False) -> dict[str, Any]:
    """A scene 0.4 degrees wide; `span` seconds long instead of instantaneous where it is not 0."""
    instant, end = (START + timedelta(seconds=value) for value in (seconds, seconds + span))
    west = lon if lon <= 180 else lon - 360
    times: dict[str, Any] = {"datetime": instant.isoformat()}
    if span:
        times = {"datetime": None, "start_datetime": instant.isoformat(), "end_datetime": end.isoformat()}
    assets = {} if broken else {"b": {"href": f"https://h/{number}.tif"}}
    return {
        "type": "Feature",
        "id": f"i{number:03d}",
        "collection": "c",
        "bbox": [west, lat, west + 0.4, lat + 0.4],
        "geometry": mapping(box(west, lat, west + 0.4, lat + 0.4)),
        "properties": {**times, "cloud": number % 10, "tile": number % 5, "mixed": number if number % 3 else "text"},
        "assets": assets,
        "links": [],
    }


class Found:
    def __init__(self, asked: Question, most: int) -> None:
        made = job(asked)
        with found_scenes(made, made.plan.shards[0], secrets=environment_secrets, most=most) as found:
            self.batches: list[list[Scene]] = [list(batch) for batch in found.batches()]
            self.ref: SearchRef = found.ref(kept=sum(map(len, self.batches)))

    @property
    def answer(self) -> object:
        """All that must not depend on the split."""
        return self.batches, replace(self.ref, traffic=Traffic(), pages=0)


@pytest.fixture(scope="module")
def server() -> Iterator[StacServer]:
    with StacServer() as made:
        yield made


ITEMS = st.lists(
    st.tuples(
        st.floats(9.5, 18.2), st.floats(39.5, 48.2), st.integers(-3600, 8 * 86400 + 3600), st.sampled_from([0, 0, 0, 90_000]), st.booleans()
    ),
    max_size=24,
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=ITEMS,
    most=st.integers(5, 12),
    shape=st.sampled_from(["box", "dateline", "polygon"]),
    says=st.booleans(),
    deduped=st.booleans(),
    lying=st.booleans(),
)
def test_the_answer_is_the_same_whatever_the_split(
    server: StacServer, places: list[tuple[float, float, int, int, bool]], most: int, shape: str, says: bool, deduped: bool, lying: bool
) -> None:
    east = 166.0 if shape == "dateline" else 0.0
    server.items = [item(n, lon + east, lat, at, span=span, broken=broken) for n, (lon, lat, at, span, broken) in enumerate(places)]
    server.say_matched, server.ignore_query = says, lying
    areas: dict[str, dict[str, Any]] = {
        "box": {},
        "dateline": {"bbox": OVER_THE_DATELINE},
        "polygon": {"bbox": None, "intersects": POLYGON},
    }
    dedupe = Dedupe(key=("tile", "datetime"), order_by=("cloud",)) if deduped else None
    asked = question(server, query='{"cloud":{"lt":8}}', dedupe=dedupe, **areas[shape])
    assert Found(asked, most).answer == Found(asked, 1000).answer


def test_a_search_is_split_until_no_part_is_larger_than_allowed(server: StacServer) -> None:
    server.items = [item(number, 10.0 + number % 8, 41.0 + number % 7, 17_000 * number) for number in range(40)]
    server.say_matched, server.ignore_query = True, False
    server.log.clear()
    found = Found(question(server), 5)
    intervals = [request.json["datetime"] for request in server.searches]
    assert len(found.batches[0]) == 40
    assert len(set(intervals)) > 8
    assert found.ref.pages == len(server.searches)
    assert found.ref.traffic.requests == len(server.log)
    server.log.clear()
    assert Found(question(server), 40).ref.pages == 6, "not one request more where nothing is split"


def test_scenes_of_one_instant_are_told_apart_by_their_place(server: StacServer) -> None:
    server.items = [item(number, 10.0 + number * 0.2, 41.0 + number * 0.15, 86_400) for number in range(40)]
    server.log.clear()
    assert len(Found(question(server), 10).batches[0]) == 40
    assert len({tuple(request.json["bbox"]) for request in server.searches}) > 2


def test_what_cannot_be_split_is_searched_as_it_is(server: StacServer) -> None:
    server.items = [item(number, 12.0, 42.0, 86_400) for number in range(30)]
    assert len(Found(question(server, bbox=None), 3).batches[0]) == 30


def test_an_item_on_the_cut_that_both_halves_give_counts_once(server: StacServer) -> None:
    server.items = [item(number, 12.0, 42.0, 4 * 86_400) for number in range(4)] + [item(9, 12.0, 42.0, 1)]
    found = Found(question(server), 4)
    assert (found.ref.received, found.ref.kept, found.ref.duplicates, found.ref.matched) == (5, 5, 0, 5)


@given(
    start=st.one_of(st.none(), st.integers(0, 10**8)),
    length=st.one_of(st.none(), st.integers(1, 10**8)),
    at=st.integers(-(10**8), 2 * 10**8),
)
def test_every_instant_of_a_part_is_in_one_of_its_halves(start: int | None, length: int | None, at: int) -> None:
    first = None if start is None else START + timedelta(seconds=start)
    dates = Interval(start=first, end=None if length is None else (first or START) + timedelta(seconds=length))
    part = Part(question(bbox=None), Shard(index=0, dates=dates, cell=None, closed=True))
    found = halves(part, NOW)
    instant = START + timedelta(seconds=at)
    if found is None:
        assert dates.end is not None or dates.start is not None
        return
    assert dates.holds(instant) == (found[0].shard.dates.holds(instant) or found[1].shard.dates.holds(instant))
    assert not (found[0].shard.dates.holds(instant) and found[1].shard.dates.holds(instant))


@given(
    west=st.floats(-180, 180),
    width=st.floats(0.01, 350),
    south=st.floats(-90, 80),
    height=st.floats(0.01, 10),
    fx=st.floats(0, 1),
    fy=st.floats(0, 1),
)
def test_every_point_of_a_box_is_in_one_of_its_halves(west: float, width: float, south: float, height: float, fx: float, fy: float) -> None:
    east = west + width if west + width <= 180 else west + width - 360
    whole = Box(west=west, south=south, east=east, north=south + height)
    dates = Interval(start=START, end=START + timedelta(seconds=30))
    found = halves(Part(question(bbox=whole), Shard(index=0, dates=dates, cell=None, closed=True)), NOW)
    assert found is not None
    cells = [part.shard.cell for part in found]
    lon = west + fx * width
    point = ((lon - 360 if lon > 180 else lon), south + fy * height)
    assert any(cell is not None and holds(cell, *point) for cell in cells)


def holds(cell: Box, lon: float, lat: float) -> bool:
    slack = 1e-9
    inside = (
        cell.west - slack <= lon <= cell.east + slack if cell.west <= cell.east else lon >= cell.west - slack or lon <= cell.east + slack
    )
    return inside and cell.south - slack <= lat <= cell.north + slack


def test_a_polygon_is_cut_in_two() -> None:
    dates = Interval(start=START, end=START + timedelta(seconds=30))
    part = Part(question(bbox=None, intersects=POLYGON), Shard(index=0, dates=dates, cell=None, closed=True))
    found = halves(part, NOW)
    assert found is not None
    whole, *sides = (shapely.from_geojson(text) for text in (POLYGON, *(one.question.intersects for one in found)))
    assert shapely.union_all(sides).symmetric_difference(whole).area < 1e-9
    assert all(side.area < whole.area * 0.7 for side in sides)
