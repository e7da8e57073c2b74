"""What the flow tells Prefect's event feed, for automations to act on. Resource: `rasterloom.collection.<name>`."""

from __future__ import annotations

from typing import Any

from prefect.events import emit_event

from rasterloom.access.network.redact import redact
from rasterloom.access.versions.commits import Commit
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import RasterloomError
from rasterloom.specs.freshness import Freshness

COMMITTED = "rasterloom.collection.committed"
REUSED = "rasterloom.collection.reused"
"""A run looked, and there was nothing to do."""
REFUSED = "rasterloom.collection.refused"
"""A check or the error budget failed, and the old snapshot stands."""
STALE = "rasterloom.collection.stale"
"""The newest scene is older than `freshness` allows."""


def resource_id(name: str) -> str:
    return f"rasterloom.collection.{name}"


def tell_committed(workspace: Workspace, name: str, entry: Commit) -> None:
    """Snapshot and counts of a commit that this run made."""
    reuse = entry.reuse
    counts = {
        "action": entry.action,
        "reason": entry.reason,
        "new": reuse.items_new,
        "changed": reuse.items_changed,
        "gone": reuse.items_gone,
        "requests": entry.traffic.requests,
        "bytes": entry.traffic.bytes,
    }
    _emit(COMMITTED, workspace, name, _standing(entry) | counts)


def tell_reused(workspace: Workspace, name: str, entry: Commit, *, reason: str) -> None:
    _emit(REUSED, workspace, name, _standing(entry) | {"action": "reuse", "reason": redact(reason)})


def tell_refused(workspace: Workspace, name: str, error: RasterloomError) -> None:
    _emit(REFUSED, workspace, name, {"reason": redact(error.message), "remedy": redact(error.remedy or "")})


def tell_stale(workspace: Workspace, name: str, freshness: Freshness) -> None:
    """The payload's `cause` tells a source that has nothing new (`source`) from runs that fail or do not come (`pipeline`)."""
    times = {"newest": freshness.newest.isoformat(), "looked": freshness.looked.isoformat()}
    _emit(STALE, workspace, name, {"state": freshness.state, "cause": freshness.cause, "message": freshness.message, **times})


def _standing(entry: Commit) -> dict[str, Any]:
    newest = entry.newest.isoformat() if entry.newest else None
    return {"snapshot": entry.version, "scenes": entry.rows, "failed": sum(entry.counts.failed.values()), "newest": newest}


def _emit(event: str, workspace: Workspace, name: str, payload: dict[str, Any]) -> None:
    """Sent in the background; what goes wrong there is Prefect's to log."""
    labels = {"prefect.resource.name": name, "rasterloom.workspace": redact(workspace.uri)}
    emit_event(event=event, resource={"prefect.resource.id": resource_id(name), **labels}, payload=payload)
