"""The tasks of a build. Each is a wire: a policy and one call into `rasterloom.access`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from rasterloom.access import build
from rasterloom.access.build import Job
from rasterloom.access.cache.staging import records_key
from rasterloom.access.collection import load
from rasterloom.access.exports import Exported, refresh_export
from rasterloom.access.network.hosts import host_of
from rasterloom.access.values import BatchRef, CollectionRef, ItemsRef, SearchRef
from rasterloom.specs.plan import shard_key
from rasterloom.specs.question import Shard
from rasterloom.tasks.limits import host_slots
from rasterloom.tasks.logs import hide_secrets_in_logs
from rasterloom.tasks.policies import UNAVAILABLE_ONLY, ArtifactRefSerializer, ContentKey
from rasterloom.tasks.secrets import secret


def search_digest(inputs: Mapping[str, Any]) -> str | None:
    """What decides the scenes of a closed window; an open one is asked for again every time."""
    job: Job = inputs["job"]
    shard: Shard = inputs["shard"]
    return _digest(job.workspace, shard_key(job.plan.question, shard)) if shard.closed else None


def index_digest(inputs: Mapping[str, Any]) -> str:
    """What decides the records of a batch: the scenes in it, hrefs and bands among them, and the versions of what reads them."""
    return _digest(inputs["job"].workspace, records_key(inputs["items"]))


def _digest(workspace: str, content: str) -> str:
    # References point into the workspace that they were made in, and a workspace never reads outside itself.
    return hashlib.sha256(f"{workspace}\n{content}".encode()).hexdigest()


@task(
    name="search",
    task_run_name="search-{shard.index}",
    cache_policy=ContentKey(namespace="search", digest=search_digest),
    result_serializer=ArtifactRefSerializer(),
    **UNAVAILABLE_ONLY,
)
def search(job: Job, shard: Shard) -> SearchRef:
    """Ask the source for the scenes of one shard."""
    hide_secrets_in_logs()  # the process may be a worker's, of which the flow knows nothing
    source = job.plan.question.source.address
    with host_slots({host_of(source)}, most=1, own=dict(job.effort.limits)):  # a search asks for one page after the other
        return build.search_shard(job, shard, secrets=secret)


@task(
    name="index",
    task_run_name="index-{items.scenes}-scenes",
    cache_policy=ContentKey(namespace="index", digest=index_digest),
    result_serializer=ArtifactRefSerializer(),
    **UNAVAILABLE_ONLY,
)
def index(job: Job, items: ItemsRef, first_range: Mapping[str, int]) -> BatchRef:
    """Read the headers of one batch of scenes."""
    hide_secrets_in_logs()
    turn = partial(host_slots, most=job.effort.max_concurrent, own=dict(job.effort.limits))
    return build.index_batch(job, items, first_range=first_range, secrets=secret, turn=turn)


@task(name="publish", cache_policy=NO_CACHE, persist_result=False, **UNAVAILABLE_ONLY)
def publish(job: Job, searches: Sequence[SearchRef], batches: Sequence[BatchRef]) -> CollectionRef:
    """Write the version and commit it."""
    return build.publish(job, searches, batches, secrets=secret)


@task(name="export", task_run_name="export-{form}", cache_policy=NO_CACHE, persist_result=False, **UNAVAILABLE_ONLY)
def export(name: str, workspace: str, to: str, form: str) -> Exported:
    """Make a copy hold the newest snapshot."""
    return refresh_export(load(name, workspace), to, form)
