"""The whole storage side on real requests: search, headers, publish, decide, and what a second run asks for."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import rasterio

from rasterloom.access.build import batch_ref_is_whole, decide, index_batch, search_ref_is_whole, search_shard
from rasterloom.access.refs import from_json, to_json
from rasterloom.access.values import BatchRef, SearchRef
from rasterloom.access.versions.commits import commit_key, latest
from rasterloom.access.versions.opening import failures_of
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import Refused, SpecError
from rasterloom.specs.effort import Effort
from rasterloom.specs.question import Band, Box, Interval, StacSource
from tests.access.world import AUGUST, JULY, JUNE, World
from tests.servers import Status


def test_a_build_finds_the_right_scenes_and_reads_every_header(world: World) -> None:
    ref = world.run(world.job("one"))
    asked = len(world.stac.log)
    pages, headers = world.requests()
    assert (ref.rows, ref.version, ref.failed) == (6, 1, 0)
    assert (pages, asked) == (2, 4), "each of the two searches reads the landing page"
    assert headers == 12, "an ordinary COG header is one request"
    commit = latest(open_workspace(str(world.workspace)), "s2")
    assert commit is not None
    assert commit.counts.headers == 12
    assert commit.traffic.requests == asked + headers
    with rasterio.open(io.BytesIO(world.files.files["/0/B04.tif"])) as file:
        assert (file.width, file.block_shapes[0]) == (256, (128, 128))


def test_a_second_run_of_closed_windows_asks_for_nothing(world: World) -> None:
    first = world.run(world.job("one"))
    world.requests()
    decision = decide(world.plan(), open_workspace(str(world.workspace)))
    assert (decision.action, decision.pages, decision.headers, decision.ref) == ("reuse", 0, 0, first)
    assert json.loads(json.dumps(decision.to_json()))["action"] == "reuse"
    again = world.run(world.job("two"))
    assert world.requests() == (0, 0), "even when it is built again"
    assert (again.version, again.rows) == (2, 6)


def test_an_open_window_is_searched_again_and_only_new_headers_are_read(world: World) -> None:
    closed = (True, False)
    world.run(world.job("one", closed=closed))
    world.requests()
    world.add(7, JULY + timedelta(days=25))
    decision = decide(world.plan(closed=closed), open_workspace(str(world.workspace)))
    assert (decision.action, [state.state for state in decision.shards]) == ("refresh", ["cached", "open"])
    assert "not all of its windows were closed" in decision.reason
    ref = world.run(world.job("two", closed=closed))
    pages, headers = world.requests()
    assert ref.rows == 7
    assert pages == 1
    assert headers <= 2 * 4


def test_an_open_window_without_news_reads_no_header(world: World) -> None:
    closed = (True, False)
    world.run(world.job("one", closed=closed))
    world.requests()
    world.run(world.job("two", closed=closed))
    assert world.requests() == (1, 0)


CHANGES: list[dict[str, Any]] = [
    {"bbox": Box(west=14.0, south=44.0, east=15.5, north=46.0)},
    {"dates": Interval(start=JUNE, end=AUGUST - timedelta(days=1))},
    {"query": '{"eo:cloud_cover":{"lt":20}}'},
    {"bands": (Band(code="B04", asset="b08"), Band(code="B08", asset="b04"))},
    {"source": StacSource(url="https://elsewhere.example.org", collection="s2")},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_another_question_is_never_answered_with_the_old_collection(world: World, change: dict[str, Any]) -> None:
    world.run(world.job("one"))
    decision = decide(world.plan(**change), open_workspace(str(world.workspace)))
    assert decision.action in ("derive", "rebuild")
    assert decision.differences
    assert next(iter(change)) in decision.differences[0]


def test_a_longer_question_reuses_the_windows_of_a_shorter_one(world: World) -> None:
    world.run(world.job("one"))
    world.requests()
    plan = world.plan(dates=Interval(start=JUNE, end=AUGUST))
    states = decide(replace(plan, fingerprint="0" * 64), open_workspace(str(world.workspace))).shards
    assert [(state.state, state.headers) for state in states] == [("cached", 0), ("cached", 0)]


def test_force_reads_nothing_from_caches(world: World) -> None:
    world.run(world.job("one"))
    world.requests()
    workspace = open_workspace(str(world.workspace))
    assert decide(world.plan(), workspace, force=True).action == "refresh"
    world.run(world.job("two", effort=Effort(allow_private_hosts=True, force=True)))
    pages, headers = world.requests()
    assert pages >= 2
    assert headers == 12


@pytest.mark.parametrize("damage", ["file", "commit", "all"])
def test_a_damaged_version_is_not_reused(world: World, damage: str) -> None:
    ref = world.run(world.job("one"))
    workspace = open_workspace(str(world.workspace))
    if damage == "file":
        next(Path(ref.uri).rglob("*.parquet")).unlink()
    elif damage == "commit":
        (world.workspace / commit_key("s2", 1)).unlink()
    else:
        workspace.delete("s2")
    decision = decide(world.plan(), workspace)
    assert decision.action == ("rebuild" if damage == "file" else "build")
    assert world.run(world.job("two")).rows == 6


def test_a_bad_file_among_good_ones_is_a_row_of_the_failures(world: World) -> None:
    world.files.files["/0/B04.tif"] = b"<html>" * 4000
    del world.files.files["/1/B08.tif"]
    ref = world.run(world.job("one", effort=Effort(allow_private_hosts=True, retries=0, max_error_rate=0.5)))
    assert (ref.rows, ref.failed) == (6, 2)
    table = failures_of("s2", str(world.workspace))
    assert table is not None
    rows = {(row["item_id"], row["band"]): row for row in table.to_pylist()}
    assert set(rows) == {("scene-000", "B04"), ("scene-001", "B08")}
    assert rows["scene-001", "B08"]["reason"] == "missing"
    assert rows["scene-000", "B04"]["href"] == f"{world.files.url}/0/B04.tif"


def test_over_budget_nothing_is_committed_and_a_larger_budget_costs_no_request(world: World) -> None:
    del world.files.files["/1/B08.tif"]
    with pytest.raises(Refused, match="1 of 12 assets failed"):
        world.run(world.job("one"))
    assert decide(world.plan(), open_workspace(str(world.workspace))).ref is None
    world.requests()
    ref = world.run(world.job("two", effort=Effort(allow_private_hosts=True, max_error_rate=0.2)))
    assert ref.rows == 6
    assert world.requests() == (0, 0)


def test_what_may_succeed_later_is_asked_again_and_nothing_else(world: World) -> None:
    world.files.faults["/1/B08.tif"] = Status(503)
    patient = Effort(allow_private_hosts=True, retries=0, max_error_rate=0.5)
    assert world.run(world.job("one", effort=patient)).failed == 1
    world.requests()
    world.files.faults.clear()
    ref = world.run(world.job("two", effort=patient))
    assert (ref.rows, ref.failed) == (6, 0)
    assert world.requests() == (0, 1)
    assert [request.path for request in world.files.requests_of("/1/B08.tif")] == []


def test_a_retried_batch_has_the_records_of_one_that_never_failed(world: World, tmp_path: Path) -> None:
    whole = world.job("one")
    clean = search_shard(whole, whole.plan.shards[0])
    expected = index_batch(whole, clean.batches[0], first_range={})
    world.workspace = tmp_path / "other"
    patient = world.job("two", effort=Effort(allow_private_hosts=True, retries=0, max_error_rate=1.0))
    world.files.faults["/1/B08.tif"] = Status(503)
    found = search_shard(patient, patient.plan.shards[0])
    first = index_batch(patient, found.batches[0], first_range={})
    assert not batch_ref_is_whole(to_json(first))
    world.files.faults.clear()
    second = index_batch(patient, found.batches[0], first_range={})
    assert batch_ref_is_whole(to_json(second))
    assert table_of(second) == table_of(expected)
    assert (second.headers, second.failures) == (expected.headers, ())


def table_of(ref: BatchRef) -> list[dict[str, Any]]:
    return pq.read_table(ref.uri).to_pylist()


def test_a_remembered_reference_is_only_good_with_its_artifact(world: World) -> None:
    job = world.job("one")
    search = search_shard(job, job.plan.shards[0])
    batch = index_batch(job, search.batches[0], first_range={})
    assert search_ref_is_whole(to_json(search))
    assert batch_ref_is_whole(to_json(batch))
    Path(batch.uri).write_bytes(b"changed")
    Path(search.batches[0].uri).unlink()
    assert not search_ref_is_whole(to_json(search))
    assert not batch_ref_is_whole(to_json(batch))


def test_what_the_server_sends_beside_the_question_is_dropped_and_counted(world: World) -> None:
    world.stac.ignore_query = True
    ref = world.run(world.job("one", query='{"eo:cloud_cover":{"lt":25}}'))
    commit = latest(open_workspace(str(world.workspace)), "s2")
    assert commit is not None
    assert ref.rows == 3
    assert (commit.counts.received, commit.counts.kept, commit.counts.disagreeing) == (6, 3, 3)


def test_a_scene_on_the_edge_of_two_windows_is_kept_once(world: World) -> None:
    world.stac.items.clear()
    world.add(0, JULY)
    searches = [search_shard(world.job("one"), shard) for shard in world.plan().shards]
    assert [search.kept for search in searches] == [0, 1]


def test_no_scene_at_all_is_refused(world: World) -> None:
    with pytest.raises(Refused, match="no scene answers the question"):
        world.run(world.job("one", bbox=Box(west=-10.0, south=0.0, east=-9.0, north=1.0)))


def test_a_name_that_is_a_path_is_refused(world: World) -> None:
    with pytest.raises(SpecError):
        decide(replace(world.plan(), name="../elsewhere"), open_workspace(str(world.workspace)))


def test_the_search_reference_is_its_own_document(world: World) -> None:
    job = world.job("one")
    search = search_shard(job, job.plan.shards[0])
    assert from_json(SearchRef, json.loads(Path(search.uri).read_text())) == search
