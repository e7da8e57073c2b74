"""The form of a run: what its fields make of a spec, and the schema that the UI renders and the server checks."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.utilities.schema_tools.validation import ValidationError, validate

from rasterloom.errors import SpecError
from rasterloom.specs.form import BBox, DateRange, band_codes, changed, cloud_limit, whole_days
from rasterloom.specs.formschema import PINNED, form_schema
from rasterloom.specs.identity import fingerprint
from rasterloom.specs.loader import spec_from
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.resolve import resolve
from rasterloom.specs.writer import short

SPEC = {
    "version": 1,
    "name": "sf-bay",
    "dataset": "earthsearch/sentinel-2-l2a",
    "bbox": [-122.5, 37.7, -122.3, 37.9],
    "dates": "2024-06",
}


def spec(**more: Any) -> CollectionSpec:
    return spec_from({key: value for key, value in (SPEC | more).items() if value is not None})


def filled(value: CollectionSpec, *, workspace: str | None = None) -> dict[str, Any]:
    """What the UI sends when nothing is touched: every default of the form, and the deployment's parameters."""
    sent: dict[str, Any] = {"spec": short(value)}
    for name, field in form_schema(value, workspace=workspace)["properties"].items():
        inner = {key: part["default"] for key, part in field.get("properties", {}).items() if "default" in part}
        if "default" in field or inner:
            sent[name] = field.get("default", inner)
    return sent


def made(sent: dict[str, Any]) -> CollectionSpec:
    """As the flow does it."""
    return changed(
        spec_from(sent["spec"]),
        dates=DateRange(**sent["dates"]) if "dates" in sent else None,
        bbox=BBox(**sent["bbox"]) if "bbox" in sent else None,
        bands=sent.get("bands"),
        cloud_cover=sent.get("cloud_cover"),
        save_as=sent.get("save_as"),
    )


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"dates": "2024-06-01/.."},
        {"dates": "../2024-06-01"},
        {"dates": ["2024-06-01T10:00:00Z", "2024-06-02"]},
        {"dates": None},
        {"bands": ["B8A", "B02"]},
        {"query": {"eo:cloud_cover": {"lte": 20, "gt": 1}, "platform": {"eq": "sentinel-2a"}}},
        {"bbox": None, "intersects": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}},
        {"dataset": None, "stac": {"url": "https://a.example/api", "collection": "c"}, "band_map": {"B2": "blue", "B10": "x"}},
        {"dataset": None, "collection": {"uri": "other"}},
        {"dataset": None, "catalog": {"path": "https://a.example/catalog.json"}, "bands": ["red", "blue"]},
    ],
    ids=str,
)
def test_an_untouched_form_is_the_spec(more: dict[str, Any]) -> None:
    value = spec(**more)
    sent = filled(value)
    validate(sent, form_schema(value), raise_on_error=True)
    assert made(sent) is not None
    assert made(sent) == value
    assert fingerprint(resolve(made(sent))) == fingerprint(resolve(value))


def test_what_a_field_says_wins() -> None:
    value = changed(
        spec(query={"eo:cloud_cover": {"lt": 50, "gt": 1}, "platform": {"eq": "a"}}),
        dates=DateRange(start=date(2024, 6, 3)),
        bbox=BBox(west=-122.4, south=37.7, east=-122.3, north=37.8),
        bands=["B08", "B04"],
        cloud_cover=20,
        save_as="other",
    )
    assert value.dates == ("2024-06-03", "..")
    assert value.bbox == (-122.4, 37.7, -122.3, 37.8)
    assert value.bands == ("B04", "B08")
    assert value.query == {"eo:cloud_cover": {"gt": 1, "lt": 20}, "platform": {"eq": "a"}}
    assert value.name == "other"


def test_an_area_takes_the_place_of_a_geometry() -> None:
    value = spec(bbox=None, intersects={"type": "Point", "coordinates": [0, 0]})
    found = changed(value, bbox=BBox(west=0, south=0, east=1, north=1))
    assert found.intersects is None
    assert found.bbox == (0, 0, 1, 1)


