"""Specs as Prefect deployments: one per spec, named after it, on its schedule, with a form to run it with other values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from prefect import Flow
from prefect import serve as serve_deployments
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import DeploymentApplyError
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import temporary_settings
from prefect.types.entrypoint import EntrypointType

from rasterloom.access.network.redact import redact
from rasterloom.errors import SpecError, Unavailable
from rasterloom.flows.automations import arrange
from rasterloom.flows.build import build
from rasterloom.flows.deployed import FormDeployment, differences
from rasterloom.flows.read import read
from rasterloom.flows.schedules import schedule_of
from rasterloom.specs.formschema import form_schema, read_form_schema
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.resolve import resolve
from rasterloom.specs.writer import short
from rasterloom.tasks.settings import reach_server, server_named

TAG = "rasterloom"
PAGE = 200
"""Deployments of one answer: the most that Prefect's server gives."""

Change = Literal["created", "changed", "unchanged", "removed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A deployment, and what became of it."""

    name: str
    """`<flow>/<deployment>`, as `prefect deployment run` takes it."""
    change: Change
    fields: tuple[str, ...] = ()
    """What differed from what stood on the server, e.g. `spec.dates`, `schedule`."""
    id: str = ""
    """Empty where it was only looked at, and does not stand there."""
    scheduled: bool = False


def deploy(
    specs: Iterable[CollectionSpec],
    *,
    work_pool: str,
    workspace: str | None = None,
    tags: Sequence[str] = (),
    label: str = "",
    prune: bool = False,
    dry_run: bool = False,
) -> tuple[Deployed, ...]:
    """Bring the Prefect server that PREFECT_API_URL names to what the specs say, for the workers of `work_pool`, which must have
    rasterloom. What already stands there so is left alone.

    Automations go with them (`rasterloom.flows.automations`). `workspace` overrides that of the specs. `label` says which specs belong
    together; `prune` removes deployments of the same label and pool that are none of these. `dry_run` tells what would be done.
    Raises SpecError for a spec that cannot be run or a pool that is not there, and Unavailable where no server answers.
    """
    if prune and not label:
        raise SpecError(
            "nothing says which deployments belong together", remedy="give a label, as rasterloom deploy --label team-a --prune"
        )
    marks = (*((f"{TAG}:{label}",) if label else ()), *tags)
    given = list(specs)
    wanted = [one for spec in given for one in deployments_of(spec, work_pool=work_pool, workspace=workspace, tags=marks)]
    need_server()
    _need_pool(work_pool)
    with temporary_settings({"deployments.clear_schedules_on_empty": True}), get_client(sync_client=True) as client:
        done = [_brought(client, deployment, dry_run=dry_run) for deployment in wanted]
        names = {deployment.full_name for deployment in wanted}
        left = [(name, each) for name, each in _labelled(client, label, work_pool) if name not in names] if prune else []
        done += [_removed(client, each, name, dry_run=dry_run) for name, each in left]
        ids = {each.name.partition("/")[2]: each.id for each in done if each.change != "removed"}
        gone = [each.name for _, each in left]
        arranged = arrange(client, given, ids, workspace=workspace, gone=gone, dry_run=dry_run)
        return (*done, *(Deployed(name=f"automation/{each.name}", change=each.change, id=each.id) for each in arranged))


def serve(specs: Iterable[CollectionSpec], *, workspace: str | None = None, tags: Sequence[str] = (), limit: int | None = None) -> None:
    """Register every spec and run them from this process, each in a process of its own, at most `limit` at once, until it is stopped."""
    deployments = [one for spec in specs for one in deployments_of(spec, work_pool=None, workspace=workspace, tags=tags)]
    need_server()
    serve_deployments(*deployments, limit=limit, print_starting_message=False)


def deployments_of(
    spec: CollectionSpec, *, work_pool: str | None, workspace: str | None, tags: Sequence[str]
) -> tuple[FormDeployment, ...]:
    """The deployments of one spec, not yet registered: of its build, and one of each read. Raises SpecError where this version cannot
    execute the spec."""
    about = _About(spec, work_pool, workspace, (TAG, *tags))
    resolve(spec)
    reads = (
        _of(read, about, f"{spec.name}.{name}", read_form_schema(spec, name, workspace=workspace), read=name) for name in spec.reads or ()
    )
    built = _of(build, about, spec.name, form_schema(spec, workspace=workspace))
    return (built, *reads)


@dataclass(frozen=True, slots=True)
class _About:
    """What all deployments of a spec have alike."""

    spec: CollectionSpec
    work_pool: str | None
    workspace: str | None
    tags: tuple[str, ...]


def _of(flow: Flow[..., Any], about: _About, name: str, form: Mapping[str, Any], **more: str) -> FormDeployment:
    """A build has the schedule of the spec, and makes the reads when it has committed: those have none of their own."""
    spec = about.spec
    made = FormDeployment.from_flow(
        flow,
        name=name,
        schedule=schedule_of(spec.schedule) if spec.schedule and flow is build else None,
        concurrency_limit=1,  # no two builds of one collection at once, and no two runs of one read
        parameters={"spec": short(spec), **more, **({"workspace": about.workspace} if about.workspace else {})},
        description=described(spec),
        tags=list(about.tags),
        work_pool_name=about.work_pool,
        entrypoint_type=EntrypointType.MODULE_PATH,  # by file, a worker would load a second module
    )
    return cast("FormDeployment", made).asking(form)


def described(spec: CollectionSpec) -> str:
    """Markdown: the spec as YAML, one line per key, defaults left out."""
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in short(spec).items()]
    return "\n".join(["```yaml", *lines, "```"])


