"""Garbage collection: versions that no kept snapshot names, what killed runs left, and memory beyond its bound.

Never touched: commit files; the versions of the kept snapshots; versions that were current within the grace time; whatever
belongs to a run with a fresh heartbeat; files without a commit that are younger than a day.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from rasterloom.access.versions.commits import (
    COMMITS,
    FAILURES,
    INFLIGHT,
    READS,
    REPORTS,
    VERSIONS,
    Commit,
    checked_name,
    is_name,
    latest,
    report_path,
    version_key,
)
from rasterloom.access.versions.heartbeat import FRESH, is_fresh, run_of
from rasterloom.access.versions.memory import prune
from rasterloom.access.versions.snapshots import history
from rasterloom.access.workspace.clock import SYSTEM, Clock
from rasterloom.access.workspace.disk import disk_errors
from rasterloom.access.workspace.files import Entry, Workspace
from rasterloom.errors import RasterloomError

GRACE = timedelta(hours=24)
"""How long a version that is no longer current is left to those who read it."""
_LOG = logging.getLogger("rasterloom.gc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What was taken away, or, in a dry run, would be."""

    name: str
    versions: tuple[str, ...] = ()
    """Version directories."""
    others: tuple[str, ...] = ()
    """Keys of single files: failures tables, reports, heartbeats and temporary files."""
    files: int = 0
    bytes: int = 0
    """Sum of the sizes; what other versions share by hard links is not freed."""


@dataclass(slots=True)
class _Log:
    """What the newest part of the log says about the version directories."""

    kept: set[str] = field(default_factory=set[str])
    """Directories of the kept snapshots, and of those that were current within the grace time."""
    named: set[str] = field(default_factory=set[str])
    failures: set[str] = field(default_factory=set[str])
    """Failures tables of what is kept."""
    reports: set[str] = field(default_factory=set[str])
    """Reports of what is kept."""


def collect(workspace: Workspace, name: str, *, grace: timedelta = GRACE, clock: Clock = SYSTEM, dry_run: bool = False) -> Collected:
    """Take away what is garbage in one collection.

    Looks at the directories first, then at the heartbeats, then at the log: what is committed meanwhile is seen to be.
    """
    checked_name(name)
    found = list(workspace.list(name))
    directories = workspace.children(f"{name}/{VERSIONS}")
    beats = list(workspace.list(f"{name}/{INFLIGHT}"))
    now = clock.now()
    alive = [run_of(entry) for entry in beats if is_fresh(workspace, entry, now)]
    log = _read_log(workspace, name, set(directories), now, grace)
    unwanted = [directory for directory in directories if directory not in log.kept and not _belongs(directory, alive)]
    newest = _newest_files(name, found)
    versions = [directory for directory in unwanted if directory in log.named or _is_old(newest.get(directory), now)]
    others = [entry.key for entry in found if _is_litter(name, entry, log, alive, now)]
    if not dry_run:
        for key in (*(version_key(name, directory) for directory in versions), *others):
            workspace.delete(key)
        _sweep_links(workspace, name, now)
    gone = [entry for entry in found if entry.key in others or _directory_of(name, entry) in versions]
    return Collected(name=name, versions=tuple(versions), others=tuple(others), files=len(gone), bytes=sum(entry.size for entry in gone))


def _sweep_links(workspace: Workspace, name: str, now: datetime) -> None:
    """Links that a kill left between being made and taking the place of `<name>_stac`."""
    link = workspace.local_path(f"{name}_stac")
    if link is None:
        return
    with disk_errors(link):
        for leftover in link.parent.glob(f".{link.name}.*.tmp"):
            with suppress(FileNotFoundError):  # it has taken its place meanwhile
                if _is_old(datetime.fromtimestamp(leftover.lstat().st_mtime, UTC), now):
                    workspace.delete(leftover.name)


def collect_after(workspace: Workspace, name: str, *, clock: Clock = SYSTEM) -> None:
    """After a commit. What goes wrong here is told in the log of the process and harms nothing: the next commit tries again."""
    try:
        collect(workspace, name, clock=clock)
        prune(workspace, clock=clock)
    except RasterloomError as error:
        _LOG.warning("%s: garbage was not collected: %s", name, error)


def collections_to_collect(workspace: Workspace) -> list[str]:
    """Names below which there are commits, or versions of builds that never committed, or outputs of reads."""
    return [name for name in workspace.children() if is_name(name) and {COMMITS, VERSIONS, READS} & set(workspace.children(name))]


def _read_log(workspace: Workspace, name: str, directories: set[str], now: datetime, grace: timedelta) -> _Log:
    """Newest first, as far back as it takes to know all of `directories` that can be young."""
    log = _Log()
    newest = latest(workspace, name)
    if newest is None:
        return log
    window: set[str] = set()
    superseded = now
    for entry in history(workspace, name, newest):
        in_window = entry.dir in window or len(window) < newest.keep_snapshots
        if not in_window and superseded < now - grace and (directories <= log.named or superseded < now - FRESH):
            break
        if in_window or superseded >= now - grace:
            _keep(log, entry)
        if in_window:
            window.add(entry.dir)
        log.named.add(entry.dir)
        superseded = entry.ended
    return log


def _keep(log: _Log, entry: Commit) -> None:
    log.kept.add(entry.dir)
    log.reports.add(report_path(entry.version))
    if entry.failures:
        log.failures.add(entry.failures)


def _newest_files(name: str, found: Iterable[Entry]) -> dict[str, datetime]:
    """Version directory -> when the youngest of its files was written."""
    newest: dict[str, datetime] = {}
    for entry in found:
        directory = _directory_of(name, entry)
        if directory is not None:
            newest[directory] = max(entry.modified, newest.get(directory, entry.modified))
    return newest


def _directory_of(name: str, entry: Entry) -> str | None:
    parts = entry.key.removeprefix(f"{name}/").split("/")
    return parts[1] if parts[0] == VERSIONS and len(parts) > 2 else None


def _belongs(directory: str, runs: Iterable[str]) -> bool:
    return any(directory == run or directory.startswith(f"{run}-") for run in runs)


def _is_old(written: datetime | None, now: datetime) -> bool:
    """Whether it is too old for a run whose heartbeat is not to be seen; a directory without a file is of no run that works."""
    return written is None or now - written >= FRESH


def _is_litter(name: str, entry: Entry, log: _Log, alive: Iterable[str], now: datetime) -> bool:
    """Whether a single file outside of the versions is of no more use."""
    path = entry.key.removeprefix(f"{name}/")
    folder, _, file = path.rpartition("/")
    if folder.startswith(VERSIONS) or not _is_old(entry.modified, now):
        return False
    if file.startswith(".") and file.endswith(".tmp"):
        return True
    if folder == INFLIGHT:
        return run_of(entry) not in set(alive)
    return (folder == FAILURES and path not in log.failures) or (folder == REPORTS and path not in log.reports)
