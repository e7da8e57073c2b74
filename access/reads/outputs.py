"""Outputs of reads in a workspace: `<name>/_reads/<read>/`, a log of commits over immutable directories, as a collection is.

_commits/00000000000000000003.json    create-only: the commit itself, with all that the output comes from
_versions/<run id>/                   the files of one output
_failures/00000000000000000003-<run id>.parquet
_latest.json                          a hint
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from rasterloom.access.reads.job import StoredFile
from rasterloom.access.refs import from_json, to_json
from rasterloom.access.values import Traffic
from rasterloom.access.versions.commits import FAILURES, READS, VERSIONS, checked_name, is_name
from rasterloom.access.workspace.clock import SYSTEM, Clock
from rasterloom.access.workspace.files import Workspace
from rasterloom.access.workspace.log import Log, sealed, unsealed
from rasterloom.errors import RasterloomError, SpecError, Unavailable

_TRIES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCommit:
    """One committed output: the content of its commit file."""

    version: int
    """1-based; the number in the file's name."""
    parent: int
    run_id: str
    dir: str
    """Name of its directory below `_versions`."""
    files: tuple[StoredFile, ...]
    name: str
    """Label of the collection that was read."""
    read: str
    kind: str
    collection: str
    """URI of the files that were read."""
    snapshot: str
    """What those were: the version directory of the collection."""
    snapshot_version: int
    """Number of its commit; 0 for a collection outside of a workspace."""
    collection_fingerprint: str
    spec: dict[str, Any]
    """The read, defaults spelled out."""
    fingerprint: str
    """Of the read: `rasterloom.specs.reads.read_fingerprint`."""
    input_digest: str
    """Of all that decides the output: read, units, code."""
    content_digest: str
    """Of what the units turned out to hold, failures included."""
    units: tuple[str, ...]
    """Keys, in the order of the plan."""
    made: int
    """Units that this run made; the others were remembered."""
    asked: int
    """Files that were to be read."""
    failed: dict[str, int]
    """Failures by reason."""
    retryable: int
    """Failures that another run may not meet."""
    failures: str
    """Failures table, relative to the read's home; empty where nothing failed."""
    failures_sha256: str
    traffic: Traffic
    """What this run asked the network for."""
    software: dict[str, str]
    started: datetime
    ended: datetime
    keep: int = 10
    """Outputs that garbage collection leaves."""
    meta: dict[str, Any] = field(default_factory=dict[str, Any])
    data: str = ""
    """The file or directory that a user opens, relative to the output; empty: all of it."""
    picture: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRef:
    """An output after a run, as JSON for whoever asked for it."""

    name: str
    read: str
    kind: str
    version: int
    uri: str
    """The directory of the output: immutable."""
    data: str
    """What to open: a file or a directory."""
    picture: str
    """URI of the PNG; empty where there is none."""
    snapshot: int
    """Number of the collection's commit that was read."""
    units: int
    made: int
    failed: int
    requests: int
    bytes: int
    changed: bool
    """False: it stood already, and nothing was done."""
    copied_to: str = ""
    """What to open of the copy in the place that `output` names."""
    meta: dict[str, Any] = field(default_factory=dict[str, Any])


def output_home(name: str, read: str) -> str:
    return f"{checked_name(name)}/{READS}/{checked_name(read)}"


def output_key(commit: OutputCommit) -> str:
    """Key of the directory of its files."""
    return f"{output_home(commit.name, commit.read)}/{VERSIONS}/{commit.dir}"


def failures_key(commit: OutputCommit) -> str:
    return f"{output_home(commit.name, commit.read)}/{commit.failures}"


def ref_of(workspace: Workspace, commit: OutputCommit, *, changed: bool) -> OutputRef:
    uri = workspace.uri_of(output_key(commit))
    traffic = commit.traffic if changed else Traffic()
    return OutputRef(
        name=commit.name,
        read=commit.read,
        kind=commit.kind,
        version=commit.version,
        uri=uri,
        data=f"{uri}/{commit.data}" if commit.data else uri,
        picture=f"{uri}/{commit.picture}" if commit.picture else "",
        snapshot=commit.snapshot_version,
        units=len(commit.units),
        made=commit.made if changed else 0,
        failed=sum(commit.failed.values()),
        requests=traffic.requests,
        bytes=traffic.bytes,
        changed=changed,
        meta=commit.meta,
    )


