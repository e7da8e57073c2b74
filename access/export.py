"""Copying a view of a collection elsewhere, as a plain directory that anybody's reader opens."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from rasterloom.access.commits import COMMITS, VERSIONS
from rasterloom.access.disk import LocalWorkspace, disk_errors
from rasterloom.access.files import Workspace
from rasterloom.access.version import VersionWriter
from rasterloom.access.workspace import is_remote, open_workspace
from rasterloom.errors import AccessDenied, SpecError

_HIVE = ("year", "month")
_OWN_KEYS = {"geo", "ARROW:schema"}
"""Metadata that are made anew for each file."""


def export_collection(batches: Iterable[pa.RecordBatch], schema: pa.Schema, metadata: Mapping[str, str], target: str) -> str:
    """Write rows of `schema` to `target`, whole or not at all on a local disk; returns its URI.

    On an object store the files appear one by one; what was written is deleted when it fails. Raises SpecError for a target
    that is not empty or that lies inside a stored collection.
    """
    if is_remote(target):
        return _export_remote(batches, schema, metadata, target.rstrip("/"))
    path = Path(target.removeprefix("file://")).expanduser().resolve()
    with disk_errors(path):
        refuse_inside(path)
        is_taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if is_taken:
        raise SpecError(f"{path} is not empty", remedy="export to a new or empty directory")
    staging = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    workspace = LocalWorkspace(path.parent)
    try:
        _write(batches, schema, metadata, workspace, staging.name)
        workspace.sync(staging.name)
        with disk_errors(path):
            staging.replace(path)
            workspace.sync(path.name)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return str(path.resolve())


def refuse_inside(path: Path) -> None:
    """Raises SpecError where a path leads, links followed, into a collection's home: its versions are never changed."""
    resolved = path.resolve()
    for folder in (resolved, *resolved.parents):
        if folder.name == VERSIONS or (folder / COMMITS).is_dir():
            raise SpecError(
                f"{path} is inside the stored collection {folder}", remedy="export to a directory outside of the workspace's collections"
            )


def _export_remote(batches: Iterable[pa.RecordBatch], schema: pa.Schema, metadata: Mapping[str, str], target: str) -> str:
    root, _, name = target.rpartition("/")
    if not name or root.endswith(":/"):
        raise SpecError(f"{target} is no place for an export", remedy="give a prefix below a bucket")
    _refuse_prefix_inside(target)
    workspace = open_workspace(root)
    if next(iter(workspace.list(name)), None) is not None:
        raise SpecError(f"{target} is not empty", remedy="export to a new or empty prefix")
    try:
        _write(batches, schema, metadata, workspace, name)
    except BaseException:
        workspace.delete(name)
        raise
    return target


def _refuse_prefix_inside(target: str) -> None:
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


def _write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, metadata: Mapping[str, str], workspace: Workspace, home: str) -> None:
    stored = pa.schema([field for field in schema if field.name not in _HIVE])
    kept = {key: value for key, value in metadata.items() if key not in _OWN_KEYS}
    with VersionWriter(workspace, home, "export", schema=stored, metadata=kept) as writer:
        for batch in batches:
            writer.add(pa.table(batch).select(stored.names))
