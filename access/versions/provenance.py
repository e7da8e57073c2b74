"""Where a collection comes from: what its commits say, as a table and as a few lines for people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from rasterloom.access.versions.commits import Commit

_TIME = pa.timestamp("us", "UTC")
_SCHEMA = pa.schema(
    [
        ("snapshot", pa.int64()),
        ("parent", pa.int64()),
        ("action", pa.string()),
        ("rollback_of", pa.int64()),
        ("copied_from", pa.string()),
        ("run_id", pa.string()),
        ("directory", pa.string()),
        ("started", _TIME),
        ("ended", _TIME),
        ("rows", pa.int64()),
        ("files", pa.int64()),
        ("bytes", pa.int64()),
        ("matched", pa.int64()),
        ("received", pa.int64()),
        ("kept", pa.int64()),
        ("disagreeing", pa.int64()),
        ("duplicates", pa.int64()),
        ("twins", pa.int64()),
        ("headers", pa.int64()),
        ("failed", pa.int64()),
        ("failed_by_reason", pa.string()),
        ("items_new", pa.int64()),
        ("items_changed", pa.int64()),
        ("items_gone", pa.int64()),
        ("items_carried", pa.int64()),
        ("items_left", pa.int64()),
        ("headers_fetched", pa.int64()),
        ("headers_cached", pa.int64()),
        ("headers_parent", pa.int64()),
        ("files_linked", pa.int64()),
        ("files_written", pa.int64()),
        ("requests", pa.int64()),
        ("bytes_received", pa.int64()),
        ("coverage", pa.float64()),
        ("drift", pa.list_(pa.string())),
        ("closed", pa.bool_()),
        ("fingerprint", pa.string()),
        ("question", pa.string()),
        ("spec", pa.string()),
        ("software", pa.string()),
    ]
)


def provenance_table(log: Iterable[Commit]) -> pa.Table:
    """One row per commit, in the order given; `question`, `spec`, `software` and `failed_by_reason` are JSON."""
    return pa.Table.from_pylist([row_of(entry) for entry in log], schema=_SCHEMA)


def row_of(entry: Commit) -> dict[str, Any]:
    """The commit as one flat record."""
    counts, reuse = entry.counts, entry.reuse
    flat = {
        name: getattr(entry, name)
        for name in ("parent", "action", "rollback_of", "copied_from", "run_id", "started", "ended", "rows", "closed")
    }
    counted = {name: getattr(counts, name) for name in ("matched", "received", "kept", "disagreeing", "duplicates", "headers")}
    reused = {name: getattr(reuse, name) for name in _SCHEMA.names if hasattr(reuse, name)}
    texts = {name: _json(getattr(entry, name)) for name in ("question", "spec", "software")}
    return {
        **flat,
        **counted,
        **reused,
        **texts,
        "snapshot": entry.version,
        "directory": entry.dir,
        "files": len(entry.files),
        "bytes": sum(file.size for file in entry.files),
        "failed": sum(counts.failed.values()),
        "failed_by_reason": _json(counts.failed),
        "requests": entry.traffic.requests,
        "bytes_received": entry.traffic.bytes,
        "twins": entry.twins,
        "coverage": entry.coverage,
        "drift": list(entry.drift),
        "fingerprint": entry.fingerprint,
    }


def lines_of(entry: Commit) -> dict[str, Any]:
    """What `info` shows of a commit: short, in the order of interest, empty values left out."""
    counts, reuse = entry.counts, entry.reuse
    took = (entry.ended - entry.started).total_seconds()
    shown = {
        "snapshot": f"{entry.version} ({_did(entry)}, {entry.ended:%Y-%m-%d %H:%M} UTC, {took:.1f} s)",
        "run": entry.run_id,
        "fingerprint": entry.fingerprint[:16],
        "copied from": entry.copied_from,
        "items": _counted(
            matched=counts.matched, kept=counts.kept, disagreeing=counts.disagreeing, duplicates=counts.duplicates, twins=entry.twins
        ),
        "since the snapshot before": _counted(
            new=reuse.items_new,
            changed=reuse.items_changed,
            gone=reuse.items_gone,
            gone_and_kept=reuse.items_carried,
            left=reuse.items_left,
        ),
        "headers": _counted(fetched=reuse.headers_fetched, from_memory=reuse.headers_cached, from_parent=reuse.headers_parent),
        "files": _counted(written=reuse.files_written, unchanged=reuse.files_linked),
        "failed": _counted(**counts.failed),
        "traffic": f"{entry.traffic.requests:,} requests, {entry.traffic.bytes:,} bytes",
        "coverage": None if entry.coverage is None else f"{entry.coverage:.1%}",
        "drift": list(entry.drift),
        "software": [f"{name} {version}" for name, version in entry.software.items()],
    }
    return {name: value for name, value in shown.items() if value not in (None, "", [])}


def _did(entry: Commit) -> str:
    return f"rollback to {entry.rollback_of}" if entry.rollback_of else entry.action


def _counted(**counts: int | None) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count)


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