@given(st.dates(date(1900, 1, 1), date(2100, 1, 1)), st.integers(0, 5000))
def test_days_go_round(start: date, length: int) -> None:
    end = date.fromordinal(start.toordinal() + length)
    found = changed(spec(dates=None), dates=DateRange(start=start, end=end))
    assert whole_days(found) == DateRange(start=start, end=end)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"bbox": BBox(west=1)}, "south, east, north of the area is empty"),
        ({"bbox": BBox(west=1, south=5, east=2, north=3)}, "lies north of north"),
        ({"dates": DateRange(start=date(2024, 7, 1), end=date(2024, 6, 1))}, "lies behind the end"),
        ({"bands": ["B02", "blau"]}, "blau"),
        ({"save_as": "../x"}, "not a name"),
    ],
)
def test_what_does_not_fit_is_one_message(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError) as refused:
        changed(spec(), **fields)
    assert told in str(refused.value)
    assert "remedy" in str(refused.value)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"bbox": {"west": 500}}, "bbox.west"),
        ({"bbox": {"top": 5}}, "bbox"),
        ({"bands": ["B77"]}, "bands[0]"),
        ({"cloud_cover": 101}, "cloud_cover"),
        ({"save_as": "A b"}, "save_as"),
        ({"dates": {"begin": "2024-06-01"}}, "dates"),
        ({"force": "yes"}, "force"),
        ({"workspace": "/elsewhere"}, ""),
        ({"secret": "x"}, ""),
        ({"spec": short(spec()) | {"bands": "B02"}}, "spec.bands"),
        ({"spec": short(spec()) | {"workspace": "/elsewhere"}}, "spec.workspace"),
        ({"spec": short(spec()) | {"auth": {"provider": "custom", "custom": {"object": "os:system"}}}}, "spec.auth"),
        ({"spec": short(spec()) | {"export": [{"to": "/elsewhere"}]}}, "spec.export"),
        ({"spec": short(spec()) | {"build": {"allow_private_hosts": True}}}, "spec.build.allow_private_hosts"),
        ({"spec": {key: value for key, value in short(spec()).items() if key != "dataset"}}, "spec"),
    ],
    ids=str,
)
def test_the_server_refuses_before_a_run_begins(change: dict[str, Any], field: str) -> None:
    """By Prefect's own check, the one of its API."""
    with pytest.raises(ValidationError) as refused:
        validate(filled(spec()) | change, form_schema(spec()), raise_on_error=True)
    assert f"for field {field!r}" in str(refused.value) if field else "was unexpected" in str(refused.value)


def test_a_workspace_of_the_deployment_is_the_only_one() -> None:
    schema = form_schema(spec(), workspace="s3://ours/here")
    validate(filled(spec()) | {"workspace": "s3://ours/here"}, schema, raise_on_error=True)
    with pytest.raises(ValidationError, match="is not one of"):
        validate(filled(spec()) | {"workspace": "/elsewhere"}, schema, raise_on_error=True)


def test_pinned_keys_are_keys_of_a_spec() -> None:
    assert set(PINNED) <= set(CollectionSpec.model_fields)


def test_nothing_of_the_form_asks_for_a_credential() -> None:
    fields = form_schema(spec())["properties"]
    assert set(fields) == {"dates", "bbox", "bands", "cloud_cover", "force", "save_as", "retry_failed", "spec"}
    assert [field["position"] for field in fields.values()] == list(range(len(fields)))
    assert all(field["title"] and field["description"] for field in fields.values())


def test_the_bands_are_those_of_the_dataset() -> None:
    assert band_codes(spec(bands=["B02"]))[:3] == ("AOT", "B01", "B02")
    assert form_schema(spec(bands=["B02"]))["properties"]["bands"]["default"] == ["B02"]
    assert "bands" not in form_schema(spec(dataset=None, collection={"uri": "other"}))["properties"]


@pytest.mark.parametrize(("condition", "limit"), [({"lt": 20}, 20), ({"lte": 5.5}, 5.5), ({"gt": 3}, None), ({"lt": 900}, None)])
def test_the_cloud_cover_is_that_of_the_query(condition: dict[str, Any], limit: float | None) -> None:
    assert cloud_limit(spec(query={"eo:cloud_cover": condition})) == limit
