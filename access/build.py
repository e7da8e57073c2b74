"""What the tasks call: decide, search a shard, read the headers of a batch, publish. No Prefect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rasterloom.access.building.batches import Turn, fetched, freely, missing_hrefs, records_of, remembered
from rasterloom.access.building.decide import Decision, ShardState, decide
from rasterloom.access.building.job import Job
from rasterloom.access.building.publish import publish
from rasterloom.access.building.searching import found_scenes
from rasterloom.access.cache.staging import (
    CACHE,
    find_batch_ref,
    needs_retry,
    read_items,
    read_search,
    read_whole,
    search_is_whole,
    search_key,
    write_batch,
    write_items,
    write_search,
)
from rasterloom.access.credentials.secrets import Secrets, environment_secrets
from rasterloom.access.refs import from_json
from rasterloom.access.values import BatchRef, ItemsRef, SearchRef
from rasterloom.access.workspace.place import Workspace, open_workspace
from rasterloom.specs.plan import shard_key
from rasterloom.specs.question import Shard

__all__ = [
    "Decision",
    "Job",
    "Recalled",
    "ShardState",
    "batch_ref_is_whole",
    "decide",
    "found_scenes",
    "index_batch",
    "known_search",
    "missing_hrefs",
    "publish",
    "recall",
    "search_ref_is_whole",
    "search_shard",
]


def search_shard(job: Job, shard: Shard, *, secrets: Secrets = environment_secrets) -> SearchRef:
    """Search one shard, check every item again locally, and stage the scenes in batches. A closed shard is searched once for ever."""
    workspace = open_workspace(job.workspace)
    known = known_search(workspace, job, shard)
    if known is not None:
        return known.remembered()
    with found_scenes(job, shard, secrets=secrets) as found:
        batches = tuple(write_items(workspace, batch) for batch in found.batches())
        ref = replace(found.ref(kept=sum(batch.scenes for batch in batches)), batches=batches)
        return write_search(workspace, search_key(shard_key(job.plan.question, shard), run_id=None if shard.closed else job.run_id), ref)


def known_search(workspace: Workspace, job: Job, shard: Shard) -> SearchRef | None:
    """What is remembered of a shard: a closed one's search, its own run's, and that of the run whose failures are asked again."""
    if job.effort.force:
        return None
    key = shard_key(job.plan.question, shard)
    if shard.closed:
        return read_search(workspace, search_key(key, run_id=None))
    runs = [run for run in (job.run_id, job.retry_of) if run]
    return next((found for run in runs if (found := read_search(workspace, search_key(key, run_id=run)))), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """A shard that is remembered."""

    search: SearchRef
    batches: tuple[BatchRef | None, ...]
    """In the order of the search's; None where headers are still to be read."""


def recall(job: Job, shard: Shard) -> Recalled | None:
    """What `search_shard` and `index_batch` would answer without any work, by a look at a few small files; None: it is to be searched."""
    workspace = open_workspace(job.workspace)
    known = known_search(workspace, job, shard)
    return known and Recalled(search=known.remembered(), batches=tuple(_staged(workspace, job, items) for items in known.batches))


def _staged(workspace: Workspace, job: Job, items: ItemsRef) -> BatchRef | None:
    staged = None if job.effort.force else find_batch_ref(workspace, items)
    return None if staged is None or needs_retry(staged, again=job.effort.retry_failed) else staged.remembered()


def index_batch(
    job: Job,
    items: ItemsRef,
    *,
    first_range: Mapping[str, int] | None = None,
    secrets: Secrets = environment_secrets,
    turn: Turn = freely,
) -> BatchRef:
    """Read the headers of one batch and stage its records. What an earlier run read is not asked again, only what it may now get."""
    workspace = open_workspace(job.workspace)
    staged = _staged(workspace, job, items)
    if staged is not None:
        return staged
    scenes = read_items(workspace, items)
    known = remembered(workspace, job, scenes, items)
    found = fetched(workspace, scenes, known.left, job, first_range or {}, secrets, turn)
    parts = (*known.known, found.known)
    table = records_of(scenes, parts, [band.code for band in job.plan.question.bands])
    draft = BatchRef(
        uri="",
        sha256="",
        rows=len(scenes),
        headers=sum(len(part.places) for part in parts),
        failures=(*known.failures.values(), *found.failures.values()),
        traffic=found.traffic,
        first_range=dict(found.first_range),
        fetched=len(found.known.places),
        inherited=known.inherited,
    )
    return write_batch(workspace, items, table, draft)


def search_ref_is_whole(mapping: Mapping[str, Any]) -> bool:
    """Whether a remembered SearchRef, as JSON, still stands for what it names: the files of its scenes are there."""
    ref = from_json(SearchRef, mapping)
    return search_is_whole(_workspace_of(ref.uri), ref)


def batch_ref_is_whole(mapping: Mapping[str, Any]) -> bool:
    """Whether a remembered BatchRef, as JSON, may be used again: its file is unchanged and no failure of it is worth another try."""
    ref = from_json(BatchRef, mapping)
    return not needs_retry(ref) and read_whole(_workspace_of(ref.uri), ref.uri, ref.sha256) is not None


def _workspace_of(uri: str) -> Workspace:
    return open_workspace(uri.rpartition(f"/{CACHE}/")[0])