def _brought(client: SyncPrefectClient, deployment: FormDeployment, *, dry_run: bool) -> Deployed:
    try:
        found = client.read_deployment_by_name(deployment.full_name)
    except ObjectNotFound:
        found = None
    fields = differences(deployment, found) if found else ()
    change: Change = "created" if found is None else "changed" if fields else "unchanged"
    identity = str(found.id) if found else ""
    if change != "unchanged" and not dry_run:
        if found is not None:
            deployment.paused = found.paused  # whoever paused it in the UI had a reason
        identity = _applied(deployment)
    return Deployed(name=deployment.full_name, change=change, fields=fields, id=identity, scheduled=bool(deployment.schedules))


def _applied(deployment: FormDeployment) -> str:
    try:
        return str(deployment.apply(schedules=None if deployment.schedules else []))
    except (DeploymentApplyError, PrefectHTTPStatusError) as error:
        message = f"the server refuses the deployment {deployment.name}: {redact(str(error))}"
        raise Unavailable(
            message, remedy="look at the server's log; its version and that of the prefect package here should be the same"
        ) from error


def _labelled(client: SyncPrefectClient, label: str, work_pool: str) -> list[tuple[str, DeploymentResponse]]:
    """Deployments of ours with this label in this pool, each with its full name."""
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG, f"{TAG}:{label}"]))
    found: list[DeploymentResponse] = []
    while len(page := client.read_deployments(deployment_filter=ours, limit=PAGE, offset=len(found))) == PAGE:
        found += page
    here = [each for each in [*found, *page] if each.work_pool_name == work_pool]
    return [(f"{client.read_flow(each.flow_id).name}/{each.name}", each) for each in here]


def _removed(client: SyncPrefectClient, deployment: DeploymentResponse, name: str, *, dry_run: bool) -> Deployed:
    if not dry_run:
        client.delete_deployment(deployment.id)
    return Deployed(name=name, change="removed", id=str(deployment.id))


def _need_pool(name: str) -> None:
    try:
        with get_client(sync_client=True) as client:
            client.read_work_pool(name)
    except ObjectNotFound as error:
        raise SpecError(f"the server has no work pool {name!r}", remedy=f"make it: rasterloom setup --work-pool {name}") from error


def need_server() -> None:
    if not server_named():
        remedy = "start one with `prefect server start` and set PREFECT_API_URL, e.g. http://127.0.0.1:4200/api"
        raise Unavailable("no Prefect server is named, and the temporary one of a run keeps no schedules", remedy=remedy)
    reach_server()
