"""One question as a part of another: told where it is certain, and never where it is not."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from rasterloom.access.items import filters as applied
from rasterloom.access.items.footprints import area_of, meets
from rasterloom.access.items.queries import matches
from rasterloom.specs.compare import Relation, relation
from rasterloom.specs.cql2 import Filter, to_json
from rasterloom.specs.filters import canonical_filter
from rasterloom.specs.identity import canonical_json
from rasterloom.specs.question import Band, Box, Dedupe, Interval, Question, StacSource
from tests.filters import filters


def day(number: int) -> datetime:
    return datetime(2024, 6, number, tzinfo=UTC)


RED, BLUE, NIR = Band(code="R", asset="red"), Band(code="B", asset="blue"), Band(code="N", asset="nir")
OLD = Question(
    source=StacSource(url="https://stac.example.com/v1", collection="c"),
    bbox=Box(west=10, south=40, east=20, north=50),
    intersects=None,
    dates=Interval(start=day(5), end=day(20)),
    query=None,
    bands=(RED, BLUE),
    dedupe=None,
    href="href",
)
BEST = Dedupe(key=("grid:code",), order_by=("updated",))


def polygon(*corners: tuple[float, float]) -> str:
    return json.dumps({"type": "Polygon", "coordinates": [[*corners, corners[0]]]})


def box(west: float, south: float, east: float, north: float) -> Box:
    return Box(west=west, south=south, east=east, north=north)


ASKED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "nothing": ({}, {}, "same"),
    "a smaller box": ({}, {"bbox": box(12, 42, 18, 48)}, "narrower"),
    "a box with a shared edge": ({}, {"bbox": box(10, 42, 18, 48)}, "narrower"),
    "a larger box": ({}, {"bbox": box(9, 40, 20, 50)}, "larger"),
    "a box that was moved": ({}, {"bbox": box(12, 42, 22, 48)}, "other"),
    "everywhere": ({}, {"bbox": None}, "larger"),
    "a box after everywhere": ({"bbox": None}, {}, "narrower"),
    "a triangle in the box": ({}, {"bbox": None, "intersects": polygon((11, 41), (19, 41), (15, 49))}, "narrower"),
    "a triangle out of the box": ({}, {"bbox": None, "intersects": polygon((11, 41), (21, 41), (15, 49))}, "other"),
    "a box in a triangle": ({"bbox": None, "intersects": polygon((0, 0), (80, 0), (0, 80))}, {}, "narrower"),
    "the same box as a polygon": ({}, {"bbox": None, "intersects": polygon((10, 40), (20, 40), (20, 50), (10, 50))}, "narrower"),
    "both sides of the antimeridian": ({"bbox": box(170, 0, -170, 10)}, {"bbox": box(175, 1, -175, 9)}, "narrower"),
    "the eastern side": ({"bbox": box(170, 0, -170, 10)}, {"bbox": box(-180, 1, -175, 9)}, "narrower"),
    "across, after one side": ({"bbox": box(170, 0, 180, 10)}, {"bbox": box(175, 1, -175, 9)}, "other"),
    "across, after the world": ({"bbox": box(-180, -90, 180, 90)}, {"bbox": box(175, 1, -175, 9)}, "narrower"),
    "the long way round": ({"bbox": box(170, 0, -170, 10)}, {"bbox": box(-170, 0, 170, 10)}, "other"),
    "fewer days": ({}, {"dates": Interval(start=day(6), end=day(20))}, "narrower"),
    "more days": ({}, {"dates": Interval(start=day(5), end=day(21))}, "larger"),
    "other days": ({}, {"dates": Interval(start=day(6), end=day(21))}, "other"),
    "an open end": ({}, {"dates": Interval(start=day(5), end=None)}, "larger"),
    "an end after an open one": ({"dates": Interval(start=None, end=None)}, {}, "narrower"),
    "fewer bands": ({}, {"bands": (BLUE,)}, "narrower"),
    "bands in another order": ({}, {"bands": (BLUE, RED)}, "narrower"),
    "more bands": ({}, {"bands": (RED, BLUE, NIR)}, "larger"),
    "a band from another asset": ({}, {"bands": (RED, replace(BLUE, asset="coastal"))}, "other"),
    "fewer bands, more days": ({}, {"bands": (RED,), "dates": Interval(start=day(5), end=None)}, "other"),
    "a first condition": ({}, {"query": '{"eo:cloud_cover":{"lt":20}}'}, "narrower"),
    "no condition any more": ({"query": '{"eo:cloud_cover":{"lt":20}}'}, {}, "larger"),
    "one more condition": (
        {"query": '{"eo:cloud_cover":{"lt":20}}'},
        {"query": '{"eo:cloud_cover":{"lt":20},"platform":{"eq":"a"}}'},
        "narrower",
    ),
    "a tighter bound": ({"query": '{"eo:cloud_cover":{"lt":20}}'}, {"query": '{"eo:cloud_cover":{"lt":10}}'}, "narrower"),
    "a looser bound": ({"query": '{"eo:cloud_cover":{"lt":20}}'}, {"query": '{"eo:cloud_cover":{"lte":20}}'}, "larger"),
    "another set": ({"query": '{"platform":{"in":["a"]}}'}, {"query": '{"platform":{"in":["b"]}}'}, "other"),
    "texts have no order": ({"query": '{"platform":{"lt":"b"}}'}, {"query": '{"platform":{"lt":"a"}}'}, "other"),
    "the instant, which is not stored as it came": ({}, {"query": '{"properties.datetime":{"lt":"2024"}}'}, "other"),
    "a first filter": ({}, {"filter": canonical_filter("a < 20")}, "narrower"),
    "no filter any more": ({"filter": canonical_filter("a < 20")}, {}, "larger"),
    "one more conjunct": ({"filter": canonical_filter("a < 20")}, {"filter": canonical_filter("b = 'x' AND a < 20")}, "narrower"),
    "a tighter conjunct": ({"filter": canonical_filter("a < 20")}, {"filter": canonical_filter("a BETWEEN 1 AND 10")}, "narrower"),
    "fewer values": ({"filter": canonical_filter("a IN (1, 2, 3)")}, {"filter": canonical_filter("a IN (1, 3)")}, "narrower"),
    "one value": ({"filter": canonical_filter("a IN (1, 2, 3)")}, {"filter": canonical_filter("a = 1")}, "narrower"),
    "other values": ({"filter": canonical_filter("a IN (1, 2)")}, {"filter": canonical_filter("a IN (2, 3)")}, "other"),
    "a filter of another version": ({"filter": '{"op":"s_within","args":[]}'}, {"filter": canonical_filter("a < 20")}, "other"),
    "one more disjunct": ({"filter": canonical_filter("a < 20")}, {"filter": canonical_filter("a < 20 OR b = 1")}, "other"),
    "an instant in a filter": ({}, {"filter": canonical_filter("datetime > '2024-06-06'")}, "narrower"),
    "another endpoint": ({}, {"source": StacSource(url="https://stac.example.com/v2", collection="c")}, "other"),
    "another href": ({}, {"href": "alternate.s3.href"}, "other"),
    "dedupe": ({}, {"dedupe": BEST}, "other"),
    "fewer bands of the best": ({"dedupe": BEST}, {"dedupe": BEST, "bands": (RED,)}, "narrower"),
    "a smaller box of the best": ({"dedupe": BEST}, {"dedupe": BEST, "bbox": box(12, 42, 18, 48)}, "other"),
    "a larger box of the best": ({"dedupe": BEST}, {"dedupe": BEST, "bbox": box(9, 40, 20, 50)}, "larger"),
}


@pytest.mark.parametrize(("old", "new", "kind"), ASKED.values(), ids=ASKED)
def test_the_kind(old: dict[str, Any], new: dict[str, Any], kind: str) -> None:
    assert relation(replace(OLD, **old), replace(OLD, **old | new) if kind == "same" else replace(OLD, **new)).kind == kind


def test_the_fields_that_differ_are_told() -> None:
    changed = replace(OLD, bbox=None, bands=(RED,))
    assert relation(OLD, changed) == Relation(kind="other", fields=("bbox", "bands"))


LONGITUDES, LATITUDES = st.integers(-18, 18).map(lambda tens: 10.0 * tens), st.integers(-9, 9).map(lambda tens: 10.0 * tens)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    west, east = draw(st.lists(LONGITUDES, min_size=2, max_size=2, unique=True))
    south, north = sorted(draw(st.lists(LATITUDES, min_size=2, max_size=2, unique=True)))
    return Box(west=west, south=south, east=east, north=north)


@given(boxes(), boxes(), LONGITUDES, LATITUDES, st.sampled_from([0.0, 5.0]))
def test_what_meets_a_part_meets_the_whole(old: Box, new: Box, west: float, south: float, size: float) -> None:
    kind = relation(replace(OLD, bbox=old), replace(OLD, bbox=new)).kind
    whole, part = area_of(old, None), area_of(new, None)
    assert whole is not None
    assert part is not None
    bounds = (west, south, west + size, south + size)
    footprint = shapely.box(*bounds) if size else shapely.Point(west, south)
    if kind in ("same", "narrower"):
        assert meets(whole, footprint, bounds) or not meets(part, footprint, bounds)
    if kind in ("same", "larger"):
        assert meets(part, footprint, bounds) or not meets(whole, footprint, bounds)


RULES = st.dictionaries(
    st.sampled_from(["a", "properties.a", "b"]),
    st.dictionaries(
        st.sampled_from(["lt", "lte", "gt", "gte", "eq", "neq"]), st.sampled_from([0, 1, 1.5, 2, True]), min_size=1, max_size=2
    ),
    max_size=2,
)


@given(RULES, RULES, st.dictionaries(st.sampled_from("ab"), st.sampled_from([None, 0, 1, 1.0, 1.5, 2, 3, True, "1"])))
def test_what_answers_a_narrower_query_answers_the_wider_one(old: dict[str, Any], new: dict[str, Any], properties: dict[str, Any]) -> None:
    first, second = (json.dumps(query) if query else None for query in (old, new))
    item = {"id": "i", "properties": properties}
    if relation(replace(OLD, query=first), replace(OLD, query=second)).kind == "narrower":
        assert matches(first, item) or not matches(second, item)


VALUES = st.none() | st.integers(-3, 3)


@given(filters(names=("n", "m")), filters(names=("n", "m")), VALUES, VALUES)
def test_what_answers_a_narrower_filter_answers_the_wider_one(old: Filter, new: Filter, n: int | None, m: int | None) -> None:
    first, second = (canonical_json(to_json(filter)) for filter in (old, new))
    item = {"id": "i", "properties": {"n": n, "m": m}}
    if relation(replace(OLD, filter=first), replace(OLD, filter=second)).kind in ("narrower", "same"):
        assert applied.matches(first, item) or not applied.matches(second, item)
