"""What a build writes before its commit: content-addressed artifacts below `<workspace>/_cache/`.

`searches/<shard key>.json` is trusted for ever, so it is written for closed shards alone; an open shard's document carries
the run id in its name and is never found by another run. `items/` hold scenes, `records/` scenes joined with headers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rasterloom.access.cache.records import PROPERTIES
from rasterloom.access.cache.scenes import hrefs_of, scene_from_line, scene_to_line
from rasterloom.access.items.moments import instant_of
from rasterloom.access.refs import from_json, to_json
from rasterloom.access.values import BatchRef, ItemsRef, Scene, SearchRef
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import SpecError, Unavailable
from rasterloom.raster.header import PARSER_VERSION

CACHE = "_cache"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RECORDS_VERSION = 2
"""Part of every key of staged records: raise it when `records.assemble` writes something else."""
HEADERS_PER_BATCH = 2000
"""Header requests of one batch; about 1-2 s of work."""
_SMALLEST_BATCH = 500
_BATCHES_WANTED = 4


def scenes_per_batch(scenes: int, requests: int, *, shards: int = 1) -> int:
    """So many scenes that the batches of one of `shards` searches are equal and have up to 2000 header requests, fewer where a small
    build would have few batches."""
    target = min(HEADERS_PER_BATCH, max(_SMALLEST_BATCH, -(-requests * shards // _BATCHES_WANTED)))
    batches = max(1, -(-requests // target))
    return max(1, min(-(-scenes // batches), target * scenes // max(1, requests)))


def write_items(workspace: Workspace, scenes: Sequence[Scene]) -> ItemsRef:
    """One file of scenes, named after its content."""
    data = _lines_of(scenes)
    ref = _items_ref(workspace, scenes, data)
    key = items_key(ref.sha256)
    if workspace.size(key) != len(data):
        workspace.write(key, data)
    return ref


def items_ref(workspace: Workspace, scenes: Sequence[Scene]) -> ItemsRef:
    """The reference that `write_items` gives, without the file: for a forecast."""
    return _items_ref(workspace, scenes, _lines_of(scenes))


def _lines_of(scenes: Sequence[Scene]) -> bytes:
    lines = b"".join(scene_to_line(scene) + b"\n" for scene in scenes)
    return bytes(pa.Codec("zstd").compress(lines, asbytes=True))


def _items_ref(workspace: Workspace, scenes: Sequence[Scene], data: bytes) -> ItemsRef:
    digest = hashlib.sha256(data).hexdigest()
    assets = sum(len(hrefs_of(scene)) for scene in scenes)
    return ItemsRef(uri=workspace.uri_of(items_key(digest)), sha256=digest, scenes=len(scenes), assets=assets)


def items_key(sha256: str) -> str:
    """Named by the content: a workspace that was moved or copied has it too."""
    return f"{CACHE}/items/{sha256}.jsonl.zst"


def read_items(workspace: Workspace, items: ItemsRef) -> list[Scene]:
    """Raises Unavailable where the file is gone or changed; a changed one is removed, so that no search is believed to stand on it."""
    uri = workspace.uri_of(items_key(items.sha256))
    data = read_whole(workspace, uri, items.sha256)
    if data is None:
        _remove(workspace, uri)
        raise Unavailable(f"{items.uri} is gone or changed", remedy="run again: the search is done anew")
    stream = pa.CompressedInputStream(pa.BufferReader(data), "zstd")
    return [scene_from_line(line) for line in bytes(stream.read()).splitlines()]


def search_key(shard_key: str, *, run_id: str | None) -> str:
    """`run_id` None: the name that every run trusts."""
    return f"{CACHE}/searches/{shard_key}.json" if run_id is None else f"{CACHE}/searches/{shard_key}.{run_id}.json"


def write_search(workspace: Workspace, key: str, found: SearchRef) -> SearchRef:
    ref = replace(found, uri=workspace.uri_of(key))
    workspace.write(key, _json(ref))
    return ref


def read_search(workspace: Workspace, key: str) -> SearchRef | None:
    """The search as it was written, or None where it, or a file that it names, is not there."""
    data = workspace.read(key)
    try:
        ref = from_json(SearchRef, json.loads(data)) if data else None
    except (ValueError, TypeError, KeyError):
        return None
    return ref if ref is not None and search_is_whole(workspace, ref) else None


def search_is_whole(workspace: Workspace, ref: SearchRef) -> bool:
    return all(_stands(workspace, batch.uri) for batch in ref.batches)


def records_key(items: ItemsRef) -> str:
    """Everything that decides the records of a batch: its scenes with their hrefs, the parser, the table."""
    text = f"{items.sha256} parser {PARSER_VERSION} records {RECORDS_VERSION}"
    return f"{CACHE}/records/{hashlib.sha256(text.encode()).hexdigest()}"


def write_batch(workspace: Workspace, items: ItemsRef, table: pa.Table, draft: BatchRef) -> BatchRef:
    """Write the records, their row keys, and the reference beside them; the latter last, so that it never names what is not there."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=1, use_dictionary=False)
    data = sink.getvalue().to_pybytes()
    key = records_key(items)
    workspace.write(f"{key}.parquet", data)
    workspace.write(f"{key}.rows", _with_sum(row_keys(table)))
    ref = replace(draft, uri=workspace.uri_of(f"{key}.parquet"), sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    workspace.write(f"{key}.json", _json(ref))
    return ref


def find_batch_ref(workspace: Workspace, items: ItemsRef) -> BatchRef | None:
    """What is staged for these items, with whatever failed then; None where nothing of the right size is there."""
    data = workspace.read(f"{records_key(items)}.json")
    try:
        ref = from_json(BatchRef, json.loads(data)) if data else None
    except (ValueError, TypeError, KeyError):
        return None
    return ref if ref is not None and batch_stands(workspace, ref) else None


def batch_stands(workspace: Workspace, batch: BatchRef) -> bool:
    """Whether the file is there, by its size: its content is checked when it is read, which most batches of a refresh never are."""
    try:
        return workspace.size(workspace.key_of(batch.uri)) == batch.size
    except SpecError:
        return False


def read_records(workspace: Workspace, batch: BatchRef, columns: Sequence[str] | None = None) -> pa.Table:
    """Some columns, or all. Raises Unavailable where the file is gone or changed; a changed one is removed, so that the next run reads
    its headers anew."""
    data = read_whole(workspace, batch.uri, batch.sha256)
    if data is None:
        _remove(workspace, batch.uri)
        raise Unavailable(f"{batch.uri} is gone or changed", remedy="run again: its headers are read anew")
    return pq.read_table(pa.BufferReader(data), columns=None if columns is None else list(columns))


ROW_KEY = np.dtype([("id", "S16"), ("updated", "<i8"), ("month", "<i4")])
"""One row of staged records: hash of the item's id, its `updated` in microseconds since 1970 (the least number where it has none),
and the month of its datetime, counted from year 0."""
RowKeys = NDArray[np.void]
_SUM = 32


def row_keys(table: pa.Table) -> RowKeys:
    """`ROW_KEY` for every row of staged records."""
    keys = np.empty(table.num_rows, ROW_KEY)
    keys["id"] = [id_key(name) for name in table["id"].to_pylist()]
    keys["updated"] = [stamp_of(json.loads(text).get("updated")) for text in table[PROPERTIES].to_pylist()]
    months = pc.add(pc.multiply(pc.year(table["datetime"]), 12), pc.subtract(pc.month(table["datetime"]), 1))
    keys["month"] = months.to_numpy()
    return keys


def id_key(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=16).digest()


def stamp_of(updated: object) -> int:
    instant = instant_of(updated)
    return -(1 << 63) if instant is None else (instant - _EPOCH) // timedelta(microseconds=1)


def read_row_keys(workspace: Workspace, batch: BatchRef) -> RowKeys:
    """Without reading the records, unless the file of the keys is gone or damaged. Raises Unavailable as `read_records`."""
    key = f"{workspace.key_of(batch.uri).removesuffix('.parquet')}.rows"
    data = workspace.read(key)
    if data is not None and hashlib.sha256(data[:-_SUM]).digest() == data[-_SUM:] and len(data) == batch.rows * ROW_KEY.itemsize + _SUM:
        return np.frombuffer(data, ROW_KEY, count=batch.rows)
    keys = row_keys(read_records(workspace, batch))
    workspace.write(key, _with_sum(keys))
    return keys


def _with_sum(keys: RowKeys) -> bytes:
    data = keys.tobytes()
    return data + hashlib.sha256(data).digest()


def needs_retry(batch: BatchRef, *, again: bool = False) -> bool:
    """Whether another attempt may read more headers than this one did; `again`: whatever the failure was."""
    return any(failure.retryable or again for failure in batch.failures if failure.stage == "header")


def read_whole(workspace: Workspace, uri: str, sha256: str) -> bytes | None:
    """The file at `uri` if it is there and unchanged."""
    try:
        data = workspace.read(workspace.key_of(uri))
    except SpecError:
        return None
    return data if data is not None and hashlib.sha256(data).hexdigest() == sha256 else None


def _remove(workspace: Workspace, uri: str) -> None:
    try:
        workspace.delete(workspace.key_of(uri))
    except SpecError:
        return  # not of this workspace: nothing of ours


def _stands(workspace: Workspace, uri: str) -> bool:
    try:
        return workspace.size(workspace.key_of(uri)) is not None
    except SpecError:
        return False


def _json(value: Any) -> bytes:
    return json.dumps(to_json(value), sort_keys=True).encode()
