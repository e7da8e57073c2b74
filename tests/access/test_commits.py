"""The commit log under races, lost answers and kills."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore

from rasterloom.access.values import Traffic
from rasterloom.access.versions.commits import (
    Commit,
    Conflict,
    Counts,
    Overtaken,
    commit,
    commit_key,
    encoded,
    latest,
    numbered,
    read_commit,
    sealed,
)
from rasterloom.access.workspace.bucket import BucketWorkspace
from rasterloom.access.workspace.clock import Clock
from rasterloom.access.workspace.disk import LocalWorkspace
from rasterloom.access.workspace.files import Occupied, Workspace
from rasterloom.errors import SpecError, Unavailable

NOW = datetime(2024, 6, 1, tzinfo=UTC)
HASTY = Clock(now=lambda: NOW, sleep=lambda _: None, jitter=lambda low, _: low)
"""Waits for nothing."""


def draft(run_id: str, *, fingerprint: str = "f", input_digest: str = "i") -> Commit:
    return Commit(
        version=0,
        parent=0,
        run_id=run_id,
        dir=run_id,
        files=(),
        rows=0,
        fingerprint=fingerprint,
        question={},
        spec={},
        counts=Counts(),
        traffic=Traffic(),
        software={},
        started=NOW,
        ended=NOW,
        closed=True,
        failures=None,
        input_digest=input_digest,
    )


def append(workspace: Workspace, run_id: str, **fields: str) -> Commit:
    return commit(workspace, "c", numbered(draft(run_id, **fields), latest(workspace, "c")), clock=HASTY)  # type: ignore[arg-type]


@pytest.fixture(params=["disk", "bucket"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    return LocalWorkspace(tmp_path / "ws") if request.param == "disk" else BucketWorkspace(MemoryStore(), "s3://bucket/ws")


def test_versions_follow_each_other(workspace: Workspace) -> None:
    assert latest(workspace, "c") is None
    made = [append(workspace, f"run-{number}") for number in range(3)]
    assert [(entry.version, entry.parent) for entry in made] == [(1, 0), (2, 1), (3, 2)]
    assert latest(workspace, "c") == made[-1]
    assert read_commit(workspace, "c", 2) == made[1]
    assert [entry.key for entry in workspace.list("c/_commits")] == [commit_key("c", number) for number in (1, 2, 3)]


@pytest.mark.parametrize(
    "hint", [None, b"", b"{}", b'{"version": "x"}', b'{"version": 1}', b'{"version": 99}', b'{"version": -1}', b"[1]", b"\xff"]
)
def test_a_hint_is_never_believed_unseen(workspace: Workspace, hint: bytes | None) -> None:
    made = [append(workspace, f"run-{number}") for number in range(3)]
    if hint is None:
        workspace.delete("c/_latest.json")
    else:
        workspace.write("c/_latest.json", hint)
    assert latest(workspace, "c") == made[-1]


def test_a_rival_with_the_same_answer_is_as_good(workspace: Workspace) -> None:
    parent = latest(workspace, "c")
    mine, theirs = numbered(draft("mine"), parent), numbered(draft("theirs"), parent)
    won = commit(workspace, "c", theirs)
    assert commit(workspace, "c", mine) == won


def test_a_rival_with_another_answer_is_a_conflict(workspace: Workspace) -> None:
    parent = latest(workspace, "c")
    won = commit(workspace, "c", numbered(draft("theirs", fingerprint="other"), parent))
    with pytest.raises(Conflict, match="theirs") as caught:
        commit(workspace, "c", numbered(draft("mine"), parent))
    assert caught.value.remedy
    assert latest(workspace, "c") == won


def test_a_rival_with_the_same_question_and_other_scenes_is_built_upon(workspace: Workspace) -> None:
    won = append(workspace, "theirs", input_digest="more")
    with pytest.raises(Overtaken, match="theirs") as caught:
        commit(workspace, "c", numbered(draft("mine"), None))
    assert caught.value.winner == won
    again = commit(workspace, "c", numbered(draft("mine"), caught.value.winner))
    assert (again.version, again.run_id) == (2, "mine")


def test_builders_at_once_lose_no_commit(workspace: Workspace) -> None:
    def build(number: int) -> list[str]:
        done: list[str] = []
        while len(done) < 5:
            run = f"{number}-{len(done)}-{random.random()}"
            try:
                done.append(append(workspace, run, fingerprint=run).dir)
            except Conflict:
                continue
        return done

    with ThreadPoolExecutor(4) as pool:
        acknowledged = [run for runs in pool.map(build, range(4)) for run in runs]
    newest = latest(workspace, "c")
    assert newest is not None
    kept = [read_commit(workspace, "c", version) for version in range(1, newest.version + 1)]
    assert sorted(acknowledged) == sorted(entry.dir for entry in kept if entry)


class Flaky(BucketWorkspace):
    """A store whose create misbehaves as measured: the answer is lost, or it says `taken`, with or without having stored."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(MemoryStore(), "s3://bucket/ws")
        self.faults = faults

    def create(self, key: str, data: bytes) -> None:
        fault = self.faults.pop(0) if self.faults else "none"
        if fault != "not stored, taken" and fault != "not stored, reset":
            super().create(key, data)
        if fault.endswith("taken"):
            raise Occupied(key)
        if fault.endswith("reset"):
            raise Unavailable("connection reset")


