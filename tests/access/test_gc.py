"""What garbage collection takes, and above all what it leaves."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from rasterloom.access.cache.staging import records_key
from rasterloom.access.values import ItemsRef
from rasterloom.access.versions import heartbeat
from rasterloom.access.versions.commits import Commit, DataFile, Searched, commit, latest, numbered, version_key
from rasterloom.access.versions.gc import GRACE, collect, collect_after, collections_to_collect
from rasterloom.access.versions.heartbeat import FRESH, LEASE, Heartbeat
from rasterloom.access.versions.link import points_to
from rasterloom.access.versions.memory import prune
from rasterloom.access.versions.snapshots import history, rollback, snapshots, stands, window
from rasterloom.access.workspace.bucket import BucketWorkspace
from rasterloom.access.workspace.clock import Clock
from rasterloom.access.workspace.disk import LocalWorkspace
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import SpecError, Unavailable
from rasterloom.specs.question import Interval
from tests.access.test_commits import draft

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass
class Hands:
    """A clock that is turned by hand; files keep the time of the machine, so it starts there."""

    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.at, sleep=lambda _: None, jitter=lambda low, _: low)

    def turn(self, by: timedelta) -> None:
        self.at += by


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture(params=["disk", "bucket"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    return LocalWorkspace(tmp_path / "ws") if request.param == "disk" else BucketWorkspace(MemoryStore(), "s3://bucket/ws")


def stage(workspace: Workspace, run_id: str, *, name: str = "c") -> DataFile:
    workspace.write(f"{version_key(name, run_id)}/part-{run_id}.parquet", run_id.encode())
    return DataFile(path=f"part-{run_id}.parquet", size=len(run_id), sha256="", rows=1)


def build(workspace: Workspace, run_id: str, hands: Hands, *, keep: int = 2, name: str = "c") -> Commit:
    file = stage(workspace, run_id, name=name)
    failures = f"_failures/{run_id}.parquet"
    workspace.write(f"{name}/{failures}", b"failures")
    made = replace(draft(run_id), files=(file,), keep_snapshots=keep, ended=hands.at, failures=failures)
    return commit(workspace, name, numbered(made, latest(workspace, name)), clock=hands.clock)


def versions(workspace: Workspace) -> list[str]:
    return workspace.children("c/_versions")


def beat(workspace: Workspace, run_id: str, hands: Hands) -> None:
    Heartbeat(workspace, "c", run_id, clock=hands.clock).beat()


def test_the_newest_snapshots_are_left_and_all_commits(workspace: Workspace, hands: Hands) -> None:
    for run in "abcd":
        build(workspace, run, hands)
    hands.turn(GRACE + HOUR)
    found = collect(workspace, "c", clock=hands.clock)
    assert (found.versions, found.others) == (("a", "b"), ("c/_failures/a.parquet", "c/_failures/b.parquet"))
    assert (found.files, found.bytes) == (4, 18)
    assert versions(workspace) == ["c", "d"]
    assert [entry.version for entry in history(workspace, "c")] == [4, 3, 2, 1]
    assert collect(workspace, "c", clock=hands.clock).files == 0


def test_a_dry_run_takes_nothing(workspace: Workspace, hands: Hands) -> None:
    for run in "abc":
        build(workspace, run, hands, keep=1)
    hands.turn(GRACE + HOUR)
    before = [entry.key for entry in workspace.list("")]
    assert collect(workspace, "c", clock=hands.clock, dry_run=True).versions == ("a", "b")
    assert [entry.key for entry in workspace.list("")] == before


def test_readers_of_a_version_have_the_grace_time(workspace: Workspace, hands: Hands) -> None:
    """Counted from when it was superseded, however old it was then."""
    build(workspace, "a", hands, keep=1)
    hands.turn(30 * DAY)
    build(workspace, "b", hands, keep=1)
    hands.turn(GRACE - HOUR)
    assert collect(workspace, "c", clock=hands.clock).versions == ()
    hands.turn(2 * HOUR)
    assert collect(workspace, "c", clock=hands.clock).versions == ("a",)


def test_without_grace_what_is_superseded_goes_at_once(workspace: Workspace, hands: Hands) -> None:
    for run in "abc":
        build(workspace, run, hands, keep=1)
        collect(workspace, "c", clock=hands.clock, grace=timedelta(0))
        hands.turn(timedelta(seconds=1))
    collect(workspace, "c", clock=hands.clock, grace=timedelta(0))
    assert versions(workspace) == ["c"]


def test_what_a_killed_run_left_goes_after_a_day(workspace: Workspace, hands: Hands) -> None:
    build(workspace, "a", hands)
    beat(workspace, "killed", hands)
    stage(workspace, "killed")
    workspace.write("c/_commits/.00000000000000000002.json.abc.tmp", b"half")
    hands.turn(FRESH - HOUR)
    assert collect(workspace, "c", clock=hands.clock).files == 0
    hands.turn(2 * HOUR)
    found = collect(workspace, "c", clock=hands.clock)
    assert found.versions == ("killed",)
    assert found.others == ("c/_commits/.00000000000000000002.json.abc.tmp", "c/_inflight/killed.json")
    assert versions(workspace) == ["a"]


def test_a_live_run_is_left_alone_however_long_it_takes(workspace: Workspace, hands: Hands) -> None:
    """Its files look old where they are hard links to files of its parent."""
    stage(workspace, "run")
    stage(workspace, "run-0badcafe")
    stage(workspace, "run2")
    for _ in range(5):
        hands.turn(FRESH - HOUR)
        beat(workspace, "run", hands)
        collect(workspace, "c", clock=hands.clock)
    assert versions(workspace) == ["run", "run-0badcafe"]
    hands.turn(FRESH)
    collect(workspace, "c", clock=hands.clock)
    assert list(workspace.list("c")) == []


@pytest.mark.parametrize("content", [b"", b"{}", b'{"at": "yesterday"}', b'{"at": "2024-01-01T00:00:00"}', b"[1]", b"\xff"])
def test_a_heartbeat_that_cannot_be_read_counts_by_its_age(workspace: Workspace, hands: Hands, content: bytes) -> None:
    stage(workspace, "run")
    workspace.write("c/_inflight/run.json", content)
    hands.turn(HOUR)
    assert collect(workspace, "c", clock=hands.clock).files == 0
    hands.turn(FRESH)
    assert collect(workspace, "c", clock=hands.clock).versions == ("run",)


def test_foreign_files_are_left(workspace: Workspace, hands: Hands) -> None:
    build(workspace, "a", hands)
    for key in ("c/README.md", "c/_commits/notes.txt", "other/_versions/x/file", "c2/_versions/x/file"):
        workspace.write(key, b"mine")
    hands.turn(30 * DAY)
    collect(workspace, "c", clock=hands.clock)
    assert workspace.read("c/README.md") == workspace.read("c/_commits/notes.txt") == b"mine"
    assert workspace.read("other/_versions/x/file") == workspace.read("c2/_versions/x/file") == b"mine"
    assert collections_to_collect(workspace) == ["c", "c2", "other"]


def test_a_damaged_log_takes_nothing_and_ends_no_build(workspace: Workspace, hands: Hands, caplog: pytest.LogCaptureFixture) -> None:
    for run in "abcd":
        build(workspace, run, hands)
    workspace.write("c/_commits/00000000000000000003.json", b"{}")
    hands.turn(30 * DAY)
    with pytest.raises(Unavailable, match="damaged"):
        collect(workspace, "c", clock=hands.clock)
    collect_after(workspace, "c", clock=hands.clock)
    assert versions(workspace) == ["a", "b", "c", "d"]
    assert "garbage was not collected" in caplog.text


def test_a_leftover_link_goes(tmp_path: Path, hands: Hands) -> None:
    workspace = LocalWorkspace(tmp_path)
    build(workspace, "a", hands)
    leftover = tmp_path / ".c_stac.0123.tmp"
    leftover.symlink_to("c/_versions/a")
    collect(workspace, "c", clock=hands.clock)
    assert leftover.is_symlink()
    hands.turn(2 * DAY)
    collect(workspace, "c", clock=hands.clock)
    assert not leftover.is_symlink()
    assert versions(workspace) == ["a"]


# --- rollback ----------------------------------------------------------------------------------------------------------------------


def test_a_rollback_is_a_commit_that_names_the_old_version(workspace: Workspace, hands: Hands) -> None:
    made = [build(workspace, run, hands, keep=5) for run in "abc"]
    back = rollback(workspace, "c", 1, clock=hands.clock)
    assert (back.version, back.parent, back.dir, back.rollback_of, back.action) == (4, 3, "a", 1, "rollback")
    assert (back.files, back.fingerprint, back.failures) == (made[0].files, made[0].fingerprint, made[0].failures)
    assert latest(workspace, "c") == back
    assert versions(workspace) == ["a", "b", "c"]
    assert points_to(workspace, "c") == (version_key("c", "a") if workspace.local_path("c") else None), "the link follows"
    assert rollback(workspace, "c", 1, clock=hands.clock) == back, "what is current already needs no commit"
    assert [line.is_current for line in snapshots(workspace, "c")] == [True, False, False, True]
    forth = rollback(workspace, "c", 3, clock=hands.clock)
    assert (forth.version, forth.dir) == (5, "c")
    assert rollback(workspace, "c", 4, clock=hands.clock).rollback_of == 1


@pytest.mark.parametrize("number", [0, -1, 4, 99])
def test_a_snapshot_that_never_was_is_told(workspace: Workspace, hands: Hands, number: int) -> None:
    for run in "abc":
        build(workspace, run, hands)
    with pytest.raises(SpecError, match="it has 1 to 3"):
        rollback(workspace, "c", number, clock=hands.clock)


def test_a_snapshot_that_is_no_longer_kept_is_refused_even_where_it_stands(workspace: Workspace, hands: Hands) -> None:
    """A collection that began before may be about to take it."""
    for run in "abc":
        build(workspace, run, hands, keep=2)
    assert "a" in versions(workspace)
    with pytest.raises(SpecError, match="no longer kept"):
        rollback(workspace, "c", 1, clock=hands.clock)
    build(workspace, "d", hands, keep=10)
    with pytest.raises(SpecError, match="no longer kept"):
        rollback(workspace, "c", 1, clock=hands.clock)
    assert [line.is_kept for line in snapshots(workspace, "c")] == [True, True, True, False]


def test_a_snapshot_with_a_missing_file_is_refused(workspace: Workspace, hands: Hands) -> None:
    build(workspace, "a", hands)
    build(workspace, "b", hands)
    workspace.delete("c/_versions/a")
    with pytest.raises(SpecError, match="no longer kept"):
        rollback(workspace, "c", 1, clock=hands.clock)


def test_a_version_that_was_rolled_back_to_is_current_for_the_collector(workspace: Workspace, hands: Hands) -> None:
    for run in "abc":
        build(workspace, run, hands, keep=3)
    rollback(workspace, "c", 1, clock=hands.clock)
    build(workspace, "d", hands, keep=3)
    hands.turn(30 * DAY)
    collect(workspace, "c", clock=hands.clock)
    assert versions(workspace) == ["a", "c", "d"], "three different versions, the newest first: d, a, c"
    assert list(window(history(workspace, "c"))) == ["d", "a", "c"]


def test_a_slow_collector_cannot_take_what_was_rolled_back_to(workspace: Workspace, hands: Hands) -> None:
    build(workspace, "a", hands, keep=1)
    build(workspace, "b", hands, keep=1)
    hands.turn(timedelta(seconds=1))
    slow = sleeper(workspace, hands)
    next(slow)
    build(workspace, "c", hands, keep=5)
    with pytest.raises(SpecError, match="no longer kept"):
        rollback(workspace, "c", 1, clock=hands.clock)
    rollback(workspace, "c", 2, clock=hands.clock)
    next(slow, None)
    assert versions(workspace) == ["b", "c"]


STEPS = st.lists(st.tuples(st.sampled_from(["build", "rollback", "collect", "slow", "wake"]), st.integers(1, 3)), max_size=20)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_whatever_happens_the_current_version_stands(steps: list[tuple[str, int]]) -> None:
    """Builds with changing `keep_snapshots`, rollbacks, and collectors that decide now and delete several steps later."""
    workspace, hands = BucketWorkspace(MemoryStore(), "s3://bucket/ws"), Hands()
    slow: list[Iterator[None]] = []
    build(workspace, "first", hands)
    for number, (step, size) in enumerate(steps):
        hands.turn(timedelta(seconds=1))
        if step == "build":
            build(workspace, f"run{number}", hands, keep=size)
        elif step == "rollback":
            try:
                rollback(workspace, "c", size, clock=hands.clock)
            except SpecError:
                continue
        elif step == "collect":
            collect(workspace, "c", clock=hands.clock, grace=timedelta(0))
        elif step == "slow":
            slow.append(sleeper(workspace, hands))
            next(slow[-1])
        elif slow:
            next(slow.pop(0), None)
        newest = latest(workspace, "c")
        assert newest is not None
        assert stands(workspace, "c", newest)


def sleeper(workspace: Workspace, hands: Hands) -> Iterator[None]:
    """A collector that falls asleep between its decision and its first deletion."""
    victims = collect(workspace, "c", clock=hands.clock, grace=timedelta(0), dry_run=True)
    yield
    for directory in victims.versions:
        workspace.delete(version_key("c", directory))


# --- heartbeats --------------------------------------------------------------------------------------------------------------------


def test_the_heartbeat_comes_beats_and_goes(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "EVERY", 0.01)
    seen: set[str] = set()
    with Heartbeat(workspace, "c", "run"):
        while len(seen) < 3:
            seen.add(json.loads(workspace.read("c/_inflight/run.json") or b"")["at"])
    assert list(workspace.list("c/_inflight")) == []
    assert "heartbeat run" not in {thread.name for thread in threading.enumerate()}


def test_a_run_that_was_asleep_does_not_commit(workspace: Workspace, hands: Hands) -> None:
    with Heartbeat(workspace, "c", "run", clock=hands.clock) as beating:
        hands.turn(LEASE)
        beating.check()
        hands.turn(HOUR)
        with pytest.raises(Unavailable, match="asleep or cut off"):
            beating.check()
        beating.beat()
        beating.check()
    assert LEASE < FRESH


def test_a_beat_that_cannot_be_written_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "EVERY", 0.01)
    workspace = LocalWorkspace(tmp_path)
    failed, mended = threading.Event(), threading.Event()
    real = workspace.write

    def write(key: str, data: bytes) -> None:
        if not failed.is_set():
            failed.set()
            raise Unavailable("the disk is gone")
        real(key, data)
        mended.set()

    with Heartbeat(workspace, "c", "run"):
        monkeypatch.setattr(workspace, "write", write)
        assert mended.wait(10)


# --- what is remembered ------------------------------------------------------------------------------------------------------------


def remember(tmp_path: Path, key: str, age: timedelta, size: int = 100) -> None:
    LocalWorkspace(tmp_path).write(key, b"x" * size)
    seconds = (datetime.now(UTC) - age).timestamp()
    os.utime(tmp_path / key, (seconds, seconds))


def test_the_oldest_is_forgotten_first_and_only_above_the_bound(tmp_path: Path) -> None:
    workspace = LocalWorkspace(tmp_path)
    for number in range(1, 6):
        remember(tmp_path, f"_cache/items/{number}.jsonl.zst", number * 2 * DAY)
    assert prune(workspace, bound=500) == []
    assert [entry.key[-11:] for entry in prune(workspace, bound=250, dry_run=True)] == ["5.jsonl.zst", "4.jsonl.zst", "3.jsonl.zst"]
    prune(workspace, bound=250)
    assert [entry.key for entry in workspace.list("_cache")] == ["_cache/items/1.jsonl.zst", "_cache/items/2.jsonl.zst"]


def test_what_is_young_or_belongs_to_a_run_is_not_forgotten(tmp_path: Path, hands: Hands) -> None:
    workspace = LocalWorkspace(tmp_path)
    remember(tmp_path, "_cache/items/young.jsonl.zst", HOUR)
    remember(tmp_path, "_cache/records/old.parquet", 9 * DAY)
    beat(workspace, "run", hands)
    assert prune(workspace, bound=0) == []
    workspace.delete("c/_inflight")
    assert [entry.key for entry in prune(workspace, bound=0)] == ["_cache/records/old.parquet"]


def test_what_kept_snapshots_name_is_not_forgotten(tmp_path: Path, hands: Hands) -> None:
    workspace = LocalWorkspace(tmp_path)
    refs = [
        ItemsRef(uri=workspace.uri_of(f"_cache/items/{number}.jsonl.zst"), sha256=str(number), scenes=1, assets=1) for number in range(5)
    ]
    for number, items in enumerate(refs):
        remember(tmp_path, f"_cache/items/{number}.jsonl.zst", 9 * DAY)
        remember(tmp_path, f"{records_key(items)}.parquet", 9 * DAY)
        remember(tmp_path, f"{records_key(items)}.json", 9 * DAY)
    for run, items in zip("abc", refs, strict=False):
        searched = Searched(dates=Interval(start=None, end=None), closed=True, items=(items,))
        made = replace(draft(run), searched=(searched,), keep_snapshots=2, carried=(refs[3],) if run == "c" else ())
        commit(workspace, "c", numbered(made, latest(workspace, "c")))
    prune(workspace, bound=0)
    assert [entry.key for entry in workspace.list("_cache/items")] == [f"_cache/items/{number}.jsonl.zst" for number in (1, 2, 3)]
    records = {entry.key.partition(".")[0] for entry in workspace.list("_cache/records")}
    assert records == {records_key(refs[2]), records_key(refs[3])}, "records of the newest alone"


def test_searches_of_open_windows_are_forgotten_after_a_week(tmp_path: Path) -> None:
    for days in (5, 9):
        remember(tmp_path, f"_cache/searches/{'a' * 64}.run-{days}.json", days * DAY)
        remember(tmp_path, f"_cache/searches/{days}.json", days * DAY)
    assert [entry.key for entry in prune(LocalWorkspace(tmp_path))] == [f"_cache/searches/{'a' * 64}.run-9.json"]
