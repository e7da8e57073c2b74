"""What a Prefect server needs beside the deployments: a work pool, limits of hosts, and an end for runs whose worker died."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from prefect.automations import AutomationCore, EventTrigger, Posture, ResourceSpecification
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import (
    GlobalConcurrencyLimitCreate,
    GlobalConcurrencyLimitUpdate,
    WorkPoolCreate,
)
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.exceptions import ObjectNotFound

from rasterloom.flows.deploy import TAG, need_server
from rasterloom.flows.helper import register
from rasterloom.flows.share import HELPER
from rasterloom.tasks.limits import limit_name

ZOMBIES = "rasterloom: end runs whose worker died"
SILENT = timedelta(seconds=540)
"""How long a run may be silent: three heartbeats of Prefect's default, one each 180 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    what: str
    change: Literal["created", "changed", "unchanged"]


def set_up(*, work_pool: str, limits: Mapping[str, int], share: int | None = None) -> tuple[Settled, ...]:
    """Bring the server that PREFECT_API_URL names to what runs of ours need. Again and again with the same outcome.

    `limits` are requests under way at once by host, over all runs of the server; what it has of other hosts stays.
    `share` runs do each large build of the pool together (`rasterloom.flows.share`); None: as it stands.
    Raises Unavailable where no server answers.
    """
    need_server()
    with get_client(sync_client=True) as client:
        return (
            _pool(client, work_pool),
            *(_limit(client, host, most) for host, most in limits.items()),
            *([_share(client, work_pool, share)] if share else []),
            _automation(client, zombies()),
        )


def zombies() -> AutomationCore:
    """A run of ours that was alive and is silent for too long is `Crashed`: nobody else would say so of a machine that is gone."""
    message = "The worker is silent: it was killed, or its machine is gone."
    ends = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
    return AutomationCore(
        name=ZOMBIES,
        description="Made by rasterloom setup.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *ends},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification({"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENT,
        ),
        actions=[ChangeFlowRunState(name=None, state=StateType.CRASHED, message=message, force=False)],
    )


def _pool(client: SyncPrefectClient, name: str) -> Settled:
    what = f"work pool {name}"
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        return Settled(what=what, change="created")
    return Settled(what=what, change="unchanged")


def _limit(client: SyncPrefectClient, host: str, most: int) -> Settled:
    name = limit_name(host)
    what = f"limit of {most} at {host}"
    try:
        found = client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=most))
        return Settled(what=what, change="created")
    if found.limit == most and found.active:
        return Settled(what=what, change="unchanged")
    client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(limit=most, active=True))
    return Settled(what=what, change="changed")


def _share(client: SyncPrefectClient, work_pool: str, of: int) -> Settled:
    what = f"{of} runs share a build in {work_pool}"
    try:
        found = client.read_deployment_by_name(f"{HELPER}/{work_pool}").parameters.get("of")
    except ObjectNotFound:
        found = None
    if found == of:
        return Settled(what=what, change="unchanged")
    register(work_pool, of=of)
    return Settled(what=what, change="created" if found is None else "changed")


def _automation(client: SyncPrefectClient, wanted: AutomationCore) -> Settled:
    found = client.read_automations_by_name(wanted.name)
    what = f"automation {wanted.name!r}"
    if not found:
        client.create_automation(wanted)
        return Settled(what=what, change="created")
    if _shape(AutomationCore.model_validate(found[0].model_dump(include=set(AutomationCore.model_fields)))) == _shape(wanted):
        return Settled(what=what, change="unchanged")
    client.update_automation(found[0].id, wanted)
    return Settled(what=what, change="changed")


def _shape(automation: AutomationCore) -> dict[str, Any]:
    """Without what the server adds: ids of triggers, and whether somebody has switched it off."""
    trigger = automation.trigger.model_dump(mode="json", exclude={"id"})
    lists = {key: sorted(value) if isinstance(value, list) else value for key, value in trigger.items()}
    return {"trigger": lists, "actions": [action.model_dump(mode="json") for action in automation.actions]}
