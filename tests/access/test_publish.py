"""From staged records to a committed version that every reader opens."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from rasterloom.access.building.job import Job
from rasterloom.access.building.publish import publish
from rasterloom.access.cache.records import assemble
from rasterloom.access.collection import load
from rasterloom.access.values import CollectionRef, Failure, Scene
from rasterloom.access.versions import version
from rasterloom.access.versions.commits import latest, read_commit
from rasterloom.access.versions.opening import failures_of
from rasterloom.access.versions.parquet import leaves
from rasterloom.access.versions.table import shape_of
from rasterloom.errors import Refused, SpecError, Unavailable
from rasterloom.raster.arrow import METADATA_TYPE
from rasterloom.raster.properties import summarise
from rasterloom.specs.effort import Effort
from tests.access.building import BANDS, headers, job, opened, question, scene, searched, staged


def build(made: Job, scenes: list[Scene], *, failures: tuple[Failure, ...] = (), **changes: Any) -> CollectionRef:
    return publish(made, [searched(scenes, **changes)], staged(opened(made), scenes, failures=failures, width=2048, tile=256))


def test_a_version_is_a_plain_directory_that_its_commit_describes(tmp_path: Path) -> None:
    scenes = [scene(number) for number in range(0, 9000, 30)]
    made = job(tmp_path)
    ref = build(made, scenes)
    commit = latest(opened(made), "s2")
    assert commit is not None
    assert (ref.version, ref.rows, ref.failed, ref.uri) == (1, 300, 0, str(tmp_path / "s2/_versions/run-1"))
    files = sorted(path.relative_to(ref.uri).as_posix() for path in Path(ref.uri).rglob("*") if path.is_file())
    assert files == ["year=2024/month=6/part-run-1-0.parquet", "year=2024/month=7/part-run-1-0.parquet"]
    assert sorted(file.path for file in commit.files) == files
    assert all((Path(ref.uri) / file.path).stat().st_size == file.size for file in commit.files)
    assert commit.fingerprint == made.plan.fingerprint
    assert commit.closed
    assert (commit.counts.matched, commit.counts.kept, commit.counts.headers) == (300, 300, 1200)
    assert commit.software["pyarrow"] == pa.__version__
    assert list((tmp_path / "s2/_inflight").iterdir()) == []


def test_every_reader_opens_it(tmp_path: Path) -> None:
    scenes = [scene(number) for number in range(0, 9000, 45)]
    ref = build(job(tmp_path), scenes)
    names = {one.id for one in scenes}
    table = ds.dataset(ref.uri, partitioning="hive").to_table()
    assert set(table["id"].to_pylist()) == names
    assert set(table["month"].to_pylist()) == {6, 7}
    rows = duckdb.sql(
        f'select count(*), max(len("B02_metadata".tile_offsets)), min(bbox.xmin) '
        f"from read_parquet('{ref.uri}/**/*.parquet', hive_partitioning=true)"
    ).fetchall()[0]
    assert rows == (200, 64, min(one.bbox[0] for one in scenes))
    for path in Path(ref.uri).rglob("*.parquet"):
        frame = geopandas.read_parquet(path)
        assert frame.crs is not None
        assert frame.crs.to_string() == "OGC:CRS84"
        assert frame.geometry.is_valid.all()
        west, south, east, north = frame.total_bounds
        assert len(geopandas.read_parquet(path, bbox=(west, south, east, north))) == len(frame)


def test_every_file_says_the_same_and_what_the_format_asks(tmp_path: Path) -> None:
    ref = build(job(tmp_path), [scene(number) for number in range(0, 9000, 300)])
    seen: list[pa.Schema] = []
    for path in Path(ref.uri).rglob("*.parquet"):
        file = pq.ParquetFile(path)
        keys = {key.decode(): value.decode() for key, value in file.metadata.metadata.items()}
        assert keys["name"] == "s2"
        assert keys["data_source"] == "es/s2"
        assert keys["date_range"] == "2024-06-01T00:00:00,2024-07-31T23:59:59"
        assert keys["rasteret_collection_version"] == "1"
        assert keys["description"]
        assert keys["created"]
        assert keys["rasterloom:fingerprint"]
        assert json.loads(keys["rasterloom:spec"])["name"] == "s2"
        geo = json.loads(keys["geo"])
        assert geo["version"] == "1.1.0"
        assert geo["columns"]["geometry"]["geometry_types"] == ["Polygon"]
        assert geo["columns"]["geometry"]["covering"]["bbox"]["xmax"] == ["bbox", "xmax"]
        seen.append(file.schema_arrow)
    assert seen[0].remove_metadata() == seen[1].remove_metadata()
    assert seen[0].field("B08_metadata").type == METADATA_TYPE
    assert not {"year", "month", "properties"} & set(seen[0].names)


def test_tile_tables_are_split_and_have_no_statistics(tmp_path: Path) -> None:
    ref = build(job(tmp_path), [scene(number) for number in range(50)])
    group = pq.ParquetFile(next(Path(ref.uri).rglob("*.parquet"))).metadata.row_group(0)
    columns = {group.column(index).path_in_schema: group.column(index) for index in range(group.num_columns)}
    offsets = columns["B02_metadata.tile_offsets.list.element"]
    assert "BYTE_STREAM_SPLIT" in offsets.encodings
    assert "RLE_DICTIONARY" not in offsets.encodings
    assert offsets.compression == "ZSTD"
    assert not offsets.is_stats_set
    assert columns["bbox.xmin"].is_stats_set
    assert columns["datetime"].is_stats_set
    assert not columns["id"].has_column_index


def test_a_box_reads_few_row_groups(tmp_path: Path) -> None:
    """Rows lie along the Hilbert curve, and the bbox has statistics: a small box is answered by few row groups."""
    scenes = [scene(number) for number in range(6000)]
    shape = shape_of(BANDS, [summarise(one.properties for one in scenes)])
    with version.VersionWriter(opened(job(tmp_path)), "v", "r", schema=shape.schema, metadata={}) as writer:
        writer.add(shape.typed(assemble(scenes, {}, BANDS)))
    dataset = ds.dataset(str(tmp_path / "v"), partitioning="hive")
    box = (
        (ds.field("bbox", "xmin") <= 11.0)
        & (ds.field("bbox", "xmax") >= 10.0)
        & (ds.field("bbox", "ymin") <= 46)
        & (ds.field("bbox", "ymax") >= 45)
    )
    groups = [len(fragment.row_groups) for fragment in dataset.get_fragments()]
    met = [len(fragment.subset(filter=box).row_groups) for fragment in dataset.get_fragments()]
    assert sum(groups) >= 5
    assert sum(met) <= sum(groups) // 2


def test_memory_is_bounded_by_bytes_not_by_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "BLOCK_BYTES", 300_000)
    monkeypatch.setattr(version, "TOTAL_BYTES", 500_000)
    held: list[int] = []
    for count in (200, 800):
        workspace = opened(job(tmp_path / str(count)))
        scenes = [scene(number) for number in range(count)]
        shape = shape_of(BANDS, [summarise(one.properties for one in scenes)])
        with version.VersionWriter(workspace, "c/_versions/r", "r", schema=shape.schema, metadata={}) as writer:
            for start in range(0, count, 20):
                part = scenes[start : start + 20]
                writer.add(shape.typed(assemble(part, headers(part, width=2048, tile=256), BANDS)))
        held.append(writer.most_rows_held)
        assert sum(file.rows for file in writer.files) == count
    assert held[1] <= held[0] * 1.5


def test_a_writer_that_is_given_up_writes_no_more_and_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyarrow's writer closes itself once more when it is collected: into a file that is closed, which Python tells with a traceback."""
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    monkeypatch.setattr(version, "BLOCK_BYTES", 1)
    with pytest.raises(Unavailable):
        give_up_in(tmp_path)
    gc.collect()
    assert not unraisable
    assert not list(tmp_path.rglob("part-*"))


