"""Spec -> mapping -> spec and spec -> YAML -> spec give an equal spec, an equal question and an equal effort."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rasterloom.errors import SpecError
from rasterloom.specs.identity import fingerprint
from rasterloom.specs.loader import parse_specs, spec_from, with_overrides
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.resolve import effort, resolve
from rasterloom.specs.writer import to_yaml

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=12).filter(
    lambda text: bool(text.strip()) and "${" not in text and "\ufeff" not in text
)
ODD_TEXTS = st.sampled_from(
    ["true", "NO", "on", "1e3", "012", "1:30", "2024-06-01", "~", "null", "a: b", "# a", "- a", "'", '"', "%a", "é", "a\u2028b"]
)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
CODES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,6}", fullmatch=True)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(-1e15, 1e15)
SCALARS = TEXTS | ODD_TEXTS | NUMBERS | st.booleans()
DAYS = st.dates(date(1900, 1, 1), date(2150, 12, 31)).map(date.isoformat)


def some(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=optional)


def boxes() -> st.SearchStrategy[list[float]]:
    edges = st.tuples(st.floats(-180, 180), st.floats(-90, 89), st.floats(-180, 180), st.floats(0.001, 1))
    return edges.filter(lambda box: box[0] != box[2]).map(lambda box: [box[0], box[1], box[2], box[1] + box[3]])


CONDITIONS = some(
    eq=SCALARS,
    neq=SCALARS,
    lt=NUMBERS,
    gte=NUMBERS | TEXTS,
    startsWith=TEXTS,
    **{"in": st.lists(SCALARS, min_size=1, max_size=3)},
).filter(bool)
SOURCES = st.one_of(
    st.just({"dataset": "earthsearch/sentinel-2-l2a"}),
    st.just({"dataset": "earthsearch/naip"}),
    st.builds(
        lambda more, bands: {"stac": {"url": "https://stac.example.com/v1/", "collection": "c"} | more, "band_map": bands},
        some(page_size=st.integers(1, 10_000), method=st.sampled_from(["GET", "POST"]), headers=st.just({"X-Key": "${KEY}"})),
        st.lists(
            st.tuples(CODES, TEXTS | ODD_TEXTS), min_size=1, max_size=4, unique_by=(lambda pair: pair[0].casefold(), lambda pair: pair[1])
        ).map(dict),
    ),
)
OTHERS = some(
    dates=DAYS | st.tuples(DAYS, DAYS).map(sorted) | DAYS.map(lambda day: f"{day}/..") | st.integers(1900, 2150) | st.just("2024-06"),
    query=st.dictionaries(TEXTS, CONDITIONS, min_size=1, max_size=3),
    dedupe=st.fixed_dictionaries({"key": st.lists(TEXTS, min_size=1, max_size=2)}, optional={"order_by": st.lists(TEXTS, max_size=2)}),
    auth=st.sampled_from(
        (
            {
                "provider": "aws",
                "region": "eu-west-1",
                "requester_pays": True,
                "access_key_id": "${KEY}",
                "secret_access_key": "${secret.key}",
            },
            {
                "provider": "earthdata",
                "endpoint": "https://data.example.org/s3credentials",
                "token": "${TOKEN}",
                "hosts": ["*.example.org"],
            },
            {"provider": "custom", "custom": {"object": "pkg.keys:Keys", "params": {"vault": "${VAULT}"}}},
        )
    ),
    workspace=st.sampled_from(["work", "s3://bucket/prefix", "${HOME}/x"]),
    build=some(
        max_concurrent=st.integers(1, 1000),
        retries=st.integers(0, 20),
        timeout=st.sampled_from(["5s", "PT1M"]),
        force=st.booleans(),
        max_error_rate=st.floats(0, 1) | st.just(0) | st.just(1),
        on_error=st.sampled_from(["fail", "quarantine"]),
    ),
    split=some(time=st.sampled_from(["P1M", "P7D", "P1Y"]), space=st.builds(lambda n: {"grid": n}, st.integers(1, 32))),
    refresh=some(lookback=st.sampled_from(["P45D", "P0D"]), deleted=st.sampled_from(["keep", "drop"])),
    storage=some(partition_by=st.sampled_from([[], ["year"], ["year", "month"]]), compression=st.sampled_from(["zstd", "none"])),
    checks=st.lists(
        st.sampled_from([{"rows": {"min": 1}}, {"failed": {"max": 0.5}}, {"duplicates": {"max": 0}}, {"drift": {"max": 0}}]), max_size=3
    ),
    schedule=st.sampled_from([{"cron": "0 6 * * *", "timezone": "Europe/Berlin"}, {"interval": "P1D", "active": False}]),
)
AREAS = st.one_of(
    st.just({}),
    boxes().map(lambda box: {"bbox": box}),
    st.just({"intersects": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}}),
)
MAPPINGS = st.builds(lambda name, *parts: {"name": name} | {k: v for part in parts for k, v in part.items()}, NAMES, SOURCES, AREAS, OTHERS)


HALF = settings(max_examples=50)
"""Reading YAML costs milliseconds."""


@given(MAPPINGS)
@HALF
def test_spec_to_mapping_to_spec(mapping: dict[str, Any]) -> None:
    spec = spec_from(mapping)
    dumped = json.loads(json.dumps(spec.model_dump(mode="json", exclude_none=True)))
    again = spec_from(dumped)
    assert again == spec
    assert spec_from(spec.model_dump(mode="json")) == spec
    assert CollectionSpec.model_validate_json(spec.model_dump_json()) == spec
    assert fingerprint(resolve(again)) == fingerprint(resolve(spec))
    assert effort(again) == effort(spec)


@given(MAPPINGS)
@example({"name": "0", "dataset": "earthsearch/sentinel-2-l2a", "query": {"<<": {"eq": "<<"}}})
@HALF
def test_spec_to_yaml_to_spec(mapping: dict[str, Any]) -> None:
    spec = spec_from(mapping)
    assert parse_specs(to_yaml(spec)) == (spec,)
    assert parse_specs(json.dumps(mapping)) == (spec,)


@given(MAPPINGS, st.randoms())
@HALF
def test_the_order_of_keys_decides_nothing(mapping: dict[str, Any], random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            keys = list(value)
            random.shuffle(keys)
            return {key: shuffled(value[key]) for key in keys}
        return [shuffled(part) for part in value] if isinstance(value, list) else value

    spec, other = spec_from(mapping), spec_from(shuffled(mapping))
    assert other == spec
    assert fingerprint(resolve(other)) == fingerprint(resolve(spec))


def test_overrides_are_written_as_yaml() -> None:
    spec = spec_from({"name": "a", "dataset": "earthsearch/sentinel-2-l2a", "query": {"eo:cloud_cover": {"lt": 20}}})
    changed = with_overrides(
        spec,
        {
            "dates": "[2024-06-01, 2024-06-30]",
            "build.retries": "5",
            "bands": "[B04, B08]",
            "query.eo:cloud_cover": "{lt: 5}",
            "bbox": "[1, 2, 3, 4]",
            "schedule.cron": "0 6 * * *",
            "storage.partition_by": "[]",
        },
    )
    assert changed.dates == ("2024-06-01", "2024-06-30")
    assert (changed.build.retries, changed.build.timeout) == (5, "30s")
    assert changed.bands == ("B04", "B08")
    assert changed.query == {"eo:cloud_cover": {"lt": 5}}
    assert changed.bbox == (1, 2, 3, 4)
    assert changed.schedule is not None
    assert changed.storage.partition_by == ()
    assert with_overrides(changed, {"query": "null", "dates": ""}).query is None


def test_wrong_overrides_are_told_together() -> None:
    spec = spec_from({"name": "a", "dataset": "earthsearch/naip"})
    with pytest.raises(SpecError) as caught:
        with_overrides(spec, {"build.retry": "5", "dates": "[2024", "name.x": "1", "bbox": "[1, 2]"})
    assert {problem.path for problem in caught.value.problems} == {"build.retry", "dates", "name.x", "bbox"}
    assert {problem.file for problem in caught.value.problems} == {"--set"}


def test_a_year_override_is_a_year() -> None:
    spec = with_overrides(spec_from({"name": "a", "dataset": "earthsearch/naip"}), {"dates": "2022"})
    assert resolve(spec).dates.start == datetime(2022, 1, 1, tzinfo=UTC)
