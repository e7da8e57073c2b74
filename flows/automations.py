"""Automations that go with deployments: a collection is built after the one that it comes from, and one that no run looks at is noticed.

They run on Prefect's server, without a worker. What is wanted is known by name and tag; what stands there so is left alone. Types are
spelled out: Prefect sends an update without the fields that were not set, and takes the first type that fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.events.actions import DoNothing, RunDeployment
from prefect.events.filters import AutomationFilter, AutomationFilterTags
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from rasterloom.access.versions.commits import is_name
from rasterloom.flows.events import COMMITTED, REUSED, resource_id
from rasterloom.specs.durations import parse_duration
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.resolve import resolve

TAG = "rasterloom"
PAGE = 200
_SHORTEST = timedelta(seconds=10)
"""That Prefect waits for something that does not happen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arranged:
    """An automation, and what became of it."""

    name: str
    change: Literal["created", "changed", "unchanged", "removed"]
    id: str = ""
    """Empty where it was only looked at, and does not stand there."""


def arrange(
    client: SyncPrefectClient,
    specs: Iterable[CollectionSpec],
    deployed: Mapping[str, str],
    *,
    workspace: str | None = None,
    gone: Iterable[str] = (),
    dry_run: bool = False,
) -> tuple[Arranged, ...]:
    """Bring the server's automations of these specs to what the specs say, and take away those of the collections in `gone`.

    `deployed` is the id of each spec's deployment, empty in a dry run for one that is not there. Who paused one of them, or gave
    a watch an action of their own, keeps that.
    """
    given = list(specs)
    wanted = {each.name: each for spec in given for each in automations_of(spec, deployed.get(spec.name, ""), workspace=workspace)}
    ours = {_owner(name) for name in (*(spec.name for spec in given), *gone)}
    found = {each.name: each for each in _standing(client) if ours & set(each.tags)}
    done = [_brought(client, each, found.get(name), dry_run=dry_run) for name, each in wanted.items()]
    return (*done, *(_removed(client, each, dry_run=dry_run) for name, each in found.items() if name not in wanted))


def automations_of(spec: CollectionSpec, deployment: str, *, workspace: str | None = None) -> list[AutomationCore]:
    """What goes with the deployment of one spec; `deployment` is its id, or empty."""
    source = source_of(spec, workspace)
    return [*([_after(spec, source, deployment)] if source else []), *_watches(spec)]


def source_of(spec: CollectionSpec, workspace: str | None = None) -> str | None:
    """The collection of the same workspace that a spec starts from; None for any other source, and for a snapshot that is fixed."""
    if spec.collection is None or spec.collection.snapshot is not None:
        return None
    uri, home = spec.collection.uri.rstrip("/"), (workspace or spec.workspace or "").rstrip("/")
    if home and uri.startswith(f"{home}/"):
        uri = uri[len(home) + 1 :]
    return uri if is_name(uri) and uri != spec.name else None


def _after(spec: CollectionSpec, source: str, deployment: str) -> AutomationCore:
    run = (
        RunDeployment(type="run-deployment", source="selected", deployment_id=UUID(deployment), parameters=None, job_variables=None)
        if deployment
        else DoNothing(type="do-nothing")
    )
    return AutomationCore(
        name=f"{spec.name} after {source}",
        description=f"Builds {spec.name} when a new snapshot of {source} is committed, which it starts from. Made by `rasterloom deploy`.",
        tags=[TAG, _owner(spec.name)],
        trigger=EventTrigger(type="event", expect={COMMITTED}, match=_resource(source), posture=Posture.Reactive, threshold=1),
        actions=[run],
    )


def _watches(spec: CollectionSpec) -> Iterable[AutomationCore]:
    """One for each bound of `freshness`: they fire where no run has ended well for so long, with no worker alive too."""
    limits, end = spec.freshness, resolve(spec).dates.end
    if limits is None or (end is not None and end <= datetime.now(UTC)):
        return
    for state, limit in (("warn", limits.warn_after), ("error", limits.error_after)):
        if limit:
            yield AutomationCore(
                name=f"{spec.name}: no run for {limit} ({state})",
                description=f"Fires where no run of {spec.name} has ended well for {limit}: the pipeline is broken. Made by "
                "`rasterloom deploy`, which keeps the actions that you give it.",
                tags=[TAG, _owner(spec.name)],
                trigger=EventTrigger(
                    type="event",
                    expect={COMMITTED, REUSED},
                    match=_resource(spec.name),
                    posture=Posture.Proactive,
                    threshold=1,
                    within=max(_length(limit), _SHORTEST),
                ),
                actions=[DoNothing(type="do-nothing")],
            )


def _length(limit: str) -> timedelta:
    """Of a month: that of the longest."""
    start = datetime(2000, 1, 1, tzinfo=UTC)
    return parse_duration(limit).after(start) - start


def _owner(name: str) -> str:
    return f"{TAG}:for:{name}"


def _resource(name: str) -> ResourceSpecification:
    return ResourceSpecification({"prefect.resource.id": resource_id(name)})


def _standing(client: SyncPrefectClient) -> list[Automation]:
    """All that we made."""
    ours = AutomationFilter(tags=AutomationFilterTags(all_=[TAG]))
    found: list[Automation] = []
    while len(page := client.read_automations(automations=ours, limit=PAGE, offset=len(found))) == PAGE:
        found += page
    return [*found, *page]


def _brought(client: SyncPrefectClient, wanted: AutomationCore, found: Automation | None, *, dry_run: bool) -> Arranged:
    if found is None:
        identity = "" if dry_run else str(client.create_automation(wanted))
        return Arranged(name=wanted.name, change="created", id=identity)
    kept = wanted.model_copy(update={"enabled": found.enabled, **_own_actions(wanted, found)})
    if _facts(kept) == _facts(found):
        return Arranged(name=wanted.name, change="unchanged", id=str(found.id))
    if not dry_run:
        client.update_automation(found.id, kept)
    return Arranged(name=wanted.name, change="changed", id=str(found.id))


def _own_actions(wanted: AutomationCore, found: Automation) -> dict[str, Any]:
    """What a watch does is its owner's to say; whom to run is ours."""
    if any(isinstance(action, RunDeployment) for action in wanted.actions):
        return {}
    return {"actions": found.actions, "actions_on_trigger": found.actions_on_trigger, "actions_on_resolve": found.actions_on_resolve}


def _facts(automation: AutomationCore) -> dict[str, Any]:
    """What makes two automations the same; sets in one order."""
    return {
        "description": automation.description,
        "enabled": automation.enabled,
        "trigger": _trigger(automation.trigger) if isinstance(automation.trigger, EventTrigger) else None,
        "actions": [action.model_dump(mode="json") for action in automation.actions],
    }


def _trigger(trigger: EventTrigger) -> dict[str, Any]:
    dumped = trigger.model_dump(mode="json", include={"match", "posture", "threshold", "within"})
    return dumped | {"expect": sorted(trigger.expect)}


def _removed(client: SyncPrefectClient, found: Automation, *, dry_run: bool) -> Arranged:
    if not dry_run:
        client.delete_automation(found.id)
    return Arranged(name=found.name, change="removed", id=str(found.id))
