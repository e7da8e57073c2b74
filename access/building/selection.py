"""Which rows of which staged batches make a version, by their keys alone but for `dedupe`, and what decides each of its partitions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rasterloom.access.cache.records import RIVAL_COLUMNS, rivals_in
from rasterloom.access.cache.scenes import Rival
from rasterloom.access.cache.staging import ROW_KEY, RowKeys, read_records, read_row_keys
from rasterloom.access.values import BatchRef
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import SpecError
from rasterloom.specs.question import Dedupe

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
    """The rows of a version: of one id the newest `updated`, of equals the first in the order of the plan; of one group of `dedupe` one."""

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


def select(
    workspace: Workspace, batches: Sequence[BatchRef], *, carried: Sequence[BatchRef] = (), dedupe: Dedupe | None = None
) -> Selection:
    """Each id once: two shards may both see an item whose datetime was changed meanwhile.

    With `dedupe` each group once, whichever shards its scenes lie in: how a question is cut is effort, and decides nothing. A scene
    that a search gave goes before one that is only `carried` on.
    """
    every = (*batches, *carried)
    if not every:
        return Selection(())
    with ThreadPoolExecutor(_READERS) as pool:
        keys = list(pool.map(lambda batch: read_row_keys(workspace, batch), every))
    chosen = _chosen(np.concatenate(keys))
    parts = np.split(chosen, np.cumsum([len(part) for part in keys])[:-1])
    if dedupe is not None:
        _keep_best(workspace, every, parts, found=len(batches), dedupe=dedupe)
    return Selection(tuple(map(Source, every, keys, parts)))


def _keep_best(
    workspace: Workspace, batches: Sequence[BatchRef], parts: Sequence[NDArray[np.bool_]], *, found: int, dedupe: Dedupe
) -> None:
    """Of the chosen rows of each group all but the best are no longer chosen, in place; the first `found` batches go before the others."""
    best: dict[tuple[str, ...], tuple[int, int, Rival]] = {}
    for number, (batch, chosen) in enumerate(zip(batches, parts, strict=True)):
        rivals = rivals_in(read_records(workspace, batch, RIVAL_COLUMNS), dedupe)
        for row in np.flatnonzero(chosen).tolist():
            other = best.setdefault(rivals[row].group, (number, row, rivals[row]))
            if other[:2] == (number, row):
                continue
            if rivals[row].beats(other[2]) and (number < found) >= (other[0] < found):
                best[rivals[row].group] = (number, row, rivals[row])
                parts[other[0]][other[1]] = False
            else:
                chosen[row] = False


def _chosen(keys: RowKeys) -> NDArray[np.bool_]:
    order = np.lexsort((-np.arange(len(keys)), keys["updated"], keys["id"]))
    last = np.ones(len(keys), bool)
    last[:-1] = keys["id"][order[1:]] != keys["id"][order[:-1]]
    chosen = np.zeros(len(keys), bool)
    chosen[order[last]] = True
    return chosen
