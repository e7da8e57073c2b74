"""Read jobs over a small collection, run as the flow runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rasterloom.access.reads.asked import job_of
from rasterloom.access.reads.outputs import OutputRef, ref_of
from rasterloom.access.reads.run import finish_read, make_units, plan_read
from rasterloom.access.reads.units import MadeRef, grouped
from rasterloom.access.refs import from_json, to_json
from rasterloom.access.values import Traffic
from rasterloom.access.workspace.place import open_workspace
from rasterloom.specs.effort import Effort
from rasterloom.specs.loader import spec_from
from rasterloom.specs.model import CollectionSpec

EFFORT = Effort(allow_private_hosts=True, retries=0)


def spec_with(name: str, reads: Mapping[str, Any]) -> CollectionSpec:
    """Of a collection that the workspace has under that name."""
    return spec_from({"name": name, "collection": {"uri": "nowhere"}, "reads": reads})


def read(
    workspace: str, options: Mapping[str, Any], *, name: str = "s2", run_id: str = "r1", effort: Effort = EFFORT, uri: str | None = None
) -> OutputRef:
    """Bring the output of the read `it` up to date."""
    spec = spec_with(name, {"it": options})
    if uri is not None:
        spec = spec_from({"name": name, "collection": {"uri": uri}, "reads": {"it": options}})
    place = open_workspace(workspace)
    job = job_of(spec, "it", place=place, effort=effort, run_id=run_id)
    planned = plan_read(job)
    if planned.is_done and planned.standing is not None:
        return ref_of(place, planned.standing, changed=False)
    made = [from_json(MadeRef, to_json(make_units(job, group))) for group in grouped(planned.missing)]
    traffic = sum((ref.traffic for ref in made), Traffic())
    return finish_read(job, planned.units, made=sum(ref.made for ref in made), traffic=traffic)


def forced() -> Effort:
    return replace(EFFORT, force=True)
