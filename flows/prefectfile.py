"""Specs as Prefect's own `prefect.yaml`, for those who deploy with `prefect deploy`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rasterloom.flows.deploy import TAG, deployments_of
from rasterloom.flows.deployed import FormDeployment
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.writer import plain_yaml

HEAD = """\
# Written by `rasterloom deploy SPEC... --output FILE`, for `prefect deploy --all --prefect-file FILE`. Edit the specs, and write it again.
# What Prefect's own command makes of it has the general form: the one of `rasterloom deploy` is filled in by the spec.

"""


def prefect_file(specs: Iterable[CollectionSpec], *, work_pool: str, workspace: str | None = None, label: str = "") -> str:
    """YAML text. Raises SpecError where this version cannot execute a spec."""
    tags = (f"{TAG}:{label}",) if label else ()
    made = [one for spec in specs for one in deployments_of(spec, work_pool=work_pool, workspace=workspace, tags=tags)]
    return HEAD + plain_yaml({"name": TAG, "deployments": [_entry(deployment, work_pool) for deployment in made]})


def _entry(deployment: FormDeployment, work_pool: str) -> dict[str, Any]:
    return {
        "name": deployment.name,
        "description": deployment.description,
        "tags": deployment.tags,
        "entrypoint": deployment.entrypoint,
        "pull": [],  # the flow is part of the package that the worker has
        "concurrency_limit": deployment.concurrency_limit,
        "enforce_parameter_schema": True,
        "work_pool": {"name": work_pool},
        "parameters": deployment.model_dump(mode="json", include={"parameters"})["parameters"],
        "schedules": [_schedule(each) for each in deployment.schedules or []],
    }


def _schedule(each: Any) -> dict[str, Any]:
    dumped = each.schedule.model_dump(mode="json")
    kept = {key: dumped[key] for key in ("cron", "interval", "rrule") if dumped.get(key) is not None}
    return kept | {"timezone": dumped.get("timezone") or "UTC", "active": each.active is not False}
