"""When a collection was last looked at: a small file that a run leaves where it commits nothing, and what freshness is judged by.

The file is a hint like `_latest.json`: written over, never waited for. The commits tell the rest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from rasterloom.access.network.redact import redact
from rasterloom.access.refs import from_json, to_json
from rasterloom.access.versions.commits import Commit, read_commit
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import RasterloomError
from rasterloom.specs.freshness import Freshness, Standing, judged
from rasterloom.specs.identity import interval_from_json
from rasterloom.specs.sections import FreshnessSpec

_LONGEST = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the last runs that committed nothing did."""

    looked: datetime | None = None
    """When a run last found nothing to do."""
    failed: datetime | None = None
    """When a run last failed."""
    failure: str = ""
    """Why, in one line without secrets."""
    freshness: dict[str, Any] | None = None
    """`freshness` of the last run's spec; that of a later commit is newer."""


def look_key(name: str) -> str:
    return f"{name}/_looked.json"


def read_look(workspace: Workspace, name: str) -> Look:
    """Empty where there is none, or none that can be read."""
    data = workspace.read(look_key(name))
    try:
        return from_json(Look, json.loads(data)) if data else Look()
    except (ValueError, TypeError, KeyError, AttributeError):
        return Look()


def note_look(workspace: Workspace, name: str, *, at: datetime, limits: FreshnessSpec | None) -> None:
    """A run found nothing to do. Raises Unavailable, AccessDenied."""
    _write(workspace, name, replace(read_look(workspace, name), looked=at, freshness=_plain(limits)))


def note_failure(workspace: Workspace, name: str, error: RasterloomError, *, at: datetime, limits: FreshnessSpec | None) -> None:
    """A run failed. Raises Unavailable, AccessDenied."""
    failure = redact(error.message)[:_LONGEST]
    _write(workspace, name, replace(read_look(workspace, name), failed=at, failure=failure, freshness=_plain(limits)))


def freshness_of(
    workspace: Workspace, name: str, newest: Commit, *, now: datetime, limits: FreshnessSpec | None = None
) -> Freshness | None:
    """The verdict on the newest commit of a collection, by `limits` or those of the last run; None where no bound is set.

    None too where the commit is of a version of this program that did not write down its newest scene.
    """
    look = read_look(workspace, name)
    looked = _last(_built(workspace, name, newest), look.looked)
    limits = limits or _limits(newest, look)
    if limits is None or newest.newest is None or looked is None:
        return None
    known = Standing(
        newest=newest.newest,
        looked=looked,
        failed=look.failed,
        failure=look.failure,
        end=interval_from_json(newest.question["dates"]).end,
    )
    return judged(limits, known, now)


def _built(workspace: Workspace, name: str, newest: Commit) -> datetime | None:
    """When the newest version was made that is no older one brought back: nobody asks the source for a rollback."""
    entry: Commit | None = newest
    while entry is not None and entry.rollback_of:
        entry = read_commit(workspace, name, entry.parent)
    return entry.ended if entry else None


def _limits(newest: Commit, look: Look) -> FreshnessSpec | None:
    since = _last(look.looked, look.failed)
    found = look.freshness if since is not None and since > newest.ended else newest.spec.get("freshness")
    try:
        return FreshnessSpec.model_validate(found) if found else None
    except ValueError:  # of another version of this program
        return None


def _last(*instants: datetime | None) -> datetime | None:
    return max((instant for instant in instants if instant is not None), default=None)


def _plain(limits: FreshnessSpec | None) -> dict[str, Any] | None:
    return limits.model_dump(mode="json", exclude_none=True) if limits else None


def _write(workspace: Workspace, name: str, look: Look) -> None:
    workspace.write(look_key(name), json.dumps(to_json(look), sort_keys=True).encode())
