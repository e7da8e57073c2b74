"""The flow of one read job: plan it, read the pixels of what is new, commit the output, keep its copy equal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any, Literal, cast
from uuid import uuid4

from prefect import flow
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.tasks import Task
from prefect.utilities.annotations import quote

from rasterloom.access.reads.asked import job_of, read_of
from rasterloom.access.reads.job import ReadJob, Unit
from rasterloom.access.reads.mirror import check_mirror, data_at
from rasterloom.access.reads.outputs import OutputRef, ref_of
from rasterloom.access.reads.run import PlannedRead, plan_read
from rasterloom.access.reads.units import MadeRef, grouped
from rasterloom.access.refs import to_json
from rasterloom.access.values import Traffic
from rasterloom.access.versions.heartbeat import Heartbeat
from rasterloom.access.workspace.files import Workspace
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import RasterloomError
from rasterloom.flows.pins import check_pinned
from rasterloom.flows.readprogress import ReadProgress, tell_read
from rasterloom.flows.readreport import ReadBar, leave_read_artifact
from rasterloom.flows.runners import BATCHES_AT_ONCE, Pool, opened
from rasterloom.specs.effort import Effort
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.references import substitute
from rasterloom.specs.resolve import effort
from rasterloom.tasks.policies import references_only
from rasterloom.tasks.reads import copy, finish, make
from rasterloom.tasks.secrets import secret

_RUNNER = cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner[Any](max_workers=BATCHES_AT_ONCE))


@flow(name="read", flow_run_name="{spec.name}.{read}", task_runner=_RUNNER, persist_result=False)
def read(spec: CollectionSpec, read: str, force: bool = False, workspace: str | None = None) -> dict[str, Any]:
    """Make one read job of a spec over the newest snapshot of its collection: what is new of it.

    Args:
        spec: The collection and its reads. All of it is sent with a run: parameters are replaced, not merged.
        read: Name of the read.
        force: Read every scene again, and commit a new output.
        workspace: Where collections are kept; the spec's own, else that of the worker.

    Returns JSON: `read`, the output (`rasterloom.access.reads.outputs.OutputRef`), and `decision`.
    """
    check_pinned(spec, workspace)
    with references_only():
        text = workspace or spec.workspace
        place = open_workspace(substitute(text, secret) if text else None)
        how = effort(spec)
        return run_read(spec, read, place=place, effort=replace(how, force=force or how.force))


def run_read(spec: CollectionSpec, name: str, *, place: Workspace, effort: Effort) -> dict[str, Any]:
    """Called within a flow whose task runner it uses."""
    output = read_of(spec, name).output
    if output:
        check_mirror(output, spec.name, name)
    job = job_of(spec, name, place=place, effort=effort, run_id=_run_id(datetime.now(UTC)))
    planned = plan_read(job, secrets=secret)
    progress = ReadProgress(collection=spec.name, read=name, kind=job.model.kind, stage="decided", reason=planned.reason)
    progress = replace(progress, units=len(planned.units), to_make=len(planned.missing))
    tell_read(progress)
    ref = _standing(place, planned) or _made(job, planned, place, progress)
    copied = bool(output) and _tuned(copy, job)(job.workspace, quote(ref), output)
    ref = replace(ref, copied_to=data_at(output, ref) if output else "")
    leave_read_artifact(place, ref, reason=planned.reason)
    traffic = Traffic(requests=ref.requests, bytes=ref.bytes)
    tell_read(replace(progress, stage="done", made=ref.made, failures=ref.failed, traffic=traffic, output=ref))
    return {"read": to_json(ref), "decision": {"action": "make" if ref.changed else "reuse", "reason": planned.reason, "copied": copied}}


def check_reads(spec: CollectionSpec) -> None:
    """Raises `SpecError` where the place of an output is taken: before any work is done."""
    for name, each in (spec.reads or {}).items():
        if each.output:
            check_mirror(each.output, spec.name, name)


def run_reads(spec: CollectionSpec, *, place: Workspace, effort: Effort) -> list[dict[str, Any]]:
    """All reads of a spec, also after one that failed; then the first error is raised. Called within a flow, after the commit."""
    done: list[dict[str, Any]] = []
    errors: list[RasterloomError] = []
    for name in spec.reads or ():
        try:
            done.append(run_read(spec, name, place=place, effort=effort))
        except RasterloomError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return done


def _standing(place: Workspace, planned: PlannedRead) -> OutputRef | None:
    return ref_of(place, planned.standing, changed=False) if planned.is_done and planned.standing else None


def _made(job: ReadJob, planned: PlannedRead, place: Workspace, progress: ReadProgress) -> OutputRef:
    bar = ReadBar()

    def told(made: Making, stage: Literal["reading", "finishing"]) -> None:
        now = replace(progress, stage=stage, made=made.units, failures=made.failures, traffic=made.traffic)
        tell_read(now)
        bar(now)

    with Heartbeat(place, job.name, job.run_id):
        with opened(job.effort) as pool:
            made = Making(job, planned.missing, pool, told=lambda made: told(made, "reading")).run()
        told(made, "finishing")
        ref = cast("OutputRef", _tuned(finish, job)(quote(job), quote(planned.units), made.units, quote(made.traffic)))
    bar(replace(progress, stage="done", made=made.units))
    return ref


class Making:
    """Makes units in groups, a few groups at once, on a pool. Used once, from the flow's thread."""

    def __init__(self, job: ReadJob, units: Sequence[Unit], pool: Pool, *, told: Callable[[Making], None]) -> None:
        """`told` is called after every group."""
        self._pool = pool
        self._job = replace(job, effort=replace(job.effort, max_concurrent=max(1, job.effort.max_concurrent // pool.at_once)))
        self._groups = deque(grouped(units))
        self._told = told
        self._task = _tuned(pool.prepared(make), job)
        self._running = 0
        self._ended: SimpleQueue[PrefectFuture[Any]] = SimpleQueue()
        self.units = 0
        self.failures = 0
        self.traffic = Traffic()

    def run(self) -> Making:
        """Everything, or the first error of a task."""
        self._submit()
        while self._running:
            self._settle(self._ended.get())
            self._submit()
            self._told(self)
        return self

    def _submit(self) -> None:
        while self._groups and self._running < self._pool.batches:
            group = self._groups.popleft()
            self._running += 1
            future = self._pool.submit(self._task, job=self._job, units=group, label=_label(group))
            future.add_done_callback(self._ended.put)

    def _settle(self, future: PrefectFuture[Any]) -> None:
        self._running -= 1
        ref: MadeRef = self._pool.result(future)
        ref = ref.remembered() if future.state.name == "Cached" else ref  # a record holds the traffic of its day
        self.units += len(ref.keys)
        self.failures += ref.failures
        self.traffic += ref.traffic


def _run_id(now: datetime) -> str:
    """Sorts by time; new for every attempt. Not that of a build: its heartbeat is another one's."""
    return f"{now:%Y%m%dt%H%M%S}-read-{uuid4().hex[:8]}"


def _label(group: Sequence[Unit]) -> str:
    return group[0].label + (f"-and-{len(group) - 1}-more" if len(group) > 1 else "")


def _tuned(step: Task[Any, Any], job: ReadJob) -> Task[Any, Any]:
    """The task as this job wants it: no more tries than the spec allows; with `force`, what is remembered is made anew."""
    return step.with_options(retries=min(job.effort.retries, step.retries), refresh_cache=job.effort.force)
