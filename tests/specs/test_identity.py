"""The fingerprint covers the whole question and nothing else."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasterloom.specs import catalog
from rasterloom.specs.identity import canonical_json, differences, fingerprint, question_from_json, question_to_json
from rasterloom.specs.loader import parse_specs, spec_from
from rasterloom.specs.question import Band, Box, CatalogSource, CopySource, Dedupe, Interval, Question, Source, StacSource, TableSource
from rasterloom.specs.resolve import resolve

QUESTION = Question(
    source=StacSource(url="https://stac.example.com/v1", collection="c"),
    bbox=Box(west=1, south=2.5, east=3, north=4),
    intersects=None,
    dates=Interval(start=datetime(2024, 6, 1, tzinfo=UTC), end=datetime(2024, 7, 1, tzinfo=UTC)),
    query='{"eo:cloud_cover":{"lt":20}}',
    bands=(Band(code="R", asset="image"), Band(code="G", asset="image", index=1)),
    dedupe=None,
    href="href",
)
CHANGES: dict[str, Any] = {
    "source": StacSource(url="https://stac.example.com/v2", collection="c"),
    "bbox": Box(west=1, south=2.5, east=3, north=5),
    "intersects": '{"coordinates":[1,2],"type":"Point"}',
    "dates": Interval(start=datetime(2024, 6, 1, tzinfo=UTC), end=None),
    "query": None,
    "filter": '{"args":[{"property":"eo:cloud_cover"},20],"op":"<"}',
    "bands": (Band(code="R", asset="image"), Band(code="G", asset="image", index=2)),
    "dedupe": Dedupe(key=("a",), order_by=()),
    "href": "alternate.s3.href",
}


def test_there_is_a_change_for_every_field() -> None:
    assert set(CHANGES) == {field.name for field in fields(Question)}


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_counts_and_its_difference_is_told(field: str) -> None:
    changed = replace(QUESTION, **{field: CHANGES[field]})
    assert fingerprint(changed) != fingerprint(QUESTION)
    told = differences(question_to_json(QUESTION), question_to_json(changed))
    assert len(told) == 1
    assert told[0].startswith(field)
    assert " -> " in told[0]
    assert differences(question_to_json(changed), question_to_json(changed)) == ()


@pytest.mark.parametrize("field", CHANGES)
def test_json_holds_the_whole_question(field: str) -> None:
    for question in (QUESTION, replace(QUESTION, **{field: CHANGES[field]})):
        again = question_from_json(json.loads(json.dumps(question_to_json(question))))
        assert again == question
        assert fingerprint(again) == fingerprint(question)


def test_differences_are_for_people() -> None:
    changed = replace(QUESTION, bands=(Band(code="G", asset="image", index=1), Band(code="NIR", asset="image", index=3)), bbox=None)
    assert differences(question_to_json(QUESTION), question_to_json(changed)) == (
        'bbox: {"east":3,"north":4,"south":2.5,"west":1} -> nothing',
        "bands.R: image[0] -> nothing",
        "bands.NIR: nothing -> image[3]",
    )
    swapped = replace(QUESTION, bands=QUESTION.bands[::-1])
    assert differences(question_to_json(QUESTION), question_to_json(swapped)) == ("bands: order R, G -> G, R",)


def test_the_fingerprint_is_pinned() -> None:
    """A change of the canonical form makes every collection look changed: it must be meant."""
    assert fingerprint(QUESTION) == "f7c43b137bd63e715c11575692d4c6e50d07156dbc06ef779d40b845eab70331"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_canonical_json_is_json_and_stable(value: Any) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


@given(st.floats(-1e15, 1e15))
def test_equal_numbers_are_one_text(value: float) -> None:
    assert canonical_json(float(int(value))) == canonical_json(int(value))
    assert canonical_json(-0.0) == canonical_json(0)
    assert canonical_json(20.0) == "20"


def test_equal_values_are_one_text() -> None:
    east = datetime(2024, 6, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert canonical_json(east) == canonical_json(datetime(2024, 6, 1, tzinfo=UTC)) == '"2024-06-01T00:00:00Z"'
    assert canonical_json((1, {"b": 1, "a": (2,)})) == canonical_json([1, {"a": [2], "b": 1}])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1}, b"x", object(), [object()]])
def test_what_is_not_json_has_no_identity(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        canonical_json(value)


@pytest.mark.parametrize("dataset", [one for one in catalog.datasets() if one.supported], ids=lambda one: one.id)
def test_a_dataset_and_the_same_written_out_ask_the_same(dataset: catalog.Dataset) -> None:
    named = spec_from({"name": "a", "dataset": dataset.id, "dates": "2024", "bbox": [1, 2, 3, 4]})
    source: dict[str, Any] = {"stac": {"url": f"{dataset.url}/", "collection": dataset.collection}}
    if dataset.table:
        pair = {"column_map": dict(dataset.column_map), "href_column": dataset.href_column}
        source = {"table": {"uri": dataset.table, "data_source": dataset.id} | pair}
    maps = {
        "band_map": {code: band.asset for code, band in reversed(dataset.bands.items())},
        "band_index_map": {code: band.index for code, band in dataset.bands.items()},
    }
    for more in ({}, maps):
        written = spec_from({"dates": ["2024-01-01", "2024-12-31"], "name": "b", "bbox": [1.0, 2, 3, 4]} | source | more)
        assert resolve(written) == resolve(named)
        assert fingerprint(resolve(written)) == fingerprint(resolve(named))


EFFORTS = [
    "build: {retries: 9, force: true}",
    "workspace: elsewhere",
    "split: {time: P7D}",
    "refresh: {lookback: P1D}",
    "export: [{to: x}]",
    "auth: {provider: aws, profile: me}",
    "storage: {compression: snappy}",
    "checks: [{rows: {min: 1}}]",
    "schedule: {interval: P1D}",
    "run: {limits: {a: 1}}",
]


@pytest.mark.parametrize("effort", EFFORTS)
def test_effort_is_not_part_of_the_question(effort: str) -> None:
    base = "name: a\ndataset: earthsearch/sentinel-2-l2a\ndates: 2024\n"
    (plain,), (changed,) = parse_specs(base), parse_specs(base + effort)
    assert changed != plain
    assert resolve(changed) == resolve(plain)


def test_the_order_of_bands_counts_where_it_is_written() -> None:
    base = {"name": "a", "dataset": "earthsearch/naip"}
    one, other = (resolve(spec_from(base | {"bands": bands})) for bands in (["R", "NIR"], ["NIR", "R"]))
    assert [band.code for band in other.bands] == ["NIR", "R"]
    assert fingerprint(one) != fingerprint(other)


SOURCES = (
    CatalogSource(path="https://h/catalog.json", collection=None),
    CopySource(uri="whole", snapshot=3),
    TableSource(uri="s3://b/t.parquet", object=None, params=None, collection="c", column_map=(("geom", "geometry"),),
                href_column="path", url_rewrite=(("https://h/", "s3://b/"),), enrich=True),
)  # fmt: skip


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.kind)
def test_every_kind_of_source_has_a_json(source: Source) -> None:
    question = replace(QUESTION, source=source)
    assert question_from_json(json.loads(json.dumps(question_to_json(question)))) == question
    assert fingerprint(question) != fingerprint(QUESTION)
