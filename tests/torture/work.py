"""What a victim does: whole builds, exports and rollbacks by the functions that the flows call, in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from rasterloom.access.build import Job, decide, index_batch, publish, search_shard
from rasterloom.access.collection import load
from rasterloom.access.versions.gc import collect
from rasterloom.access.versions.opening import delete_collection
from rasterloom.access.versions.snapshots import rollback
from rasterloom.access.versions.verify import verify
from rasterloom.access.workspace.clock import SYSTEM
from rasterloom.access.workspace.place import open_workspace
from rasterloom.specs.loader import spec_from
from rasterloom.specs.plan import make_plan
from rasterloom.specs.resolve import effort
from tests.torture.rows import NAME
from tests.torture.upstream import NOW

Result = dict[str, Any]


def build(workspace: str, spec: Mapping[str, Any]) -> Result:
    """As the flow does it: build, refresh or reuse."""
    wanted = spec_from(spec)
    plan, place = make_plan(wanted, now=NOW), open_workspace(workspace)
    decision = decide(plan, place)
    if decision.action == "reuse" and decision.ref is not None:
        return {"action": "reuse", "version": decision.ref.version}
    run = f"run-{uuid4().hex[:12]}"
    job = Job(workspace=place.uri, plan=plan, effort=effort(wanted), spec=dict(spec), run_id=run, action=decision.action)
    searches = [search_shard(job, shard) for shard in plan.shards]
    batches = [index_batch(job, items) for search in searches for items in search.batches]
    ref = publish(job, searches, batches)
    return {"action": decision.action, "version": ref.version, "run_id": run}


def export(workspace: str, target: str) -> Result:
    return {"uri": load(NAME, workspace).export(target)}


def roll_back(workspace: str, version: int) -> Result:
    return {"version": rollback(open_workspace(workspace), NAME, version).version}


def collect_garbage(workspace: str, days_later: float = 0.0) -> Result:
    """As if so much time had passed since everything was written."""
    clock = replace(SYSTEM, now=lambda: SYSTEM.now() + timedelta(days=days_later))
    return {"files": collect(open_workspace(workspace), NAME, clock=clock).files}


def delete(workspace: str) -> Result:
    return {"deleted": delete_collection(workspace, NAME)}


def look_through(workspace: str) -> Result:
    report = verify(open_workspace(workspace), NAME)
    return {"damaged": report.is_damaged, "findings": [f"{finding.path}: {finding.message}" for finding in report.findings]}


STEPS: dict[str, Callable[..., Result]] = {
    "build": build,
    "export": export,
    "rollback": roll_back,
    "gc": collect_garbage,
    "delete": delete,
    "verify": look_through,
}


def perform(step: str, workspace: str, arguments: Mapping[str, Any]) -> Result:
    return STEPS[step](workspace, **arguments)
