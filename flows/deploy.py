"""Specs as Prefect deployments: one per spec, named after it, on its schedule, with the spec as a typed parameter."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from prefect import serve as serve_deployments
from prefect.client.orchestration import get_client
from prefect.deployments.runner import DeploymentApplyError, RunnerDeployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.types.entrypoint import EntrypointType

from rasterloom.access.redact import redact
from rasterloom.errors import SpecError, Unavailable
from rasterloom.flows.build import build
from rasterloom.flows.schedules import schedule_of
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.resolve import resolve
from rasterloom.tasks.settings import reach_server

TAG = "rasterloom"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A deployment that stands on the server."""

    name: str
    """`<flow>/<deployment>`, as `prefect deployment run` takes it."""
    id: str
    scheduled: bool


def deploy(
    specs: Iterable[CollectionSpec], *, work_pool: str, workspace: str | None = None, tags: Sequence[str] = ()
) -> tuple[Deployed, ...]:
    """Register every spec on the Prefect server that PREFECT_API_URL names, for the workers of `work_pool`, which
    must have rasterloom.

    `workspace` overrides that of the specs. What is already there under the name is replaced, its schedule too.
    Raises SpecError for a spec that cannot be run or a pool that is not there, and Unavailable where no server answers.
    """
    deployments = [deployment_of(spec, work_pool=work_pool, workspace=workspace, tags=tags) for spec in specs]
    _need_server()
    _need_pool(work_pool)
    with temporary_settings({"deployments.clear_schedules_on_empty": True}):
        return tuple(_applied(deployment) for deployment in deployments)


def serve(specs: Iterable[CollectionSpec], *, workspace: str | None = None, tags: Sequence[str] = (), limit: int | None = None) -> None:
    """Register every spec and run them from this process, each in a process of its own, at most `limit` at once, until it is stopped."""
    deployments = [deployment_of(spec, work_pool=None, workspace=workspace, tags=tags) for spec in specs]
    _need_server()
    serve_deployments(*deployments, limit=limit, print_starting_message=False)


def deployment_of(spec: CollectionSpec, *, work_pool: str | None, workspace: str | None, tags: Sequence[str]) -> RunnerDeployment:
    """The deployment of one spec, not yet registered. Raises SpecError where this version cannot execute the spec."""
    resolve(spec)
    parameters: dict[str, Any] = {"spec": spec.model_dump(mode="json", exclude_none=True)}
    return RunnerDeployment.from_flow(
        build,
        name=spec.name,
        schedule=schedule_of(spec.schedule) if spec.schedule else None,
        concurrency_limit=1,  # no two builds of one collection at once
        parameters=parameters | ({"workspace": workspace} if workspace else {}),
        description=described(spec),
        tags=[TAG, *tags],
        work_pool_name=work_pool,
        entrypoint_type=EntrypointType.MODULE_PATH,  # by file, a worker would load a second module
    )


def described(spec: CollectionSpec) -> str:
    """Markdown: the spec as YAML, one line per key, defaults left out."""
    mapping = {"version": spec.version, **spec.model_dump(mode="json", exclude_defaults=True)}
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in mapping.items()]
    return "\n".join(["```yaml", *lines, "```"])


def _applied(deployment: RunnerDeployment) -> Deployed:
    try:
        identity = deployment.apply(schedules=None if deployment.schedules else [])
    except (DeploymentApplyError, PrefectHTTPStatusError) as error:
        message = f"the server refuses the deployment {deployment.name}: {redact(str(error))}"
        raise Unavailable(
            message, remedy="look at the server's log; its version and that of the prefect package here should be the same"
        ) from error
    return Deployed(name=deployment.full_name, id=str(identity), scheduled=bool(deployment.schedules))


def _need_pool(name: str) -> None:
    try:
        with get_client(sync_client=True) as client:
            client.read_work_pool(name)
    except ObjectNotFound as error:
        raise SpecError(
            f"the server has no work pool {name!r}", remedy=f"make it: prefect work-pool create {name} --type process"
        ) from error


def _need_server() -> None:
    if PREFECT_API_URL.value() is None:
        remedy = "start one with `prefect server start` and set PREFECT_API_URL, e.g. http://127.0.0.1:4200/api"
        raise Unavailable("no Prefect server is named, and the temporary one of a run keeps no schedules", remedy=remedy)
    reach_server()
