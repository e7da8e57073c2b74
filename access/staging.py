"""What a build writes before its commit: content-addressed artifacts below `<workspace>/_cache/`.

`searches/<shard key>.json` is trusted for ever, so it is written for closed shards alone; an open shard's document carries
the run id in its name and is never found by another run. `items/` hold scenes, `records/` scenes joined with headers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rasterloom.access.files import Workspace
from rasterloom.access.refs import from_json, to_json
from rasterloom.access.scenes import hrefs_of, scene_from_line, scene_to_line
from rasterloom.access.values import BatchRef, ItemsRef, Scene, SearchRef
from rasterloom.errors import SpecError, Unavailable
from rasterloom.raster.header import PARSER_VERSION

CACHE = "_cache"
RECORDS_VERSION = 1
"""Part of every key of staged records: raise it when `records.assemble` writes something else."""
HEADERS_PER_BATCH = 2000
"""Header requests of one batch; about 1-2 s of work."""
_SMALLEST_BATCH = 500
_BATCHES_WANTED = 4


def scenes_per_batch(scenes: int, requests: int) -> int:
    """So many scenes that one batch has about 2000 header requests, fewer where a small build would have few batches."""
    target = min(HEADERS_PER_BATCH, max(_SMALLEST_BATCH, -(-requests // _BATCHES_WANTED)))
    return max(1, target * scenes // max(1, requests))


def write_items(workspace: Workspace, scenes: Sequence[Scene]) -> ItemsRef:
    """One file of scenes, named after its content."""
    lines = b"".join(scene_to_line(scene) + b"\n" for scene in scenes)
    data = bytes(pa.Codec("zstd").compress(lines, asbytes=True))
    digest = hashlib.sha256(data).hexdigest()
    key = f"{CACHE}/items/{digest}.jsonl.zst"
    if workspace.size(key) != len(data):
        workspace.write(key, data)
    return ItemsRef(uri=workspace.uri_of(key), sha256=digest, scenes=len(scenes), assets=sum(len(hrefs_of(scene)) for scene in scenes))


def read_items(workspace: Workspace, items: ItemsRef) -> list[Scene]:
    """Raises Unavailable where the file is gone or changed."""
    data = read_whole(workspace, items.uri, items.sha256)
    if data is None:
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
    """Write the records and the reference beside them; the latter last, so that it never names what is not there."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=1, use_dictionary=False)
    data = sink.getvalue().to_pybytes()
    key = records_key(items)
    workspace.write(f"{key}.parquet", data)
    ref = replace(draft, uri=workspace.uri_of(f"{key}.parquet"), sha256=hashlib.sha256(data).hexdigest())
    workspace.write(f"{key}.json", _json(ref))
    return ref


def read_batch_ref(workspace: Workspace, items: ItemsRef) -> BatchRef | None:
    """What is staged for these items, with whatever failed then; None where nothing whole is there. Reads all of it to be sure."""
    ref = find_batch_ref(workspace, items)
    return ref if ref is not None and read_whole(workspace, ref.uri, ref.sha256) is not None else None


def find_batch_ref(workspace: Workspace, items: ItemsRef) -> BatchRef | None:
    """As `read_batch_ref`, by the presence of the file alone: for a forecast."""
    data = workspace.read(f"{records_key(items)}.json")
    try:
        ref = from_json(BatchRef, json.loads(data)) if data else None
    except (ValueError, TypeError, KeyError):
        return None
    return ref if ref is not None and _stands(workspace, ref.uri) else None


def read_records(workspace: Workspace, batch: BatchRef) -> pa.Table:
    """Raises Unavailable where the file is gone or changed."""
    data = read_whole(workspace, batch.uri, batch.sha256)
    if data is None:
        raise Unavailable(f"{batch.uri} is gone or changed", remedy="run again: its headers are read anew")
    return pq.read_table(pa.BufferReader(data))


def needs_retry(batch: BatchRef) -> bool:
    """Whether another attempt may read more headers than this one did."""
    return any(failure.retryable for failure in batch.failures)


def read_whole(workspace: Workspace, uri: str, sha256: str) -> bytes | None:
    """The file at `uri` if it is there and unchanged."""
    try:
        data = workspace.read(workspace.key_of(uri))
    except SpecError:
        return None
    return data if data is not None and hashlib.sha256(data).hexdigest() == sha256 else None


def _stands(workspace: Workspace, uri: str) -> bool:
    try:
        return workspace.size(workspace.key_of(uri)) is not None
    except SpecError:
        return False


def _json(value: Any) -> bytes:
    return json.dumps(to_json(value), sort_keys=True).encode()