def give_up_in(folder: Path) -> None:
    scenes = [scene(number) for number in range(5)]
    shape = shape_of(BANDS, [summarise(one.properties for one in scenes)])
    with version.VersionWriter(opened(job(folder)), "v", "r", schema=shape.schema, metadata={}) as writer:
        writer.add(shape.typed(assemble(scenes, {}, BANDS)))
        raise Unavailable("the disk is full")


def test_many_partitions_do_not_hold_many_files_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "OPEN_FILES", 2)
    monkeypatch.setattr(version, "BLOCK_BYTES", 1)
    workspace = opened(job(tmp_path))
    scenes = [scene(number * 6000) for number in range(30)]
    shape = shape_of(BANDS, [summarise(one.properties for one in scenes)])
    with version.VersionWriter(workspace, "v", "r", schema=shape.schema, metadata={}) as writer:
        for one in [*scenes, *scenes]:
            writer.add(shape.typed(assemble([one], {}, BANDS)))
    assert len({file.path for file in writer.files}) == len(writer.files) >= 30
    assert ds.dataset(str(tmp_path / "v"), partitioning="hive").count_rows() == 60


@pytest.mark.parametrize(("by", "files"), [((), 1), (("year",), 1), (("year", "month"), 2)])
def test_partitions_are_those_of_the_spec(tmp_path: Path, by: tuple[str, ...], files: int) -> None:
    ref = build(job(tmp_path, effort=Effort(partition_by=by)), [scene(number) for number in (0, 5000, 9000)])
    paths = list(Path(ref.uri).rglob("*.parquet"))
    assert len(paths) == files
    assert len(load(ref.uri)) == 3


