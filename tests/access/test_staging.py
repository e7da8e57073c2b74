"""What is staged is found again, whole or not at all; a search of any size keeps its order and its newest items."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasterloom.access.cache.records import assemble
from rasterloom.access.cache.scenes import Spool, scene_from_line, scene_to_line
from rasterloom.access.cache.staging import (
    find_batch_ref,
    needs_retry,
    read_items,
    read_records,
    read_search,
    scenes_per_batch,
    search_key,
    write_batch,
    write_items,
    write_search,
)
from rasterloom.access.values import BatchRef, Failure, Scene, Traffic
from rasterloom.access.workspace.disk import LocalWorkspace
from rasterloom.errors import Unavailable
from rasterloom.specs.question import Dedupe
from tests.access.building import BANDS, START, headers, scene, searched

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(properties=st.dictionaries(st.text(), JSON, max_size=5), name=st.text(min_size=1))
def test_a_scene_survives_its_line(properties: dict[str, object], name: str) -> None:
    one = scene(3, id=name, properties=properties)
    one = replace(one, assets=tuple(replace(asset, crs=name) for asset in one.assets))
    line = scene_to_line(one)
    assert b"\n" not in line
    assert scene_from_line(line) == one


def test_items_are_named_after_their_content(tmp_path: Path) -> None:
    workspace = LocalWorkspace(tmp_path)
    scenes = [scene(number) for number in range(5)]
    ref = write_items(workspace, scenes)
    assert write_items(workspace, scenes) == ref
    assert read_items(workspace, ref) == scenes
    assert (ref.scenes, ref.assets) == (5, 20)
    assert write_items(workspace, scenes[:4]).uri != ref.uri


def test_bands_in_one_file_are_one_request(tmp_path: Path) -> None:
    one = scene(0)
    shared = replace(one, assets=tuple(replace(asset, href="https://h/all.tif") for asset in one.assets))
    assert write_items(LocalWorkspace(tmp_path), [shared]).assets == 1


def test_changed_items_are_not_read(tmp_path: Path) -> None:
    workspace = LocalWorkspace(tmp_path)
    ref = write_items(workspace, [scene(0)])
    Path(ref.uri).write_bytes(b"something else")
    with pytest.raises(Unavailable, match="gone or changed"):
        read_items(workspace, ref)


def test_an_open_search_is_found_by_its_own_run_alone(tmp_path: Path) -> None:
    workspace = LocalWorkspace(tmp_path)
    write_search(workspace, search_key("k" * 64, run_id="one"), searched([]))
    assert read_search(workspace, search_key("k" * 64, run_id=None)) is None
    assert read_search(workspace, search_key("k" * 64, run_id="two")) is None
    assert read_search(workspace, search_key("k" * 64, run_id="one")) is not None


def test_a_search_without_its_files_is_none(tmp_path: Path) -> None:
    workspace = LocalWorkspace(tmp_path)
    items = write_items(workspace, [scene(0)])
    key = search_key("k" * 64, run_id=None)
    ref = write_search(workspace, key, searched([scene(0)], batches=(items,)))
    assert read_search(workspace, key) == ref
    assert ref.uri == workspace.uri_of(key)
    Path(items.uri).unlink()
    assert read_search(workspace, key) is None


@pytest.mark.parametrize("text", [b"", b"{}", b"[", b"\xff", b'{"uri": 1}'])
def test_a_broken_search_is_none(tmp_path: Path, text: bytes) -> None:
    workspace = LocalWorkspace(tmp_path)
    workspace.write(search_key("k", run_id=None), text)
    assert read_search(workspace, search_key("k", run_id=None)) is None


def test_records_are_found_whole_or_not_at_all(tmp_path: Path) -> None:
    workspace = LocalWorkspace(tmp_path)
    scenes = [scene(number) for number in range(3)]
    items = write_items(workspace, scenes)
    assert find_batch_ref(workspace, items) is None
    table = assemble(scenes, headers(scenes), BANDS)
    failure = Failure(stage="header", reason="timeout", message="", retryable=True)
    draft = BatchRef(uri="", sha256="", rows=3, headers=12, failures=(failure,), traffic=Traffic())
    ref = write_batch(workspace, items, table, draft)
    assert find_batch_ref(workspace, items) == ref
    assert read_records(workspace, ref).to_pylist() == table.to_pylist()
    assert needs_retry(ref)
    assert not needs_retry(replace(ref, failures=(replace(failure, retryable=False),)))
    Path(ref.uri).write_bytes(b"cut")
    assert find_batch_ref(workspace, items) is None


@given(scenes=st.integers(1, 100_000), each=st.integers(1, 16))
def test_a_batch_has_about_two_thousand_headers_and_small_builds_have_several(scenes: int, each: int) -> None:
    size = scenes_per_batch(scenes, scenes * each)
    assert size == 1 or size * each <= 2000
    assert size * each >= min(2000, scenes * each, 500) / 2 - each
    if scenes * each >= 2000:
        assert -(-scenes // size) >= 4


def test_a_build_of_many_windows_has_few_equal_batches_in_each() -> None:
    assert scenes_per_batch(540, 2160) == 135, "four batches, alone"
    assert scenes_per_batch(540, 2160, shards=37) == 270, "two of 1080 headers, not one of 2000 and one of 160"


def test_the_spool_gives_scenes_in_order_whatever_the_order_of_pages() -> None:
    scenes = [scene(number) for number in range(20)]
    with Spool() as spool:
        for one in reversed(scenes):
            spool.add(one)
        assert len(spool) == 20
        assert spool.requests == 80
        batches = list(spool.batches(8))
    assert [len(batch) for batch in batches] == [8, 8, 4]
    assert [one for batch in batches for one in batch] == scenes


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_the_newest_of_duplicates_stays(order: list[int]) -> None:
    versions = [scene(1, updated=f"2024-07-0{day}T00:00:00Z", properties={"day": day}) for day in (1, 2, 3)]
    assert [one.properties["day"] for one in kept([versions[index] for index in order])] == [3]


def test_the_same_id_in_two_collections_is_two_scenes() -> None:
    assert len(kept([scene(1), scene(1, collection="other")])) == 2


def test_reprocessed_scenes_are_one_where_the_spec_says_so() -> None:
    old, new = (scene(number, properties={"tile": "10TQK", "s2:sequence": sequence}) for number, sequence in ((1, "0"), (2, "1")))
    other = scene(3, datetime=START + timedelta(days=9), properties={"tile": "11TQK"})
    dedupe = Dedupe(key=("tile",), order_by=("s2:sequence",))
    assert kept([new, other, old], dedupe) == [new, other]


def test_scenes_that_lack_the_key_are_alone_and_ties_go_to_the_larger_id() -> None:
    dedupe = Dedupe(key=("tile",), order_by=("s2:sequence",))
    lacking = [scene(number) for number in (1, 2)]
    assert kept(lacking, dedupe) == lacking
    alike = [scene(number, properties={"tile": "t"}) for number in (4, 3)]
    assert kept(alike, dedupe) == kept(alike[::-1], dedupe) == alike[:1]


@given(st.permutations([None, 1, 2.5, "a", "b"]))
def test_any_values_can_be_ranked(values: list[object]) -> None:
    scenes = [scene(number, properties={"g": 1, "rank": value}) for number, value in enumerate(values)]
    assert kept(scenes, Dedupe(key=("g",), order_by=("rank",)))[0].properties["rank"] == "b"


def kept(scenes: list[Scene], dedupe: Dedupe | None = None) -> list[Scene]:
    with Spool(dedupe) as spool:
        for one in scenes:
            spool.add(one)
        found = [one for batch in spool.batches(100) for one in batch]
        assert spool.duplicates == len(scenes) - len(found)
    return found
