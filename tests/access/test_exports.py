"""Copies that a spec asks for: made anew when the snapshot is another one, and never over something else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import geopandas
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from obstore.store import MemoryStore

from rasterloom.access.collection import Collection, load
from rasterloom.access.export import Note, copy_as, put_beside
from rasterloom.access.exports import NOTE, Target, check_export, refresh_export
from rasterloom.access.workspace.bucket import BucketWorkspace
from rasterloom.access.workspace.clock import SYSTEM
from rasterloom.errors import SpecError
from tests.access.world import JUNE, World


@pytest.fixture
def collection(world: World) -> Collection:
    world.run(world.job("run-1"))
    return load("s2", str(world.workspace))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", ["collection", "stac-geoparquet"])
def test_a_copy_follows_the_snapshots(world: World, collection: Collection, tmp_path: Path, form: str) -> None:
    to = tmp_path / "shared" / "s2"
    first = refresh_export(collection, str(to), form)
    assert (first.changed, first.snapshot) == (True, "run-1")
    before = contents(to)
    assert refresh_export(collection, str(to), form).changed is False
    assert contents(to) == before
    world.add(6, JUNE + timedelta(days=3))
    world.run(world.job("run-2", closed=(False, False)))
    assert refresh_export(load("s2", str(world.workspace)), str(to), form).changed
    assert sorted(ds.dataset(to, partitioning="hive").to_table()["id"].to_pylist()) == [f"scene-{number:03d}" for number in range(7)]
    assert json.loads((to / NOTE).read_bytes())["snapshot"] == "run-2"
    assert [path.name for path in to.parent.iterdir()] == ["s2"], "nothing is left of the swap"


def test_a_copy_that_lost_a_file_is_made_again(collection: Collection, tmp_path: Path) -> None:
    refresh_export(collection, str(tmp_path / "out"), "collection")
    next((tmp_path / "out").rglob("*.parquet")).unlink()
    assert refresh_export(collection, str(tmp_path / "out"), "collection").changed
    assert len(load(tmp_path / "out")) == 6


def test_what_is_no_copy_of_this_collection_is_never_touched(collection: Collection, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear diary")
    with pytest.raises(SpecError, match="no export of s2"):
        refresh_export(collection, str(mine), "collection")
    refresh_export(collection, str(tmp_path / "out"), "collection")
    with pytest.raises(SpecError, match="export of the collection s2"):
        check_export(str(tmp_path / "out"), "other")
    with pytest.raises(SpecError, match="inside the stored collection"):
        check_export(str(Path(collection.uri) / "copy"), "s2")
    assert contents(mine) == {"letter.txt": b"dear diary"}


def test_items_come_back_as_items(collection: Collection, tmp_path: Path) -> None:
    collection.export(tmp_path / "items", format="stac-geoparquet")
    (file,) = (tmp_path / "items").rglob("*.parquet")
    row = pq.read_table(file).to_pylist()[0]
    assert (row["type"], row["stac_version"], row["collection"], row["links"]) == ("Feature", "1.0.0", "s2", [])
    assert row["assets"]["B04"]["href"].endswith("/B04.tif")
    assert row["assets"]["B04"]["roles"] == ["data"]
    assert row["datetime"].utcoffset() == timedelta(0)
    assert row["proj:code"] == "EPSG:32633"
    assert "eo:cloud_cover" in row
    assert not [name for name in row if name.endswith("_metadata")]
    assert b"stac-geoparquet" in pq.read_metadata(file).metadata
    assert geopandas.read_parquet(file).geometry.iloc[0].is_valid


def test_on_an_object_store_new_files_come_first_and_old_ones_go_last(collection: Collection) -> None:
    bucket = BucketWorkspace(MemoryStore(), "s3://bucket/shared")

    def put(old: list[str], snapshot: str) -> list[str]:
        copy = copy_as("collection", collection.schema, collection.metadata, collection.to_batches())
        put_beside(copy, bucket, "s2", old, Note(name=NOTE, facts={"name": "s2", "snapshot": snapshot, "format": "collection"}))
        return json.loads(bucket.read(f"s2/{NOTE}") or b"")["files"]

    first = put([], "run-1")
    second = put(first, "run-2")
    assert not set(first) & set(second)
    assert sorted(entry.key for entry in bucket.list("s2")) == sorted([f"s2/{NOTE}", *(f"s2/{file}" for file in second)])
    table = ds.dataset([f"s2/{file}" for file in second], filesystem=bucket.filesystem()).to_table(columns=["id"])
    assert table.num_rows == 6


class Killed(BaseException):
    """No handler of ours is to run: there is none in a process that was killed."""


def test_a_copy_that_was_killed_is_made_anew_and_leaves_no_rows(collection: Collection) -> None:
    bucket = BucketWorkspace(MemoryStore(), "s3://bucket/shared")
    about = Note(name=NOTE, facts={"name": "s2", "snapshot": "run-1", "format": "collection"})

    def put(rows: Iterable[pa.RecordBatch], old: list[str], *, later: timedelta = timedelta(0)) -> None:
        clock = replace(SYSTEM, now=lambda: SYSTEM.now() + later)
        put_beside(copy_as("collection", collection.schema, collection.metadata, rows), bucket, "s2", old, about, clock=clock)

    def killed() -> Iterator[pa.RecordBatch]:
        bucket.write("s2/part-export-dead-0.parquet", b"half")
        raise Killed
        yield

    with pytest.raises(Killed):
        put(killed(), [])
    target = Target(bucket, "s2", "s3://bucket/shared/s2", NOTE)
    assert target.note == {"name": "s2", "snapshot": "", "format": "collection", "files": []}, "the place is ours, and holds nothing"
    put(collection.to_batches(), [])
    assert bucket.size("s2/part-export-dead-0.parquet") == 4, "it may be of a copy that is under way"
    assert target.note is not None
    put(collection.to_batches(), target.note["files"], later=timedelta(days=2))
    assert sorted(entry.key for entry in bucket.list("s2")) == sorted([f"s2/{NOTE}", *(f"s2/{file}" for file in target.note["files"])])