def test_a_partition_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="partition_by"):
        build(job(tmp_path, effort=Effort(partition_by=("platform",))), [scene(1)])


def test_properties_are_typed_from_all_items_and_none_is_lost(tmp_path: Path) -> None:
    values = [
        {"n": 1, "mixed": 1, "late": None, "id": "shadow", "year": 3, "list": [1, 2]},
        {"n": 2.5, "mixed": "one", "late": "here", "proj:epsg": 4326},
        {"n": None, "mixed": {"a": 1}, "flag": True},
    ]
    scenes = [scene(number, properties=value) for number, value in enumerate(values)]
    ref = build(job(tmp_path), scenes)
    table = ds.dataset(ref.uri, partitioning="hive").to_table().sort_by("datetime")
    assert table["n"].to_pylist() == [1.0, 2.5, None]
    assert [json.loads(value) for value in table["mixed"].to_pylist()] == [1, "one", {"a": 1}]
    assert table["late"].to_pylist() == [None, "here", None]
    assert table["flag"].to_pylist() == [None, None, True]
    assert table["properties:id"].to_pylist() == ["shadow", None, None]
    assert table["properties:year"].to_pylist() == [3, None, None]
    assert table["id"].to_pylist() == [one.id for one in scenes]


def test_an_id_stands_once_even_when_two_shards_saw_it(tmp_path: Path) -> None:
    made = job(tmp_path)
    batches = [*staged(opened(made), [scene(1), scene(2)]), *staged(opened(made), [scene(2), scene(3)])]
    ref = publish(made, [searched([scene(number) for number in (1, 2, 3)])], batches)
    assert sorted(ds.dataset(ref.uri, partitioning="hive").to_table()["id"].to_pylist()) == [scene(number).id for number in (1, 2, 3)]


FAILURE = Failure(stage="header", reason="missing", message="404", item_id="x", band="B02", href="https://h/x.tif", http_status=404)


def test_failures_stand_in_their_table(tmp_path: Path) -> None:
    made = job(tmp_path)
    ref = build(made, [scene(number) for number in range(30)], failures=(FAILURE, FAILURE))
    assert ref.failed == 2
    table = failures_of("s2", str(tmp_path))
    assert table is not None
    row = table.to_pylist()[0]
    assert (row["reason"], row["band"], row["href"], row["http_status"]) == ("missing", "B02", "https://h/x.tif", 404)
    assert (row["run_id"], row["collection"]) == ("run-1", "sentinel-2-l2a")
    assert (tmp_path / "s2/_failures/00000000000000000001-run-1.parquet").is_file()
    commit = latest(opened(made), "s2")
    assert commit is not None
    assert commit.counts.failed == {"missing": 2}


@pytest.mark.parametrize(
    ("effort", "failures", "told"),
    [
        (Effort(), 7, "build.max_error_rate is 5.0%"),
        (Effort(max_failed=0.001), 1, "checks.failed.max is 0.1%"),
        (Effort(on_error="fail"), 1, "on_error is 'fail'"),
        (Effort(min_rows=31), 0, "checks.rows.min is 31"),
    ],
)
def test_a_blown_budget_commits_nothing_and_keeps_what_was_read(tmp_path: Path, effort: Effort, failures: int, told: str) -> None:
    old = build(job(tmp_path), [scene(99)])
    made = job(tmp_path, effort=effort, run_id="run-2")
    scenes = [scene(number) for number in range(30)]
    with pytest.raises(Refused, match=told) as caught:
        build(made, scenes, failures=(FAILURE,) * failures)
    assert caught.value.remedy
    commit = latest(opened(made), "s2")
    assert commit is not None
    assert commit.dir == Path(old.uri).name
    assert len(list((tmp_path / "_cache/records").glob("*.parquet"))) == 2


def test_a_missing_band_is_recorded_and_spends_no_budget(tmp_path: Path) -> None:
    missing = Failure(stage="asset", reason="band-missing", message="no asset", band="B02")
    ref = build(job(tmp_path), [scene(number) for number in range(4)], failures=(missing,) * 4)
    assert ref.failed == 4


def test_an_empty_answer_is_refused_and_told(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="the server matched 12, sent 7 items, 7 of them outside") as caught:
        build(job(tmp_path), [], matched=12, received=7, disagreeing=7)
    assert "widen" in caught.value.remedy
    assert not (tmp_path / "s2").exists()


