"""The commits of a collection: what each holds, and the log (`rasterloom.access.workspace.log`) that they are appended to."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from rasterloom.access.refs import from_json, to_json
from rasterloom.access.values import CollectionRef, ItemsRef, Traffic
from rasterloom.access.workspace.clock import SYSTEM, Clock
from rasterloom.access.workspace.files import Workspace
from rasterloom.access.workspace.log import COMMITS, Log, sealed, unsealed
from rasterloom.errors import RasterloomError, SpecError, Unavailable
from rasterloom.specs.question import Interval

VERSIONS, FAILURES, INFLIGHT, REPORTS, READS = "_versions", "_failures", "_inflight", "_reports", "_reads"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Conflict(Unavailable):
    """Another run committed another answer first."""


class Overtaken(Conflict):
    """Another run committed the answer to the same question, from another input, first: publish again on top of it."""

    def __init__(self, message: str, *, remedy: str, winner: Commit) -> None:
        super().__init__(message, remedy=remedy)
        self.winner = winner


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    path: str
    """Relative to the version directory."""
    size: int
    sha256: str
    rows: int
    input_digest: str = ""
    """What decided the content: a file of the same digest is linked or copied, not written again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What became of the items and assets of one build."""

    matched: int | None = None
    """Sum of the server's `numberMatched`; None where one search did not say."""
    received: int = 0
    kept: int = 0
    disagreeing: int = 0
    duplicates: int = 0
    headers: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    """Failures by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """How much of a version was remembered, and how it differs from its parent."""

    items_new: int = 0
    items_changed: int = 0
    items_gone: int = 0
    """In the parent, and no longer given by the source: those that stay and those that leave."""
    items_carried: int = 0
    """Gone items whose rows stay."""
    items_left: int = 0
    """Items of the parent whose rows are not in this version."""
    headers_fetched: int = 0
    headers_cached: int = 0
    """Headers from the workspace's memory: staged batches and the header cache."""
    headers_parent: int = 0
    """Headers from the rows of the parent version."""
    files_linked: int = 0
    files_written: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What one search of a committed version gave: where the raw properties and hrefs of its rows still stand."""

    dates: Interval
    """Of the shard."""
    closed: bool
    items: tuple[ItemsRef, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One committed version: the content of its commit file."""

    version: int
    """1-based; the number in the file's name."""
    parent: int
    """0 for the first."""
    run_id: str
    dir: str
    """Name of the version directory below `_versions`; unique to one attempt of one run, so it also says whose commit this is."""
    files: tuple[DataFile, ...]
    rows: int
    fingerprint: str
    question: dict[str, Any]
    spec: dict[str, Any]
    counts: Counts
    traffic: Traffic
    software: dict[str, str]
    started: datetime
    ended: datetime
    closed: bool
    """True = all windows of the plan were closed: the same question needs no new search."""
    failures: str | None
    """Failures table, relative to the collection's home."""
    failures_sha256: str = ""
    action: str = "build"
    """What the run decided to do: `build`, `refresh`, `extend`, `derive`, `rebuild` or `rollback`."""
    input_digest: str = ""
    """Everything that decided the rows: two commits of one question and one input hold the same."""
    reuse: Reuse = Reuse()
    searched: tuple[Searched, ...] = ()
    carried: tuple[ItemsRef, ...] = ()
    """Scenes of rows that no search of this version gave: gone items that are kept."""
    rollback_of: int = 0
    """Number of the commit whose version this one brings back; 0 where it made its own."""
    keep_snapshots: int = 10
    """Versions that garbage collection leaves, as the spec of this commit wants it."""
    twins: int = 0
    """Rows that share place and instant with another row."""
    coverage: float | None = None
    """Share of the asked area (0..1) that footprints cover; None where no check asked."""
    profile: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    """Rows by value, for CRS and each band's dtype, tile size and nodata: what the next version is compared with."""
    drift: tuple[str, ...] = ()
    """What the bands have and the parent's bands had not, e.g. `B02 dtype: float32 (was uint16)`."""
    copied_from: str = ""
    """Collection and snapshot that this is a copy of, for people."""
    newest: datetime | None = None
    """Instant of the newest scene, UTC."""
    reason: str = ""
    """Why `action` was chosen, for people."""


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def checked_name(name: str) -> str:
    """The collection name, or SpecError where it is no plain one."""
    if not is_name(name):
        raise SpecError(f"{name!r} is not a collection name", remedy="use lower-case letters, digits and '-'")
    return name


