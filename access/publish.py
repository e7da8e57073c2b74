"""From staged records to a committed version: stream, verify, commit."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rasterloom.access.budget import Totals, check_budget, totals
from rasterloom.access.commits import (
    FAILURES,
    Commit,
    Counts,
    DataFile,
    checked_name,
    collection_ref,
    commit,
    latest,
    numbered,
    version_key,
)
from rasterloom.access.files import Workspace
from rasterloom.access.heartbeat import Heartbeat
from rasterloom.access.job import Job
from rasterloom.access.staging import read_records
from rasterloom.access.table import Shape, shape_of
from rasterloom.access.values import BatchRef, CollectionRef, Failure, SearchRef
from rasterloom.access.version import VersionWriter
from rasterloom.access.workspace import open_workspace
from rasterloom.errors import Unavailable
from rasterloom.specs.identity import canonical_json, question_to_json
from rasterloom.specs.question import Interval

_SOFTWARE = ("rasterloom", "pyarrow", "obstore", "numpy", "shapely")


def publish(job: Job, searches: Sequence[SearchRef], batches: Sequence[BatchRef]) -> CollectionRef:
    """Write the version directory of a build and commit it; returns the committed collection.

    Raises Refused where the budget or a check fails: nothing is committed then, the staged records stay. A repeated call of
    the same run whose commit stands returns it.
    """
    workspace, name, started = open_workspace(job.workspace), checked_name(job.plan.name), datetime.now(UTC)
    parent = latest(workspace, name)
    if parent is not None and parent.run_id == job.run_id:
        return collection_ref(workspace, name, parent)
    found = totals(searches, batches)
    check_budget(found, job.effort)
    directory = _fresh_directory(workspace, name, job.run_id)
    with Heartbeat(workspace, name, job.run_id) as heartbeat:
        files = _write_version(workspace, job, directory, searches, batches)
        number = numbered_version(parent)
        failures = _failures_file(found, job)
        draft = _draft(job, directory, files, found, started, failures=f"{FAILURES}/{number:020d}.parquet" if failures else None)
        heartbeat.check()
        made = _commit(workspace, name, numbered(draft, parent), failures)
        publish_link(workspace, name)
    return collection_ref(workspace, name, made)


def numbered_version(parent: Commit | None) -> int:
    return parent.version + 1 if parent else 1


def _fresh_directory(workspace: Workspace, name: str, run_id: str) -> str:
    """The run's id, or, when an earlier attempt of the run left files, another name: nothing written is ever written over."""
    taken = next(iter(workspace.list(version_key(name, run_id))), None)
    return run_id if taken is None else f"{run_id}-{uuid.uuid4().hex[:8]}"


def _write_version(
    workspace: Workspace, job: Job, directory: str, searches: Sequence[SearchRef], batches: Sequence[BatchRef]
) -> tuple[DataFile, ...]:
    """The data files, durable and listed."""
    home = version_key(job.plan.name, directory)
    bands = [band.code for band in job.plan.question.bands]
    shape = shape_of(bands, [search.types for search in searches])
    effort = job.effort
    with VersionWriter(
        workspace,
        home,
        directory,
        schema=shape.schema,
        metadata=_metadata(job, directory),
        partition_by=effort.partition_by,
        compression=effort.compression,
    ) as writer:
        for table in _tables(workspace, batches, shape):
            writer.add(table)
    workspace.sync(home)
    verify_listing(workspace, home, writer.files)
    return tuple(writer.files)


def _tables(workspace: Workspace, batches: Sequence[BatchRef], shape: Shape) -> Iterator[pa.Table]:
    """Rows of the batches with typed properties, each id once: two shards may both see an item whose datetime was changed meanwhile."""
    seen: set[bytes] = set()
    for batch in batches:
        table = read_records(workspace, batch)
        # 16 bytes a row, whatever the length of the ids.
        keys = [hashlib.blake2b(name.encode(), digest_size=16).digest() for name in table["id"].to_pylist()]
        new = [key not in seen for key in keys]
        seen.update(keys)
        yield shape.typed(table if all(new) else table.filter(pa.array(new)))


def verify_listing(workspace: Workspace, home: str, files: Sequence[DataFile]) -> None:
    """What stands in the version directory must be the manifest, no more and no less. Raises Unavailable."""
    there = {entry.key: entry.size for entry in workspace.list(home)}
    wanted = {f"{home}/{file.path}": file.size for file in files}
    if there != wanted:
        odd = sorted(set(there.items()) ^ set(wanted.items()))[:3]
        raise Unavailable(
            f"{workspace.uri_of(home)} does not hold what was written: {odd}", remedy="run again; leave the workspace alone meanwhile"
        )


