"""The tasks of a read. Each is a wire: a policy and one call into `rasterloom.access.reads`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from rasterloom.access.reads import run
from rasterloom.access.reads.job import ReadJob, Unit
from rasterloom.access.reads.mirror import mirror
from rasterloom.access.reads.outputs import OutputRef
from rasterloom.access.reads.units import MadeRef
from rasterloom.access.values import Traffic
from rasterloom.tasks.limits import host_slots
from rasterloom.tasks.logs import hide_secrets_in_logs
from rasterloom.tasks.policies import UNAVAILABLE_ONLY, ArtifactRefSerializer, ContentKey
from rasterloom.tasks.secrets import secret


def units_digest(inputs: Mapping[str, Any]) -> str:
    """What decides the units of a group: their keys, which hold all of it."""
    keys = "\n".join(unit.key for unit in inputs["units"])
    return hashlib.sha256(f"{inputs['job'].workspace}\n{keys}".encode()).hexdigest()


@task(
    name="read",
    task_run_name="read-{label}",
    cache_policy=ContentKey(namespace="read", digest=units_digest),
    result_serializer=ArtifactRefSerializer(),
    **UNAVAILABLE_ONLY,
)
def make(job: ReadJob, units: Sequence[Unit], label: str) -> MadeRef:  # noqa: ARG001  for the name of the run
    """Read the pixels of some units."""
    hide_secrets_in_logs()  # the process may be a worker's, of which the flow knows nothing
    turn = partial(host_slots, most=job.effort.max_concurrent, own=dict(job.effort.limits))
    return run.make_units(job, units, secrets=secret, turn=turn)


@task(name="finish", task_run_name="finish-{job.read}", cache_policy=NO_CACHE, persist_result=False, **UNAVAILABLE_ONLY)
def finish(job: ReadJob, units: Sequence[Unit], made: int, traffic: Traffic) -> OutputRef:
    """Put the units together and commit the output."""
    return run.finish_read(job, units, made=made, traffic=traffic)


@task(name="copy", task_run_name="copy-{output.read}", cache_policy=NO_CACHE, persist_result=False, **UNAVAILABLE_ONLY)
def copy(workspace: str, output: OutputRef, to: str) -> bool:
    """Make the place that the spec names hold the newest output."""
    return mirror(workspace, output, to)
