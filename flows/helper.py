"""A helper of a build: a run of its own on another Prefect worker, which gathers for it (`rasterloom.flows.share`)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType
from pydantic import Field

from rasterloom.access.archive.shared import check_credentials
from rasterloom.access.build import Job
from rasterloom.access.sources.copies import settled
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import SpecError
from rasterloom.flows.build import TASK_RUNNER, build
from rasterloom.flows.deploy import TAG
from rasterloom.flows.gather import Gathering, Share
from rasterloom.flows.pins import check_pinned
from rasterloom.flows.runners import opened
from rasterloom.flows.share import HELPER
from rasterloom.specs.form import changed
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.plan import make_plan
from rasterloom.specs.references import substitute
from rasterloom.specs.resolve import effort
from rasterloom.tasks.policies import references_only
from rasterloom.tasks.secrets import secret

RunId = Annotated[str, Field(pattern=r"^[0-9]{8}t[0-9]{6}-[0-9a-f]{8}$")]
"""As `rasterloom.flows.build.new_run_id` makes it: it becomes part of names of files, and comes from who starts the run."""


@flow(name=HELPER, flow_run_name="share-{share}-of-{of}", task_runner=TASK_RUNNER, persist_result=False)
def gather_share(build_run: UUID, run_id: RunId, now: datetime, fingerprint: str, share: int, of: int) -> None:
    """Search and read headers for a build that is under way; started by that build, and good for nothing else.

    Args:
        build_run: Flow run of the build, which says what is built.
        run_id: Of the build: searches of windows that are still open are remembered for it alone.
        now: When the build was planned.
        fingerprint: Of the question; nothing is done for another one.
        share: Which of them, from 0, which is the build itself.
        of: How many share the work.
    """
    with get_client(sync_client=True) as client:
        asked = client.read_flow_run(build_run)
    spec, workspace = _asked(asked)
    with references_only():
        how, text = effort(spec), workspace or spec.workspace
        place = open_workspace(substitute(text, secret) if text else None)
        plan = settled(make_plan(spec, now=now), place)
        if plan.fingerprint != fingerprint:
            message = "the build asks another question than its helper"
            raise SpecError(message, remedy="see that all workers have the same version of rasterloom")
        check_credentials(plan.question, effort=how, secrets=secret)
        job = Job(workspace=place.uri, plan=plan, effort=how, spec=spec.model_dump(mode="json", exclude_none=True), run_id=run_id)
        with opened(how) as pool:
            gathering = Gathering(job, pool, fresh=False, told=lambda _: None, share=Share(number=share, of=of))
            gathering.recall()
            gathering.run()


def _asked(run: FlowRun) -> tuple[CollectionSpec, str | None]:
    """Spec and workspace of a build, within what its deployment allows."""
    if run.deployment_id is None:
        raise SpecError("a helper works for runs of a deployment alone", remedy="start the build from its deployment")
    given = build.validate_parameters(run.parameters)
    workspace = given.get("workspace")
    check_pinned(given["spec"], workspace, deployed=str(run.deployment_id))
    form = {name: given.get(name) for name in ("dates", "bbox", "bands", "cloud_cover", "save_as")}
    return changed(given["spec"], **form), workspace


def register(work_pool: str, *, of: int) -> str:
    """Let builds of a work pool be shared by `of` runs; its workers run that many at once, or the rest waits in vain. Returns the name."""
    deployment = RunnerDeployment.from_flow(
        gather_share,
        name=work_pool,
        parameters={"of": of},
        description=f"Helpers of builds in the work pool {work_pool}: started by a build that has much to do.",
        tags=[TAG],
        work_pool_name=work_pool,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    deployment.apply()
    return deployment.full_name
