"""From a spec to its Prefect flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from prefect import Flow, flow

from rasterloom.flows.build import TASK_RUNNER, build
from rasterloom.specs.loader import spec_from
from rasterloom.specs.model import CollectionSpec


def compile(spec: CollectionSpec, *, records: Path | None = None) -> Flow[..., dict[str, Any]]:
    """The Prefect flow of one spec: named after it, described by it, its parameters bound to it.

    `records`: where Prefect remembers tasks; by default where the server says, whom it asks twice in every run.

    Calling it builds the collection; `compile(spec)(force=True)` builds it again. What it returns is what
    `rasterloom.flows.build.build` returns. The parameter `spec` is JSON, for the page of the run to show, or a `CollectionSpec`, and not
    described: Prefect describes every parameter when the flow is made, and the model of a spec took it longer than starting the run.
    Deployments, whose form needs that description, are made of `build`.
    """
    bound, asked = spec, spec.model_dump(mode="json", exclude_none=True)

    def collection(spec: Any = asked, force: bool = False, workspace: str | None = None, retry_failed: bool = False) -> dict[str, Any]:
        wanted = spec if isinstance(spec, CollectionSpec) else bound if spec == asked else spec_from(spec)
        return build.fn(wanted, force=force, workspace=workspace, retry_failed=retry_failed)

    make = flow(
        name=spec.name,
        description=f"Bring the collection {spec.name} to what its spec says.",
        flow_run_name=spec.name,
        task_runner=TASK_RUNNER,
        persist_result=False,
        result_storage=cast(Any, records),  # Prefect takes a path, and does not say so
    )
    return make(collection)
