"""One run of one plan, as it travels to the tasks: JSON-able through `rasterloom.access.refs`, no clients, no secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rasterloom.specs.effort import Effort
from rasterloom.specs.question import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    workspace: str
    """URI for `rasterloom.access.workspace.open_workspace`."""
    plan: Plan
    effort: Effort
    spec: dict[str, Any]
    """The spec as JSON: stored with the commit, secrets by reference only."""
    run_id: str
    """Unique to this run; part of the names of its files."""
