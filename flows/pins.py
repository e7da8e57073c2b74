"""What a run of a deployment must not change of it, checked where the work runs: who starts a run may tell the server not to check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.runtime import deployment

from rasterloom.errors import Problem, SpecError
from rasterloom.specs.formschema import PINNED
from rasterloom.specs.loader import spec_from
from rasterloom.specs.model import CollectionSpec


def check_pinned(spec: CollectionSpec, workspace: str | None, *, deployed: str | None = None) -> None:
    """Raises SpecError where a run asks, reads or writes elsewhere than its deployment says. A run without one may do what it likes.

    `deployed`: id of the deployment, where it is not that of this run.
    """
    parameters = _deployed(deployed or _own_deployment())
    if isinstance(parameters.get("spec"), Mapping):
        problems = tuple(_changed(spec, workspace, parameters))
        if problems:
            raise SpecError("the run asks for what its deployment does not allow", problems=problems)


def _own_deployment() -> str | None:
    """Id of the deployment of this run, or of the run that called it."""
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None and context.flow_run.parent_task_run_id is None:
        own = context.flow_run.deployment_id  # `deployment.id` would ask the API for what stands here
        return str(own) if own else None
    return cast("str | None", deployment.id)


def _deployed(identity: str | None) -> Mapping[str, Any]:
    if not identity:
        return {}
    with get_client(sync_client=True) as client:
        return client.read_deployment(identity).parameters


def _changed(spec: CollectionSpec, workspace: str | None, parameters: Mapping[str, Any]) -> Iterator[Problem]:
    deployed = spec_from(parameters["spec"])
    remedy = "leave it as it is deployed, or deploy a spec that says so"
    for key in PINNED:
        if getattr(spec, key) != getattr(deployed, key):
            yield Problem(path=f"spec.{key}", message="is not that of the deployment", remedy=remedy)
    if spec.build.allow_private_hosts and not deployed.build.allow_private_hosts:
        yield Problem(path="spec.build.allow_private_hosts", message="the deployment does not allow them", remedy=remedy)
    if workspace is not None and workspace != parameters.get("workspace"):
        yield Problem(path="workspace", message="is not that of the deployment", remedy=remedy)