FAULTS = ["none", "stored, taken", "stored, reset", "not stored, taken", "not stored, reset"]


@given(faults=st.lists(st.sampled_from(FAULTS), max_size=4))
def test_every_lost_answer_is_read_back(faults: list[str]) -> None:
    workspace = Flaky(list(faults))
    first = append(workspace, "one")
    second = append(workspace, "two", fingerprint="g")
    assert [first.dir, second.dir, second.version] == ["one", "two", 2]
    assert latest(workspace, "c") == second


def test_a_store_that_never_stores_is_an_error() -> None:
    with pytest.raises(Unavailable, match="could not be written"):
        append(Flaky(["not stored, reset"] * 20), "one")


def test_a_hint_that_cannot_be_written_fails_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    append(workspace, "one")

    def full(key: str, data: bytes) -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(workspace, "write", full)
    assert append(workspace, "two", fingerprint="g").version == 2
    assert (latest(workspace, "c") or draft("none")).run_id == "two"


def test_a_broken_commit_file_is_told(workspace: Workspace) -> None:
    append(workspace, "one")
    workspace.write(commit_key("c", 1), json.dumps({"version": 1}).encode())
    with pytest.raises(Unavailable, match="is not a commit"):
        latest(workspace, "c")


def test_keys_of_a_newer_version_are_no_obstacle(workspace: Workspace) -> None:
    made = append(workspace, "one")
    data = workspace.read(commit_key("c", 1))
    assert data is not None
    workspace.write(commit_key("c", 1), sealed({**json.loads(data), "colour": "red"}))
    assert latest(workspace, "c") == made


@pytest.mark.parametrize("name", ["..", "a/b", "", "_commits", ".hidden", "a b", "x" * 200])
def test_a_name_is_no_path(workspace: Workspace, name: str) -> None:
    with pytest.raises(SpecError):
        latest(workspace, name)


KILLED_AT = ["before", "after"]


@pytest.mark.parametrize("when", KILLED_AT)
def test_a_kill_around_the_commit_leaves_a_whole_log(tmp_path: Path, when: str) -> None:
    """SIGKILL right before, or right after, the link that is the commit."""
    workspace = LocalWorkspace(tmp_path)
    append(workspace, "old")
    script = (
        "import os, sys; from pathlib import Path; from rasterloom.access.workspace import disk\n"
        "real = os.link\n"
        "def link(a, b):\n"
        "    if sys.argv[2] == 'after': real(a, b)\n"
        "    os.kill(os.getpid(), 9)\n"
        "disk.os.link = link\n"
        "disk.LocalWorkspace(Path(sys.argv[1])).create('c/_commits/%020d.json' % 2, Path(sys.argv[3]).read_bytes())\n"
    )
    body = tmp_path / "body.json"
    parent = latest(workspace, "c")
    body.write_bytes(encoded(numbered(draft("new"), parent)))
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path), when, str(body)], check=False).returncode == -9
    newest = latest(workspace, "c")
    assert newest is not None
    assert newest.dir == ("old" if when == "before" else "new")
    assert append(workspace, "next").version == newest.version + 1


@pytest.mark.parametrize("at", range(0, 1200, 29))
def test_any_changed_byte_of_a_commit_is_found(at: int) -> None:
    workspace = BucketWorkspace(MemoryStore(), "s3://bucket/ws")
    append(workspace, "one")
    data = bytearray(workspace.read(commit_key("c", 1)) or b"")
    data[at % len(data)] ^= 1 << at % 8
    workspace.write(commit_key("c", 1), bytes(data))
    with pytest.raises(Unavailable, match="is damaged"):
        latest(workspace, "c")


def test_a_commit_is_its_own_by_its_directory(workspace: Workspace) -> None:
    """Two attempts of one run are two rivals: only the directory that was committed counts."""
    parent = latest(workspace, "c")
    first = commit(workspace, "c", numbered(draft("run"), parent))
    again = replace(numbered(draft("run", fingerprint="g"), parent), dir="run-2")
    with pytest.raises(Conflict):
        commit(workspace, "c", again)
    assert latest(workspace, "c") == first