def _failures_file(found: Totals, job: Job) -> bytes | None:
    if not found.failures:
        return None
    names = [field.name for field in fields(Failure)]
    columns: dict[str, list[Any]] = {name: [getattr(failure, name) for failure in found.failures] for name in names}
    table = pa.table({name: pa.array(values, _FAILURE_TYPES.get(name, pa.string())) for name, values in columns.items()})
    table = table.append_column("run_id", pa.array([job.run_id] * len(table), pa.string()))
    table = table.append_column("collection", pa.array([job.plan.question.source.collection] * len(table), pa.string()))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


_FAILURE_TYPES = {
    "http_status": pa.int32(),
    "attempts": pa.int32(),
    "retryable": pa.bool_(),
    "first_seen": pa.timestamp("us", "UTC"),
    "last_seen": pa.timestamp("us", "UTC"),
}


def _commit(workspace: Workspace, name: str, draft: Commit, failures: bytes | None) -> Commit:
    """The failures table goes first, so that no commit names a file that is not there; a rival for the same number may have
    written over it meanwhile, so the winner looks again."""
    key = f"{name}/{draft.failures}"
    if failures is not None:
        workspace.write(key, failures)
    made = commit(workspace, name, draft)
    if failures is not None and made.dir == draft.dir and workspace.read(key) != failures:
        workspace.write(key, failures)
    return made


def publish_link(workspace: Workspace, name: str) -> None:
    """`<workspace>/<name>_stac` points to the newest version (local disks): so Rasteret's own listing finds it. A convenience."""
    newest = latest(workspace, name)
    link = workspace.local_path(f"{name}_stac")
    while newest is not None and link is not None and (link.is_symlink() or not link.exists()):
        _swap_link(link, Path(version_key(name, newest.dir)))
        again = latest(workspace, name)
        if again is None or again.version == newest.version:
            return
        newest = again


def _swap_link(link: Path, target: Path) -> None:
    temporary = link.with_name(f".{link.name}.{uuid.uuid4().hex}.tmp")
    try:
        os.symlink(target, temporary, target_is_directory=True)
        os.replace(temporary, link)
    except OSError:
        temporary.unlink(missing_ok=True)


def _draft(job: Job, directory: str, files: tuple[DataFile, ...], found: Totals, started: datetime, *, failures: str | None) -> Commit:
    return Commit(
        version=0,
        parent=0,
        run_id=job.run_id,
        dir=directory,
        files=files,
        rows=sum(file.rows for file in files),
        fingerprint=job.plan.fingerprint,
        question=question_to_json(job.plan.question),
        spec=job.spec,
        counts=Counts(
            matched=found.matched,
            received=found.received,
            kept=found.kept,
            disagreeing=found.disagreeing,
            duplicates=found.duplicates,
            headers=found.headers,
            failed=found.by_reason,
        ),
        traffic=found.traffic,
        software=software(),
        started=started,
        ended=datetime.now(UTC),
        closed=all(shard.closed for shard in job.plan.shards),
        failures=failures,
    )


def software() -> dict[str, str]:
    """Versions of what wrote a collection."""
    return {"python": platform.python_version(), **{name: version(name) for name in _SOFTWARE}}


def _metadata(job: Job, directory: str) -> dict[str, str]:
    """Schema metadata of every file: Rasteret's keys, then ours."""
    source = str(job.spec.get("dataset") or job.plan.question.source.collection)
    return {
        "name": job.plan.name,
        "description": str(job.spec.get("description") or f"STAC collection indexed from {source}"),
        "created": datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds"),
        "data_source": source,
        "date_range": date_range(job.plan.question.dates, job.plan.now),
        "rasteret_collection_version": "1",
        "rasterloom:spec": canonical_json(job.spec),
        "rasterloom:fingerprint": job.plan.fingerprint,
        "rasterloom:snapshot": directory,
        "rasterloom:software": canonical_json(software()),
    }


def date_range(dates: Interval, now: datetime) -> str:
    """`2024-06-01T00:00:00,2024-07-15T23:59:59`; an open end is `now`; without a start there is none to tell."""
    if dates.start is None:
        return ""
    last = dates.end - timedelta(microseconds=1) if dates.end else now
    return ",".join(instant.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat() for instant in (dates.start, last))
