"""What a victim does: whole builds, exports and rollbacks by the functions that the flows call, in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from rasterloom.access.build import Job, decide, index_batch, publish, search_shard
from rasterloom.access.collection import load
from rasterloom.access.opening import delete_collection
from rasterloom.access.workspace import open_workspace
from rasterloom.specs.loader import spec_from
from rasterloom.specs.plan import make_plan
from rasterloom.specs.resolve import effort
from tests.torture.rows import NAME
from tests.torture.upstream import NOW

Result = dict[str, Any]


def build(workspace: str, spec: Mapping[str, Any], run_id: str = "") -> Result:
    """As the flow does it: build, refresh or reuse."""
    wanted = spec_from(spec)
    plan, place = make_plan(wanted, now=NOW), open_workspace(workspace)
    decision = decide(plan, place)
    if decision.action == "reuse" and decision.ref is not None:
        return {"action": "reuse", "version": decision.ref.version}
    job = Job(workspace=place.uri, plan=plan, effort=effort(wanted), spec=dict(spec), run_id=run_id or f"run-{uuid4().hex[:12]}")
    searches = [search_shard(job, shard) for shard in plan.shards]
    batches = [index_batch(job, items) for search in searches for items in search.batches]
    ref = publish(job, searches, batches)
    return {"action": decision.action, "version": ref.version}


def export(workspace: str, target: str) -> Result:
    return {"uri": load(NAME, workspace).export(target)}


def delete(workspace: str) -> Result:
    return {"deleted": delete_collection(workspace, NAME)}


STEPS: dict[str, Callable[..., Result]] = {"build": build, "export": export, "delete": delete}


def perform(step: str, workspace: str, arguments: Mapping[str, Any]) -> Result:
    return STEPS[step](workspace, **arguments)
