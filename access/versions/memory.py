"""The bound of what a workspace remembers beside its collections: searches, scenes and records below `_cache`.

All of it can be had again from the network, so what is pruned costs requests and nothing else. The headers have a bound of
their own (`rasterloom.access.cache.headers`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from rasterloom.access.cache.staging import CACHE, records_key
from rasterloom.access.values import ItemsRef
from rasterloom.access.versions.commits import COMMITS, INFLIGHT, Commit, is_name, latest
from rasterloom.access.versions.heartbeat import is_fresh, run_of
from rasterloom.access.versions.snapshots import history, window
from rasterloom.access.workspace.clock import SYSTEM, Clock
from rasterloom.access.workspace.files import Entry, Workspace
from rasterloom.errors import SpecError

BOUND = 8 * 1024**3
"""Bytes that may be remembered, beside what kept snapshots name."""
YOUNG = timedelta(days=1)
_SEARCHES = f"{CACHE}/searches/"
_OPEN_SEARCHES_FOR = timedelta(days=7)
"""How long the search of an open window is remembered: only `failures --retry` asks for it."""
_FOLDERS = ("searches", "items", "records")


def prune(workspace: Workspace, *, bound: int = BOUND, clock: Clock = SYSTEM, dry_run: bool = False) -> list[Entry]:
    """Forget searches of open windows after a week and, above the bound, the oldest of the rest; what was forgotten.

    Leaves what a kept snapshot names, what is younger than a day, and, where a run is under way, everything but old searches.
    """
    entries = [entry for folder in _FOLDERS for entry in workspace.list(f"{CACHE}/{folder}")]
    now = clock.now()
    forgotten = [entry for entry in entries if _is_open_search(entry) and now - entry.modified >= _OPEN_SEARCHES_FOR]
    excess = sum(entry.size for entry in entries) - sum(entry.size for entry in forgotten) - bound
    if excess > 0 and not _is_busy(workspace, clock):
        live = set(_live(workspace))
        old = [entry for entry in entries if entry not in forgotten and now - entry.modified >= YOUNG and _stem(entry) not in live]
        forgotten.extend(_oldest(old, excess))
    if not dry_run:
        for entry in forgotten:
            workspace.delete(entry.key)
    return forgotten


def _oldest(entries: list[Entry], excess: int) -> Iterator[Entry]:
    """As many of the oldest as make up `excess` bytes."""
    for entry in sorted(entries, key=lambda entry: (entry.modified, entry.key)):
        if excess <= 0:
            return
        excess -= entry.size
        yield entry


def _is_open_search(entry: Entry) -> bool:
    """`<shard key>.<run id>.json`: never found by another run but a retry."""
    return entry.key.startswith(_SEARCHES) and entry.key.removeprefix(_SEARCHES).count(".") > 1


def _stem(entry: Entry) -> str:
    """The key up to its first dot: one for all files of one batch."""
    folder, _, file = entry.key.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def _is_busy(workspace: Workspace, clock: Clock) -> bool:
    """Whether a run is under way that may still read what is staged; one that has committed does not."""
    now = clock.now()
    return any(
        is_fresh(workspace, beat, now) and not _has_committed(workspace, name, run_of(beat))
        for name in filter(is_name, workspace.children())
        for beat in workspace.list(f"{name}/{INFLIGHT}")
    )


def _has_committed(workspace: Workspace, name: str, run_id: str) -> bool:
    newest = latest(workspace, name)
    return newest is not None and newest.run_id == run_id


def _live(workspace: Workspace) -> Iterator[str]:
    """Stems of the scenes of every kept snapshot, and of the records of the newest."""
    for name in filter(is_name, workspace.children()):
        newest = latest(workspace, name) if COMMITS in workspace.children(name) else None
        if newest is None:
            continue
        yield from (records_key(items) for items in _items_of(newest))
        for entry in window(history(workspace, name, newest)).values():
            yield from (stem for items in _items_of(entry) if (stem := _items_stem(workspace, items)))


def _items_of(entry: Commit) -> list[ItemsRef]:
    return [*(items for search in entry.searched for items in search.items), *entry.carried]


def _items_stem(workspace: Workspace, items: ItemsRef) -> str | None:
    try:
        return workspace.key_of(items.uri).partition(".")[0]
    except SpecError:
        return None
