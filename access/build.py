"""What the tasks call: decide, search a shard, read the headers of a batch, publish. No Prefect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import shapely

from rasterloom.access.batches import Outcome, fetched_outcome, staged_outcome
from rasterloom.access.decide import Decision, ShardState, decide
from rasterloom.access.footprints import area_of, meets
from rasterloom.access.items import answers, scene_of
from rasterloom.access.job import Job
from rasterloom.access.publish import publish
from rasterloom.access.records import assemble
from rasterloom.access.refs import from_json
from rasterloom.access.scenes import Spool
from rasterloom.access.secrets import Secrets, environment_secrets
from rasterloom.access.stac import search
from rasterloom.access.staging import (
    CACHE,
    needs_retry,
    read_batch_ref,
    read_items,
    read_search,
    read_whole,
    scenes_per_batch,
    search_is_whole,
    search_key,
    write_batch,
    write_items,
    write_search,
)
from rasterloom.access.values import BatchRef, Failure, ItemsRef, Scene, SearchRef, Traffic
from rasterloom.access.workspace import Workspace, open_workspace
from rasterloom.raster.properties import merge, summarise
from rasterloom.specs.plan import owns, shard_key
from rasterloom.specs.question import Box, Shard

__all__ = [
    "Decision",
    "Job",
    "ShardState",
    "batch_ref_is_whole",
    "decide",
    "index_batch",
    "publish",
    "search_ref_is_whole",
    "search_shard",
]


def search_shard(job: Job, shard: Shard, *, secrets: Secrets = environment_secrets) -> SearchRef:
    """Search one shard, check every item again locally, and stage the scenes in batches. A closed shard is searched once for ever."""
    workspace = open_workspace(job.workspace)
    key = search_key(shard_key(job.plan.question, shard), run_id=None if shard.closed else job.run_id)
    known = None if job.effort.force else read_search(workspace, key)
    if known is not None:
        return replace(known, traffic=Traffic())
    with Spool(job.plan.question.dedupe) as spool:
        tally = _searched(job, shard, spool, secrets)
        scenes = scenes_per_batch(len(spool), spool.requests)
        batches = tuple(write_items(workspace, batch) for batch in spool.batches(scenes))
        kept = sum(batch.scenes for batch in batches)
        return write_search(workspace, key, replace(tally.ref(), batches=batches, kept=kept, duplicates=spool.duplicates))


@dataclass(slots=True)
class _Tally:
    """Counts of one search while it runs."""

    matched: int | None = None
    received: int = 0
    disagreeing: int = 0
    traffic: Traffic = field(default_factory=Traffic)
    failures: list[Failure] = field(default_factory=list[Failure])
    types: dict[str, Any] = field(default_factory=dict[str, Any])

    def ref(self) -> SearchRef:
        return SearchRef(
            uri="",
            batches=(),
            matched=self.matched,
            received=self.received,
            kept=0,
            disagreeing=self.disagreeing,
            duplicates=0,
            failures=tuple(self.failures),
            types=self.types,
            traffic=self.traffic,
        )


def _searched(job: Job, shard: Shard, spool: Spool, secrets: Secrets) -> _Tally:
    """Everything that the server sends for one shard, page by page, into the spool."""
    tally = _Tally()
    for page in search(job.plan.question, shard, effort=job.effort, secrets=secrets):
        tally.matched = tally.matched if page.matched is None else page.matched
        tally.traffic += Traffic(requests=1, bytes=page.bytes)
        scenes = [scene for item in page.items for scene in _answering(job, shard, item, tally)]
        for scene in scenes:
            spool.add(scene)
        tally.types = merge(tally.types, summarise(scene.properties for scene in scenes))
    return tally


def _answering(job: Job, shard: Shard, item: dict[str, Any], tally: _Tally) -> Iterable[Scene]:
    """The scene of an item, if it is usable, answers the question, and belongs to this shard. Another shard counts its own."""
    question, shards = job.plan.question, job.plan.shards
    scene, failures = scene_of(item, question)
    if scene is not None and not owns(question, shards, shard, scene.datetime, scene.bbox, meets=_meets(scene)):
        return ()
    tally.received += 1
    if scene is not None and not answers(scene, item, question):
        tally.disagreeing += 1
        return ()
    tally.failures.extend(failures)
    return () if scene is None else (scene,)


def _meets(scene: Scene) -> Callable[[Box], bool]:
    """Whether a scene's footprint meets a cell, judged as the server and `answers` do: by its geometry."""

    def meets_cell(cell: Box) -> bool:
        area = area_of(cell, None)
        return area is None or meets(area, shapely.from_wkb(scene.geometry), scene.bbox)

    return meets_cell


def index_batch(
    job: Job, items: ItemsRef, *, first_range: Mapping[str, int] | None = None, secrets: Secrets = environment_secrets
) -> BatchRef:
    """Read the headers of one batch and stage its records. What an earlier run read is not asked again, only what it may now get."""
    workspace = open_workspace(job.workspace)
    staged = None if job.effort.force else read_batch_ref(workspace, items)
    if staged is not None and not needs_retry(staged):
        return replace(staged, traffic=Traffic())
    scenes = read_items(workspace, items)
    known = Outcome() if staged is None else staged_outcome(workspace, staged, scenes)
    found = fetched_outcome(scenes, known, job, first_range or {}, secrets).beside(known)
    table = assemble(scenes, found.headers, [band.code for band in job.plan.question.bands])
    draft = BatchRef(
        uri="",
        sha256="",
        rows=len(scenes),
        headers=len(found.headers),
        failures=tuple(found.failures.values()),
        traffic=found.traffic,
        first_range=found.first_range,
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
