"""What a later build asks the network for, what it leaves as it is, and what becomes of items that are gone: counted on real servers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from rasterloom.access.build import Job, index_batch, publish, search_shard
from rasterloom.access.building.job import Job as AnyJob
from rasterloom.access.cache.headers import PACKS
from rasterloom.access.values import BatchRef, CollectionRef, SearchRef
from rasterloom.access.versions.commits import Commit, latest
from rasterloom.access.versions.opening import failures_of
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import Unavailable
from rasterloom.specs.effort import Effort
from rasterloom.specs.question import Band, Dedupe, Interval, Shard
from tests.access.world import AUGUST, JULY, JUNE, World
from tests.servers import Status

OPEN = (True, False)
"""June is closed, July is open."""
HOW = Effort(allow_private_hosts=True, retries=0, page_size=4)
DROP = replace(HOW, deleted="drop")


def refresh(world: World, run_id: str, **changes: Any) -> CollectionRef:
    return world.run(world.job(run_id, **{"closed": OPEN, **changes}))


def committed(world: World, name: str = "s2") -> Commit:
    found = latest(open_workspace(str(world.workspace)), name)
    assert found is not None
    return found


def rows(ref: CollectionRef) -> list[dict[str, Any]]:
    table = ds.dataset(ref.uri, partitioning="hive").to_table()
    return sorted(table.to_pylist(), key=lambda row: row["id"])


def fresh(world: World, tmp_path: Path, **changes: Any) -> CollectionRef:
    """The same question in a workspace that remembers nothing."""
    other = replace(world, workspace=tmp_path / "fresh")
    return refresh(other, "fresh", **changes)


def named(world: World, job: Job, name: str) -> AnyJob:
    return replace(job, plan=replace(job.plan, name=name))


def item(world: World, number: int) -> dict[str, Any]:
    return next(one for one in world.stac.items if one["id"] == f"scene-{number:03d}")


def inodes(ref: CollectionRef) -> dict[str, int]:
    return {path.relative_to(ref.uri).as_posix(): path.stat().st_ino for path in Path(ref.uri).rglob("*.parquet")}


# --- headers ----------------------------------------------------------------------------------------------------------------------


def test_a_second_collection_over_the_same_scenes_reads_no_header(world: World) -> None:
    world.run(world.job("one"))
    world.requests()
    other = world.job("two", dates=Interval(start=JUNE - timedelta(days=3), end=AUGUST))
    ref = world.run(named(world, other, "other"))
    pages, headers = world.requests()
    assert (ref.rows, headers) == (6, 0)
    assert pages > 0, "it is another question, whose windows were not searched yet"
    assert committed(world, "other").reuse.headers_cached == 12


def test_a_band_more_reads_that_band_alone(world: World) -> None:
    one = (Band(code="B04", asset="b04"),)
    refresh(world, "one", bands=one)
    world.requests()
    ref = refresh(world, "two")
    assert world.requests()[1] == 6
    assert all(request.path.endswith("B08.tif") for request in world.files.log)
    assert ref.rows == 6


def test_without_any_cache_the_headers_come_from_the_parent(world: World, tmp_path: Path) -> None:
    refresh(world, "one")
    open_workspace(str(world.workspace)).delete("_cache")
    world.requests()
    ref = refresh(world, "two")
    assert world.requests()[1] == 0
    assert committed(world).reuse.headers_parent == 12
    assert rows(ref) == rows(fresh(world, tmp_path))


def test_headers_of_the_parent_that_another_parser_read_are_not_taken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rasterloom.access.building.publish.PARSER_VERSION", 0)
    refresh(world, "one")
    monkeypatch.undo()
    open_workspace(str(world.workspace)).delete("_cache")
    world.requests()
    refresh(world, "two")
    assert world.requests()[1] == 12


@pytest.mark.parametrize("caches", [True, False])
def test_a_changed_item_refetches_exactly_its_assets(world: World, tmp_path: Path, caches: bool) -> None:
    for one in world.stac.items:
        one["properties"]["updated"] = "2024-08-01T00:00:00Z"
    refresh(world, "one")
    world.requests()
    if not caches:
        open_workspace(str(world.workspace)).delete("_cache")
    item(world, 4)["properties"] |= {"updated": "2024-08-02T00:00:00Z", "eo:cloud_cover": 1.5}
    ref = refresh(world, "two")
    asked = [request.path for request in world.files.log]
    assert sorted(asked) == ["/4/B04.tif", "/4/B08.tif"]
    reuse = committed(world).reuse
    assert (reuse.items_new, reuse.items_changed, reuse.items_gone) == (0, 1, 0)
    assert (reuse.headers_fetched, reuse.headers_cached + reuse.headers_parent) == (2, 10)
    assert rows(ref) == rows(fresh(world, tmp_path))


def test_a_refresh_with_new_scenes_fetches_exactly_those(world: World, tmp_path: Path) -> None:
    refresh(world, "one")
    world.requests()
    world.add(20, JULY + timedelta(days=11))
    world.add(21, JULY + timedelta(days=1))
    ref = refresh(world, "two")
    assert sorted(request.path for request in world.files.log) == ["/20/B04.tif", "/20/B08.tif", "/21/B04.tif", "/21/B08.tif"]
    assert world.requests()[0] <= 2, "pages of July alone"
    assert committed(world).reuse.items_new == 2
    assert rows(ref) == rows(fresh(world, tmp_path))


def test_an_asset_of_another_size_is_read_again(world: World) -> None:
    for one in world.stac.items:
        one["assets"]["b04"]["file:size"] = len(world.files.files["/0/B04.tif"])
    refresh(world, "one")
    world.requests()
    item(world, 5)["assets"]["b04"]["file:size"] += 1
    refresh(world, "two")
    assert [request.path for request in world.files.log] == ["/5/B04.tif"]


def test_an_unchanged_rerun_makes_one_search_and_reads_no_header(world: World) -> None:
    first = refresh(world, "one")
    world.requests()
    second = refresh(world, "two")
    assert world.requests() == (1, 0)
    assert rows(first) == rows(second)
    assert committed(world).reuse.files_written == 0


def test_a_failure_is_asked_again_only_when_it_is_wanted(world: World) -> None:
    del world.files.files["/5/B08.tif"]
    how = replace(HOW, max_error_rate=0.5)
    assert refresh(world, "one", effort=how).failed == 1
    world.requests()
    assert refresh(world, "two", effort=how).failed == 1
    assert world.requests() == (1, 0), "a missing file is not asked for again by every run"
    world.files.files["/5/B08.tif"] = world.files.files["/5/B04.tif"]
    retried = replace(world.job("three", effort=replace(how, retry_failed=True), closed=OPEN), retry_of="two")
    assert world.run(retried).failed == 0
    assert world.requests() == (0, 1), "and neither is the source"
    assert failures_of("s2", str(world.workspace)) is None


# --- partitions -------------------------------------------------------------------------------------------------------------------


def test_partitions_that_nothing_changed_are_the_same_files(world: World) -> None:
    first = refresh(world, "one")
    world.add(20, JULY + timedelta(days=11))
    second = refresh(world, "two")
    before, after = inodes(first), inodes(second)
    june = [path for path in before if "month=6" in path]
    assert june
    assert all(after[path] == before[path] for path in june), "hard links"
    assert not set(before.values()) & {after[path] for path in after if path not in june}
    reuse = committed(world).reuse
    assert (reuse.files_linked, reuse.files_written) == (1, 1)


def test_closed_windows_are_not_even_read(world: World) -> None:
    job = world.job("one", closed=OPEN)
    searches = [search_shard(job, shard) for shard in job.plan.shards]
    batches = [index_batch(job, items) for search in searches for items in search.batches]
    publish(job, searches, batches)
    june = open_workspace(str(world.workspace)).key_of(batches[0].uri)
    (world.workspace / june).write_bytes(b"x" * batches[0].size)  # would be found out by whoever reads it
    world.add(20, JULY + timedelta(days=11))
    assert refresh(world, "two").rows == 7


def test_a_batch_that_must_be_read_and_is_damaged_is_told_and_healed(world: World) -> None:
    job = world.job("one", closed=OPEN)
    searches = [search_shard(job, shard) for shard in job.plan.shards]
    batches = [index_batch(job, items) for search in searches for items in search.batches]
    Path(batches[0].uri).write_bytes(b"x" * batches[0].size)
    with pytest.raises(Unavailable, match="gone or changed"):
        publish(job, searches, batches)
    world.requests()
    assert refresh(world, "two").rows == 6
    assert world.requests() == (1, 0), "the headers are in the cache"


def test_a_damaged_items_file_is_searched_again(world: World) -> None:
    job = world.job("one", closed=OPEN)
    found = search_shard(job, job.plan.shards[0])
    Path(found.batches[0].uri).write_bytes(b"damaged")
    with pytest.raises(Unavailable, match="gone or changed"):
        index_batch(job, found.batches[0])
    assert world.run(job).rows == 6


def test_a_damaged_partition_of_the_parent_is_written_anew(world: World) -> None:
    first = refresh(world, "one")
    path = next(path for path in Path(first.uri).rglob("*.parquet") if "month=6" in str(path))
    os.truncate(path, 100)
    second = refresh(world, "two")
    assert second.rows == 6
    assert len(rows(second)) == 6


def test_a_property_that_is_new_changes_every_file(world: World, tmp_path: Path) -> None:
    refresh(world, "one")
    world.add(20, JULY + timedelta(days=11), extra=1)
    ref = refresh(world, "two")
    assert committed(world).reuse.files_linked == 0
    assert rows(ref) == rows(fresh(world, tmp_path))


def test_an_item_whose_datetime_moved_stands_once_with_its_newest_state(world: World) -> None:
    world.stac.items[0]["properties"]["updated"] = "2024-08-01T00:00:00Z"
    refresh(world, "one")
    moved = (JULY + timedelta(days=9)).isoformat().replace("+00:00", "Z")
    world.stac.items[0]["properties"] |= {"datetime": moved, "updated": "2024-08-02T00:00:00Z"}
    ref = refresh(world, "two")
    found = [row for row in rows(ref) if row["id"] == "scene-000"]
    assert [row["month"] for row in found] == [7]
    assert ref.rows == 6


# --- gone -------------------------------------------------------------------------------------------------------------------------


def remove(world: World, numbers: Iterable[int]) -> None:
    for number in numbers:
        world.stac.items.remove(item(world, number))


def test_a_gone_item_stays_as_it_was(world: World) -> None:
    world.stac.items[4]["properties"] |= {"mixed": 1, "list": [1, 2], "deep": {"a": None}}
    world.stac.items[5]["properties"]["mixed"] = "one"
    first = refresh(world, "one")
    world.requests()
    remove(world, [4])
    second = refresh(world, "two")
    assert world.requests()[1] == 0
    assert rows(second) == rows(first)
    reuse = committed(world).reuse
    assert (reuse.items_gone, reuse.items_carried, reuse.items_left) == (1, 1, 0)
    third = refresh(world, "three")
    assert world.requests() == (1, 0), "it is known to be gone: nobody is asked again"
    assert rows(third) == rows(first)
    assert committed(world).reuse.files_written == 0


def test_a_gone_item_stays_although_nothing_is_cached(world: World) -> None:
    first = refresh(world, "one")
    remove(world, [4])
    open_workspace(str(world.workspace)).delete("_cache")
    world.requests()
    assert rows(refresh(world, "two")) == rows(first)
    assert world.requests()[1] == 0


def test_a_kept_row_outlives_the_cache(world: World) -> None:
    first = refresh(world, "one")
    remove(world, [4])
    refresh(world, "two")
    open_workspace(str(world.workspace)).delete("_cache")
    assert rows(refresh(world, "three")) == rows(first)


def test_a_gone_item_leaves_where_the_spec_says_drop(world: World, tmp_path: Path) -> None:
    refresh(world, "one", effort=DROP)
    remove(world, [4])
    ref = refresh(world, "two", effort=DROP)
    assert rows(ref) == rows(fresh(world, tmp_path))
    reuse = committed(world).reuse
    assert (ref.rows, reuse.items_gone, reuse.items_carried, reuse.items_left) == (5, 1, 0, 1)


def test_what_was_kept_leaves_when_the_spec_changes_its_mind(world: World) -> None:
    refresh(world, "one")
    remove(world, [4])
    assert refresh(world, "two").rows == 6
    assert refresh(world, "three", effort=DROP).rows == 5
    assert refresh(world, "four").rows == 5


def test_a_gone_item_that_comes_back_is_itself_again(world: World, tmp_path: Path) -> None:
    refresh(world, "one")
    gone = item(world, 4)
    remove(world, [4])
    refresh(world, "two")
    gone["properties"]["eo:cloud_cover"] = 77.5
    world.stac.items.append(gone)
    ref = refresh(world, "three")
    assert rows(ref) == rows(fresh(world, tmp_path))
    assert committed(world).carried == ()


def test_an_item_that_no_longer_answers_leaves(world: World, tmp_path: Path) -> None:
    query = '{"eo:cloud_cover":{"lt":45}}'
    assert refresh(world, "one", query=query).rows == 5
    item(world, 4)["properties"]["eo:cloud_cover"] = 90
    ref = refresh(world, "two", query=query)
    assert ref.rows == 4
    assert rows(ref) == rows(fresh(world, tmp_path, query=query))
    assert committed(world).reuse.items_left == 1


def test_an_item_that_answers_and_was_not_given_stays(world: World) -> None:
    first = refresh(world, "one")
    world.stac.drop, world.stac.say_matched = 1, False
    asked = world.job("two", closed=OPEN)
    searches = [search_shard(asked, shard) for shard in asked.plan.shards]
    world.stac.drop = 0
    batches = [index_batch(asked, items) for search in searches for items in search.batches]
    assert sum(search.kept for search in searches) == 5
    assert rows(publish(asked, searches, batches)) == rows(first)


def test_an_item_that_was_processed_again_replaces_the_gone_one(world: World, tmp_path: Path) -> None:
    dedupe = Dedupe(key=("tile",), order_by=("updated",))
    for number, one in enumerate(world.stac.items):
        one["properties"] |= {"tile": number, "updated": "2024-08-01T00:00:00Z"}
    refresh(world, "one", dedupe=dedupe)
    remove(world, [4])
    world.add(20, JULY + timedelta(days=11), tile=4, updated="2024-08-02T00:00:00Z")
    ref = refresh(world, "two", dedupe=dedupe)
    assert [row["id"] for row in rows(ref)] == ["scene-000", "scene-001", "scene-002", "scene-003", "scene-005", "scene-020"]
    assert rows(ref) == rows(fresh(world, tmp_path, dedupe=dedupe))


BEST = Dedupe(key=("tile",), order_by=("eo:cloud_cover",))


@pytest.mark.parametrize("best", [0, 5], ids=["in the closed window", "in the open window"])
def test_of_each_group_one_stays_however_the_question_is_cut(world: World, tmp_path: Path, best: int) -> None:
    """How a question is cut is effort: the same scenes answer it in one search and in two."""
    for number, one in enumerate(world.stac.items):
        one["properties"] |= {"tile": "t" if number in (0, 2, 5) else str(number), "eo:cloud_cover": 9 if number == best else 1}
    cut = refresh(world, "one", dedupe=BEST)
    assert [row["id"] for row in rows(cut)] == [f"scene-{number:03d}" for number in sorted({1, 3, 4, best})]
    whole = replace(world, workspace=tmp_path / "whole")
    asked = whole.job("one", dedupe=BEST)
    one_search = (Shard(index=0, dates=asked.plan.question.dates, cell=None, closed=True),)
    assert rows(whole.run(replace(asked, plan=replace(asked.plan, shards=one_search)))) == rows(cut)


def test_a_better_scene_of_another_window_takes_the_place_of_a_row(world: World, tmp_path: Path) -> None:
    for number, one in enumerate(world.stac.items):
        one["properties"] |= {"tile": str(number), "eo:cloud_cover": 5}
    assert refresh(world, "one", dedupe=BEST).rows == 6
    world.add(20, JULY + timedelta(days=11), tile="0", **{"eo:cloud_cover": 6})
    ref = refresh(world, "two", dedupe=BEST)
    assert [row["id"] for row in rows(ref)] == ["scene-001", "scene-002", "scene-003", "scene-004", "scene-005", "scene-020"]
    assert rows(ref) == rows(fresh(world, tmp_path, dedupe=BEST))
    reuse = committed(world).reuse
    assert (reuse.items_new, reuse.items_left, reuse.items_gone) == (1, 1, 0)
    assert rows(refresh(world, "three", dedupe=BEST)) == rows(ref)
    remove(world, [20])
    back = refresh(world, "four", dedupe=BEST)
    assert [row["id"] for row in rows(back)] == [f"scene-{number:03d}" for number in range(6)], "what it replaced is back"
    assert rows(back) == rows(fresh(replace(world, workspace=tmp_path), tmp_path / "again", dedupe=BEST))


def test_of_another_question_nothing_stays(world: World) -> None:
    refresh(world, "one")
    world.stac.log.clear()
    ref = refresh(world, "two", query='{"eo:cloud_cover":{"lt":25}}')
    assert ref.rows == 3
    assert not any(b'"ids"' in request.body for request in world.stac.log)


def test_a_source_that_is_down_when_it_is_asked_commits_nothing(world: World) -> None:
    refresh(world, "one")
    remove(world, [4])
    asked = world.job("two", closed=OPEN)
    searches = [search_shard(asked, shard) for shard in asked.plan.shards]
    batches = [index_batch(asked, items) for search in searches for items in search.batches]
    world.stac.faults["/search"] = Status(503)
    with pytest.raises(Unavailable):
        publish(asked, searches, batches)
    assert committed(world).version == 1


# --- rivals -----------------------------------------------------------------------------------------------------------------------


def gathered(world: World, run_id: str) -> tuple[AnyJob, list[SearchRef], list[BatchRef]]:
    """A run that has searched and read, and not yet published."""
    job = world.job(run_id, closed=OPEN)
    searches = [search_shard(job, shard) for shard in job.plan.shards]
    return job, searches, [index_batch(job, items) for search in searches for items in search.batches]


def test_of_two_with_the_same_input_both_have_succeeded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = gathered(world, "one"), gathered(world, "two")
    race(monkeypatch, lambda: publish(*one))
    assert publish(*two).run_id == "one"
    assert committed(world).version == 1


def race(monkeypatch: pytest.MonkeyPatch, rival: Any) -> None:
    """Let a rival commit between the look at the newest version and the commit, once."""
    from rasterloom.access.building import publish as module

    real, calls = module.verify_listing, iter([rival])

    def verify(*args: Any) -> None:
        real(*args)
        for call in calls:
            call()

    monkeypatch.setattr(module, "verify_listing", verify)


def test_the_loser_of_a_race_builds_on_the_winner_and_nothing_is_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh(world, "zero")
    early = gathered(world, "early")
    world.add(20, JULY + timedelta(days=11))
    late = gathered(world, "late")
    race(monkeypatch, lambda: publish(*late))
    ref = publish(*early)
    assert (ref.run_id, ref.version, ref.rows) == ("early", 3, 7)
    assert {row["id"] for row in rows(ref)} >= {"scene-020"}, "the winner saw it, the loser had searched before it came"


def test_the_newer_state_of_an_item_wins_whoever_commits_last(world: World) -> None:
    for one in world.stac.items:
        one["properties"]["updated"] = "2024-08-01T00:00:00Z"
    refresh(world, "zero")
    early = gathered(world, "early")
    item(world, 4)["properties"] |= {"updated": "2024-08-02T00:00:00Z", "eo:cloud_cover": 1.5}
    publish(*gathered(world, "late"))
    ref = publish(*early)
    assert (ref.run_id, ref.version) == ("early", 3)
    assert [row["eo:cloud_cover"] for row in rows(ref) if row["id"] == "scene-004"] == [1.5]


def test_the_cache_of_headers_is_filled_by_what_was_read_alone(world: World) -> None:
    refresh(world, "one")
    packs = set((world.workspace / PACKS).iterdir())
    assert packs
    refresh(world, "two")
    assert set((world.workspace / PACKS).iterdir()) == packs
