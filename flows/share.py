"""Several Prefect workers for one build: helper runs search and read headers of the same plan, each from another place of it.

They answer with nothing: what they find stands in the workspace, where the build takes it up as it would after a crash. So the build
needs none of them, and one collection is committed, by the build alone.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import cast

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.context import FlowRunContext
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelled

from rasterloom.access.build import Job

HELPER = "gather-share"
"""Name of the helpers' flow (`rasterloom.flows.helper`); its deployment is named after the work pool."""
WORTH = 4
"""Searches and batches of headers that are left, from which on helpers are called: one needs seconds to start."""
NO_CONCERN = (ObjectNotFound, httpx.HTTPError)
"""What the server may say of helpers; the build goes on alone."""


@contextmanager
def shared(job: Job, *, left: int) -> Generator[None]:
    """For the block, helper runs do the same work from other ends, where the work pool of this run has helpers and there is enough left
    to do. Those that have not begun at its end are cancelled. What goes wrong with them is no concern of the build.

    None where everything is asked again: what they found could not be told from what was remembered before.
    """
    pool = _work_pool()
    if pool is None or left < WORTH or job.effort.force or job.effort.retry_failed:
        yield
        return
    with get_client(sync_client=True) as client:
        helpers = _called(client, pool, job)
        try:
            yield
        finally:
            for helper in helpers:
                with suppress(*NO_CONCERN):
                    _let_go(client, helper)


def _work_pool() -> str | None:
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return run.work_pool_name if run and run.deployment_id else None


def _called(client: SyncPrefectClient, pool: str, job: Job) -> list[FlowRun]:
    name, helpers = f"{HELPER}/{pool}", list[FlowRun]()
    given = {"build_run": str(flow_run.id), "run_id": job.run_id, "fingerprint": job.plan.fingerprint, "now": job.plan.now.isoformat()}
    with suppress(*NO_CONCERN):
        of = int(client.read_deployment_by_name(name).parameters.get("of", 1))
        for share in range(1, of):
            helpers.append(cast(FlowRun, run_deployment(name, parameters={**given, "share": share, "of": of}, timeout=0)))
    return helpers


def _let_go(client: SyncPrefectClient, helper: FlowRun) -> None:
    """One that runs ends by itself: it finds everything done."""
    state = client.read_flow_run(helper.id).state
    if state is not None and state.type in (StateType.SCHEDULED, StateType.PENDING):
        client.set_flow_run_state(helper.id, Cancelled(message="the build is done"), force=True)
