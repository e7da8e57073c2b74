"""From a spec and the name of one of its reads to the job that runs."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from rasterloom.access.credentials.auth import reading_effort
from rasterloom.access.reads.job import ReadJob, digest_of
from rasterloom.access.versions.commits import latest
from rasterloom.access.versions.opening import Opened, open_collection
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import SpecError
from rasterloom.specs.effort import Effort
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.reads import Read, box_geometry, read_to_json


def read_of(spec: CollectionSpec, name: str) -> Read:
    """Raises SpecError where the spec has no such read."""
    reads = spec.reads or {}
    if name not in reads:
        near = get_close_matches(name, reads, n=1)
        remedy = (
            f"did you mean {near[0]}?" if near else f"it has {', '.join(reads)}" if reads else "add one under `reads`, or name its --kind"
        )
        raise SpecError(f"{spec.name} has no read {name!r}", remedy=remedy)
    return reads[name]


def job_of(spec: CollectionSpec, name: str, *, place: Workspace, effort: Effort, run_id: str) -> ReadJob:
    """The read over the newest snapshot of the spec's collection; where the workspace has none of that name and the source of the spec
    is a collection, over that, as it is. Raises SpecError where there is neither."""
    read = read_of(spec, name)
    is_ours = latest(place, spec.name) is not None or spec.collection is None
    found = open_collection(spec.name, place.uri) if is_ours else _elsewhere(spec, place)
    commit = found.commit
    if spec.auth is None and not is_ours:
        effort = replace(effort, auth=reading_effort(found.dataset.schema.metadata or {}, None, None).auth)
    return ReadJob(
        workspace=place.uri,
        name=spec.name,
        read=name,
        spec=read_to_json(read),
        collection=found.uri,
        snapshot=commit.dir if commit else digest_of(sorted(found.dataset.files))[:16],
        version=commit.version if commit else 0,
        fingerprint=commit.fingerprint if commit else "",
        area=_area(commit.question) if commit else None,
        effort=effort,
        run_id=run_id,
    )


def _elsewhere(spec: CollectionSpec, place: Workspace) -> Opened:
    assert spec.collection is not None
    return open_collection(spec.collection.uri, place.uri, snapshot=spec.collection.snapshot)


def _area(question: dict[str, Any]) -> dict[str, Any] | None:
    """GeoJSON of what was asked for; None where it was all the world."""
    if question.get("intersects"):
        return question["intersects"]
    box = question.get("bbox")
    return box_geometry((box["west"], box["south"], box["east"], box["north"])) if box else None
