"""The failures table of a version: what could not be read, how often it was tried, and since when."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rasterloom.access.values import Failure
from rasterloom.access.versions.commits import Commit
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import Unavailable

_TYPES = {
    "http_status": pa.int32(),
    "attempts": pa.int32(),
    "retryable": pa.bool_(),
    "first_seen": pa.timestamp("us", "UTC"),
    "last_seen": pa.timestamp("us", "UTC"),
}
_NAMES = [each.name for each in fields(Failure)]


def failures_table(failures: Sequence[Failure], *, run_id: str, collection: str) -> bytes | None:
    """The table as a Parquet file; None where nothing failed."""
    if not failures:
        return None
    columns: dict[str, list[Any]] = {name: [getattr(failure, name) for failure in failures] for name in _NAMES}
    table = pa.table({name: pa.array(values, _TYPES.get(name, pa.string())) for name, values in columns.items()})
    table = table.append_column("run_id", pa.array([run_id] * len(table), pa.string()))
    table = table.append_column("collection", pa.array([collection] * len(table), pa.string()))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def read_failures(workspace: Workspace, name: str, entry: Commit) -> pa.Table | None:
    """The table of a committed version, None where nothing failed. Raises Unavailable where it is gone or damaged."""
    if not entry.failures:
        return None
    data = workspace.read(f"{name}/{entry.failures}")
    try:
        if data is None:
            raise FileNotFoundError("it is gone")
        return pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise Unavailable(
            f"{workspace.uri_of(f'{name}/{entry.failures}')} cannot be read: {error}",
            remedy="`rasterloom verify` tells what is damaged; the next build writes a new one",
        ) from error


def failures_in(table: pa.Table | None) -> list[Failure]:
    """The rows of a table as values."""
    if table is None:
        return []
    rows = table.select([name for name in table.column_names if name in _NAMES]).to_pylist()
    return [Failure(**row) for row in rows]


def merged(found: Iterable[Failure], before: Iterable[Failure], now: datetime) -> tuple[Failure, ...]:
    """What failed now, with the attempts of earlier versions added and the day that it was first seen kept."""
    earlier = {_subject(failure): failure for failure in before}
    return tuple(_continued(failure, earlier.get(_subject(failure)), now) for failure in found)


def remembered(workspace: Workspace, name: str, parent: Commit | None) -> list[Failure]:
    """The failures of the version before; none where its table cannot be read: a damaged table must not end a build."""
    try:
        return failures_in(read_failures(workspace, name, parent)) if parent else []
    except Unavailable:
        return []


def _subject(failure: Failure) -> tuple[str, str, str, str]:
    return failure.stage, failure.item_id, failure.band, failure.href


def _continued(failure: Failure, before: Failure | None, now: datetime) -> Failure:
    if before is None:
        return replace(failure, first_seen=failure.first_seen or now, last_seen=failure.last_seen or now)
    if failure.last_seen is None:  # an item that a search gave, perhaps one that is remembered: there is nothing to try
        return replace(failure, first_seen=before.first_seen or now, last_seen=now)
    if before.last_seen is not None and failure.last_seen <= before.last_seen:  # from the staged batch of an earlier run
        return before
    return replace(
        failure, attempts=before.attempts + failure.attempts, first_seen=before.first_seen or now, last_seen=failure.last_seen or now
    )
