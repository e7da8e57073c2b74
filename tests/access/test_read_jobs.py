"""Read jobs as a frame: what is made, what is remembered, what is committed, what fails, what goes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import xarray
from rasterio.windows import from_bounds

from rasterloom.access.reads.keeping import collect_outputs, prune_units, verify_outputs
from rasterloom.access.reads.mirror import mirror
from rasterloom.access.reads.outputs import OutputRef, commit_output, failures_key, latest_output, output_history
from rasterloom.access.versions.commits import latest
from rasterloom.access.versions.opening import delete_collection
from rasterloom.access.versions.verify import verify
from rasterloom.access.workspace.clock import SYSTEM
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import Refused
from tests.access.reading import EFFORT, forced, read
from tests.access.world import BANDS, JUNE, World, cog
from tests.servers import Status

STACK: dict[str, Any] = {"kind": "stack", "bands": list(BANDS), "area": [15.0, 45.14, 15.02, 45.15]}


@pytest.fixture
def built(world: World) -> World:
    world.run(world.job("build-1"))
    world.requests()
    return world


def stack(world: World, run_id: str = "r1", **changes: Any) -> OutputRef:
    return read(str(world.workspace), STACK | changes, run_id=run_id)


def test_an_output_is_committed_with_all_that_it_comes_from(built: World) -> None:
    made = stack(built)
    commit = latest_output(open_workspace(str(built.workspace)), "s2", "it")
    collection = latest(open_workspace(str(built.workspace)), "s2")
    assert commit is not None
    assert collection is not None
    assert (commit.version, commit.kind, commit.snapshot, commit.snapshot_version) == (1, "stack", "build-1", 1)
    assert commit.collection_fingerprint == collection.fingerprint
    assert commit.spec["area"]["type"] == "Polygon"
    assert (commit.made, len(commit.units), commit.asked, commit.failed) == (6, 6, 12, {})
    assert {"rasterloom", "zarr", "python"} <= set(commit.software)
    assert made.changed
    assert built.requests() == (0, 12)
    assert commit.traffic.requests == made.requests == 12
    assert Path(made.picture).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert {path.relative_to(made.uri).as_posix() for path in Path(made.uri).rglob("*") if path.is_file()} == {
        file.path for file in commit.files
    }


def test_an_unchanged_read_asks_for_nothing_and_commits_nothing(built: World) -> None:
    first = stack(built)
    built.requests()
    again = stack(built, "r2")
    assert (again.changed, again.version, again.made, again.requests) == (False, 1, 0, 0)
    assert again.uri == first.uri
    assert built.requests() == (0, 0)


def test_a_new_scene_costs_its_own_requests_and_the_rest_is_linked(built: World) -> None:
    first = stack(built)
    built.add(7, JUNE + timedelta(days=33))
    built.run(built.job("build-2", closed=(False, False)))
    built.requests()
    second = stack(built, "r2")
    assert (second.version, second.units, second.made) == (2, 7, 1)
    assert built.requests() == (0, len(BANDS))
    assert chunk(first, 0).stat().st_ino == chunk(second, 0).stat().st_ino
    with xarray.open_zarr(second.data) as data:
        assert data.time.size == 7


def chunk(output: OutputRef, time: int) -> Path:
    return Path(output.data) / BANDS[0] / f"{time}.0.0"


@pytest.mark.slow
def test_a_changed_read_is_never_answered_with_the_old_output(built: World) -> None:
    stack(built)
    built.requests()
    other = stack(built, "r2", bands=["B08"])
    assert (other.version, other.changed) == (2, True)
    with xarray.open_zarr(other.data) as data:
        assert list(data.data_vars) == ["B08"]
    back = stack(built, "r3")
    assert (back.version, back.changed, back.made, back.requests) == (3, True, 0, 0)
    forced_again = read(str(built.workspace), STACK, run_id="r4", effort=forced())
    assert (forced_again.version, forced_again.made) == (4, 6)


@pytest.mark.slow
def test_a_file_that_cannot_be_read_is_a_row_and_is_asked_again_when_it_may_be(built: World) -> None:
    built.files.faults["/2/B04.tif"] = Status(503)
    effort = replace(EFFORT, max_error_rate=0.2)
    with_hole = read(str(built.workspace), STACK, effort=effort)
    place = open_workspace(str(built.workspace))
    commit = latest_output(place, "s2", "it")
    assert commit is not None
    assert with_hole.failed == 1
    rows = pq.read_table(place.path_of(failures_key(commit)), filesystem=place.filesystem()).to_pylist()
    assert [(row["item_id"], row["band"], row["stage"], row["retryable"]) for row in rows] == [("scene-002", "B04", "pixels", True)]
    with xarray.open_zarr(with_hole.data) as data:
        assert data.B04.isel(time=2).isnull().all()
        assert data.B08.isel(time=2).notnull().all()
    built.files.faults.clear()
    built.requests()
    healed = read(str(built.workspace), STACK, run_id="r2", effort=effort)
    assert (healed.version, healed.made, healed.failed) == (2, 1, 0)
    assert built.requests() == (0, len(BANDS))
    with xarray.open_zarr(healed.data) as data:
        assert data.B04.notnull().all()


@pytest.mark.slow
def test_above_the_error_budget_nothing_is_committed_and_what_was_read_is_remembered(built: World) -> None:
    for number in (1, 2):
        built.files.faults[f"/{number}/B04.tif"] = Status(403)
    with pytest.raises(Refused, match=r"2 of 12 files could not be read .*max_error_rate is 5"):
        stack(built)
    assert latest_output(open_workspace(str(built.workspace)), "s2", "it") is None
    built.requests()
    made = read(str(built.workspace), STACK, run_id="r2", effort=replace(EFFORT, max_error_rate=0.5))
    assert (made.failed, made.made) == (2, 2), "what was denied may be allowed now"
    assert built.requests() == (0, 2 * len(BANDS))


@pytest.mark.slow
def test_a_unit_whose_file_is_gone_or_cut_is_made_again(built: World) -> None:
    stack(built)
    for path in (built.workspace / "_cache" / "reads").rglob("0.0.0"):
        path.unlink() if "B08" in str(path) else None
    built.requests()
    made = read(str(built.workspace), STACK | {"chunks": {"time": 2}}, run_id="r2")
    assert made.made == 6


def test_an_output_stands_beside_another_runs(built: World) -> None:
    """Two runs that read different snapshots: the older one gives way; of different reads both are kept."""
    stack(built)
    place = open_workspace(str(built.workspace))
    standing = latest_output(place, "s2", "it")
    assert standing is not None
    older = replace(standing, run_id="slow", dir="slow-1", snapshot_version=0, content_digest="other")
    assert commit_output(place, older).run_id == "r1"
    newer = replace(standing, run_id="fast", dir="fast-1", content_digest="other")
    assert commit_output(place, newer).version == 2
    assert commit_output(place, newer).version == 2
    assert [commit.version for commit in output_history(place, "s2", "it")] == [2, 1]


class Later:
    """The clock of another day."""

    def __init__(self, days: float) -> None:
        self._days = days

    def now(self) -> Any:
        return SYSTEM.now() + timedelta(days=self._days)


@pytest.mark.slow
def test_garbage_collection_leaves_what_the_spec_keeps(built: World) -> None:
    place = open_workspace(str(built.workspace))
    effort = replace(EFFORT, keep_snapshots=2)
    outputs = [
        read(str(built.workspace), STACK | {"bands": [band], "resolution": size}, run_id=f"r{size}{band}", effort=effort)
        for band in BANDS
        for size in (10, 20)
    ]
    assert [each.versions for each in collect_outputs(place, "s2", clock=Later(0.5))] == [()]
    (taken,) = collect_outputs(place, "s2", clock=Later(3))
    assert sorted(taken.versions) == sorted(Path(output.uri).name for output in outputs[:2])
    assert not Path(outputs[0].uri).exists()
    assert Path(outputs[2].uri).exists()
    assert verify_outputs(place, "s2") == []
    assert not verify(place, "s2").is_damaged


@pytest.mark.slow
def test_units_beyond_the_bound_are_forgotten_but_for_those_of_the_newest_output(built: World) -> None:
    place = open_workspace(str(built.workspace))
    stack(built, bands=["B04"])
    newest = stack(built, "r2", bands=["B08"])
    left = built.workspace / "_cache" / "reads" / ("0" * 64) / "killed" / "B04"
    left.mkdir(parents=True)
    (left / "0.0.0").write_bytes(b"half")
    assert prune_units(place, bound=0, clock=Later(0.5)) == []
    assert [entry.key.rpartition("/")[2] for entry in prune_units(place, clock=Later(3))] == ["0.0.0"]
    assert not left.parent.parent.exists()
    forgotten = prune_units(place, bound=0, clock=Later(3))
    assert forgotten
    built.requests()
    assert stack(built, "r3", bands=["B08"]).uri == newest.uri
    again = read(str(built.workspace), STACK | {"bands": ["B08"], "chunks": {"time": 6}}, run_id="r4")
    assert (again.made, built.requests()) == (0, (0, 0))


def test_a_changed_or_missing_file_of_an_output_is_found(built: World) -> None:
    place = open_workspace(str(built.workspace))
    made = stack(built)
    Path(made.picture).write_bytes(b"other")
    (Path(made.data) / ".zattrs").unlink()
    found = {(each.kind, each.path.rsplit("/", 1)[-1]) for each in verify_outputs(place, "s2")}
    assert found == {("changed", "picture.png"), ("missing", ".zattrs")}


@pytest.mark.slow
def test_deleting_a_collection_takes_its_outputs_along(built: World) -> None:
    stack(built)
    delete_collection(str(built.workspace), "s2")
    assert not (built.workspace / "s2").exists()


@pytest.mark.slow
def test_a_collection_outside_of_a_workspace_is_read_where_it_is(built: World, tmp_path: Path) -> None:
    source = stack(built)
    version = latest(open_workspace(str(built.workspace)), "s2")
    assert version is not None
    made = read(str(tmp_path / "other"), STACK, name="mine", uri=str(built.workspace / "s2" / "_versions" / version.dir))
    assert made.uri.startswith(str(tmp_path / "other" / "mine" / "_reads"))
    with xarray.open_zarr(made.data) as ours, xarray.open_zarr(source.data) as theirs:
        assert np.array_equal(ours.B04.values, theirs.B04.values)


def test_pixels_are_those_of_the_files(built: World) -> None:
    made = stack(built)
    with xarray.open_zarr(made.data, mask_and_scale=False) as data:
        x, y = data.x.values, data.y.values
        window = from_bounds(x[0] - 5, y[-1] - 5, x[-1] + 5, y[0] + 5, rasterio.transform.from_origin(500_000, 5_000_000, 10, 10))
        for number, scene in enumerate(data.scene.values):
            with rasterio.MemoryFile(cog(int(scene[-3:]))) as memory, memory.open() as file:
                wanted = file.read(1, window=window)
            assert data.B04.dtype == wanted.dtype
            assert np.array_equal(data.B04.values[number], wanted)


@pytest.mark.slow
def test_outputs_live_on_an_object_store(world: World, bucket: str, tmp_path: Path) -> None:
    """Units, output, copy and garbage: what a new scene needs is copied by the store, and never brought here."""
    world.run(replace(world.job("build-1"), workspace=bucket))
    first = read(bucket, STACK)
    assert (first.made, verify_outputs(open_workspace(bucket), "s2")) == (6, [])
    assert read(bucket, STACK, run_id="r2").changed is False
    world.add(7, JUNE + timedelta(days=33))
    world.run(replace(world.job("build-2", closed=(False, False)), workspace=bucket))
    second = read(bucket, STACK | {"format": "zarr"}, run_id="r3")
    assert (second.made, second.units) == (1, 7)
    assert mirror(bucket, second, "s3://shelf/shared/cube") is True
    assert mirror(bucket, second, "s3://shelf/shared/cube") is False
    assert mirror(bucket, second, str(tmp_path / "cube")) is True
    with xarray.open_zarr(tmp_path / "cube" / "latest" / "stack.zarr") as data:
        assert data.B04.notnull().all()
        assert data.time.size == 7
    assert [each.versions for each in collect_outputs(open_workspace(bucket), "s2", clock=Later(3))] == [()]
    netcdf = read(bucket, STACK | {"format": "netcdf"}, run_id="r4")
    assert (netcdf.made, netcdf.version) == (0, 3)