def test_a_repeated_publish_of_a_committed_run_is_that_commit(tmp_path: Path) -> None:
    made = job(tmp_path)
    scenes = [scene(number) for number in range(3)]
    assert build(made, scenes) == build(made, scenes)
    assert read_commit(opened(made), "s2", 2) is None


def test_an_attempt_that_died_is_never_written_over(tmp_path: Path) -> None:
    litter = tmp_path / "s2/_versions/run-1/year=2024/month=6/part-run-1-0.parquet"
    litter.parent.mkdir(parents=True)
    litter.write_bytes(b"half")
    ref = build(job(tmp_path), [scene(1)])
    assert Path(ref.uri).name.startswith("run-1-")
    assert litter.read_bytes() == b"half"
    assert ds.dataset(ref.uri, partitioning="hive").count_rows() == 1


def test_a_version_with_a_stray_file_is_not_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = job(tmp_path)
    real = type(opened(made)).sync

    def sync_and_litter(self: Any, prefix: str) -> None:
        real(self, prefix)
        (tmp_path / prefix / "part.parquet#1").write_bytes(b"x")

    monkeypatch.setattr(type(opened(made)), "sync", sync_and_litter)
    with pytest.raises(Unavailable, match="does not hold what was written"):
        build(made, [scene(1)])
    assert latest(opened(made), "s2") is None


def test_the_link_follows_the_newest_version(tmp_path: Path) -> None:
    build(job(tmp_path), [scene(1)])
    second = build(job(tmp_path, run_id="run-2"), [scene(1), scene(2)])
    link = tmp_path / "s2_stac"
    assert link.is_symlink()
    assert not link.readlink().is_absolute()
    assert link.resolve() == Path(second.uri)
    assert ds.dataset(str(link), partitioning="hive").count_rows() == 2


KILL = """
import os, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from tests.access.building import job, opened, scene, searched, staged
from rasterloom.access.building import publish as module
made = job(Path(sys.argv[1]), run_id="run-2")
scenes = [scene(number) for number in range(40)]
batches = staged(opened(made), scenes)
setattr(module, sys.argv[3], lambda *args, **kwargs: os.kill(os.getpid(), 9))
module.publish(made, [searched(scenes)], batches)
"""


@pytest.mark.parametrize("step", ["verify_listing", "failures_table", "commit", "publish_link"])
def test_a_kill_at_any_step_leaves_a_whole_collection(tmp_path: Path, step: str) -> None:
    old = build(job(tmp_path), [scene(1)])
    command = [sys.executable, "-c", KILL, str(tmp_path), str(Path(__file__).parent), step]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -9
    commit = latest(opened(job(tmp_path)), "s2")
    assert commit is not None
    committed = step == "publish_link"
    assert (commit.dir == Path(old.uri).name) is not committed
    assert ds.dataset(str(tmp_path / "s2/_versions" / commit.dir), partitioning="hive").count_rows() == (40 if committed else 1)
    again = build(job(tmp_path, run_id="run-3"), [scene(number) for number in range(41)])
    assert again.version == commit.version + 1


def test_leaves_are_named_as_the_file_names_them() -> None:
    schema = pa.schema([("a", pa.struct([("b", pa.list_(pa.int64()))])), ("c", pa.string())])
    assert [(leaf.path, leaf.physical) for leaf in leaves(schema)] == [("a.b.list.element", "INT64"), ("c", "BYTE_ARRAY")]


def test_less_bytes_than_the_writer_of_rasteret(tmp_path: Path) -> None:
    """Of the columns that both write; Rasteret's settings: zstd-3, dictionaries, row groups of 50,000."""
    scenes = [scene(number) for number in range(300)]
    made = job(tmp_path, asked=question())
    ref = publish(made, [searched(scenes)], staged(opened(made), scenes))
    table = ds.dataset(ref.uri).to_table()
    shared = table.select([name for name in table.column_names if not name.endswith("_ext")])
    pq.write_table(shared, tmp_path / "theirs.parquet", compression="zstd", compression_level=3, row_group_size=50_000)
    ours = sum(_bytes_without_ext(path) for path in Path(ref.uri).rglob("*.parquet"))
    assert ours <= 0.65 * (tmp_path / "theirs.parquet").stat().st_size


def _bytes_without_ext(path: Path) -> int:
    metadata = pq.ParquetFile(path).metadata
    columns = [metadata.row_group(group).column(index) for group in range(metadata.num_row_groups) for index in range(metadata.num_columns)]
    return path.stat().st_size - sum(column.total_compressed_size for column in columns if "_ext." in column.path_in_schema)
