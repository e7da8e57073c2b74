"""`output` of a read: whoever reads the place while it changes has one output or the other, on disks and in object stores."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr
from obstore.store import S3Store

from rasterloom.access.reads import mirror as mirrors
from rasterloom.access.reads.mirror import LATEST, NOTE, check_mirror, data_at, mirror
from rasterloom.access.reads.outputs import OutputRef, latest_output, output_key
from rasterloom.access.workspace.clock import SYSTEM
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import SpecError
from tests.access.reading import read
from tests.access.world import BANDS, World

STACK: dict[str, Any] = {"kind": "stack", "bands": list(BANDS), "area": [15.0, 45.14, 15.02, 45.15]}


@pytest.fixture
def built(world: World) -> World:
    world.run(world.job("build-1"))
    return world


def stack(world: World, run_id: str = "r1", **changes: Any) -> OutputRef:
    return read(str(world.workspace), STACK | changes, run_id=run_id)


def seen(to: str) -> dict[str, str]:
    """Path -> digest of what a reader finds who follows the note."""
    place = open_workspace(to)
    note = json.loads(place.read(NOTE) or b"{}")
    if not note.get("output"):
        return {}
    data = {file: place.read(file) for file in note["files"]}
    assert any(file.startswith(note["data"]) for file in data)
    return {file.partition("/")[2]: hashlib.sha256(found or b"").hexdigest() for file, found in data.items()}


def held(world: World) -> dict[str, str]:
    """The same of the newest output in the workspace."""
    commit = latest_output(open_workspace(str(world.workspace)), "s2", "it")
    assert commit is not None
    return {file.path: file.sha256 for file in commit.files}


class Later:
    def __init__(self, days: float) -> None:
        self._days = days

    def now(self) -> Any:
        return SYSTEM.now() + timedelta(days=self._days)


def test_a_place_is_kept_equal_to_the_newest_output(built: World, tmp_path: Path) -> None:
    to, workspace = tmp_path / "shared" / "cube", str(built.workspace)
    first = stack(built)
    assert mirror(workspace, first, str(to)) is True
    assert mirror(workspace, first, str(to)) is False
    before = (to / LATEST).resolve()
    second = stack(built, "r2", bands=["B08"])
    assert mirror(workspace, second, str(to)) is True
    after = (to / LATEST).resolve()
    assert Path(data_at(str(to), second)) == after / "stack.zarr"
    assert {path.name for path in to.iterdir()} == {NOTE, LATEST, before.name, after.name}
    with xarray.open_zarr(before / "stack.zarr") as old, xarray.open_zarr(to / LATEST / "stack.zarr") as new:
        assert (list(old.data_vars), list(new.data_vars)) == (list(BANDS), ["B08"])
        assert old.B04.notnull().all(), "who opened it before can go on"
    commit = latest_output(open_workspace(workspace), "s2", "it")
    assert commit is not None
    ours = built.workspace / output_key(commit) / "picture.png"
    assert (after / "picture.png").stat().st_ino != ours.stat().st_ino, "a user may write to it"
    assert mirror(workspace, second, str(to), clock=Later(0.9)) is False
    assert before.exists()
    assert mirror(workspace, second, str(to), clock=Later(1.1)) is False
    assert {path.name for path in to.iterdir()} == {NOTE, LATEST, after.name}
    (after / "picture.png").write_bytes(b"")
    assert mirror(workspace, second, str(to)) is True, "a file that is not whole is brought again"
    assert seen(str(to)) == held(built)


def test_a_place_that_holds_something_else_is_refused(built: World, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(SpecError, match="holds something"):
        check_mirror(str(tmp_path / "mine"), "s2", "it")
    made = stack(built)
    mirror(str(built.workspace), made, str(tmp_path / "cube"))
    with pytest.raises(SpecError, match=r"is the output of s2\.it"):
        check_mirror(str(tmp_path / "cube"), "s2", "other")


class Killed(BaseException):
    """As sudden as a signal."""


def changed_under_a_reader(world: World, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader looks after each file that is written; then runs die after so many files, the very first one too."""
    workspace, upload = str(world.workspace), mirrors.upload
    views: list[dict[str, str]] = []

    def looked(*args: Any) -> None:
        upload(*args)
        views.append(seen(to))

    def dies(*args: Any) -> None:
        upload(*args)
        raise Killed

    first = stack(world)
    monkeypatch.setattr(mirrors, "upload", dies)
    with pytest.raises(Killed):
        mirror(workspace, first, to)
    assert seen(to) == {}
    monkeypatch.setattr(mirrors, "upload", looked)
    assert mirror(workspace, first, to) is True
    one = seen(to)
    assert one == held(world)
    assert len(views) == len(one)
    assert all(not view for view in views), "there was none yet"
    views.clear()
    second = stack(world, "r2", bands=["B08"], resolution=20)
    monkeypatch.setattr(mirrors, "upload", dies)
    with pytest.raises(Killed):
        mirror(workspace, second, to)
    assert seen(to) == one
    monkeypatch.setattr(mirrors, "upload", looked)
    assert mirror(workspace, second, to) is True
    assert len(views) == len(held(world))
    assert all(view == one for view in views)
    assert seen(to) == held(world) != one
    monkeypatch.setattr(mirrors, "upload", upload)


def test_a_reader_of_a_directory_has_one_or_the_other(built: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed_under_a_reader(built, str(tmp_path / "cube"), monkeypatch)


@pytest.mark.slow
def test_a_reader_of_a_bucket_has_one_or_the_other(built: World, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changed_under_a_reader(built, f"{bucket}/cube", monkeypatch)
    note = json.loads(open_workspace(f"{bucket}/cube").read(NOTE) or b"")
    store = zarr.storage.ObjectStore(S3Store("shelf", prefix=f"ws/cube/{note['data']}", client_options={"allow_http": True}))
    with xarray.open_zarr(store) as data, xarray.open_zarr(stack(built, "r3", bands=["B08"], resolution=20).data) as wanted:
        assert np.array_equal(data.B08.values, wanted.B08.values)
