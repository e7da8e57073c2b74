"""When a collection was last looked at, and what its freshness is judged by."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from rasterloom.access.versions.commits import Commit, commit, latest, numbered
from rasterloom.access.versions.looks import freshness_of, look_key, note_failure, note_look, read_look
from rasterloom.access.versions.opening import collections_in
from rasterloom.access.workspace.bucket import BucketWorkspace
from rasterloom.access.workspace.disk import LocalWorkspace
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import Unavailable
from rasterloom.specs.freshness import Freshness
from rasterloom.specs.sections import FreshnessSpec
from tests.access.test_commits import HASTY, draft

BUILT = datetime(2024, 7, 1, tzinfo=UTC)
DAY = timedelta(days=1)
LIMITS = FreshnessSpec(warn_after="P3D", error_after="P7D")
SPEC = {"freshness": {"warn_after": "P3D", "error_after": "P7D"}}
OPEN = {"dates": {"start": "2024-06-01T00:00:00+00:00", "end": None}}


@pytest.fixture(params=["disk", "bucket"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    return LocalWorkspace(tmp_path / "ws") if request.param == "disk" else BucketWorkspace(MemoryStore(), "s3://bucket/ws")


def built(workspace: Workspace, *, ended: datetime = BUILT, spec: dict[str, Any] = SPEC, **more: Any) -> Commit:
    made = replace(draft("r"), question=OPEN, spec=spec, ended=ended, newest=BUILT - DAY, **more)
    return commit(workspace, "c", numbered(made, latest(workspace, "c")), clock=HASTY)


def judged(workspace: Workspace, days: float, limits: FreshnessSpec | None = None) -> Freshness | None:
    newest = latest(workspace, "c")
    assert newest is not None
    return freshness_of(workspace, "c", newest, now=BUILT + days * DAY, limits=limits)


def state(workspace: Workspace, days: float) -> tuple[str, str]:
    found = judged(workspace, days)
    assert found is not None
    return found.state, found.cause


def test_a_run_that_found_nothing_to_do_leaves_a_mark(workspace: Workspace) -> None:
    built(workspace)
    assert state(workspace, 5) == ("warn", "pipeline")
    note_look(workspace, "c", at=BUILT + 4 * DAY, limits=LIMITS)
    assert state(workspace, 5) == ("warn", "source")
    assert state(workspace, 8) == ("error", "pipeline")


def test_a_failed_run_keeps_when_one_looked_well(workspace: Workspace) -> None:
    built(workspace)
    note_look(workspace, "c", at=BUILT + 4 * DAY, limits=LIMITS)
    note_failure(workspace, "c", Unavailable("503 of https://h/?sig=v3ry-s3cret"), at=BUILT + 5 * DAY, limits=LIMITS)
    found = judged(workspace, 5.5)
    assert found is not None
    assert (found.looked, found.cause) == (BUILT + 4 * DAY, "pipeline")
    assert "503" in found.message
    assert b"s3cret" not in (workspace.read(look_key("c")) or b"")
    note_look(workspace, "c", at=BUILT + 6 * DAY, limits=LIMITS)
    assert state(workspace, 6) == ("error", "source")


def test_a_rollback_is_no_look_at_the_source(workspace: Workspace) -> None:
    built(workspace)
    built(workspace, ended=BUILT + 4 * DAY, rollback_of=1)
    built(workspace, ended=BUILT + 5 * DAY, rollback_of=1)
    assert state(workspace, 5.5) == ("warn", "pipeline")


def test_the_bounds_are_those_of_the_last_run(workspace: Workspace) -> None:
    built(workspace, spec={})
    assert judged(workspace, 30) is None
    note_look(workspace, "c", at=BUILT + DAY, limits=LIMITS)
    assert state(workspace, 3) == ("warn", "source")
    built(workspace, spec={}, ended=BUILT + 2 * DAY)
    assert judged(workspace, 30) is None, "a commit of a spec without bounds is newer"
    assert judged(workspace, 3, LIMITS) is not None, "a run judges by its own"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"looked": 3}', b'{"looked": "yesterday"}', b"\xff", b'{"freshness": {"odd": 1}}'])
def test_a_damaged_mark_is_none(workspace: Workspace, data: bytes) -> None:
    built(workspace)
    workspace.write(look_key("c"), data)
    assert state(workspace, 5) == ("warn", "pipeline")
    note_look(workspace, "c", at=BUILT + 4 * DAY, limits=LIMITS)
    assert read_look(workspace, "c").looked == BUILT + 4 * DAY


def test_a_commit_of_a_time_before_its_newest_scene_was_written_down_is_not_judged(workspace: Workspace) -> None:
    made = replace(draft("r"), question=OPEN, spec=SPEC, ended=BUILT)
    commit(workspace, "c", numbered(made, None), clock=HASTY)
    assert judged(workspace, 30) is None


def test_a_listing_has_it(tmp_path: Path) -> None:
    built(LocalWorkspace(tmp_path))
    (found,) = collections_in(str(tmp_path))
    assert found.freshness is not None
    assert (found.freshness.state, found.freshness.cause) == ("error", "pipeline")
