"""The whole storage side on real requests: search, headers, publish, decide, and what a second run asks for."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.io import MemoryFile
from rasterio.transform import from_origin
from shapely.geometry import box, mapping

from rasterloom.access.build import Job, batch_ref_is_whole, decide, index_batch, publish, search_ref_is_whole, search_shard
from rasterloom.access.commits import commit_key, latest
from rasterloom.access.opening import failures_of
from rasterloom.access.refs import from_json, to_json
from rasterloom.access.values import BatchRef, CollectionRef, SearchRef
from rasterloom.access.workspace import open_workspace
from rasterloom.errors import Refused, SpecError
from rasterloom.specs.effort import Effort
from rasterloom.specs.identity import fingerprint
from rasterloom.specs.question import Band, Box, Interval, Plan, Question, Shard, StacSource
from tests.servers import RangeServer, StacServer, Status

BANDS = ("B04", "B08")
JUNE = datetime(2024, 6, 1, tzinfo=UTC)
JULY, AUGUST = JUNE + timedelta(days=30), JUNE + timedelta(days=61)
NOW = datetime(2025, 1, 1, tzinfo=UTC)


Reference = TypeVar("Reference", SearchRef, BatchRef)


def cog(seed: int = 0) -> bytes:
    """A small COG with one overview, UTM 33N, 256 x 256 pixels of 10 m."""
    pixels = np.random.default_rng(seed).integers(1, 4000, (256, 256), dtype=np.uint16)
    with MemoryFile() as memory:
        profile = {
            "driver": "COG",
            "blocksize": 128,
            "compress": "deflate",
            "predictor": 2,
            "nodata": 0,
            "crs": "EPSG:32633",
            "dtype": "uint16",
        }
        with memory.open(width=256, height=256, count=1, transform=from_origin(500_000, 5_000_000, 10, 10), **profile) as file:
            file.write(pixels, 1)
        return memory.read()


@dataclass
class World:
    """A STAC API, its files, and a workspace."""

    stac: StacServer
    files: RangeServer
    workspace: Path

    def add(self, number: int, instant: datetime, **properties: Any) -> None:
        paths = {band: f"/{number}/{band}.tif" for band in BANDS}
        self.files.files.update({path: cog(number) for path in paths.values()})
        west = 15.0 + number * 0.001
        self.stac.items.append(
            {
                "type": "Feature",
                "stac_version": "1.0.0",
                "id": f"scene-{number:03d}",
                "collection": "s2",
                "bbox": [west, 45.1, west + 0.05, 45.2],
                "geometry": mapping(box(west, 45.1, west + 0.05, 45.2)),
                "properties": {"datetime": instant.isoformat().replace("+00:00", "Z"), "eo:cloud_cover": number * 10, **properties},
                "assets": {band.lower(): {"href": self.files.url + path, "type": "image/tiff"} for band, path in paths.items()},
                "links": [],
            }
        )

    def question(self, **changes: Any) -> Question:
        asked = Question(
            source=StacSource(url=self.stac.url, collection="s2"),
            bbox=Box(west=14.0, south=44.0, east=16.0, north=46.0),
            intersects=None,
            dates=Interval(start=JUNE, end=AUGUST),
            query=None,
            bands=tuple(Band(code=band, asset=band.lower()) for band in BANDS),
            dedupe=None,
            href="href",
        )
        return replace(asked, **changes)

    def plan(self, *, closed: tuple[bool, bool] = (True, True), **changes: Any) -> Plan:
        asked = self.question(**changes)
        spans = [Interval(start=JUNE, end=JULY), Interval(start=JULY, end=AUGUST)]
        shards = tuple(Shard(index=index, dates=span, cell=None, closed=closed[index]) for index, span in enumerate(spans))
        return Plan(name="s2", question=asked, fingerprint=fingerprint(asked), shards=shards, now=NOW)

    def job(self, run_id: str, *, effort: Effort | None = None, closed: tuple[bool, bool] = (True, True), **changes: Any) -> Job:
        how = effort or Effort(allow_private_hosts=True, retries=0, page_size=4)
        return Job(workspace=str(self.workspace), plan=self.plan(closed=closed, **changes), effort=how, spec={"name": "s2"}, run_id=run_id)

    def run(self, job: Job) -> CollectionRef:
        """As the flow does it, references as JSON between the steps."""
        searches = [through_json(search_shard(job, shard)) for shard in job.plan.shards]
        batches = [through_json(index_batch(job, items, first_range={})) for search in searches for items in search.batches]
        return publish(job, searches, batches)

    def requests(self) -> tuple[int, int]:
        """Search pages and file requests since the last call."""
        counts = len(self.stac.searches), len(self.files.log)
        self.stac.log.clear()
        self.files.log.clear()
        return counts


def through_json(value: Reference) -> Reference:
    return from_json(type(value), json.loads(json.dumps(to_json(value))))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with StacServer() as stac, RangeServer({}) as files:
        made = World(stac, files, tmp_path / "ws")
        for number in range(6):
            made.add(number, JUNE + timedelta(days=10 * number))
        yield made


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
