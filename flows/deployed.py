"""A deployment with a form of its own, and what stands on the server against it: the fields in which they differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.utilities.callables import ParameterSchema


class _Form(ParameterSchema):
    """The parameters of one deployment, and that there are no others."""

    additionalProperties: bool = False  # noqa: N815  (JSON Schema's name)


class FormDeployment(RunnerDeployment):
    """A deployment with a form of its own: Prefect makes one of the flow's signature, which is the same for all."""

    def asking(self, schema: Mapping[str, Any]) -> Self:
        self._parameter_openapi_schema = _Form.model_validate(schema)
        return self

    @property
    def form(self) -> dict[str, Any]:
        """As it is sent."""
        return _plain(self._parameter_openapi_schema.model_dump(exclude_unset=True))


def differences(wanted: FormDeployment, found: DeploymentResponse) -> tuple[str, ...]:
    """Names of what differs, `spec.dates` and the like among them; empty where the server has just what is wanted."""
    ours, theirs = _wanted(wanted), _found(found)
    names = [name for name in ours if ours[name] != theirs[name]]
    if "parameters" in names:
        at = names.index("parameters")
        names[at : at + 1] = _parameters(ours["parameters"], theirs["parameters"])
    return tuple(names)


def _wanted(deployment: FormDeployment) -> dict[str, Any]:
    dumped = deployment.model_dump(mode="json", include={"parameters", "description", "tags", "concurrency_limit", "entrypoint"})
    schedules = deployment.schedules or []
    return {
        "parameters": dumped["parameters"],
        "schedule": [_schedule(each.schedule, active=each.active) for each in schedules],
        "work pool": deployment.work_pool_name,
        "tags": sorted(dumped["tags"]),
        "limit": dumped["concurrency_limit"],
        "entrypoint": dumped["entrypoint"],
        "form": deployment.form,
        "description": dumped["description"],
    }


def _found(deployment: DeploymentResponse) -> dict[str, Any]:
    limit = deployment.global_concurrency_limit
    return {
        "parameters": _plain(deployment.parameters),
        "schedule": [_schedule(each.schedule, active=each.active) for each in deployment.schedules],
        "work pool": deployment.work_pool_name,
        "tags": sorted(deployment.tags),
        "limit": limit.limit if limit else None,
        "entrypoint": deployment.entrypoint,
        "form": _plain(deployment.parameter_openapi_schema or {}),
        "description": deployment.description,
    }


def _schedule(schedule: Any, *, active: bool | None) -> dict[str, Any]:
    """Without the anchor of an interval, which is the moment of its deployment."""
    dumped: dict[str, Any] = schedule.model_dump(mode="json")
    kept = {key: dumped[key] for key in ("cron", "interval", "rrule") if dumped.get(key) is not None}
    return kept | {"timezone": dumped.get("timezone") or "UTC", "active": active is not False}


def _parameters(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    names = _different(ours, theirs)
    inner = [f"spec.{key}" for key in _different(ours.get("spec", {}), theirs.get("spec", {}))]
    return [*inner, *(name for name in names if name != "spec")]


def _different(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
