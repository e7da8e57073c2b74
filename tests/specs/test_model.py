"""The models as others see them: refusals without a text, the form of the Prefect UI, the published JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from rasterloom.errors import SpecError
from rasterloom.specs import sections
from rasterloom.specs.loader import load_specs, parse_specs, spec_from
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.schema import json_schema
from rasterloom.specs.yamltext import documents

FULL = """
version: 1
name: everything
stac: {url: https://stac.example.com/v1, collection: c, headers: {X-Key: "${KEY}"}, page_size: 100, method: GET}
bbox: [170, -20, -170, -10]
dates: 2024-06-01/..
query: {"eo:cloud_cover": {lt: 20}, platform: {in: [a, b]}}
bands: [R, G]
band_map: {R: image, G: image}
band_index_map: {R: 0, G: 1}
dedupe: {key: [grid:code, datetime], order_by: [updated]}
auth: {provider: aws, region: us-west-2, requester_pays: true, access_key_id: "${ID}", secret_access_key: "${secret.aws}"}
workspace: s3://bucket/prefix
build: {max_concurrent: 10, retries: 1, timeout: 5s, on_error: fail, max_error_rate: 0, force: true}
split: {time: P7D, space: {grid: 2}}
refresh: {lookback: P10D, deleted: keep}
storage: {partition_by: [year], compression: snappy, keep_snapshots: 3}
checks: [{rows: {min: 1}}, {failed: {max: 0.01}}, {coverage: {min: 0.95}}]
freshness: {warn_after: P3D, error_after: P7D}
export: [{to: "s3://shared/x", format: stac-geoparquet}]
reads: {mean: {kind: composite, bands: [R], area: {type: Point, coordinates: [1, 2]}, expressions: {a: R / G}, output: out.tif}}
schedule: {cron: "0 6 * * 1-5", timezone: Europe/Berlin, active: false}
run: {runner: dask, address: "tcp://scheduler:8786", limits: {h.example: 4}}
"""
OTHER_SOURCES = {
    "catalog": "catalog: {path: ./catalog.json, collection: c}",
    "table": "table: {uri: s3://b/index.parquet, column_map: {geom: geometry}, href_column: path, url_rewrite: {a: b}, enrich: false}",
    "callable": "table: {object: 'pkg.module:callable', params: {a: [1, 2]}}",
    "collection": "collection: {uri: other, snapshot: 3}",
    "filter": 'dataset: pc/naip\nfilter: "eo:cloud_cover < 20 AND year = 2024"',
    "filter as JSON": 'dataset: pc/naip\nfilter: {op: "<", args: [{property: "eo:cloud_cover"}, 20]}',
    "earth data": "dataset: cmr/hls-l30\nauth: {provider: earthdata, token: '${EDL}'}",
    "custom": "dataset: pc/naip\nauth: {provider: custom, custom: {object: 'pkg.module:factory', params: {a: 1}}}",
    "five lines": "dataset: pc/naip\nbbox: [-93.8, 41.9, -93.6, 42.1]\ndates: 2021",
}


def test_every_key_of_the_contract_is_read() -> None:
    (spec,) = parse_specs(FULL)
    assert spec.schedule is not None
    assert spec.dates == "2024-06-01/.."
    assert spec_from(spec.model_dump(mode="json", exclude_none=True)) == spec


@pytest.mark.parametrize("text", OTHER_SOURCES.values(), ids=OTHER_SOURCES.keys())
def test_other_forms_of_the_contract_are_read(text: str) -> None:
    (spec,) = parse_specs(f"name: a\n{text}")
    assert spec_from(spec.model_dump(mode="json", exclude_none=True)) == spec


@pytest.mark.parametrize("text", [FULL, *(f"name: a\n{text}" for text in OTHER_SOURCES.values())])
def test_the_published_schema_takes_what_the_loader_takes(text: str) -> None:
    jsonschema.Draft202012Validator(json_schema()).validate(plain(text))


def plain(text: str) -> Any:
    return documents(text, file="f")[0][0].value


@pytest.mark.parametrize("text", ["name: a\nbuild: {retry: 1}", "name: a\nbbox: [1, 2]", "name: a\nbands: []"])
def test_the_published_schema_refuses_too(text: str) -> None:
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(plain(text))


def test_the_committed_schema_is_that_of_the_models(root: Path) -> None:
    committed = (root / "specs" / "schema.json").read_text("utf-8")
    assert committed == json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", (
        "write the output of `rasterloom schema` to specs/schema.json"
    )


def test_frozen() -> None:
    spec = spec_from({"name": "a", "dataset": "pc/naip"})
    with pytest.raises(ValueError, match="frozen"):
        spec.name = "b"  # pyright: ignore[reportAttributeAccessIssue]


def test_a_deep_mapping_is_refused_before_it_is_walked() -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = {"a": deep}
    with pytest.raises(SpecError, match="deeper than 32 levels"):
        spec_from({"name": "a", "dataset": "pc/naip", "query": deep})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, b"x", "\ud800"])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    for mapping in ({"query": {"a": {"eq": value}}}, {"filter": {"op": value}}, {"bbox": [value, 1, 2, 3]}, {"name": value}):
        with pytest.raises(SpecError):
            spec_from({"name": "a", "dataset": "pc/naip"} | mapping)


def test_values_without_a_text_are_told_with_their_path() -> None:
    with pytest.raises(SpecError) as caught:
        spec_from({"name": "a", "dataset": "pc/naip", "checks": [{"rows": {"min": -1}}]})
    (problem,) = caught.value.problems
    assert (problem.path, problem.value, problem.line) == ("checks[0].rows.min", "-1", 0)


def every_model(model: type[BaseModel] = CollectionSpec) -> list[type[BaseModel]]:
    return [model, *(found for found in vars(sections).values() if isinstance(found, type) and issubclass(found, sections.Section))]


def test_the_form_has_a_description_and_a_position_for_every_field() -> None:
    for model in every_model():
        fields = model.model_json_schema().get("properties", {})
        assert [field["position"] for field in fields.values()] == list(range(len(fields))), model
        for name, field in fields.items():
            described = field.get("description") or model.model_fields[name].description or model.__name__.endswith("Check")
            assert described, f"{model.__name__}.{name}"


def test_the_form_begins_with_what_a_user_changes_most() -> None:
    fields = sorted(CollectionSpec.model_json_schema()["properties"].items(), key=lambda field: field[1]["position"])
    assert [name for name, _ in fields][:3] == ["version", "name", "dataset"]


def test_the_examples_of_the_form_are_read_as_the_form_sends_them() -> None:
    """The form sends null for what was left empty, numbers as numbers and lists as lists."""
    spec = spec_from(
        {
            "name": "a",
            "dataset": "pc/naip",
            "stac": None,
            "bbox": [1, 2, 3, 4],
            "dates": ["2024-06-01", "2024-06-02"],
            "bands": None,
            "build": {"max_concurrent": 5, "max_error_rate": 1},
            "checks": [],
            "split": None,
        }
    )
    assert spec.build.max_concurrent == 5


def test_examples_load(root: Path) -> None:
    names = {path.name for path in (root / "specs").glob("*.yaml")}
    assert len(names) >= 13  # tests/guide runs each of them
    for name in names:
        assert load_specs(root / "specs" / name)