def version_key(name: str, directory: str) -> str:
    return f"{name}/{VERSIONS}/{directory}"


def commit_key(name: str, version: int) -> str:
    return f"{name}/{COMMITS}/{version:020d}.json"


def report_path(version: int) -> str:
    """Of the page that reports on a commit, relative to the collection's home."""
    return f"{REPORTS}/{version:020d}.html"


def log_of(workspace: Workspace, name: str) -> Log:
    return Log(workspace, checked_name(name))


def collection_ref(workspace: Workspace, name: str, commit: Commit) -> CollectionRef:
    return CollectionRef(
        name=name,
        uri=workspace.uri_of(version_key(name, commit.dir)),
        version=commit.version,
        run_id=commit.run_id,
        fingerprint=commit.fingerprint,
        rows=commit.rows,
        failed=sum(commit.counts.failed.values()),
    )


def encoded(commit: Commit) -> bytes:
    """The content of a commit file."""
    return sealed(to_json(commit))


def decoded(data: bytes) -> Commit:
    """The commit in a commit file. Raises ValueError, TypeError or KeyError where it is none, or not as it was written."""
    return from_json(Commit, unsealed(data))


def read_commit(workspace: Workspace, name: str, version: int) -> Commit | None:
    """None where there is no such commit. Raises Unavailable on a commit file that is no commit."""
    data = log_of(workspace, name).read(version)
    if data is None:
        return None
    try:
        return decoded(data)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Unavailable(
            f"{workspace.uri_of(commit_key(name, version))} is not a commit, or is damaged: {error}",
            remedy="restore it from a backup, or delete the collection",
        ) from error


def latest(workspace: Workspace, name: str) -> Commit | None:
    """The newest commit, None for a collection that has none."""
    version = log_of(workspace, name).newest()
    return read_commit(workspace, name, version) if version else None


def commit(workspace: Workspace, name: str, draft: Commit, *, clock: Clock = SYSTEM) -> Commit:
    """Append the draft to the log, under its `version`, and return it as committed.

    When another run took the number first: a commit of the same question and input is as good as ours and is returned; one of
    the same question raises Overtaken, another Conflict. Raises Unavailable when the outcome stays unknown; staged files then
    stay for a later clean-up.
    """
    error = log_of(workspace, name).create(draft.version, encoded(draft), clock=clock)
    winner = read_commit(workspace, name, draft.version)
    if winner is None:
        raise error or Unavailable(f"{name}: the commit vanished", remedy="check the workspace, then run again")
    if _is_ours(winner, draft):
        with suppress(RasterloomError):  # readers look further by themselves, and what has committed does not fail any more
            write_hint(workspace, name, winner)
        return winner
    if winner.fingerprint == draft.fingerprint and winner.input_digest == draft.input_digest:
        return winner
    said = f"{name}: another run ({winner.run_id}) committed version {winner.version} at {winner.ended:%Y-%m-%d %H:%M}"
    if winner.fingerprint == draft.fingerprint:
        raise Overtaken(f"{said}, from what it found then", remedy="run again: what was read is remembered", winner=winner)
    raise Conflict(f"{said}, of another question", remedy="give the two specs two names, or run again to replace that version")


def _is_ours(winner: Commit, draft: Commit) -> bool:
    """Two attempts of one run are two rivals, and two rollbacks name the same directory."""
    return (winner.run_id, winner.dir) == (draft.run_id, draft.dir)


def write_hint(workspace: Workspace, name: str, commit: Commit) -> None:
    log_of(workspace, name).write_hint(commit.version)


def hint_key(name: str) -> str:
    return f"{name}/_latest.json"


def numbered(draft: Commit, parent: Commit | None) -> Commit:
    """The draft as the successor of `parent`."""
    base = parent.version if parent else 0
    return replace(draft, version=base + 1, parent=base)
