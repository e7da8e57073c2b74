"""Damages of every kind to a collection of three snapshots: `verify` finds each of them, and nothing where there is nothing."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from rasterloom.access.building.publish import publish
from rasterloom.access.values import Failure
from rasterloom.access.versions.commits import latest
from rasterloom.access.versions.snapshots import rollback
from rasterloom.access.versions.verify import Report, repair, verify
from rasterloom.access.workspace.bucket import BucketWorkspace
from rasterloom.access.workspace.disk import LocalWorkspace
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import SpecError
from tests.access.building import job, opened, question, scene, searched, staged

FAILED = Failure(stage="header", reason="missing", message="404", item_id="x", band="B02", href="https://h/x.tif")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three snapshots, the last with failures, the current one rolled back to the second."""
    place = tmp_path_factory.mktemp("verify")
    for number in range(3):
        bands = ("B02", "B03")[: 1 + number % 2]
        asked = question(bands)
        scenes = [scene(each, bands=bands) for each in range(0, 8000, 400 >> number)]
        one = job(place, asked=asked, run_id=f"run-{number}")
        failures = (FAILED,) if number == 2 else ()
        publish(one, [searched(scenes)], staged(opened(one), scenes, failures=failures, width=512, tile=256))
    rollback(LocalWorkspace(place), "s2", 2)
    repair(LocalWorkspace(place), "s2")
    shutil.rmtree(place / "_cache")
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(made, tmp_path / "ws", symlinks=True)
    return tmp_path / "ws"


def files(place: Path) -> list[Path]:
    return sorted(path for path in (place / "s2").rglob("*") if path.is_file())


def test_a_whole_collection_has_no_findings(place: Path) -> None:
    before = {path: path.read_bytes() for path in files(place)}
    report = verify(LocalWorkspace(place), "s2")
    assert report.findings == []
    assert (report.snapshots, report.files, report.is_damaged) == ([4, 3, 1], 6, False)
    assert report.bytes == sum(path.stat().st_size for path in files(place) if "_versions" in str(path))
    assert {path: path.read_bytes() for path in files(place)} == before


def test_the_same_in_a_bucket(made: Path) -> None:
    workspace = bucket(made)
    assert verify(workspace, "s2").findings == []
    (victim, *_) = [entry.key for entry in workspace.list("s2/_versions")]
    data = workspace.read(victim) or b""
    workspace.write(victim, data[:-100] + b"x" + data[-99:])
    assert [(finding.kind, finding.path) for finding in verify(workspace, "s2").findings] == [("changed", victim)]


def bucket(made: Path) -> Workspace:
    workspace = BucketWorkspace(MemoryStore(), "s3://bucket/ws")
    for path in files(made):
        workspace.write(path.relative_to(made).as_posix(), path.read_bytes())
    return workspace


@dataclass(frozen=True)
class Damage:
    what: str
    path: Path

    def undo(self, data: bytes) -> None:
        """Put back what stood at `path`; nothing where the damage made it."""
        if self.what == "extra":
            self.path.unlink()
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(data)


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(data))


