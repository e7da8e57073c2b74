"""`output` of a read: a directory or prefix that is kept equal to the newest output.

It carries `_read.json`, which says what it holds and which files it is made of; only a place that is empty or has such a note is
written to. On a local disk the new directory takes the old one's name. An object store cannot rename: there the new files are written
over the old ones, then the note, then what is no longer named goes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from rasterloom.access.disk import LocalWorkspace
from rasterloom.access.export import swap_directory
from rasterloom.access.exports import Target, is_whole, target_of
from rasterloom.access.files import Workspace
from rasterloom.access.reads.folders import at_once, upload
from rasterloom.access.reads.job import StoredFile
from rasterloom.access.reads.outputs import OutputCommit, OutputRef, existing_output, output_key
from rasterloom.access.workspace import open_workspace
from rasterloom.errors import SpecError, Unavailable

NOTE = "_read.json"


def check_mirror(to: str, name: str, read: str) -> None:
    """Raises `SpecError` where an output of the read may not be written: before any work is done."""
    target = target_of(to, NOTE)
    note = target.note
    if note is None and not target.is_empty:
        raise SpecError(f"{to} holds something that is no output of {name}.{read}", remedy="give a new or empty place in `output`")
    if note is not None and (note.get("name"), note.get("read")) != (name, read):
        raise SpecError(f"{to} is the output of {note.get('name')}.{note.get('read')}", remedy="give every read its own place")


def mirror(workspace: str, output: OutputRef, to: str) -> bool:
    """Make the place `to` hold the output; False where it did. Raises as `check_mirror`."""
    check_mirror(to, output.name, output.read)
    place = open_workspace(workspace)
    commit = existing_output(place, output.name, output.read)
    target = target_of(to, NOTE)
    note = target.note
    if note is not None and note.get("output") == commit.dir and is_whole(target, note["files"]):
        return False
    path = target.above.local_path(target.name)
    if path is not None:
        swap_directory(lambda above, home: _write(place, commit, above, home), path)
    else:
        _put_over(place, commit, target, [] if note is None else note["files"])
    return True


def _write(place: Workspace, commit: OutputCommit, above: LocalWorkspace, home: str) -> None:
    _copy(place, commit, above, home)
    above.write(f"{home}/{NOTE}", _note(commit))


def _put_over(place: Workspace, commit: OutputCommit, target: Target, old: Sequence[str]) -> None:
    _copy(place, commit, target.above, target.name)
    target.above.write(f"{target.name}/{NOTE}", _note(commit))
    named = {file.path for file in commit.files}
    target.above.delete_files([f"{target.name}/{file}" for file in old if file not in named])


def _copy(place: Workspace, commit: OutputCommit, above: Workspace, home: str) -> None:
    def one(file: StoredFile) -> None:
        key = f"{output_key(commit)}/{file.path}"
        local = place.local_path(key)
        if local is not None:
            upload(above, f"{home}/{file.path}", local)
            return
        data = place.read(key)
        if data is None:
            raise Unavailable(f"{place.uri_of(key)} is gone", remedy="run again with --force")
        above.write(f"{home}/{file.path}", data)

    at_once(one, commit.files)


def _note(commit: OutputCommit) -> bytes:
    facts = {"name": commit.name, "read": commit.read, "output": commit.dir, "version": commit.version, "snapshot": commit.snapshot}
    return json.dumps({**facts, "files": [file.path for file in commit.files]}, indent=1).encode()
