"""`where()` with a filter as in a spec: the rows are those that a build with that filter would keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from rasterloom.access.building.publish import publish
from rasterloom.access.collection import Collection, load
from rasterloom.access.items.filters import matches
from rasterloom.errors import SpecError
from rasterloom.specs.cql2 import instant_text
from rasterloom.specs.filters import canonical_filter
from tests.access.building import job, opened, scene, searched, staged

SCENES = [scene(number) for number in range(0, 4000, 100)]


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    place = tmp_path_factory.mktemp("where")
    made = job(place)
    publish(made, [searched(SCENES)], staged(opened(made), SCENES, width=1024, tile=256))
    return load("s2", str(place))


@pytest.mark.parametrize(
    "text",
    [
        "eo:cloud_cover < 30",
        "NOT eo:cloud_cover < 30 OR year = 2023",
        f"id = '{SCENES[3].id}' OR id LIKE '%{SCENES[5].id[-2:]}'",
        f"id NOT IN ('{SCENES[0].id}', '{SCENES[1].id}') AND month = 6",
        f"datetime >= '{instant_text(SCENES[9].datetime)}'",
        f"datetime < DATE('{SCENES[20].datetime:%Y-%m-%d}') AND eo:cloud_cover BETWEEN 10 AND 60",
        "collection IS NULL",
        "year <> 2024",
    ],
)
def test_the_rows_are_those_that_the_filter_keeps_in_a_build(collection: Collection, text: str) -> None:
    items = [
        {"id": one.id, "collection": one.collection, "properties": {**one.properties, "datetime": instant_text(one.datetime)}}
        for one in SCENES
    ]
    expected = sorted(str(one["id"]) for one in items if matches(canonical_filter(text), one))
    assert sorted(collection.where(text).to_table(["id"])["id"].to_pylist()) == expected


def test_views_add_up(collection: Collection) -> None:
    clear = collection.where("eo:cloud_cover < 50")
    assert 0 < len(clear.where("eo:cloud_cover < 20")) < len(clear) < len(collection)
    assert len(clear.where("eo:cloud_cover < 20")) == len(collection.subset(cloud_cover_lt=20))


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("eo:cloudcover < 20", "no column eo:cloudcover", "eo:cloud_cover"),
        ("eo:cloud_cover == 20", "character 16", "write ="),
        ("eo:cloud_cover = 'x'", "holds double, which eo:cloud_cover = 'x' does not fit", "its type"),
        ("CASEI(id) = CASEI('x')", "does not fit", "pyarrow"),
    ],
)
def test_a_filter_that_does_not_fit_is_told(collection: Collection, text: str, message: str, remedy: str) -> None:
    with pytest.raises(SpecError) as caught:
        collection.where(text)
    assert message in caught.value.message
    assert remedy in caught.value.remedy


def test_a_collection_without_partitions_has_its_years_too(collection: Collection, tmp_path: Path) -> None:
    flat = load(collection.export(tmp_path / "flat"))
    assert len(flat.where("year = 2024 AND month = 6")) == len(collection.where("year = 2024 AND month = 6")) > 0
