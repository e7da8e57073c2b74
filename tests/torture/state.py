"""What stands in a workspace after a disaster, judged by the files alone."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset as ds

from rasterloom.access.versions.commits import Commit, latest, version_key
from rasterloom.access.workspace.files import Workspace
from rasterloom.access.workspace.place import open_workspace
from tests.torture.rows import NAME, generation_of


@dataclass(frozen=True, slots=True)
class State:
    version: int
    """0: nothing was ever committed."""
    generation: int | None


NOTHING = State(0, None)


def state_of(uri: str) -> State:
    """The newest version; AssertionError where it is not whole, byte for byte, or holds no one generation."""
    workspace = open_workspace(uri)
    commit = latest(workspace, NAME)
    if commit is None:
        return NOTHING
    assert_whole(workspace, commit)
    assert_link(workspace)
    return State(commit.version, generation_in(workspace, commit))


def assert_whole(workspace: Workspace, commit: Commit) -> None:
    """Exactly the files of the commit, with exactly its bytes."""
    home = version_key(NAME, commit.dir)
    there = {entry.key.removeprefix(f"{home}/"): entry.size for entry in workspace.list(home)}
    assert there == {file.path: file.size for file in commit.files}, f"version {commit.version} is not what its commit says"
    for file in commit.files:
        data = workspace.read(f"{home}/{file.path}")
        assert data is not None
        assert hashlib.sha256(data).hexdigest() == file.sha256, f"{file.path} of version {commit.version} is corrupt"


def generation_in(workspace: Workspace, commit: Commit) -> int:
    paths = [workspace.path_of(f"{version_key(NAME, commit.dir)}/{file.path}") for file in commit.files]
    table = ds.dataset(paths, filesystem=workspace.filesystem(), format="parquet").to_table()
    assert table["B04_metadata"].null_count == 0, "a header is missing"
    rows = dict(zip(table["id"].to_pylist(), table["generation"].to_pylist(), strict=True))
    assert len(rows) == table.num_rows == commit.rows
    generation = generation_of(rows)
    assert generation is not None, f"version {commit.version} is a mix or a part: {rows}"
    return generation


def assert_link(workspace: Workspace) -> None:
    """The link for Rasteret, where there is one, leads to a version directory that exists."""
    link = workspace.local_path(f"{NAME}_stac")
    if link is not None and os.path.lexists(link):
        assert Path(os.path.realpath(link)).is_dir(), f"{link} leads nowhere"
