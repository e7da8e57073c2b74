"""Which rows of which staged batches make a version, and what decides each of its partitions; without reading a record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rasterloom.access.cache.staging import ROW_KEY, RowKeys, read_row_keys
from rasterloom.access.values import BatchRef
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import SpecError

_READERS = 8
"""Key files that are read at once: they are small, and an object store is far away."""
_PARTS: dict[str, Callable[[int], int]] = {"year": lambda month: month // 12, "month": lambda month: month % 12 + 1}


@dataclass(frozen=True, slots=True)
class Source:
    """One batch and which of its rows stand in the version."""

    batch: BatchRef
    keys: RowKeys
    chosen: NDArray[np.bool_]

    @property
    def digest(self) -> str:
        """Of the rows that stand."""
        if self.chosen.all():
            return self.batch.sha256
        return hashlib.sha256(self.batch.sha256.encode() + np.packbits(self.chosen).tobytes()).hexdigest()

    @property
    def months(self) -> list[int]:
        return np.unique(self.keys["month"][self.chosen]).tolist()


@dataclass(frozen=True)
class Selection:
    """The rows of a version: of one id the newest `updated`, of equals the first in the order of the plan."""

    sources: tuple[Source, ...]

    @cached_property
    def keys(self) -> RowKeys:
        """Of all rows that stand, in the order of the hashes of their ids."""
        keys = np.concatenate([source.keys[source.chosen] for source in self.sources] or [np.empty(0, ROW_KEY)])
        return keys[np.argsort(keys["id"])]

    def look_up(self, ids: NDArray[np.bytes_]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Whether the ids (hashes) stand, and their `updated` where they do."""
        if len(self.keys) == 0:
            return np.zeros(len(ids), bool), np.zeros(len(ids), np.int64)
        at = np.minimum(np.searchsorted(self.keys["id"], ids), len(self.keys) - 1)
        return self.keys["id"][at] == ids, self.keys["updated"][at]

    def digests(self, partition_by: tuple[str, ...], common: str) -> dict[str, str]:
        """Partition (`year=2024/month=6/`) -> digest of everything that decides its content; `common` is what all partitions share."""
        parts: dict[str, list[str]] = {}
        for source in self.sources:
            for partition in dict.fromkeys(partition_of(month, partition_by) for month in source.months):
                parts.setdefault(partition, []).append(source.digest)
        return {name: hashlib.sha256("\n".join([common, *parts[name]]).encode()).hexdigest() for name in sorted(parts)}


def partition_of(month: int, partition_by: tuple[str, ...]) -> str:
    """Hive path with a trailing slash; `month` is counted from year 0. Raises SpecError on what cannot be partitioned by."""
    if set(partition_by) - set(_PARTS):
        raise SpecError(f"storage.partition_by {list(partition_by)} is not supported", remedy="use [year, month], [year] or []")
    return "".join(f"{name}={_PARTS[name](month)}/" for name in partition_by)


def select(workspace: Workspace, batches: Sequence[BatchRef]) -> Selection:
    """Each id once: two shards may both see an item whose datetime was changed meanwhile."""
    if not batches:
        return Selection(())
    with ThreadPoolExecutor(_READERS) as pool:
        keys = list(pool.map(lambda batch: read_row_keys(workspace, batch), batches))
    chosen = _chosen(np.concatenate(keys))
    ends = np.cumsum([len(part) for part in keys])
    return Selection(tuple(map(Source, batches, keys, np.split(chosen, ends[:-1]))))


def _chosen(keys: RowKeys) -> NDArray[np.bool_]:
    order = np.lexsort((-np.arange(len(keys)), keys["updated"], keys["id"]))
    last = np.ones(len(keys), bool)
    last[:-1] = keys["id"][order[1:]] != keys["id"][order[:-1]]
    chosen = np.zeros(len(keys), bool)
    chosen[order[last]] = True
    return chosen
