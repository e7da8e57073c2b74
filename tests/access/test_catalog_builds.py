"""Collections out of static catalogs: built, refreshed and narrowed, with relative hrefs of real files. Requests are counted."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rasterloom.access.build import Job, decide
from rasterloom.access.building.derive import derive
from rasterloom.access.collection import load
from rasterloom.access.forecast import forecast
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import SpecError
from rasterloom.specs.effort import Effort
from rasterloom.specs.filters import canonical_filter
from rasterloom.specs.question import Band, Box, CatalogSource, Interval
from tests.access.trees import Tree, catalog, collection, link
from tests.access.world import JULY, JUNE, World, cog


@pytest.fixture
def tree(world: World) -> Tree:
    """The items of the world below one collection, their assets beside them by relative hrefs."""
    documents: Tree = {
        "catalog.json": catalog("root", link("child", "./s2/collection.json")),
        "s2/collection.json": collection("s2", *(link("item", f"./{one['id']}/item.json") for one in world.stac.items)),
    }
    for one in world.stac.items:
        assets = {key: {**asset, "href": f"./{key}.tif"} for key, asset in one["assets"].items()}
        documents[f"s2/{one['id']}/item.json"] = {**one, "assets": assets}
    return documents


def write(documents: Tree, root: Path) -> CatalogSource:
    for path, document in documents.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document))
        for asset in document.get("assets", {}):
            (file.parent / f"{asset}.tif").write_bytes(cog(int(document["id"][-3:])))
    return CatalogSource(path=str(root / "catalog.json"), collection="s2")


def serve(documents: Tree, world: World) -> CatalogSource:
    world.files.files = {f"/{path}": json.dumps(document).encode() for path, document in documents.items()}
    for path, document in documents.items():
        for asset in document.get("assets", {}):
            world.files.files[f"/{path.rpartition('/')[0]}/{asset}.tif"] = cog(int(document["id"][-3:]))
    return CatalogSource(path=f"{world.files.url}/catalog.json", collection="s2")


OPEN = (False, False)
"""A catalog is a set of files: it may change whenever it likes."""


def test_from_files_without_any_request(world: World, tree: Tree, tmp_path: Path) -> None:
    source = write(tree, tmp_path / "stac")
    made = world.run(world.job("run-1", effort=Effort(), closed=OPEN, source=source))
    assert (made.rows, made.failed) == (6, 0)
    assert world.requests() == (0, 0)
    rows = load(made.uri).to_table(["id", "assets", "B04_metadata", "collection"]).sort_by("id").to_pylist()
    assert [row["id"] for row in rows] == [f"scene-{number:03d}" for number in range(6)]
    assert rows[2]["assets"]["B04"]["href"] == str(tmp_path / "stac/s2/scene-002/b04.tif")
    assert {row["collection"] for row in rows} == {"s2"}
    assert rows[2]["B04_metadata"]["image_width"] == 256


def test_over_http_documents_and_headers_are_asked_for_once(world: World, tree: Tree) -> None:
    source = serve(tree, world)
    job = world.job("run-1", closed=OPEN, source=source)
    job = replace(job, plan=replace(job.plan, shards=(replace(job.plan.shards[0], dates=job.plan.question.dates),)))
    made = world.run(job)
    assert (made.rows, made.failed) == (6, 0)
    assert world.requests() == (0, len(tree) + 12)
    world.run(replace(job, run_id="run-2"))
    assert world.requests() == (0, len(tree))  # what changed can only be told by reading the documents again


def test_a_refresh_reads_new_and_changed_items_alone(world: World, tree: Tree) -> None:
    source = serve(tree, world)
    world.run(world.job("run-1", closed=OPEN, source=source))
    world.requests()
    world.add(6, JUNE + timedelta(days=1))
    new = world.stac.items[-1]
    tree["s2/collection.json"]["links"].append(link("item", "./scene-006/item.json"))
    tree["s2/scene-006/item.json"] = {**new, "assets": {key: {**asset, "href": f"./{key}.tif"} for key, asset in new["assets"].items()}}
    serve(tree, world)
    made = world.run(world.job("run-2", closed=OPEN, source=source))
    assert made.rows == 7
    tifs = [request.path for request in world.files.log if request.path.endswith(".tif")]
    assert sorted(tifs) == ["/s2/scene-006/b04.tif", "/s2/scene-006/b08.tif"]


@pytest.mark.parametrize(("deleted", "rows"), [("keep", 6), ("drop", 5)])
def test_an_item_that_left_the_catalog(world: World, tree: Tree, deleted: Any, rows: int) -> None:
    source = serve(tree, world)
    world.run(world.job("run-1", closed=OPEN, source=source))
    tree["s2/collection.json"]["links"].pop()
    serve(tree, world)
    how = Effort(allow_private_hosts=True, retries=0, page_size=4, deleted=deleted)
    assert world.run(world.job("run-2", effort=how, closed=OPEN, source=source)).rows == rows


def test_an_item_that_answers_no_longer_leaves(world: World, tree: Tree) -> None:
    source = serve(tree, world)
    world.run(world.job("run-1", closed=OPEN, source=source, query='{"eo:cloud_cover":{"lt":45}}'))
    tree["s2/scene-002/item.json"]["properties"].update({"eo:cloud_cover": 99, "updated": "2025-01-01T00:00:00Z"})
    serve(tree, world)
    made = world.run(world.job("run-2", closed=OPEN, source=source, query='{"eo:cloud_cover":{"lt":45}}'))
    assert sorted(load(made.uri).to_table(["id"])["id"].to_pylist()) == [f"scene-{number:03d}" for number in (0, 1, 3, 4)]


def test_the_forecast_counts_documents(world: World, tree: Tree) -> None:
    source = serve(tree, world)

    def job(run_id: str) -> Job:
        made = world.job(run_id, closed=OPEN, source=source)
        return replace(made, plan=replace(made.plan, shards=(replace(made.plan.shards[0], dates=made.plan.question.dates),)))

    def told(made: Job) -> tuple[int, int, int]:
        found = forecast(made, decide(made.plan, open_workspace(made.workspace)))
        world.requests()
        return found.pages, found.headers, found.gone

    assert told(job("run-1")) == (8, 12, 0)
    world.run(job("run-1"))
    assert world.requests() == (0, 8 + 12)
    assert told(job("run-2")) == (8, 0, 0)
    tree["s2/collection.json"]["links"].pop()
    serve(tree, world)
    assert told(job("run-3")) == (7 + 7, 0, 1)
    world.run(job("run-3"))
    assert world.requests() == (0, 7 + 7)


@pytest.mark.parametrize(
    "asked",
    [
        {"query": '{"eo:cloud_cover":{"gte":30}}'},
        {"filter": canonical_filter("eo:cloud_cover >= 30 AND id LIKE 'scene-%'")},
        {"bbox": Box(west=15.0525, south=45, east=15.06, north=45.15)},
        {"dates": Interval(start=JULY, end=None)},
    ],
)
def test_what_is_asked_is_judged_here(world: World, tree: Tree, tmp_path: Path, asked: dict[str, Any]) -> None:
    source = write(tree, tmp_path / "stac")
    job = world.job("run-1", closed=OPEN, source=source, **asked)
    job = replace(job, plan=replace(job.plan, shards=(replace(job.plan.shards[0], dates=job.plan.question.dates),)))
    assert sorted(load(world.run(job).uri).to_table(["id"])["id"].to_pylist()) == ["scene-003", "scene-004", "scene-005"]


def test_what_a_run_would_do(world: World, tree: Tree, tmp_path: Path) -> None:
    source = write(tree, tmp_path / "stac")
    job = world.job("run-1", effort=Effort(), closed=OPEN, source=source)
    assert decide(job.plan, open_workspace(job.workspace)).action == "build"
    world.run(job)
    assert decide(job.plan, open_workspace(job.workspace)).action == "refresh"
    narrower = world.job("run-2", closed=OPEN, source=source, bands=(Band(code="B04", asset="b04"),))
    assert decide(narrower.plan, open_workspace(job.workspace)).action == "rebuild"
    assert derive(narrower) is None
    made = world.run(narrower)
    assert load(made.uri).bands == ["B04"]
    assert world.requests() == (0, 0)


def test_an_unreadable_item_is_a_row_of_the_failures_table(world: World, tree: Tree, tmp_path: Path) -> None:
    source = write(tree, tmp_path / "stac")
    (tmp_path / "stac/s2/scene-003/item.json").write_text("{")
    made = world.run(world.job("run-1", effort=Effort(max_error_rate=0.5), closed=OPEN, source=source))
    assert (made.rows, made.failed) == (5, 2)  # it is not known which of the two windows it belongs to


def test_a_wrong_band_map_ends_the_build_before_any_header(world: World, tree: Tree) -> None:
    source = serve(tree, world)
    with pytest.raises(SpecError, match="the band map does not fit") as caught:
        world.run(world.job("run-1", closed=OPEN, source=source, bands=(Band(code="B04", asset="red"), Band(code="B08", asset="bo8"))))
    assert "write B08: b08" in str(caught.value)
    assert not any(request.path.endswith(".tif") for request in world.files.log)
