"""One run of one plan, as it travels to the tasks: JSON-able through `rasterloom.access.refs`, no clients, no secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rasterloom.specs.effort import Effort
from rasterloom.specs.question import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    workspace: str
    """URI for `rasterloom.access.workspace.place.open_workspace`."""
    plan: Plan
    effort: Effort
    spec: dict[str, Any]
    """The spec as JSON: stored with the commit, secrets by reference only."""
    run_id: str
    """Unique to this run; part of the names of its files."""
    retry_of: str = ""
    """Run whose failures are asked again: its searches are remembered too."""
    action: str = "build"
    """What was decided (`rasterloom.access.building.decide`)."""
    reason: str = ""
    """Why, in one line."""
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    """Versions that were committed later may know newer items than this run does."""