def cut(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def garble(path: Path, rng: random.Random) -> None:
    """A page of zeros, as a disk leaves it that lost power; never over zeros alone."""
    data = bytearray(path.read_bytes())
    start = rng.randrange(len(data))
    end = min(len(data), start + 512)
    data[start:end] = bytes(end - start) if any(data[start:end]) else b"\xff" * (end - start)
    path.write_bytes(bytes(data))


def missing(path: Path, rng: random.Random) -> None:
    path.unlink()


KINDS: list[Callable[[Path, random.Random], None]] = [flip, cut, garble, missing]


def damage(place: Path, rng: random.Random) -> tuple[Damage, bytes]:
    """One random damage to one random file, or one file too many; and what stood there before."""
    victim = rng.choice(files(place))
    if rng.random() < 0.2:
        extra = victim.with_name(
            rng.choice(["part-x.parquet", "part-run-1-0.parquet#1", ".hidden", "notes.txt", f"{rng.getrandbits(32)}.json"])
        )
        shutil.copy(victim, extra)
        return Damage("extra", extra), b""
    data = victim.read_bytes()
    kind = rng.choice(KINDS)
    kind(victim, rng)
    return Damage(kind.__name__, victim), data


def found(place: Path, done: Damage) -> Report:
    report = verify(LocalWorkspace(place), "s2")
    named = {finding.path for finding in report.findings}
    assert done.path.relative_to(place).as_posix() in named, (done, report.findings)
    return report


@pytest.mark.parametrize("seed", range(5))
def test_random_damages_are_found(place: Path, seed: int) -> None:
    assert damages_found(place, random.Random(seed), 40) == 40


@pytest.mark.slow
def test_a_thousand_of_a_thousand_damages_are_found(place: Path) -> None:
    assert damages_found(place, random.Random(1000), 1000) == 1000


def damages_found(place: Path, rng: random.Random, number: int) -> int:
    count = 0
    for _ in range(number):
        done, before = damage(place, rng)
        report = found(place, done)
        in_data = "_versions" in str(done.path) or (done.what != "extra" and "_commits" in str(done.path))
        assert report.is_damaged or not in_data, "what changes the answer to a reader is never called harmless"
        done.undo(before)
        count += 1
    assert verify(LocalWorkspace(place), "s2").findings == []
    return count


def kinds(place: Path) -> list[tuple[str, bool]]:
    return sorted({(finding.kind, finding.harmless) for finding in verify(LocalWorkspace(place), "s2").findings})


def test_a_version_that_is_gone_is_told_file_by_file(place: Path) -> None:
    shutil.rmtree(place / "s2/_versions/run-1")
    report = verify(LocalWorkspace(place), "s2")
    assert [finding.kind for finding in report.findings] == ["missing", "missing"]


def test_a_log_with_a_hole_is_told(place: Path) -> None:
    (place / "s2/_commits/00000000000000000002.json").unlink()
    assert kinds(place) == [("missing", False)]


def test_the_newest_commit_that_is_gone_is_told_by_the_hint(place: Path) -> None:
    (place / "s2/_commits/00000000000000000004.json").unlink()
    assert ("missing", False) in kinds(place)


def test_a_commit_under_another_number_breaks_the_chain(place: Path) -> None:
    shutil.copy(place / "s2/_commits/00000000000000000002.json", place / "s2/_commits/00000000000000000005.json")
    assert ("chain", False) in kinds(place)


def test_a_data_file_that_is_a_link_is_told(place: Path, tmp_path: Path) -> None:
    victim = next((place / "s2/_versions/run-1").rglob("*.parquet"))
    victim.rename(tmp_path / "elsewhere.parquet")
    victim.symlink_to(tmp_path / "elsewhere.parquet")
    assert kinds(place) == [("changed", False)]


def test_a_folder_that_is_a_link_is_told(place: Path, tmp_path: Path) -> None:
    """pyarrow would walk into it and read its rows."""
    (place / "s2/_versions/run-1/year=2025").symlink_to(tmp_path, target_is_directory=True)
    assert kinds(place) == [("extra", False)]


def test_what_a_kill_leaves_is_harmless(place: Path) -> None:
    for left in ("_versions/killed/part.parquet", "_inflight/killed.json", "_commits/.5.json.0a.tmp", "_failures/killed.parquet"):
        (place / "s2" / left).parent.mkdir(parents=True, exist_ok=True)
        (place / "s2" / left).write_bytes(b"x")
    (place / "s2/_latest.json").unlink()
    (place / "s2_stac").unlink()
    (place / "s2_stac").symlink_to("s2/_versions/run-0")
    assert kinds(place) == [("hint", True), ("leftover", True), ("link", True), ("unfinished", True)]


def test_repair_writes_hint_and_link_and_nothing_else(place: Path) -> None:
    before = {path: path.read_bytes() for path in files(place)}
    for content in (b"", b'{"version": 1}', None):
        (place / "s2/_latest.json").unlink() if content is None else (place / "s2/_latest.json").write_bytes(content)
        (place / "s2_stac").unlink()
        (place / "s2_stac").symlink_to("s2/_versions/run-0")
        repair(LocalWorkspace(place), "s2")
        assert {path: path.read_bytes() for path in files(place)} == before
        assert verify(LocalWorkspace(place), "s2").findings == []


def test_a_version_that_is_no_longer_kept_may_be_gone_in_part(place: Path) -> None:
    """Three versions, of which the newest commit keeps ten: so nothing may be gone; with one kept, all but the newest may."""
    workspace = LocalWorkspace(place)
    newest = latest(workspace, "s2")
    assert newest is not None
    one = job(place, run_id="run-3")
    scenes = [scene(each) for each in range(0, 8000, 200)]
    publish(
        replace(one, effort=replace(one.effort, keep_snapshots=1)), [searched(scenes)], staged(opened(one), scenes, width=512, tile=256)
    )
    assert kinds(place) == []
    next((place / "s2/_versions/run-0").rglob("*.parquet")).unlink()
    shutil.rmtree(place / "s2/_versions/run-2")
    assert kinds(place) == [("leftover", True)]


@pytest.mark.parametrize("name", ["nothing", "..", "", "s2_stac"])
def test_what_is_no_collection_is_told(place: Path, name: str) -> None:
    with pytest.raises(SpecError):
        verify(LocalWorkspace(place), name)
