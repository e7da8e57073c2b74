"""The flow: bring one collection to what its spec says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

from prefect import flow
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from rasterloom.access.archive.shared import check_credentials
from rasterloom.access.build import Job, decide
from rasterloom.access.building.derive import derive
from rasterloom.access.exports import check_export
from rasterloom.access.refs import to_json
from rasterloom.access.sources.copies import settled
from rasterloom.access.values import CollectionRef
from rasterloom.access.versions.heartbeat import Heartbeat
from rasterloom.access.workspace.files import Workspace
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import RasterloomError
from rasterloom.flows.garbage import set_apart
from rasterloom.flows.gather import SEARCHES_AT_ONCE, Gathered, Gathering, tuned
from rasterloom.flows.pins import check_pinned
from rasterloom.flows.progress import Progress, also, tell
from rasterloom.flows.read import check_reads, run_reads
from rasterloom.flows.report import tell_failure, tell_success
from rasterloom.flows.runners import BATCHES_AT_ONCE, check_runner, opened
from rasterloom.flows.runpage import RunPage
from rasterloom.flows.share import shared
from rasterloom.specs.effort import Effort
from rasterloom.specs.form import BBox, DateRange, Percent, changed
from rasterloom.specs.kinds import Name
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.plan import make_plan
from rasterloom.specs.references import substitute
from rasterloom.specs.resolve import effort
from rasterloom.specs.sections import ExportSpec
from rasterloom.tasks.logs import hide_secrets_in_logs
from rasterloom.tasks.policies import references_only
from rasterloom.tasks.secrets import secret
from rasterloom.tasks.steps import export, publish

TASK_RUNNER = cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner[Any](max_workers=SEARCHES_AT_ONCE + BATCHES_AT_ONCE))
"""Bounded: Prefect's own default is a thread for every task."""
hide_secrets_in_logs()  # Prefect tells of wrong parameters before the flow is called


@flow(name="build-collection", flow_run_name="{spec.name}", task_runner=TASK_RUNNER, persist_result=False)
def build(
    spec: CollectionSpec,
    force: bool = False,
    workspace: str | None = None,
    retry_failed: bool = False,
    dates: DateRange | None = None,
    bbox: BBox | None = None,
    bands: list[str] | None = None,
    cloud_cover: Percent | None = None,
    save_as: Name | None = None,
) -> dict[str, Any]:
    """Bring the collection of a spec to what the spec says: search, read the headers, publish.

    Args:
        spec: What the collection holds. All of it is sent with a run: parameters are replaced, not merged. What a field below says wins.
        force: Build again even where nothing has changed, and answer nothing from memory.
        workspace: Where collections are kept; the spec's own, else that of the worker.
        retry_failed: Ask again for the files that failed, and for nothing else that is remembered.
        dates: Days, both included.
        bbox: Area, in degrees.
        bands: Which are indexed.
        cloud_cover: Less than that, in percent.
        save_as: Another collection, which leaves that of the spec as it is.

    Returns JSON: `collection`, the committed version (`rasterloom.access.values.CollectionRef`), `decision`, `exports` and `reads`.
    """
    check_pinned(spec, workspace)
    spec = changed(spec, dates=dates, bbox=bbox, bands=bands, cloud_cover=cloud_cover, save_as=save_as)
    with references_only():
        how = effort(spec)
        how = replace(how, force=force or how.force, retry_failed=retry_failed)
        check_runner(how)
        copies = [ExportSpec(to=substitute(copy.to, secret), format=copy.format) for copy in spec.export]
        for copy in copies:
            check_export(copy.to, spec.name)
        check_reads(spec)
        place = _place(workspace or spec.workspace)
        made = _told(spec, how, place)
        return {
            "collection": to_json(made.ref),
            "decision": {"action": made.progress.action, "reason": made.progress.reason},
            "exports": [to_json(export(spec.name, place.uri, copy.to, copy.format)) for copy in copies],
            "reads": run_reads(spec, place=place, effort=how),
        }


@dataclass(frozen=True, slots=True)
class _Made:
    """The version that a run ended with."""

    ref: CollectionRef
    progress: Progress


def _told(spec: CollectionSpec, how: Effort, place: Workspace) -> _Made:
    """Build, and tell of it, however it ends."""
    try:
        with also(RunPage()), set_apart():
            made = _build(spec, how, place)
            tell(made.progress)
    except RasterloomError as error:
        tell_failure(place, spec.name, error, limits=spec.freshness)
        raise
    tell_success(place, made.ref, made.progress, limits=spec.freshness)
    return made


def _place(text: str | None) -> Workspace:
    return open_workspace(substitute(text, secret) if text else None)


def _build(spec: CollectionSpec, how: Effort, place: Workspace) -> _Made:
    plan = settled(make_plan(spec, now=datetime.now(UTC)), place)
    decision = decide(plan, place, force=how.force, retry_failed=how.retry_failed)
    progress = Progress(collection=spec.name, stage="decided", action=decision.action, reason=decision.reason, shards=len(plan.shards))
    tell(progress)
    if decision.action == "reuse" and decision.ref is not None:
        return _Made(decision.ref, replace(progress, stage="done", scenes=decision.ref.rows))
    job = Job(
        workspace=place.uri,
        plan=plan,
        effort=how,
        spec=spec.model_dump(mode="json", exclude_none=True),
        run_id=new_run_id(plan.now),
        action=decision.action,
        reason=decision.reason,
        retry_of=decision.ref.run_id if decision.ref is not None and how.retry_failed else "",
    )
    with Heartbeat(place, spec.name, job.run_id):
        derived = derive(job) if decision.action == "derive" else None
        if derived is not None:
            return _Made(derived, replace(progress, stage="done", scenes=derived.rows))
        return _make(job, progress)


def _make(job: Job, progress: Progress) -> _Made:
    # a credential that is not there is told now, and not when the first file is asked
    check_credentials(job.plan.question, effort=job.effort, secrets=secret)
    fresh = job.effort.force or job.effort.retry_failed
    with opened(job.effort) as pool:
        gathering = Gathering(job, pool, fresh=fresh, told=lambda so_far: tell(counted(progress, so_far)))
        with shared(job, left=gathering.recall()):
            gathered = gathering.run()
    progress = replace(counted(progress, gathered), stage="publishing")
    tell(progress)
    searches, batches = gathered.in_order()
    ref = cast("CollectionRef", tuned(publish, job, fresh=False)(quote(job), quote(searches), quote(batches)))
    return _Made(ref, replace(progress, stage="done"))


def counted(progress: Progress, gathered: Gathered) -> Progress:
    """The progress with the totals of what was gathered."""
    batches = gathered.batches.values()
    parts = (*gathered.searches.values(), *batches)
    return replace(
        progress,
        stage="gathering",
        shards_done=len(gathered.searches),
        batches=gathered.batches_found,
        batches_done=len(gathered.batches),
        remembered=gathered.remembered,
        scenes=sum(batch.rows for batch in batches),
        headers=sum(batch.headers for batch in batches),
        failures=sum(len(part.failures) for part in parts),
        search_requests=gathered.search_traffic.requests,
        header_requests=gathered.header_traffic.requests,
        bytes=gathered.search_traffic.bytes + gathered.header_traffic.bytes,
    )


def new_run_id(now: datetime) -> str:
    """Sorts by time; new for every attempt, also where Prefect tries the same flow run again, so that no two write the same files."""
    return f"{now:%Y%m%dt%H%M%S}-{uuid4().hex[:8]}"
