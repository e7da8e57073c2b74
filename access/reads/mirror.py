"""`output` of a read: a directory or prefix that is kept equal to the newest output.

Every output has a directory of its own there, which never changes. `_read.json`, one file that is written last, names the newest and, in
`data`, what to open of it: a cube is many files, and no store changes many at once. On a local disk the link `latest` leads to the same.
What was the newest before stays for a day, for whoever is reading it. Only a place that is empty or has such a note is written to.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from rasterloom.access.exports import Target, target_of
from rasterloom.access.reads.folders import at_once, upload
from rasterloom.access.reads.job import StoredFile
from rasterloom.access.reads.outputs import OutputCommit, OutputRef, existing_output, output_key
from rasterloom.access.versions.gc import GRACE
from rasterloom.access.workspace.clock import SYSTEM, Clock
from rasterloom.access.workspace.files import Entry, Workspace
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import SpecError, Unavailable

NOTE, LATEST = "_read.json", "latest"


def check_mirror(to: str, name: str, read: str) -> None:
    """Raises `SpecError` where an output of the read may not be written: before any work is done."""
    target = target_of(to, NOTE)
    note = target.note
    if note is None and not target.is_empty:
        raise SpecError(f"{to} holds something that is no output of {name}.{read}", remedy="give a new or empty place in `output`")
    if note is not None and (note.get("name"), note.get("read")) != (name, read):
        raise SpecError(f"{to} is the output of {note.get('name')}.{note.get('read')}", remedy="give every read its own place")


def mirror(workspace: str, output: OutputRef, to: str, *, clock: Clock = SYSTEM) -> bool:
    """Make the place `to` hold the output; False where it did. Raises as `check_mirror`."""
    check_mirror(to, output.name, output.read)
    place = open_workspace(workspace)
    return _Mirror(place, existing_output(place, output.name, output.read), target_of(to, NOTE)).refresh(clock.now())


def data_at(to: str, output: OutputRef) -> str:
    """What to open below `to`, after `mirror`: as immutable as the output itself."""
    home, _, directory = output.uri.rpartition("/")
    return f"{to.rstrip('/')}/{directory}{output.data.removeprefix(f'{home}/{directory}')}"


class _Mirror:
    """One place, and the output that it is to hold."""

    def __init__(self, place: Workspace, commit: OutputCommit, target: Target) -> None:
        self._place, self._commit, self._target = place, commit, target
        self._above, self._name = target.above, target.name

    def refresh(self, now: datetime) -> bool:
        note = self._target.note
        named: str | None = note.get("output") if note else None
        since: dict[str, str] = (note or {}).get("superseded", {})
        found = list(self._above.list(self._name))
        is_same = named == self._commit.dir and self._is_whole(found)
        gone = self._gone(found, now, named, since)
        if is_same and not gone:
            return False
        if note is None:
            self._tell({**self._facts(), "output": None, "data": None, "files": []})  # from here on the place is taken
        if not is_same:
            self._copy()
        if _version(self._target.note) > self._commit.version:
            return False  # another run has told of a newer one meanwhile
        since = since | ({named: now.isoformat()} if named else {})
        stay = {each: instant for each, instant in since.items() if each not in gone and each != self._commit.dir}
        self._tell({**self._facts(), "superseded": stay})
        self._link()
        for each in gone:
            self._above.delete(f"{self._name}/{each}")
        return not is_same

    def _is_whole(self, found: Iterable[Entry]) -> bool:
        there = {entry.key: entry.size for entry in found}
        home = f"{self._name}/{self._commit.dir}"
        return all(there.get(f"{home}/{file.path}") == file.size for file in self._commit.files)

    def _gone(self, found: Iterable[Entry], now: datetime, named: str | None, since: Mapping[str, str]) -> list[str]:
        """What nobody reads or writes any more: outputs that ceased to be the newest a while ago, and what a killed run left."""
        last: dict[str, datetime] = {}
        for entry in found:
            each, slash, _ = entry.key.removeprefix(f"{self._name}/").partition("/")
            if slash and each not in (named, self._commit.dir, LATEST):
                last[each] = max(entry.modified, last.get(each, entry.modified))
        last |= {each: datetime.fromisoformat(since[each]) for each in last if each in since}
        return sorted(each for each, instant in last.items() if now - instant >= GRACE)

    def _copy(self) -> None:
        def one(file: StoredFile) -> None:
            key, target = f"{output_key(self._commit)}/{file.path}", f"{self._name}/{self._commit.dir}/{file.path}"
            local = self._place.local_path(key)
            if local is not None:
                upload(self._above, target, local)
                return
            data = self._place.read(key)
            if data is None:
                raise Unavailable(f"{self._place.uri_of(key)} is gone", remedy="run again with --force")
            self._above.write(target, data)

        at_once(one, self._commit.files)
        self._above.sync(f"{self._name}/{self._commit.dir}")

    def _facts(self) -> dict[str, Any]:
        """Paths are relative to the note."""
        commit = self._commit
        facts = {"name": commit.name, "read": commit.read, "output": commit.dir, "version": commit.version, "snapshot": commit.snapshot}
        picture = f"{commit.dir}/{commit.picture}" if commit.picture else None
        return {
            **facts,
            "data": f"{commit.dir}/{commit.data}",
            "picture": picture,
            "files": [f"{commit.dir}/{f.path}" for f in commit.files],
        }

    def _tell(self, note: Mapping[str, Any]) -> None:
        self._above.write(f"{self._name}/{NOTE}", json.dumps(note, indent=1).encode())

    def _link(self) -> None:
        """One rename: there is never none. A disk without links has the note."""
        path = self._above.local_path(f"{self._name}/{LATEST}")
        if path is not None:
            new = path.with_name(f".{LATEST}.{uuid.uuid4().hex}.tmp")
            with suppress(OSError):
                new.symlink_to(self._commit.dir)
                os.replace(new, path)


def _version(note: Mapping[str, Any] | None) -> int:
    """0 where the note names no output."""
    return note["version"] if note and note.get("output") else 0
