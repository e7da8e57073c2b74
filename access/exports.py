"""Copies that a spec asks for, kept up to date: made anew when the snapshot is another one, left alone when it is not.

A copy carries `_export.json`, which says what it holds and which files it is made of. Only a place that is empty or has such a note
is ever written to. On a local disk the new directory takes the old one's name; on an object store, which cannot rename, the new files
are written beside the old ones under names of their own, then the note, then the old files go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rasterloom.access.collection import Collection
from rasterloom.access.export import Note, copy_as, put_beside, refuse_inside, refuse_prefix_inside, swap_in
from rasterloom.access.workspace.files import Workspace
from rasterloom.access.workspace.place import is_remote, local_path, open_workspace
from rasterloom.errors import SpecError

NOTE = "_export.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """One copy after a run."""

    to: str
    format: str
    snapshot: str
    """Version directory of the snapshot that it holds."""
    changed: bool
    """False: it held that snapshot already."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a copy stands: `name` in the directory or prefix above it."""

    above: Workspace
    name: str
    uri: str
    note_name: str

    @property
    def note(self) -> Mapping[str, Any] | None:
        """What the copy says of itself; None where there is none."""
        data = self.above.read(f"{self.name}/{self.note_name}")
        try:
            found = None if data is None else json.loads(data)
        except ValueError:
            return None
        return found if isinstance(found, dict) and isinstance(found.get("files"), list) else None

    @property
    def is_empty(self) -> bool:
        return self.above.size(self.name) is None and next(iter(self.above.list(self.name)), None) is None


def check_export(to: str, name: str) -> None:
    """Raises `SpecError` where a copy of the collection `name` may not be written: before any work is done."""
    target = target_of(to)
    note = target.note
    if note is None and not target.is_empty:
        raise SpecError(f"{to} holds something that is no export of {name}", remedy="give a new or empty place in `export`")
    if note is not None and note.get("name") != name:
        raise SpecError(f"{to} is the export of the collection {note.get('name')}", remedy="give every collection its own place")


def refresh_export(collection: Collection, to: str, form: str) -> Exported:
    """Make the copy at `to` hold this snapshot. Raises as `check_export`, and `SpecError` for a collection outside of a workspace."""
    commit = collection.commit
    if commit is None:
        raise SpecError(f"{collection.uri} is no snapshot", remedy="load it by its name in a workspace")
    check_export(to, collection.name)
    target = target_of(to)
    note = target.note
    done = Exported(to=to, format=form, snapshot=commit.dir, changed=False)
    if note is not None and (note.get("snapshot"), note.get("format")) == (commit.dir, form) and is_whole(target, note["files"]):
        return done
    copy = copy_as(form, collection.schema, collection.metadata, collection.to_batches())
    told = Note(name=NOTE, facts={"name": collection.name, "snapshot": commit.dir, "format": form})
    path = target.above.local_path(target.name)
    if path is not None:
        swap_in(copy, path, note=told)
    else:
        put_beside(copy, target.above, target.name, [] if note is None else note["files"], told)
    return Exported(to=to, format=form, snapshot=commit.dir, changed=True)


def is_whole(target: Target, files: Sequence[Any]) -> bool:
    return all(target.above.size(f"{target.name}/{file}") is not None for file in files)


def target_of(to: str, note_name: str = NOTE) -> Target:
    """Where a copy is to stand. Raises `SpecError` for a bucket itself, and for a place inside of a stored collection."""
    if is_remote(to):
        above, _, name = to.rstrip("/").rpartition("/")
        if not name or above.endswith(":/"):
            raise SpecError(f"{to} is no place for an export", remedy="give a prefix below a bucket")
        refuse_prefix_inside(to.rstrip("/"))
        return Target(open_workspace(above), name, to, note_name)
    path = local_path(to).expanduser().resolve()
    refuse_inside(path)
    return Target(open_workspace(str(path.parent)), path.name, to, note_name)
