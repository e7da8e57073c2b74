"""Copying a view of a collection elsewhere, as a plain directory that anybody's reader opens."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa

from rasterloom.access.stactable import METADATA, stac_items, stac_schema
from rasterloom.access.versions.commits import COMMITS, VERSIONS
from rasterloom.access.versions.version import VersionWriter
from rasterloom.access.workspace.clock import SYSTEM, Clock
from rasterloom.access.workspace.disk import LocalWorkspace, disk_errors
from rasterloom.access.workspace.files import Workspace
from rasterloom.access.workspace.place import is_remote, local_path, open_workspace
from rasterloom.errors import AccessDenied, SpecError

_HIVE = ("year", "month")
_MARK = "export"
_ABANDONED = timedelta(days=1)
"""Files that no note names, and that are so old, are of no copy that is under way."""
_OWN_KEYS = {"geo", "ARROW:schema"}
"""Metadata that are made anew for each file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What is to be written."""

    schema: pa.Schema
    metadata: Mapping[str, str]
    batches: Iterable[pa.RecordBatch]
    """Rows of `schema`; taken once."""
    partition_by: tuple[str, ...] = ("year", "month")


def copy_as(form: str, schema: pa.Schema, metadata: Mapping[str, str], batches: Iterable[pa.RecordBatch]) -> Copy:
    """The rows of a collection as `collection`, or as `stac-geoparquet`: STAC items, without the headers. Raises SpecError."""
    if form == "collection":
        return Copy(schema=schema, metadata=metadata, batches=batches)
    if form == "stac-geoparquet":
        return Copy(schema=stac_schema(schema), metadata=METADATA, batches=stac_items(batches, schema), partition_by=())
    raise SpecError(f"export format {form!r} is not known", remedy="use collection or stac-geoparquet")


def export_collection(copy: Copy, target: str) -> str:
    """Write a copy to `target`, whole or not at all on a local disk; returns its URI.

    On an object store the files appear one by one; what was written is deleted when it fails. Raises SpecError for a target
    that is not empty or that lies inside a stored collection.
    """
    if is_remote(target):
        return _export_remote(copy, target.rstrip("/"))
    path = local_path(target).expanduser().resolve()
    with disk_errors(path):
        refuse_inside(path)
        is_taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if is_taken:
        raise SpecError(f"{path} is not empty", remedy="export to a new or empty directory")
    swap_in(copy, path)
    return str(path.resolve())


def swap_in(copy: Copy, path: Path, *, note: Note | None = None) -> None:
    """Write a directory elsewhere and give it the name `path`; what had that name before goes.

    Between the two renames there is nothing of that name for an instant, never a mixture: a reader that is opening it tries again.
    """

    def write(workspace: LocalWorkspace, home: str) -> None:
        files = _write(copy, workspace, home, "export")
        if note is not None:
            workspace.write(f"{home}/{note.name}", note.text(files))

    swap_directory(write, path)


def swap_directory(write: Callable[[LocalWorkspace, str], None], path: Path) -> None:
    """As `swap_in`, of whatever `write` puts below a key of the directory above `path`."""
    staging, aside = (path.with_name(f".{path.name}.{uuid.uuid4().hex}.{end}") for end in ("tmp", "old"))
    workspace = LocalWorkspace(path.parent)
    try:
        write(workspace, staging.name)
        workspace.sync(staging.name)
        with disk_errors(path):
            _rename(staging, path, aside)
            workspace.sync(path.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


def _rename(staging: Path, path: Path, aside: Path) -> None:
    if not path.exists() or not any(path.iterdir()):
        staging.replace(path)
        return
    path.rename(aside)
    try:
        staging.rename(path)
    except OSError:
        aside.rename(path)
        raise


def put_beside(copy: Copy, workspace: Workspace, home: str, old: Sequence[str], note: Note, *, clock: Clock = SYSTEM) -> None:
    """Write new files below `home` of an object store, then the note that names them, then delete the `old` ones, and what a copy that
    was killed has left there: a plain reader would take its rows for ours."""
    token = f"{_MARK}-{uuid.uuid4().hex[:8]}"
    if workspace.size(f"{home}/{note.name}") is None:
        workspace.write(
            f"{home}/{note.name}", replace(note, facts={**note.facts, "snapshot": ""}).text([])
        )  # from here on the place is taken
    try:
        files = _write(copy, workspace, home, token)
        workspace.write(f"{home}/{note.name}", note.text(files))
    except BaseException:
        workspace.delete_files([entry.key for entry in workspace.list(home) if f"part-{token}-" in entry.key])
        raise
    named = {f"{home}/{file}" for file in files}
    others = [entry for entry in workspace.list(home) if f"part-{_MARK}-" in entry.key and entry.key not in named]
    left = [entry.key for entry in others if clock.now() - entry.modified >= _ABANDONED]
    workspace.delete_files([*(f"{home}/{file}" for file in old), *left])


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A file beside the data files that says what they are; its name begins with `_`, so that no reader takes it for data."""

    name: str
    facts: Mapping[str, str]

    def text(self, files: Sequence[str]) -> bytes:
        return json.dumps({**self.facts, "files": list(files)}, indent=1).encode()


def refuse_inside(path: Path) -> None:
    """Raises SpecError where a path leads, links followed, into a collection's home: its versions are never changed."""
    resolved = path.resolve()
    for folder in (resolved, *resolved.parents):
        if folder.name == VERSIONS or (folder / COMMITS).is_dir():
            raise SpecError(
                f"{path} is inside the stored collection {folder}", remedy="export to a directory outside of the workspace's collections"
            )


def _export_remote(copy: Copy, target: str) -> str:
    root, _, name = target.rpartition("/")
    if not name or root.endswith(":/"):
        raise SpecError(f"{target} is no place for an export", remedy="give a prefix below a bucket")
    refuse_prefix_inside(target)
    workspace = open_workspace(root)
    if next(iter(workspace.list(name)), None) is not None:
        raise SpecError(f"{target} is not empty", remedy="export to a new or empty prefix")
    try:
        _write(copy, workspace, name, "export")
    except BaseException:
        workspace.delete(name)
        raise
    return target


def refuse_prefix_inside(target: str) -> None:
    """As `refuse_inside`, for every prefix of `target` from its bucket down."""
    scheme, _, path = target.partition("://")
    parts = path.split("/")
    for end in range(1, len(parts) + 1):
        prefix = f"{scheme}://{'/'.join(parts[:end])}"
        if parts[end - 1] == VERSIONS or COMMITS in _folders(prefix):
            raise SpecError(
                f"{target} is inside the stored collection {prefix}", remedy="export to a prefix outside of the workspace's collections"
            )


def _folders(prefix: str) -> list[str]:
    """None where they may not be listed: rights to a bucket are often for a prefix of it alone."""
    try:
        return open_workspace(prefix).children()
    except AccessDenied:
        return []


def _write(copy: Copy, workspace: Workspace, home: str, token: str) -> list[str]:
    """Paths of the files below `home`."""
    stored = pa.schema([field for field in copy.schema if field.name not in _HIVE])
    kept = {key: value for key, value in copy.metadata.items() if key not in _OWN_KEYS}
    with VersionWriter(workspace, home, token, schema=stored, metadata=kept, partition_by=copy.partition_by) as writer:
        for batch in copy.batches:
            writer.add(pa.table(batch).select(stored.names))
    if not writer.files:
        raise SpecError("there is no scene to export", remedy="widen the view: an empty collection is never written")
    return [file.path for file in writer.files]