def reads_in(workspace: Workspace, name: str) -> list[str]:
    """Names of the reads of a collection that have an output, or began one."""
    return [read for read in workspace.children(f"{checked_name(name)}/{READS}") if is_name(read)]


def latest_output(workspace: Workspace, name: str, read: str) -> OutputCommit | None:
    """The newest output of a read, None where there is none."""
    log = Log(workspace, output_home(name, read))
    number = log.newest()
    return read_output_commit(log, number) if number else None


def newest_outputs(workspace: Workspace, name: str) -> list[OutputCommit]:
    """Of every read of a collection, by name."""
    found = [latest_output(workspace, name, read) for read in reads_in(workspace, name)]
    return [commit for commit in found if commit is not None]


def output_history(workspace: Workspace, name: str, read: str) -> Iterator[OutputCommit]:
    """From the newest back to the first. Raises Unavailable at one that is gone or damaged."""
    log = Log(workspace, output_home(name, read))
    for number in range(log.newest(), 0, -1):
        found = read_output_commit(log, number)
        if found is None:
            raise Unavailable(f"{workspace.uri_of(log.key(number))} is gone: commits are never deleted", remedy="restore it from a backup")
        yield found


def read_output_commit(log: Log, number: int) -> OutputCommit | None:
    """None where there is no such commit. Raises Unavailable on one that is damaged."""
    data = log.read(number)
    if data is None:
        return None
    try:
        return from_json(OutputCommit, unsealed(data))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        where = log.workspace.uri_of(log.key(number))
        raise Unavailable(f"{where} is no commit, or is damaged: {error}", remedy="restore it from a backup, or delete the read") from error


def commit_output(workspace: Workspace, draft: OutputCommit, *, anew: bool = False, clock: Clock = SYSTEM) -> OutputCommit:
    """Append the draft to the log and return what stands then: ours, or another run's that is as good.

    An output depends on nothing before it, so a number that another run took is no conflict: the next one is tried. Only a run that
    read an older snapshot than what stands gives way to it. `anew`: whatever stands. Raises Unavailable when the outcome stays unknown.
    """
    log = Log(workspace, output_home(draft.name, draft.read))
    for _ in range(_TRIES):
        standing = latest_output(workspace, draft.name, draft.read)
        if standing is not None and (standing.run_id == draft.run_id or (not anew and is_as_good(standing, draft))):
            return standing
        base = standing.version if standing else 0
        numbered = replace(draft, version=base + 1, parent=base)
        error = log.create(numbered.version, sealed(to_json(numbered)), clock=clock)
        winner = read_output_commit(log, numbered.version)
        if winner is None:
            raise error or Unavailable(f"{log.home}: the commit vanished", remedy="check the workspace, then run again")
        if (winner.run_id, winner.dir) == (draft.run_id, draft.dir):
            with suppress(RasterloomError):  # a hint: what has committed does not fail any more
                log.write_hint(winner.version)
            return winner
    raise Unavailable(f"{log.home}: other runs commit faster, {_TRIES} times in a row", remedy="run again")


def is_as_good(standing: OutputCommit, draft: OutputCommit) -> bool:
    if standing.fingerprint != draft.fingerprint:
        return False
    same = (standing.input_digest, standing.content_digest) == (draft.input_digest, draft.content_digest)
    return same or standing.snapshot_version > draft.snapshot_version


def existing_output(workspace: Workspace, name: str, read: str) -> OutputCommit:
    """Raises SpecError where there is none."""
    found = latest_output(workspace, name, read)
    if found is None:
        there = ", ".join(reads_in(workspace, name)) or "none"
        raise SpecError(f"{name} has no output of a read {read!r}: it has {there}", remedy=f"make it with `rasterloom read {name} {read}`")
    return found


def failures_path(number: int, directory: str) -> str:
    """Of the failures table of one attempt, relative to the read's home."""
    return f"{FAILURES}/{number:020d}-{directory}.parquet"
