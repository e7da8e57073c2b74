"""The commit log: numbered files that are created once, never rewritten and never deleted.

The create-only put of `_commits/<number>.json` is the one linearization point, on every store. Any failure of it is
ambiguous until it is read back: obstore reports our own commit as taken when the answer was lost, and a 409 with
nothing stored as taken too. A commit file is never deleted: a freed number could be created again by a slow builder.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from rasterloom.access.files import Occupied, Workspace
from rasterloom.access.refs import from_json, to_json
from rasterloom.access.values import CollectionRef, Traffic
from rasterloom.errors import RasterloomError, SpecError, Unavailable

COMMITS, VERSIONS, FAILURES, INFLIGHT = "_commits", "_versions", "_failures", "_inflight"
_TRIES = 5


class Conflict(Unavailable):
    """Another run committed another answer first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    path: str
    """Relative to the version directory."""
    size: int
    sha256: str
    rows: int


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


def checked_name(name: str) -> str:
    """The collection name, or SpecError where it is no plain one."""
    plain = name.replace("-", "").replace("_", "").replace(".", "")
    if not plain.isalnum() or name[0] in "._-" or len(name) > 128:
        raise SpecError(f"{name!r} is not a collection name", remedy="use lower-case letters, digits and '-'")
    return name


def version_key(name: str, directory: str) -> str:
    return f"{name}/{VERSIONS}/{directory}"


def commit_key(name: str, version: int) -> str:
    return f"{name}/{COMMITS}/{version:020d}.json"


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


def read_commit(workspace: Workspace, name: str, version: int) -> Commit | None:
    """None where there is no such commit. Raises Unavailable on a commit file that is no commit."""
    data = workspace.read(commit_key(checked_name(name), version))
    if data is None:
        return None
    try:
        return from_json(Commit, json.loads(data))
    except (ValueError, TypeError, KeyError) as error:
        raise Unavailable(
            f"{workspace.uri_of(commit_key(name, version))} is not a commit: {error}",
            remedy="restore it from a backup, or delete the collection",
        ) from error


def latest(workspace: Workspace, name: str) -> Commit | None:
    """The newest commit, None for a collection that has none. The hint is only a lower bound to start from."""
    version = _hint(workspace, name) or _listed(workspace, name)
    if version == 0:
        return None
    while workspace.size(commit_key(name, version + 1)) is not None:
        version += 1
    return read_commit(workspace, name, version)


def commit(workspace: Workspace, name: str, draft: Commit) -> Commit:
    """Append the draft to the log, under its `version`, and return it as committed.

    When another run took the number first: a commit of the same fingerprint is as good as ours and is returned;
    else Conflict. Raises Unavailable when the outcome stays unknown; staged files then stay for a later clean-up.
    """
    body = json.dumps(to_json(draft), sort_keys=True, indent=1).encode()
    error = _create(workspace, name, draft, body)
    winner = read_commit(workspace, name, draft.version)
    if winner is None:
        raise error or Unavailable(f"{name}: the commit vanished", remedy="check the workspace, then run again")
    if winner.dir == draft.dir:
        write_hint(workspace, name, winner)
        return winner
    if winner.fingerprint == draft.fingerprint:
        return winner
    raise Conflict(
        f"{name}: another run ({winner.run_id}) committed version {winner.version}, of another question, at {winner.ended:%Y-%m-%d %H:%M}",
        remedy="give the two specs two names, or run again to replace that version",
    )


def _create(workspace: Workspace, name: str, draft: Commit, body: bytes) -> RasterloomError | None:
    """Try until the number is taken, by us or by another. The last error, where it is still free."""
    error: RasterloomError | None = None
    for attempt in range(_TRIES):
        try:
            workspace.create(commit_key(name, draft.version), body)
            return None
        except (Occupied, Unavailable) as caught:
            error = caught
        if read_commit(workspace, name, draft.version) is not None:
            return error
        time.sleep(random.uniform(0, 0.1 * 2**attempt))
    return Unavailable(f"{name}: the commit could not be written: {error}", remedy="check the workspace, then run again") if error else None


def write_hint(workspace: Workspace, name: str, commit: Commit) -> None:
    workspace.write(f"{name}/_latest.json", json.dumps({"version": commit.version}).encode())


def start_heartbeat(workspace: Workspace, name: str, run_id: str, directory: str) -> None:
    """Tells a later clean-up that this run is alive; removed by `end_heartbeat`."""
    beat = {"run_id": run_id, "dir": directory, "at": datetime.now(UTC).isoformat()}
    workspace.write(f"{checked_name(name)}/{INFLIGHT}/{run_id}.json", json.dumps(beat).encode())


def end_heartbeat(workspace: Workspace, name: str, run_id: str) -> None:
    workspace.delete(f"{name}/{INFLIGHT}/{run_id}.json")


def numbered(draft: Commit, parent: Commit | None) -> Commit:
    """The draft as the successor of `parent`."""
    base = parent.version if parent else 0
    return replace(draft, version=base + 1, parent=base)


def _hint(workspace: Workspace, name: str) -> int:
    """Version of the hint where its commit is there, else 0: a hint is never believed unseen."""
    data = workspace.read(f"{checked_name(name)}/_latest.json")
    try:
        hint: Mapping[str, Any] = json.loads(data) if data else {}
        version = int(hint["version"])
    except (ValueError, KeyError, TypeError):
        return 0
    return version if version > 0 and workspace.size(commit_key(name, version)) is not None else 0


def _listed(workspace: Workspace, name: str) -> int:
    numbers = [entry.key.rsplit("/", 1)[-1].removesuffix(".json") for entry in workspace.list(f"{name}/{COMMITS}")]
    return max((int(number) for number in numbers if number.isdigit()), default=0)
