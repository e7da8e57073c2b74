"""The history of a collection: its commits, the versions of them that are kept, and the way back to one."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from rasterloom.access.versions.commits import Commit, commit, commit_key, latest, numbered, read_commit, version_key
from rasterloom.access.versions.link import publish_link
from rasterloom.access.workspace.clock import SYSTEM, Clock
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import SpecError, Unavailable


def history(workspace: Workspace, name: str, newest: Commit | None = None) -> Iterator[Commit]:
    """Every commit from `newest` (default: the newest) back to the first. Raises Unavailable at one that is gone or damaged."""
    entry = newest or latest(workspace, name)
    while entry is not None:
        yield entry
        if entry.version == 1:
            return
        entry = existing(workspace, name, entry.version - 1)


def existing(workspace: Workspace, name: str, version: int) -> Commit:
    """A commit that the log must have. Raises Unavailable."""
    found = read_commit(workspace, name, version)
    if found is None:
        raise Unavailable(
            f"{workspace.uri_of(commit_key(name, version))} is gone: commits are never deleted",
            remedy="restore it from a backup; `rasterloom verify` tells what else is damaged",
        )
    return found


def window(log: Iterable[Commit]) -> dict[str, Commit]:
    """The versions that are kept: as many different directories as the newest commit wants, each with its newest commit."""
    kept: dict[str, Commit] = {}
    wanted: int | None = None
    for entry in log:
        wanted = entry.keep_snapshots if wanted is None else wanted
        kept.setdefault(entry.dir, entry)
        if len(kept) >= wanted:
            break
    return kept


def was_always_kept(target: Commit, later: Iterable[Commit]) -> bool:
    """Whether no garbage collection, at whatever commit since (`later`, oldest first), could have taken the target's directory.

    A slow one may still be at work on what it saw long ago. The commit that names the directory again is the successor of the
    newest commit looked at here, so a collection that starts later sees it, or an older log in which the directory is kept.
    """
    since: set[str] = set()
    for entry in later:
        since = set() if entry.dir == target.dir else since | {entry.dir}
        if len(since) >= entry.keep_snapshots:
            return False
    return True


def stands(workspace: Workspace, name: str, entry: Commit) -> bool:
    """Whether the version directory holds exactly the files of the commit, by name and size."""
    home = version_key(name, entry.dir)
    there = {found.key: found.size for found in workspace.list(home)}
    return there == {f"{home}/{file.path}": file.size for file in entry.files}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One line of the history."""

    number: int
    committed: datetime
    rows: int
    failed: int
    bytes: int
    action: str
    rollback_of: int
    run_id: str
    is_current: bool
    is_kept: bool
    """Whether it can be opened and rolled back to."""


def snapshots(workspace: Workspace, name: str) -> list[Snapshot]:
    """All of them, newest first; an empty list where there is no collection."""
    log = list(history(workspace, name))
    return [_snapshot(workspace, name, log, place) for place in range(len(log))]


def _snapshot(workspace: Workspace, name: str, log: list[Commit], place: int) -> Snapshot:
    entry = log[place]
    return Snapshot(
        number=entry.version,
        committed=entry.ended,
        rows=entry.rows,
        failed=sum(entry.counts.failed.values()),
        bytes=sum(file.size for file in entry.files),
        action=entry.action,
        rollback_of=entry.rollback_of,
        run_id=entry.run_id,
        is_current=entry.dir == log[0].dir,
        is_kept=was_always_kept(entry, reversed(log[:place])) and stands(workspace, name, entry),
    )


def rollback(workspace: Workspace, name: str, number: int, *, clock: Clock = SYSTEM) -> Commit:
    """Make an older version the newest again, by a commit that names its directory: nothing is rewritten, nothing lost.

    The link `<name>_stac` follows. Raises SpecError for a snapshot that is not there or no longer kept, Conflict where another
    run commits meanwhile.
    """
    newest = latest(workspace, name)
    if newest is None:
        raise SpecError(f"no collection named {name!r} in {workspace.uri}", remedy="see `rasterloom list`")
    target = checked_snapshot(workspace, name, number, newest)
    if target.dir == newest.dir:
        publish_link(workspace, name)
        return newest
    now = clock.now()
    draft = replace(
        numbered(target, newest),
        run_id=f"rollback-{now:%Y%m%dt%H%M%S}-{uuid.uuid4().hex[:8]}",
        action="rollback",
        rollback_of=target.rollback_of or number,
        reason=f"snapshot {number} was made the newest again",
        keep_snapshots=newest.keep_snapshots,
        started=now,
        ended=now,
    )
    made = commit(workspace, name, draft, clock=clock)
    publish_link(workspace, name)
    return made


def checked_snapshot(workspace: Workspace, name: str, number: int, newest: Commit) -> Commit:
    """The commit of that number. Raises SpecError where there is none, or where its files are no longer kept."""
    if not 1 <= number <= newest.version:
        raise SpecError(f"{name} has no snapshot {number}: it has 1 to {newest.version}", remedy=f"see `rasterloom snapshots {name}`")
    target = existing(workspace, name, number)
    later = [existing(workspace, name, version) for version in range(number + 1, newest.version + 1)]
    if not was_always_kept(target, later) or not stands(workspace, name, target):
        raise SpecError(
            f"snapshot {number} of {name} is no longer kept: storage.keep_snapshots is {newest.keep_snapshots}",
            remedy=f"choose one that is, see `rasterloom snapshots {name}`; keep more with storage.keep_snapshots",
        )
    return target
